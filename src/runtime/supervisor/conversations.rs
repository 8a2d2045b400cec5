//! The conversations of sessions: each has one live session, and a new session has a place in the queue.

use actix::prelude::*;
use uuid::Uuid;

use super::{SupervisedSession, Supervisor};
use crate::runtime::messages::CheckOwner;
use crate::runtime::refusal::CallError;
use crate::session::id::{Attempt, SessionId};
use crate::session::request::{OriginHow, Request};

impl Supervisor {
    /// Whether one more session may wait.
    pub(super) fn check_queue(&self) -> Result<(), CallError> {
        let waiting = self.queue.len() + self.creating.len();
        if waiting >= self.context.settings.queued_sessions_max {
            return Err(CallError::QueueFull(waiting));
        }
        Ok(())
    }

    /// Whether no other live session works in this conversation: agents do not notice each other, and the one that
    /// writes last would win.
    pub(super) fn check_owner(&self, id: SessionId, conversation: Option<Uuid>) -> Result<(), CallError> {
        let Some(conversation) = conversation else {
            return Ok(());
        };
        let held = self
            .sessions
            .iter()
            .map(|(other, session)| (*other, session.conversation()));
        let creating = self
            .creating
            .iter()
            .map(|(other, creating)| (*other, creating.conversation));
        let mut others = held.chain(creating).filter(|(other, _)| *other != id);
        match others.find(|(_, works_in)| *works_in == Some(conversation)) {
            Some((owner, _)) => Err(CallError::Owned {
                agent_session_id: conversation,
                owner,
            }),
            None => Ok(()),
        }
    }
}

impl Handler<CheckOwner> for Supervisor {
    type Result = Result<(), CallError>;

    fn handle(&mut self, message: CheckOwner, _: &mut Self::Context) -> Self::Result {
        self.check_owner(message.session, Some(message.conversation))
    }
}

impl SupervisedSession {
    /// The id of the conversation that a next attempt begins, should there be none to go on with. The first one is
    /// named like its session, so that a person finds one by the other, unless it is one that was begun outside.
    pub(super) fn fresh_conversation(&self) -> Uuid {
        if self.life.attempt != Attempt::NONE {
            return Uuid::new_v4();
        }
        taken_over(&self.request).unwrap_or(self.summary.session_id.uuid())
    }

    /// The conversation it works in, or will.
    fn conversation(&self) -> Option<Uuid> {
        let first = || taken_over(&self.request).filter(|_| self.life.attempt == Attempt::NONE);
        self.life.agent_session_id.or_else(first)
    }
}

/// The conversation that a session goes on with though it was begun outside.
pub(super) fn taken_over(request: &Request) -> Option<Uuid> {
    let origin = request.origin.as_ref().filter(|origin| origin.how == OriginHow::Import);
    origin.map(|origin| origin.agent_session_id)
}
