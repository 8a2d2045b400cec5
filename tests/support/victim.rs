//! What the crash matrices kill.

use rustix::process::Signal;

use super::daemon::{TestDaemon, signal};

/// A part of a session at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Daemon,
    Host,
    Agent,
    BashChild,
    /// Daemon, host, agent and its children, as when the machine restarts.
    Everything,
}

impl Victim {
    pub(crate) fn has_agent(self) -> bool {
        matches!(self, Self::Agent | Self::Everything)
    }

    pub(crate) fn has_daemon(self) -> bool {
        matches!(self, Self::Daemon | Self::Everything)
    }

    /// Kills it while the session's first agent lives, the daemon first; a new daemon runs afterwards.
    pub(crate) fn kill(self, daemon: &mut TestDaemon, id: &str) {
        let agent = daemon.agent_pid(id, 1);
        let hosts = daemon.hosts_of(id);
        let pids = daemon.processes_of(id).into_iter().map(|pid| pid as u32);
        let children: Vec<_> = pids.filter(|pid| *pid != agent).collect();
        let victims = match self {
            Self::Daemon => vec![],
            Self::Host => hosts,
            Self::Agent => vec![agent],
            Self::BashChild => children,
            Self::Everything => hosts.into_iter().chain([agent]).chain(children).collect(),
        };
        if self.has_daemon() {
            daemon.kill();
        }
        victims.into_iter().for_each(|pid| signal(pid, Signal::KILL));
        if self.has_daemon() {
            daemon.launch();
        }
    }
}
