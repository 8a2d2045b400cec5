//! What the daemon and an agent host say to each other over their websocket, and the launch plan on disk.
//!
//! Text frames carry one JSON object ([`ToHost`], [`FromHost`]); binary frames carry spool bytes: eight bytes of
//! little-endian offset, then at most [`CHUNK_BYTES_MAX`] bytes from there. Fields may be added; a meaning never
//! changes without a new [`PROTOCOL_VERSION`], because hosts of an older binary live on through an upgrade. Orders may be
//! added: a host that does not know one answers [`FromHost::NotUnderstood`], and hosts from before that answer
//! [`FromHost::Trouble`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use super::cgroup::Cgroup;
pub use super::mark::ATTEMPT_MARK;
use super::mark::{Mark, Secret};
pub use super::place::AcceptedDirectory;
pub use super::proc::AgentProcess;
use crate::session::id::{Attempt, SessionId};
use crate::session::umask::Umask;

/// The version a host announces in its hello.
pub const PROTOCOL_VERSION: u32 = 1;

/// The most spool bytes in one binary frame: half the default frame limit of both websocket ends.
pub const CHUNK_BYTES_MAX: usize = 32 * 1024;

/// How far ahead of what it has taken the daemon lets a host send.
pub const WINDOW_BYTES: u64 = 256 * 1024;

/// The longest stdin line a host writes, its newline included; longer texts go to a file that the line names.
///
/// This is how large a pipe every user may make (`/proc/sys/fs/pipe-max-size`), where nobody has changed that.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// The longest text frame a host takes: the longest line with every character of it escaped, and room around it.
pub const FRAME_BYTES_MAX: usize = 2 * LINE_BYTES_MAX + 64 * 1024;

/// Length of the offset that begins each binary frame.
pub const OFFSET_BYTES: usize = 8;

/// Names of the files of one attempt, all in its directory, which is the host's working directory.
pub mod files {
    /// The launch plan, [`super::LaunchPlan`] as JSON, mode 0600.
    pub const LAUNCH: &str = "launch.json";
    /// The agent's standard output.
    pub const SPOOL: &str = "stdout.jsonl";
    /// The agent's standard error.
    pub const STDERR: &str = "stderr.log";
    /// The FIFO that is the agent's standard input.
    pub const STDIN: &str = "stdin";
    /// Held (flock) by the agent for as long as it lives.
    pub const AGENT_LOCK: &str = "agent.lock";
    /// Held (flock) by the host for as long as it lives.
    pub const HOST_LOCK: &str = "host.lock";
    /// Which process the agent is, [`super::AgentProcess`] as JSON.
    pub const AGENT: &str = "agent.json";
    /// How the agent ended, [`super::AgentExit`] as JSON; written once.
    pub const EXIT: &str = "exit.json";
    /// What the host itself has to say.
    pub const HOST_LOG: &str = "host.log";
}

/// Everything a host needs to start its agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchPlan {
    /// The session the agent works for.
    pub session: SessionId,
    /// Which attempt of it this is.
    pub attempt: Attempt,
    /// Program and arguments; no shell is involved.
    pub argv: Vec<String>,
    /// The agent's whole environment; the host adds [`ATTEMPT_MARK`].
    pub env: BTreeMap<String, String>,
    /// The agent's working directory.
    pub cwd: PathBuf,
    /// Where the host listens.
    pub socket: PathBuf,
    /// The lock named by the agent's own session id: one owner of one transcript, whichever daemon it belongs to. Its
    /// file goes with the agent.
    pub transcript_lock: PathBuf,
    /// The agent's own session id.
    pub agent_session_id: Uuid,
    /// Bytes kept allocated beyond the spool's end.
    pub spool_reserve_bytes: u64,
    /// Soft limit of open files for the agent. The daemon raises its own, which the host inherits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// The umask that the agent starts with. Without one, which is how older daemons write it, the agent has the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<Umask>,
    /// The secret of the attempt's mark. Older daemons give none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Secret>,
    /// The working directory and those added, as they were when the request was accepted. The agent is started only if
    /// they are still the same. Older daemons, and sessions of older daemons, name none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<AcceptedDirectory>,
    /// The cgroup of the attempt, where the daemon has cgroups of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Cgroup>,
}

impl LaunchPlan {
    /// The mark of the planned attempt.
    pub(super) fn attempt_mark(&self) -> Mark {
        Mark::new(self.session, self.attempt, self.mark.clone()).within(self.cgroup.clone())
    }
}

/// How an agent process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum AgentExit {
    /// It exited with this status code.
    Code {
        /// The status code.
        code: i32,
    },
    /// A signal ended it.
    Signal {
        /// The signal's number.
        signal: i32,
    },
    /// It ended while no host of ours was its parent, so nobody knows.
    Unknown,
    /// It could not be started.
    NotStarted {
        /// The reason, in words for a person.
        error: String,
    },
}

/// What the daemon says to a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum ToHost {
    /// Send spool bytes from `from`, and on as they are written, until `through`.
    Read {
        /// Offset of the first byte.
        from: u64,
        /// Offset after the last byte that may be sent for now.
        through: u64,
        /// The daemon watches the spool and says when it grows: the host need hardly look by itself. A daemon that does
        /// not say so does not.
        #[serde(default)]
        nudged: bool,
    },
    /// Raise the limit of the read that is going on.
    Window {
        /// Offset after the last byte that may be sent for now.
        through: u64,
    },
    /// The spool has grown: look at once.
    Nudge,
    /// Write one line to the agent's stdin, whole or not at all.
    Write {
        /// Chosen by the daemon; comes back in the answer.
        id: u64,
        /// The line without its newline.
        line: String,
    },
    /// Send a signal to the agent.
    Signal {
        /// The signal's number.
        signal: i32,
    },
    /// Count the processes that the agent has started and that live.
    CountChildren,
    /// End whatever of this attempt outlives the agent, found by [`ATTEMPT_MARK`].
    EndLeftovers,
    /// The agent is gone and all it wrote is taken: remove the socket and exit.
    Release,
}

/// What a host says to the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ev", rename_all = "snake_case")]
pub enum FromHost {
    /// The first frame on every connection.
    Hello {
        /// The protocol this host speaks.
        protocol: u32,
        /// The session it serves.
        session: SessionId,
        /// The attempt it serves.
        attempt: Attempt,
        /// The host's own process.
        host_pid: i32,
        /// The agent's process, when one was ever started.
        agent: Option<AgentProcess>,
        /// How the agent ended, once it has.
        exit: Option<AgentExit>,
        /// Whether this host found the agent already running.
        adopted: bool,
        /// Length of the spool in bytes at this moment.
        spool_bytes: u64,
    },
    /// The agent has ended; it writes to the spool no more. Follows the hello at once if it had ended before.
    Exited {
        /// The exit code or signal of the process.
        exit: AgentExit,
        /// Final length of the spool in bytes.
        spool_bytes: u64,
        /// The end of what it wrote to stderr, at most 8 KiB.
        stderr_tail: String,
    },
    /// A line stands in the agent's stdin. Of a line whose answer did not arrive nothing is known: it may stand there.
    Written {
        /// The id from [`ToHost::Write`].
        id: u64,
    },
    /// A line was not written, and no part of it was.
    Refused {
        /// The id from [`ToHost::Write`].
        id: u64,
        /// The reason, in words for a person.
        error: String,
    },
    /// The answer to [`ToHost::CountChildren`].
    Children {
        /// Number of processes that bear the attempt's mark, without host and agent.
        count: usize,
        /// Age of the process among them that began last, in milliseconds. The time in which the machine slept counts.
        /// None if there is no process, if its age is unknown, or if the host is too old to tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        youngest_ms: Option<u64>,
    },
    /// The answer to [`ToHost::EndLeftovers`], sent when they are gone. Those that the host ended by itself are listed too.
    LeftoversEnded {
        /// One line for each process ended: pid and command.
        processes: Vec<String>,
    },
    /// The spool ends before what was read of it: somebody has cut it, and what the agent writes from now on may lie
    /// where it is not read. Said once a read.
    SpoolCut {
        /// Length of the spool in bytes at this moment.
        spool_bytes: u64,
    },
    /// An order was not understood, and nothing was done for it: the daemon is newer than this host.
    NotUnderstood {
        /// Name of the order, as [`ToHost`] has it in `op`.
        op: String,
        /// The order's own id, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        /// Parse error, for a person.
        error: String,
    },
    /// Something went wrong that does not end the connection.
    Trouble {
        /// The failure, in words for a person.
        error: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_tells_no_age_is_understood() {
        let older = r#"{"ev":"children","count":2}"#;
        let (count, youngest_ms) = (2, None);
        let children = FromHost::Children { count, youngest_ms };
        assert_eq!(serde_json::from_str::<FromHost>(older).unwrap(), children);
    }

    #[test]
    fn a_plan_of_the_version_before_has_no_umask() {
        let older = serde_json::json!({"session": SessionId::new(), "attempt": 1, "argv": ["claude"], "env": {}, "cwd": "/",
            "socket": "/s", "transcript_lock": "/l", "agent_session_id": Uuid::nil(), "spool_reserve_bytes": 0});
        let plan: LaunchPlan = serde_json::from_value(older.clone()).unwrap();
        assert_eq!(plan.umask, None);
        assert_eq!(serde_json::to_value(plan).unwrap(), older);
    }

    #[test]
    fn a_daemon_that_says_nothing_of_nudges_does_not_nudge() {
        let older = r#"{"op":"read","from":3,"through":7}"#;
        let read: ToHost = serde_json::from_str(older).unwrap();
        let (from, through, nudged) = (3, 7, false);
        assert_eq!(read, ToHost::Read { from, through, nudged });
    }
}
