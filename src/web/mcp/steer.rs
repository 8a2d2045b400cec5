//! What clients of MCP change: each change goes through the handle, and into the audit log.

use std::sync::Arc;

use super::caller::McpCaller;
use super::services::Services;
use crate::runtime::Handle;
use crate::runtime::handle::Going;
use crate::runtime::{CallError, NewSession};
use crate::session::id::{QuestionId, SessionId};
use crate::session::limits::Limits;
use crate::session::question::Answer;
use crate::session::summary::Summary;
use crate::web::access::Face;
use crate::web::access::audit::Audit;
use crate::web::access::entry::{AuditEntry, CallOutcome};

type SteerResult = Result<Arc<Summary>, CallError>;

impl Services {
    /// Creates a session.
    pub(super) async fn create(&self, caller: &McpCaller, new: NewSession) -> SteerResult {
        let outcome = self.handle.create(new).await;
        self.note(caller, "create", None, outcome).await
    }

    /// Goes on with a session that has ended.
    pub(super) async fn resume(
        &self,
        caller: &McpCaller,
        session: SessionId,
        instruction: Option<String>,
        limits: Limits,
    ) -> SteerResult {
        let going = Going {
            instruction,
            at: None,
            limits,
        };
        let by = caller.by.clone();
        let outcome = self.handle.resume(caller.asker(), session, going, by).await;
        self.note(caller, "resume", Some(session), outcome).await
    }

    /// Answers a question.
    pub(super) async fn answer(
        &self,
        caller: &McpCaller,
        session: SessionId,
        question: QuestionId,
        answer: Answer,
    ) -> SteerResult {
        let (asker, by) = (caller.asker(), caller.by.clone());
        let outcome = self.handle.answer(asker, session, question, answer, by).await;
        self.note(caller, "answer", Some(session), outcome).await
    }

    /// Cancels a session.
    pub(super) async fn cancel(&self, caller: &McpCaller, session: SessionId) -> SteerResult {
        self.steering().cancel(caller, session).await
    }

    /// What can still change something when the call is over.
    pub(super) fn steering(&self) -> Steering {
        Steering {
            handle: self.handle.clone(),
            audit: self.audit.clone(),
        }
    }

    async fn note(
        &self,
        caller: &McpCaller,
        what: &str,
        session: Option<SessionId>,
        changed: SteerResult,
    ) -> SteerResult {
        note(&self.audit, caller, what, session, &changed).await;
        changed
    }
}

/// Outlives the call that it was taken from.
pub(super) struct Steering {
    handle: Handle,
    audit: Audit,
}

impl Steering {
    /// Cancels a session.
    pub(super) async fn cancel(&self, caller: &McpCaller, session: SessionId) -> SteerResult {
        let changed = self.handle.cancel(caller.asker(), session, caller.by.clone()).await;
        note(&self.audit, caller, "cancel", Some(session), &changed).await;
        changed
    }
}

async fn note(audit: &Audit, caller: &McpCaller, what: &str, session: Option<SessionId>, changed: &SteerResult) {
    let Some(signed_in) = &caller.signed_in else { return };
    let outcome = match changed {
        Ok(_) => CallOutcome::Done,
        Err(CallError::Store(_) | CallError::Stopping) => CallOutcome::Failed,
        Err(_) => CallOutcome::Refused,
    };
    let session = session.or_else(|| changed.as_ref().ok().map(|summary| summary.session_id));
    let entry = AuditEntry::now(signed_in, Face::Mcp, "MCP", what, outcome);
    audit.note(entry.about(session)).await;
}
