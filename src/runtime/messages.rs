//! What the actors say to each other. A closed list: what can happen in the runtime is here.

use std::sync::Arc;

use actix::prelude::*;
use jiff::Timestamp;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::new_session::NewSession;
use super::refusal::CallError;
use crate::session::decide::Wish;
use crate::session::id::{Attempt, SessionId};
use crate::session::journal::AttemptEnd;
use crate::session::summary::Summary;
use crate::session::trust::Project;
use crate::store::{Shortage, Unwritten};

/// Where the answer to a call goes, once what it did is on disk.
pub(super) type Reply = oneshot::Sender<Result<Arc<Summary>, CallError>>;

/// To the supervisor, once everybody can hear of what it does: take up the work of the daemon before.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Recover;

/// To the supervisor: create a session.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Create {
    pub id: SessionId,
    pub new: NewSession,
    /// What the project starts by itself, unless it was trusted without a question.
    pub project: Option<Project>,
    /// Something for its journal to say.
    pub notice: Option<String>,
    pub reply: Reply,
}

/// To the supervisor: somebody wants something of a session.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Wanted {
    pub session: SessionId,
    pub wish: Wish,
    pub reply: Reply,
}

/// To the supervisor: asks if a session lives that a call of our own tools waits for. The agent of session `by` has made
/// the calls. Each one names a session, or waits for any session that this agent has asked for.
#[derive(Message)]
#[rtype(result = "bool")]
pub(super) struct IsAwaited {
    pub by: SessionId,
    pub awaited: Vec<Option<SessionId>>,
}

/// To the supervisor: whether no other live session works in this conversation, or will.
#[derive(Message)]
#[rtype(result = "Result<(), CallError>")]
pub(super) struct CheckOwner {
    pub session: SessionId,
    pub conversation: Uuid,
}

/// To the supervisor: answered when it has looked at every message that was sent before this one.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Heard;

/// To the supervisor and the registry, by the store's writer, before anybody is shown the commit.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Committed(pub Arc<Summary>);

/// To the supervisor, by an execution: something has happened to its attempt.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct OfAttempt {
    pub session: SessionId,
    pub attempt: Attempt,
    pub event: AttemptEvent,
}

/// Something that happens to an attempt.
pub(super) enum AttemptEvent {
    /// The agent has said its first word.
    AgentUp,
    /// It is known how things stand with the agent; one that has ended has last given a sign of life at this time.
    AgentFound { ended_after: Option<Timestamp> },
    /// The agent and what it left behind are gone, and all it wrote is journalled.
    Over(AttemptEnd),
    /// The execution is gone, for whatever reason; sent when it is dropped.
    ExecutionGone(Departure),
    /// The store failed, and nothing can be promised any more.
    StoreLost(Unwritten),
}

/// How an execution went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// Its work is done, or the journal took it for a ghost; the session's state tells which.
    Stopped,
    /// By a panic.
    Panicked,
    /// With the daemon, or because only another daemon can do its work.
    WithDaemon,
}

/// To the supervisor, by the store's writer: what these sessions had to write has waited for room on the disk.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct HeldUp(pub Shortage);

/// To the supervisor: look for free slots, and set the timer for the next deadline.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct LookAround;

/// To the supervisor: look at all deadlines.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct LookAtClocks;

/// To an execution: end the agent.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Stop;

/// To an execution: somebody else has written to the journal, which now stands as in this summary.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct JournalGrew(pub Arc<Summary>);

/// To the registry: all sessions it holds, newest first.
#[derive(Message)]
#[rtype(result = "Vec<Arc<Summary>>")]
pub(super) struct List;

/// To the registry, by the store's writer: this session is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Forget(pub SessionId);

/// To the registry: one session.
#[derive(Message)]
#[rtype(result = "Option<Arc<Summary>>")]
pub(super) struct Get(pub SessionId);
