//! The agent's process: started with its files and locks, watched by its pidfd, its end written down.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, umask};

use super::mark::Mark;
use super::place::{self, AcceptedDirectory};
use super::program::{self, Program};
use super::protocol::{ATTEMPT_MARK, AgentExit, AgentProcess, LaunchPlan, files};
use super::{cgroup, locks, log, proc};
use crate::disk;

/// Stack of the thread that waits for the agent's end, which does next to nothing.
const WATCH_STACK_BYTES: usize = 128 * 1024;

/// A living agent.
#[derive(Debug)]
pub(super) struct Living {
    /// The agent's process.
    pub(super) process: AgentProcess,
    /// Names that process and no later one of the same pid; readable once it has ended.
    pub(super) pidfd: OwnedFd,
    /// Its status can be had only by the host that started it.
    pub(super) child: Option<Child>,
}

impl Living {
    /// Takes hold of a process that this host did not start; `None` when it has ended.
    pub(super) fn hold(process: AgentProcess) -> io::Result<Option<Self>> {
        let Some(pidfd) = open_pidfd(process.pid)? else {
            return Ok(None);
        };
        Ok(proc::lives(process).then_some(Self {
            process,
            pidfd,
            child: None,
        }))
    }

    /// Where its stdin can be opened.
    pub(super) fn stdin(&self) -> PathBuf {
        self.opened(0, files::STDIN)
    }

    /// Where its output can be opened.
    pub(super) fn spool(&self) -> PathBuf {
        self.opened(1, files::SPOOL)
    }

    /// The agent's own descriptor leads to the file it has open, even if that was removed or another one has its name.
    /// Where it has something else open, or that cannot be seen, the name has to do.
    fn opened(&self, descriptor: u32, name: &str) -> PathBuf {
        let place = proc::place(self.process.pid, &format!("fd/{descriptor}"));
        let is_it = || {
            let target = fs::read_link(&place).ok()?.into_os_string().into_string().ok()?;
            let own = std::env::current_dir().ok()?.join(name);
            Some(own == Path::new(target.strip_suffix(" (deleted)").unwrap_or(&target)))
        };
        if is_it().unwrap_or(false) { place } else { name.into() }
    }
}

/// Starts the agent. An error is for a person and says what to do.
///
/// Nothing else may run in this process yet: the two locks are open to every child that is started meanwhile.
pub(super) fn start(plan: &LaunchPlan, mark: &Mark, agent_lock: File) -> Result<Living, String> {
    let directories = plan
        .places
        .iter()
        .map(AcceptedDirectory::open)
        .collect::<Result<Vec<_>, _>>()?;
    let transcript_lock = take_transcript(plan)?;
    let mut command = command(plan, mark)?;
    // The first one is the working directory. It is entered as it was opened, whatever has its name by now.
    command.current_dir(directories.first().map_or(plan.cwd.clone(), place::entrance));
    for lock in [&agent_lock, &transcript_lock] {
        locks::let_inherit(lock).map_err(|error| format!("cannot hand a lock to the agent: {error}"))?;
    }
    let before = enter_cgroup(plan)?;
    let child = spawn(&mut command, plan).map_err(|error| explain(plan, &error));
    leave_cgroup(before);
    let child = child?;
    drop((agent_lock, transcript_lock));
    own(child)
}

/// Enters the cgroup of the attempt, so that the agent is in it from its first moment. Returns the one to go back to.
fn enter_cgroup(plan: &LaunchPlan) -> Result<Option<PathBuf>, String> {
    let Some(cgroup) = &plan.cgroup else { return Ok(None) };
    match cgroup.enter() {
        Ok(before) => Ok(Some(before)),
        Err(error) if cgroup.is_bound() => Err(format!(
            "the bounds of the agent cannot be set ({error}): unset agent.pids_max and agent.memory_bytes_max, or look at \
             the cgroup of the daemon's unit"
        )),
        Err(error) => {
            log(format_args!("the agent has no cgroup of its own: {error}"));
            Ok(None)
        }
    }
}

fn leave_cgroup(before: Option<PathBuf>) {
    if let Some(Err(error)) = before.map(|before| cgroup::move_to(&before)) {
        log(format_args!("this host stays in the cgroup of its agent: {error}"));
    }
}

/// Starts the agent with the umask of its plan. The host has its own umask again afterwards.
fn spawn(command: &mut Command, plan: &LaunchPlan) -> io::Result<Child> {
    let own = plan.umask.map(|mask| umask(Mode::from_raw_mode(mask.bits())));
    let child = command.spawn();
    if let Some(own) = own {
        umask(own);
    }
    child
}

/// Waits on a thread of its own until a process has ended, then says so.
pub(super) fn watch_end(pidfd: Arc<OwnedFd>, say: impl FnOnce(io::Result<()>) + Send + 'static) -> io::Result<()> {
    let wait = move || {
        loop {
            match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None) {
                Ok(_) => return say(Ok(())),
                Err(Errno::INTR) => {}
                Err(error) => return say(Err(error.into())),
            }
        }
    };
    thread::Builder::new()
        .name("agent's end".to_owned())
        .stack_size(WATCH_STACK_BYTES)
        .spawn(wait)
        .map(drop)
}

/// Sends a signal to the very process, never to a later one of the same pid.
pub(super) fn signal(pidfd: &OwnedFd, number: i32) -> Result<(), String> {
    let known = SIGNALS.iter().find(|signal| signal.as_raw() == number);
    let Some(known) = known else {
        return Err(format!("signal {number} is not one that is sent to agents"));
    };
    pidfd_send_signal(pidfd, *known).map_err(|error| format!("cannot send signal {number} to the agent: {error}"))
}

/// What `waitpid` said, as it goes to the daemon and to disk.
pub(super) fn exit_of(status: ExitStatus) -> AgentExit {
    match (status.code(), status.signal()) {
        (Some(code), _) => AgentExit::Code { code },
        (None, Some(signal)) => AgentExit::Signal { signal },
        (None, None) => AgentExit::Unknown,
    }
}

/// Writes down how the agent ended; the host goes on even if that fails, since it still knows.
pub(super) fn record_exit(exit: &AgentExit) {
    if let Err(error) = disk::write_json_unsynced(Path::new(files::EXIT), exit) {
        log(format_args!("cannot write {}: {error}", files::EXIT));
    }
}

/// Writes down which process the agent is; should that fail, a later host finds it by its mark.
pub(super) fn record_agent(process: &AgentProcess) {
    if let Err(error) = disk::write_json_unsynced(Path::new(files::AGENT), process) {
        log(format_args!("cannot write {}: {error}", files::AGENT));
    }
}

/// The signals that make sense for an agent.
const SIGNALS: [Signal; 10] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::ABORT,
    Signal::KILL,
    Signal::USR1,
    Signal::USR2,
    Signal::TERM,
    Signal::CONT,
    Signal::STOP,
];

fn take_transcript(plan: &LaunchPlan) -> Result<File, String> {
    let path = plan.transcript_lock.display();
    match locks::try_lock(&plan.transcript_lock) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(format!(
            "another agent on this machine owns the transcript of {}: end it first (lock {path})",
            plan.agent_session_id
        )),
        Err(error) => Err(format!("cannot lock {path}: {error}")),
    }
}

/// The file of the lock goes with the agent that held it.
pub(super) fn leave_transcript(plan: &LaunchPlan) {
    if let Err(error) = locks::remove_if_free(&plan.transcript_lock) {
        log(format_args!(
            "cannot remove {}: {error}",
            plan.transcript_lock.display()
        ));
    }
}

/// The FIFO is opened for both directions, so that the agent itself holds a writing end and never sees its end.
fn command(plan: &LaunchPlan, mark: &Mark) -> Result<Command, String> {
    let Some((program, arguments)) = plan.argv.split_first() else {
        return Err("the launch plan names no program: set agent.command".to_owned());
    };
    let stdin =
        open_fifo(Path::new(files::STDIN)).map_err(|error| format!("cannot make the agent's stdin: {error}"))?;
    let append = |name| disk::open_append(Path::new(name)).map_err(|error| format!("cannot open {name}: {error}"));
    let found = program::find(program, &plan.env, &plan.cwd, std::env::var_os("PATH"));
    let (program, search_path) = match found {
        Program::AsNamed => (PathBuf::from(program), None),
        Program::OfDaemon { path, search_path } => (path, Some(search_path)),
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(&plan.env)
        .envs(search_path.map(|search_path| ("PATH", search_path)))
        .env(ATTEMPT_MARK, mark.value());
    command
        .stdin(stdin)
        .stdout(append(files::SPOOL)?)
        .stderr(append(files::STDERR)?)
        .process_group(0);
    Ok(command)
}

fn open_fifo(path: &Path) -> io::Result<File> {
    if !fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo()) {
        mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR)?;
    }
    OpenOptions::new().read(true).write(true).open(path)
}

/// The kernel says "no such file" for a missing program, a missing interpreter and a missing directory alike.
fn explain(plan: &LaunchPlan, error: &io::Error) -> String {
    if !plan.cwd.is_dir() {
        return format!(
            "the working directory {} is not there: create it or choose another",
            plan.cwd.display()
        );
    }
    let program = plan.argv.first().map_or("", String::as_str);
    if error.kind() == io::ErrorKind::NotFound && !program.contains('/') {
        return program::missing(program, &plan.env, std::env::var_os("PATH"));
    }
    format!("cannot start {program}: {error}; check that it is installed and can be run, or set agent.command")
}

/// A child is not reaped yet, so its pid names it even if it has ended already. One that cannot be watched is ended.
fn own(mut child: Child) -> Result<Living, String> {
    match watch(child.id().cast_signed()) {
        Ok((process, pidfd)) => Ok(Living {
            process,
            pidfd,
            child: Some(child),
        }),
        Err(error) => {
            let _ = child.kill().and_then(|()| child.wait());
            Err(format!(
                "the agent was started and ended again, since it cannot be watched: {error}"
            ))
        }
    }
}

fn watch(pid: i32) -> io::Result<(AgentProcess, OwnedFd)> {
    let gone = || io::Error::other(format!("there is no /proc/{pid}: is /proc mounted?"));
    let process = AgentProcess {
        pid,
        start_ticks: proc::stat(pid).ok_or_else(gone)?.start_ticks,
    };
    record_agent(&process);
    Ok((process, open_pidfd(pid)?.ok_or_else(gone)?))
}

fn open_pidfd(pid: i32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(pid) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
