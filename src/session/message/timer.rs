//! Changes of the timers that an agent sets for itself.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Kinds of timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimerKind {
    /// The one wakeup that a conversation has.
    Wakeup,
    /// A job at a time or by a schedule.
    Job,
    /// A command whose output wakes the agent.
    Watch,
}

/// A change of the agent's own timers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum TimerChange {
    /// The agent sets a timer, which replaces an earlier one with the same id.
    Set {
        /// The tool call that sets it.
        tool_use_id: String,
        /// The kind of timer.
        timer: TimerKind,
        /// The id of the timer.
        id: String,
        /// The time at which it is due first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due: Option<Timestamp>,
        /// The time after which it ends by itself, in milliseconds from now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lasts_ms: Option<u64>,
        /// True if it fires again and again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        repeats: bool,
        /// Its schedule, in the CLI's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schedule: Option<String>,
    },
    /// The agent cancels a timer.
    Cancelled {
        /// The id of the timer.
        id: String,
    },
    /// A timer fires and starts a turn.
    Fired {
        /// The kind of timer.
        timer: TimerKind,
        /// The time that it was set for, if the CLI names it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due: Option<Timestamp>,
    },
}

impl TimerChange {
    /// The id of the one wakeup of a conversation.
    pub const WAKEUP: &str = "wakeup";

    /// The change as one line.
    pub fn line(&self) -> String {
        match self {
            Self::Set {
                due: Some(due), timer, ..
            } => format!("{} set for {}", timer.name(), shown(*due)),
            Self::Set { timer, .. } => format!("{} set", timer.name()),
            Self::Cancelled { id } => format!("timer {id} cancelled"),
            Self::Fired { timer, .. } => format!("{} fired", timer.name()),
        }
    }
}

impl TimerKind {
    /// The kind in words.
    pub(in crate::session) fn name(self) -> &'static str {
        match self {
            Self::Wakeup => "wakeup",
            Self::Job => "scheduled job",
            Self::Watch => "watch",
        }
    }
}

/// A time as people and agents read it, to the second and with its zone.
pub(in crate::session) fn shown(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
