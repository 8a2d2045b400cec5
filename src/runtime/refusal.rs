//! Why the runtime does not do what it is asked for.

use std::path::PathBuf;

use uuid::Uuid;

use crate::agent::environment::DEPTH_VARIABLE;
use crate::session::decide::Denied;
use crate::session::id::{QuestionId, Seq, SessionId};
use crate::session::kin::Excess;
use crate::session::request::InvalidRequest;
use crate::session::shown::Shown;
use crate::store::{StoreError, StoreRefusal, Unwritten};

/// The most sessions that are named to a person whose words mean several.
pub(super) const CANDIDATES_MAX: usize = 10;

/// Why a call was not carried out. A face adds what to do, where that depends on the face.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CallError {
    /// No session has this id or name, or digits that mean it.
    #[error("there is no session {0}")]
    NoSuchSession(String),
    /// Several sessions' ids end in this.
    #[error("{typed} means {count} sessions: give more digits")]
    AmbiguousId {
        /// The text that was typed.
        typed: String,
        /// The number of sessions that it means.
        count: usize,
    },
    /// Several sessions have this name, and it is not one of them alone that is live.
    #[error(
        "several sessions are called {name:?}: give the id of the one you mean, {}",
        listed_sessions(candidates)
    )]
    AmbiguousName {
        /// The text that was typed.
        name: String,
        /// Which they are and the state of each, those that are live first; the others may be more.
        candidates: Vec<(SessionId, Shown)>,
    },
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
    /// The settings keep sessions out of the directory.
    #[error("no session may work in {path}: `access.allowed_directories` allows {allowed}")]
    DirectoryNotAllowed {
        /// The directory.
        path: String,
        /// Where sessions may work.
        allowed: String,
    },
    /// The session has no such checkpoint.
    #[error("the session has no checkpoint {0}")]
    NoSuchCheckpoint(Seq),
    /// There is no conversation to go on with.
    #[error("{0}")]
    NoConversation(String),
    /// Another session works in this conversation.
    #[error("conversation {agent_session_id} belongs to the live session {}", owner.short())]
    Owned {
        /// The agent's own id of the conversation.
        agent_session_id: Uuid,
        /// Whose it is.
        owner: SessionId,
    },
    /// The caller's key was used before, with another call.
    #[error("the key {key:?} was used for session {}, which was asked for in other words: use a new key", owner.short())]
    KeyMismatch {
        /// The key.
        key: String,
        /// The session of that call.
        owner: SessionId,
    },
    /// An agent calls that is not served.
    #[error(transparent)]
    NotServed(#[from] NotServed),
    /// The wish is refused.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// What belongs to the session is still in use.
    #[error("something of session {} still runs ({} is held): end it first, or try again in a moment", session.short(), lock.display())]
    InUse {
        /// The session.
        session: SessionId,
        /// The lock that something holds.
        lock: PathBuf,
    },
    /// The output of its last agent is only in its spool.
    #[error("not all output of session {} is in its journal", .0.short())]
    NotJournalled(SessionId),
    /// Its files cannot be looked at or removed.
    #[error("the files of session {} cannot be removed: {why}", session.short())]
    FilesUnusable {
        /// The session.
        session: SessionId,
        /// The reason, in words for a person.
        why: String,
    },
    /// The session is removed, and its files are not.
    #[error("session {} is removed, but not all of its files ({why}): the rest is in {}", session.short(), directory.display())]
    FilesStay {
        /// The session.
        session: SessionId,
        /// The directory in which they lie.
        directory: PathBuf,
        /// Why they could not be removed.
        why: String,
    },
    /// Too many sessions wait already.
    #[error("{0} sessions wait already: let some finish, or raise `limits.queued_sessions_max`")]
    QueueFull(usize),
    /// What was asked waits for room on the disk.
    #[error(
        "this is not recorded yet, and takes effect by itself when the disk has room; if the daemon stops before that, ask \
         again: {0}"
    )]
    Delayed(StoreError),
    /// An earlier answer to the question waits for room on the disk.
    #[error(
        "question {0} has an answer that is not recorded yet, and which takes effect by itself when the disk has room; if \
         the daemon stops before that, answer again: {1}"
    )]
    AnswerDelayed(QuestionId, StoreError),
    /// The store refused.
    #[error(transparent)]
    Refused(StoreRefusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its journal says that it goes on, and it was not taken up when the daemon started.
    #[error("the beginning of session {}'s journal cannot be read, so it is left alone", .0.short())]
    LeftAlone(SessionId),
    /// The daemon is going down.
    #[error("the daemon is stopping: try again when it is back")]
    Stopping,
}

impl From<Unwritten> for CallError {
    fn from(error: Unwritten) -> Self {
        match error {
            Unwritten::Refused(StoreRefusal::NoSuchSession(id)) => Self::NoSuchSession(id.to_string()),
            Unwritten::Refused(refusal) => Self::Refused(refusal),
            Unwritten::Failed(error) => Self::Store(error),
        }
    }
}

impl From<Excess> for CallError {
    fn from(excess: Excess) -> Self {
        Self::Denied(excess.into())
    }
}

/// Why an agent is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    /// Nothing here has such a mark.
    #[error(
        "this call comes from inside an agent whose session is of another daemon, or is not known any more: call from \
         outside of that agent"
    )]
    Unknown,
    /// The attempt is over.
    #[error(
        "this call comes from a process that was started by the agent of session {}, which has ended: call from outside \
         of it",
        .0.short()
    )]
    Ended(SessionId),
    /// A person has not given it the tools.
    #[error(
        "this call comes from the agent of session {}, which was started without the tools of cc-executor", .0.short()
    )]
    NoTools(SessionId),
    /// It is not for agents, whatever they were given.
    #[error("an agent may not do this, and this call comes from that of session {}: leave it to a person", .0.short())]
    NotForAgents(SessionId),
    /// It does not say how many agents stand above it.
    #[error("{DEPTH_VARIABLE} is {0:?}, which is no number of agents: leave it as the agent has it")]
    NoDepth(String),
    /// The session is another's.
    #[error(
        "session {} was not asked for by the agent of session {}, and an agent answers and steers only sessions that it, \
         or one of them, has asked for",
        .of.short(), .by.short()
    )]
    NotKin {
        /// The session that the call is about.
        of: SessionId,
        /// The session whose agent calls.
        by: SessionId,
    },
}

/// Sessions to choose from, in the words of a person.
fn listed_sessions(candidates: &[(SessionId, Shown)]) -> String {
    let told = candidates.iter().map(|(id, state)| format!("{} ({state})", id.short()));
    let mut told = told.collect::<Vec<_>>().join(", ");
    if candidates.len() >= CANDIDATES_MAX {
        told.push_str(", …");
    }
    told
}
