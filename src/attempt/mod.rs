//! One live attempt as a pure value: what its host and the journal say goes in, what is to be done comes out.
//!
//! ```text
//!  Reaching ─► Greeting ─► Working ─► Closing ─► Released
//!     ▲           │           │
//!     └─ link lost ◄──────────┘      the link of an attempt that closes is lost and opened likewise
//! ```
//!
//! [`Attempt::step`] takes one [`AttemptInput`] and answers [`Command`]s, to be carried out in their order. It does no I/O and
//! reads no clock: each input comes with the [`Moment`] at which it is heard. An input that does not fit the state, because
//! it is late or comes twice, changes nothing. `reach` finds the host, `outbox` is what the agent is owed, `frames`
//! and `questions` turn what it says into records, `intake` holds these until the store has them, `clocks` bound its
//! silence, `closing` ends it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use self::checkpoints::Checkpoints;
use self::clocks::Clocks;
use self::intake::Intake;
use self::outbox::Outbox;
use self::spending::Meter;
use self::state::State;
use crate::agent_host::protocol::{FromHost, ToHost};
use crate::session::checkpoint::GitState;
use crate::session::id::{Attempt as Number, Seq, SessionId};
use crate::session::journal::{AttemptEnd, Entry, Text};
use crate::session::message::Delta;
use crate::session::opening::Groundwork;
use crate::session::outcome::Ending;
use crate::session::request::Request;
use crate::session::stall::StallTimeouts;
use crate::session::state::State as SessionState;
use crate::session::summary::Summary;
use crate::store::SpoolSpan;

mod checkpoints;
mod clocks;
mod closing;
mod frames;
mod intake;
mod outbox;
mod questions;
mod reach;
mod spending;
mod state;

/// The attempt that is to be made.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The session it is made for.
    pub session_id: SessionId,
    /// Its number.
    pub attempt: Number,
    /// What the session was asked for.
    pub request: Arc<Request>,
    /// The session as the journal has it when the attempt is taken up.
    pub summary: Arc<Summary>,
    /// End the agent and report this, instead of working with it.
    pub end_with: Option<Ending>,
}

/// The daemon's settings for attempts.
#[derive(Clone, Copy, Debug)]
pub struct AttemptSettings {
    /// Time from the request to end to TERM, for an agent that does not end.
    pub stop_grace: Duration,
    /// Time from TERM to KILL.
    pub term_grace: Duration,
    /// The longest silence of an agent.
    pub stall: StallTimeouts,
    /// Time for which an agent may wait for the reset of a usage limit; zero where it is not resumed after it.
    pub quota_hold: Duration,
    /// Time for which an agent may ask an API that does not answer.
    pub api_hold: Duration,
    /// Time for which a refused login is tried again that worked earlier in the session.
    pub login_hold: SignedDuration,
    /// Most time between two checkpoints while anything happens.
    pub checkpoint_interval: Duration,
    /// Time that background shells have after the result.
    pub background_grace: Duration,
    /// Most time that a session waits for timers of its agent.
    pub timers_max: SignedDuration,
}

/// When an input is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock, in whole milliseconds.
    pub wall: Timestamp,
    /// Time since the attempt was taken up, by the monotonic clock.
    pub running: Duration,
    /// An id that nothing has, for a message that this input may give rise to.
    pub fresh: Uuid,
}

/// Something an attempt hears of.
#[derive(Clone, Debug)]
pub enum AttemptInput<'a> {
    /// The attempt is taken up; always the first.
    Begin,
    /// [`Command::Connect`] has opened a link.
    Linked(Box<Groundwork>),
    /// [`Command::Connect`] has failed.
    Unreachable(Unreachable),
    /// The link is gone.
    LinkLost,
    /// A frame came on the link that says nothing but that the host lives.
    Heard,
    /// The host said this.
    Host(FromHost),
    /// The host sent bytes of the spool.
    Bytes {
        /// Offset of the first.
        offset: u64,
        /// They themselves.
        bytes: &'a [u8],
    },
    /// An append of this attempt is on disk; the session as it stands with it.
    Committed(Arc<Summary>),
    /// Somebody else has written to the journal, such as an answer; the session as it stands with that.
    Journal(Arc<Summary>),
    /// The agent is to end.
    Stop,
    /// A timer has run out.
    Tick(AttemptTimer),
    /// The answer to [`Command::Look`].
    Looked {
        /// What it was asked for.
        look: LifeCheck,
        /// Something of the attempt is alive.
        is_alive: bool,
    },
    /// The answer to [`Command::EndEverything`]: a line for each process ended.
    Ended(Vec<String>),
    /// The answer to [`Command::AskAwaited`]: one of the sessions lives.
    Awaited(bool),
    /// The answer to [`Command::LookAtGit`].
    Git(Option<GitState>),
    /// The answer to [`Command::KeepInFile`].
    InFile {
        /// The message.
        uuid: Uuid,
        /// As in the command.
        refusal: Option<String>,
        /// The file, or the error.
        result: Result<PathBuf, String>,
    },
}

/// Why no link can be opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreachable {
    /// How the attempt ends if there is no agent either.
    pub ending: Ending,
    /// In words.
    pub why: String,
    /// The machine lacks something that it may soon have again.
    pub may_pass: bool,
}

/// Something to be done for an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Prepare the attempt unless that is done, and open a link to its host.
    Connect,
    /// Hand these entries to the store.
    Append {
        /// The bytes of the spool that they stand for.
        span: Option<SpoolSpan>,
        /// In their order; may be none.
        entries: Vec<Entry>,
    },
    /// Say this to the host.
    Tell(ToHost),
    /// Watch the spool, and have the host send it.
    Read {
        /// Offset of the first byte.
        from: u64,
        /// Offset after the last one for now.
        through: u64,
    },
    /// Ask the host for a sign of life.
    Ping,
    /// Keep a message in a file that the agent can read.
    KeepInFile {
        /// The message.
        uuid: Uuid,
        /// Its text.
        text: String,
        /// The host's words where it has refused the message as a line.
        refusal: Option<String>,
    },
    /// Show partial text.
    Show {
        /// The last record before it.
        head: Seq,
        /// The text.
        delta: Delta,
    },
    /// Set a timer; one of the same name that is set is set anew.
    Arm(AttemptTimer, Duration),
    /// Take a timer back.
    Disarm(AttemptTimer),
    /// Find out if anything of the attempt is alive.
    Look(LifeCheck),
    /// Look where the directory's git repository stands.
    LookAtGit,
    /// Ask if one of these sessions lives, or any that the agent asked for.
    AskAwaited(Vec<Option<SessionId>>),
    /// End all that is alive of the attempt, without a host.
    EndEverything,
    /// Kill the hosts of this attempt, so that another takes over.
    KillHosts,
    /// Tell the supervisor.
    Report(AttemptReport),
    /// Write a line to the daemon's log.
    Log(String),
    /// The attempt needs nothing any more.
    Leave,
}

/// The timers of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AttemptTimer {
    /// The host is reached for again.
    Reach,
    /// The messages that could not be written are written again.
    Inputs,
    /// The clocks are looked at.
    Clocks,
    /// The host is asked for a sign of life.
    Host,
    /// Background shells have had their time.
    Shells,
    /// An agent that was asked to end gets TERM.
    Term,
    /// It gets KILL.
    Kill,
    /// The host has had its time to close the link.
    Leave,
}

/// Why somebody looks if anything of the attempt is alive.
#[derive(Clone, Debug, PartialEq)]
pub enum LifeCheck {
    /// No host can be reached.
    NoHost {
        /// How the attempt ends if nothing is alive.
        ending: Ending,
        /// The reason, in words for a person.
        why: String,
    },
    /// The agent has ended, and may have left something behind.
    Leftovers,
}

/// What the supervisor is told.
#[derive(Clone, Debug, PartialEq)]
pub enum AttemptReport {
    /// The agent has said its first word.
    Up,
    /// It is known how things stand with the agent.
    Found {
        /// It has ended.
        has_ended: bool,
        /// When the journal heard of it last.
        heard: Timestamp,
    },
    /// The attempt is over: agent and leftovers are gone, and all that it wrote is journalled.
    Over(AttemptEnd),
}

/// One live attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    task: Assignment,
    settings: AttemptSettings,
    now: Moment,
    /// What this step has asked for so far.
    commands: Vec<Command>,
    state: State,
    /// What was found out about the conversation before the attempt.
    groundwork: Groundwork,
    /// As it stands in the journal.
    summary: Arc<Summary>,
    appends: Appends,
    intake: Intake,
    outbox: Outbox,
    clocks: Clocks,
    checkpoints: Checkpoints,
    meter: Meter,
    /// How often the host was asked for a sign of life since it last said anything; none before the first time.
    host_asked: Option<u32>,
    /// Background shells have been given their time.
    leaves_shells: bool,
}

/// How many appends were handed to the store, and how many of them it has acknowledged.
#[derive(Clone, Copy, Debug, Default)]
struct Appends {
    sent: u64,
    acknowledged: u64,
}

impl Attempt {
    /// An attempt that is about to be taken up.
    pub fn new(task: Assignment, settings: AttemptSettings, now: Moment) -> Self {
        let summary = Arc::clone(&task.summary);
        let state = State::beginning(task.end_with.clone());
        Self {
            state,
            groundwork: Groundwork::default(),
            appends: Appends::default(),
            intake: Intake::after(&summary, summary.lifecycle.state == SessionState::Running),
            outbox: Outbox::new(&summary, task.attempt),
            clocks: Clocks::starting_at(now),
            checkpoints: Checkpoints::new(&summary, now),
            meter: Meter::new(&summary),
            host_asked: None,
            leaves_shells: false,
            task,
            settings,
            now,
            commands: Vec::new(),
            summary,
        }
    }

    /// Takes one input; answers what is to be done, in this order.
    pub fn step(&mut self, input: AttemptInput<'_>, now: Moment) -> Vec<Command> {
        self.now = now;
        if matches!(self.state, State::Released) {
            if matches!(input, AttemptInput::LinkLost | AttemptInput::Tick(AttemptTimer::Leave)) {
                self.command(Command::Leave);
            }
            return std::mem::take(&mut self.commands);
        }
        match input {
            AttemptInput::Begin => self.begin(),
            AttemptInput::Linked(groundwork) => self.linked(*groundwork),
            AttemptInput::Unreachable(unreachable) => self.unreachable(unreachable),
            AttemptInput::LinkLost => self.link_lost(),
            AttemptInput::Heard => self.heard_of_host(),
            AttemptInput::Host(message) => self.take_host_message(message),
            AttemptInput::Bytes { offset, bytes } => self.take_bytes(offset, bytes),
            AttemptInput::Committed(summary) => self.committed(&summary),
            AttemptInput::Journal(summary) => {
                self.take_summary(&summary);
                self.deliver();
            }
            AttemptInput::Stop => {
                self.tell_of_cut_off_work();
                self.begin_close(Ending::Stopped);
            }
            AttemptInput::Tick(timer) => self.tick(timer),
            AttemptInput::Looked { look, is_alive } => self.looked(look, is_alive),
            AttemptInput::Ended(processes) => self.ended_without_host(&processes),
            AttemptInput::Awaited(lives) => self.sessions_looked_up(lives),
            AttemptInput::Git(state) => self.checkpoints.looked(state),
            AttemptInput::InFile { uuid, refusal, result } => self.kept_in_file(uuid, refusal, result),
        }
        std::mem::take(&mut self.commands)
    }

    /// True once the host has said hello on the link that is open.
    pub fn hears_host(&self) -> bool {
        self.state.talk().is_some()
    }

    fn tick(&mut self, timer: AttemptTimer) {
        match timer {
            AttemptTimer::Reach => self.reach_again(),
            AttemptTimer::Inputs => self.file_again(),
            AttemptTimer::Clocks => self.look_at_clocks(),
            AttemptTimer::Host => self.look_at_host(),
            AttemptTimer::Shells => self.shells_had_their_time(),
            AttemptTimer::Term => self.insist(AttemptTimer::Term),
            AttemptTimer::Kill => self.insist(AttemptTimer::Kill),
            AttemptTimer::Leave => {}
        }
    }

    fn begin(&mut self) {
        self.command(Command::Connect);
        self.look_at_clocks();
    }

    fn command(&mut self, command: Command) {
        self.commands.push(command);
    }

    fn tell(&mut self, message: ToHost) {
        if self.state.talk().is_some() {
            self.command(Command::Tell(message));
        }
    }

    /// Hands entries to the store. With a span they stand for bytes of the spool.
    fn append(&mut self, span: Option<SpoolSpan>, entries: Vec<Entry>) {
        self.appends.sent += 1;
        self.command(Command::Append { span, entries });
    }

    fn notice(&mut self, text: String) {
        self.append(None, vec![Entry::Notice(Text { text })]);
    }

    fn committed(&mut self, summary: &Arc<Summary>) {
        self.appends.acknowledged += 1;
        self.take_summary(summary);
        if self.is_all_on_disk() {
            self.intake.all_on_disk();
        }
        self.show_held_deltas();
        self.raise_window();
        self.settle();
    }

    /// Takes a state of the journal unless it has a newer one: acknowledgements may be heard of in any order.
    fn take_summary(&mut self, summary: &Arc<Summary>) {
        let place = |summary: &Summary| (summary.head, summary.through_offset);
        if place(summary) < place(&self.summary) {
            return;
        }
        let waited_for = self.summary.waiting_for;
        self.summary = Arc::clone(summary);
        if self.summary.waiting_for != waited_for {
            self.look_at_clocks();
        }
    }

    /// True if everything that was handed to the store is on disk.
    fn is_all_on_disk(&self) -> bool {
        self.appends.acknowledged == self.appends.sent
    }

    /// Looks at where things stand, whenever something has changed and nothing is on its way to the disk.
    fn settle(&mut self) {
        if !self.is_all_on_disk() {
            return;
        }
        self.deliver();
        self.ask_for_the_result();
        self.look_at_standing();
        self.close_further();
    }

    fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing(..) | State::Released)
    }

    /// Most time between two checkpoints: the request's, or else the daemon's.
    fn checkpoint_interval(&self) -> Duration {
        let asked_for = self.task.request.checkpoint_interval_seconds.map(Duration::from_secs);
        asked_for.unwrap_or(self.settings.checkpoint_interval)
    }
}

#[cfg(test)]
mod walk;
