//! What somebody asked for: the task and everything that bounds it. Journalled once, in `session.created`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::id::SessionId;
use super::limits::Limits;
use super::nesting;
use super::umask::Umask;

pub use self::choices::{Background, OnQuestion, PermissionMode};

mod choices;

/// The longest task text, in bytes.
pub const TASK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The longest text that is one argument of the agent's command line, or the value of one variable, in bytes. Linux takes
/// 131,071 with the name of the flag or variable.
pub const ARGUMENT_BYTES_MAX: usize = 130_000;

/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 80;

/// The most agents above a session: agents that start agents end here.
pub const DEPTH_MAX: u32 = 3;

/// A request to run one task, as it stands in the journal: checked, its directory absolute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// What the agent is to do.
    pub task: String,
    /// The directory it works in; absolute.
    #[schema(value_type = String)]
    pub cwd: PathBuf,
    /// What a person calls the session; made from the task when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The model, as `claude --model` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How permissions are decided before anybody is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permission_mode: Option<PermissionMode>,
    /// Tools that need no permission, in the CLI's rule syntax.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_tools: Vec<String>,
    /// Tools that are refused, in the CLI's rule syntax.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disallowed_tools: Vec<String>,
    /// Text added to the system prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub append_system_prompt: Option<String>,
    /// MCP servers for the agent: a JSON object or the path of a file that holds one. The daemon reads the file when it
    /// accepts the request, and keeps a copy for every attempt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mcp_config: Vec<String>,
    /// The most agent turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
    /// The most money, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_budget_usd: Option<f64>,
    /// Further directories the agent may work in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub add_dirs: Vec<PathBuf>,
    /// A JSON Schema the final answer must fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_schema: Option<serde_json::Value>,
    /// The most active time, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// What happens to a question that nobody answers.
    #[serde(skip_serializing_if = "OnQuestion::is_wait")]
    pub on_question: OnQuestion,
    /// How long a question waits before `on_question` applies, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question_timeout_seconds: Option<u64>,
    /// While anything happens there is a checkpoint at least this often, in seconds; the daemon's setting when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_interval_seconds: Option<u64>,
    /// True is another name of `keep` for `background_shells`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_background: bool,
    /// What happens to shells that the agent leaves in the background; `end` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background_shells: Option<Background>,
    /// Names of environment variables the caller gave; their values are never journalled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env_names: Vec<String>,
    /// The umask that the agent starts with; the daemon's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<Umask>,
    /// Whether the task is analysed first, and a person asked where it is ambiguous.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub clarify: bool,
    /// Whether what the project starts by itself may start without a question.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub trust_project: bool,
    /// Whether the agent is given this daemon's own MCP tools and resources.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub executor_tools: bool,
    /// How many agents stand above it: an agent that a person's session starts is at 1.
    #[serde(skip_serializing_if = "is_zero")]
    pub depth: u32,
    /// The session whose agent asked for it, where one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    pub parent: Option<SessionId>,
    /// The conversation it begins from, where that is not a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// A conversation that was begun elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Our session that it belongs to, where it is one of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    pub session_id: Option<SessionId>,
    /// The agent's own id of it.
    pub agent_session_id: Uuid,
    /// The agent's id of the last message that is kept; all of it where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Uuid>,
    /// The relation to the session that it comes from.
    pub how: OriginHow,
}

/// A caller's own key for the creation of a session: the same call made again finds the session instead of beginning
/// another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Claim {
    /// Whose key it is: two callers may use the same one.
    pub caller: String,
    /// The key.
    pub key: String,
    /// What was asked for, as a digest, so that the key used for something else is noticed.
    pub digest: String,
}

/// What becomes of the conversation a session begins from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OriginHow {
    /// It stays as it is; the session works in a copy.
    Fork,
    /// The session goes on with it.
    Import,
}

fn is_zero(depth: &u32) -> bool {
    *depth == 0
}

/// Why a request is not acceptable; each says what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// There is nothing to do.
    #[error("the task is empty: say what the agent is to do")]
    EmptyTask,
    /// The task is longer than a task may be.
    #[error("the task has {bytes} bytes, more than {TASK_BYTES_MAX}: put it into a file and name the file in the task")]
    LongTask {
        /// Its length.
        bytes: usize,
    },
    /// The name is longer than a name may be.
    #[error("the name has more than {NAME_CHARS_MAX} characters")]
    LongName,
    /// The directory is not absolute.
    #[error("cwd {0:?} is not absolute: give the whole path")]
    RelativeDirectory(PathBuf),
    /// Too many agents stand above it.
    #[error("{depth} agents stand above this session, and at most {DEPTH_MAX} may: do the work here instead")]
    TooDeep {
        /// The number of levels.
        depth: u32,
    },
    /// A limit is zero, negative or not a number.
    #[error("{0} must be more than 0")]
    NotPositive(&'static str),
    /// Two fields of the request contradict each other.
    #[error(
        "keep_background says that background shells are kept, and background_shells says otherwise: give one of them"
    )]
    TwoWaysForShells,
    /// The schema is nested deeper than what reads it can follow.
    #[error("json_schema has more than {} levels", nesting::LEVELS_MAX)]
    DeepSchema,
    /// A text that becomes an argument of the agent's command line holds a NUL byte.
    #[error("{0} holds a NUL byte")]
    NulByte(&'static str),
    /// A text is longer than the system or the agent takes it.
    #[error("{what} has {bytes} bytes, and at most {most} can be passed to the agent: shorten it")]
    LongText {
        /// The field of the request, or the variable.
        what: String,
        /// Its length.
        bytes: usize,
        /// The longest.
        most: usize,
    },
    /// Arguments and environment together are longer than the system takes them.
    #[error(
        "the agent's arguments and environment have {bytes} bytes together, and this system takes {most}: give fewer or \
         shorter rules and variables"
    )]
    LongCommandLine {
        /// Their length.
        bytes: usize,
        /// The most.
        most: usize,
    },
    /// An MCP configuration cannot be taken in.
    #[error("mcp_config {name}: {why}")]
    BadMcpConfig {
        /// The path, or the number of the entry.
        name: String,
        /// The reason.
        why: String,
    },
}

impl Request {
    /// Checks everything that can be checked without looking at the disk.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        if self.task.trim().is_empty() {
            return Err(InvalidRequest::EmptyTask);
        }
        if self.task.len() > TASK_BYTES_MAX {
            return Err(InvalidRequest::LongTask { bytes: self.task.len() });
        }
        if self
            .name
            .as_ref()
            .is_some_and(|name| name.chars().count() > NAME_CHARS_MAX)
        {
            return Err(InvalidRequest::LongName);
        }
        if !self.cwd.is_absolute() {
            return Err(InvalidRequest::RelativeDirectory(self.cwd.clone()));
        }
        if self.depth > DEPTH_MAX {
            return Err(InvalidRequest::TooDeep { depth: self.depth });
        }
        if self
            .json_schema
            .as_ref()
            .is_some_and(|schema| !nesting::is_within(schema))
        {
            return Err(InvalidRequest::DeepSchema);
        }
        if self.keep_background && self.background() != Background::Keep {
            return Err(InvalidRequest::TwoWaysForShells);
        }
        self.check_limits()?;
        self.check_arguments()
    }

    /// What happens to background shells at the end.
    pub fn background(&self) -> Background {
        let default = if self.keep_background {
            Background::Keep
        } else {
            Background::End
        };
        self.background_shells.unwrap_or(default)
    }

    /// The limits that this request sets.
    pub fn limits(&self) -> Limits {
        Limits {
            max_turns: self.max_turns,
            max_budget_usd: self.max_budget_usd,
            timeout_seconds: self.timeout_seconds,
        }
    }

    /// Sets these limits instead.
    pub fn set_limits(&mut self, limits: Limits) {
        self.max_turns = limits.max_turns;
        self.max_budget_usd = limits.max_budget_usd;
        self.timeout_seconds = limits.timeout_seconds;
    }

    fn check_limits(&self) -> Result<(), InvalidRequest> {
        check_limits(&self.limits())?;
        if self.question_timeout_seconds == Some(0) {
            return Err(InvalidRequest::NotPositive("question_timeout_seconds"));
        }
        if self.checkpoint_interval_seconds == Some(0) {
            return Err(InvalidRequest::NotPositive("checkpoint_interval_seconds"));
        }
        Ok(())
    }

    /// Arguments with a NUL byte cannot be passed to a process: refused here, where the caller still listens.
    fn check_arguments(&self) -> Result<(), InvalidRequest> {
        let single = [
            ("model", &self.model),
            ("append_system_prompt", &self.append_system_prompt),
        ];
        for (what, text) in single {
            if text.as_ref().is_some_and(|text| text.contains('\0')) {
                return Err(InvalidRequest::NulByte(what));
            }
        }
        self.check_lengths()?;
        let lists = [
            ("allowed_tools", &self.allowed_tools),
            ("disallowed_tools", &self.disallowed_tools),
            ("mcp_config", &self.mcp_config),
            ("env_names", &self.env_names),
        ];
        for (what, texts) in lists {
            if texts.iter().any(|text| text.contains('\0')) {
                return Err(InvalidRequest::NulByte(what));
            }
        }
        let paths = std::iter::once(&self.cwd).chain(&self.add_dirs);
        if paths
            .into_iter()
            .any(|path| path.as_os_str().as_encoded_bytes().contains(&0))
        {
            return Err(InvalidRequest::NulByte("a directory"));
        }
        Ok(())
    }

    /// The permission mode that the agent is started with at first.
    pub fn asked_mode(&self) -> PermissionMode {
        self.permission_mode.unwrap_or(PermissionMode::Default)
    }

    /// Checks the length of each argument. The system prompt and MCP configurations go by files.
    fn check_lengths(&self) -> Result<(), InvalidRequest> {
        let fits = |what: &str, bytes: usize, most: usize| match bytes <= most {
            true => Ok(()),
            false => Err(InvalidRequest::LongText {
                what: what.to_owned(),
                bytes,
                most,
            }),
        };
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        fits("model", length(&self.model), ARGUMENT_BYTES_MAX)?;
        fits(
            "append_system_prompt",
            length(&self.append_system_prompt),
            TASK_BYTES_MAX,
        )?;
        let schema = self.json_schema.as_ref().map_or(0, |schema| schema.to_string().len());
        fits("json_schema", schema, ARGUMENT_BYTES_MAX)?;
        for (what, texts) in [
            ("a rule of allowed_tools", &self.allowed_tools),
            ("a rule of disallowed_tools", &self.disallowed_tools),
        ] {
            texts
                .iter()
                .try_for_each(|text| fits(what, text.len(), ARGUMENT_BYTES_MAX))?;
        }
        let mut dirs = self.add_dirs.iter().map(|dir| dir.as_os_str().len());
        dirs.try_for_each(|bytes| fits("a directory of add_dirs", bytes, ARGUMENT_BYTES_MAX))?;
        self.check_mcp_configs()
    }

    /// Checks configurations that stand in the request itself.
    fn check_mcp_configs(&self) -> Result<(), InvalidRequest> {
        let inline = self.mcp_config.iter().enumerate();
        inline
            .filter(|(_, config)| is_inline(config))
            .try_for_each(|(n, config)| check_mcp_config(config, || format!("number {}", n + 1)))
    }

    /// The name shown: the given one, or the first words of the task.
    pub fn shown_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| first_words(&self.task))
    }
}

/// Returns true if an entry of `mcp_config` is JSON itself and not the path of a file.
pub fn is_inline(config: &str) -> bool {
    config.trim_start().starts_with('{')
}

/// Checks that the text of an MCP configuration is a JSON object. `name` is for the error.
pub fn check_mcp_config(text: &str, name: impl FnOnce() -> String) -> Result<(), InvalidRequest> {
    let why = match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) if value.is_object() => return Ok(()),
        Ok(_) => "it holds JSON that is not an object".to_owned(),
        Err(error) => format!("it is not JSON ({error})"),
    };
    Err(InvalidRequest::BadMcpConfig { name: name(), why })
}

/// Errors if a limit is zero, negative or not a number.
pub fn check_limits(limits: &Limits) -> Result<(), InvalidRequest> {
    if limits.max_turns == Some(0) {
        return Err(InvalidRequest::NotPositive("max_turns"));
    }
    if limits.max_budget_usd.is_some_and(|usd| !(usd > 0.0 && usd.is_finite())) {
        return Err(InvalidRequest::NotPositive("max_budget_usd"));
    }
    if limits.timeout_seconds == Some(0) {
        return Err(InvalidRequest::NotPositive("timeout_seconds"));
    }
    Ok(())
}

/// The first line of a text, cut at a word after about forty characters.
fn first_words(text: &str) -> String {
    const CHARS: usize = 40;
    let line = text.trim().lines().next().unwrap_or_default();
    let mut name = String::new();
    for word in line.split_whitespace() {
        if !name.is_empty() && name.chars().count() + 1 + word.chars().count() > CHARS {
            return name + "…";
        }
        if !name.is_empty() {
            name.push(' ');
        }
        name.extend(word.chars().filter(|c| !c.is_control()).take(CHARS));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            task: "tidy up".into(),
            cwd: "/home".into(),
            ..Request::default()
        }
    }

    #[test]
    fn a_sound_request_passes_and_reads_as_it_is_written() {
        request().check().unwrap();
        let text = serde_json::to_string(&request()).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request());
    }

    #[test]
    fn each_fault_is_named() {
        let check = |change: fn(&mut Request)| {
            let mut bad = request();
            change(&mut bad);
            bad.check().unwrap_err().to_string()
        };
        assert!(check(|r| r.task = " ".into()).contains("empty"));
        assert!(check(|r| r.cwd = "here".into()).contains("absolute"));
        assert!(check(|r| r.max_turns = Some(0)).contains("max_turns"));
        assert!(check(|r| r.max_budget_usd = Some(f64::NAN)).contains("max_budget_usd"));
        assert!(check(|r| r.timeout_seconds = Some(0)).contains("timeout_seconds"));
        assert!(check(|r| r.checkpoint_interval_seconds = Some(0)).contains("checkpoint_interval_seconds"));
        assert!(check(|r| r.model = Some("a\0b".into())).contains("NUL"));
        assert!(check(|r| r.name = Some("x".repeat(81))).contains("name"));
        assert!(
            check(|r| (r.keep_background, r.background_shells) = (true, Some(Background::Wait)))
                .contains("background_shells")
        );
        assert!(check(|r| r.depth = DEPTH_MAX + 1).contains("do the work here"));
    }

    #[test]
    fn of_two_modes_the_one_that_asks_more_is_narrower() {
        use PermissionMode::{AcceptEdits, Auto, BypassPermissions, Default, DontAsk, Plan};
        let by_width = [Plan, DontAsk, Default, AcceptEdits, Auto, BypassPermissions];
        for (place, mode) in by_width.into_iter().enumerate() {
            assert_eq!(PermissionMode::named(mode.name()), Some(mode));
            for wider in &by_width[place..] {
                assert_eq!((mode.narrower(*wider), wider.narrower(mode)), (mode, mode));
            }
        }
        assert_eq!(PermissionMode::named("manual"), None);
    }

    #[test]
    fn a_text_that_is_too_long_to_pass_is_refused_with_the_limit() {
        let long = "x".repeat(ARGUMENT_BYTES_MAX + 1);
        let with = |change: &dyn Fn(&mut Request)| {
            let mut request = request();
            change(&mut request);
            request
        };
        let refused = [
            with(&|request| request.model = Some(long.clone())),
            with(&|request| request.allowed_tools = vec!["Read".into(), long.clone()]),
            with(&|request| request.disallowed_tools = vec![long.clone()]),
            with(&|request| request.add_dirs = vec![long.clone().into()]),
            with(&|request| request.json_schema = Some(serde_json::json!({ "title": long }))),
        ];
        for request in refused {
            let told = request.check().unwrap_err().to_string();
            assert!(told.contains("130000"), "{told}");
        }
        with(&|request| request.append_system_prompt = Some(long.clone()))
            .check()
            .unwrap();
        with(&|request| request.allowed_tools = vec![long[1..].to_owned()])
            .check()
            .unwrap();
    }

    #[test]
    fn an_mcp_configuration_that_is_not_an_object_is_refused() {
        let check = |config: &str| {
            let mcp_config = vec![config.to_owned()];
            Request {
                mcp_config,
                ..request()
            }
            .check()
        };
        check(r#"{"mcpServers": {}}"#).unwrap();
        check("servers.json").unwrap();
        let told = check(r#"{"mcpServers": "#).unwrap_err().to_string();
        assert!(told.starts_with("mcp_config number 1: it is not JSON"), "{told}");
        assert!(check_mcp_config("[]", || "a.json".into()).is_err());
    }

    #[test]
    fn a_request_of_the_version_before_has_no_umask() {
        let older = r#"{"task":"t","cwd":"/w","mcp_config":["/w/mcp.json"]}"#;
        let request: Request = serde_json::from_str(older).unwrap();
        assert_eq!(request.umask, None);
        assert_eq!(serde_json::to_string(&request).unwrap(), older);
    }

    #[test]
    fn a_request_of_the_version_before_keeps_its_background_shells() {
        let background = |json: &str| serde_json::from_str::<Request>(json).unwrap().background();
        assert_eq!(
            background(r#"{"task": "t", "keep_background": true}"#),
            Background::Keep
        );
        assert_eq!(background(r#"{"task": "t"}"#), Background::End);
        let both = r#"{"task": "t", "keep_background": true, "background_shells": "keep"}"#;
        assert_eq!(background(both), Background::Keep);
    }

    #[test]
    fn a_name_is_made_from_the_first_words() {
        assert_eq!(request().shown_name(), "tidy up");
        let long = Request {
            task: "word ".repeat(30),
            ..request()
        };
        assert!(long.shown_name().chars().count() <= 41);
        assert!(long.shown_name().ends_with('…'));
    }
}
