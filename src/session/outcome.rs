//! How an attempt ends, how a session ends, and the sentence a person reads about it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::trust::Project;

/// How one attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "ending", rename_all = "snake_case")]
pub enum Ending {
    /// The task is done: a result for our last message, and nothing left open.
    Finished,
    /// The agent or the API will not go on, and trying again would not help.
    Refused {
        /// The cause that the refusal names.
        cause: Cause,
        /// Its own words.
        message: String,
    },
    /// The agent has no valid login.
    NotSignedIn {
        /// Its own words, where it had any.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
        /// Time until which the session tries the login again. Absent if the session fails at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// A usage limit is reached.
    Quota {
        /// When it is reset, if the agent said so.
        resets_at: Option<Timestamp>,
    },
    /// The API did not answer for too long, or the agent gave up on it.
    ApiDown {
        /// Its own words.
        message: String,
    },
    /// The agent process died without finishing.
    Crashed,
    /// Our own execution actor panicked; the agent was ended.
    Panicked,
    /// The agent was silent beyond the clock of what it was doing.
    Stalled,
    /// The agent's conversation is missing or was refused.
    LostContext {
        /// Its own words.
        message: String,
    },
    /// The agent could not be started.
    NotStarted {
        /// Why, and what to do.
        message: String,
    },
    /// The agent was not started, because the directory starts something by itself that nobody has trusted.
    Untrusted {
        /// What it starts, and what holds for it without asking.
        project: Box<Project>,
    },
    /// We ended it, because the session was cancelled or timed out.
    Stopped,
}

impl Ending {
    /// The short name, as in the journal.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Refused { .. } => "refused",
            Self::NotSignedIn { .. } => "not_signed_in",
            Self::Quota { .. } => "quota",
            Self::ApiDown { .. } => "api_down",
            Self::Crashed => "crashed",
            Self::Panicked => "panicked",
            Self::Stalled => "stalled",
            Self::LostContext { .. } => "lost_context",
            Self::NotStarted { .. } => "not_started",
            Self::Untrusted { .. } => "untrusted",
            Self::Stopped => "stopped",
        }
    }

    /// Returns true if the agent refused what it was told before the model saw it.
    pub fn is_before_model(&self) -> bool {
        let causes = [Cause::PromptBlocked, Cause::CommandFailed];
        matches!(self, Self::Refused { cause, .. } if causes.contains(cause))
    }

    /// Whether a restart after it counts against the restart budget.
    pub fn is_charged(&self) -> bool {
        match self {
            Self::Crashed | Self::Panicked | Self::Stalled | Self::LostContext { .. } => true,
            Self::Finished
            | Self::Refused { .. }
            | Self::NotSignedIn { .. }
            | Self::Quota { .. }
            | Self::ApiDown { .. }
            | Self::NotStarted { .. }
            | Self::Untrusted { .. }
            | Self::Stopped => false,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("the task is done"),
            Self::Refused { cause, message } if message.is_empty() => write!(f, "{cause}"),
            Self::Refused { cause, message } => write!(f, "{cause}: {message}"),
            Self::NotSignedIn { message, until } => {
                match until {
                    Some(until) => write!(
                        f,
                        "the login is refused, and tried again until {until:.0}; if it has run out"
                    )?,
                    None => f.write_str("the agent is not signed in")?,
                }
                f.write_str(": run `claude` once and log in, or set its API key")?;
                if message.is_empty() {
                    return Ok(());
                }
                write!(f, "; it says: {message}")
            }
            Self::Quota { resets_at: Some(at) } => write!(f, "a usage limit is reached; it is reset at {at}"),
            Self::Quota { resets_at: None } => f.write_str("a usage limit is reached"),
            Self::ApiDown { message } => write!(f, "the API does not answer: {message}"),
            Self::Crashed => f.write_str("the agent process died"),
            Self::Panicked => f.write_str("a fault of our own ended the execution"),
            Self::Stalled => f.write_str("the agent was silent for too long"),
            Self::LostContext { message } => write!(f, "the agent's conversation is lost: {message}"),
            Self::NotStarted { message } => write!(f, "the agent could not be started: {message}"),
            Self::Untrusted { project } => write!(
                f,
                "{} starts something by itself that nobody has trusted",
                project.shown_root()
            ),
            Self::Stopped => f.write_str("the agent was stopped"),
        }
    }
}

/// Why a session failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The most turns were used.
    MaxTurns,
    /// The most money was spent.
    Budget,
    /// The API refused the request.
    BadRequest,
    /// The conversation no longer fits the model.
    PromptTooLong,
    /// The model refused the task.
    ModelRefusal,
    /// The agent gave no answer that fits the JSON Schema of the request.
    NoStructuredOutput,
    /// A hook or a plugin stopped the prompt before the model saw it.
    PromptBlocked,
    /// The slash command that is the task failed before or without the model, or the CLI does not have it.
    CommandFailed,
    /// The turn ended in an error that says no more.
    AgentError,
    /// The agent is not signed in.
    Auth,
    /// A usage limit is reached, and waiting for its reset is turned off.
    Quota,
    /// The agent process died.
    Crashed,
    /// The restart budget is used up, or the agent dies at the same place again and again.
    Parked,
    /// The agent could not be started.
    NotStarted,
}

impl Cause {
    /// The short name, as on every wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxTurns => "max_turns",
            Self::Budget => "budget",
            Self::BadRequest => "bad_request",
            Self::PromptTooLong => "prompt_too_long",
            Self::ModelRefusal => "model_refusal",
            Self::NoStructuredOutput => "no_structured_output",
            Self::PromptBlocked => "prompt_blocked",
            Self::CommandFailed => "command_failed",
            Self::AgentError => "agent_error",
            Self::Auth => "auth",
            Self::Quota => "quota",
            Self::Crashed => "crashed",
            Self::Parked => "parked",
            Self::NotStarted => "not_started",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MaxTurns => "the limit of turns is reached",
            Self::Budget => "the budget is spent",
            Self::BadRequest => "the API refused the request",
            Self::PromptTooLong => "the conversation is too long for the model",
            Self::ModelRefusal => "the model refused",
            Self::NoStructuredOutput => "the agent gave no answer that fits the JSON Schema",
            Self::PromptBlocked => "a hook stopped the prompt before the model saw it",
            Self::CommandFailed => "the slash command failed",
            Self::AgentError => "the agent ended its turn with an error",
            Self::Auth => "the agent is not signed in",
            Self::Quota => "a usage limit is reached",
            Self::Crashed => "the agent process died",
            Self::Parked => "the agent died too often",
            Self::NotStarted => "the agent could not be started",
        })
    }
}

/// How a session ended. All but completed can be resumed by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The task is done.
    Completed,
    /// It is not done, and we do not try again.
    Failed {
        /// The cause of the failure.
        cause: Cause,
    },
    /// Somebody cancelled it.
    Cancelled,
    /// Its time was up.
    TimedOut,
}

impl Outcome {
    /// The short name, as on every wire; the cause stands beside it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }

    /// The cause of a failure.
    pub fn cause(self) -> Option<Cause> {
        match self {
            Self::Failed { cause } => Some(cause),
            Self::Completed | Self::Cancelled | Self::TimedOut => None,
        }
    }
}

/// What we stop an agent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopFor {
    /// Somebody cancelled the session.
    Cancelled,
    /// Its time was up.
    TimedOut,
}

impl StopFor {
    /// The outcome that follows once the agent is gone.
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Cancelled => Outcome::Cancelled,
            Self::TimedOut => Outcome::TimedOut,
        }
    }
}
