//! A daemon on a folder of its own, with the simulated agent: for `demo` and `bench`.
//!
//! Nothing of the user's takes part: no settings file, no `CC_EXECUTOR__` variable, no home, no running daemon. Every
//! process of it carries a mark in its environment; when the sandbox is dropped they are ended and the folder is
//! removed, however the command came to its end.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{self, Pid, kill_process};
use serde::Deserialize;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use uuid::Uuid;

use super::client::Client;
use super::exit::Failure;
use super::launch::{last_words, program};
use crate::agent_host;
use crate::disk;

/// Marks every process of a sandbox; the value is its folder.
const MARK: &str = "CC_EXECUTOR_SANDBOX";

/// How long a daemon may take to answer, and how often it is asked.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const START_LOOK_PERIOD: Duration = Duration::from_millis(1);

/// How long its processes may take to end by themselves, and how often they are looked for.
const END_TIMEOUT: Duration = Duration::from_secs(10);
const END_LOOK_PERIOD: Duration = Duration::from_millis(10);

/// The longest path of a Unix socket, and what comes behind the folder in ours.
const SOCKET_PATH_BYTES_MAX: usize = 107;
const SOCKET_NAME_BYTES: usize = 56;

/// A folder with a daemon in it.
pub(crate) struct Sandbox {
    root: PathBuf,
    /// Settings besides those that every sandbox has: `section.key=value`.
    settings: Vec<String>,
    daemon: Option<Child>,
}

/// What `daemon.json` says.
#[derive(Deserialize)]
struct DaemonFile {
    pid: u32,
    port: u16,
}

impl Sandbox {
    /// An empty sandbox below `parent`, or below the temporary directory; its daemon is not started yet.
    pub(crate) fn create(parent: Option<&Path>, agent: SimulatedAgents, settings: &[&str]) -> Result<Self, Failure> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let parent = std::path::absolute(parent)?;
        let unique = Uuid::new_v4().simple().to_string();
        let root = parent.join(format!("cc-executor-{}", &unique[..8]));
        if root.as_os_str().len() + SOCKET_NAME_BYTES > SOCKET_PATH_BYTES_MAX {
            let parent = parent.display();
            return Err(Failure::Usage(format!(
                "the path {parent} is too long for sockets: set TMPDIR to a shorter one"
            )));
        }
        let make = |dir: &Path| DirBuilder::new().mode(0o700).create(dir);
        make(&root).map_err(|error| Failure::Failed(format!("cannot make {}: {error}", root.display())))?;
        // From here on the folder is removed again, whatever happens.
        let mut sandbox = Self {
            root,
            settings: Vec::new(),
            daemon: None,
        };
        ["home", "work"]
            .iter()
            .try_for_each(|name| make(&sandbox.root.join(name)))?;
        fs::write(sandbox.root.join("config.toml"), "")?;
        sandbox.settings = sandbox.own_settings(agent)?;
        sandbox.settings.extend(settings.iter().map(|set| (*set).to_owned()));
        Ok(sandbox)
    }

    /// The folder all of it is in.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder that sessions work in.
    pub(crate) fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// The daemon's state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Where the agents write down what they write.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.root.join("ledger")
    }

    /// Where the daemon logs to.
    fn log(&self) -> PathBuf {
        self.root.join("daemon.log")
    }

    /// The daemon's process, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    /// The port of the running daemon.
    pub(crate) fn port(&self) -> io::Result<u16> {
        let daemon: DaemonFile = serde_json::from_slice(&fs::read(self.state().join("daemon.json"))?)?;
        Ok(daemon.port)
    }

    /// Starts the daemon and waits until it answers; gives the time that took.
    pub(crate) async fn start(&mut self) -> Result<Duration, Failure> {
        let began = Instant::now();
        let mut child = self.spawn()?;
        let pid = child.id();
        let mut ended = child.try_wait()?;
        self.daemon = Some(child);
        while !self.is_healthy(pid) {
            if let Some(status) = ended {
                let said = last_words(&self.log());
                return Err(Failure::Failed(format!("the daemon ended at once ({status}): {said}")));
            }
            if began.elapsed() > START_TIMEOUT {
                let seconds = START_TIMEOUT.as_secs();
                return Err(Failure::Failed(format!("the daemon does not answer after {seconds} s")));
            }
            tokio::time::sleep(START_LOOK_PERIOD).await;
            ended = self.daemon.as_mut().map_or(Ok(None), Child::try_wait)?;
        }
        Ok(began.elapsed())
    }

    /// A client of the running daemon.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Client::find(&self.state())
    }

    /// Kills the daemon, which it cannot notice, and answers its pid. Hosts and agents go on.
    pub(crate) fn kill(&mut self) -> io::Result<u32> {
        let Some(mut daemon) = self.daemon.take() else {
            return Err(io::Error::other("no daemon runs"));
        };
        daemon.kill()?;
        daemon.wait()?;
        Ok(daemon.id())
    }

    /// Asks the daemon to end and waits for it.
    pub(crate) fn stop(&mut self) -> io::Result<()> {
        let Some(mut daemon) = self.daemon.take() else {
            return Ok(());
        };
        send(daemon.id(), process::Signal::TERM);
        daemon.wait().map(drop)
    }

    /// Stops the daemon and waits for hosts and agents, which end by themselves when their sessions have. An error
    /// where one does not; then, too, nothing is left.
    pub(crate) async fn close(mut self) -> Result<(), Failure> {
        self.stop()?;
        let deadline = Instant::now() + END_TIMEOUT;
        while !self.family().is_empty() {
            if Instant::now() > deadline {
                return Err(Failure::Failed("processes of ended sessions were left".to_owned()));
            }
            tokio::time::sleep(END_LOOK_PERIOD).await;
        }
        Ok(())
    }

    /// The pids of all processes of this sandbox.
    pub(crate) fn family(&self) -> Vec<u32> {
        let mark = [MARK.as_bytes(), b"=", self.root.as_os_str().as_bytes()].concat();
        let family = agent_host::pids()
            .into_iter()
            .flatten()
            .filter(|pid| has_variable(*pid, &mark));
        family.map(i32::unsigned_abs).collect()
    }

    fn own_settings(&self, agent: SimulatedAgents) -> Result<Vec<String>, Failure> {
        let utf8 = |path: &Path| {
            let unusable = || Failure::Failed(format!("the path {} is not UTF-8", path.display()));
            path.to_str().map(str::to_owned).ok_or_else(unusable)
        };
        let simulator = [utf8(&program()?)?, "simulate".to_owned()];
        let ledger = match agent {
            SimulatedAgents::WithLedger => vec!["--ledger".to_owned(), utf8(&self.ledger())?],
            SimulatedAgents::Plain => vec![],
        };
        Ok(vec![
            format!("state.dir={}", utf8(&self.state())?),
            format!("state.runtime_dir={}", utf8(&self.root.join("run"))?),
            format!("agent.command={}", json!([&simulator[..], &ledger[..]].concat())),
        ])
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = disk::open_append(&self.log())?;
        let mut command = Command::new(program()?);
        command
            .args(["serve", "--port", "0", "--config"])
            .arg(self.root.join("config.toml"));
        command.args(self.settings.iter().flat_map(|set| ["--set", set]));
        let path = std::env::var_os("PATH").unwrap_or_else(|| OsStr::new("/usr/bin:/bin").to_owned());
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.root.join("home"))
            .env(MARK, &self.root);
        let (stdin, stdout) = (Stdio::null(), Stdio::null());
        // A group of its own: Ctrl-C at the terminal is ours to handle.
        command
            .current_dir(&self.root)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(log)
            .process_group(0);
        command.spawn()
    }

    /// One plain request on a connection of its own, as light as it can be: its time is measured.
    fn is_healthy(&self, pid: u32) -> bool {
        let asked = || -> io::Result<bool> {
            let daemon: DaemonFile = serde_json::from_slice(&fs::read(self.state().join("daemon.json"))?)?;
            // A daemon that was killed has left its file behind.
            Ok(daemon.pid == pid && answers(daemon.port)?)
        };
        asked().unwrap_or(false)
    }
}

/// How the simulated agents are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SimulatedAgents {
    /// With a ledger, for counting.
    WithLedger,
    /// Without, for speed.
    Plain,
}

impl Drop for Sandbox {
    /// Nothing stays behind. The daemon goes first, so that it starts no further process.
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.kill();
        let deadline = Instant::now() + END_TIMEOUT;
        loop {
            let left = self.family();
            if left.is_empty() || Instant::now() > deadline {
                break;
            }
            left.into_iter().for_each(|pid| send(pid, process::Signal::KILL));
            std::thread::sleep(END_LOOK_PERIOD);
        }
        if let Err(error) = fs::remove_dir_all(&self.root) {
            super::screen::eprint(&format!("cannot remove {}: {error}", self.root.display()));
        }
    }
}

/// Whether a daemon on this port says that it is well.
pub(crate) fn answers(port: u16) -> io::Result<bool> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(START_TIMEOUT))?;
    write!(
        stream,
        "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(head.ends_with(b" 200"))
}

/// The ways in which somebody can want this command to end: Ctrl-C, SIGTERM, a terminal that closes. Made before the
/// sandbox, so that none of them leaves anything behind.
pub(crate) struct Interrupts([Signal; 3]);

impl Interrupts {
    /// Takes the signals over.
    pub(crate) fn new() -> io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hang_up] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hang_up?]))
    }

    /// Waits for one of them.
    pub(crate) async fn recv(&mut self) {
        let [interrupt, terminate, hang_up] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    }
}

/// Whether a process of ours has this variable, `NAME=value`.
fn has_variable(pid: i32, variable: &[u8]) -> bool {
    let environment = agent_host::environment(pid);
    environment.is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|entry| entry == variable))
}

/// Sends a signal; the process may be gone already.
fn send(pid: u32, signal: process::Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_leaves_neither_process_nor_file() {
        let parent = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::create(Some(parent.path()), SimulatedAgents::Plain, &[]).unwrap();
        let mut child = Command::new("sleep")
            .arg("1000")
            .env(MARK, sandbox.root())
            .spawn()
            .unwrap();
        let starting = Instant::now();
        while sandbox.family() != [child.id()] {
            assert!(starting.elapsed() < END_TIMEOUT, "the child is of the family");
        }
        drop(sandbox);
        assert!(!child.wait().unwrap().success(), "it was killed");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_path_too_long_for_sockets_is_refused_before_anything_is_made() {
        let parent = tempfile::tempdir().unwrap();
        let long = parent.path().join("x".repeat(100));
        let refused = Sandbox::create(Some(&long), SimulatedAgents::Plain, &[]).err().unwrap();
        assert!(refused.to_string().contains("TMPDIR"), "{refused}");
    }
}
