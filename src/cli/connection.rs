//! Finding the daemon: by what it wrote into the state directory, never by guessing a port.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use serde::Deserialize;

use super::exit::Failure;
use super::mark::is_inside_agent;
use super::way::{Way, is_accepted_at, listener_at};
use crate::config::{DAEMON_LOCK, Environment, Paths, Settings, Sources, is_daemon_socket};
use crate::disk::regular;

/// The variables that name a daemon elsewhere, and a token for it.
const URL_VARIABLE: &str = "CC_EXECUTOR_URL";
pub(super) const TOKEN_VARIABLE: &str = "CC_EXECUTOR_TOKEN";

/// How long a daemon that holds its lock may take to answer at its socket, which it binds anew if it has vanished.
const SOCKET_WAIT: Duration = Duration::from_secs(3);

/// How often it is looked for meanwhile.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// What a client needs to talk to a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    /// The way to the daemon.
    pub(crate) way: Way,
    /// Where browsers and scripts reach it: `http://127.0.0.1:PORT`.
    pub(crate) base_url: String,
    /// The daemon's process; 0 of one elsewhere.
    pub(crate) pid: u32,
    /// The arguments it was started with, behind `serve`.
    pub(crate) serve_arguments: Vec<String>,
    /// Its version; empty where it does not say.
    pub(crate) version: String,
}

/// What the daemon says of itself in `daemon.json`.
#[derive(Debug, Deserialize)]
struct DaemonFile {
    pid: u32,
    address: SocketAddr,
    /// An older daemon has none.
    #[serde(default)]
    socket: Option<PathBuf>,
    /// An older daemon does not say.
    #[serde(default)]
    serve_arguments: Vec<String>,
    #[serde(default)]
    version: String,
}

/// The directory with the daemon's state: the given one, or what the settings say, as for the daemon itself.
pub(crate) fn state_dir(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(given) = given {
        return std::path::absolute(given).map_err(|error| Failure::Usage(format!("--state-dir: {error}")));
    }
    let environment = Environment::of_this_process();
    let sources = Sources {
        environment: environment.clone(),
        ..Sources::default()
    };
    let settings = Settings::load(&sources).map_err(|error| Failure::Failed(error.to_string()))?;
    let paths = Paths::new(&settings.state, &environment).map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(paths.state)
}

/// The daemon that the environment names, or else that of this state directory.
pub(crate) fn find(state_dir: &Path) -> Result<Connection, Failure> {
    match given()? {
        Some(given) => Ok(given),
        None => find_here(state_dir),
    }
}

/// The daemon of this state directory. One whose lock is held is waited for: it is just starting, or its socket has vanished
/// and is bound anew.
pub(crate) fn find_here(state_dir: &Path) -> Result<Connection, Failure> {
    let deadline = Instant::now() + SOCKET_WAIT;
    loop {
        if let Some(found) = look_here(state_dir) {
            return Ok(found);
        }
        let is_announced = state_dir.join("daemon.json").exists();
        if !is_announced || !is_locked(&state_dir.join(DAEMON_LOCK)) || Instant::now() > deadline {
            return Err(Failure::NoDaemon(state_dir.to_owned()));
        }
        std::thread::sleep(LOOK_PERIOD);
    }
}

/// The same without waiting.
pub(crate) fn look(state_dir: &Path) -> Option<Connection> {
    match given() {
        Ok(Some(given)) => Some(given),
        Ok(None) => look_here(state_dir),
        Err(_) => None,
    }
}

/// A daemon of another machine or container, by the environment. An agent has none: what it may do is up to its session.
fn given() -> Result<Option<Connection>, Failure> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let Some(url) = variable(URL_VARIABLE).filter(|_| !is_inside_agent()) else {
        return Ok(None);
    };
    given_by(&url, variable(TOKEN_VARIABLE)).map(Some)
}

fn given_by(url: &str, token: Option<String>) -> Result<Connection, Failure> {
    if !url.starts_with("http://") {
        return Err(Failure::Usage(format!(
            "{URL_VARIABLE} must begin with http://: reach a daemon elsewhere through a tunnel, such as `ssh -L`"
        )));
    }
    let token = token.ok_or_else(|| {
        Failure::Usage(format!(
            "{URL_VARIABLE} is set, and no token: set {TOKEN_VARIABLE}, or unset both to call the daemon of this user"
        ))
    })?;
    let url = url.trim_end_matches('/').to_owned();
    Ok(Connection {
        base_url: url.clone(),
        way: Way::Given { url, token },
        pid: 0,
        serve_arguments: Vec::new(),
        version: String::new(),
    })
}

/// Errors if the environment names a daemon elsewhere, which `verb` cannot do anything about.
pub(crate) fn refuse_elsewhere(verb: &str) -> Result<(), Failure> {
    match given()? {
        None => Ok(()),
        Some(Connection { base_url, .. }) => Err(Failure::Usage(format!(
            "`{verb}` is for a daemon of this user, and {URL_VARIABLE} names {base_url}: unset it"
        ))),
    }
}

/// What is in the state directory is believed if the directory is the caller's alone; root may call any user's daemon. What
/// listens where `daemon.json` says is the daemon only if it is a process of that user: the file of a daemon that was
/// killed names an address that others may have by now.
fn look_here(state_dir: &Path) -> Option<Connection> {
    let user = owner_if_private(state_dir)?;
    if ![user, 0].contains(&geteuid().as_raw()) {
        return None;
    }
    let text = regular::read(&state_dir.join("daemon.json")).ok()?;
    let daemon: DaemonFile = serde_json::from_slice(&text).ok()?;
    let (way, pid) = match &daemon.socket {
        Some(socket) => by_socket(socket, state_dir, user)?,
        None => (by_port(daemon.address, state_dir, user)?, daemon.pid),
    };
    Some(Connection {
        way,
        base_url: format!("http://{}", daemon.address),
        pid,
        serve_arguments: daemon.serve_arguments,
        version: daemon.version,
    })
}

/// The socket, and the process that listens there.
fn by_socket(socket: &Path, state_dir: &Path, user: u32) -> Option<(Way, u32)> {
    if !is_daemon_socket(socket, state_dir) || owner_if_private(socket.parent()?)? != user {
        return None;
    }
    let file = fs::symlink_metadata(socket).ok()?;
    if !file.file_type().is_socket() || file.uid() != user {
        return None;
    }
    let pid = listener_at(socket, user)?;
    let path = socket.to_owned();
    Some((Way::Socket { path, user }, pid))
}

/// The port of a daemon of an older version. It is tried before the lock: a daemon that listens has its lock already, so
/// that looking at the lock never gets in the way of one that is just taking it.
///
/// An agent does not read the owner's token, so it does not call such a daemon.
fn by_port(address: SocketAddr, state_dir: &Path, user: u32) -> Option<Way> {
    if is_inside_agent() {
        return None;
    }
    if !is_accepted_at(address, user) || !is_locked(&state_dir.join(DAEMON_LOCK)) {
        return None;
    }
    let token = regular::read_to_string(&state_dir.join("token"))
        .ok()?
        .trim()
        .to_owned();
    Some(Way::Port { address, user, token })
}

/// The user of a directory that nobody else can enter. A link counts as its owner's.
fn owner_if_private(directory: &Path) -> Option<u32> {
    let link = fs::symlink_metadata(directory).ok()?;
    let target = fs::metadata(directory).ok()?;
    let is_private = target.is_dir() && target.mode() & 0o077 == 0 && link.uid() == target.uid();
    is_private.then(|| target.uid())
}

/// Whether a living process holds this lock.
pub(crate) fn is_locked(path: &Path) -> bool {
    let Ok(file) = regular::open(path) else {
        return false;
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => false,
        Err(error) => io::Error::from(error).kind() == io::ErrorKind::WouldBlock,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    fn private_dir() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        dir
    }

    fn write_daemon(dir: &Path, port: u16, socket: Option<&Path>) {
        let daemon = serde_json::json!({
            "pid": 7, "address": format!("127.0.0.1:{port}"), "port": port, "version": "1", "socket": socket,
        });
        fs::write(dir.join("daemon.json"), daemon.to_string()).unwrap();
        fs::write(dir.join("token"), "secret\n").unwrap();
    }

    fn lock(dir: &Path) -> File {
        let lock = File::create(dir.join(DAEMON_LOCK)).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        lock
    }

    #[tokio::test]
    async fn a_daemon_of_an_older_version_lives_while_it_listens_and_holds_its_lock() {
        let dir = private_dir();
        assert_eq!(look_here(dir.path()), None, "nothing there");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        write_daemon(dir.path(), address.port(), None);
        let accepting = std::thread::spawn(move || [listener.accept(), listener.accept()]);
        assert_eq!(look_here(dir.path()), None, "no lock: somebody else may listen there");
        let _lock = lock(dir.path());
        let found = look_here(dir.path()).unwrap();
        let (user, token) = (geteuid().as_raw(), "secret".to_owned());
        assert_eq!(found.way, Way::Port { address, user, token });
        assert_eq!((found.pid, found.base_url), (7, format!("http://{address}")));
        drop(accepting.join().unwrap());
        assert_eq!(look_here(dir.path()), None, "nobody listens");
    }

    #[tokio::test]
    async fn a_daemon_is_who_listens_at_the_socket_of_its_state_directory() {
        let dir = private_dir();
        let socket = dir.path().join("daemon.sock");
        write_daemon(dir.path(), 1, Some(&socket));
        assert_eq!(look_here(dir.path()), None, "nobody listens");
        let _listener = UnixListener::bind(&socket).unwrap();
        let found = look_here(dir.path()).unwrap();
        let way = Way::Socket {
            path: socket.clone(),
            user: geteuid().as_raw(),
        };
        assert_eq!((found.way, found.pid), (way, std::process::id()));
        let copy = private_dir();
        fs::copy(dir.path().join("daemon.json"), copy.path().join("daemon.json")).unwrap();
        assert_eq!(look_here(copy.path()), None, "that is another directory's daemon");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(look_here(dir.path()), None, "others may have put it there");
    }

    #[test]
    fn a_daemon_elsewhere_is_named_with_a_token() {
        let found = given_by("http://127.0.0.1:9000/", Some("secret".into())).unwrap();
        assert_eq!(found.way.url("/api/info"), "http://127.0.0.1:9000/api/info");
        let told = |url: &str, token: Option<&str>| {
            let failure = given_by(url, token.map(str::to_owned)).unwrap_err();
            assert_eq!(failure.exit().code(), 2);
            failure.to_string()
        };
        assert!(told("http://127.0.0.1:9000", None).contains("CC_EXECUTOR_TOKEN"));
        assert!(told("https://host", Some("secret")).contains("http://"));
    }

    #[test]
    fn a_given_state_directory_is_made_absolute() {
        let dir = state_dir(Some(Path::new("here"))).unwrap();
        assert!(dir.is_absolute() && dir.ends_with("here"));
    }
}
