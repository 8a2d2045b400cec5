//! Sessions that go on by hand: an ended one is taken from the store again, and one conversation has one live session.

use std::sync::Arc;

use actix::prelude::*;
use uuid::Uuid;

use super::{Found, Session, Supervisor, answer_call};
use crate::runtime::messages::{CheckOwner, Resume};
use crate::runtime::refusal::CallError;
use crate::session::id::{Attempt, SessionId};
use crate::session::journal::{Input, Resumed, Text};
use crate::session::limits::Limits;
use crate::session::message::InputState;
use crate::session::outcome::Outcome;
use crate::session::request::{OriginHow, Request};
use crate::session::state::{Event, State, decide};
use crate::session::summary::Summary;

impl Handler<Resume> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: Resume, ctx: &mut Self::Context) {
        if self.sessions.contains_key(&message.session) {
            return self.resume_held(message, ctx);
        }
        let (store, id) = (Arc::clone(&self.context.store), message.session);
        let loading = tokio::task::spawn_blocking(move || {
            let summary = store.summary(id)?;
            summary
                .map(|summary| crate::runtime::with_request(&*store, summary))
                .transpose()
        });
        ctx.spawn(loading.into_actor(self).map(move |found, act, ctx| match found {
            Ok(Ok(Some(Some(found)))) => act.resume_found(message, found, ctx),
            Ok(Ok(_)) => answer_call(Some(message.reply), Err(CallError::NoSuchSession(id.to_string()))),
            Ok(Err(error)) => answer_call(Some(message.reply), Err(error.into())),
            Err(_) => answer_call(Some(message.reply), Err(CallError::Stopping)),
        }));
    }
}

impl Supervisor {
    /// Holds the session again and resumes it, unless somebody was quicker or nothing speaks for it.
    fn resume_found(&mut self, message: Resume, found: Found, ctx: &mut Context<Self>) {
        let id = message.session;
        if self.sessions.contains_key(&id) {
            return self.resume_held(message, ctx);
        }
        let event = match resume_event(&message, &found.request, &found.summary) {
            Ok(event) => event,
            Err(error) => return answer_call(Some(message.reply), Err(error)),
        };
        let policy = &self.context.settings.restart;
        let allowed = decide(&found.summary.lifecycle, &event, policy, self.now(), 0.0).map_err(CallError::from);
        let allowed = allowed
            .and_then(|_| self.check_queue())
            .and_then(|()| self.check_owner(id, found.summary.lifecycle.agent_session_id));
        if let Err(error) = allowed {
            return answer_call(Some(message.reply), Err(error));
        }
        self.sessions.insert(id, Session::new(found.request, found.summary));
        self.step(id, &event, Some(message.reply), ctx);
    }

    /// The session lives, which the decision says, or its end is just on its way to the disk.
    fn resume_held(&mut self, message: Resume, ctx: &mut Context<Self>) {
        let Some(session) = self.sessions.get(&message.session) else {
            return;
        };
        match resume_event(&message, &session.request, &session.summary) {
            Ok(event) => self.step(message.session, &event, Some(message.reply), ctx),
            Err(error) => answer_call(Some(message.reply), Err(error)),
        }
    }

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

impl Session {
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

/// The resume as an event, with the limits that are in force after it.
fn resume_event(message: &Resume, request: &Request, summary: &Summary) -> Result<Event, CallError> {
    let spent = summary.usage.cost_usd;
    let limits = match summary.limits_in_force(request).renewed(message.limits, spent) {
        Ok(limits) => limits,
        Err(error) if is_resumable(&summary.lifecycle.state) => return Err(error.into()),
        // The state is the better reason, and the decision says it.
        Err(_) => Limits::default(),
    };
    let at = message.at.as_ref();
    // Cut back, a session has no right that it did not have at that point.
    let terms = at.map(|at| {
        let (now, then) = (&at.now.terms, &at.then.terms);
        Box::new(now.narrowed_to(then, request.asked_mode()))
    });
    let resumed = Resumed {
        by: message.by.clone(),
        instruction: message.instruction.clone(),
        at: at.map(|at| at.seq),
        message: at.map(|at| at.message),
        terms,
        limits: Some(limits),
    };
    // Without an instruction the agent goes on with what was cut short, or is asked to when it is greeted.
    let input = message.instruction.clone().map(|text| Input {
        uuid: Uuid::new_v4(),
        state: InputState::Sent,
        text: Some(text),
    });
    let notices = [at.and_then(|at| at.notice.clone()), limits.granted(spent)];
    let notices = notices.into_iter().flatten().map(|text| Text { text }).collect();
    Ok(Event::Resume {
        resumed,
        input,
        notices,
    })
}

fn is_resumable(state: &State) -> bool {
    state.outcome().is_some_and(|outcome| outcome != Outcome::Completed)
}
