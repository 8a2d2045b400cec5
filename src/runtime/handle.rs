//! The only door into the runtime: cheap to clone, callable from any thread and any tokio runtime.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::session::id::{QuestionId, Seq, SessionId};
use crate::session::question::{Answer, AnswerMismatch};
use crate::session::request::{InvalidRequest, Request};
use crate::session::state::Denied;
use crate::session::summary::Summary;
use crate::store::{StoreError, Stored};

use super::feed::Reader;

/// Why a call was not carried out; each says what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No session has this id, or none ends in it.
    #[error("there is no session {0}: `cc-executor ls --all` lists them")]
    NoSuchSession(String),
    /// Several sessions' ids end in this.
    #[error("{typed} means {count} sessions: give more digits")]
    AmbiguousId {
        /// What was typed.
        typed: String,
        /// How many it means.
        count: usize,
    },
    /// The session asked no such question.
    #[error("the session has no open question {0}")]
    NoSuchQuestion(QuestionId),
    /// Somebody was quicker.
    #[error("question {0} is already answered")]
    AlreadyAnswered(QuestionId),
    /// The answer does not fit.
    #[error(transparent)]
    AnswerMismatch(#[from] AnswerMismatch),
    /// The request is not acceptable.
    #[error(transparent)]
    InvalidRequest(#[from] InvalidRequest),
    /// The directory does not exist or is none.
    #[error("cannot run in {path}: {why}")]
    BadDirectory {
        /// The directory.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The session's state does not allow it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Too many sessions wait already.
    #[error("{0} sessions wait already: let some finish, or raise `limits.queued_sessions_max`")]
    QueueFull(usize),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The daemon is going down.
    #[error("the daemon is stopping: try again when it is back")]
    Stopping,
}

/// A request with what must not be journalled.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// What is asked for.
    pub request: Request,
    /// The agent's environment; none for the daemon's own. Values are kept in a 0600 file of the session.
    pub env: Option<BTreeMap<String, String>>,
    /// Who asks, in words for a person: `cli`, `rest`, …
    pub by: String,
}

/// The door.
#[derive(Clone, Debug)]
pub struct Handle {}

impl Handle {
    /// Creates a session and puts it into the queue; answered when it is on disk.
    pub async fn create(&self, _new: NewSession) -> Result<Arc<Summary>, CallError> {
        Err(CallError::Stopping)
    }

    /// Sessions that have not ended and those that ended lately, newest first; answered from memory by the registry.
    pub async fn list(&self) -> Result<Vec<Arc<Summary>>, CallError> {
        Err(CallError::Stopping)
    }

    /// Any sessions, newest first, created before `before`; read from the store.
    pub async fn recent(&self, _before: Option<SessionId>, _limit: usize) -> Result<Vec<Arc<Summary>>, CallError> {
        Err(CallError::Stopping)
    }

    /// One session.
    pub async fn get(&self, _id: SessionId) -> Result<Arc<Summary>, CallError> {
        Err(CallError::Stopping)
    }

    /// The session a person means by a whole id or by its last digits (at least four).
    pub async fn resolve(&self, _typed: &str) -> Result<SessionId, CallError> {
        Err(CallError::Stopping)
    }

    /// At most `limit` records after `after`.
    pub async fn records(&self, _id: SessionId, _after: Seq, _limit: usize) -> Result<Vec<Stored>, CallError> {
        Err(CallError::Stopping)
    }

    /// Cancels a session; answered when that is on disk. A repeated cancel is accepted quietly.
    pub async fn cancel(&self, _id: SessionId, _by: String) -> Result<Arc<Summary>, CallError> {
        Err(CallError::Stopping)
    }

    /// Answers a question; answered when that is on disk. The first answer wins.
    pub async fn answer(
        &self,
        _id: SessionId,
        _question: QuestionId,
        _answer: Answer,
        _by: String,
    ) -> Result<Arc<Summary>, CallError> {
        Err(CallError::Stopping)
    }

    /// Reads a session's stream: the records after `after`, then what happens.
    pub async fn stream(&self, _id: SessionId, _after: Seq) -> Result<Reader, CallError> {
        Err(CallError::Stopping)
    }

    /// Reads the stream over all sessions: the records with ids above `after`, or only what happens from now on.
    /// It has no deltas and does not end.
    pub async fn stream_all(&self, _after: Option<i64>) -> Result<Reader, CallError> {
        Err(CallError::Stopping)
    }
}
