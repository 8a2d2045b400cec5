//! An execution: the actor of one live attempt. It has the websocket to the agent's host, the timers and the store.
//!
//! What is to be done [`Attempt`] decides: everything that happens is an input of it, and its commands are carried out here.
//! An execution writes what the agent says into the journal and nothing about the session's lifecycle: that is the
//! supervisor's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use actix::io::SinkWrite;
use actix::prelude::*;
use actix_codec::Framed;
use awc::{BoxedSocket, ws};
use futures_util::stream::SplitSink;
use tokio::time::Instant;
use uuid::Uuid;

use self::guard::Guard;
use super::context::RuntimeContext;
use super::messages::{AttemptEvent, IsAwaited, JournalGrew, OfAttempt, Stop};
use super::outside::Outside;
use super::spools::Watching;
use crate::agent_host::protocol::{LaunchPlan, files};
use crate::attempt::{Assignment, Attempt, AttemptInput, AttemptReport, AttemptTimer, Command, LifeCheck, Moment};
use crate::disk;
use crate::session::id::SessionId;
use crate::session::journal::{Entry, Text};
use crate::session::opening::Groundwork;
use crate::store::{Append, Commit, SpoolSpan, StoreError, StoreRefusal, Unwritten, on_disk};

mod git;
mod guard;
mod link;
mod prepare;

pub(super) use self::git::AT_GIT_MAX;
pub(super) use self::link::CONNECTING_MAX;
pub(super) use self::prepare::{agent_environment, asked_environment, daemon_environment, given_environment};

/// The writing half of the websocket.
type HostSink = SinkWrite<ws::Message, SplitSink<Framed<BoxedSocket, ws::Codec>, ws::Message>>;

/// Where an execution reports to.
pub(super) struct Recipients {
    /// What happens to the attempt.
    pub events: Recipient<OfAttempt>,
    /// Calls of the agent that wait for other sessions.
    pub awaited: Recipient<IsAwaited>,
}

/// The actor of one live attempt.
pub(super) struct Execution {
    task: Assignment,
    attempt: Attempt,
    context: RuntimeContext,
    recipients: Recipients,
    /// Reports the end of this actor, however it comes.
    guard: Guard,
    /// When the attempt was taken up.
    began: Instant,
    timers: BTreeMap<AttemptTimer, SpawnHandle>,
    /// Where the host listens and what it was told; known once the attempt is prepared.
    plan: Option<LaunchPlan>,
    /// What was found out about the conversation then.
    groundwork: Groundwork,
    sink: Option<HostSink>,
    /// The agent's output is watched, and when its host was last told to look.
    watching: Option<Watching>,
    nudged_at: Option<Instant>,
}

impl Execution {
    pub(super) fn new(task: Assignment, context: RuntimeContext, recipients: Recipients) -> Self {
        let guard = Guard {
            session: task.session_id,
            attempt: task.attempt,
            supervisor: recipients.events.clone(),
            with_daemon: false,
        };
        let began = Instant::now();
        let now = moment(&context.outside, began);
        Self {
            attempt: Attempt::new(task.clone(), context.settings.of_attempts(), now),
            task,
            context,
            recipients,
            guard,
            began,
            timers: BTreeMap::new(),
            plan: None,
            groundwork: Groundwork::default(),
            sink: None,
            watching: None,
            nudged_at: None,
        }
    }

    fn directory(&self) -> PathBuf {
        let settings = &self.context.settings;
        settings.attempt_directory(self.task.session_id, self.task.attempt)
    }

    /// Lets the attempt hear of this, and does what it asks for.
    fn step(&mut self, input: AttemptInput<'_>, ctx: &mut Context<Self>) {
        let now = moment(&self.context.outside, self.began);
        for command in self.attempt.step(input, now) {
            self.carry_out(command, ctx);
        }
    }

    fn carry_out(&mut self, command: Command, ctx: &mut Context<Self>) {
        match command {
            Command::Connect => self.connect(ctx),
            Command::Append { span, entries } => self.append(span, entries, ctx),
            Command::Tell(message) => self.send(&message),
            Command::Read { from, through } => self.read_spool(from, through, ctx),
            Command::Ping => self.write(ws::Message::Ping(bytes::Bytes::new())),
            Command::KeepInFile { uuid, text, refusal } => self.keep_in_file(uuid, &text, refusal, ctx),
            Command::Show { head, delta } => {
                let (session, attempt) = (self.task.session_id, self.task.attempt);
                let now = self.context.outside.clock.now();
                self.context.metrics.first_sign(session, now);
                self.context.feeds.delta(session, head, attempt, &delta);
            }
            Command::Arm(timer, after) => {
                let handle = ctx.run_later(after, move |act, ctx| act.tick(timer, ctx));
                if let Some(before) = self.timers.insert(timer, handle) {
                    ctx.cancel_future(before);
                }
            }
            Command::Disarm(timer) => {
                if let Some(handle) = self.timers.remove(&timer) {
                    ctx.cancel_future(handle);
                }
            }
            Command::Look(look) => self.look_for_life(look, ctx),
            Command::LookAtGit => self.look_at_git(ctx),
            Command::AskAwaited(awaited) => self.ask_awaited(awaited, ctx),
            Command::EndEverything => {
                let (session, attempt) = (self.task.session_id, self.task.attempt);
                let ending = self.context.outside.hosts.end_everything(session, attempt);
                let ending = ending.into_actor(self);
                ctx.spawn(ending.map(|ended, act, ctx| act.step(AttemptInput::Ended(ended), ctx)));
            }
            Command::KillHosts => {
                let (session, attempt) = (self.task.session_id, self.task.attempt);
                let killing = self.context.outside.hosts.kill_hosts(session, attempt);
                ctx.spawn(killing.into_actor(self));
            }
            Command::Report(report) => self.report(report),
            Command::Log(text) => tracing::warn!("{text}"),
            Command::Leave => ctx.stop(),
        }
    }

    fn tick(&mut self, timer: AttemptTimer, ctx: &mut Context<Self>) {
        self.timers.remove(&timer);
        self.step(AttemptInput::Tick(timer), ctx);
    }

    /// Hands entries to the store.
    fn append(&mut self, span: Option<SpoolSpan>, entries: Vec<Entry>, ctx: &mut Context<Self>) {
        for entry in &entries {
            if let Entry::Notice(Text { text }) = entry {
                tracing::warn!("{text}");
            }
        }
        let append = Append {
            session_id: self.task.session_id,
            attempt: self.task.attempt,
            span,
            at: self.context.outside.clock.now(),
            entries,
        };
        let acknowledgement = on_disk(self.context.store.append(append)).into_actor(self);
        ctx.spawn(acknowledgement.map(|result, act, ctx| act.acknowledged(result, ctx)));
    }

    fn acknowledged(&mut self, result: Result<Commit, Unwritten>, ctx: &mut Context<Self>) {
        match result {
            Ok(commit) => self.step(AttemptInput::Committed(commit.summary), ctx),
            Err(error) => self.store_refused(error, ctx),
        }
    }

    /// The journal has another writer for this session, or is broken: this execution is a ghost. It leaves the agent
    /// alone, whose output is safe in its spool; a fresh execution takes over from what is on disk.
    fn store_refused(&mut self, error: Unwritten, ctx: &mut Context<Self>) {
        if error != Unwritten::Failed(StoreError::Closed) {
            tracing::error!(%error, "append refused");
        }
        let is_ghost = matches!(
            error,
            Unwritten::Refused(StoreRefusal::WrongAttempt { .. } | StoreRefusal::WrongOffset { .. })
        );
        if !is_ghost {
            self.guard.with_daemon = true;
            self.tell_supervisor(AttemptEvent::StoreLost(error));
        }
        ctx.stop();
    }

    /// Keeps a text where the agent can read it.
    fn keep_in_file(&mut self, uuid: Uuid, text: &str, refusal: Option<String>, ctx: &mut Context<Self>) {
        let path = self.directory().join(format!("input-{uuid}.txt"));
        let written = disk::write_private(&path, text.as_bytes());
        let result = written.map(|()| path).map_err(|error| error.to_string());
        self.step(AttemptInput::InFile { uuid, refusal, result }, ctx);
    }

    fn look_for_life(&mut self, look: LifeCheck, ctx: &mut Context<Self>) {
        let (session, attempt) = (self.task.session_id, self.task.attempt);
        let looking = self.context.outside.hosts.is_anything_alive(session, attempt);
        ctx.spawn(
            looking
                .into_actor(self)
                .map(|is_alive, act, ctx| act.step(AttemptInput::Looked { look, is_alive }, ctx)),
        );
    }

    fn ask_awaited(&mut self, awaited: Vec<Option<SessionId>>, ctx: &mut Context<Self>) {
        let by = self.task.session_id;
        let asked = self.recipients.awaited.send(IsAwaited { by, awaited });
        ctx.spawn(asked.into_actor(self).map(|answer, act, ctx| {
            // Without an answer the daemon is on its way down.
            act.step(AttemptInput::Awaited(answer.unwrap_or(true)), ctx);
        }));
    }

    fn report(&self, report: AttemptReport) {
        self.tell_supervisor(match report {
            AttemptReport::Up => AttemptEvent::AgentUp,
            AttemptReport::Over(end) => AttemptEvent::Over(end),
            AttemptReport::Found { has_ended, heard } => {
                // One that has ended unseen lived at least until it was heard of last, or has written last.
                let spool = self.directory().join(files::SPOOL);
                let written = std::fs::metadata(spool).and_then(|spool| spool.modified()).ok();
                let written = written.and_then(|at| jiff::Timestamp::try_from(at).ok());
                let ended_after = has_ended.then(|| written.map_or(heard, |written| written.max(heard)));
                AttemptEvent::AgentFound { ended_after }
            }
        });
    }

    fn tell_supervisor(&self, event: AttemptEvent) {
        let (session, attempt) = (self.task.session_id, self.task.attempt);
        self.recipients.events.do_send(OfAttempt {
            session,
            attempt,
            event,
        });
    }
}

fn moment(outside: &Outside, began: Instant) -> Moment {
    Moment {
        wall: outside.clock.now(),
        running: began.elapsed(),
        fresh: Uuid::new_v4(),
    }
}

impl Actor for Execution {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.step(AttemptInput::Begin, ctx);
    }
}

impl Handler<Stop> for Execution {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.step(AttemptInput::Stop, ctx);
    }
}

impl Handler<JournalGrew> for Execution {
    type Result = ();

    fn handle(&mut self, JournalGrew(summary): JournalGrew, ctx: &mut Self::Context) {
        self.step(AttemptInput::Journal(summary), ctx);
    }
}
