//! Executions that are gone before their attempt is over: by a panic, or because the journal took them for a ghost.

use actix::prelude::*;

use super::Supervisor;
use crate::runtime::messages::Departure;
use crate::runtime::spans::span_of;
use crate::session::decide::Event;
use crate::session::id::{Attempt, SessionId};
use crate::session::journal::AttemptEnd;
use crate::session::outcome::Ending;

/// How often an execution of one attempt may panic before the attempt is given up.
const PANICS_MAX: u32 = 3;

/// How often an attempt gets a fresh execution in place of a ghost before that counts as a panic.
const REATTACHED_MAX: u32 = 5;

/// What went wrong with executions of one attempt.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// How often they have panicked.
    panics: u32,
    /// How often a fresh one has taken the place of a ghost.
    reattached: u32,
}

impl Supervisor {
    /// An execution is gone. One whose attempt is not over is followed by another.
    pub(super) fn execution_gone(&mut self, id: SessionId, attempt: Attempt, how: Departure, ctx: &mut Context<Self>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let current = session.execution.as_ref().map(|(current, _)| *current);
        if current != Some(attempt) {
            return;
        }
        session.execution = None;
        let is_over = !session.life.state.has_agent() || session.life.attempt != attempt;
        if is_over || how == Departure::WithDaemon {
            return;
        }
        if how == Departure::Stopped && session.faults.reattached < REATTACHED_MAX {
            session.faults.reattached += 1;
            tracing::warn!(parent: &span_of(id, attempt), times = session.faults.reattached, "a fresh execution takes over");
            let end_with = session.end_with();
            return self.start_execution(id, attempt, end_with, ctx);
        }
        session.faults.panics += 1;
        tracing::error!(parent: &span_of(id, attempt), panics = session.faults.panics, "the execution panicked");
        if session.faults.panics < PANICS_MAX {
            // A fresh execution ends the agent and whatever it left behind, and then reports the ending.
            return self.start_execution(id, attempt, Some(Ending::Panicked), ctx);
        }
        self.give_up(id, attempt, ctx);
    }

    /// Ends an attempt that no execution survives. Its agent goes first, so that it is never one of two.
    fn give_up(&self, id: SessionId, attempt: Attempt, ctx: &mut Context<Self>) {
        let ending = self.context.outside.hosts.end_everything(id, attempt);
        ctx.spawn(ending.into_actor(self).map(move |leftovers, act, ctx| {
            let end = AttemptEnd {
                ending: Ending::Panicked,
                exit: None,
                open_tool: None,
                leftovers,
                answers_written: None,
                cut_off: Vec::new(),
            };
            let analysis = None;
            act.step(id, &Event::AttemptEnded { attempt, end, analysis }, None, ctx);
        }));
    }
}
