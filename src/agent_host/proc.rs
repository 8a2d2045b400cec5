//! What `/proc` tells about processes: which one a pid means, whose it is, what it was started as.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// How often a process in the middle of its exec is looked at, and how long after a look the next one is.
const EXEC_LOOKS_MAX: u32 = 200;
const EXEC_LOOK_PERIOD: Duration = Duration::from_millis(1);

/// Which process an agent is: a pid alone may be reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentProcess {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot, field 22 of `/proc/<pid>/stat`.
    pub start_ticks: u64,
}

/// The fields of `/proc/<pid>/stat` that matter here.
pub(super) struct Stat {
    /// Whether it has ended and only waits to be reaped.
    pub(super) ended: bool,
    /// True if a signal has stopped it.
    pub(super) stopped: bool,
    /// The process that started it, or the one that has taken it over.
    pub(super) parent: i32,
    /// Its process group.
    pub(super) group: i32,
    /// Field 22, clock ticks since boot.
    pub(super) start_ticks: u64,
    /// Field 51: its environment has a place in its memory, empty or not.
    has_environment: bool,
}

/// What a process has in its environment: entries, each with a zero byte behind it.
pub(crate) fn environment(pid: i32) -> io::Result<Vec<u8>> {
    read_whole(pid, "environ")
}

/// The ids of all processes.
pub(crate) fn pids() -> io::Result<impl Iterator<Item = i32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

/// The environment, unless the process is gone or somebody else's. Where this process lacks the means to look, that is
/// no sign of a process that is gone.
pub(super) fn environment_if_shown(pid: i32) -> io::Result<Option<Vec<u8>>> {
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    match environment(pid) {
        Ok(environment) => Ok(Some(environment)),
        Err(error) if Errno::from_io_error(&error).is_some_and(|errno| lacks.contains(&errno)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// The real user of a process; none if it is gone.
pub(super) fn user(pid: i32) -> Option<u32> {
    let status = fs::read_to_string(place(pid, "status")).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_ascii_whitespace().next()?.parse().ok()
}

/// Which process a pid means at this moment, unless it has ended.
pub(super) fn identify(pid: i32) -> Option<AgentProcess> {
    let stat = stat(pid)?;
    (!stat.ended).then_some(AgentProcess {
        pid,
        start_ticks: stat.start_ticks,
    })
}

/// Whether this very process still lives.
pub(super) fn lives(process: AgentProcess) -> bool {
    identify(process.pid) == Some(process)
}

/// Age of a process in milliseconds, at most 10 ms too high. The time in which the machine slept counts, as in
/// `start_ticks`.
pub(super) fn age_ms(process: AgentProcess) -> Option<u64> {
    let now = clock_gettime(ClockId::Boottime);
    let now_ms = u64::try_from(now.tv_sec.checked_mul(1000)? + now.tv_nsec / 1_000_000).ok()?;
    let started_ms = process.start_ticks.checked_mul(1000)? / clock_ticks_per_second();
    Some(now_ms.saturating_sub(started_ms))
}

/// Reads `/proc/<pid>/stat`; `None` when there is no such process.
pub(super) fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(place(pid, "stat")).ok()?)
}

/// The argument list of a process; empty when it cannot be read.
pub(super) fn arguments(pid: i32) -> Vec<String> {
    let text = read_whole(pid, "cmdline").unwrap_or_default();
    let text = text.strip_suffix(b"\0").unwrap_or(&text);
    if text.is_empty() {
        return Vec::new();
    }
    text.split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// A path below `/proc/<pid>`.
pub(super) fn place(pid: i32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

/// Reads arguments or environment. A process in the middle of its exec shows neither for a moment, in which whoever
/// started it may be running already: what is empty then says nothing and is read again.
fn read_whole(pid: i32, name: &str) -> io::Result<Vec<u8>> {
    let mut text = fs::read(place(pid, name))?;
    for _ in 0..EXEC_LOOKS_MAX {
        if !text.is_empty() {
            break;
        }
        let is_in_exec = is_in_exec(pid);
        text = fs::read(place(pid, name))?;
        if !is_in_exec {
            break;
        }
        thread::sleep(EXEC_LOOK_PERIOD);
    }
    Ok(text)
}

/// Whether it runs a program that has not got its environment yet. A process that has ended and a thread of the kernel
/// have no program.
fn is_in_exec(pid: i32) -> bool {
    stat(pid).is_some_and(|stat| !stat.has_environment) && fs::read_link(place(pid, "exe")).is_ok()
}

/// The command's name stands in parentheses and may hold anything, so fields are counted after the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    let state = *fields.first()?;
    Some(Stat {
        ended: matches!(state, "Z" | "X"),
        stopped: matches!(state, "T" | "t"),
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        start_ticks: fields.get(19)?.parse().ok()?,
        has_environment: fields.get(48).is_none_or(|end| *end != "0"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_does_not_shift_the_fields() {
        let line = "7 (a) Z 1 (b) S 1 5 6 0 -1 4 0 0 0 0 1 2 3 4 20 0 1 0 998877 1 2";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.ended, stat.parent, stat.group), (false, 1, 5));
        assert_eq!(stat.start_ticks, 998_877);
        assert!(parse_stat("7 (torn").is_none());
    }

    #[test]
    fn an_environment_that_is_empty_is_no_reason_to_wait() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .env_clear()
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        let arguments = arguments(pid);
        let found = (environment(pid).unwrap(), is_in_exec(pid));
        child.kill().unwrap();
        // It has ended and is not reaped: it has no program either.
        let ended = rustix::process::waitid(
            rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child)),
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT,
        );
        let found_ended = (environment(pid).unwrap_or_default(), is_in_exec(pid));
        child.wait().unwrap();
        assert!(ended.is_ok() && !arguments.is_empty());
        assert_eq!((found, found_ended), ((vec![], false), (vec![], false)));
    }

    #[test]
    fn a_process_is_as_old_as_the_time_since_its_start() {
        let before = std::time::Instant::now();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let began = identify(child.id() as i32).unwrap();
        let own = identify(std::process::id() as i32).unwrap();
        let ages = (age_ms(began).unwrap(), age_ms(own).unwrap());
        let at_most = before.elapsed().as_millis() as u64 + 20;
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(ages.0 <= at_most && ages.0 <= ages.1, "{ages:?}, at most {at_most}");
    }

    #[test]
    fn this_process_lives_and_one_of_another_start_time_does_not() {
        let own = identify(std::process::id() as i32).unwrap();
        assert!(lives(own));
        assert!(!lives(AgentProcess {
            start_ticks: own.start_ticks + 1,
            ..own
        }));
        assert!(!arguments(own.pid).is_empty());
    }
}
