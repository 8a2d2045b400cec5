//! Leftovers: what an agent started and left behind, found by our mark in its environment and ended.
//!
//! Process groups do not find them, since the agent gives each shell its own, and neither does a sub-reaper that has
//! died itself. The mark is inherited by everything that does not clear its environment.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::Instant;

use super::log;
use super::mark::Mark;
use super::pace::Pace;
use super::proc;
use super::protocol::{AgentProcess, FromHost};

/// How long a leftover has between the request to end and being killed.
const GRACE: Duration = Duration::from_secs(2);

/// After this time the log says what does not go away.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The longest command shown for one process, in characters.
const COMMAND_CHARS_MAX: usize = 120;

/// How many are listed one by one: such a list fits a frame of any websocket.
const LISTED_MAX: usize = 200;

/// Ends every marked process but this one and `spare`, and returns when none is left: `<pid> <command>` for each.
pub(super) async fn end(mark: &Mark, spare: Option<AgentProcess>) -> Vec<String> {
    let mut ended = BTreeMap::new();
    let mut pace = Pace::between(Duration::from_millis(5), Duration::from_millis(250));
    let began = Instant::now();
    let mut told = false;
    loop {
        let left = match find(mark, spare) {
            Ok(left) if left.is_empty() => {
                mark.remove_cgroup();
                return ended.into_values().collect();
            }
            Ok(left) => left,
            Err(error) => {
                if !told {
                    told = true;
                    log(format_args!("cannot look for leftovers yet: {error}"));
                }
                Vec::new()
            }
        };
        let late = began.elapsed() >= GRACE;
        if late
            && spare.is_none()
            && let Err(error) = mark.kill_cgroup()
            && !told
        {
            log(format_args!("cannot kill the cgroup of the attempt: {error}"));
        }
        for process in &left {
            let is_new = ended
                .insert((process.start_ticks, process.pid), describe(*process))
                .is_none();
            if is_new || late {
                signal(*process, if late { Signal::KILL } else { Signal::TERM });
            }
        }
        if began.elapsed() > SILENCE_MAX && !told {
            told = true;
            log(format_args!("these leftovers do not end: {left:?}"));
        }
        tokio::time::sleep(pace.step()).await;
    }
}

/// Counts the marked processes besides this one and `spare`. If the host cannot look, it reports one of unknown age.
pub(super) fn count(mark: &Mark, spare: Option<AgentProcess>) -> FromHost {
    let (count, youngest_ms) = match find(mark, spare) {
        // They are sorted by age.
        Ok(found) => (found.len(), found.last().and_then(|process| proc::age_ms(*process))),
        Err(_) => (1, None),
    };
    FromHost::Children { count, youngest_ms }
}

/// What the daemon is told of processes ended: each, or the first ones and how many more.
pub(super) fn list(mut ended: Vec<String>) -> Vec<String> {
    let more = ended.len().saturating_sub(LISTED_MAX);
    if more > 0 {
        ended.truncate(LISTED_MAX);
        ended.push(format!("and {more} more"));
    }
    ended
}

fn find(mark: &Mark, spare: Option<AgentProcess>) -> io::Result<Vec<AgentProcess>> {
    let own = std::process::id();
    let mut found = mark.processes()?;
    found.retain(|process| process.pid.unsigned_abs() != own && Some(*process) != spare);
    Ok(found)
}

/// The descriptor is opened before the process is looked at again, so that a reused pid is never hit.
pub(super) fn signal(process: AgentProcess, signal: Signal) {
    let Some(pid) = Pid::from_raw(process.pid) else { return };
    let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    if !proc::lives(process) {
        return;
    }
    if let Err(error) = pidfd_send_signal(&descriptor, signal) {
        log(format_args!("cannot signal process {}: {error}", process.pid));
    }
}

fn describe(process: AgentProcess) -> String {
    let command: String = proc::arguments(process.pid)
        .join(" ")
        .chars()
        .take(COMMAND_CHARS_MAX)
        .collect();
    format!("{} {}", process.pid, command.replace(char::is_control, " "))
}
