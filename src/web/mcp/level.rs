//! How much a log message matters.

use rmcp::model::LoggingLevel;

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// For developers.
    Debug,
    /// Progress.
    Info,
    /// What a person may want to know.
    Notice,
    /// Something that may be wrong.
    Warning,
    /// Something that is wrong.
    Error,
}

impl Level {
    /// The level in rmcp's terms.
    pub(super) fn on_the_wire(self) -> LoggingLevel {
        match self {
            Self::Debug => LoggingLevel::Debug,
            Self::Info => LoggingLevel::Info,
            Self::Notice => LoggingLevel::Notice,
            Self::Warning => LoggingLevel::Warning,
            Self::Error => LoggingLevel::Error,
        }
    }

    /// What a client asked for; levels above ours mean that it wants nothing of us.
    pub(super) fn of(wanted: LoggingLevel) -> Option<Self> {
        match wanted {
            LoggingLevel::Debug => Some(Self::Debug),
            LoggingLevel::Info => Some(Self::Info),
            LoggingLevel::Notice => Some(Self::Notice),
            LoggingLevel::Warning => Some(Self::Warning),
            LoggingLevel::Error => Some(Self::Error),
            LoggingLevel::Critical | LoggingLevel::Alert | LoggingLevel::Emergency => None,
        }
    }
}
