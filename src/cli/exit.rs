//! Exit codes, which are part of the interface, and the errors that lead to them.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// How a command of the CLI ends. The numbers never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command did its work; for a session: it completed, or goes on without us.
    Ok,
    /// The session failed, or the command could not do its work.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// No session or question has this id.
    UnknownId,
    /// No daemon runs, and this command does not start one.
    NoDaemon,
    /// The daemon understood and refused.
    Refused,
    /// The session's time was up.
    TimedOut,
    /// The session was cancelled.
    Cancelled,
}

impl Exit {
    /// Every way to end, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::Ok,
        Self::Failed,
        Self::Usage,
        Self::UnknownId,
        Self::NoDaemon,
        Self::Refused,
        Self::TimedOut,
        Self::Cancelled,
    ];

    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::UnknownId => 3,
            Self::NoDaemon => 4,
            Self::Refused => 5,
            Self::TimedOut => 124,
            Self::Cancelled => 130,
        }
    }

    /// What it means, for the help text.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "completed, or detached",
            Self::Failed => "failed",
            Self::Usage => "wrong usage",
            Self::UnknownId => "unknown session or question",
            Self::NoDaemon => "no daemon runs",
            Self::Refused => "refused by the daemon",
            Self::TimedOut => "timed out",
            Self::Cancelled => "cancelled",
        }
    }

    /// The exit of a session that ended so; one that has not ended counts as detached.
    pub(crate) fn of_outcome(outcome: Option<&str>) -> Self {
        match outcome {
            None | Some("completed") => Self::Ok,
            Some("cancelled") => Self::Cancelled,
            Some("timed_out") => Self::TimedOut,
            Some(_) => Self::Failed,
        }
    }

    /// The worse of two: a failure is worse than a time-out, and that is worse than a cancel.
    pub(crate) fn worse(self, other: Self) -> Self {
        if self.badness() >= other.badness() { self } else { other }
    }

    fn badness(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Cancelled => 1,
            Self::TimedOut => 2,
            Self::Failed => 3,
            Self::Refused => 4,
            Self::UnknownId => 5,
            Self::NoDaemon => 6,
            Self::Usage => 7,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do its work; each message says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// No session or question has this id.
    #[error("{0}")]
    UnknownId(String),
    /// No daemon runs for this state directory.
    #[error("no daemon runs for {}: start one with `cc-executor serve`, or `cc-executor run` starts one by itself", .0.display())]
    NoDaemon(PathBuf),
    /// No daemon runs, and this command is run by an agent, which may not start one: a person has stopped it.
    #[error(
        "no daemon runs for {}, and an agent does not start one: ask a person to run `cc-executor serve`, or any command \
         that starts it",
        .0.display()
    )]
    InsideAgent(PathBuf),
    /// The daemon refused.
    #[error("{0}")]
    Refused(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
    /// Nobody reads our output any more: a quiet end.
    #[error("nobody reads the output")]
    BrokenPipe,
}

impl Failure {
    /// The exit that follows. A reader that went away has seen what it wanted.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::UnknownId(_) => Exit::UnknownId,
            Self::NoDaemon(_) | Self::InsideAgent(_) => Exit::NoDaemon,
            Self::Refused(_) => Exit::Refused,
            Self::Failed(_) => Exit::Failed,
            Self::BrokenPipe => Exit::Ok,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::Failed(format!("cannot read or write the terminal: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_what_scripts_rely_on() {
        let codes: Vec<_> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 124, 130]);
    }

    #[test]
    fn a_session_ends_the_command_with_its_outcome() {
        let code = |outcome| Exit::of_outcome(outcome).code();
        assert_eq!(code(None), 0);
        assert_eq!(code(Some("completed")), 0);
        assert_eq!(code(Some("failed")), 1);
        assert_eq!(code(Some("timed_out")), 124);
        assert_eq!(code(Some("cancelled")), 130);
        assert_eq!(code(Some("of a newer version")), 1, "an unknown outcome is no success");
    }

    #[test]
    fn the_worst_of_several_wins() {
        let worst = [Exit::Ok, Exit::Cancelled, Exit::Failed, Exit::TimedOut]
            .into_iter()
            .reduce(Exit::worse);
        assert_eq!(worst, Some(Exit::Failed));
    }

    #[test]
    fn a_broken_pipe_is_a_quiet_end() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(matches!(failure, Failure::BrokenPipe));
        assert_eq!(failure.exit(), Exit::Ok);
    }
}
