//! The mark in the environment of an attempt's processes: what it says, and which processes carry it.
//!
//! Anybody can give a process of his own a variable of this name. So a mark holds a secret of its attempt, and a process
//! is of the attempt only if it is of this user and began after the attempt did.

use std::fmt;
use std::io;

use rustix::param::clock_ticks_per_second;
use rustix::process::getuid;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::cgroup::Cgroup;
use super::proc::{self, AgentProcess, environment_if_shown, pids};
use crate::session::hex::hex;
use crate::session::id::{Attempt, SessionId};

/// The environment variable that marks every process of one attempt, as `<session>/<attempt>/<secret>`.
pub const ATTEMPT_MARK: &str = "CC_EXECUTOR_ATTEMPT";

/// Bytes of randomness in a secret: 128 bits.
const SECRET_BYTES: usize = 16;

/// Maximum number of processes above one that are looked at.
const PARENTS_MAX: usize = 256;

/// The secret of an attempt's mark, and when it was made. It is kept in files of mode 0600 alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Random bits in hexadecimal digits.
    digits: String,
    /// When it was made, in clock ticks since boot: no process of the attempt began before.
    made_at_ticks: u64,
}

impl Secret {
    /// A secret that nobody has had before.
    pub fn random() -> Self {
        let bytes: [u8; SECRET_BYTES] = rand::random();
        Self {
            digits: hex(&bytes),
            made_at_ticks: ticks_now(),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The mark of an attempt: `<session>/<attempt>/<secret>`. Attempts that older versions began have no secret, and their
/// mark ends with the attempt.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    attempt: String,
    secret: Option<Secret>,
    /// Whatever is in it is of the attempt, marked or not.
    cgroup: Option<Cgroup>,
}

/// A process of this user that carries a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marked {
    /// The process.
    pub(crate) pid: i32,
    /// The mark's value.
    pub(crate) value: String,
    /// When it began, in clock ticks since boot.
    start_ticks: u64,
}

#[cfg(test)]
impl Marked {
    /// A process that is nowhere, with this mark.
    pub(crate) fn of_value(value: String) -> Self {
        let (pid, start_ticks) = (0, 0);
        Self {
            pid,
            value,
            start_ticks,
        }
    }
}

impl Mark {
    /// The mark of an attempt. Where its secret is not known, a mark of the attempt with any secret is meant too.
    pub(crate) fn new(session: SessionId, attempt: Attempt, secret: Option<Secret>) -> Self {
        Self {
            attempt: format!("{session}/{attempt}"),
            secret,
            cgroup: None,
        }
    }

    /// The same attempt, which has this cgroup.
    pub(crate) fn within(self, cgroup: Option<Cgroup>) -> Self {
        Self { cgroup, ..self }
    }

    /// The value of [`ATTEMPT_MARK`] in the environment.
    pub(crate) fn value(&self) -> String {
        match &self.secret {
            Some(secret) => format!("{}/{}", self.attempt, secret.digits),
            None => self.attempt.clone(),
        }
    }

    /// Returns true if a value of [`ATTEMPT_MARK`] is this mark.
    pub(crate) fn is(&self, value: &str) -> bool {
        let Some(rest) = value.strip_prefix(&self.attempt) else {
            return false;
        };
        match &self.secret {
            Some(secret) => rest.strip_prefix('/') == Some(secret.digits.as_str()),
            None => rest.is_empty() || rest.starts_with('/'),
        }
    }

    /// Returns true if a marked process is of this attempt.
    pub(crate) fn fits(&self, marked: &Marked) -> bool {
        let made_at_ticks = self.secret.as_ref().map_or(0, |secret| secret.made_at_ticks);
        self.is(&marked.value) && marked.start_ticks >= made_at_ticks
    }

    /// Returns true if a process is of this attempt. One whose environment may not be read is not.
    pub(super) fn is_on(&self, pid: i32) -> io::Result<bool> {
        Ok(marked(pid)?.iter().any(|marked| self.fits(marked)))
    }

    /// Every process of this attempt that has not ended, the oldest first. An error says that nobody could look.
    pub(super) fn processes(&self) -> io::Result<Vec<AgentProcess>> {
        let mut found: Vec<_> = self.in_cgroup().into_iter().filter_map(proc::identify).collect();
        for pid in pids()? {
            if self.is_on(pid)? {
                found.extend(proc::identify(pid));
            }
        }
        found.sort_by_key(|process| (process.start_ticks, process.pid));
        found.dedup();
        Ok(found)
    }

    /// The processes in the attempt's cgroup.
    pub(crate) fn in_cgroup(&self) -> Vec<i32> {
        self.cgroup.as_ref().map(Cgroup::processes).unwrap_or_default()
    }

    /// Kills all that is in the attempt's cgroup at once.
    pub(super) fn kill_cgroup(&self) -> io::Result<()> {
        self.cgroup.as_ref().map_or(Ok(()), Cgroup::kill)
    }

    /// Removes the attempt's cgroup, in which nothing is left.
    pub(super) fn remove_cgroup(&self) {
        if let Some(cgroup) = &self.cgroup {
            cgroup.remove();
        }
    }
}

/// The marks on this user's processes: one look for any number of attempts. A process whose environment may not be read
/// has none. An error says that nobody could look.
pub(crate) fn marks() -> io::Result<Vec<Marked>> {
    let mut found = Vec::new();
    for pid in pids()? {
        found.append(&mut marked(pid)?);
    }
    Ok(found)
}

/// The marks that a process and those above it carry, its own first. They say whose agent has started it, whichever user
/// it runs as.
///
/// Errors if its own environment cannot be looked at. Those of processes above it that cannot be are passed over.
pub(crate) fn family_marks(pid: i32) -> io::Result<Vec<String>> {
    let mut found = values_in(&proc::environment(pid)?);
    let mut above = pid;
    for _ in 0..PARENTS_MAX {
        let Some(stat) = proc::stat(above) else { break };
        above = stat.parent;
        if above <= 0 {
            break;
        }
        found.extend(values_in(&environment_if_shown(above)?.unwrap_or_default()));
    }
    Ok(found)
}

/// The session and the attempt that a value of [`ATTEMPT_MARK`] names.
pub(crate) fn marked_attempt(value: &str) -> Option<(SessionId, Attempt)> {
    let mut parts = value.splitn(3, '/');
    let session = parts.next()?.parse().ok()?;
    let attempt = parts.next()?.parse().ok()?;
    Some((session, Attempt(attempt)))
}

/// A process with each of its marks, if it is of this user.
fn marked(pid: i32) -> io::Result<Vec<Marked>> {
    let values = values_in(&environment_if_shown(pid)?.unwrap_or_default());
    if values.is_empty() || proc::user(pid) != Some(getuid().as_raw()) {
        return Ok(Vec::new());
    }
    let start_ticks = proc::stat(pid).map(|stat| stat.start_ticks);
    let found = values.into_iter().filter_map(|value| {
        Some(Marked {
            pid,
            value,
            start_ticks: start_ticks?,
        })
    });
    Ok(found.collect())
}

fn values_in(environment: &[u8]) -> Vec<String> {
    let entries = environment.split(|byte| *byte == 0);
    let values = entries.filter_map(|entry| entry.strip_prefix(ATTEMPT_MARK.as_bytes())?.strip_prefix(b"="));
    values
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .collect()
}

/// Now, in the unit and from the beginning in which the kernel tells when a process began; rounded down as there.
fn ticks_now() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let nanos_per_tick = 1_000_000_000 / clock_ticks_per_second().max(1);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    seconds * clock_ticks_per_second() + nanos / nanos_per_tick
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn carrying(value: &str) -> Child {
        let mut command = Command::new("sleep");
        command.arg("1000").env(ATTEMPT_MARK, value);
        command.spawn().unwrap()
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn marks_are_told_by_their_values() {
        let environment = b"A=1\0CC_EXECUTOR_ATTEMPT=s/1\0CC_EXECUTOR_ATTEMPTS=9\0";
        assert_eq!(values_in(environment), ["s/1"]);
    }

    #[test]
    fn a_mark_is_meant_by_the_secret_of_its_attempt_alone() {
        let session = SessionId::new();
        let mark = |attempt, secret| Mark::new(session, Attempt(attempt), secret);
        let own = mark(1, Some(Secret::random()));
        assert!(own.is(&own.value()));
        assert_eq!(marked_attempt(&own.value()), Some((session, Attempt(1))));
        let other = mark(1, Some(Secret::random())).value();
        for wrong in [
            mark(1, None).value(),
            mark(11, None).value(),
            other.clone(),
            own.value() + "0",
        ] {
            assert!(!own.is(&wrong), "{wrong}");
        }
        let older = mark(1, None);
        assert!(older.is(&older.value()) && older.is(&other), "its secret is not known");
        assert!(!older.is(&mark(11, None).value()));
    }

    #[test]
    fn secrets_are_128_bits_and_never_shown() {
        let (one, other) = (Secret::random(), Secret::random());
        assert_eq!(one.digits.len(), 32);
        assert_ne!(one, other);
        assert!(!format!("{one:?}").contains(&one.digits));
    }

    #[test]
    fn a_process_that_began_before_the_attempt_is_none_of_it() {
        let (session, digits) = (SessionId::new(), Secret::random().digits);
        let child = carrying(&format!("{session}/1/{digits}"));
        let began = proc::stat(child.id() as i32).unwrap().start_ticks;
        let found = |made_at_ticks| {
            let digits = digits.clone();
            let secret = Some(Secret { digits, made_at_ticks });
            Mark::new(session, Attempt(1), secret).is_on(child.id() as i32).unwrap()
        };
        let found = (found(began), found(began + 1));
        end(child);
        assert_eq!(found, (true, false));
    }

    #[test]
    fn what_begins_after_a_secret_is_never_older_than_it() {
        for _ in 0..20 {
            let secret = Secret::random();
            let mark = Mark::new(SessionId::new(), Attempt(1), Some(secret));
            let child = carrying(&mark.value());
            let is_on = mark.is_on(child.id() as i32).unwrap();
            end(child);
            assert!(is_on);
        }
    }

    #[test]
    fn the_marks_of_a_process_and_of_those_above_it_are_found() {
        let script = "env -u CC_EXECUTOR_ATTEMPT sleep 1000 & echo $!; wait";
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).env(ATTEMPT_MARK, "above/1");
        let mut shell = shell.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let output = shell.stdout.as_mut().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        let child: i32 = line.trim().parse().unwrap();
        // It may not have become `sleep` yet, and then it still carries the mark itself.
        let found = family_marks(child).unwrap();
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(child).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        end(shell);
        assert!(found.contains(&"above/1".to_owned()), "{found:?}");
    }

    #[test]
    fn a_process_that_was_just_started_shows_its_mark() {
        let mark = Mark::new(SessionId::new(), Attempt(1), Some(Secret::random()));
        for round in 0..200 {
            let child = carrying(&mark.value());
            let pid = child.id() as i32;
            let found = (mark.is_on(pid).unwrap(), proc::arguments(pid));
            end(child);
            assert_eq!(found, (true, vec!["sleep".into(), "1000".into()]), "round {round}");
        }
    }
}
