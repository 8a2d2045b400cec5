//! The settings as a type: each field is a key of `config/default.toml`, where its meaning and unit are told.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::page_address::{NoAddress, PageAddress, PageHost};
use crate::session::restart::RestartPolicy;
use crate::session::trust::Policy;

/// All settings, checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the daemon listens.
    pub server: ServerSettings,
    /// Tokens, roles and the audit log.
    pub access: AccessSettings,
    /// Where it keeps things.
    pub state: StateSettings,
    /// The agent's command, environment and limits.
    pub agent: AgentSettings,
    /// The most of everything.
    pub limits: LimitSettings,
    /// The most of everything of MCP.
    pub mcp: McpSettings,
    /// Restarts, stall timeouts and holds.
    pub supervision: SupervisionSettings,
    /// What it tells about itself.
    pub log: LogSettings,
    /// The endpoint for traces.
    pub traces: TraceSettings,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// A loopback address or `localhost`; [`ServerSettings::address`] reads it.
    pub host: String,
    /// TCP port; 0 for any free one.
    pub port: u16,
    /// Name under which browsers reach the page.
    pub page_host: PageHost,
    /// Address of the page behind a proxy; empty for where `page_host` says. [`ServerSettings::public`] reads it.
    pub public_url: String,
    /// How long requests may go on when the daemon stops, in milliseconds.
    pub shutdown_grace_ms: u64,
    /// How long the head of a request may take, in seconds.
    pub headers_timeout_seconds: u64,
    /// How long the body of a request may take, in seconds.
    pub body_timeout_seconds: u64,
    /// The most connections.
    pub connections_max: usize,
    /// The most connections that have not shown who calls.
    pub strangers_max: usize,
    /// How long a connection may go without showing who calls, in seconds.
    pub strangers_seconds: u64,
}

/// `[access]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessSettings {
    /// The directories in or below which sessions may work; empty for anywhere.
    pub allowed_directories: Vec<PathBuf>,
    /// How long a browser stays signed in, in days.
    pub sign_in_days: u64,
    /// How long a link that signs in can be used, in minutes.
    pub sign_in_link_minutes: u64,
    /// Minutes after a sign-in by a link in which a browser may change tokens; 0 for never.
    pub fresh_sign_in_minutes: u64,
    /// How long the audit log grows before it becomes the older one, in bytes.
    pub audit_bytes_max: u64,
}

/// `[state]`; [`super::Paths`] has the outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateSettings {
    /// The state directory; empty for the usual one.
    pub dir: String,
    /// The directory of sockets; empty for the usual one.
    pub runtime_dir: String,
}

/// `[agent]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSettings {
    /// Program and first arguments.
    pub command: Argv,
    /// How long an agent may take to end by itself, in seconds.
    pub stop_grace_seconds: u64,
    /// How long it may take after SIGTERM, in seconds.
    pub term_grace_seconds: u64,
    /// Bytes kept allocated beyond the spool's end.
    pub spool_reserve_bytes: u64,
    /// What happens to projects that nobody has trusted.
    pub project_trust: Policy,
    /// True if agents may set timers for themselves.
    pub timers: bool,
    /// Maximum processes and threads of an agent; 0 for no bound.
    pub pids_max: u64,
    /// Maximum memory of an agent in bytes; 0 for no bound.
    pub memory_bytes_max: u64,
    /// Variables added to the environment of every agent.
    pub env: BTreeMap<String, String>,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// The most agents at work.
    pub max_live_agents: usize,
    /// The most sessions that wait for a slot.
    pub queued_sessions_max: usize,
    /// The most readers of streams.
    pub stream_readers_max: usize,
    /// The longest request body, in bytes.
    pub body_bytes_max: usize,
}

/// `[mcp]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpSettings {
    /// The most MCP sessions that are awake.
    pub sessions_awake_max: usize,
    /// How long one may be idle, in minutes.
    pub session_idle_minutes: u64,
    /// The most that are known.
    pub sessions_known_max: usize,
    /// How long one at rest is known, in days.
    pub sessions_known_days: u64,
    /// How long the id of an event is good, in hours.
    pub streams_kept_hours: u64,
    /// Not used.
    pub streams_kept_max: usize,
    /// Not used.
    pub streams_bytes_max: u64,
    /// Not used.
    pub stream_bytes_max: u64,
    /// The most progress notifications of one call a second.
    pub progress_per_second_max: u32,
    /// The most time between two, in seconds.
    pub progress_silence_seconds: u64,
    /// The most time between two signs of life on a stream, in seconds.
    pub keep_alive_seconds: u64,
    /// The most subscriptions.
    pub subscriptions_max: usize,
}

/// `[supervision]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupervisionSettings {
    /// The most charged restarts in the window.
    pub restarts_max: u32,
    /// The window, in seconds.
    pub restart_period_seconds: u32,
    /// The most charged restarts in all.
    pub restarts_total_max: u32,
    /// Whether a session goes on by itself after a usage limit's reset.
    pub resume_after_quota: bool,
    /// The most money for a session whose request does not say, in US dollars; 0 for none.
    pub max_budget_usd: f64,
    /// The longest time between checkpoints, in seconds.
    pub checkpoint_interval_seconds: u64,
    /// How long background shells may go on after the last turn, in seconds.
    pub background_grace_seconds: u64,
    /// Most time that a session waits for timers of its agent, in hours.
    pub timers_max_hours: u32,
    /// How long an agent may wait for a usage limit's reset, in minutes.
    pub quota_hold_minutes: u64,
    /// How long an agent may ask an API that does not answer, in minutes.
    pub api_hold_minutes: u64,
    /// Minutes for which a refused login is tried again that worked earlier in the session; 0 to fail at once.
    pub login_hold_minutes: u64,
    /// Stall clock of the first message, in seconds.
    pub first_message_seconds: u64,
    /// Stall clock of a started answer, in seconds.
    pub stream_seconds: u64,
    /// Stall clock of a tool without a sign of life, in seconds.
    pub tool_seconds: u64,
    /// Stall clock of a tool of an MCP server, in seconds.
    pub mcp_tool_seconds: u64,
    /// Stall clock of a request without a first sign of an answer, in seconds.
    pub headers_seconds: u64,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// For people or for programs.
    pub format: LogFormat,
    /// What is logged, as directives.
    pub level: String,
    /// How many log files are kept.
    pub files_max: usize,
}

/// `[traces]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSettings {
    /// The collector's base URL; empty for no traces.
    pub otlp_endpoint: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// A program and its first arguments; a single string is the program alone. Never empty, no NUL bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StringOrArray", into = "Vec<String>")]
pub struct Argv(Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum StringOrArray {
    Program(String),
    Argv(Vec<String>),
}

impl Argv {
    /// Program and arguments.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<StringOrArray> for Argv {
    type Error = String;

    fn try_from(given: StringOrArray) -> Result<Self, Self::Error> {
        let argv = match given {
            StringOrArray::Program(program) => vec![program],
            StringOrArray::Argv(argv) => argv,
        };
        if argv.first().is_none_or(String::is_empty) {
            return Err("it names no program".to_owned());
        }
        if argv.iter().any(|argument| argument.contains('\0')) {
            return Err("it holds a NUL byte".to_owned());
        }
        Ok(Self(argv))
    }
}

impl From<Argv> for Vec<String> {
    fn from(argv: Argv) -> Self {
        argv.0
    }
}

/// A value of the right type that makes no sense.
pub(super) struct Fault {
    pub(super) key: &'static str,
    pub(super) why: String,
}

impl Settings {
    /// Checks what the types do not say.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let fault = |key, why: &str| {
            Err(Fault {
                key,
                why: why.to_owned(),
            })
        };
        if self.server.address().is_none() {
            return fault(
                "server.host",
                "is not a loopback address: who reaches the daemon can run commands as you, so it listens on 127.0.0.1, ::1 or localhost only; from elsewhere use an SSH tunnel (`ssh -L 8005:127.0.0.1:8005 HOST`), or put a reverse proxy on this machine in front that asks who it is, speaks TLS and calls 127.0.0.1",
            );
        }
        if self.server.public().is_err() {
            return fault(
                "server.public_url",
                "is no address of a site: write http:// or https://, a host, and perhaps a port, without a path",
            );
        }
        for (key, dir) in [
            ("state.dir", &self.state.dir),
            ("state.runtime_dir", &self.state.runtime_dir),
        ] {
            if !dir.is_empty() && !Path::new(dir).is_absolute() {
                return fault(key, "is not an absolute path");
            }
        }
        if self.access.allowed_directories.iter().any(|dir| !dir.is_absolute()) {
            return fault("access.allowed_directories", "holds a path that is not absolute");
        }
        if self
            .agent
            .env
            .keys()
            .any(|name| name.is_empty() || name.contains(['=', '\0']))
        {
            return fault(
                "agent.env",
                "holds a name that is none: names are not empty and have no `=`",
            );
        }
        if self.log.targets().is_none() {
            return fault(
                "log.level",
                "is not understood: write off, error, warn, info, debug or trace, and module=level behind it, with commas between",
            );
        }
        if !self.traces.otlp_endpoint.is_empty() && !self.traces.otlp_endpoint.starts_with("http://") {
            return fault(
                "traces.otlp_endpoint",
                "does not begin with http://: send to a collector on this machine, which can pass it on over TLS",
            );
        }
        if !(self.supervision.max_budget_usd >= 0.0 && self.supervision.max_budget_usd.is_finite()) {
            return fault("supervision.max_budget_usd", "must be 0 or more");
        }
        self.check_positive()
    }

    /// Limits of which 0 would stop everything.
    fn check_positive(&self) -> Result<(), Fault> {
        let limits = [
            ("server.headers_timeout_seconds", self.server.headers_timeout_seconds),
            ("server.body_timeout_seconds", self.server.body_timeout_seconds),
            ("server.connections_max", self.server.connections_max as u64),
            ("server.strangers_max", self.server.strangers_max as u64),
            ("server.strangers_seconds", self.server.strangers_seconds),
            ("access.sign_in_days", self.access.sign_in_days),
            ("access.sign_in_link_minutes", self.access.sign_in_link_minutes),
            ("access.audit_bytes_max", self.access.audit_bytes_max),
            ("limits.max_live_agents", self.limits.max_live_agents as u64),
            ("limits.stream_readers_max", self.limits.stream_readers_max as u64),
            ("limits.body_bytes_max", self.limits.body_bytes_max as u64),
            ("mcp.sessions_awake_max", self.mcp.sessions_awake_max as u64),
            ("mcp.sessions_known_max", self.mcp.sessions_known_max as u64),
            ("mcp.progress_per_second_max", self.mcp.progress_per_second_max.into()),
            ("mcp.progress_silence_seconds", self.mcp.progress_silence_seconds),
            ("mcp.keep_alive_seconds", self.mcp.keep_alive_seconds),
            (
                "supervision.restart_period_seconds",
                self.supervision.restart_period_seconds.into(),
            ),
            (
                "supervision.checkpoint_interval_seconds",
                self.supervision.checkpoint_interval_seconds,
            ),
            (
                "supervision.first_message_seconds",
                self.supervision.first_message_seconds,
            ),
            ("supervision.stream_seconds", self.supervision.stream_seconds),
            ("supervision.tool_seconds", self.supervision.tool_seconds),
            ("supervision.mcp_tool_seconds", self.supervision.mcp_tool_seconds),
            ("supervision.headers_seconds", self.supervision.headers_seconds),
            ("log.files_max", self.log.files_max as u64),
        ];
        match limits.into_iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Err(Fault {
                key,
                why: "must be more than 0".to_owned(),
            }),
            None => Ok(()),
        }
    }
}

impl ServerSettings {
    /// The loopback address to listen on; none where `host` is another one.
    pub fn address(&self) -> Option<IpAddr> {
        if self.host == "localhost" {
            return Some(Ipv4Addr::LOCALHOST.into());
        }
        self.host.parse().ok().filter(IpAddr::is_loopback)
    }

    /// Returns the page's address behind a proxy; none if the page is where `page_host` says.
    pub fn public(&self) -> Result<Option<PageAddress>, NoAddress> {
        match self.public_url.as_str() {
            "" => Ok(None),
            url => url.parse().map(Some),
        }
    }
}

impl LogSettings {
    /// What is logged; none where `level` says something else than levels.
    pub fn targets(&self) -> Option<Targets> {
        // It tells of each request with all that is in it, and calls each client that leaves an error.
        let mut targets = Targets::new().with_target("rmcp", LevelFilter::OFF);
        for directive in self.level.split(',').map(str::trim) {
            targets = match directive.split_once('=') {
                Some((module, level)) if !module.is_empty() => targets.with_target(module, level_of(level)?),
                Some(_) => return None,
                None => targets.with_default(level_of(directive)?),
            };
        }
        Some(targets)
    }
}

/// Names only: the parser of the filter itself takes numbers too, and an unknown word for a module.
fn level_of(name: &str) -> Option<LevelFilter> {
    let known = name.chars().all(|letter| letter.is_ascii_alphabetic()) && !name.is_empty();
    name.parse().ok().filter(|_| known)
}

impl SupervisionSettings {
    /// What the state machine decides by.
    pub fn restart_policy(&self) -> RestartPolicy {
        RestartPolicy {
            restarts_max: self.restarts_max,
            restart_period_seconds: self.restart_period_seconds,
            restarts_total_max: self.restarts_total_max,
            resume_after_quota: self.resume_after_quota,
        }
    }
}
