//! What the runtime needs to know, worked out from the daemon's settings.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::agent_host::cgroup::{Cgroup, CgroupBounds, Tree};
use crate::attempt::AttemptSettings;
use crate::session::id::{Attempt, SessionId};
use crate::session::restart::RestartPolicy;
use crate::session::trust::Policy;

/// The runtime's settings.
#[derive(Clone, Debug)]
pub struct RuntimeSettings {
    /// The daemon's state directory.
    pub state: PathBuf,
    /// Where each session has its directory.
    pub sessions: PathBuf,
    /// The directory of the hosts' sockets.
    pub sockets: PathBuf,
    /// Where the locks on transcripts are.
    pub locks: PathBuf,
    /// This program, which is also the agent host.
    pub executable: PathBuf,
    /// The agent's command: a program and its first arguments.
    pub agent_command: Vec<String>,
    /// The directories in or below which sessions may work; none for anywhere.
    pub allowed_directories: Vec<PathBuf>,
    /// Set in every agent's environment.
    pub agent_env: BTreeMap<String, String>,
    /// Soft limit of open files for agents; none to leave it as it is.
    pub open_files: Option<u64>,
    /// Bytes kept allocated beyond a spool's end.
    pub spool_reserve_bytes: u64,
    /// What holds for each attempt.
    pub attempt: AttemptSettings,
    /// What happens to projects that nobody has trusted.
    pub project_trust: Policy,
    /// True if an agent may set timers.
    pub agent_timers: bool,
    /// The most agents at work at once.
    pub live_agents_max: usize,
    /// The most sessions that wait for a slot.
    pub queued_sessions_max: usize,
    /// The most money for a session whose request does not say, in US dollars.
    pub max_budget_usd: Option<f64>,
    /// When a failed attempt is followed by another.
    pub restart: RestartPolicy,
    /// The marks that the processes above the daemon carried when it was started.
    pub enclosing_marks: Vec<String>,
    /// The part of the tree of cgroups that is the daemon's own; none where systemd has delegated none.
    pub cgroups: Option<Tree>,
    /// Bounds of each agent with all that it starts.
    pub bounds: CgroupBounds,
}

impl RuntimeSettings {
    /// What holds for each attempt. An agent is not held at a usage limit if its session does not resume after it.
    pub fn of_attempts(&self) -> AttemptSettings {
        AttemptSettings {
            quota_hold: match self.restart.resume_after_quota {
                true => self.attempt.quota_hold,
                false => Duration::ZERO,
            },
            ..self.attempt
        }
    }

    /// The directory of a session.
    pub fn session_directory(&self, session: SessionId) -> PathBuf {
        self.sessions.join(session.to_string())
    }

    /// The directory of an attempt.
    pub fn attempt_directory(&self, session: SessionId, attempt: Attempt) -> PathBuf {
        self.session_directory(session).join(attempt.to_string())
    }

    /// Where the host of an attempt listens. The path of a Unix socket may have about a hundred bytes only.
    pub fn socket(&self, session: SessionId, attempt: Attempt) -> PathBuf {
        self.sockets.join(format!("{}-{attempt}.sock", session.uuid().simple()))
    }

    /// The file that holds what people have decided about projects, mode 0600.
    pub fn projects_file(&self) -> PathBuf {
        self.state.join("projects.json")
    }

    /// The file that holds the environment a session's creator gave, mode 0600.
    pub fn environment_file(&self, session: SessionId) -> PathBuf {
        self.session_directory(session).join("environment.json")
    }

    /// The file that holds the variables an agent asked for, which a person is asked about, mode 0600.
    pub fn asked_environment_file(&self, session: SessionId) -> PathBuf {
        self.session_directory(session).join("environment-asked.json")
    }

    /// The file that holds the secrets of the marks of a session's attempts, mode 0600.
    pub fn secrets_file(&self, session: SessionId) -> PathBuf {
        self.state.join("marks").join(format!("{session}.json"))
    }

    /// The cgroup of an attempt, where there are cgroups.
    pub fn cgroup(&self, session: SessionId, attempt: Attempt) -> Option<Cgroup> {
        let tree = self.cgroups.as_ref()?;
        Some(tree.of_attempt(session, attempt, self.bounds))
    }

    /// The file that says which directories a session was accepted for.
    pub fn places_file(&self, session: SessionId) -> PathBuf {
        self.session_directory(session).join("places.json")
    }

    /// The copy of the file that entry `n` of the request's `mcp_config` names, mode 0600.
    pub fn mcp_config_file(&self, session: SessionId, n: usize) -> PathBuf {
        self.session_directory(session).join(format!("mcp-config-{n}.json"))
    }
}

#[cfg(test)]
impl RuntimeSettings {
    /// Settings under which nothing can be started.
    pub(crate) fn for_tests() -> Self {
        Self {
            state: PathBuf::new(),
            sessions: PathBuf::new(),
            sockets: PathBuf::new(),
            locks: PathBuf::new(),
            executable: PathBuf::new(),
            agent_command: Vec::new(),
            allowed_directories: Vec::new(),
            agent_env: BTreeMap::new(),
            open_files: None,
            spool_reserve_bytes: 0,
            attempt: AttemptSettings {
                stop_grace: Duration::ZERO,
                term_grace: Duration::ZERO,
                stall: crate::session::stall::StallTimeouts {
                    first_message: Duration::MAX,
                    headers: Duration::MAX,
                    stream: Duration::MAX,
                    tool: Duration::MAX,
                    mcp_tool: Duration::MAX,
                },
                quota_hold: Duration::MAX,
                api_hold: Duration::MAX,
                login_hold: jiff::SignedDuration::from_secs(300),
                checkpoint_interval: Duration::MAX,
                background_grace: Duration::ZERO,
                timers_max: jiff::SignedDuration::from_hours(24),
            },
            project_trust: Policy::Ask,
            agent_timers: true,
            live_agents_max: 0,
            queued_sessions_max: 0,
            max_budget_usd: None,
            restart: RestartPolicy::default(),
            enclosing_marks: Vec::new(),
            cgroups: None,
            bounds: CgroupBounds::default(),
        }
    }
}
