//! Finding the daemon: by what it wrote into the state directory, never by guessing a port.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;

use super::exit::Failure;
use crate::config::{DAEMON_LOCK, Environment, Paths, Settings, Sources};

/// How long a connection on the loopback may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// What a client needs to talk to a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    /// `http://127.0.0.1:PORT`.
    pub(crate) base_url: String,
    /// The bearer token.
    pub(crate) token: String,
    /// The daemon's process.
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

/// The daemon of this state directory, when it lives.
///
/// The port is tried before the lock: a daemon that listens has its lock already, so that looking at the lock never
/// gets in the way of one that is just taking it. The token is sent only to a port whose daemon holds the lock.
pub(crate) fn find(state_dir: &Path) -> Option<Connection> {
    let text = fs::read(state_dir.join("daemon.json")).ok()?;
    let daemon: DaemonFile = serde_json::from_slice(&text).ok()?;
    TcpStream::connect_timeout(&daemon.address, CONNECT_TIMEOUT).ok()?;
    if !is_locked(&state_dir.join(DAEMON_LOCK)) {
        return None;
    }
    let token = fs::read_to_string(state_dir.join("token")).ok()?;
    Some(Connection {
        base_url: format!("http://{}", daemon.address),
        token: token.trim().to_owned(),
        pid: daemon.pid,
        serve_arguments: daemon.serve_arguments,
        version: daemon.version,
    })
}

/// Whether a living process holds this lock.
pub(crate) fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
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
    use std::net::TcpListener;

    fn write_daemon(dir: &Path, port: u16) {
        fs::write(
            dir.join("daemon.json"),
            format!(r#"{{"pid":7,"address":"127.0.0.1:{port}","port":{port},"version":"1"}}"#),
        )
        .unwrap();
        fs::write(dir.join("token"), "secret\n").unwrap();
    }

    #[test]
    fn a_daemon_lives_while_it_listens_and_holds_its_lock() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find(dir.path()), None, "nothing there");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        write_daemon(dir.path(), port);
        assert_eq!(find(dir.path()), None, "no lock: somebody else may listen there");
        let lock = File::create(dir.path().join(DAEMON_LOCK)).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        let found = find(dir.path()).unwrap();
        assert_eq!((found.token.as_str(), found.pid), ("secret", 7));
        assert_eq!(found.base_url, format!("http://127.0.0.1:{port}"));
        drop(listener);
        assert_eq!(find(dir.path()), None, "nobody listens");
    }

    #[test]
    fn a_given_state_directory_is_made_absolute() {
        let dir = state_dir(Some(Path::new("here"))).unwrap();
        assert!(dir.is_absolute() && dir.ends_with("here"));
    }
}
