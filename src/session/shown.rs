//! The state of a session as people see it: one list for every face.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::journal::StateName;
use super::outcome::Outcome;

/// Defines [`Shown`] so that each state's name stands in one place only.
macro_rules! states {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// State of a session as it is shown.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        #[schema(as = ShownState)]
        pub enum Shown {
            $($(#[$doc])* $variant,)*
        }

        impl Shown {
            /// All states, in the order of a session's life.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Name on every wire.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

states! {
    /// Waits for a free slot.
    Queued = "queued",
    /// An agent was started and has not answered yet.
    Starting = "starting",
    /// An agent is at work.
    Running = "running",
    /// A question waits for a person.
    AwaitingInput = "awaiting_input",
    /// The agent waits for the reset of a usage limit.
    WaitingQuota = "waiting_quota",
    /// The API fails and the agent asks it again.
    WaitingApi = "waiting_api",
    /// The login is refused and tried again.
    WaitingLogin = "waiting_login",
    /// The agent waits for a timer that it has set.
    WaitingTimer = "waiting_timer",
    /// The disk is full.
    Paused = "paused",
    /// The next attempt begins later.
    WaitingRetry = "waiting_retry",
    /// The agent is being ended.
    Stopping = "stopping",
    /// Ended: the task is done.
    Completed = "completed",
    /// Ended: the task is not done.
    Failed = "failed",
    /// Ended: somebody cancelled it.
    Cancelled = "cancelled",
    /// Ended: its time was up.
    TimedOut = "timed_out",
}

impl Shown {
    /// Returns true while the session has not ended.
    pub fn is_live(self) -> bool {
        match self {
            Self::Queued
            | Self::Starting
            | Self::Running
            | Self::AwaitingInput
            | Self::WaitingQuota
            | Self::WaitingApi
            | Self::WaitingLogin
            | Self::WaitingTimer
            | Self::Paused
            | Self::WaitingRetry
            | Self::Stopping => true,
            Self::Completed | Self::Failed | Self::Cancelled | Self::TimedOut => false,
        }
    }

    /// The states of sessions that have not ended.
    pub fn live() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|state| state.is_live())
    }

    /// The states of sessions that have ended.
    pub fn ended() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|state| !state.is_live())
    }

    /// All names, separated by commas.
    pub fn names() -> String {
        let names: Vec<&str> = Self::ALL.iter().map(|state| state.name()).collect();
        names.join(", ")
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Shown {
    type Err = UnknownState;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|state| state.name() == name);
        found.copied().ok_or_else(|| UnknownState(name.to_owned()))
    }
}

/// No state has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no state is called {0:?}: use one of {names}", names = Shown::names())]
pub struct UnknownState(pub String);

impl From<StateName> for Shown {
    fn from(state: StateName) -> Self {
        match state {
            StateName::Queued => Self::Queued,
            StateName::Starting => Self::Starting,
            StateName::Running => Self::Running,
            StateName::Asking => Self::AwaitingInput,
            StateName::WaitingRetry => Self::WaitingRetry,
            StateName::Stopping => Self::Stopping,
            StateName::Completed => Self::Completed,
            StateName::Failed => Self::Failed,
            StateName::Cancelled => Self::Cancelled,
            StateName::TimedOut => Self::TimedOut,
        }
    }
}

impl From<Outcome> for Shown {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::Failed { .. } => Self::Failed,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::TimedOut => Self::TimedOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for state in Shown::ALL {
            assert_eq!(state.name().parse(), Ok(*state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        let refused = "asleep".parse::<Shown>().unwrap_err().to_string();
        assert!(
            refused.contains("asleep") && refused.contains("queued, starting"),
            "{refused}"
        );
    }

    #[test]
    fn a_session_has_ended_in_the_states_of_its_outcomes_alone() {
        let ended: Vec<Shown> = Shown::ended().collect();
        let outcomes = ["completed", "failed", "cancelled", "timed_out"];
        assert_eq!(ended.iter().map(|state| state.name()).collect::<Vec<_>>(), outcomes);
        assert_eq!(Shown::live().count() + ended.len(), Shown::ALL.len());
    }
}
