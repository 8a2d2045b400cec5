//! The agent host: the small process that starts one agent, keeps it, and serves its websocket.
//!
//! ```text
//!   daemon ── websocket over a Unix socket ──► host ── pidfd: signals, the end ──► agent
//!                  (socket.rs: Link)        (keeper.rs)                              │ ▲
//!                                               ├──── lines, whole ─► FIFO ──────────┼─┘
//!                  spool bytes ◄── tail.rs ─────┴──── reads ── spool ◄── stdout ─────┘
//! ```
//!
//! The agent writes into files and reads from a FIFO that it holds open at both ends, so it notices the death of neither
//! host nor daemon. The host adds what files cannot: signals, the exit status, whole lines, bytes as they come.
//!
//! # The way it goes
//!
//! 1. The daemon writes `launch.json` into the attempt's directory and starts `cc-executor agent-host <session>
//!    <attempt>` there. No runtime is up at that point: the host is small and quick to start.
//! 2. The host becomes the leader of a session of its own, takes `host.lock` and binds its socket.
//! 3. It adopts the agent, says that it is dead, or starts it (`adopt.rs`), in its own process group, with `agent.lock`
//!    and the transcript's lock open in it: they are held exactly as long as the agent lives.
//! 4. The daemon connects, hears hello, reads the spool in a window, writes lines, sends signals.
//! 5. The agent ends; the daemon hears how, takes the rest of the spool, has leftovers ended and releases the host.
//!
//! # The ways it fails
//!
//! | what | what follows |
//! |---|---|
//! | the daemon dies or disconnects | nothing; a later connection reads on from any offset. A line that was taken is still written |
//! | two daemons connect | the newer connection takes over, the older is closed and not listened to |
//! | two hosts are started | the second exits with status 0 and changes nothing |
//! | the host is killed | the agent goes on; a new host adopts it, but cannot know its exit status |
//! | it is killed while it writes a line | the line stands whole in the FIFO, or not at all (`stdin.rs`) |
//! | it is killed right after the fork | a new host finds the agent by its mark |
//! | the agent died while no host was there | a new host only serves the spool; the exit is unknown |
//! | the agent is dead but something holds its lock | that is a leftover: ended, and listed when leftovers are asked for |
//! | its agent has ended and nobody is connected for a while | it exits: a daemon that comes later starts another, which serves the spool |
//! | it does not answer any more | the daemon kills it, and a new one adopts the agent |
//! | the agent cannot be started | `Exit::NotStarted` says why, in the hello and in `exit.json` |
//! | the socket file is removed | bound anew when nobody is connected, within 30 s |
//! | the agent's files are removed or replaced | read and written on as the agent has them open, by a new host too |
//! | the spool is cut | the daemon is told, which ends the agent and starts another |
//! | SIGTERM or SIGINT | the host exits, the agent goes on; SIGHUP is ignored |

mod adopt;
pub mod cgroup;
mod keeper;
mod leftovers;
mod listen;
mod locks;
pub(crate) mod mark;
mod messages;
mod pace;
pub(crate) mod place;
mod proc;
mod process;
mod program;
pub mod protocol;
mod reserve;
mod socket;
mod stdin;
mod tail;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use actix::prelude::*;
use rustix::process::{Resource, Rlimit, Signal as ProcessSignal, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::disk;
use crate::session::id::{Attempt, SessionId};
use keeper::Keeper;
use listen::HostSocketFile;
pub(crate) use listen::SocketFile;
pub use mark::Secret;
pub(crate) use mark::{Mark, Marked, family_marks, marked_attempt, marks};
use messages::Leave;
pub(crate) use proc::{environment, pids};
use protocol::{LaunchPlan, files};

/// Why a host could not do its work.
#[derive(Debug, thiserror::Error)]
enum HostError {
    #[error("usage: cc-executor agent-host <session> <attempt>, started by the daemon in the attempt's directory")]
    Usage,
    #[error("cannot take the lock of this attempt's host: {0}")]
    Lock(io::Error),
    #[error("there is no readable launch plan in the working directory: a host is started by the daemon")]
    NoPlan,
    #[error("the launch plan here is for attempt {1} of session {0}, not for the one this host was started for")]
    OtherPlan(SessionId, Attempt),
    #[error("cannot listen on {0}: {1}")]
    Listen(String, io::Error),
    #[error("cannot look after the agent: {0}")]
    Agent(io::Error),
    #[error("cannot handle signals: {0}")]
    Signals(io::Error),
}

/// Runs a host to its end. `args` are those after `agent-host`: session and attempt.
///
/// Call it before anything else of the program is up: the locks that the agent inherits are open to any child for a
/// moment, so no other thread may start one.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}

/// Ends the agent of an attempt and all that it has started, where no host can be asked to; says what that was.
pub(crate) async fn end_everything(mark: Mark) -> Vec<String> {
    leftovers::list(leftovers::end(&mark, None).await)
}

/// Kills the hosts of an attempt: one that does not answer is in the way of another, and its agent goes on without it.
pub fn kill_hosts(session: SessionId, attempt: Attempt) {
    let own = std::process::id();
    let of_attempt = ["agent-host".to_owned(), session.to_string(), attempt.to_string()];
    let found = proc::pids()
        .into_iter()
        .flatten()
        .filter(|pid| pid.unsigned_abs() != own);
    let hosts = found.filter(|pid| proc::arguments(*pid).get(1..).is_some_and(|words| words == of_attempt));
    for host in hosts.filter_map(proc::identify) {
        leftovers::signal(host, ProcessSignal::KILL);
    }
}

/// Whether files in this directory can be locked. It is made where only it is missing.
pub fn can_hold_locks(directory: &Path) -> bool {
    locks::can_be_in(directory)
}

fn run(args: impl Iterator<Item = OsString>) -> Result<(), HostError> {
    let (session, attempt) = parse(args).ok_or(HostError::Usage)?;
    // Whoever was started as the leader of a group already is refused this, and does not need it.
    let _ = rustix::process::setsid();
    let Some(_lock) = locks::try_lock(Path::new(files::HOST_LOCK)).map_err(HostError::Lock)? else {
        return Ok(());
    };
    let Ok(Some(plan)) = disk::read_json::<LaunchPlan>(Path::new(files::LAUNCH)) else {
        return Err(HostError::NoPlan);
    };
    if (plan.session, plan.attempt) != (session, attempt) {
        return Err(HostError::OtherPlan(plan.session, plan.attempt));
    }
    limit_open_files(&plan);
    System::new().block_on(serve(plan))
}

/// Takes the limit of open files that the agent is to have, which inherits it.
fn limit_open_files(plan: &LaunchPlan) {
    let Some(current) = plan.open_files else { return };
    let limits = getrlimit(Resource::Nofile);
    let limits = Rlimit {
        current: Some(limits.maximum.map_or(current, |maximum| current.min(maximum))),
        ..limits
    };
    if let Err(error) = setrlimit(Resource::Nofile, limits) {
        log(format_args!(
            "the limit of open files is not lowered for the agent: {error}"
        ));
    }
}

/// Returns true if a process is stopped, as by SIGSTOP.
pub fn is_stopped(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| proc::stat(pid).is_some_and(|stat| stat.stopped))
}

fn parse(mut args: impl Iterator<Item = OsString>) -> Option<(SessionId, Attempt)> {
    let session = args.next()?.to_str()?.parse().ok()?;
    let attempt = args.next()?.to_str()?.parse().ok()?;
    args.next().is_none().then_some((session, Attempt(attempt)))
}

/// The socket is bound before the agent is started: an agent that nobody can reach should not begin.
///
/// Handlers stand for the signals before that too, so that the agent starts with the default of each.
async fn serve(plan: LaunchPlan) -> Result<(), HostError> {
    let signals = Signals::handle().map_err(HostError::Signals)?;
    let cannot_listen = |error| HostError::Listen(plan.socket.display().to_string(), error);
    let door = HostSocketFile::bind(&plan.socket).map_err(cannot_listen)?;
    let found = adopt::adopt_or_start(&plan).map_err(HostError::Agent)?;
    let (done, released) = oneshot::channel();
    let keeper = Keeper::new(plan, found, door, done).map_err(HostError::Agent)?.start();
    tokio::select! {
        _ = released => {}
        () = signals.asked_to_end() => {
            let _ = keeper.send(Leave).await;
        }
    }
    Ok(())
}

/// The signals that a host handles.
struct Signals {
    hang_up: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn handle() -> io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn asked_to_end(mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => {}
            }
        }
    }
}

/// Adds a line to the host's log, which is its stderr; a log that cannot be written must not end the host.
fn log(message: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{:.3} {message}", jiff::Timestamp::now());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_takes_a_session_and_an_attempt_and_nothing_else() {
        let session = SessionId::new();
        let words = |line: &str| parse(line.split(' ').map(OsString::from).collect::<Vec<_>>().into_iter());
        assert_eq!(words(&format!("{session} 3")), Some((session, Attempt(3))));
        assert_eq!(words(&format!("{session} 3 more")), None);
        assert_eq!(words(&format!("{session}")), None);
        assert_eq!(words("s 3"), None);
    }
}
