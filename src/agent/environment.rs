//! The agent's command line and environment.
//!
//! Arguments are an argv, never a shell line. Values that users give are passed as `--flag=value`, so that none of
//! them can be taken for a flag; JSON goes by 0600 files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;
use uuid::Uuid;

use crate::agent_host::protocol::ATTEMPT_MARK;
use crate::session::request::{ARGUMENT_BYTES_MAX, PermissionMode, Request, is_inline};
use crate::session::turn::OWN_MCP_SERVER;

/// Environment variables of an enclosing Claude session, which an agent of ours must not inherit.
pub const ENCLOSING_SESSION: [&str; 9] = [
    "CLAUDECODE",
    "CLAUDE_CODE_SESSION_ID",
    "CLAUDE_CODE_ENTRYPOINT",
    "CLAUDE_CODE_SESSION_ATTENDED",
    "CLAUDE_CODE_SSE_PORT",
    "CLAUDE_PID",
    ATTEMPT_MARK,
    DEPTH_VARIABLE,
    GRANT_VARIABLE,
];

/// Tells whoever an agent starts how many agents stand above it: what it asks for in turn is that deep.
pub const DEPTH_VARIABLE: &str = "CC_EXECUTOR_DEPTH";

/// Tells our relay inside an agent that the agent's session was given our tools.
pub const GRANT_VARIABLE: &str = "CC_EXECUTOR_TOOLS";

/// What the CLI is told for long unattended runs, unless the caller says otherwise.
///
/// Session state events tell when it is idle; the retry watchdog waits out overload and usage limits; the byte
/// watchdog notices a dead stream after two minutes.
const DEFAULTS: [(&str, &str); 6] = [
    ("CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS", "1"),
    ("CLAUDE_CODE_RETRY_WATCHDOG", "1"),
    ("CLAUDE_ENABLE_BYTE_WATCHDOG", "1"),
    ("CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS", "120000"),
    ("CLAUDE_CODE_ENABLE_SDK_FILE_CHECKPOINTING", "true"),
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
];

/// Versions of the CLI that the whole test suite has passed with, oldest first.
pub const TRIED_VERSIONS: [&str; 2] = ["2.1.330", "2.1.332"];

/// The first version that knows all of [`ON_RESUME`]. Those before it also go on by themselves with a turn that was cut,
/// but leave out the calls that were cut, so that the model repeats them blindly.
const RESUMES_BY_ITSELF_SINCE: [u32; 3] = [2, 1, 309];

/// Whether an agent of this version shows by itself what was cut short; one of an unknown version does not.
pub fn resumes_by_itself(version: Option<&str>) -> bool {
    let numbers = |version: &str| -> Option<[u32; 3]> {
        let mut parts = version
            .split(|c: char| !c.is_ascii_digit())
            .map(|part| part.parse().ok());
        Some([parts.next()??, parts.next()??, parts.next()??])
    };
    version
        .and_then(numbers)
        .is_some_and(|version| version >= RESUMES_BY_ITSELF_SINCE)
}

/// What the CLI is told when it resumes: go on with a turn that was cut, and show the calls that were cut.
const ON_RESUME: [(&str, &str); 3] = [
    ("CLAUDE_CODE_RESUME_INTERRUPTED_TURN", "1"),
    ("CLAUDE_CODE_RESUME_SHOWS_CUT_OFF_CALLS", "1"),
    ("CLAUDE_CODE_RESUME_REASON", "daemon_restart"),
];

/// The CLI's setting that keeps its classifier out of plan mode.
const ASK_IN_PLAN: &str = r#"{"useAutoModeDuringPlan":false}"#;

/// Line-delimited JSON both ways, with partial messages, and permissions asked over the same channel.
const PROTOCOL: [&str; 9] = [
    "-p",
    "--output-format",
    "stream-json",
    "--verbose",
    "--input-format",
    "stream-json",
    "--include-partial-messages",
    "--permission-prompt-tool",
    "stdio",
];

/// The conversation an attempt works in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversation {
    /// A new one under this id.
    New(Uuid),
    /// The one with this id, and the turn in it that was cut short.
    Resume(Uuid),
    /// The one with this id; the agent is told what was cut short.
    ResumeTold(Uuid),
    /// The one with this id. The agent does nothing in it before it has a message.
    ResumeQuiet(Uuid),
    /// The one with this id, up to this message.
    ResumeAt(Uuid, Uuid),
    /// A copy of another one.
    Fork {
        /// The other one, which stays as it is.
        from: Uuid,
        /// The id of the copy.
        id: Uuid,
        /// The last message that is copied; all of them where there is none.
        message: Option<Uuid>,
    },
}

impl Conversation {
    /// Its id.
    pub fn id(self) -> Uuid {
        match self {
            Self::New(id)
            | Self::Resume(id)
            | Self::ResumeTold(id)
            | Self::ResumeQuiet(id)
            | Self::ResumeAt(id, _)
            | Self::Fork { id, .. } => id,
        }
    }

    /// The flags that name it; the last one has no value.
    fn flags(self) -> Vec<String> {
        let resume = |id: Uuid| format!("--resume={id}");
        let at = |message: Uuid| format!("--resume-session-at={message}");
        match self {
            Self::New(id) => vec![format!("--session-id={id}")],
            Self::Resume(id) | Self::ResumeTold(id) | Self::ResumeQuiet(id) => vec![resume(id)],
            Self::ResumeAt(id, message) => vec![resume(id), at(message)],
            Self::Fork { from, id, message } => {
                let own = [resume(from), "--fork-session".to_owned(), format!("--session-id={id}")];
                own.into_iter().chain(message.map(at)).collect()
            }
        }
    }
}

/// What is left of a request's limits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Remaining {
    /// The most turns.
    pub turns: Option<u32>,
    /// The most money, in US dollars.
    pub budget_usd: Option<f64>,
}

/// A file that has to stand beside the launch plan before the agent starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideFile {
    /// The path of the file.
    pub path: PathBuf,
    /// The text of the file.
    pub text: String,
}

/// The agent's arguments behind its command, and the files they name in `directory`.
pub fn arguments(
    request: &Request,
    conversation: Conversation,
    remaining: Remaining,
    directory: &Path,
) -> (Vec<String>, Vec<SideFile>) {
    let mut argv = PROTOCOL.map(str::to_owned).to_vec();
    let mode = request.permission_mode.unwrap_or(PermissionMode::Default);
    argv.push(format!("--permission-mode={}", mode.name()));
    argv.extend(conversation.flags());
    let mut files = Vec::new();
    let mut flag = |name: &str, value: &str| argv.push(format!("--{name}={value}"));
    if let Some(model) = &request.model {
        flag("model", model);
    }
    match &request.append_system_prompt {
        Some(text) if text.len() > ARGUMENT_BYTES_MAX => {
            let path = directory.join("system-prompt.txt");
            flag("append-system-prompt-file", &path.to_string_lossy());
            let text = text.clone();
            files.push(SideFile { path, text });
        }
        Some(text) => flag("append-system-prompt", text),
        None => {}
    }
    if let Some(turns) = remaining.turns {
        flag("max-turns", &turns.to_string());
    }
    if let Some(usd) = remaining.budget_usd {
        flag("max-budget-usd", &usd.to_string());
    }
    if let Some(schema) = &request.json_schema {
        flag("json-schema", &schema.to_string());
    }
    request.allowed_tools.iter().for_each(|rule| flag("allowedTools", rule));
    request
        .disallowed_tools
        .iter()
        .for_each(|rule| flag("disallowedTools", rule));
    request
        .add_dirs
        .iter()
        .for_each(|dir| flag("add-dir", &dir.to_string_lossy()));
    for (n, config) in request.mcp_config.iter().enumerate() {
        let path = if is_inline(config) {
            let path = directory.join(format!("mcp-{n}.json"));
            files.push(SideFile {
                path: path.clone(),
                text: config.clone(),
            });
            path
        } else {
            request.cwd.join(config)
        };
        flag("mcp-config", &path.to_string_lossy());
    }
    (argv, files)
}

/// Has plan mode ask a person for each action that is not allowed. Needed where an agent went over to plan mode from
/// `bypassPermissions`: there the CLI asks, but one that starts in plan mode has a classifier decide (measured with
/// 2.1.332). The CLI takes one `--settings` only, so that one in the operator's `command` stays, and the agent starts in
/// the mode `default`, which asks too.
pub fn ask_in_plan(arguments: &mut Vec<String>, command: &[String]) {
    let has_settings = command
        .iter()
        .any(|argument| argument == "--settings" || argument.starts_with("--settings="));
    if !has_settings {
        return arguments.push(format!("--settings={ASK_IN_PLAN}"));
    }
    let mode = |mode: PermissionMode| format!("--permission-mode={}", mode.name());
    let plan = arguments
        .iter_mut()
        .find(|argument| **argument == mode(PermissionMode::Plan));
    if let Some(argument) = plan {
        *argument = mode(PermissionMode::Default);
    }
}

/// Has the CLI take the user's settings alone: no hooks, helpers, variables and MCP servers of a project, nor its commands,
/// skills and CLAUDE.md (measured with 2.1.332). The user's own MCP servers stay, and so do those of the request.
pub fn without_project(arguments: &mut Vec<String>) {
    arguments.push("--setting-sources=user".to_owned());
}

/// The MCP configuration that gives an agent our own tools and resources: our relay, at the daemon whose state this is.
/// `depth` is that of the sessions it may start, `mark` that of the agent's attempt.
pub fn own_mcp_config(executable: &Path, state: &Path, depth: u32, mark: &str) -> String {
    let server = json!({
        "command": executable,
        "args": ["mcp", "--state-dir", state],
        "env": {DEPTH_VARIABLE: depth.to_string(), ATTEMPT_MARK: mark, GRANT_VARIABLE: "1"},
    });
    json!({"mcpServers": {OWN_MCP_SERVER: server}}).to_string()
}

/// The agent's whole environment: `base` is the caller's, `configured` the operator's, which wins.
pub fn environment(
    mut base: BTreeMap<String, String>,
    configured: &BTreeMap<String, String>,
    conversation: Conversation,
    temporary: &Path,
) -> BTreeMap<String, String> {
    for name in ENCLOSING_SESSION {
        base.remove(name);
    }
    for (name, value) in DEFAULTS {
        base.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    base.insert(
        "CLAUDE_CODE_TMPDIR".to_owned(),
        temporary.to_string_lossy().into_owned(),
    );
    match conversation {
        Conversation::Resume(_) => base.extend(ON_RESUME.map(|(name, value)| (name.to_owned(), value.to_owned()))),
        // A turn behind the place of the cut, or of another session, is not gone on with by itself. An agent that has a
        // message first shows the calls that were cut without being asked to (measured).
        Conversation::New(_)
        | Conversation::ResumeTold(_)
        | Conversation::ResumeQuiet(_)
        | Conversation::ResumeAt(..)
        | Conversation::Fork { .. } => {
            ON_RESUME.iter().for_each(|(name, _)| {
                base.remove(*name);
            });
        }
    }
    base.extend(configured.clone());
    base
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            task: "t".into(),
            cwd: "/work dir".into(),
            ..Request::default()
        }
    }

    fn argv(request: &Request, conversation: Conversation) -> String {
        let (argv, _) = arguments(request, conversation, Remaining::default(), Path::new("/attempt"));
        argv.join(" ")
    }

    #[test]
    fn a_first_start_names_its_conversation_and_a_later_one_resumes_it() {
        let id = Uuid::from_u128(1);
        assert!(
            argv(&request(), Conversation::New(id)).ends_with(&format!("--permission-mode=default --session-id={id}"))
        );
        let resumed = argv(&request(), Conversation::Resume(id));
        assert!(resumed.ends_with(&format!("--resume={id}")) && !resumed.contains("--session-id"));
    }

    #[test]
    fn a_plan_mode_that_asked_goes_on_asking_and_the_operators_settings_stay() {
        let start = || vec!["-p".to_owned(), "--permission-mode=plan".to_owned()];
        let with = |command: &[&str]| {
            let mut arguments = start();
            let command: Vec<String> = command.iter().map(|argument| (*argument).to_owned()).collect();
            ask_in_plan(&mut arguments, &command);
            arguments.join(" ")
        };
        let setting = r#"-p --permission-mode=plan --settings={"useAutoModeDuringPlan":false}"#;
        assert_eq!(with(&["claude"]), setting);
        for own in [
            &["claude", "--settings", "own.json"][..],
            &["claude", "--settings=own.json"],
        ] {
            assert_eq!(with(own), "-p --permission-mode=default");
        }
    }

    #[test]
    fn what_users_give_cannot_become_a_flag() {
        let request = Request {
            model: Some("--dangerously-skip-permissions".into()),
            ..request()
        };
        assert!(argv(&request, Conversation::New(Uuid::nil())).contains("--model=--dangerously-skip-permissions"));
    }

    #[test]
    fn inline_json_goes_by_a_file() {
        let secret = r#"{"mcpServers":{"s":{"env":{"KEY":"secret"}}}}"#;
        let request = Request {
            mcp_config: vec![secret.into(), "servers.json".into()],
            ..request()
        };
        let (argv, files) = arguments(
            &request,
            Conversation::New(Uuid::nil()),
            Remaining::default(),
            Path::new("/attempt"),
        );
        assert!(!argv.join(" ").contains("secret"));
        assert_eq!(
            files,
            [SideFile {
                path: "/attempt/mcp-0.json".into(),
                text: secret.into()
            }]
        );
        assert!(argv.contains(&"--mcp-config=/work dir/servers.json".to_owned()));
    }

    #[test]
    fn a_system_prompt_that_is_too_long_for_an_argument_goes_by_a_file() {
        let with = |text: String| {
            let append_system_prompt = Some(text);
            let request = Request {
                append_system_prompt,
                ..request()
            };
            let new = Conversation::New(Uuid::nil());
            arguments(&request, new, Remaining::default(), Path::new("/attempt"))
        };
        let (argv, files) = with("x".repeat(ARGUMENT_BYTES_MAX));
        assert!(files.is_empty() && argv.iter().any(|word| word.starts_with("--append-system-prompt=x")));
        let long = "x".repeat(ARGUMENT_BYTES_MAX + 1);
        let (argv, files) = with(long.clone());
        assert!(argv.contains(&"--append-system-prompt-file=/attempt/system-prompt.txt".to_owned()));
        assert!(argv.iter().all(|word| word.len() < 100));
        assert_eq!((files.len(), &files[0].text), (1, &long));
    }

    #[test]
    fn the_environment_is_the_callers_without_the_enclosing_session() {
        let base = [
            ("CLAUDECODE", "1"),
            ("ANTHROPIC_API_KEY", "key"),
            ("CLAUDE_CODE_RETRY_WATCHDOG", "0"),
        ];
        let base: BTreeMap<_, _> = base.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let configured = [("EXTRA".to_owned(), "1".to_owned())].into();
        let env = environment(base, &configured, Conversation::New(Uuid::nil()), Path::new("/tmp/x"));
        assert!(!env.contains_key("CLAUDECODE") && !env.contains_key("CLAUDE_CODE_RESUME_INTERRUPTED_TURN"));
        assert_eq!(env["ANTHROPIC_API_KEY"], "key", "the caller's login stays");
        assert_eq!(env["CLAUDE_CODE_RETRY_WATCHDOG"], "0", "the caller's own choice stays");
        assert_eq!(
            (env["EXTRA"].as_str(), env["CLAUDE_CODE_TMPDIR"].as_str()),
            ("1", "/tmp/x")
        );
    }

    #[test]
    fn only_versions_that_show_what_was_cut_resume_by_themselves() {
        let of = |version| resumes_by_itself(Some(version));
        assert!(of("2.1.309") && of("2.1.330 (Claude Code)") && of("2.2.0") && of("10.0.0-beta.1"));
        assert!(!of("2.1.308") && !of("2.0.999") && !of("1.9") && !of(""));
        assert!(!resumes_by_itself(None));
    }

    #[test]
    fn a_cut_and_a_copy_do_not_go_on_with_the_turn_they_leave() {
        let (id, message) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let at = Conversation::ResumeAt(id, message);
        assert!(argv(&request(), at).ends_with(&format!("--resume={id} --resume-session-at={message}")));
        let copy = Uuid::from_u128(3);
        let fork = |message| Conversation::Fork {
            from: id,
            id: copy,
            message,
        };
        assert!(argv(&request(), fork(None)).ends_with(&format!("--resume={id} --fork-session --session-id={copy}")));
        assert!(argv(&request(), fork(Some(message))).ends_with(&format!("--resume-session-at={message}")));
        let goes_on = |conversation| {
            environment(BTreeMap::new(), &BTreeMap::new(), conversation, Path::new("/tmp/x"))
                .contains_key("CLAUDE_CODE_RESUME_INTERRUPTED_TURN")
        };
        assert_eq!(
            [
                Conversation::Resume(id),
                Conversation::ResumeTold(id),
                Conversation::ResumeQuiet(id),
                at,
                fork(None)
            ]
            .map(goes_on),
            [true, false, false, false, false]
        );
    }
}
