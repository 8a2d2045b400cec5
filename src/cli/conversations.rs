//! Going on by hand: `resume`, `fork`, `import`, `checkpoints`, `handover`.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::args::{CheckpointsArgs, ForkArgs, HandoverArgs, ImportArgs, ResumeArgs};
use super::clean::{clean, one_line};
use super::client::{Client, read, session_path};
use super::columns::{Column, list};
use super::exit::{Exit, Failure};
use super::launch::find_or_start;
use super::run::{OwnEnvironment, directory, own_environment, show, show_new};
use super::screen::{print, print_json};
use super::sessions::print_object;
use super::units;
use super::view::View;
use crate::session::limits::Limits;
use crate::session::message::Usage;
use crate::session::request::check_limits;

/// How many checkpoints are asked for at a time.
const PAGE_CHECKPOINTS: usize = 500;

/// Maximum length of what a checkpoint comes after, in characters.
const AFTER_CHARS_MAX: usize = 60;

/// A page of checkpoints.
#[derive(Deserialize)]
struct CheckpointPage {
    checkpoints: Vec<Box<RawValue>>,
    next_before: Option<u64>,
}

/// One checkpoint.
#[derive(Deserialize)]
struct Checkpoint {
    seq: u64,
    at: Timestamp,
    attempt: u32,
    turns: u32,
    #[serde(default)]
    usage: Usage,
    /// An older daemon does not say.
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    git: Option<Git>,
}

/// Where a git working tree stood.
#[derive(Deserialize)]
struct Git {
    commit: String,
    dirty: bool,
}

/// How a conversation is given back.
#[derive(Deserialize)]
struct Handover {
    line: String,
}

/// Body of the request for a session that goes on with a conversation.
#[derive(Serialize)]
struct Import<'a> {
    #[serde(flatten)]
    body: &'a Value,
    #[serde(flatten)]
    environment: &'a OwnEnvironment,
}

/// `resume`
pub(crate) async fn resume(client: Client, args: &ResumeArgs) -> Result<Exit, Failure> {
    let limits = Limits {
        max_turns: args.max_turns,
        max_budget_usd: args.max_budget_usd,
        timeout_seconds: args.timeout,
    };
    check_limits(&limits).map_err(|error| Failure::Usage(error.to_string()))?;
    let before: View = client.view(&args.id).await?;
    let body = without_nulls(json!({
        "instruction": args.instruction, "at": args.at, "max_turns": limits.max_turns,
        "max_budget_usd": limits.max_budget_usd, "timeout_seconds": limits.timeout_seconds,
    }));
    let path = format!("{}/resume", session_path(&before.session_id.to_string()));
    let resumed = client.post(&path, &body).await.map_err(with_flags)?;
    show(client, &resumed, before.head, args.shown).await
}

/// A refusal that names the flag in place of the field.
fn with_flags(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(said) => Failure::Refused(said.replace("max_budget_usd", "--max-budget-usd")),
        other => other,
    }
}

/// `fork`
pub(crate) async fn fork(client: Client, args: &ForkArgs) -> Result<Exit, Failure> {
    let body = without_nulls(json!({"instruction": args.instruction, "at": args.at, "name": args.name}));
    let created = client.post(&format!("{}/fork", session_path(&args.id)), &body).await?;
    show_new(client, &created, args.shown).await
}

/// `import`
pub(crate) async fn import(state_dir: &Path, args: &ImportArgs) -> Result<Exit, Failure> {
    let cwd = args.cwd.as_deref().map(directory).transpose()?;
    let client = find_or_start(state_dir).await?;
    let body = without_nulls(json!({
        "agent_session_id": args.agent_session_id, "instruction": args.instruction, "cwd": cwd, "name": args.name,
    }));
    let body = Import {
        body: &body,
        environment: &OwnEnvironment::for_daemon(&client, own_environment()),
    };
    let created = client.post("/api/sessions/import", &body).await?;
    show_new(client, &created, args.shown).await
}

/// `checkpoints`
pub(crate) async fn checkpoints(client: &Client, args: &CheckpointsArgs) -> Result<Exit, Failure> {
    let mut found: Vec<Box<RawValue>> = Vec::new();
    let mut before = String::new();
    loop {
        let path = session_path(&args.id);
        let page: CheckpointPage = client
            .get(&format!("{path}/checkpoints?limit={PAGE_CHECKPOINTS}{before}"))
            .await?;
        found.extend(page.checkpoints);
        match page.next_before {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    if args.json {
        let objects: Vec<_> = found.iter().map(|checkpoint| checkpoint.get()).collect();
        print_json(&format!("[{}]\n", objects.join(",\n")))?;
    } else if found.is_empty() {
        print("no checkpoints\n")?;
    } else {
        let found = found
            .iter()
            .map(|raw| read(raw))
            .collect::<Result<Vec<Checkpoint>, _>>()?;
        print(&table(&found, Timestamp::now()))?;
    }
    Ok(Exit::Ok)
}

/// `handover`
pub(crate) async fn handover(client: &Client, args: &HandoverArgs) -> Result<Exit, Failure> {
    let raw: Box<RawValue> = client.get(&format!("{}/handover", session_path(&args.id))).await?;
    if args.json {
        print_object(&raw)?;
    } else {
        let Handover { line } = read(&raw)?;
        print(&format!("{}\n", clean(&line)))?;
    }
    Ok(Exit::Ok)
}

fn without_nulls(mut body: Value) -> Value {
    if let Value::Object(fields) = &mut body {
        fields.retain(|_, value| !value.is_null());
    }
    body
}

fn table(checkpoints: &[Checkpoint], now: Timestamp) -> String {
    let row = |checkpoint: &Checkpoint| {
        [
            checkpoint.seq.to_string(),
            units::duration(now.duration_since(checkpoint.at)),
            checkpoint.attempt.to_string(),
            checkpoint.turns.to_string(),
            units::usd(checkpoint.usage.cost_usd),
            checkpoint.git.as_ref().map(commit).unwrap_or_default(),
            one_line(checkpoint.after.as_deref().unwrap_or_default(), AFTER_CHARS_MAX),
        ]
    };
    let columns = ["SEQ", "AGE", "ATTEMPT", "TURNS", "COST", "COMMIT", "AFTER"].map(Column::new);
    list(columns, &checkpoints.iter().map(row).collect::<Vec<_>>(), None)
}

fn commit(git: &Git) -> String {
    let short: String = clean(&git.commit).chars().take(12).collect();
    let dirty = if git.dirty { " and changes" } else { "" };
    short + dirty
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_a_table() {
        let checkpoint = |seq: u64, git: Value| {
            serde_json::from_value::<Checkpoint>(json!({"seq": seq, "at": "2026-01-01T00:00:00Z", "attempt": 1,
                "turns": 3, "git": git, "after": "Bash: make\n all"}))
            .unwrap()
        };
        let found = [
            checkpoint(30, json!({"commit": "0123456789abcdef", "dirty": true})),
            checkpoint(12, Value::Null),
        ];
        insta::assert_snapshot!(table(&found, "2026-01-01T00:02:05Z".parse().unwrap()), @r"
        SEQ  AGE        ATTEMPT  TURNS  COST   COMMIT                    AFTER
        30   2 min 5 s  1        3      $0.00  0123456789ab and changes  Bash: make all
        12   2 min 5 s  1        3      $0.00                            Bash: make all
        ");
    }

    #[test]
    fn what_is_not_given_is_not_sent() {
        assert_eq!(without_nulls(json!({"at": 1, "instruction": null})), json!({"at": 1}));
    }
}
