//! What a request brings with it: the directory, the environment and the files that it names. All of it is taken in when
//! the request is accepted, so that what becomes of a file later changes nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use super::directories;
use crate::agent::environment::{self, Conversation, Remaining};

use crate::disk::{self, regular};
use crate::runtime::execution::{agent_environment, asked_environment, daemon_environment, given_environment};
use crate::runtime::new_session::{EnvironmentBase, NewSession};
use crate::runtime::places;
use crate::runtime::projects::Inspection;
use crate::runtime::refusal::CallError;
use crate::runtime::settings::RuntimeSettings;
use crate::session::asked::{ASKED_BYTES_MAX, AskedExtras};
use crate::session::id::{Attempt, SessionId};
use crate::session::kin::Excess;
use crate::session::request::{
    ARGUMENT_BYTES_MAX, InvalidRequest, Request, TASK_BYTES_MAX, check_mcp_config, is_inline,
};
use crate::session::secrets::{MASK, is_masked};
use crate::session::trust::Project;
use crate::store::StoreError;

/// The longest file that is taken in, in bytes.
const FILE_BYTES_MAX: usize = TASK_BYTES_MAX;

/// The least and the most bytes of arguments and environment that Linux takes, whatever the limit of the stack is.
const COMMAND_LINE_BYTES: (u64, u64) = (128 * 1024, 6 * 1024 * 1024);

/// The bytes that are left for what each attempt adds to arguments and environment.
const COMMAND_LINE_SPARE_BYTES: usize = 32 * 1024;

impl NewSession {
    /// The agent's whole environment where the request gives variables, otherwise nothing.
    pub(super) fn environment(&self) -> Option<BTreeMap<String, String>> {
        let given = self.env.clone()?;
        let mut env = match self.base {
            EnvironmentBase::Daemon => daemon_environment(),
            EnvironmentBase::Nothing => BTreeMap::new(),
        };
        env.extend(given);
        Some(env)
    }
}

/// What stands in the record of a request instead of what was given.
#[derive(Debug)]
pub(super) struct TakenIn {
    /// The working directory without links and dots.
    pub cwd: PathBuf,
    /// The MCP configurations without secrets.
    pub mcp_config: Vec<String>,
    /// What starts by itself, unless it was trusted without a question.
    pub project: Option<Project>,
}

impl TakenIn {
    /// Makes the request what is recorded.
    pub(super) fn put_into(self, request: &mut Request) -> Option<Project> {
        (request.cwd, request.mcp_config) = (self.cwd, self.mcp_config);
        self.project
    }
}

/// The session whose agent asks for a new one; empty where none does.
#[derive(Debug, Default)]
pub(super) struct Asker {
    /// Set if a person is asked about the MCP configurations and variables that the agent asks for.
    pub asks: Option<SessionId>,
    /// The project without whose settings that session runs.
    pub declined: Option<PathBuf>,
}

/// Checks the directory, and keeps environment, MCP configurations and files in the session's own directory.
pub(super) fn take_in(
    settings: &RuntimeSettings,
    id: SessionId,
    request: &Request,
    env: Option<BTreeMap<String, String>>,
    asker: &Asker,
) -> Result<TakenIn, CallError> {
    let cwd = match asker.asks {
        None => directories::resolve(&settings.allowed_directories, request)?,
        // Its directories are resolved, and judged as they are.
        Some(_) => request.cwd.clone(),
    };
    if let Some(env) = env {
        keep_variables(settings, id, &settings.environment_file(id), &env)?;
    }
    for (n, config) in request.mcp_config.iter().enumerate() {
        let kept = settings.mcp_config_file(id, n);
        // A copy of a session has the file of that one already.
        if kept.exists() {
            continue;
        }
        let text = match is_inline(config) {
            true => Cow::Borrowed(with_values(n, config)?),
            false => Cow::Owned(read_mcp_config(&cwd, config)?),
        };
        keep(settings, id, &kept, text.as_bytes()).map_err(|error| unwritten(settings, &error))?;
    }
    let asked = asker.asks.map(|by| asked(settings, id, request, by)).transpose()?;
    check_command_line(settings, id, request)?;
    let env = agent_environment(settings, id, false).map_err(unusable)?;
    let check = |path: &Path, found: &Path| {
        // An agent was told that it may work in these very paths.
        let is_exact = asker.asks.is_some() || path == cwd;
        directories::check_opened(&settings.allowed_directories, path, is_exact, found)
    };
    let places = places::of(request, &cwd, check)?;
    places::keep(settings, id, &places).map_err(|error| unwritten(settings, &error))?;
    let mut recorded = request.without_secrets().into_owned();
    recorded.cwd.clone_from(&cwd);
    let look = Inspection {
        settings,
        request: &recorded,
        environment: &env,
        declined: asker.declined.as_deref(),
    };
    Ok(TakenIn {
        project: look.settle(asked.flatten()),
        mcp_config: recorded.mcp_config,
        cwd,
    })
}

/// What the agent of session `by` asks for in the files that are kept of the request.
fn asked(
    settings: &RuntimeSettings,
    id: SessionId,
    request: &Request,
    by: SessionId,
) -> Result<Option<AskedExtras>, CallError> {
    let configs = (0..request.mcp_config.len()).map(|n| {
        let kept = settings.mcp_config_file(id, n);
        let value = regular::read(&kept).and_then(|json| Ok(serde_json::from_slice::<serde_json::Value>(&json)?));
        // What a person is shown is what the agent reads, also of a text in which a name stands twice.
        let text = value.map_err(unusable)?.to_string();
        keep(settings, id, &kept, text.as_bytes()).map_err(|error| unwritten(settings, &error))?;
        Ok::<_, CallError>(text)
    });
    let configs: Vec<String> = configs.collect::<Result<_, _>>()?;
    let variables = asked_environment(settings, id).map_err(unusable)?;
    let asked = AskedExtras::of(by, &configs, variables.into_keys().collect());
    let bytes = asked.as_ref().map_or(0, AskedExtras::bytes);
    match bytes > ASKED_BYTES_MAX {
        true => Err(Excess::LongQuestion {
            bytes,
            most: ASKED_BYTES_MAX,
        }
        .into()),
        false => Ok(asked),
    }
}

/// Keeps the variables that an agent asks for apart from the others.
pub(super) fn keep_asked(
    settings: &RuntimeSettings,
    id: SessionId,
    variables: &BTreeMap<String, String>,
) -> Result<(), CallError> {
    keep_variables(settings, id, &settings.asked_environment_file(id), variables)
}

/// A configuration as it was shown has no values, so it can start nothing.
fn with_values(n: usize, config: &str) -> Result<&str, InvalidRequest> {
    if !is_masked(config) {
        return Ok(config);
    }
    Err(InvalidRequest::BadMcpConfig {
        name: format!("number {}", n + 1),
        why: format!("{MASK} stands in place of values under env or headers: give the values"),
    })
}

/// What a copy of a session has of what an agent has asked for, and a person has let it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// Nothing, or there was nothing.
    Nothing,
    /// All of it.
    All,
    /// A person is asked about all of it again.
    Asked,
}

/// Copies what another session has taken in. Returns true if that had an environment.
pub(super) fn copy(
    settings: &RuntimeSettings,
    request: &Request,
    from: SessionId,
    to: SessionId,
    passed: Passed,
) -> Result<bool, CallError> {
    for n in 0..request.mcp_config.len() {
        let (old, new) = (settings.mcp_config_file(from, n), settings.mcp_config_file(to, n));
        copy_file(settings, to, &old, &new)?;
    }
    if passed == Passed::Asked {
        let (old, new) = (
            settings.asked_environment_file(from),
            settings.asked_environment_file(to),
        );
        copy_file(settings, to, &old, &new)?;
    }
    copy_environment(settings, from, to, passed == Passed::All)
}

/// Copies the environment that another session was given. `has_asked` tells whether the variables are among it that an
/// agent has asked for. Returns true if it was given one.
pub(super) fn copy_environment(
    settings: &RuntimeSettings,
    from: SessionId,
    to: SessionId,
    has_asked: bool,
) -> Result<bool, CallError> {
    let given = given_environment(settings, from, has_asked).map_err(unusable)?;
    if let Some(env) = &given {
        keep_variables(settings, to, &settings.environment_file(to), env)?;
    }
    Ok(given.is_some())
}

/// Returns true if there was such a file.
fn copy_file(settings: &RuntimeSettings, to: SessionId, old: &Path, new: &Path) -> Result<bool, CallError> {
    match regular::if_there(regular::read(old)) {
        Ok(Some(bytes)) => {
            keep(settings, to, new, &bytes).map_err(|error| unwritten(settings, &error))?;
            Ok(true)
        }
        Ok(None) => Ok(false),
        Err(error) => Err(StoreError::Failed(format!("the session's files cannot be read: {error}")).into()),
    }
}

fn keep_variables(
    settings: &RuntimeSettings,
    id: SessionId,
    path: &Path,
    variables: &BTreeMap<String, String>,
) -> Result<(), CallError> {
    let json = serde_json::to_vec(variables).map_err(io::Error::other);
    let written = json.and_then(|json| keep(settings, id, path, &json));
    written.map_err(|error| unwritten(settings, &error).into())
}

fn unusable(error: impl fmt::Display) -> CallError {
    StoreError::Failed(format!("the session's files cannot be used: {error}")).into()
}

fn keep(settings: &RuntimeSettings, id: SessionId, path: &Path, bytes: &[u8]) -> io::Result<()> {
    disk::create_private_dir(&settings.session_directory(id))?;
    disk::write_private(path, bytes)
}

fn unwritten(settings: &RuntimeSettings, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull => StoreError::DiskFull {
            directory: settings.sessions.clone(),
        },
        _ => StoreError::Failed(format!("cannot write the session's files: {error}")),
    }
}

/// Reads an MCP configuration; a relative path counts from the working directory.
fn read_mcp_config(cwd: &Path, path: &str) -> Result<String, InvalidRequest> {
    let bad = |why: String| InvalidRequest::BadMcpConfig {
        name: path.to_owned(),
        why,
    };
    let text = regular::read_at_most(&cwd.join(path), FILE_BYTES_MAX);
    let text = text.map_err(|error| bad(format!("the file cannot be read: {error}")))?;
    let text = String::from_utf8(text).map_err(|_| bad("it is not UTF-8 text".to_owned()))?;
    check_mcp_config(&text, || path.to_owned())?;
    Ok(text)
}

/// Refuses arguments and variables that the system would not take when the agent starts, those included that an agent asks
/// for.
fn check_command_line(settings: &RuntimeSettings, id: SessionId, request: &Request) -> Result<(), CallError> {
    let env = agent_environment(settings, id, true).map_err(unusable)?;
    let long = env.iter().find(|(_, value)| value.len() > ARGUMENT_BYTES_MAX);
    if let Some((name, value)) = long {
        return Err(CallError::InvalidRequest(InvalidRequest::LongText {
            what: format!("the environment variable {name}"),
            bytes: value.len(),
            most: ARGUMENT_BYTES_MAX,
        }));
    }
    let directory = settings.attempt_directory(id, Attempt(1));
    let (arguments, _) =
        environment::arguments(request, Conversation::New(id.uuid()), Remaining::default(), &directory);
    // Each text ends in a zero byte, and a pointer leads to it.
    let with_pointer = |bytes: usize| bytes + 1 + size_of::<usize>();
    let words = settings
        .agent_command
        .iter()
        .chain(&arguments)
        .map(|word| with_pointer(word.len()));
    let variables = env
        .iter()
        .map(|(name, value)| with_pointer(name.len() + 1 + value.len()));
    let bytes: usize = words.chain(variables).sum();
    let most = command_line_bytes_max();
    if bytes > most {
        return Err(CallError::InvalidRequest(InvalidRequest::LongCommandLine {
            bytes,
            most,
        }));
    }
    Ok(())
}

/// The most bytes of arguments and environment that an agent can be started with: a quarter of the stack.
fn command_line_bytes_max() -> usize {
    let (least, most) = COMMAND_LINE_BYTES;
    let stack = getrlimit(Resource::Stack).current;
    let bytes = stack.map_or(most, |stack| (stack / 4).clamp(least, most));
    usize::try_from(bytes).unwrap_or(usize::MAX) - COMMAND_LINE_SPARE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    struct Place {
        _root: tempfile::TempDir,
        settings: RuntimeSettings,
        cwd: PathBuf,
    }

    fn place() -> Place {
        let root = tempfile::tempdir().unwrap();
        let settings = RuntimeSettings {
            sessions: root.path().join("sessions"),
            ..RuntimeSettings::for_tests()
        };
        let cwd = root.path().canonicalize().unwrap().join("work");
        fs::create_dir(&cwd).unwrap();
        Place {
            _root: root,
            settings,
            cwd,
        }
    }

    impl Place {
        fn request(&self, mcp_config: &[&str]) -> Request {
            Request {
                task: "t".into(),
                cwd: self.cwd.clone(),
                mcp_config: mcp_config.iter().map(|config| (*config).to_owned()).collect(),
                ..Request::default()
            }
        }

        fn take_in(&self, mcp_config: &[&str]) -> Result<SessionId, CallError> {
            let id = SessionId::new();
            take_in(&self.settings, id, &self.request(mcp_config), None, &Asker::default())?;
            Ok(id)
        }
    }

    fn asked_by(asks: Option<SessionId>) -> Asker {
        Asker { asks, declined: None }
    }

    #[test]
    fn the_files_that_a_request_names_are_kept_with_the_session_and_its_copies() {
        let place = place();
        fs::write(place.cwd.join("b.json"), r#"{"mcpServers":{}}"#).unwrap();
        let id = place.take_in(&["{}", "b.json"]).unwrap();
        fs::remove_file(place.cwd.join("b.json")).unwrap();
        let kept = place.settings.mcp_config_file(id, 1);
        assert_eq!(fs::read_to_string(&kept).unwrap(), r#"{"mcpServers":{}}"#);
        assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
        let inline = place.settings.mcp_config_file(id, 0);
        assert_eq!(fs::read_to_string(inline).unwrap(), "{}");

        let (other, request) = (SessionId::new(), place.request(&["{}", "b.json"]));
        assert!(
            !copy(&place.settings, &request, id, other, Passed::Nothing).unwrap(),
            "it has no environment"
        );
        take_in(&place.settings, other, &request, None, &Asker::default()).unwrap();
        assert!(place.settings.mcp_config_file(other, 1).exists());
    }

    #[test]
    fn a_record_has_the_names_of_secrets_and_a_private_file_the_values() {
        let place = place();
        let config = r#"{"mcpServers":{"s":{"command":"x","env":{"KEY":"hunter2"}}}}"#;
        let (id, request) = (SessionId::new(), place.request(&[config]));
        let taken = take_in(&place.settings, id, &request, None, &Asker::default()).unwrap();
        let recorded = r#"{"mcpServers":{"s":{"command":"x","env":{"KEY":"***"}}}}"#;
        assert_eq!(taken.mcp_config, [recorded]);
        let kept = place.settings.mcp_config_file(id, 0);
        assert_eq!(fs::read_to_string(&kept).unwrap(), config);
        assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);

        let (other, request) = (SessionId::new(), place.request(&[recorded]));
        copy(&place.settings, &request, id, other, Passed::Nothing).unwrap();
        take_in(&place.settings, other, &request, None, &Asker::default()).unwrap();
        let copied = place.settings.mcp_config_file(other, 0);
        assert_eq!(fs::read_to_string(copied).unwrap(), config);
        let told = place.take_in(&[recorded]).unwrap_err().to_string();
        assert!(told.contains("number 1") && told.contains("give the values"), "{told}");
    }

    #[test]
    fn what_an_agent_asks_for_is_kept_as_it_is_shown_and_apart_from_what_a_person_gave() {
        let place = place();
        let config = r#"{"mcpServers": {"s": {"command": "no"}, "s": {"command": "x", "env": {"KEY": "hunter2"}}}}"#;
        let (by, id, request) = (SessionId::new(), SessionId::new(), place.request(&[config]));
        let variables = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            pairs.iter().map(owned).collect()
        };
        keep_asked(&place.settings, id, &variables(&[("OWN", "2"), ("MORE", "3")])).unwrap();
        let given = variables(&[("OWN", "1")]);
        let taken = take_in(&place.settings, id, &request, Some(given.clone()), &asked_by(Some(by))).unwrap();
        let asked = taken.project.unwrap().asked.unwrap();
        assert_eq!(asked.lines(), ["MCP server s (stdio): x; env KEY", "env MORE, OWN"]);
        let kept = fs::read_to_string(place.settings.mcp_config_file(id, 0)).unwrap();
        assert_eq!(kept, r#"{"mcpServers":{"s":{"command":"x","env":{"KEY":"hunter2"}}}}"#);
        let merged = variables(&[("OWN", "2"), ("MORE", "3")]);
        for (has_asked, expected) in [(false, &given), (true, &merged)] {
            let env = agent_environment(&place.settings, id, has_asked).unwrap();
            assert_eq!(&env, expected);
        }
        for (passed, asks, with, lines) in [
            (Passed::Nothing, None, &given, None),
            (Passed::All, None, &merged, None),
            (Passed::Asked, Some(by), &merged, Some(asked.lines())),
        ] {
            let other = SessionId::new();
            copy(&place.settings, &request, id, other, passed).unwrap();
            let taken = take_in(&place.settings, other, &request, None, &asked_by(asks)).unwrap();
            let asked = taken.project.and_then(|project| project.asked);
            assert_eq!(asked.map(|asked| asked.lines()), lines, "{passed:?}");
            assert_eq!(
                &agent_environment(&place.settings, other, true).unwrap(),
                with,
                "{passed:?}"
            );
        }
        let long = format!(
            r#"{{"mcpServers": {{"s": {{"command": "{}"}}}}}}"#,
            "x".repeat(ASKED_BYTES_MAX)
        );
        let refused = take_in(
            &place.settings,
            SessionId::new(),
            &place.request(&[&long]),
            None,
            &asked_by(Some(by)),
        );
        let told = refused.unwrap_err().to_string();
        assert!(told.contains("16384 are not asked about"), "{told}");
    }

    #[test]
    fn a_directory_that_an_agent_replaces_once_it_was_judged_is_not_taken() {
        let place = place();
        let (link, inside) = (place.cwd.join("link"), place.cwd.join("inside"));
        fs::create_dir(&inside).unwrap();
        std::os::unix::fs::symlink("/", &link).unwrap();
        let added = |path: &Path| Request {
            add_dirs: vec![path.to_owned()],
            ..place.request(&[])
        };
        let working = |path: &Path| Request {
            cwd: path.to_owned(),
            ..place.request(&[])
        };
        let take = |request: &Request, asks| take_in(&place.settings, SessionId::new(), request, None, &asked_by(asks));
        for request in [added(&link), working(&link)] {
            assert!(take(&request, None).is_ok(), "a person may name a link");
            let told = take(&request, Some(SessionId::new())).unwrap_err().to_string();
            assert!(told.contains("replaced"), "{told}");
        }
        for request in [added(&inside), working(&inside)] {
            assert!(take(&request, Some(SessionId::new())).is_ok());
        }
    }

    #[test]
    fn a_file_that_cannot_be_taken_in_is_refused_by_name() {
        let place = place();
        fs::write(place.cwd.join("text"), "mcpServers").unwrap();
        fs::write(place.cwd.join("list"), "[]").unwrap();
        fs::write(place.cwd.join("long"), vec![b' '; FILE_BYTES_MAX + 1]).unwrap();
        let pipe = place.cwd.join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        for (name, why) in [
            ("missing", "No such file"),
            ("text", "not JSON"),
            ("list", "not an object"),
            ("long", "4194304 bytes"),
            ("pipe", "regular file"),
            (".", "regular file"),
        ] {
            let told = place.take_in(&[name]).unwrap_err().to_string();
            assert!(
                told.starts_with(&format!("mcp_config {name}: ")) && told.contains(why),
                "{told}"
            );
        }
    }

    #[test]
    fn variables_are_added_to_the_daemons_environment_or_are_all_of_it() {
        let new = |base| NewSession {
            request: Request::default(),
            env: Some([("PATH".to_owned(), "/mine".to_owned())].into()),
            base,
            by: String::new(),
            claim: None,
            asker: None,
        };
        let whole = new(EnvironmentBase::Nothing).environment().unwrap();
        assert_eq!(whole, [("PATH".to_owned(), "/mine".to_owned())].into());
        let mut added = new(EnvironmentBase::Daemon).environment().unwrap();
        assert_eq!(added.insert("PATH".to_owned(), String::new()).unwrap(), "/mine");
        let mut of_daemon = daemon_environment();
        of_daemon.insert("PATH".to_owned(), String::new());
        assert_eq!(added, of_daemon);
    }

    #[test]
    fn what_the_system_would_not_start_is_refused_with_the_limit() {
        let place = place();
        let refused = |request: &Request, env: BTreeMap<String, String>| {
            let refused = take_in(&place.settings, SessionId::new(), request, Some(env), &Asker::default());
            refused.unwrap_err().to_string()
        };
        let long = "x".repeat(ARGUMENT_BYTES_MAX + 1);
        let told = refused(&place.request(&[]), [("LONG".to_owned(), long)].into());
        assert!(told.contains("variable LONG") && told.contains("130000"), "{told}");
        let rules = (0..60).map(|n| format!("{n}{}", "x".repeat(ARGUMENT_BYTES_MAX - 2)));
        let request = Request {
            allowed_tools: rules.collect(),
            ..place.request(&[])
        };
        let told = refused(&request, BTreeMap::new());
        assert!(told.contains(&command_line_bytes_max().to_string()), "{told}");
    }
}
