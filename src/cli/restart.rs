//! `restart`: the running daemon is replaced by one of this program with the same arguments; `stop`: it is not replaced.
//! Agents go on meanwhile.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::client::Client;
use super::connection::{is_locked, refuse_elsewhere};
use super::exit::{Exit, Failure};
use super::family;
use super::launch::{DaemonEnvironment, find_or_start_with};
use super::mark::is_inside_agent;
use super::screen::print;
use super::serve;
use crate::agent_host;
use crate::config::DAEMON_LOCK;

/// How long the old daemon may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// How often its lock is looked at meanwhile. Each look holds the lock for a moment, which a daemon that starts
/// outwaits.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// `restart`
pub(crate) async fn restart(state_dir: &Path) -> Result<Exit, Failure> {
    refuse_elsewhere("restart")?;
    family::ask(state_dir).await?;
    let running = Client::find(state_dir)?;
    let arguments = running.serve_arguments();
    serve::check(state_dir, arguments)
        .map_err(|why| Failure::Failed(format!("the daemon goes on: another one could not start: {why}")))?;
    let environment = environment_for_next(&running)?;
    end(&running, state_dir).await?;
    let new = find_or_start_with(state_dir, arguments, &environment).await;
    let new = new.map_err(|why| Failure::Failed(format!("agents go on without a daemon: {why}")))?;
    let new = new.pid();
    print(&format!(
        "the daemon (pid {new}, version {}) has taken over\n",
        env!("CARGO_PKG_VERSION")
    ))?;
    Ok(Exit::Ok)
}

/// The environment of the next daemon: that of this process, but inside an agent that of the running daemon, since the
/// agent's own is its session's.
fn environment_for_next(running: &Client) -> Result<DaemonEnvironment, Failure> {
    if !is_inside_agent() {
        return Ok(DaemonEnvironment::Inherited);
    }
    let environ = agent_host::environment(running.pid().cast_signed());
    let environ = environ.map_err(|error| {
        Failure::Failed(format!(
            "the daemon goes on: its environment cannot be read ({error}), and an agent's is not for a daemon; run this \
             command outside of the agent"
        ))
    })?;
    Ok(DaemonEnvironment::Only(variables(&environ)))
}

/// The entries of an environment as the kernel shows it, each with a zero byte behind it.
fn variables(environ: &[u8]) -> Vec<(OsString, OsString)> {
    let entries = environ.split(|byte| *byte == 0);
    let named = entries.filter_map(|entry| {
        let equals = entry.iter().skip(1).position(|byte| *byte == b'=')? + 1;
        let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        Some((text(&entry[..equals]), text(&entry[equals + 1..])))
    });
    named.collect()
}

/// `stop`
pub(crate) async fn stop(state_dir: &Path) -> Result<Exit, Failure> {
    refuse_elsewhere("stop")?;
    family::ask(state_dir).await?;
    end(&Client::find(state_dir)?, state_dir).await?;
    Ok(Exit::Ok)
}

async fn end(running: &Client, state_dir: &Path) -> Result<(), Failure> {
    let old = running.pid();
    let process = i32::try_from(old).ok().and_then(Pid::from_raw);
    let told = process.map(|process| kill_process(process, Signal::TERM));
    // Somebody else may have told it just before.
    if let Some(Err(error)) = told.filter(|told| *told != Err(Errno::SRCH)) {
        return Err(Failure::Failed(format!("cannot stop the daemon (pid {old}): {error}")));
    }
    wait_for_end(state_dir, old).await?;
    Ok(print(&format!(
        "the daemon (pid {old}) has stopped; its agents go on\n"
    ))?)
}

/// Whether another daemon serves by now, which somebody else has started.
fn is_followed(state_dir: &Path, pid: u32) -> bool {
    Client::look(state_dir).is_some_and(|now| now.pid() != pid)
}

async fn wait_for_end(state_dir: &Path, pid: u32) -> Result<(), Failure> {
    let deadline = Instant::now() + END_TIMEOUT;
    while is_locked(&state_dir.join(DAEMON_LOCK)) && !is_followed(state_dir, pid) {
        if Instant::now() > deadline {
            let seconds = END_TIMEOUT.as_secs();
            return Err(Failure::Failed(format!(
                "the daemon (pid {pid}) has not ended after {seconds} s: look at its log, or end it with `kill -9 {pid}`; \
                 nothing is lost by that"
            )));
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_of_a_process_are_read_as_they_are() {
        let found = variables(b"A=1\0B=x=y\0EMPTY=\0\0no variable\0");
        let expected = [("A", "1"), ("B", "x=y"), ("EMPTY", "")];
        assert_eq!(found, expected.map(|(name, value)| (name.into(), value.into())));
    }
}
