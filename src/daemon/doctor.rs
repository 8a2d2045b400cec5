//! The doctor: looks at everything the daemon needs without changing any of it, and repairs rows of its database.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};

use super::{DaemonFile, Options, read_daemon_file, settings_and_paths, take_lock};
use crate::agent::environment::TRIED_VERSIONS;
use crate::agent_host;
use crate::config::{DAEMON_LOCK, Paths, Settings};
use crate::session::id::SessionId;
use crate::store::{self, Rebuilt, Salvaged, StoreError};
use crate::web::{Finding, verify_audit};

/// Seconds that a running daemon may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the agent's command may take to say its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);

/// How often it is looked at meanwhile.
const VERSION_LOOK_PERIOD: Duration = Duration::from_millis(20);

/// Less free space than this is too little for hours of work, in bytes.
const FREE_BYTES_MIN: u64 = 1024 * 1024 * 1024;

/// What is a directory in the state directory, where it is there.
const DIRECTORIES: [&str; 5] = ["access", "locks", "logs", "mcp", "sessions"];

/// What is a file in it, where it is there.
const FILES: [&str; 5] = [
    DAEMON_LOCK,
    "clients.sqlite3",
    "daemon.json",
    "journal.sqlite3",
    "token",
];

/// How many processes are listed by number.
const LISTED_MAX: usize = 20;

/// Looks at everything.
pub fn examine(options: &Options) -> Vec<Finding> {
    match settings_and_paths(options) {
        Ok((settings, paths)) => examine_with(&settings, &paths),
        Err(error) => vec![finding("settings", Err(error))],
    }
}

/// The same, for a daemon that knows its settings.
pub fn examine_with(settings: &Settings, paths: &Paths) -> Vec<Finding> {
    vec![
        finding("settings", Ok("read and understood".to_owned())),
        finding("state directory", look_at_directories(paths)),
        finding("daemon", look_for_daemon(paths)),
        finding("journal", look_at_journal(paths)),
        finding("token", look_at_token(paths)),
        finding("audit log", look_at_audit(paths)),
        finding("agent", look_at_agent(settings)),
        finding("disk", look_at_disk(paths)),
        finding("leftovers", look_for_leftovers(paths)),
    ]
}

/// How a journal was repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// The file is whole: the rows of all sessions are computed anew from their records.
    Rows(Rebuilt),
    /// What can be read of the file is in a new one.
    File(Salvaged),
}

/// Repairs the journal as far as it is needed. No daemon may run meanwhile.
pub fn rebuild(options: &Options) -> anyhow::Result<Repair> {
    let (_, paths) = settings_and_paths(options)?;
    let journal = paths.journal();
    if !journal.exists() {
        bail!("there is no journal at {}", journal.display());
    }
    let _lock = take_lock(&paths)?;
    match store::rebuild(&journal) {
        Ok(rebuilt) => Ok(Repair::Rows(rebuilt)),
        Err(StoreError::Damaged { .. }) => Ok(Repair::File(store::salvage(&journal)?)),
        Err(error) => Err(error.into()),
    }
}

fn finding(check: &'static str, found: anyhow::Result<String>) -> Finding {
    let (ok, detail) = match found {
        Ok(detail) => (true, detail),
        Err(error) => (false, format!("{error:#}")),
    };
    let check = check.to_owned();
    Finding { check, ok, detail }
}

fn look_at_directories(paths: &Paths) -> anyhow::Result<String> {
    let state = paths.state.display();
    if !paths.state.exists() {
        let above = existing_ancestor(paths)?;
        if !above.is_dir() {
            bail!("cannot make {state}: {} is not a directory", above.display());
        }
        rustix::fs::access(above, rustix::fs::Access::WRITE_OK)
            .with_context(|| format!("cannot make {state} in {}", above.display()))?;
        return Ok(format!("{state} does not exist yet; the first daemon makes it"));
    }
    for dir in [&paths.state, &paths.runtime].into_iter().filter(|dir| dir.exists()) {
        let meta = fs::metadata(dir).with_context(|| format!("cannot look at {}", dir.display()))?;
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            bail!(
                "{0} can be entered by others (mode {mode:o}): run `chmod 700 {0}`",
                dir.display()
            );
        }
    }
    rustix::fs::access(&paths.state, rustix::fs::Access::WRITE_OK)
        .with_context(|| format!("cannot write into {state}"))?;
    look_at_kinds(paths)?;
    super::check_state_files(paths)?;
    Ok(format!("{state}, sockets in {}", paths.runtime.display()))
}

/// A daemon does not start where one is in the place of the other.
fn look_at_kinds(paths: &Paths) -> anyhow::Result<()> {
    let names = DIRECTORIES
        .map(|name| (name, true))
        .into_iter()
        .chain(FILES.map(|name| (name, false)));
    for (name, is_to_be_directory) in names {
        let path = paths.state.join(name);
        let Ok(meta) = fs::metadata(&path) else { continue };
        if meta.is_dir() != is_to_be_directory {
            let kind = if is_to_be_directory { "directory" } else { "file" };
            bail!("{} is no {kind}: move it away, and restart the daemon", path.display());
        }
    }
    Ok(())
}

fn look_for_daemon(paths: &Paths) -> anyhow::Result<String> {
    if !paths.daemon_lock().exists() {
        return Ok("does not run".to_owned());
    }
    match (take_lock(paths), read_daemon_file(&paths.daemon_file())) {
        (Err(_), Some(daemon)) => {
            look_for_life(&daemon)?;
            let (pid, version, address) = (daemon.pid, daemon.version, daemon.address);
            Ok(format!("runs: pid {pid}, version {version}, http://{address}"))
        }
        (Err(_), None) => Ok("is starting".to_owned()),
        (Ok(_), _) => Ok("does not run".to_owned()),
    }
}

/// Errors if a daemon that holds its lock does not answer. A daemon that examines itself does.
fn look_for_life(daemon: &DaemonFile) -> anyhow::Result<()> {
    let (pid, address) = (daemon.pid, daemon.address);
    if pid == std::process::id() {
        return Ok(());
    }
    if agent_host::is_stopped(pid) {
        bail!("pid {pid} is stopped by a signal: run `kill -CONT {pid}` to let it go on");
    }
    if let Err(error) = ask_for_health(address, ANSWER_TIMEOUT) {
        bail!(
            "pid {pid} does not answer at http://{address} ({error}): its agents go on without it; run `kill -KILL {pid}` \
             and start it again"
        );
    }
    Ok(())
}

/// Waits until a daemon says anything to a request for its health.
fn ask_for_health(address: SocketAddr, patience: Duration) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    write!(
        stream,
        "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    match stream.read(&mut [0; 64])? {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        _ => Ok(()),
    }
}

fn look_at_journal(paths: &Paths) -> anyhow::Result<String> {
    let path = paths.journal();
    if is_missing(&path) {
        return look_for_missing_journal(paths).map(|()| "none yet".to_owned());
    }
    let look = store::inspect(&path, &[])?;
    if let Some(damage) = look.damage {
        bail!(
            "{} is damaged ({}): stop the daemon and run `cc-executor doctor --rebuild`, which saves what can be read",
            path.display(),
            damage.lines().last().unwrap_or_default()
        );
    }
    if look.unreadable_rows > 0 {
        bail!(
            "{} of {} sessions have a row that cannot be read: stop the daemon and run `cc-executor doctor --rebuild`",
            look.unreadable_rows,
            look.sessions
        );
    }
    let sessions = if look.sessions == 1 { "session" } else { "sessions" };
    Ok(format!("{} {sessions} in {}", look.sessions, path.display()))
}

/// Whether the journal is missing though there have been sessions. A daemon that starts then begins a new one, which knows
/// none of them.
pub(super) fn look_for_missing_journal(paths: &Paths) -> anyhow::Result<()> {
    let journal = paths.journal();
    let folders = fs::read_dir(paths.sessions()).map_or(0, Iterator::count);
    if is_missing(&journal) && folders > 0 {
        bail!(
            "there is no journal at {}, though {folders} sessions have files in {}: stop the daemon and put a copy of it \
             there; without one they are not known any more",
            journal.display(),
            paths.sessions().display()
        );
    }
    Ok(())
}

/// An empty file is what SQLite begins with.
fn is_missing(journal: &Path) -> bool {
    fs::metadata(journal).map_or(true, |meta| meta.len() == 0)
}

fn look_at_token(paths: &Paths) -> anyhow::Result<String> {
    let path = paths.token();
    match fs::metadata(&path) {
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => {
            bail!(
                "{0} can be read by others: run `chmod 600 {0}` and restart the daemon",
                path.display()
            )
        }
        Ok(_) => Ok("yours alone".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok("none yet".to_owned()),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
    }
}

/// Errors if the audit log was changed by somebody who has not the server's key.
fn look_at_audit(paths: &Paths) -> anyhow::Result<String> {
    let directory = paths.access();
    verify_audit(&directory).map_err(|why| {
        anyhow!(
            "{why}: somebody changed it, or a crash of this machine lost its end; keep what is left, and to begin a new \
             log stop the daemon and move `key` and all that begins with `audit` out of {}",
            directory.display()
        )
    })
}

fn look_at_agent(settings: &Settings) -> anyhow::Result<String> {
    let argv = settings.agent.command.as_slice();
    let program = &argv[0];
    let mut command = Command::new(program);
    command.args(&argv[1..]).arg("--version").envs(&settings.agent.env);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| {
        anyhow!("{program} cannot be started ({error}): install Claude Code, or set `agent.command` to where it is")
    })?;
    let deadline = Instant::now() + VERSION_TIMEOUT;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!(
                "`{program} --version` has not answered after {} s",
                VERSION_TIMEOUT.as_secs()
            );
        }
        std::thread::sleep(VERSION_LOOK_PERIOD);
    };
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(1024).read_to_string(&mut said)?;
    }
    if !status.success() {
        bail!("`{program} --version` failed ({status})");
    }
    let version = said.lines().next().unwrap_or("unknown").trim();
    Ok(format!(
        "{program}, version {version} (tested with {})",
        TRIED_VERSIONS.join(", ")
    ))
}

fn look_at_disk(paths: &Paths) -> anyhow::Result<String> {
    let existing = existing_ancestor(paths)?;
    let room = rustix::fs::statvfs(existing).with_context(|| format!("cannot look at {}", existing.display()))?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    let told = format!("{} MiB free at {}", free / (1024 * 1024), existing.display());
    if free < FREE_BYTES_MIN {
        bail!("only {told}: free some space; `cc-executor gc` removes what old sessions have left");
    }
    Ok(told)
}

/// The state directory, or what exists above it.
fn existing_ancestor(paths: &Paths) -> anyhow::Result<&Path> {
    let existing = paths.state.ancestors().find(|dir| dir.exists());
    existing.ok_or_else(|| anyhow!("{} is nowhere", paths.state.display()))
}

/// Processes that bear the mark of a session which has ended, unless its request wanted to leave them.
fn look_for_leftovers(paths: &Paths) -> anyhow::Result<String> {
    let marked = marked_processes();
    if marked.is_empty() || is_missing(&paths.journal()) {
        return Ok("none".to_owned());
    }
    let sessions: Vec<SessionId> = marked.iter().map(|(_, session)| *session).collect();
    let ended = store::inspect(&paths.journal(), &sessions)?.ended;
    let left: Vec<String> = marked
        .iter()
        .filter(|(_, session)| ended.contains(session))
        .map(|(pid, session)| format!("{pid} of {}", session.short()))
        .collect();
    if left.is_empty() {
        return Ok("none".to_owned());
    }
    let listed = left.iter().take(LISTED_MAX).cloned().collect::<Vec<_>>().join(", ");
    bail!(
        "{} processes of sessions that have ended still run: {listed}",
        left.len()
    )
}

fn marked_processes() -> Vec<(i32, SessionId)> {
    let marks = agent_host::marks().into_iter().flatten();
    marks
        .filter_map(|marked| Some((marked.pid, agent_host::marked_attempt(&marked.value)?.0)))
        .collect()
}
