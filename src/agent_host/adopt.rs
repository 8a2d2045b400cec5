//! The first decision of a host: adopt the agent, say that it is dead, or start it. Never two agents for one attempt.
//!
//! What an earlier host left is looked at in this order:
//!
//! 1. `agent.json` names a living process, by pid and start time: it is adopted.
//! 2. `agent.json` or `exit.json` is there, but no such process: the agent is dead. Should `agent.lock` be held even
//!    so, its holder is a leftover.
//! 3. Neither is there, and neither are the files that the agent is given, nor does anybody own its transcript: the
//!    agent is started.
//! 4. They are there or were removed, and a process carries the mark of this attempt and is what the plan starts: the host before was
//!    killed between the fork and its own first file. It is adopted.
//! 5. The lock is held and no such process found, or the spool is not empty: there was an agent, and it is dead.
//! 6. Otherwise: the agent is started, under the lock that was just taken.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::mark::Mark;
use super::proc;
use super::process::{self, Living};
use super::protocol::{AgentExit, AgentProcess, LaunchPlan, files};
use super::{locks, log};
use crate::disk;

/// How long a child that was forked and has not yet become the agent is waited for.
const EXEC_WAIT: Duration = Duration::from_secs(2);

/// How things stand with the agent once the host has decided.
#[derive(Debug)]
pub(super) enum Adoption {
    /// It lives; this host started it.
    Started(Living),
    /// It lives; a host before this one started it.
    Adopted(Living),
    /// It has ended, or could not be started.
    Gone {
        /// Which process it was, if there was one.
        process: Option<AgentProcess>,
        /// The exit code or signal of the process.
        exit: AgentExit,
        /// Whether something that outlives it holds its lock.
        lock_is_held: bool,
    },
}

/// Adopts the agent, starts it, or says how it ended; what this finds out is written down.
pub(super) fn adopt_or_start(plan: &LaunchPlan) -> io::Result<Adoption> {
    let mark = plan.attempt_mark();
    let mut lock = locks::try_lock(Path::new(files::AGENT_LOCK))?;
    let agent = disk::read_json::<AgentProcess>(Path::new(files::AGENT));
    if let Ok(Some(process)) = agent
        && (lock.is_none() || mark.is_on(process.pid)?)
        && let Some(living) = Living::hold(process)?
    {
        return Ok(Adoption::Adopted(living));
    }
    let exit = disk::read_json::<AgentExit>(Path::new(files::EXIT));
    if !matches!((&agent, &exit), (Ok(None), Ok(None))) {
        return Ok(gone(
            agent.unwrap_or_default(),
            exit.unwrap_or_default(),
            lock.is_none(),
        ));
    }
    if let Some(lock) = lock.take_if(|_| was_never_forked() && !has_owner(&plan.transcript_lock)) {
        return Ok(start(plan, &mark, lock));
    }
    if let Some(living) = find_by_mark(plan, &mark, lock.is_none())? {
        process::record_agent(&living.process);
        return Ok(Adoption::Adopted(living));
    }
    match lock {
        Some(lock) if spool_is_empty() => Ok(start(plan, &mark, lock)),
        Some(_) => Ok(gone(None, None, false)),
        None => Ok(gone(None, None, true)),
    }
}

fn start(plan: &LaunchPlan, mark: &Mark, lock: File) -> Adoption {
    match process::start(plan, mark, lock) {
        Ok(living) => Adoption::Started(living),
        Err(error) => {
            log(format_args!("the agent was not started: {error}"));
            let exit = AgentExit::NotStarted { error };
            process::record_exit(&exit);
            Adoption::Gone {
                process: None,
                exit,
                lock_is_held: false,
            }
        }
    }
}

/// An exit that nobody has written down is unknown, and from now on stays so.
fn gone(process: Option<AgentProcess>, exit: Option<AgentExit>, lock_is_held: bool) -> Adoption {
    let exit = exit.unwrap_or_else(|| {
        process::record_exit(&AgentExit::Unknown);
        AgentExit::Unknown
    });
    Adoption::Gone {
        process,
        exit,
        lock_is_held,
    }
}

/// A child that has been forked takes its new environment only when it becomes the agent, so that is waited for.
fn find_by_mark(plan: &LaunchPlan, mark: &Mark, lock_is_held: bool) -> io::Result<Option<Living>> {
    let give_up = Instant::now() + EXEC_WAIT;
    loop {
        let marked = mark.processes()?;
        let found = marked.iter().find(|process| is_as_planned(plan, **process));
        let found = found.or_else(|| marked.iter().find(|process| reads_our_stdin(**process)));
        if let Some(living) = found.map(|process| Living::hold(*process)).transpose()?.flatten() {
            return Ok(Some(living));
        }
        if !lock_is_held || Instant::now() > give_up {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// A script shows up behind its interpreter, and a program by the path it was found at.
fn is_as_planned(plan: &LaunchPlan, process: AgentProcess) -> bool {
    let running = proc::arguments(process.pid);
    let Some((program, arguments)) = plan.argv.split_first() else {
        return false;
    };
    let Some(head) = running.len().checked_sub(arguments.len() + 1) else {
        return false;
    };
    leads_its_group(process) && file_name(&running[head]) == file_name(program) && running[head + 1..] == *arguments
}

/// An agent may have renamed itself; its stdin is still the FIFO, which no background child of it gets.
fn reads_our_stdin(process: AgentProcess) -> bool {
    let theirs = || disk::identity(&proc::place(process.pid, "fd/0")).ok();
    let is_ours = |theirs| disk::identity(Path::new(files::STDIN)).is_ok_and(|ours| ours == theirs);
    leads_its_group(process) && theirs().is_some_and(is_ours)
}

fn leads_its_group(process: AgentProcess) -> bool {
    proc::stat(process.pid).is_some_and(|stat| stat.group == process.pid)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The agent's files are made before it is forked: where its stdin and its spool are missing, no host has come that far.
/// This spares each first start a look at every process of the machine.
fn was_never_forked() -> bool {
    let is_missing = |name| fs::symlink_metadata(name).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    is_missing(files::STDIN) && is_missing(files::SPOOL)
}

/// Files can be removed under an agent that runs, which still holds the lock of its transcript.
fn has_owner(transcript_lock: &Path) -> bool {
    matches!(locks::try_lock(transcript_lock), Ok(None))
}

fn spool_is_empty() -> bool {
    fs::metadata(files::SPOOL).map_or(true, |metadata| metadata.len() == 0)
}
