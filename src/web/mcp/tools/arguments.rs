//! The arguments of the tools, with descriptions for the models that fill them in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::ToolError;
use crate::session::grant::Pick;
use crate::session::question::Answer;
use crate::session::request::{Background, PermissionMode, Request};

/// The longest wait of `get_execution`, in seconds: above it clients give the call up.
pub(super) const WAIT_SECONDS_MAX: u64 = 3600;

/// `execute_with_streaming`, `execute_resumable` and `smart_execution`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["task"]))]
pub(super) struct Execute {
    /// What the agent is to do, in full: it knows nothing of this conversation
    pub(super) task: String,
    /// The directory it works in, as an absolute path. Default: where this client's relay was started
    pub(super) cwd: Option<PathBuf>,
    /// What a person calls the session. Default: the task's first words
    pub(super) name: Option<String>,
    /// The model, as `claude --model` takes it
    pub(super) model: Option<String>,
    /// How permissions are decided before anybody is asked. Default: what the user's own settings say
    pub(super) permission_mode: Option<Mode>,
    /// Tools that need no permission, such as "Edit" or "Bash(git log:*)"
    pub(super) allowed_tools: Vec<String>,
    /// Tools that are refused
    pub(super) disallowed_tools: Vec<String>,
    /// Text added to the agent's system prompt
    pub(super) append_system_prompt: Option<String>,
    /// A JSON Schema that the final answer must fit
    pub(super) json_schema: Option<Value>,
    /// The most agent turns
    pub(super) max_turns: Option<u32>,
    /// The most money, in US dollars
    pub(super) max_budget_usd: Option<f64>,
    /// The most time at work, in seconds
    pub(super) timeout_seconds: Option<u64>,
    /// While anything happens there is a checkpoint at least this often, in seconds. Default: the daemon's setting
    #[serde(alias = "checkpoint_interval_seconds")]
    pub(super) checkpoint_interval: Option<u64>,
    /// What happens to shells that the agent leaves in the background. Default: end
    pub(super) background_shells: Option<Shells>,
    /// The same as background_shells "keep"
    pub(super) keep_background: bool,
    /// Give the agent these very tools and resources, so that it can start sessions and read those of others
    pub(super) executor_tools: bool,
    /// Return at once with the session_id, and let it run
    pub(super) background: bool,
    /// Cancel the session when this call is cancelled or its connection is lost. Default: it goes on
    pub(super) cancel_on_disconnect: bool,
}

/// `resume_execution`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResumeArguments {
    /// The session, by its whole id or its last digits
    pub(super) session_id: String,
    /// What the agent is told. Default: to go on where it was interrupted
    #[serde(default)]
    pub(super) instruction: Option<String>,
    /// The most model calls from here on. Default: as many as before
    #[serde(default)]
    pub(super) max_turns: Option<u32>,
    /// The most money for the whole session, in US dollars: more than it has cost so far. Default: as before
    #[serde(default)]
    pub(super) max_budget_usd: Option<f64>,
    /// The most time at work from here on, in seconds. Default: as much as before
    #[serde(default)]
    pub(super) timeout_seconds: Option<u64>,
    /// Return at once, and let it run
    #[serde(default)]
    pub(super) background: bool,
    /// Cancel the session when this call is cancelled or its connection is lost. Default: it goes on
    #[serde(default)]
    pub(super) cancel_on_disconnect: bool,
}

/// What happens to shells that the agent leaves in the background.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shells {
    /// They are ended after a grace
    End,
    /// The session goes on until they have ended by themselves
    Wait,
    /// They are left running
    Keep,
}

impl Shells {
    fn to_domain(self) -> Background {
        match self {
            Self::End => Background::End,
            Self::Wait => Background::Wait,
            Self::Keep => Background::Keep,
        }
    }
}

/// The permission modes, in the CLI's own words.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum Mode {
    /// Ask for what the rules do not allow
    Default,
    /// File edits need no permission
    AcceptEdits,
    /// Plan only; nothing is changed before the plan is approved
    Plan,
    /// The CLI's own classifier decides
    Auto,
    /// What would be asked is denied
    DontAsk,
    /// Nothing is asked
    BypassPermissions,
}

/// `get_execution`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GetArguments {
    /// The session, by its whole id or its last digits
    pub(super) session_id: String,
    /// Tell only what happened after this record: the `after` of an earlier answer
    #[serde(default)]
    pub(super) after: u64,
    /// Wait until the session has ended or asks something, at most so many seconds (up to 3600)
    #[serde(default)]
    pub(super) wait_seconds: Option<u64>,
    /// Read a long answer piece by piece: 0 gives its beginning, and each piece says what to give for the next one
    #[serde(default)]
    pub(super) result_from: Option<usize>,
}

/// `list_executions`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListArguments {
    /// Only sessions in this state, such as running, awaiting_input, completed or failed
    #[serde(default)]
    pub(super) state: Option<String>,
    /// All sessions there ever were, not only those that live or ended lately
    #[serde(default)]
    pub(super) all: bool,
    /// Go on after this session: the `next_before` of an earlier answer
    #[serde(default)]
    pub(super) before: Option<String>,
    /// How many at most (up to 100). Default: 20
    #[serde(default)]
    pub(super) limit: Option<usize>,
}

/// `answer_question`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerArguments {
    /// The session, by its whole id or its last digits
    pub(super) session_id: String,
    /// The question, such as q1. Default: the only one that is open
    #[serde(default)]
    pub(super) question_id: Option<String>,
    /// allow or deny a permission or a plan; choose for a choice; submit a form. Anything can be denied
    pub(super) action: Action,
    /// For deny: why, told to the agent
    #[serde(default)]
    pub(super) reason: Option<String>,
    /// For allow: grant all rules that the question suggests, so that the like is not asked again in this session
    #[serde(default)]
    pub(super) remember: bool,
    /// For allow: grant these lines of the question's offers as well, for the rest of the session
    #[serde(default)]
    pub(super) grant: Vec<String>,
    /// For choose: for each question's text the chosen label, or words of one's own. Where several may be chosen, join
    /// labels, and words of one's own beside them, by ", "
    #[serde(default)]
    pub(super) answers: BTreeMap<String, String>,
    /// For submit: the form's content
    #[serde(default)]
    pub(super) content: Option<Value>,
}

/// What an answer says.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    /// Yes
    Allow,
    /// No
    Deny,
    /// These options
    Choose,
    /// This content
    Submit,
}

/// `control_execution`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ControlArguments {
    /// The session, by its whole id or its last digits
    pub(super) session_id: String,
    /// What to do: cancel
    pub(super) action: ControlAction,
}

/// What can be done to a session.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ControlAction {
    /// End it
    Cancel,
}

impl Execute {
    /// The request; `directory` is where the caller works, for one that names none.
    pub(super) fn to_request(&self, directory: Option<&Path>) -> Result<Request, ToolError> {
        if self.task.trim().is_empty() {
            return Err(ToolError::Arguments("missing field `task`, or it is empty".to_owned()));
        }
        let cwd = self.cwd.as_deref().or(directory).ok_or(ToolError::NoDirectory)?;
        Ok(Request {
            task: self.task.clone(),
            cwd: cwd.to_owned(),
            name: self.name.clone(),
            model: self.model.clone(),
            permission_mode: self.permission_mode.map(Mode::to_domain),
            allowed_tools: self.allowed_tools.clone(),
            disallowed_tools: self.disallowed_tools.clone(),
            append_system_prompt: self.append_system_prompt.clone(),
            json_schema: self.json_schema.clone(),
            max_turns: self.max_turns,
            max_budget_usd: self.max_budget_usd,
            timeout_seconds: self.timeout_seconds,
            checkpoint_interval_seconds: self.checkpoint_interval,
            background_shells: self.background_shells.map(Shells::to_domain),
            keep_background: self.keep_background,
            executor_tools: self.executor_tools,
            ..Request::default()
        })
    }
}

impl Mode {
    fn to_domain(self) -> PermissionMode {
        match self {
            Self::Default => PermissionMode::Default,
            Self::AcceptEdits => PermissionMode::AcceptEdits,
            Self::Plan => PermissionMode::Plan,
            Self::Auto => PermissionMode::Auto,
            Self::DontAsk => PermissionMode::DontAsk,
            Self::BypassPermissions => PermissionMode::BypassPermissions,
        }
    }
}

impl AnswerArguments {
    /// The answer in our own terms; whether it fits the question is looked at there.
    pub(super) fn to_answer(&self) -> Answer {
        match self.action {
            Action::Allow => Answer::Allow {
                updated_input: None,
                remember: self.remember,
                grant: self.grant.iter().cloned().map(Pick::Words).collect(),
            },
            Action::Deny => Answer::Deny {
                reason: self.reason.clone(),
                interrupt: false,
            },
            Action::Choose => Answer::Choose {
                answers: self.answers.clone(),
            },
            Action::Submit => Answer::Submit {
                content: self.content.clone().unwrap_or(Value::Null),
            },
        }
    }
}
