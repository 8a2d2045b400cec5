//! What people, agents and programs want of sessions. An ended session is taken from the store again.

use std::sync::Arc;

use actix::prelude::*;

use super::{FoundSession, SupervisedSession, Supervisor, answer_call};
use crate::agent::wire::encode;
use crate::agent_host::protocol::LINE_BYTES_MAX;
use crate::runtime::messages::{Heard, Wanted};
use crate::runtime::refusal::CallError;
use crate::session::decide::{Denied, Event};
use crate::session::grant::Grant;
use crate::session::id::SessionId;
use crate::session::question::{Answer, AnswerMismatch, Question};
use crate::session::summary::Summary;
use crate::store::{Shortage, Store};

impl Handler<Wanted> for Supervisor {
    type Result = ();

    fn handle(&mut self, wanted: Wanted, ctx: &mut Self::Context) {
        if let Some(creating) = self.creating.get_mut(&wanted.session) {
            // Whoever heard of a new session by a stream may be quicker than its creation is here.
            return creating.wanted.push(wanted);
        }
        let Wanted { session, wish, reply } = wanted;
        let event = Event::Wish(wish);
        if self.sessions.contains_key(&session) {
            return self.step(session, &event, Some(reply), ctx);
        }
        let store = Arc::clone(&self.context.store);
        let looking = tokio::task::spawn_blocking(move || look_up(&*store, session));
        ctx.spawn(looking.into_actor(self).map(move |found, act, ctx| {
            let found = found.unwrap_or(Err(CallError::Stopping));
            match found.and_then(|found| act.take_up(session, found, &event)) {
                Ok(None) => act.step(session, &event, Some(reply), ctx),
                Ok(Some(unchanged)) => answer_call(Some(reply), Ok(unchanged)),
                Err(error) => answer_call(Some(reply), Err(error)),
            }
        }));
    }
}

impl Handler<Heard> for Supervisor {
    type Result = ();

    fn handle(&mut self, Heard: Heard, _: &mut Self::Context) -> Self::Result {}
}

impl Supervisor {
    /// Holds an ended session again for something that changes it. Returns the session if it stays as it is.
    fn take_up(
        &mut self,
        id: SessionId,
        found: FoundSession,
        event: &Event,
    ) -> Result<Option<Arc<Summary>>, CallError> {
        // Somebody may have resumed it meanwhile.
        if self.sessions.contains_key(&id) {
            return Ok(None);
        }
        let session = SupervisedSession::new(found.request, found.summary);
        if session.life.state.outcome().is_none() {
            return Err(CallError::LeftAlone(id));
        }
        let decision = session.decide(event, &self.context.settings.restart, self.now())?;
        if decision.entries.is_empty() {
            return Ok(Some(session.summary));
        }
        self.check_queue()?;
        self.check_owner(id, session.life.agent_session_id)?;
        self.sessions.insert(id, session);
        Ok(None)
    }

    /// The refusal of a wish. An earlier answer may still wait for room on the disk.
    pub(super) fn refusal(&self, session: &SupervisedSession, denied: Denied) -> CallError {
        match denied {
            Denied::AlreadyAnswered(question) if session.answering.contains(&question) => {
                let health = self.context.store.health();
                let full = health
                    .borrow()
                    .holds_up(session.summary.session_id)
                    .map(Shortage::refusal);
                full.map_or(denied.into(), |full| CallError::AnswerDelayed(question, full))
            }
            denied => denied.into(),
        }
    }
}

/// A session as its journal has it.
fn look_up(store: &dyn Store, id: SessionId) -> Result<FoundSession, CallError> {
    let summary = store.summary(id)?;
    let summary = summary.ok_or_else(|| CallError::NoSuchSession(id.to_string()))?;
    crate::runtime::with_request(store, summary)?.ok_or(CallError::LeftAlone(id))
}

/// Errors if an answer is too long for a line to the agent.
pub(super) fn check_length(question: &Question, answer: &Answer, granted: &[Grant]) -> Result<(), AnswerMismatch> {
    let bytes = encode::answer(question, answer, granted).len();
    let bytes_max = LINE_BYTES_MAX - 1;
    match bytes <= bytes_max {
        true => Ok(()),
        false => Err(AnswerMismatch::Long { bytes, bytes_max }),
    }
}
