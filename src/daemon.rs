//! The daemon put together: settings, state directory, store, runtime, web.
//!
//! The order is that of trust: nothing is opened before the lock of the state directory is held, and nothing is served
//! before the journal is read. Its end touches no agent: their hosts go on without it, and the next daemon attaches.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::SignedDuration;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::environment::ENCLOSING_SESSION;
use crate::agent_host::cgroup::{CgroupBounds, Tree};
use crate::agent_host::{self, protocol::ATTEMPT_MARK};
use crate::attempt::AttemptSettings;
use crate::config::{AgentSettings, Environment, Flag, Paths, Settings, Sources, SupervisionSettings};
use crate::disk::{regular, write_private};
use crate::runtime::settings::RuntimeSettings;
use crate::runtime::traces::Traces;
use crate::runtime::{Publisher, Runtime};
use crate::session::id::SessionId;
use crate::session::stall::StallTimeouts;
use crate::store::{self, Commit, Observer, Shortage, Store};
use crate::telemetry::{self, LogTo};
use crate::web::{Doctor, Server, Token};

/// How deep files of ours lie in the state directory, besides those of sessions.
const STATE_DEPTH: usize = 3;

/// How often the lock of the state directory is tried: a client that looks whether a daemon lives holds it for a moment.
const LOCK_TRIES: u32 = 10;

/// The wait between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

pub mod doctor;
mod memory;
mod open_files;
mod readiness;

/// What the command line says about the daemon.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A settings file instead of the user's own.
    pub config: Option<PathBuf>,
    /// Single settings, by key.
    pub flags: Vec<Flag>,
    /// Log into the state directory instead of to standard error.
    pub log_to_files: bool,
}

/// What a daemon says about itself in `daemon.json`; present while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonFile {
    /// Its process.
    pub pid: u32,
    /// The address of its TCP port.
    pub address: SocketAddr,
    /// The port of that address.
    pub port: u16,
    /// Its Unix socket; a daemon of an older version has none.
    #[serde(default)]
    pub socket: Option<PathBuf>,
    /// Its version.
    pub version: String,
    /// The arguments it was started with behind `serve`, in a form that holds anywhere.
    #[serde(default)]
    pub serve_arguments: Vec<String>,
}

impl Options {
    /// Arguments of `serve` that say the same from any directory. The state directory is not among them: whoever
    /// starts a daemon by them has found them there.
    pub fn arguments(&self) -> Vec<String> {
        let config = self.config.as_ref().map(|file| {
            let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
            format!("--config={}", file.display())
        });
        // A flag of its own for a setting is only a shorter way to write it.
        let settings = self.flags.iter().filter(|flag| flag.key != "state.dir");
        let settings = settings.map(|Flag { key, value, .. }| format!("--set={key}={value}"));
        config.into_iter().chain(settings).collect()
    }
}

/// Runs a daemon until it is told to stop, or until its journal fails.
pub fn serve(options: &Options) -> anyhow::Result<()> {
    leave_enclosing_session()?;
    let (settings, paths) = settings_and_paths(options)?;
    paths.create()?;
    check_state_files(&paths)?;
    let _lock = take_lock(&paths)?;
    let log_to = if options.log_to_files {
        LogTo::Files(paths.logs())
    } else {
        LogTo::Stderr
    };
    telemetry::init(&settings.log, &log_to)?;
    let open_files = open_files::raise();
    memory::keep_small();
    if let Err(error) = doctor::look_for_missing_journal(&paths) {
        tracing::error!("{error:#}");
    }
    let publisher = Arc::new(Publisher::default());
    let traces = traces(&settings)?;
    let observer = Arc::new(Observers {
        publisher: Arc::clone(&publisher),
        traces: traces.clone(),
    });
    let store = store::open(&paths.journal(), observer)?;
    if let Some(traces) = &traces {
        traces.take_up(&*store)?;
    }
    let system = actix::System::new();
    let serving = run(
        &settings,
        &paths,
        store.clone(),
        &publisher,
        (open_files, options.arguments()),
    );
    let outcome = system.block_on(serving);
    store.close();
    if let Some(traces) = traces {
        traces.shut_down();
    }
    outcome
}

/// Whether a daemon of this version with these options could read its settings and its journal.
pub fn check(options: &Options) -> anyhow::Result<()> {
    let (_, paths) = settings_and_paths(options)?;
    check_state_files(&paths)?;
    Ok(store::check_format(&paths.journal())?)
}

/// A pipe or a device in the place of a file of ours would be waited for without end. The directories of sessions are
/// many; what is read there is looked at when it is read.
fn check_state_files(paths: &Paths) -> anyhow::Result<()> {
    if !paths.state.exists() {
        return Ok(());
    }
    regular::check(&paths.state, STATE_DEPTH, "sessions").context("the state directory cannot be used")
}

/// Everybody who is told of commits.
struct Observers {
    publisher: Arc<Publisher>,
    traces: Option<Arc<Traces>>,
}

impl Observer for Observers {
    fn committed(&self, commit: &Commit) {
        self.publisher.committed(commit);
        if let Some(traces) = &self.traces {
            traces.committed(commit);
        }
    }

    fn group_committed(&self, waited: Duration) {
        self.publisher.group_committed(waited);
    }

    fn went_on(&self, passed: &Shortage) {
        self.publisher.went_on(passed);
    }

    fn removed(&self, session_id: SessionId) {
        self.publisher.removed(session_id);
    }
}

/// The traces, where they go anywhere.
fn traces(settings: &Settings) -> anyhow::Result<Option<Arc<Traces>>> {
    let endpoint = &settings.traces.otlp_endpoint;
    if endpoint.is_empty() {
        return Ok(None);
    }
    let traces = Traces::to(endpoint).with_context(|| format!("cannot send traces to {endpoint}"))?;
    Ok(Some(Arc::new(traces)))
}

/// What is set, and where everything is by that.
fn settings_and_paths(options: &Options) -> anyhow::Result<(Settings, Paths)> {
    let environment = Environment::of_this_process();
    let sources = Sources {
        file: options.config.clone(),
        environment: environment.clone(),
        flags: options.flags.clone(),
    };
    let settings = Settings::load(&sources)?;
    let paths = Paths::new(&settings.state, &environment)?;
    Ok((settings, paths))
}

/// Starts everything, serves, and stops it again.
async fn run(
    settings: &Settings,
    paths: &Paths,
    store: Arc<dyn Store>,
    publisher: &Publisher,
    (open_files, arguments): (Option<u64>, Vec<String>),
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // A terminal that closes is no reason to stop.
    let _hangup = signal(SignalKind::hangup())?;
    let token = Token::read_or_make(&paths.token())?;
    let for_runtime = RuntimeSettings {
        open_files,
        ..runtime_settings(settings, paths)?
    };
    let mut runtime = Runtime::start(for_runtime, store.clone(), publisher)?;
    runtime.handle().finish_removals();
    let readiness = readiness::readiness(settings, store);
    let (settings_seen, paths_seen) = (settings.clone(), paths.clone());
    let doctor: Doctor = Arc::new(move || doctor::examine_with(&settings_seen, &paths_seen));
    let server = Server::build(settings, paths, runtime.handle(), token, readiness, doctor)?;
    let stopper = server.stopper();
    let mut announcement = announcement(&server, arguments);
    announce(paths, &announcement)?;
    let mut socket = server.socket();
    tracing::info!(address = %server.address(), state = %paths.state.display(), pid = std::process::id(), "serving");
    let serving = actix::spawn(server.run_until_stopped());
    let announcing = async {
        while socket.changed().await.is_ok() {
            announcement.socket = Some(socket.borrow_and_update().clone());
            if let Err(error) = announce(paths, &announcement) {
                tracing::error!("{error:#}");
            }
        }
    };
    let outcome = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        error = runtime.failed() => Err(anyhow::Error::new(error).context("the daemon stops; its agents go on")),
        () = async { announcing.await; std::future::pending().await } => Ok(()),
    };
    tracing::info!("stopping");
    stopper.stop().await;
    // The server was told to stop and cut off what did not finish: it cannot take longer than this.
    let _ = tokio::time::timeout(Duration::from_secs(1), serving).await;
    withdraw(paths);
    outcome
}

/// Variables that a daemon keeps when an agent of cc-executor starts it. Everything else in an agent's environment may be
/// its session's alone: logins, addresses, keys.
const KEPT_OF_AGENT: [&str; 9] = [
    "HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR",
];

/// Beginnings of the names of more such variables: locale, directories, and settings of cc-executor itself.
const KEPT_OF_AGENT_PREFIXES: [&str; 3] = ["LC_", "XDG_", "CC_EXECUTOR__"];

/// Leaves the environment of an enclosing session, which must not reach our agents. Inside an agent of cc-executor that is
/// nearly all of the environment; inside another Claude session it is the markers of that session, and the rest is the
/// user's own. The environment of a running process cannot be changed safely, so the program is replaced by itself.
fn leave_enclosing_session() -> anyhow::Result<()> {
    if !ENCLOSING_SESSION.iter().any(|name| std::env::var_os(name).is_some()) {
        return Ok(());
    }
    let mut command = Command::new(own_program()?);
    command.args(std::env::args_os().skip(1));
    let is_inside_agent = std::env::var_os(ATTEMPT_MARK).is_some();
    for (name, _) in std::env::vars_os() {
        if !is_kept(&name, is_inside_agent) {
            command.env_remove(name);
        }
    }
    let error = command.exec();
    Err(error).context("cannot start over without the enclosing session's environment")
}

/// Returns true if a daemon that is started inside a session keeps a variable of this name.
fn is_kept(name: &OsStr, is_inside_agent: bool) -> bool {
    let Some(name) = name.to_str() else {
        return !is_inside_agent;
    };
    if !is_inside_agent {
        return !ENCLOSING_SESSION.contains(&name);
    }
    let has_prefix = KEPT_OF_AGENT_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    has_prefix || KEPT_OF_AGENT.contains(&name)
}

/// This program, by the path it had when it started: after an upgrade that is the new one.
fn own_program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map(PathBuf::from).unwrap_or(path))
}

fn take_lock(paths: &Paths) -> anyhow::Result<File> {
    let path = paths.daemon_lock();
    let lock = regular::open_by(File::options().create(true).truncate(false).write(true), &path);
    let lock = lock.with_context(|| format!("cannot open {}", path.display()))?;
    for _ in 0..LOCK_TRIES {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(lock),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            Err(error) => return Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }
    bail!("{}", already_running(paths))
}

fn already_running(paths: &Paths) -> String {
    let state = paths.state.display();
    match read_daemon_file(&paths.daemon_file()) {
        Some(daemon) => format!(
            "a daemon runs already for {state}: pid {}, http://{}; stop it with `cc-executor stop --state-dir={state}`, or \
             choose another state.dir",
            daemon.pid, daemon.address
        ),
        None => format!("a daemon is starting already for {state}"),
    }
}

fn read_daemon_file(path: &Path) -> Option<DaemonFile> {
    serde_json::from_slice(&regular::read(path).ok()?).ok()
}

/// What this daemon says about itself.
fn announcement(server: &Server, serve_arguments: Vec<String>) -> DaemonFile {
    let address = server.address();
    DaemonFile {
        pid: std::process::id(),
        address,
        port: address.port(),
        socket: Some(server.socket().borrow().clone()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        serve_arguments,
    }
}

fn announce(paths: &Paths, daemon: &DaemonFile) -> anyhow::Result<()> {
    let path = paths.daemon_file();
    let json = serde_json::to_vec(daemon)?;
    let written = write_private(&path, &json).or_else(|error| {
        if error.kind() != io::ErrorKind::StorageFull {
            return Err(error);
        }
        // The file of a daemon that was killed takes as much room as this one needs.
        std::fs::remove_file(&path)?;
        write_private(&path, &json)
    });
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Clients look at the lock as well, so a file that stays behind misleads nobody.
fn withdraw(paths: &Paths) {
    if let Err(error) = std::fs::remove_file(paths.daemon_file()) {
        tracing::warn!(%error, "daemon.json stays behind");
    }
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes.saturating_mul(60))
}

fn runtime_settings(settings: &Settings, paths: &Paths) -> anyhow::Result<RuntimeSettings> {
    let Settings {
        agent,
        limits,
        supervision,
        ..
    } = settings;
    let (cgroups, bounds) = cgroups(CgroupBounds {
        pids_max: Some(agent.pids_max).filter(|most| *most > 0),
        memory_bytes_max: Some(agent.memory_bytes_max).filter(|most| *most > 0),
    });
    Ok(RuntimeSettings {
        state: paths.state.clone(),
        sessions: paths.sessions(),
        sockets: paths.runtime.clone(),
        locks: paths.locks(),
        executable: own_program().context("cannot find this program's own file")?,
        agent_command: agent.command.as_slice().to_vec(),
        allowed_directories: settings.access.allowed_directories.clone(),
        agent_env: agent.env.clone(),
        open_files: None,
        spool_reserve_bytes: agent.spool_reserve_bytes,
        attempt: attempt_settings(agent, supervision),
        project_trust: agent.project_trust,
        agent_timers: agent.timers,
        live_agents_max: limits.max_live_agents,
        queued_sessions_max: limits.queued_sessions_max,
        max_budget_usd: Some(supervision.max_budget_usd).filter(|usd| *usd > 0.0),
        restart: supervision.restart_policy(),
        enclosing_marks: enclosing_marks(),
        cgroups,
        bounds,
    })
}

fn attempt_settings(agent: &AgentSettings, supervision: &SupervisionSettings) -> AttemptSettings {
    AttemptSettings {
        stop_grace: Duration::from_secs(agent.stop_grace_seconds),
        term_grace: Duration::from_secs(agent.term_grace_seconds),
        stall: StallTimeouts {
            first_message: Duration::from_secs(supervision.first_message_seconds),
            headers: Duration::from_secs(supervision.headers_seconds),
            stream: Duration::from_secs(supervision.stream_seconds),
            tool: Duration::from_secs(supervision.tool_seconds),
            mcp_tool: Duration::from_secs(supervision.mcp_tool_seconds),
        },
        quota_hold: minutes(supervision.quota_hold_minutes),
        api_hold: minutes(supervision.api_hold_minutes),
        login_hold: SignedDuration::try_from(minutes(supervision.login_hold_minutes)).unwrap_or(SignedDuration::MAX),
        checkpoint_interval: Duration::from_secs(supervision.checkpoint_interval_seconds),
        background_grace: Duration::from_secs(supervision.background_grace_seconds),
        timers_max: SignedDuration::from_hours(i64::from(supervision.timers_max_hours)),
    }
}

/// The cgroups for agents, and the bounds that can be set there.
fn cgroups(bounds: CgroupBounds) -> (Option<Tree>, CgroupBounds) {
    let is_bound = bounds != CgroupBounds::default();
    let Some(tree) = Tree::of_this_process() else {
        if is_bound {
            tracing::error!("agents are not bounded: systemd has delegated no cgroup to this daemon");
        }
        return (None, CgroupBounds::default());
    };
    match tree.prepare(bounds) {
        Ok(()) => (Some(tree), bounds),
        Err(error) => {
            let is_usable = tree.prepare(CgroupBounds::default()).is_ok();
            tracing::error!(%error, is_bound, "agents are not bounded, or have no cgroups");
            (Some(tree).filter(|_| is_usable), CgroupBounds::default())
        }
    }
}

/// The marks of the agents inside which this daemon was started. It has left their environment, but what started it has
/// not.
fn enclosing_marks() -> Vec<String> {
    agent_host::family_marks(std::process::id().cast_signed()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_keeps_nothing_of_an_agents_session_and_what_is_the_users_own() {
        let kept = |inside: bool| {
            let names = [
                "PATH",
                "LC_ALL",
                "CC_EXECUTOR__LOG__LEVEL",
                "ANTHROPIC_API_KEY",
                "SECRET",
                "CLAUDECODE",
                ATTEMPT_MARK,
            ];
            let kept = names.into_iter().filter(|name| is_kept(OsStr::new(name), inside));
            kept.collect::<Vec<_>>()
        };
        assert_eq!(kept(true), ["PATH", "LC_ALL", "CC_EXECUTOR__LOG__LEVEL"]);
        let own = [
            "PATH",
            "LC_ALL",
            "CC_EXECUTOR__LOG__LEVEL",
            "ANTHROPIC_API_KEY",
            "SECRET",
        ];
        assert_eq!(kept(false), own);
    }
}
