//! An execution: the actor of one live attempt. It has the websocket to the agent's host, the timers and the store.
//!
//! What is to be done [`Attempt`] decides: everything that happens is an input of it, and its commands are carried out here.
//! An execution writes what the agent says into the journal and nothing about the session's lifecycle: that is the
//! supervisor's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use actix::io::SinkWrite;
use actix::prelude::*;
use actix_codec::Framed;
use awc::{BoxedSocket, ws};
use futures_util::stream::SplitSink;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

use self::guard::Guard;
use super::feed::Feeds;
use super::messages::{AgentFound, AgentUp, AttemptOver, Deliver, IsAwaited, Stop, StoreLost};
use super::metrics::Metrics;
use super::outside::Outside;
use super::settings::RuntimeSettings;
use super::spools::{Spools, Watching};
use super::supervisor::Supervisor;
use crate::agent_host::protocol::{LaunchPlan, files};
use crate::attempt::{Assignment, Attempt, Command, Input, Look, Moment, Report, Timer};
use crate::disk;
use crate::session::id::SessionId;
use crate::session::journal::{Entry, Text};
use crate::session::opening::Groundwork;
use crate::store::{Append, Commit, Span, Store, StoreError, on_disk};

mod git;
mod guard;
mod link;
mod prepare;

pub(super) use self::git::AT_GIT_MAX;
pub(super) use self::link::CONNECTING_MAX;
pub(super) use self::prepare::{agent_environment, asked_environment, daemon_environment, given_environment};

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

/// The writing half of the websocket.
type HostSink = SinkWrite<ws::Message, SplitSink<Framed<BoxedSocket, ws::Codec>, ws::Message>>;

/// The actor of one live attempt.
pub(super) struct Execution {
    task: Assignment,
    attempt: Attempt,
    surroundings: Surroundings,
    supervisor: Addr<Supervisor>,
    /// Reports the end of this actor, however it comes.
    guard: Guard,
    /// When the attempt was taken up.
    began: Instant,
    timers: BTreeMap<Timer, SpawnHandle>,
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
    pub(super) fn new(task: Assignment, surroundings: Surroundings, supervisor: Addr<Supervisor>) -> Self {
        let guard = Guard {
            session: task.session_id,
            attempt: task.attempt,
            supervisor: supervisor.clone(),
            with_daemon: false,
        };
        let began = Instant::now();
        let now = moment(&surroundings.outside, began);
        Self {
            attempt: Attempt::new(task.clone(), surroundings.settings.of_attempts(), now),
            task,
            surroundings,
            supervisor,
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
        let settings = &self.surroundings.settings;
        settings.attempt_directory(self.task.session_id, self.task.attempt)
    }

    /// Lets the attempt hear of this, and does what it asks for.
    fn step(&mut self, input: Input<'_>, ctx: &mut Context<Self>) {
        let now = moment(&self.surroundings.outside, self.began);
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
                let now = self.surroundings.outside.clock.now();
                self.surroundings.metrics.first_sign(session, now);
                self.surroundings.feeds.delta(session, head, attempt, &delta);
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
                let ending = self.surroundings.outside.hosts.end_everything(session, attempt);
                let ending = ending.into_actor(self);
                ctx.spawn(ending.map(|ended, act, ctx| act.step(Input::Ended(ended), ctx)));
            }
            Command::KillHosts => {
                let (session, attempt) = (self.task.session_id, self.task.attempt);
                let killing = self.surroundings.outside.hosts.kill_hosts(session, attempt);
                ctx.spawn(killing.into_actor(self));
            }
            Command::Report(report) => self.report(report),
            Command::Log(text) => tracing::warn!("{text}"),
            Command::Leave => ctx.stop(),
        }
    }

    fn tick(&mut self, timer: Timer, ctx: &mut Context<Self>) {
        self.timers.remove(&timer);
        self.step(Input::Tick(timer), ctx);
    }

    /// Hands entries to the store.
    fn append(&mut self, span: Option<Span>, entries: Vec<Entry>, ctx: &mut Context<Self>) {
        for entry in &entries {
            if let Entry::Notice(Text { text }) = entry {
                tracing::warn!("{text}");
            }
        }
        let append = Append {
            session_id: self.task.session_id,
            attempt: self.task.attempt,
            span,
            at: self.surroundings.outside.clock.now(),
            entries,
        };
        let acknowledgement = on_disk(self.surroundings.store.append(append)).into_actor(self);
        ctx.spawn(acknowledgement.map(|result, act, ctx| act.acknowledged(result, ctx)));
    }

    fn acknowledged(&mut self, result: Result<Commit, StoreError>, ctx: &mut Context<Self>) {
        match result {
            Ok(commit) => self.step(Input::Committed(commit.summary), ctx),
            Err(error) => self.store_refused(error, ctx),
        }
    }

    /// The journal has another writer for this session, or is broken: this execution is a ghost. It leaves the agent
    /// alone, whose output is safe in its spool; a fresh execution takes over from what is on disk.
    fn store_refused(&mut self, error: StoreError, ctx: &mut Context<Self>) {
        if error != StoreError::Closed {
            tracing::error!(%error, "append refused");
        }
        let is_ghost = matches!(error, StoreError::WrongAttempt { .. } | StoreError::WrongOffset { .. });
        if !is_ghost {
            self.guard.with_daemon = true;
            self.supervisor.do_send(StoreLost(error));
        }
        ctx.stop();
    }

    /// Keeps a text where the agent can read it.
    fn keep_in_file(&mut self, uuid: Uuid, text: &str, refusal: Option<String>, ctx: &mut Context<Self>) {
        let path = self.directory().join(format!("input-{uuid}.txt"));
        let written = disk::write_private(&path, text.as_bytes());
        let result = written.map(|()| path).map_err(|error| error.to_string());
        self.step(Input::InFile { uuid, refusal, result }, ctx);
    }

    fn look_for_life(&mut self, look: Look, ctx: &mut Context<Self>) {
        let (session, attempt) = (self.task.session_id, self.task.attempt);
        let looking = self.surroundings.outside.hosts.is_anything_alive(session, attempt);
        ctx.spawn(
            looking
                .into_actor(self)
                .map(|is_alive, act, ctx| act.step(Input::Looked { look, is_alive }, ctx)),
        );
    }

    fn ask_awaited(&mut self, awaited: Vec<Option<SessionId>>, ctx: &mut Context<Self>) {
        let by = self.task.session_id;
        let asked = self.supervisor.send(IsAwaited { by, awaited });
        ctx.spawn(asked.into_actor(self).map(|answer, act, ctx| {
            // Without an answer the daemon is on its way down.
            act.step(Input::Awaited(answer.unwrap_or(true)), ctx);
        }));
    }

    fn report(&self, report: Report) {
        let (session, attempt) = (self.task.session_id, self.task.attempt);
        match report {
            Report::Up => self.supervisor.do_send(AgentUp { session, attempt }),
            Report::Over(end) => self.supervisor.do_send(AttemptOver { session, attempt, end }),
            Report::Found { has_ended, heard } => {
                // One that has ended unseen lived at least until it was heard of last, or has written last.
                let spool = self.directory().join(files::SPOOL);
                let written = std::fs::metadata(spool).and_then(|spool| spool.modified()).ok();
                let written = written.and_then(|at| jiff::Timestamp::try_from(at).ok());
                self.supervisor.do_send(AgentFound {
                    session,
                    attempt,
                    ended_after: has_ended.then(|| written.map_or(heard, |written| written.max(heard))),
                });
            }
        }
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
        self.step(Input::Begin, ctx);
    }
}

impl Handler<Stop> for Execution {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.step(Input::Stop, ctx);
    }
}

impl Handler<Deliver> for Execution {
    type Result = ();

    fn handle(&mut self, Deliver(summary): Deliver, ctx: &mut Self::Context) {
        self.step(Input::Journal(summary), ctx);
    }
}
