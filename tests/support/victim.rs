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
    DaemonThenHost,
    DaemonThenAgent,
    HostThenAgent,
    AgentThenHost,
    /// Daemon, host, agent and its children, as when the machine restarts.
    Everything,
}

impl Victim {
    /// All that can be killed while an agent lives, whatever it is doing.
    pub(crate) const ALL: [Self; 8] = [
        Self::Daemon,
        Self::Host,
        Self::Agent,
        Self::DaemonThenHost,
        Self::DaemonThenAgent,
        Self::HostThenAgent,
        Self::AgentThenHost,
        Self::Everything,
    ];

    /// The same, and a child of the agent, of which there has to be one.
    pub(crate) fn with_bash_child() -> Vec<Self> {
        Self::ALL.into_iter().chain([Self::BashChild]).collect()
    }

    pub(crate) fn has_agent(self) -> bool {
        match self {
            Self::Agent | Self::DaemonThenAgent | Self::HostThenAgent | Self::AgentThenHost | Self::Everything => true,
            Self::Daemon | Self::Host | Self::BashChild | Self::DaemonThenHost => false,
        }
    }

    pub(crate) fn has_daemon(self) -> bool {
        match self {
            Self::Daemon | Self::DaemonThenHost | Self::DaemonThenAgent | Self::Everything => true,
            Self::Host | Self::Agent | Self::BashChild | Self::HostThenAgent | Self::AgentThenHost => false,
        }
    }

    /// Kills it while an agent of the session lives, the daemon first; a new daemon runs afterwards. An agent need not have
    /// a child at a moment that is chosen at random.
    pub(crate) fn kill(self, daemon: &mut TestDaemon, id: &str) {
        let agent = daemon.agent_pid(id, daemon.attempt(id));
        let hosts = daemon.hosts_of(id);
        let pids = daemon.processes_of(id).into_iter().map(|pid| pid as u32);
        let children: Vec<_> = pids.filter(|pid| *pid != agent).collect();
        let victims = match self {
            Self::Daemon => vec![],
            Self::Host | Self::DaemonThenHost => hosts,
            Self::Agent | Self::DaemonThenAgent => vec![agent],
            Self::HostThenAgent => hosts.into_iter().chain([agent]).collect(),
            Self::AgentThenHost => [agent].into_iter().chain(hosts).collect(),
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
