//! Where things are on disk: the state directory, which survives, and the runtime directory, which holds sockets.
//! Both belong to one user alone, since whoever can write there can run commands as that user.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{Environment, StateSettings};
use crate::session::id::{Attempt, SessionId};

/// The longest path of a Unix socket, in bytes, and how long the name of one of ours may be with what parts it from its
/// directory: a session's 32 digits, an attempt's number, `-` and `.sock`.
const SOCKET_PATH_BYTES_MAX: usize = 107;
const SOCKET_NAME_BYTES_MAX: usize = 1 + 32 + 1 + 10 + 5;

/// The file of a state directory that a daemon holds locked for as long as it runs.
pub const DAEMON_LOCK: &str = "daemon.lock";

/// The socket of a daemon in its state directory.
const DAEMON_SOCKET: &str = "daemon.sock";

/// Mode of our directories.
const PRIVATE: u32 = 0o700;

/// The two directories, absolute; the methods name what is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The state directory.
    pub state: PathBuf,
    /// The directory of sockets.
    pub runtime: PathBuf,
}

/// Why a directory cannot be used; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// There is no place for state.
    #[error("neither XDG_STATE_HOME nor HOME is set: set one, or the setting `state.dir`")]
    NoHome,
    /// The directory cannot be made or looked at.
    #[error("cannot use the directory {}: {source}", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// The error below it.
        source: io::Error,
    },
    /// The name is no text.
    #[error("the name of the directory {} is no UTF-8 text: set `state.dir` and `state.runtime_dir` to others", .0.display())]
    NoText(PathBuf),
    /// Sockets in it would have names that no socket may have.
    #[error(
        "the directory of sockets {} has too long a name ({} bytes, at most {most}): set `state.runtime_dir` to another",
        path.display(), path.as_os_str().len()
    )]
    Long {
        /// The directory.
        path: PathBuf,
        /// How long its name may be, in bytes.
        most: usize,
    },
    /// Something else has its name.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// It is another user's.
    #[error("{} belongs to user {owner}, not to you: set `state.dir` and `state.runtime_dir` to places of your own", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The user id of its owner.
        owner: u32,
    },
    /// Others can get at what is in it.
    #[error("{path} can be entered by others (mode {mode:o}): run `chmod 700 {path}`", path = path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl Paths {
    /// Works out where the directories are; makes none.
    pub fn new(settings: &StateSettings, environment: &Environment) -> Result<Self, PathsError> {
        let state = match settings.dir.as_str() {
            "" => environment.state_home().ok_or(PathsError::NoHome)?.join("cc-executor"),
            dir => dir.into(),
        };
        let runtime = match settings.runtime_dir.as_str() {
            "" => usual_runtime_dir(environment),
            dir => dir.into(),
        };
        Ok(Self { state, runtime })
    }

    /// Makes the directories where they are missing and checks that they are ours alone.
    pub fn create(&self) -> Result<(), PathsError> {
        for dir in [&self.state, &self.runtime] {
            if dir.to_str().is_none() {
                return Err(PathsError::NoText(dir.clone()));
            }
        }
        let most = SOCKET_PATH_BYTES_MAX - SOCKET_NAME_BYTES_MAX;
        if self.runtime.as_os_str().len() > most {
            let path = self.runtime.clone();
            return Err(PathsError::Long { path, most });
        }
        for dir in [&self.state, &self.runtime] {
            make_private(dir)?;
        }
        for dir in [self.sessions(), self.locks(), self.logs()] {
            make_private(&dir)?;
        }
        Ok(())
    }

    /// The database of journals.
    pub fn journal(&self) -> PathBuf {
        self.state.join("journal.sqlite3")
    }

    /// The database of what is kept about those who call.
    pub fn clients(&self) -> PathBuf {
        self.state.join("clients.sqlite3")
    }

    /// The directories of all sessions.
    pub fn sessions(&self) -> PathBuf {
        self.state.join("sessions")
    }

    /// The directory of one session.
    pub fn session(&self, session: SessionId) -> PathBuf {
        self.sessions().join(session.to_string())
    }

    /// The directory of one attempt.
    pub fn attempt(&self, session: SessionId, attempt: Attempt) -> PathBuf {
        self.session(session).join(attempt.to_string())
    }

    /// The bearer token.
    pub fn token(&self) -> PathBuf {
        self.state.join("token")
    }

    /// Who else may call, and what was done.
    pub fn access(&self) -> PathBuf {
        self.state.join("access")
    }

    /// Where the running daemon is.
    pub fn daemon_file(&self) -> PathBuf {
        self.state.join("daemon.json")
    }

    /// Where the daemon's own socket may be, the best place first. The state directory outlives a logout; the directory of
    /// sockets is for a state directory of which the name is too long, or that can hold none. There is no place while the
    /// state directory is gone.
    pub(crate) fn daemon_sockets(&self) -> Vec<PathBuf> {
        let Ok(name) = socket_name(&self.state) else {
            return Vec::new();
        };
        let fits = |path: &PathBuf| path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX;
        let places = [self.state.join(DAEMON_SOCKET), self.runtime.join(name)];
        places.into_iter().filter(fits).collect()
    }

    /// Held for as long as a daemon runs.
    pub fn daemon_lock(&self) -> PathBuf {
        self.state.join(DAEMON_LOCK)
    }

    /// Locks named by agents' own session ids.
    pub fn locks(&self) -> PathBuf {
        self.state.join("locks")
    }

    /// Log files of the daemon.
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }
}

/// Returns true if a socket of this name is that of the daemon of this state directory, and not of one that the directory
/// was copied from.
pub(crate) fn is_daemon_socket(socket: &Path, state: &Path) -> bool {
    let is_in_state = || {
        let parent = socket.parent().and_then(|parent| fs::metadata(parent).ok());
        let identity = |file: fs::Metadata| (file.dev(), file.ino());
        socket.ends_with(DAEMON_SOCKET) && parent.map(identity) == fs::metadata(state).ok().map(identity)
    };
    is_in_state() || socket_name(state).is_ok_and(|name| socket.ends_with(name))
}

/// The name of a daemon's socket among others in the directory of sockets: by the file that its state directory is.
fn socket_name(state: &Path) -> io::Result<String> {
    let state = fs::metadata(state)?;
    Ok(format!("daemon-{:x}-{:x}.sock", state.dev(), state.ino()))
}

fn usual_runtime_dir(environment: &Environment) -> PathBuf {
    if let Some(dir) = environment.path("XDG_RUNTIME_DIR") {
        return dir.join("cc-executor");
    }
    let temporary = environment.path("TMPDIR").unwrap_or_else(|| "/tmp".into());
    temporary.join(format!("cc-executor-{}", rustix::process::geteuid().as_raw()))
}

/// Makes a directory of mode 0700, or checks the one that is there.
///
/// A link counts as its owner's: in a shared temporary directory somebody else could have put it there.
pub(crate) fn make_private(dir: &Path) -> Result<(), PathsError> {
    let unusable = |source| PathsError::Unusable {
        path: dir.to_owned(),
        source,
    };
    let made = DirBuilder::new().recursive(true).mode(PRIVATE).create(dir);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(unusable(error)),
        Err(_) | Ok(()) => {}
    }
    let link = fs::symlink_metadata(dir).map_err(unusable)?;
    let target = fs::metadata(dir).map_err(unusable)?;
    if !target.is_dir() {
        return Err(PathsError::NotADirectory(dir.to_owned()));
    }
    let us = rustix::process::geteuid().as_raw();
    if let Some(owner) = [link.uid(), target.uid()].into_iter().find(|owner| *owner != us) {
        return Err(PathsError::Foreign {
            path: dir.to_owned(),
            owner,
        });
    }
    let mode = target.mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    // An empty directory was made for us, by a umask that did not know better.
    if fs::read_dir(dir).map_err(unusable)?.next().is_none() {
        return fs::set_permissions(dir, Permissions::from_mode(PRIVATE)).map_err(unusable);
    }
    Err(PathsError::Open {
        path: dir.to_owned(),
        mode,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(dir: &str, runtime_dir: &str) -> StateSettings {
        StateSettings {
            dir: dir.into(),
            runtime_dir: runtime_dir.into(),
        }
    }

    fn paths(vars: &[(&str, &str)]) -> Result<Paths, PathsError> {
        Paths::new(&settings("", ""), &vars.iter().copied().collect())
    }

    fn mode(dir: &Path) -> u32 {
        fs::metadata(dir).unwrap().mode() & 0o777
    }

    fn private_error(dir: &Path) -> String {
        make_private(dir).unwrap_err().to_string()
    }

    #[test]
    fn the_usual_places_follow_the_environment() {
        let found = paths(&[("XDG_STATE_HOME", "/s"), ("XDG_RUNTIME_DIR", "/r"), ("HOME", "/h")]).unwrap();
        assert_eq!(found.journal(), Path::new("/s/cc-executor/journal.sqlite3"));
        assert_eq!(found.runtime, Path::new("/r/cc-executor"));
        let found = paths(&[("HOME", "/h"), ("XDG_STATE_HOME", "relative")]).unwrap();
        assert_eq!(found.state, Path::new("/h/.local/state/cc-executor"));
        assert!(found.runtime.to_str().unwrap().starts_with("/tmp/cc-executor-"));
        assert!(paths(&[]).unwrap_err().to_string().contains("state.dir"));
    }

    #[test]
    fn directories_are_made_for_their_owner_alone() {
        let base = tempfile::tempdir().unwrap();
        let path = |name: &str| base.path().join(name).display().to_string();
        let paths = Paths::new(&settings(&path("a/state"), &path("run")), &Environment::default()).unwrap();
        paths.create().unwrap();
        paths.create().unwrap();
        for dir in [&paths.state, &paths.runtime, &paths.sessions(), &paths.logs()] {
            assert_eq!(mode(dir), 0o700, "{}", dir.display());
        }
    }

    #[test]
    fn an_empty_directory_is_closed_and_a_used_one_refused() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("state");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        make_private(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
        fs::write(dir.join("x"), "").unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        assert!(private_error(&dir).contains("chmod 700"));
    }

    #[test]
    fn a_daemons_socket_is_in_its_state_directory_or_named_by_it() {
        let base = tempfile::tempdir().unwrap();
        let dir = |name: &str| base.path().join(name);
        let paths = Paths::new(
            &settings(&dir("state").display().to_string(), &dir("run").display().to_string()),
            &Environment::default(),
        );
        let paths = paths.unwrap();
        paths.create().unwrap();
        fs::create_dir(dir("copy")).unwrap();
        let places = paths.daemon_sockets();
        assert_eq!(places.len(), 2);
        assert_eq!(places[0], dir("state").join("daemon.sock"));
        assert_eq!(places[1].parent(), Some(paths.runtime.as_path()));
        for place in &places {
            assert!(is_daemon_socket(place, &paths.state), "{}", place.display());
            assert!(!is_daemon_socket(place, &dir("copy")), "{}", place.display());
        }
        assert!(!is_daemon_socket(&dir("state").join("other.sock"), &paths.state));
        let long = Paths {
            state: base.path().join("x".repeat(100)),
            ..paths
        };
        fs::create_dir(&long.state).unwrap();
        assert_eq!(long.daemon_sockets().len(), 1, "the other is too long");
    }

    #[test]
    fn a_file_is_no_directory() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("state");
        fs::write(&file, "").unwrap();
        assert!(private_error(&file).contains("not a directory"));
    }

    #[test]
    fn another_users_directory_is_refused() {
        // The root directory is root's; tests that run as root have nobody else's at hand.
        if !rustix::process::geteuid().is_root() {
            assert!(private_error(Path::new("/")).contains("belongs to user 0"));
        }
    }
}
