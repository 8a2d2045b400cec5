//! Completions: what the shell's script asks this program at each press of Tab.
//!
//! Verbs, flags and their values come from the command line's definition. Sessions, questions, checkpoints and tokens come
//! from the running daemon; without one, or when it is slow, nothing is offered and nothing is said.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use clap::Command;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{CompleteEnv, EnvCompleter, Shells};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::clean::one_line;
use super::client::{Client, read, session_path};
use super::connection;
use super::exit::{Exit, Failure};
use super::screen::print;
use super::texts::Words;
use super::view::View;

/// The program's name, as it is typed.
const PROGRAM: &str = "cc-executor";

/// The variable that makes this program answer a shell.
const VARIABLE: &str = "CC_EXECUTOR_COMPLETE";

/// How long a person who presses Tab waits for the daemon at most.
const PATIENCE: Duration = Duration::from_millis(800);

/// Maximum number of sessions or checkpoints that are offered.
const OFFERED_MAX: usize = 200;

/// Maximum length of a candidate's description, in characters.
const HELP_CHARS_MAX: usize = 60;

/// Which sessions an argument is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListedSessions {
    /// All of them.
    All,
    /// Sessions that have not ended.
    Live,
    /// Sessions that have ended.
    Ended,
}

/// The definition of the command line. Candidates read the typed line by it, and clap hands them nothing.
static DEFINITION: OnceLock<fn() -> Command> = OnceLock::new();

/// Answers a shell that asks for completions of this command line, and ends the process; otherwise returns at once.
pub(crate) fn answer_a_shell(definition: fn() -> Command) {
    let definition = *DEFINITION.get_or_init(|| definition);
    CompleteEnv::with_factory(definition)
        .var(VARIABLE)
        .bin(PROGRAM)
        .complete();
}

/// `completions`: the script that makes a shell ask this program.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let name = shell.to_string();
    let shells = Shells::builtins();
    let found: Option<&dyn EnvCompleter> = shells.completer(&name);
    let found = found.ok_or_else(|| Failure::Usage(format!("there are no completions for {name}")))?;
    let mut script = Vec::new();
    found.write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)?;
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}

/// Offers the ids of sessions, and their names where a name is one plain word.
pub(crate) fn sessions(wanted: ListedSessions) -> ArgValueCandidates {
    ArgValueCandidates::new(move || {
        let state = match wanted {
            ListedSessions::All => None,
            ListedSessions::Live => Some("live"),
            ListedSessions::Ended => Some("ended"),
        };
        let mut query = vec![("limit", OFFERED_MAX.to_string())];
        query.extend(state.map(|state| ("state", state.to_owned())));
        let found = ask(async move |client| views(&client.page(&query).await?.sessions));
        let ids = found.iter().map(|view| {
            let about = format!("{}: {}", view.state, one_line(&view.name, HELP_CHARS_MAX));
            candidate(view.session_id.short(), &about)
        });
        let named = found.iter().filter(|view| is_plain(&view.name));
        let names = named.map(|view| candidate(view.name.clone(), &view.session_id.short()));
        ids.chain(names).collect()
    })
}

/// Offers the open questions of the session that the line names, or of all sessions.
pub(crate) fn questions() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let session = line().positionals.first().cloned();
        let found = ask(async move |client| match session.as_ref().and_then(|id| id.to_str()) {
            Some(id) => Ok(vec![client.view(id).await?]),
            None => views(&client.live().await?),
        });
        let open = found.iter().flat_map(View::unanswered);
        open.map(|question| {
            let about = one_line(&question.kind.headline(), HELP_CHARS_MAX);
            candidate(question.question_id.to_string(), &about)
        })
        .collect()
    })
}

/// Offers the checkpoints of the session that the line names, the latest first.
pub(crate) fn checkpoints() -> ArgValueCandidates {
    #[derive(Deserialize)]
    struct Page {
        checkpoints: Vec<Checkpoint>,
    }
    #[derive(Deserialize)]
    struct Checkpoint {
        seq: u64,
        #[serde(default)]
        after: Option<String>,
    }
    ArgValueCandidates::new(|| {
        let Some(session) = line().positionals.first().and_then(|id| id.to_str().map(str::to_owned)) else {
            return Vec::new();
        };
        let found = ask(async move |client| {
            let path = format!("{}/checkpoints?limit={OFFERED_MAX}", session_path(&session));
            Ok(client.get::<Page>(&path).await?.checkpoints)
        });
        let offer = |found: &Checkpoint| {
            let after = found.after.as_deref().unwrap_or_default();
            candidate(found.seq.to_string(), &one_line(after, HELP_CHARS_MAX))
        };
        found.iter().map(offer).collect()
    })
}

/// Offers the names of tokens.
pub(crate) fn tokens() -> ArgValueCandidates {
    #[derive(Deserialize)]
    struct Tokens {
        tokens: Vec<Token>,
    }
    #[derive(Deserialize)]
    struct Token {
        name: String,
        role: String,
    }
    ArgValueCandidates::new(|| {
        let found = ask(async |client| Ok(client.get::<Tokens>("/api/tokens").await?.tokens));
        let named = found.iter().filter(|token| is_plain(&token.name));
        named.map(|token| candidate(token.name.clone(), &token.role)).collect()
    })
}

/// What the daemon says; nothing where none runs or the answer takes too long.
fn ask<T>(question: impl AsyncFnOnce(&Client) -> Result<Vec<T>, Failure>) -> Vec<T> {
    let line = line();
    let given = line.values.iter().find(|(id, _)| id == "state_dir");
    let given = given.map(|(_, value)| Path::new(value));
    let asked = async {
        let client = Client::look(&connection::state_dir(given).ok()?)?;
        let answer = tokio::time::timeout(PATIENCE, question(&client)).await;
        answer.ok()?.ok()
    };
    actix_rt::System::new().block_on(asked).unwrap_or_default()
}

/// The line that is being completed, as far as it is typed: the shell gives its words behind `--`.
fn line() -> Words {
    let mut command = DEFINITION
        .get()
        .map_or_else(|| Command::new(PROGRAM), |definition| definition());
    command.build();
    let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    Words::read(&command, words)
}

fn views(raw: &[Box<RawValue>]) -> Result<Vec<View>, Failure> {
    raw.iter().map(|raw| read(raw)).collect()
}

fn candidate(value: String, about: &str) -> CompletionCandidate {
    CompletionCandidate::new(value).help(Some(about.to_owned().into()))
}

/// True for what no shell needs quotes for.
fn is_plain(name: &str) -> bool {
    let is_safe = |c: char| c.is_alphanumeric() || "._-+@%".contains(c);
    !name.is_empty() && !name.starts_with('-') && name.chars().all(is_safe)
}
