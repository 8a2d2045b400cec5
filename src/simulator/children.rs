//! Child processes as the CLI has them: each in a session of its own, so that a signal to the agent's group misses it,
//! with no inherited file but its three.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::Sender;

use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal, kill_process_group};

use super::input::{Event, spawn};

/// More output than this of one command is cut off.
const OUTPUT_BYTES_MAX: u64 = 1024 * 1024;

/// A shell that was started and what it prints.
pub(super) struct Child {
    /// Names the child in its `ChildEnded`.
    pub(super) id: u64,
    group: Option<Pid>,
    output: File,
}

impl Child {
    /// Runs a command by the shell; its end comes as an event. The output goes to a file in memory, not a
    /// pipe, which a grandchild could hold open.
    pub(super) fn start(id: u64, command: &str, session: &str, events: Sender<Event>) -> io::Result<Self> {
        let output = File::from(rustix::fs::memfd_create("output", MemfdFlags::CLOEXEC)?);
        let mut shell = shell(command, session);
        shell.stdout(output.try_clone()?).stderr(output.try_clone()?);
        let mut running = shell.spawn()?;
        let group = i32::try_from(running.id()).ok().and_then(Pid::from_raw);
        spawn("child", move || {
            let Ok(status) = running.wait() else { return };
            // The player may be gone; then nobody wants to know.
            let _ = events.send(Event::ChildEnded {
                child: id,
                status: status.into(),
            });
        });
        Ok(Self { id, group, output })
    }

    /// Ends the whole tree, except what left the session.
    pub(super) fn kill(&self) {
        if let Some(group) = self.group {
            // Fails only when all of it has ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    pub(super) fn output(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = self
            .output
            .rewind()
            .and_then(|()| (&self.output).take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes));
        match read {
            Ok(_) => String::from_utf8_lossy(&bytes).trim_end().to_owned(),
            Err(error) => format!("failed to read the command's output: {error}"),
        }
    }
}

/// Starts a process that nothing here ends.
pub(super) fn leave(command: &str, session: &str) -> io::Result<()> {
    let mut running = shell(command, session)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    spawn("left", move || {
        // Only so that it does not stay a zombie.
        let _ = running.wait();
    });
    Ok(())
}

#[expect(
    unsafe_code,
    reason = "a session of its own can only be asked for between fork and exec"
)]
fn shell(command: &str, session: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null());
    shell.env("CLAUDECODE", "1").env("CLAUDE_CODE_SESSION_ID", session);
    shell.env("CLAUDE_PID", std::process::id().to_string());
    // SAFETY: setsid is async-signal-safe and touches no memory of ours.
    unsafe {
        shell.pre_exec(|| rustix::process::setsid().map(drop).map_err(io::Error::from));
    }
    shell
}

/// Marks every inherited file above stderr to be closed in children: a lock that is to be held exactly as
/// long as the agent lives must not pass to them.
pub(super) fn keep_files_from_children() -> io::Result<()> {
    let inherited: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in inherited {
        mark(fd);
    }
    Ok(())
}

#[expect(unsafe_code, reason = "inherited descriptors are known by number only")]
fn mark(fd: i32) {
    // SAFETY: only a flag is set, and an fd that has been closed meanwhile (that of the listing) gives EBADF.
    let fd = unsafe { rustix::fd::BorrowedFd::borrow_raw(fd) };
    let _ = rustix::io::fcntl_setfd(fd.as_fd(), rustix::io::FdFlags::CLOEXEC);
}

/// Dies by a signal whatever was set for it.
#[expect(unsafe_code, reason = "neither std nor rustix can restore a signal's default")]
pub(super) fn die_by(signal: i32) -> ! {
    // SAFETY: plain calls with a valid signal number and an initialised set.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const all, std::ptr::null_mut());
        libc::raise(signal);
    }
    std::process::abort()
}
