//! What comes from outside: lines of stdin, signals, ends of children. Threads turn each into an event;
//! one thread alone, the player's, acts on them.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use serde_json::Value;

/// Everything that can happen to a simulator.
#[derive(Debug)]
pub(super) enum Event {
    Line(Value),
    /// A line of stdin that is not JSON; the CLI dies of it.
    NotJson(String),
    Eof,
    Signal(i32),
    ChildEnded {
        child: u64,
        status: ChildStatus,
    },
    SubagentDone {
        task: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ChildStatus {
    Code(i32),
    Signal(i32),
}

impl From<std::process::ExitStatus> for ChildStatus {
    fn from(status: std::process::ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or(libc::SIGKILL)),
        }
    }
}

/// What still ends a process that a script told to linger. Shared with the thread that enforces signals.
#[derive(Debug, Clone, Default)]
pub(super) struct Linger(Arc<AtomicU8>);

impl Linger {
    const PAST_END_SESSION: u8 = 1;
    const PAST_SIGTERM: u8 = 2;

    pub(super) fn past_end_session(&self) {
        self.0.fetch_max(Self::PAST_END_SESSION, Ordering::Relaxed);
    }

    pub(super) fn past_sigterm(&self) {
        self.0.store(Self::PAST_SIGTERM, Ordering::Relaxed);
    }

    pub(super) fn ignores_end_session(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Self::PAST_END_SESSION
    }

    pub(super) fn ignores_sigterm(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Self::PAST_SIGTERM
    }
}

/// A thousand simulators run on one machine, and these threads need next to nothing.
const STACK_BYTES: usize = 128 * 1024;

/// How long a process that was told to end may be stuck, say on a full pipe, before it just ends.
const STUCK_GRACE: Duration = Duration::from_millis(1_000);

pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    let spawned = std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES)
        .spawn(work);
    if let Err(error) = spawned {
        eprintln!("failed to start a thread: {error}");
        std::process::exit(1);
    }
}

pub(super) fn read_stdin(events: Sender<Event>) {
    spawn("stdin", move || {
        let mut stdin = BufReader::with_capacity(16 * 1024, std::io::stdin());
        let mut line = Vec::new();
        loop {
            line.clear();
            // An unreadable stdin is as good as a closed one.
            let read = stdin.read_until(b'\n', &mut line).unwrap_or(0);
            let event = if read == 0 { Event::Eof } else { decode(&line) };
            if events.send(event).is_err() || read == 0 {
                return;
            }
            line.shrink_to(16 * 1024);
        }
    });
}

fn decode(line: &[u8]) -> Event {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Event::Line(Value::Null);
    }
    match serde_json::from_slice(line) {
        Ok(value) => Event::Line(value),
        Err(_) => Event::NotJson(String::from_utf8_lossy(line).trim_end().to_owned()),
    }
}

const SIGNALS: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// Turns signals into events. To be called before any other thread runs, so that all inherit the mask
/// and only the waiting thread takes them.
pub(super) fn catch_signals(events: Sender<Event>, linger: Linger) {
    let signals = block_signals();
    spawn("signals", move || {
        loop {
            let signal = wait_for_signal(&signals);
            if events.send(Event::Signal(signal)).is_err() {
                return;
            }
            if !linger.ignores_sigterm() {
                std::thread::sleep(STUCK_GRACE);
                std::process::exit(exit_code(signal));
            }
        }
    });
}

/// As the CLI: an interrupted run is not a failure, others name the signal.
pub(super) fn exit_code(signal: i32) -> i32 {
    if signal == libc::SIGINT { 0 } else { 128 + signal }
}

#[expect(unsafe_code, reason = "neither std nor rustix has a safe call for a signal mask")]
fn block_signals() -> libc::sigset_t {
    // SAFETY: the set is initialised by sigemptyset before use, and the pointers live through the calls.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in SIGNALS {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        set
    }
}

#[expect(unsafe_code, reason = "neither std nor rustix has a safe call to wait for a signal")]
fn wait_for_signal(set: &libc::sigset_t) -> i32 {
    let mut signal = libc::SIGTERM;
    // SAFETY: both pointers are to live values of the types asked for.
    while unsafe { libc::sigwait(set, &raw mut signal) } != 0 {}
    signal
}
