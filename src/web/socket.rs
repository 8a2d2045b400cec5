//! The daemon's Unix socket: where it is, and that it stays there. The command line and the relay call by it, since the
//! kernel tells both sides who the other is.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use crate::agent_host::SocketFile;
use crate::config::{Paths, make_private};

/// The socket's file.
pub(super) struct DaemonSocket {
    paths: Paths,
    file: SocketFile,
}

impl DaemonSocket {
    /// Binds the socket at the first place that can hold one. A file in its place is stale, since the daemon's lock is
    /// held.
    pub(super) fn bind(paths: &Paths) -> io::Result<(Self, UnixListener)> {
        let mut why =
            io::Error::other("the state directory is gone, or has too long a name, as has the directory of sockets");
        for path in paths.daemon_sockets() {
            match bind_at(&path) {
                Ok((file, listener)) => {
                    let paths = paths.clone();
                    return Ok((Self { paths, file }, listener));
                }
                Err(error) => why = io::Error::new(error.kind(), format!("{}: {error}", path.display())),
            }
        }
        Err(why)
    }

    /// The path of the socket.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Returns true if the file is still there and ours.
    pub(super) fn is_there(&self) -> bool {
        self.file.is_there()
    }

    /// Binds the socket anew, where it was or at another place.
    pub(super) fn bind_again(&mut self) -> io::Result<UnixListener> {
        let (door, listener) = Self::bind(&self.paths)?;
        *self = door;
        Ok(listener)
    }

    /// Removes the file, if it is ours.
    pub(super) fn remove(&self) {
        self.file.remove();
    }
}

/// Some file systems take a socket's file and no connection: it is tried.
fn bind_at(path: &Path) -> io::Result<(SocketFile, UnixListener)> {
    if let Some(parent) = path.parent() {
        make_private(parent).map_err(io::Error::other)?;
    }
    let (file, listener) = SocketFile::bind(path)?;
    let tried = UnixStream::connect(path).and_then(|_client| listener.accept());
    if let Err(error) = tried {
        file.remove();
        return Err(error);
    }
    listener.set_nonblocking(true)?;
    Ok((file, listener))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Settings, Sources};
    use std::os::unix::fs::MetadataExt;

    fn paths(base: &Path, state: &str) -> Paths {
        let vars = [
            ("CC_EXECUTOR__STATE__DIR", base.join(state).display().to_string()),
            (
                "CC_EXECUTOR__STATE__RUNTIME_DIR",
                base.join("run").display().to_string(),
            ),
        ];
        let sources = Sources {
            environment: vars.into_iter().collect(),
            ..Sources::default()
        };
        let settings = Settings::load(&sources).unwrap();
        let paths = Paths::new(&settings.state, &Environment::default()).unwrap();
        paths.create().unwrap();
        paths
    }

    #[test]
    fn a_socket_that_vanishes_is_bound_anew() {
        let base = tempfile::tempdir().unwrap();
        let paths = paths(base.path(), "state");
        let (mut door, _listener) = DaemonSocket::bind(&paths).unwrap();
        assert_eq!(door.path(), paths.state.join("daemon.sock"));
        assert_eq!(std::fs::metadata(door.path()).unwrap().mode() & 0o777, 0o600);
        assert!(door.is_there());
        std::fs::remove_file(door.path()).unwrap();
        std::fs::write(door.path(), "something else").unwrap();
        assert!(!door.is_there());
        let listener = door.bind_again().unwrap();
        assert!(door.is_there() && UnixStream::connect(door.path()).is_ok());
        drop(listener);
        door.remove();
        assert!(!door.path().exists());
    }

    #[test]
    fn a_state_directory_that_can_hold_none_has_its_socket_elsewhere() {
        let base = tempfile::tempdir().unwrap();
        let long = paths(base.path(), &"x".repeat(90));
        let (door, _listener) = DaemonSocket::bind(&long).unwrap();
        assert_eq!(door.path().parent(), Some(long.runtime.as_path()));
        let taken = paths(base.path(), "state");
        // What cannot be removed is in the way, as a file system without sockets is.
        std::fs::create_dir(taken.state.join("daemon.sock")).unwrap();
        let (door, _other) = DaemonSocket::bind(&taken).unwrap();
        assert_eq!(door.path().parent(), Some(taken.runtime.as_path()));
    }
}
