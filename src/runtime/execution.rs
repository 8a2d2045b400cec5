//! An execution: the actor of one live attempt. It owns the websocket to the agent's host.
//!
//! ```text
//!  connect ─► hello ─► read … lines ─► frames ─► append ─► (on disk) ─► finished? ─► end the agent ─► report
//!     ▲                  │                                                               ▲
//!     └── link lost ◄────┘                                     Stop, or the agent died ──┘
//! ```
//!
//! It writes what the agent says into the journal and nothing about the session's lifecycle: that is the supervisor's.
//! [`reach`] finds the host, [`link`] talks to it, [`intake`] turns bytes into records, [`closing`] ends the agent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::io::SinkWrite;
use actix::prelude::*;
use actix_codec::Framed;
use awc::{BoxedSocket, ws};
use futures_util::stream::SplitSink;
use tokio::sync::Semaphore;
use uuid::Uuid;

use self::checkpoints::Checkpoints;
use self::clocks::Clocks;
use self::closing::Closing;
use self::intake::Intake;
use self::reach::{Reach, WANT_PAUSE};
use super::feed::Feeds;
use super::messages::{Deliver, ExecutionGone, Gone, Stop, StoreLost};
use super::metrics::Metrics;
use super::outside::Outside;
use super::settings::RuntimeSettings;
use super::spools::{Spools, Watching};
use super::supervisor::Supervisor;
use crate::agent::launch;
use crate::agent::socket::HostSocket;
use crate::agent_host::protocol::{LaunchPlan, ToHost};
use crate::session::id::{Attempt, QuestionId, SessionId};
use crate::session::journal::{Entry, Input, QuestionRef, Text};
use crate::session::message::InputState;
use crate::session::opening::{CONTINUE, Groundwork, opening};
use crate::session::outcome::{Cause, Ending};
use crate::session::request::Request;
use crate::session::state::State;
use crate::session::summary::Summary;
use crate::store::{Append, Commit, Span, Store, StoreError, on_disk};

mod checkpoints;
mod clocks;
mod closing;
mod intake;
mod link;
mod prepare;
mod reach;
mod spending;

pub(super) use self::prepare::{agent_environment, asked_environment, daemon_environment, given_environment};

/// How often a lost link is opened again without a word from the host in between.
const LINKS_LOST_MAX: u32 = 5;

/// How often an agent that is done with all it was told is asked for the result that it has not given.
const ASKED_FOR_RESULT_MAX: u32 = 3;

/// What an execution is to do.
pub(super) struct Assignment {
    pub session_id: SessionId,
    pub attempt: Attempt,
    pub request: Arc<Request>,
    pub summary: Arc<Summary>,
    /// End the agent and report this, instead of working with it.
    pub end_with: Option<Ending>,
}

/// What every execution works with.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub settings: Arc<RuntimeSettings>,
    pub store: Arc<dyn Store>,
    pub feeds: Arc<Feeds>,
    pub metrics: Arc<Metrics>,
    pub spools: Arc<Spools>,
    /// How many executions may be connecting at once: a daemon that comes back to a thousand agents stays responsive.
    pub connecting: Arc<Semaphore>,
    /// How many executions may be looking at git repositories at once, each with a process of git's.
    pub at_git: Arc<Semaphore>,
    pub outside: Outside,
}

/// The most executions that connect at once.
pub(super) const CONNECTING_MAX: usize = 32;

/// The most executions that look at git repositories at once.
pub(super) const AT_GIT_MAX: usize = 4;

/// The writing half of the websocket.
type HostSink = SinkWrite<ws::Message, SplitSink<Framed<BoxedSocket, ws::Codec>, ws::Message>>;

/// What a line was written to the agent for.
enum Purpose {
    /// A message; whether the line only names the file that it stands in.
    Input {
        uuid: Uuid,
        is_in_file: bool,
    },
    /// An answer, and how far the agent's output was read when it was written.
    Answer {
        question_id: QuestionId,
        position: u64,
    },
    Control,
}

/// The actor of one live attempt.
pub(super) struct Execution {
    task: Assignment,
    surroundings: Surroundings,
    supervisor: Addr<Supervisor>,
    /// Reports the end of this actor, however it comes.
    guard: Guard,
    /// Where the host listens and what it was told; known once the attempt is prepared.
    plan: Option<LaunchPlan>,
    /// What was found out about the conversation then.
    groundwork: Groundwork,
    sink: Option<HostSink>,
    links_lost: u32,
    reach: Reach,
    /// The agent's output is watched, and when its host was last told to look.
    watching: Option<Watching>,
    nudged_at: Option<Instant>,
    intake: Intake,
    /// As it stands in the journal, kept by our own appends.
    summary: Arc<Summary>,
    /// How many appends were handed to the store, and how many of them it has acknowledged.
    appends_sent: u64,
    appends_acknowledged: u64,
    /// The agent says that it works.
    busy: bool,
    /// The agent has said its first word.
    is_up: bool,
    /// The link is up and the agent was greeted on it.
    greeted: bool,
    /// What the agent is told first was handed to the journal.
    is_opened: bool,
    /// Lines whose answer from the host has not come.
    writing: BTreeMap<u64, Purpose>,
    next_write: u64,
    /// Answers that were written to this agent on this link.
    answers_sent: BTreeSet<QuestionId>,
    /// Those that are in the agent's pipe, and after which it has said nothing yet.
    answers_in_pipe: Vec<QuestionId>,
    /// Those that may have been written to this agent, on any link and by any daemon.
    answers_written: BTreeSet<QuestionId>,
    /// Those that the agent has taken, as was handed to the store.
    answers_taken: BTreeSet<QuestionId>,
    /// How often the agent was asked for its result.
    asked_for_result: u32,
    closing: Closing,
    clocks: Clocks,
    checkpoints: Checkpoints,
    /// Background shells have been given their time.
    shells_timer: Option<SpawnHandle>,
}

/// Tells the supervisor when the execution is gone. Its `Drop` runs during a panic too, so nothing in it may panic.
struct Guard {
    session: SessionId,
    attempt: Attempt,
    supervisor: Addr<Supervisor>,
    /// The daemon is on its way down, or this version of it can do nothing for the session.
    with_daemon: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Self {
            session,
            attempt,
            with_daemon,
            ref supervisor,
        } = *self;
        let how = if std::thread::panicking() {
            Gone::Panicked
        } else if with_daemon {
            Gone::WithDaemon
        } else {
            Gone::Stopped
        };
        supervisor.do_send(ExecutionGone { session, attempt, how });
    }
}

impl Execution {
    pub(super) fn new(task: Assignment, surroundings: Surroundings, supervisor: Addr<Supervisor>) -> Self {
        let (session, attempt) = (task.session_id, task.attempt);
        let guard = Guard {
            session,
            attempt,
            supervisor: supervisor.clone(),
            with_daemon: false,
        };
        let summary = Arc::clone(&task.summary);
        let task_summary = Arc::clone(&task.summary);
        let closing = Closing::new(task.end_with.clone());
        Self {
            intake: Intake::after(&summary),
            task,
            surroundings,
            supervisor,
            guard,
            plan: None,
            groundwork: Groundwork::default(),
            sink: None,
            links_lost: 0,
            reach: Reach::default(),
            watching: None,
            nudged_at: None,
            summary,
            appends_sent: 0,
            appends_acknowledged: 0,
            busy: true,
            is_up: task_summary.lifecycle.state == State::Running,
            greeted: false,
            is_opened: task_summary.work.is_told(),
            writing: BTreeMap::new(),
            next_write: 0,
            answers_sent: BTreeSet::new(),
            answers_in_pipe: Vec::new(),
            answers_written: task_summary.answered_in(attempt).collect(),
            answers_taken: BTreeSet::new(),
            asked_for_result: 0,
            closing,
            clocks: Clocks::new(),
            checkpoints: Checkpoints::new(&task_summary),
            shells_timer: None,
        }
    }

    fn directory(&self) -> PathBuf {
        self.surroundings
            .settings
            .attempt_directory(self.task.session_id, self.task.attempt)
    }

    /// Hands entries to the store. With a span they stand for bytes of the spool.
    fn append(&mut self, span: Option<Span>, entries: Vec<Entry>, ctx: &mut Context<Self>) {
        let (session_id, attempt) = (self.task.session_id, self.task.attempt);
        let append = Append {
            session_id,
            attempt,
            span,
            at: self.surroundings.outside.clock.now(),
            entries,
        };
        let acknowledgement = self.surroundings.store.append(append);
        self.appends_sent += 1;
        ctx.spawn(
            on_disk(acknowledgement)
                .into_actor(self)
                .map(|result, act, ctx| act.acknowledged(result, ctx)),
        );
    }

    fn acknowledged(&mut self, result: Result<Commit, StoreError>, ctx: &mut Context<Self>) {
        self.appends_acknowledged += 1;
        match result {
            Ok(commit) => self.take_summary(&commit.summary, ctx),
            Err(error) => return self.store_refused(error, ctx),
        }
        if self.is_all_on_disk() {
            self.intake.all_on_disk();
        }
        self.show_held_deltas();
        self.raise_window();
        self.settle(ctx);
    }

    /// Takes a state of the journal unless it has a newer one: the supervisor tells of answers, and an actor's futures
    /// are not polled in the order they were spawned, so an older commit may be heard of later.
    fn take_summary(&mut self, summary: &Arc<Summary>, ctx: &mut Context<Self>) {
        let place = |summary: &Summary| (summary.head, summary.through_offset);
        if place(summary) < place(&self.summary) {
            return;
        }
        let waited_for = self.summary.waiting_for;
        self.summary = Arc::clone(summary);
        if self.summary.waiting_for != waited_for {
            self.look_at_clocks(ctx);
        }
    }

    /// Whether everything that was handed to the store is on disk.
    fn is_all_on_disk(&self) -> bool {
        self.appends_acknowledged == self.appends_sent
    }

    /// The journal has another writer for this session, or is broken: this execution is a ghost. It leaves the agent
    /// alone, whose output is safe in its spool; a fresh execution takes over from what is on disk.
    fn store_refused(&mut self, error: StoreError, ctx: &mut Context<Self>) {
        if error == StoreError::Closed {
            self.guard.with_daemon = true;
            self.supervisor.do_send(StoreLost(error));
            return ctx.stop();
        }
        tracing::error!(%error, "append refused");
        let is_ghost = matches!(error, StoreError::WrongAttempt { .. } | StoreError::WrongOffset { .. });
        if !is_ghost {
            self.guard.with_daemon = true;
            self.supervisor.do_send(StoreLost(error));
        }
        ctx.stop();
    }

    /// Looks at where things stand, whenever something has changed and nothing is on its way to the disk.
    fn settle(&mut self, ctx: &mut Context<Self>) {
        if !self.is_all_on_disk() {
            return;
        }
        if self.greeted && std::mem::take(&mut self.intake.send_inputs_when_acknowledged) {
            self.send_inputs(ctx);
        }
        self.deliver_answers();
        self.ask_for_the_result(ctx);
        self.look_at_standing(ctx);
        self.close_further(ctx);
    }

    /// What the agent has to be told first on every link: our messages that it is not done with. On the first one of the
    /// attempt they are journalled before. One that has said anything was initialized; its requests are in its spool.
    fn greet(&mut self, spool_bytes: u64, ctx: &mut Context<Self>) {
        self.greeted = true;
        if spool_bytes == 0 {
            self.write_control("initialize");
        }
        // What is spent is counted from the first answer that this daemon gets.
        self.ask_for_count();
        if std::mem::replace(&mut self.is_opened, true) {
            // What is on its way to the disk is sent with the rest when it is there.
            self.intake.send_inputs_when_acknowledged = true;
            return self.settle(ctx);
        }
        let told = self.summary.told(&self.task.request.task);
        let entries = opening(&told, &self.summary, &self.groundwork, Uuid::new_v4());
        self.append(None, entries, ctx);
        self.intake.send_inputs_when_acknowledged = true;
    }

    /// An agent that died between the end of its turn and the result says, when it is resumed, only that our message is
    /// done with. Then there is no result to wait for, and it is asked to go on.
    fn ask_for_the_result(&mut self, ctx: &mut Context<Self>) {
        // It does not ask what its predecessor asked unless it goes on.
        let asks = self
            .summary
            .questions
            .values()
            .any(|waiting| waiting.attempt == self.task.attempt);
        let is_done_with_all = self.summary.inputs.is_empty() && !asks;
        let is_idle = self.greeted && self.is_up && !self.busy && !self.closing.is_begun();
        if !is_idle || !is_done_with_all || self.summary.work.is_answered() {
            return;
        }
        if let Some(ending) = self.summary.work.ended_by_person() {
            return self.begin_close(ending, ctx);
        }
        self.asked_for_result += 1;
        if self.asked_for_result <= ASKED_FOR_RESULT_MAX {
            return self.say(CONTINUE.to_owned(), ctx);
        }
        let (cause, message) = (
            Cause::AgentError,
            "it is done with its messages and gives no result".to_owned(),
        );
        self.begin_close(Ending::Refused { cause, message }, ctx);
    }

    /// Journals a message of ours, to be written when that is on disk.
    fn say(&mut self, text: String, ctx: &mut Context<Self>) {
        let input = Input {
            uuid: Uuid::new_v4(),
            state: InputState::Sent,
            text: Some(text),
        };
        self.append(None, vec![Entry::Input(input)], ctx);
        self.intake.send_inputs_when_acknowledged = true;
    }

    /// Writes the messages that the agent may not have. It drops a uuid that it has seen.
    fn send_inputs(&mut self, ctx: &mut Context<Self>) {
        let summary = Arc::clone(&self.summary);
        for input in summary.inputs.iter().filter(|input| input.state != InputState::Started) {
            let Some(text) = &input.text else { continue };
            if let Err(error) = self.write_input(input.uuid, text) {
                // What follows waits as well: it may build upon this.
                tracing::warn!(%error, "a message waits");
                ctx.run_later(WANT_PAUSE, |act, ctx| {
                    act.intake.send_inputs_when_acknowledged = true;
                    act.settle(ctx);
                });
                return;
            }
        }
    }

    /// Gives the agent every answer that is on disk and that it has not had on this link.
    fn deliver_answers(&mut self) {
        if !self.greeted || self.closing.is_begun() {
            return;
        }
        let summary = Arc::clone(&self.summary);
        for (id, waiting) in &summary.questions {
            let is_asked_here = waiting.attempt == self.task.attempt;
            if let Some(answer) = waiting.answer.as_ref().filter(|_| is_asked_here)
                && self.answers_sent.insert(*id)
            {
                self.clocks.sign();
                self.write_answer(*id, waiting, answer);
            }
        }
    }

    /// Journals that the agent has taken the answers in its pipe, since it goes on after them. Of an agent that dies before
    /// that nobody knows.
    fn take_pipe_for_read(&mut self, ctx: &mut Context<Self>) {
        let in_pipe = std::mem::take(&mut self.answers_in_pipe);
        let entries: Vec<_> = in_pipe.into_iter().filter_map(|id| self.answer_taken(id)).collect();
        if !entries.is_empty() {
            self.append(None, entries, ctx);
        }
    }

    /// What the journal says of an answer that the agent has taken, unless that is said.
    fn answer_taken(&mut self, question_id: QuestionId) -> Option<Entry> {
        let is_news = self.answers_taken.insert(question_id);
        is_news.then_some(Entry::QuestionDelivered(QuestionRef { question_id }))
    }

    fn notice(&mut self, text: String, ctx: &mut Context<Self>) {
        self.append(None, vec![Entry::Notice(Text { text })], ctx);
    }
}

impl Actor for Execution {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.connect(ctx);
        self.look_at_clocks(ctx);
    }
}

impl Handler<Stop> for Execution {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.tell_of_cut_off_work(ctx);
        self.begin_close(Ending::Stopped, ctx);
    }
}

impl Handler<Deliver> for Execution {
    type Result = ();

    /// Where no link is up just now, the answer is given on the next one.
    fn handle(&mut self, Deliver(summary): Deliver, ctx: &mut Self::Context) {
        self.take_summary(&summary, ctx);
        self.deliver_answers();
    }
}
