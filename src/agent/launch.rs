//! Brings an execution and its agent's host together: writes the launch plan, finds the host or starts one, connects.
//!
//! The same call serves a first start, a daemon that comes back and a host that died: a host decides by the locks in
//! the attempt's directory whether it starts the agent, adopts it, or only serves what it wrote. A host too many exits.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::agent_host::protocol::{LaunchPlan, files};
use crate::disk::{self, create_private_dir, write_private};

use super::environment::SideFile;
use super::socket::{self, HostSocket, Unreachable};

/// How long a host may take until it listens.
const HOST_START_SECONDS_MAX: u64 = 20;

/// The longest wait between two looks at a socket that does not answer yet.
const DIAL_PAUSE_MAX: Duration = Duration::from_millis(100);

/// The program of this process, whatever has become of its file.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// How much of a log is looked at for its last line, in bytes.
const LAST_WORDS_BYTES_MAX: u64 = 4096;

/// Why there is no connection to a host.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The attempt's directory, or what else is needed, cannot be read or written.
    #[error("cannot prepare {path}: {source}")]
    Prepare {
        /// What was being read or written.
        path: PathBuf,
        /// The error below it.
        source: std::io::Error,
    },
    /// The launch plan of an earlier attempt to launch cannot be read.
    #[error("the launch plan {path} cannot be read: {why}")]
    Plan {
        /// The path of the file.
        path: PathBuf,
        /// The reason, in words for a person.
        why: String,
    },
    /// The host process could not be started.
    #[error("cannot start the agent host {program}: {source}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// The error below it.
        source: std::io::Error,
    },
    /// The host is another daemon's, whose state directory this one's was copied from.
    #[error(
        "its host works in {}, for the daemon there: this state directory is a copy of that one, and only one of the two \
         can go on with the agent",
        directory.display()
    )]
    Foreign {
        /// Where the host works.
        directory: PathBuf,
    },
    /// The host does not listen.
    #[error("{why}{}", in_its_words(.said))]
    Unreachable {
        /// How that was found out.
        why: Unreachable,
        /// The last that hosts of this attempt have said.
        said: String,
        /// Whether the last one that was started still runs, and may listen yet.
        host_runs: bool,
    },
}

/// Writes the plan of a new attempt with the files it names. A plan that stands already is kept: the attempt was
/// prepared before, and its agent may be running by it.
pub fn prepare(directory: &Path, plan: &LaunchPlan, side_files: &[SideFile]) -> Result<(), LaunchError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| LaunchError::Prepare { path, source }
    };
    create_private_dir(directory).map_err(failed(directory))?;
    let path = directory.join(files::LAUNCH);
    if path.exists() {
        return Ok(());
    }
    for file in side_files {
        write_private(&file.path, file.text.as_bytes()).map_err(failed(&file.path))?;
    }
    let json = serde_json::to_vec_pretty(plan)
        .map_err(std::io::Error::other)
        .map_err(failed(&path))?;
    write_private(&path, &json).map_err(failed(&path))
}

/// Reads the plan of an attempt that was prepared before, none where it was not.
pub fn plan(directory: &Path) -> Result<Option<LaunchPlan>, LaunchError> {
    read_json(directory.join(files::LAUNCH))
}

/// Reads a value from a file of JSON; none where there is no such file.
pub fn read_json<T: DeserializeOwned>(path: PathBuf) -> Result<Option<T>, LaunchError> {
    disk::read_json(&path).map_err(|source| match source.kind() {
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => LaunchError::Plan {
            path,
            why: source.to_string(),
        },
        _ => LaunchError::Prepare { path, source },
    })
}

/// Connects to the host of the attempt in `directory`, starting one by `executable` where none answers.
pub async fn reach(directory: &Path, plan: &LaunchPlan, executable: &Path) -> Result<HostSocket, LaunchError> {
    if let Some(directory) = socket::other_owner(&plan.socket, directory).await {
        return Err(LaunchError::Foreign { directory });
    }
    if let Ok(connected) = socket::connect(&plan.socket).await {
        return Ok(connected);
    }
    // The directory may have been removed since.
    prepare(directory, plan, &[])?;
    let mut host = start_host(directory, plan, executable)?;
    let deadline = Instant::now() + Duration::from_secs(HOST_START_SECONDS_MAX);
    let mut pause = Duration::from_millis(2);
    loop {
        match socket::connect(&plan.socket).await {
            Ok(connected) => return Ok(connected),
            Err(why) if Instant::now() >= deadline => {
                let said = last_words(&directory.join(files::HOST_LOG));
                let host_runs = matches!(host.try_wait(), Ok(None));
                return Err(LaunchError::Unreachable { why, said, host_runs });
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(DIAL_PAUSE_MAX);
        // A host that was killed holds its lock a moment longer than its socket: then the new one finds that it is not
        // needed, and leaves. One that was itself killed before it listened is followed by another, more slowly.
        let is_to_follow = |status: ExitStatus| status.success() || pause == DIAL_PAUSE_MAX;
        if matches!(host.try_wait(), Ok(Some(status)) if is_to_follow(status)) {
            host = start_host(directory, plan, executable)?;
        }
    }
}

/// The program that this process runs: by its `path` while that is still it, otherwise by what the kernel keeps of it.
/// Until the daemon itself is replaced its hosts are of its own version, so that both speak the same protocol.
pub fn own_program(path: &Path) -> PathBuf {
    let identity = |path: &Path| disk::identity(path).ok();
    let own = Path::new(OWN_PROGRAM);
    let is_own = identity(path).is_some_and(|file| Some(file) == identity(own));
    if is_own { path } else { own }.to_owned()
}

/// The last line of a process's log that is not empty; an empty text where there is none.
pub fn last_words(log: &Path) -> String {
    let text = disk::tail(log, LAST_WORDS_BYTES_MAX);
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    last.unwrap_or_default().trim().to_owned()
}

fn in_its_words(said: &str) -> String {
    if said.is_empty() {
        String::new()
    } else {
        format!("; it has said: {said}")
    }
}

/// Starts a host. It detaches itself, so the daemon's end is not its end; tokio reaps it should it end first.
fn start_host(directory: &Path, plan: &LaunchPlan, executable: &Path) -> Result<Child, LaunchError> {
    let failed = |source| LaunchError::Spawn {
        program: executable.to_owned(),
        source,
    };
    let log = disk::open_append(&directory.join(files::HOST_LOG)).map_err(failed)?;
    let mut command = Command::new(executable);
    command
        .arg("agent-host")
        .arg(plan.session.to_string())
        .arg(plan.attempt.to_string());
    command
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command.kill_on_drop(false).process_group(0);
    command.spawn().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::id::{Attempt, SessionId};
    use uuid::Uuid;

    /// Time passes as fast as the dials fail.
    #[tokio::test(start_paused = true)]
    async fn a_host_that_never_listens_is_given_up_with_what_it_said() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join(files::HOST_LOG);
        std::fs::write(log, "it begins\ncannot bind the socket\n\n").unwrap();
        let plan = LaunchPlan {
            session: SessionId::new(),
            attempt: Attempt(1),
            argv: vec![],
            env: Default::default(),
            cwd: "/".into(),
            socket: directory.path().join("socket"),
            transcript_lock: directory.path().join("lock"),
            agent_session_id: Uuid::nil(),
            spool_reserve_bytes: 0,
            open_files: None,
            umask: None,
            mark: None,
            places: Vec::new(),
            cgroup: None,
        };
        let reached = reach(directory.path(), &plan, Path::new("/bin/false")).await;
        let error = reached.err().expect("nobody listens");
        let told = error.to_string();
        assert!(told.contains("no agent host answers"), "{told}");
        assert!(told.ends_with("it has said: cannot bind the socket"), "{told}");

        // The shell takes the host's first argument for its script, which goes on for as long as this test.
        write_private(
            &directory.path().join("agent-host"),
            b"exec tail -f /dev/null --pid=$PPID",
        )
        .unwrap();
        let reached = reach(directory.path(), &plan, Path::new("/bin/sh")).await;
        let error = reached.err().expect("nobody listens");
        assert!(
            matches!(error, LaunchError::Unreachable { host_runs: true, .. }),
            "it may yet: {error}"
        );
    }
}
