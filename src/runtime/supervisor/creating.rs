//! New sessions: until its creation is on disk, a session is known by what others may ask about it meanwhile.

use std::sync::Arc;

use actix::prelude::*;
use uuid::Uuid;

use super::{SupervisedSession, Supervisor, answer_call, conversations};
use crate::runtime::messages::{Create, Wanted};
use crate::runtime::spans::span_of;
use crate::session::decide::Effect;
use crate::session::id::Attempt;
use crate::session::journal::Created;
use crate::store::{StoreError, StoreRefusal, Unwritten, on_disk};

/// What is known of a session before its creation is on disk.
pub(super) struct Creating {
    /// The conversation that it takes over.
    pub conversation: Option<Uuid>,
    /// Calls that wait for it.
    pub wanted: Vec<Wanted>,
}

impl Handler<Create> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: Create, ctx: &mut Self::Context) {
        self.create(message, ctx);
    }
}

impl Supervisor {
    fn create(&mut self, message: Create, ctx: &mut Context<Self>) {
        let Create {
            id,
            new,
            project,
            notice,
            reply,
        } = message;
        let conversation = conversations::taken_over(&new.request);
        let allowed = self.check_queue().and_then(|()| self.check_owner(id, conversation));
        if let Err(error) = allowed {
            return answer_call(Some(reply), Err(error));
        }
        let created = Created {
            request: new.request,
            by: new.by,
            claim: new.claim,
            project: project.map(Box::new),
        };
        let request = Arc::new(created.request.clone());
        let wanted = Vec::new();
        self.creating.insert(id, Creating { conversation, wanted });
        let acknowledgement = self.context.store.create(id, created, self.now());
        ctx.spawn(on_disk(acknowledgement).into_actor(self).map(move |result, act, ctx| {
            let begun = act.creating.remove(&id);
            for wanted in begun.into_iter().flat_map(|begun| begun.wanted) {
                // Behind what follows here.
                ctx.notify(wanted);
            }
            // Somebody was quicker with the same key, or it is the first to find the disk full: nothing has begun, and
            // nothing is wrong with the store.
            if let Err(
                error
                @ (Unwritten::Refused(StoreRefusal::KeyTaken(_)) | Unwritten::Failed(StoreError::DiskFull { .. })),
            ) = result
            {
                return answer_call(Some(reply), Err(error.into()));
            }
            if let Ok(commit) = &result {
                tracing::info!(parent: &span_of(id, Attempt::NONE), name = %commit.summary.name, "session created");
                act.sessions
                    .insert(id, SupervisedSession::new(request, Arc::clone(&commit.summary)));
                let without = commit.summary.starts_without_project();
                for text in notice.into_iter().chain(without) {
                    act.write_notice(id, text);
                }
            }
            act.stepped(id, result, &[Effect::Enqueue], Some(reply), ctx);
        }));
    }
}
