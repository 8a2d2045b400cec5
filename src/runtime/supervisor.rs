//! The supervisor: the one writer of every session's lifecycle.
//!
//! A handler decides in the pure core, changes its copy of the lifecycle, hands the entries to the store and returns;
//! what the decision asks for is done when the store has acknowledged them. It is an ordinary actor: each attempt gets
//! a fresh execution, because an actor that died by a panic cannot be restarted.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use actix::prelude::*;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use self::clocks::{Jumps, Retry};
use self::creating::Creating;
use self::gone::Faults;
use super::context::RuntimeContext;
use super::execution::{Execution, Recipients};
use super::messages::{AttemptEvent, Committed, JournalGrew, LookAround, OfAttempt, Recover, Reply, Stop};
use super::refusal::CallError;
use super::spans::{span_of, start_within};
use crate::attempt::Assignment;
use crate::session::decide::{Decision, DecisionContext, Denied, Effect, Event, decide};
use crate::session::id::{Attempt, QuestionId, SessionId};
use crate::session::journal::Entry;
use crate::session::outcome::Ending;
use crate::session::request::Request;
use crate::session::restart::RestartPolicy;
use crate::session::state::{Lifecycle, State};
use crate::session::summary::Summary;
use crate::session::trust::Trust;
use crate::store::{Append, Commit, StoreRefusal, Unwritten, on_disk};

mod awaited;
mod clocks;
mod conversations;
mod creating;
mod gone;
mod notices;
mod questions;
mod slots;
mod wishes;

/// Decides about every session that has not ended.
pub(super) struct Supervisor {
    context: RuntimeContext,
    sessions: HashMap<SessionId, SupervisedSession>,
    /// Sessions whose creation is on its way to the disk.
    creating: HashMap<SessionId, Creating>,
    /// Sessions that wait for a slot, first come first served.
    queue: VecDeque<SessionId>,
    /// Threads for executions, used in turn.
    arbiters: Vec<ArbiterHandle>,
    next_arbiter: usize,
    /// The timer of the next deadline.
    timer: Option<SpawnHandle>,
    jumps: Jumps,
    /// Something has changed what may start, or when what is due.
    is_to_look_around: bool,
    /// Tells the daemon that the store failed.
    fatal: mpsc::UnboundedSender<Unwritten>,
}

/// What the supervisor holds of one session.
struct SupervisedSession {
    request: Arc<Request>,
    /// Ahead of the journal by the decisions that are not acknowledged yet.
    life: Lifecycle,
    /// How many those are.
    deciding: u32,
    /// As it stands in the journal.
    summary: Arc<Summary>,
    /// The execution of the current attempt.
    execution: Option<(Attempt, Addr<Execution>)>,
    /// Questions whose answer is decided, and not in the journal as it stands here.
    answering: BTreeSet<QuestionId>,
    /// What went wrong with executions of the current attempt.
    faults: Faults,
    retry: Retry,
    /// A jump of the clock is on its way to the disk, or nobody has looked yet how long the agent has lived that the
    /// daemon before has left: until then its time at work is not known.
    time_is_unknown: bool,
}

impl SupervisedSession {
    fn new(request: Arc<Request>, summary: Arc<Summary>) -> Self {
        let life = summary.lifecycle.clone();
        Self {
            request,
            life,
            deciding: 0,
            summary,
            execution: None,
            answering: BTreeSet::new(),
            faults: Faults::default(),
            retry: Retry::default(),
            time_is_unknown: false,
        }
    }
}

/// A session as it is found when the daemon starts.
pub(super) struct FoundSession {
    pub summary: Arc<Summary>,
    pub request: Arc<Request>,
}

impl Supervisor {
    /// A supervisor that takes up what it finds.
    pub(super) fn new(
        context: RuntimeContext,
        found: Vec<FoundSession>,
        arbiters: Vec<ArbiterHandle>,
        fatal: mpsc::UnboundedSender<Unwritten>,
    ) -> Self {
        let mut queued: Vec<_> = found
            .iter()
            .filter(|found| found.summary.lifecycle.state == State::Queued && !found.summary.lifecycle.trust.is_open())
            .collect();
        queued.sort_by_key(|found| (found.summary.updated_at, found.summary.session_id));
        let queue = queued.iter().map(|found| found.summary.session_id).collect();
        let session = |found: FoundSession| {
            (
                found.summary.session_id,
                SupervisedSession::new(found.request, found.summary),
            )
        };
        let sessions = found.into_iter().map(session).collect();
        Self {
            context,
            sessions,
            creating: HashMap::new(),
            queue,
            arbiters,
            next_arbiter: 0,
            timer: None,
            jumps: Jumps::default(),
            is_to_look_around: false,
            fatal,
        }
    }

    /// Decides about an event, writes the decision down, and carries it out once it is on disk.
    fn step(&mut self, id: SessionId, event: &Event, reply: Option<Reply>, ctx: &mut Context<Self>) {
        let now = self.now();
        let Some(session) = self.sessions.get(&id) else {
            return answer_call(reply, Err(CallError::NoSuchSession(id.to_string())));
        };
        let decision = match session.decide(event, &self.context.settings.restart, now) {
            Ok(decision) if decision.entries.is_empty() => {
                return answer_call(reply, Ok(Arc::clone(&session.summary)));
            }
            Ok(decision) => decision,
            Err(denied) => return answer_call(reply, Err(self.refusal(session, denied))),
        };
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let attempt = session.life.attempt;
        session.apply(&decision, now);
        let append = Append {
            session_id: id,
            attempt,
            span: None,
            at: now,
            entries: decision.entries,
        };
        let acknowledgement = self.context.store.append(append);
        let effects = decision.effects;
        ctx.spawn(on_disk(acknowledgement).into_actor(self).map(move |result, act, ctx| {
            if let Some(session) = act.sessions.get_mut(&id) {
                session.deciding = session.deciding.saturating_sub(1);
            }
            act.stepped(id, result, &effects, reply, ctx);
        }));
    }

    /// A decision is on disk: now it is carried out.
    fn stepped(
        &mut self,
        id: SessionId,
        result: Result<Commit, Unwritten>,
        effects: &[Effect],
        reply: Option<Reply>,
        ctx: &mut Context<Self>,
    ) {
        let commit = match result {
            Ok(commit) => commit,
            // It was removed while it was taken up again.
            Err(error @ Unwritten::Refused(StoreRefusal::NoSuchSession(_))) => {
                self.let_go(id);
                return answer_call(reply, Err(error.into()));
            }
            Err(error) => {
                self.store_failed(&error);
                return answer_call(reply, Err(error.into()));
            }
        };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.take(&commit.summary);
        }
        for effect in effects {
            self.carry_out(id, *effect, ctx);
        }
        if commit.summary.lifecycle.state.outcome().is_some() {
            tracing::info!(parent: &span_of(id, commit.summary.lifecycle.attempt), state = commit.summary.shown_state().name(), "session ended");
            self.forget(id);
        }
        answer_call(reply, Ok(commit.summary));
        self.look_around_soon(ctx);
    }

    /// Lets go of a session that has ended, unless it was resumed while its end was on its way to the disk.
    fn forget(&mut self, id: SessionId) {
        let session = self.sessions.get(&id);
        if session.is_some_and(|session| session.life.state.outcome().is_some()) {
            self.let_go(id);
        }
    }

    fn let_go(&mut self, id: SessionId) {
        self.sessions.remove(&id);
        self.queue.retain(|queued| *queued != id);
    }

    fn carry_out(&mut self, id: SessionId, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Enqueue => self.enqueue(id, ctx),
            Effect::Start(attempt) => {
                // Acknowledgements may be heard of out of order, so the stop may have come first, to nobody.
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.faults = Faults::default();
                    let end_with = session.end_with();
                    self.start_execution(id, attempt, end_with, ctx);
                }
            }
            Effect::Deliver(attempt) => {
                self.tell_execution(id, attempt, |session| JournalGrew(Arc::clone(&session.summary)))
            }
            Effect::Stop(attempt) => self.tell_execution(id, attempt, |_| Stop),
        }
    }

    /// A session waits for a slot, or first for a person who says whether its project may start what it brings.
    fn enqueue(&mut self, id: SessionId, ctx: &mut Context<Self>) {
        let session = self.sessions.get(&id);
        let due = session.filter(|session| session.life.trust == Trust::Due);
        match due.and_then(|session| session.summary.question_of_trust()) {
            Some(question) => self.step(id, &Event::AskForTrust { question }, None, ctx),
            None => self.queue.push_back(id),
        }
    }

    /// Looks for free slots and deadlines once all that waits in the mailbox is done: each look goes over all sessions.
    fn look_around_soon(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.is_to_look_around, true) {
            ctx.notify(LookAround);
        }
    }

    /// Starts what the free slots allow.
    fn dispatch(&mut self, ctx: &mut Context<Self>) {
        while let Some(id) = self.next_to_start() {
            let Some(session) = self.sessions.get(&id) else {
                continue;
            };
            let event = Event::SlotFree {
                fresh: session.fresh_conversation(),
                checkpoint: session.summary.checkpoint,
            };
            self.step(id, &event, None, ctx);
        }
    }

    fn start_execution(&mut self, id: SessionId, attempt: Attempt, end_with: Option<Ending>, ctx: &mut Context<Self>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let assignment = Assignment {
            session_id: id,
            attempt,
            request: Arc::clone(&session.request),
            summary: Arc::clone(&session.summary),
            end_with,
        };
        let span = span_of(id, attempt);
        tracing::info!(parent: &span, "execution starts");
        let context = self.context.clone();
        let recipients = Recipients {
            events: ctx.address().recipient(),
            awaited: ctx.address().recipient(),
        };
        let arbiter = &self.arbiters[self.next_arbiter % self.arbiters.len()];
        self.next_arbiter += 1;
        let execution = start_within(span, arbiter, || Execution::new(assignment, context, recipients));
        session.execution = Some((attempt, execution));
    }

    /// Tells the execution of this attempt something, if there is one.
    fn tell_execution<M>(&self, id: SessionId, attempt: Attempt, message: impl FnOnce(&SupervisedSession) -> M)
    where
        M: Message<Result = ()> + Send + 'static,
        Execution: Handler<M>,
    {
        if let Some(session) = self.sessions.get(&id)
            && let Some((current, execution)) = &session.execution
            && *current == attempt
        {
            execution.do_send(message(session));
        }
    }

    fn now(&self) -> Timestamp {
        self.context.outside.clock.now()
    }

    fn store_failed(&self, error: &Unwritten) {
        // The daemon may be on its way down already; then nobody listens, and nobody has to.
        if self.fatal.is_closed() {
            return;
        }
        tracing::error!(%error, "the journal failed");
        let _ = self.fatal.send(error.clone());
    }

    /// Takes up the work of the daemon before: attaches to agents that may be alive, and goes on with the queue.
    fn recover(&mut self, ctx: &mut Context<Self>) {
        let with_agent = self
            .sessions
            .iter()
            .filter(|(_, session)| session.life.state.has_agent());
        let attempts = with_agent.map(|(id, session)| (*id, session.life.attempt, session.end_with()));
        for (id, attempt, end_with) in attempts.collect::<Vec<_>>() {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.time_is_unknown = true;
            }
            self.start_execution(id, attempt, end_with, ctx);
        }
        let is_due =
            |session: &SupervisedSession| session.life.state == State::Queued && session.life.trust == Trust::Due;
        let due = self.sessions.iter().filter(|(_, session)| is_due(session));
        for id in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.enqueue(id, ctx);
        }
        self.look_around_soon(ctx);
    }
}

impl SupervisedSession {
    /// What follows an event.
    fn decide(&self, event: &Event, policy: &RestartPolicy, now: Timestamp) -> Result<Decision, Denied> {
        let context = DecisionContext {
            policy,
            now,
            jitter: rand::random(),
            fresh: Uuid::new_v4(),
            request: &self.request,
            summary: &self.summary,
            answering: &self.answering,
            check_length: wishes::check_length,
        };
        decide(&self.life, event, &context)
    }

    /// Takes a decision into account that is on its way to the disk.
    fn apply(&mut self, decision: &Decision, now: Timestamp) {
        self.deciding += 1;
        for entry in &decision.entries {
            self.life.apply(entry, now);
            if let Entry::QuestionAnswered(answered) = entry {
                self.answering.insert(answered.question_id);
            }
        }
    }

    /// What a fresh execution is to end its agent with, if anything.
    fn end_with(&self) -> Option<Ending> {
        matches!(self.life.state, State::Stopping { .. }).then_some(Ending::Stopped)
    }

    /// Takes a summary that is newer than the one it has. What the agent has said may be part of the lifecycle: where no
    /// decision is on its way to the disk, that stands as in the journal. A decision about an agent that goes on living
    /// changes the state alone, so that all else stands as in the journal also while such a decision is on its way.
    fn take(&mut self, summary: &Arc<Summary>) {
        if summary.head > self.summary.head {
            self.summary = Arc::clone(summary);
            let waits = |id: &QuestionId| {
                summary
                    .questions
                    .get(id)
                    .is_some_and(|waiting| waiting.answer.is_none())
            };
            self.answering.retain(waits);
        }
        let journalled = &self.summary.lifecycle;
        if self.deciding == 0 {
            if self.life != *journalled {
                self.life = journalled.clone();
            }
        } else if self.life.attempt == journalled.attempt && self.life.state.has_agent() && journalled.state.has_agent()
        {
            self.life = Lifecycle {
                state: self.life.state.clone(),
                ..journalled.clone()
            };
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1024);
    }
}

impl Handler<Recover> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Recover, ctx: &mut Self::Context) {
        self.recover(ctx);
    }
}

impl Handler<Committed> for Supervisor {
    type Result = ();

    fn handle(&mut self, Committed(summary): Committed, ctx: &mut Self::Context) {
        let Some(session) = self.sessions.get_mut(&summary.session_id) else {
            return;
        };
        let before = (session.takes_slot(), session.summary.questions.len());
        session.take(&summary);
        if before != (session.takes_slot(), session.summary.questions.len()) {
            self.look_around_soon(ctx);
        }
    }
}

impl Handler<LookAround> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: LookAround, ctx: &mut Self::Context) {
        self.is_to_look_around = false;
        self.dispatch(ctx);
        self.arm_clocks(ctx);
    }
}

impl Handler<OfAttempt> for Supervisor {
    type Result = ();

    fn handle(&mut self, told: OfAttempt, ctx: &mut Self::Context) {
        let OfAttempt {
            session,
            attempt,
            event,
        } = told;
        match event {
            AttemptEvent::AgentUp => self.step(session, &Event::AgentUp { attempt }, None, ctx),
            AttemptEvent::AgentFound { ended_after } => self.agent_found(session, attempt, ended_after, ctx),
            AttemptEvent::Over(end) => {
                tracing::info!(parent: &span_of(session, attempt), ending = end.ending.name(), exit = end.exit, "attempt ended");
                let analysis = self.sessions.get(&session).and_then(SupervisedSession::analysis);
                self.step(session, &Event::AttemptEnded { attempt, end, analysis }, None, ctx);
            }
            AttemptEvent::ExecutionGone(how) => self.execution_gone(session, attempt, how, ctx),
            AttemptEvent::StoreLost(error) => self.store_failed(&error),
        }
    }
}

/// Answers a call; the caller may have gone away, and then nobody has to be told.
fn answer_call(reply: Option<Reply>, result: Result<Arc<Summary>, CallError>) {
    if let Some(reply) = reply {
        let _ = reply.send(result);
    }
}

/// Where a call waits for its answer.
pub(super) type ReplyReceiver = oneshot::Receiver<Result<Arc<Summary>, CallError>>;

/// Both ends of a call.
pub(super) fn reply_channel() -> (Reply, ReplyReceiver) {
    oneshot::channel()
}
