//! Starting the daemon in the background.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::clean::{name, one_line};
use super::client::Client;
use super::exit::Failure;
use super::mark::is_inside_agent;
use super::screen::eprint;
use crate::disk::{create_private_dir, regular};

/// How long the daemon may take to answer.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How often it is looked for meanwhile.
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// The environment that a daemon is started with.
#[derive(Debug)]
pub(crate) enum DaemonEnvironment {
    /// That of this process.
    Inherited,
    /// These variables and nothing else.
    Only(Vec<(OsString, OsString)>),
}

/// Returns the daemon of this state directory. If none runs, starts one and says so on standard error. Inside an agent it
/// starts none: that would undo a `stop`, and the daemon would be the agent's child.
pub(crate) async fn find_or_start(state_dir: &Path) -> Result<Client, Failure> {
    match Client::find(state_dir) {
        Err(Failure::NoDaemon(_)) if is_inside_agent() => Err(Failure::InsideAgent(state_dir.to_owned())),
        Ok(_) | Err(_) => find_or_start_with(state_dir, &[], &DaemonEnvironment::Inherited).await,
    }
}

/// The same, also inside an agent, with further arguments and the environment for a daemon that is started.
pub(crate) async fn find_or_start_with(
    state_dir: &Path,
    arguments: &[String],
    environment: &DaemonEnvironment,
) -> Result<Client, Failure> {
    let found = match Client::find(state_dir) {
        Ok(client) => Some(client),
        Err(Failure::NoDaemon(_)) => None,
        Err(other) => return Err(other),
    };
    if let Some(client) = found {
        if let Some(version) = client.other_version() {
            let (version, ours) = (name(version), env!("CARGO_PKG_VERSION"));
            eprint(&format!(
                "the daemon is of version {version}, this program of {ours}: `cc-executor restart` replaces it, agents go on"
            ));
        }
        return Ok(client);
    }
    let log = state_dir.join("logs").join("daemon.log");
    let mut child = start(state_dir, arguments, environment, &log).map_err(|error| {
        Failure::Failed(format!(
            "cannot start the daemon for {}: {error}; another directory can be given by --state-dir",
            state_dir.display()
        ))
    })?;
    let client = wait_until_ready(state_dir, &mut child, &log).await?;
    // Somebody else may have started one at the same time: then ours has ended, and theirs is found.
    if client.pid() == child.id() {
        eprint(&format!(
            "started the daemon (pid {}, log {})",
            child.id(),
            log.display()
        ));
    }
    Ok(client)
}

fn start(state_dir: &Path, arguments: &[String], environment: &DaemonEnvironment, log: &Path) -> io::Result<Child> {
    let logs = log.parent().unwrap_or(state_dir);
    create_private_dir(logs)?;
    let opened = regular::open_by(OpenOptions::new().create(true).append(true).mode(0o600), log);
    let log = opened.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", log.display())))?;
    let mut command = daemon_command(state_dir, arguments, log)?;
    if let DaemonEnvironment::Only(variables) = environment {
        command.env_clear().envs(variables.iter().cloned());
    }
    command.spawn()
}

/// The daemon goes on when the terminal is closed: the first thing it does is to make a session of its own, which it
/// could not if it led a process group.
fn daemon_command(state_dir: &Path, arguments: &[String], log: File) -> io::Result<Command> {
    let program = program()?;
    let mut command = Command::new(program);
    command
        .args(["serve", "--new-session"])
        .args(arguments)
        .arg("--state-dir")
        .arg(state_dir)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command)
}

/// The path of this program; one that has been replaced is found under its old name.
pub(crate) fn program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let text = path.to_string_lossy();
    Ok(text
        .strip_suffix(" (deleted)")
        .map_or_else(|| path.clone(), PathBuf::from))
}

async fn wait_until_ready(state_dir: &Path, child: &mut Child, log: &Path) -> Result<Client, Failure> {
    let deadline = Instant::now() + START_TIMEOUT;
    let mut exited = None;
    loop {
        if let Some(client) = Client::look(state_dir)
            && client.is_healthy().await
        {
            return Ok(client);
        }
        if let Some(status) = exited {
            return Err(Failure::Failed(format!(
                "the daemon ended at once ({status}): {}",
                last_words(log)
            )));
        }
        if Instant::now() > deadline {
            let seconds = START_TIMEOUT.as_secs();
            return Err(Failure::Failed(format!(
                "the daemon does not answer after {seconds} s: see {}",
                log.display()
            )));
        }
        // Looked at last, so that after its end there is one more look for the daemon that kept it out.
        exited = child.try_wait()?;
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

/// The last line of the log, and where to find the others.
pub(crate) fn last_words(log: &Path) -> String {
    let last = crate::agent::launch::last_words(log);
    let last = if last.is_empty() { "it said nothing" } else { &last };
    format!("{} (log {})", one_line(last, 400), log.display())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_last_line_of_the_log_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("daemon.log");
        assert!(last_words(&log).starts_with("it said nothing"));
        fs::write(&log, format!("{}\nerror: the port is taken\n\n", "x".repeat(10_000))).unwrap();
        assert!(last_words(&log).starts_with("error: the port is taken (log "));
    }
}
