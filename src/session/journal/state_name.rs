//! The states between which a record says that a session went.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The name of a state, as in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    /// `State::Queued`
    Queued,
    /// `State::Starting`
    Starting,
    /// `State::Running`
    Running,
    /// `State::Asking`
    Asking,
    /// `State::WaitingRetry`
    WaitingRetry,
    /// `State::Stopping`
    Stopping,
    /// Ended: completed
    Completed,
    /// Ended: failed
    Failed,
    /// Ended: cancelled
    Cancelled,
    /// Ended: timed out
    TimedOut,
}

impl StateName {
    /// The name as on every wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Asking => "asking",
            Self::WaitingRetry => "waiting_retry",
            Self::Stopping => "stopping",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
