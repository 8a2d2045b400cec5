//! What an agent says, decoded. `agent::wire` makes these from the agent's lines; nobody else knows those lines.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::question::QuestionKind;

pub(super) use self::timer::shown;
pub use self::timer::{TimerChange, TimerKind};
pub use self::turn_end::{Conclusion, TurnEnd, Usage};

mod timer;
mod turn_end;

/// One decoded line of an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// Something that is journalled as `agent.message`.
    Message {
        /// The agent's own id of the line.
        uuid: Option<Uuid>,
        /// The message.
        message: Message,
    },
    /// What became of a message that we sent.
    Input {
        /// Our uuid of it.
        uuid: Uuid,
        /// The state of the message.
        state: InputState,
    },
    /// A content block begins; the next whole block of this message is that one.
    BlockStarted {
        /// The message it belongs to.
        message_id: String,
        /// Its place in the message, from 0.
        block: u32,
    },
    /// Partial text.
    Delta(Delta),
    /// Partial text that will not be completed.
    DraftsAbandoned {
        /// The message the text belonged to.
        message_id: String,
        /// The first block that is given up.
        from_block: u32,
    },
    /// The agent needs a person.
    Asked(Asked),
    /// The agent wants something of its host that we do not serve.
    Unserved {
        /// The agent's id of the request.
        request_id: String,
        /// The CLI's name of the request.
        subtype: String,
    },
    /// The agent no longer wants the answer.
    AskCancelled {
        /// The agent's id of the request.
        request_id: String,
    },
    /// The answer to a control request of ours.
    Reply {
        /// Our id of the request.
        request_id: String,
        /// What came back, or why nothing did.
        result: Result<Value, String>,
    },
    /// A model call of the main conversation has ended.
    CallEnded,
    /// What the agent says it is doing now.
    Activity(Activity),
    /// A sign of life without content.
    Alive,
    /// The agent's process lives. It says so at regular times, whether a tool works or hangs.
    Heartbeat {
        /// The tool call that the heartbeat is about, if it names one.
        tool_use_id: Option<String>,
    },
    /// A line of a kind we do not know, or no JSON at all.
    Unknown {
        /// Its type, when it has one.
        kind: Option<String>,
    },
}

/// What the agent says it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// A turn is going on.
    Running,
    /// It waits for an answer.
    RequiresAction,
    /// It waits for input.
    Idle,
    /// A request to the API has begun.
    Requesting,
}

/// What became of a message sent to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputState {
    /// It is about to be written to the agent.
    Sent,
    /// The agent has it and has not begun.
    Queued,
    /// The agent works on it.
    Started,
    /// The agent is done with it.
    Completed,
    /// It was cancelled.
    Cancelled,
}

/// Partial text while it is being written: shown live, never stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Delta {
    /// The message it belongs to.
    pub message_id: String,
    /// The content block of that message, from 0.
    pub block: u32,
    /// What is being written.
    pub part: DeltaPart,
    /// The text that was added.
    pub text: String,
}

/// What a [`Delta`] is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeltaPart {
    /// Text for the reader.
    Text,
    /// The model's thinking.
    Thinking,
    /// The input of a tool call, as JSON text.
    ToolInput,
}

/// A request of the agent that only a person can answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The agent's id of the request; it changes when a resumed agent asks again.
    pub request_id: String,
    /// The tool call it is about.
    pub tool_use_id: Option<String>,
    /// The content of the question.
    pub kind: QuestionKind,
}

/// What an agent says, as it is journalled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    /// A turn begins.
    TurnStarted {
        /// The agent's own session id.
        agent_session_id: Uuid,
        /// The model.
        model: String,
        /// The permission mode in force.
        permission_mode: String,
        /// The agent's version.
        agent_version: String,
        /// MCP servers that are not connected.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mcp_servers_failed: Vec<String>,
    },
    /// The permission mode changed, by the agent, an approved plan or a grant.
    ModeChanged {
        /// The permission mode in force.
        permission_mode: String,
    },
    /// Text for the reader.
    Text {
        /// The message it belongs to.
        message_id: String,
        /// The content block of that message, from 0.
        #[serde(default)]
        block: u32,
        /// The text.
        text: String,
        /// The subagent's tool call, when a subagent wrote it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<String>,
        /// The text was cut by an interrupt.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        aborted: bool,
        /// The text is the CLI's own report of an API error of this kind.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<String>)]
        error: Option<ApiFault>,
    },
    /// The model's thinking.
    Thinking {
        /// The message it belongs to.
        message_id: String,
        /// The content block of that message, from 0.
        #[serde(default)]
        block: u32,
        /// The text; empty where the model keeps it to itself.
        text: String,
        /// The subagent's tool call, when a subagent wrote it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<String>,
    },
    /// A tool is called.
    ToolUse {
        /// The message it belongs to.
        message_id: String,
        /// The content block of that message, from 0.
        #[serde(default)]
        block: u32,
        /// The id its result will name.
        tool_use_id: String,
        /// The tool.
        name: String,
        /// Its arguments.
        input: Value,
        /// The subagent's tool call, when a subagent calls it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<String>,
        /// When the agent made the call, by the machine's clock, if the agent says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        called_at: Option<Timestamp>,
    },
    /// A tool has answered.
    ToolResult {
        /// The call it answers.
        tool_use_id: String,
        /// Its text.
        text: String,
        /// It failed, or was refused.
        is_error: bool,
        /// The subagent's tool call, when a subagent called it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<String>,
    },
    /// Text that entered the conversation as the user's: a notice of the CLI's own, or an echo.
    UserText {
        /// The text.
        text: String,
        /// The CLI wrote it.
        synthetic: bool,
    },
    /// A tool call was denied without anybody being asked.
    PermissionDenied {
        /// The tool.
        tool: String,
        /// The call.
        tool_use_id: String,
        /// The reason, in words for a person.
        reason: String,
    },
    /// A background task or subagent has begun.
    TaskStarted {
        /// Its id.
        task_id: String,
        /// The kind of task.
        task: TaskKind,
        /// Whether the turn goes on beside it.
        background: bool,
        /// The task in one line.
        description: String,
    },
    /// A background task or subagent has ended.
    TaskEnded {
        /// Its id.
        task_id: String,
        /// How: completed, failed or stopped.
        #[schema(value_type = String)]
        status: TaskStatus,
        /// The task in one line, with its result.
        summary: String,
    },
    /// The set of background tasks, whole.
    BackgroundTasks {
        /// Those that live now.
        tasks: Vec<BackgroundTask>,
    },
    /// The agent's own timers have changed.
    Timer(TimerChange),
    /// A request to the API failed and is tried again.
    ApiRetry {
        /// The number of this retry, from 1.
        retry: u32,
        /// How many there may be.
        retries_max: u32,
        /// The wait before it, in milliseconds.
        delay_ms: u64,
        /// The HTTP status; none when there was no answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// The kind of failure.
        #[schema(value_type = String)]
        error: ApiFault,
        /// Time until which a refused login is tried again. Present only if the login was accepted earlier in the session.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        login_until: Option<Timestamp>,
    },
    /// What the usage limits say.
    RateLimit {
        /// Requests are refused until the reset.
        rejected: bool,
        /// When the limit is reset, in seconds since 1970.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resets_at: Option<i64>,
        /// The name of the usage limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<String>,
        /// How much of it is used, from 0 to 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        utilization: Option<f64>,
    },
    /// The conversation was compacted.
    Compacted {
        /// Tokens before.
        pre_tokens: u64,
        /// Tokens after.
        post_tokens: u64,
    },
    /// The conversation was cleared and goes on under a new id.
    ConversationReset {
        /// The new id.
        agent_session_id: Uuid,
    },
    /// Something the CLI says to its user.
    Said {
        /// The CLI's word for what it is.
        topic: String,
        /// The text.
        text: String,
        /// Why nothing follows the text in this turn, if a hook or the CLI stopped the turn with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stopped: Option<String>,
    },
    /// Output of a slash command that the CLI ran itself, such as `/context`. The model did not write it.
    CommandOutput {
        /// The text.
        text: String,
        /// The command failed, or the CLI does not have it.
        failed: bool,
    },
    /// A turn has ended.
    TurnEnded(Box<TurnEnd>),
}

impl Message {
    /// The id of the model call in the main conversation that said this; none for subagents, and for what the CLI writes in
    /// the model's place.
    pub fn model_call(&self) -> Option<&str> {
        match self {
            Self::Text {
                message_id,
                parent: None,
                error: None,
                ..
            }
            | Self::Thinking {
                message_id,
                parent: None,
                ..
            }
            | Self::ToolUse {
                message_id,
                parent: None,
                ..
            } => Some(message_id),
            _ => None,
        }
    }

    /// When the usage limit that it tells of is reset, if it says so.
    pub fn limit_resets_at(&self) -> Option<Timestamp> {
        let Self::RateLimit { resets_at, .. } = self else {
            return None;
        };
        resets_at.and_then(|seconds| Timestamp::from_second(seconds).ok())
    }
}

/// Kind of failure of an API request, as the agent reports it.
///
/// Records have these names since version 0.1. They are those of CLI 2.1.330; if a later CLI has others, `agent::wire`
/// translates them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiFault {
    /// The login is missing or refused.
    AuthenticationFailed,
    /// Too many requests, or a usage limit.
    RateLimit,
    /// The API has too much to do.
    Overloaded,
    /// The API fails.
    ServerError,
    /// There was no answer, or one that says nothing.
    #[default]
    Unknown,
    /// Another kind.
    #[serde(untagged)]
    Other(String),
}

impl ApiFault {
    /// Returns true if the next request may succeed without any change.
    pub fn passes(&self) -> bool {
        match self {
            Self::RateLimit | Self::Overloaded | Self::ServerError | Self::Unknown => true,
            Self::AuthenticationFailed | Self::Other(_) => false,
        }
    }
}

impl fmt::Display for ApiFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// End of a background task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// It ended well.
    Completed,
    /// It failed.
    Failed,
    /// It was stopped.
    #[default]
    Stopped,
    /// Another word of the agent.
    #[serde(untagged)]
    Other(String),
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Kinds of background task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// A shell command.
    Shell,
    /// A subagent.
    Agent,
    /// Something else.
    Other,
}

/// One background task that lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackgroundTask {
    /// Its id.
    pub task_id: String,
    /// The kind of task.
    pub task: TaskKind,
    /// The task in one line.
    pub description: String,
}
