//! The only door into the runtime: cheap to clone, callable from any thread and any tokio runtime.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use actix::Addr;
use jiff::Timestamp;
use uuid::Uuid;

use self::intake::Asker;
use super::execution::Surroundings;
use super::feed::{Feeds, Reader};
use super::messages::{Create, Get, Heard, List};
use super::metrics::Metrics;
use super::projects;
use super::registry::Registry;
use super::settings::RuntimeSettings;
use super::supervisor::{ReplyReceiver, Supervisor, reply_channel};
use crate::session::id::{QuestionId, Seq, SessionId};
use crate::session::kin::Excess;
use crate::session::limits::BudgetSpent;
use crate::session::question::AnswerMismatch;
use crate::session::request::{Claim, InvalidRequest, Request};
use crate::session::shown::Shown;
use crate::session::state::Denied;
use crate::session::summary::{Summary, WaitingFor};
use crate::store::{Filter, Health, Store, StoreError, Stored};

mod conversations;
mod directories;
mod held_up;
mod intake;
mod kin;
mod meant;
mod removal;
mod steering;
mod trust;

pub use self::conversations::{Fork, Going, Handover};
pub use self::kin::{Agent, NotServed};
pub use self::removal::{Gone, Sweep, SweepOf, Swept};

/// Why a call was not carried out. A face adds what to do, where that depends on the face.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CallError {
    /// No session has this id or name, or digits that mean it.
    #[error("there is no session {0}")]
    NoSuchSession(String),
    /// Several sessions' ids end in this.
    #[error("{typed} means {count} sessions: give more digits")]
    AmbiguousId {
        /// What was typed.
        typed: String,
        /// How many it means.
        count: usize,
    },
    /// Several sessions have this name, and it is not one of them alone that is live.
    #[error(
        "several sessions are called {name:?}: give the id of the one you mean, {}",
        meant::listed(candidates)
    )]
    AmbiguousName {
        /// What was typed.
        name: String,
        /// Which they are and the state of each, those that are live first; the others may be more.
        candidates: Vec<(SessionId, Shown)>,
    },
    /// The session asked no such question.
    #[error("the session has no open question {0}")]
    NoSuchQuestion(QuestionId),
    /// Somebody was quicker.
    #[error("question {0} is already answered")]
    AlreadyAnswered(QuestionId),
    /// Nobody is told an answer any more.
    #[error("the session is being ended: its questions are not answered any more")]
    BeingEnded,
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
    /// An agent asks for more than its own session has.
    #[error(transparent)]
    Excess(#[from] Excess),
    /// The session's state does not allow it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The session has no money left to go on with.
    #[error(transparent)]
    BudgetSpent(#[from] BudgetSpent),
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
        /// Why not.
        why: String,
    },
    /// The session is removed, and its files are not.
    #[error("session {} is removed, but not all of its files ({why}): the rest is in {}", session.short(), directory.display())]
    FilesStay {
        /// The session.
        session: SessionId,
        /// Where they are.
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
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its journal says that it goes on, and it was not taken up when the daemon started.
    #[error("the beginning of session {}'s journal cannot be read, so it is left alone", .0.short())]
    LeftAlone(SessionId),
    /// The daemon is going down.
    #[error("the daemon is stopping: try again when it is back")]
    Stopping,
}

/// A request with what must not be journalled.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// What is asked for.
    pub request: Request,
    /// Variables for the agent; without them it gets the daemon's environment. Values are kept in a 0600 file of the
    /// session.
    pub env: Option<BTreeMap<String, String>>,
    /// The environment that `env` is added to.
    pub base: EnvironmentBase,
    /// Who asks, in words for a person: `cli`, `rest`, …
    pub by: String,
    /// The caller's key, under which there may be one session only.
    pub claim: Option<Claim>,
    /// The session whose agent asks, where one does: the new one gets no more than that has.
    pub asker: Option<SessionId>,
}

/// The environment that the variables of a request are added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvironmentBase {
    /// The daemon's environment, as it is when the request is accepted.
    Daemon,
    /// Nothing: the variables are the whole environment.
    Nothing,
}

/// The door.
#[derive(Clone)]
pub struct Handle {
    settings: Arc<RuntimeSettings>,
    store: Arc<dyn Store>,
    feeds: Arc<Feeds>,
    metrics: Arc<Metrics>,
    supervisor: Addr<Supervisor>,
    registry: Addr<Registry>,
    /// Held while a session is admitted that an agent asks for.
    admitting: Arc<tokio::sync::Mutex<()>>,
}

impl Handle {
    pub(super) fn new(surroundings: Surroundings, supervisor: Addr<Supervisor>, registry: Addr<Registry>) -> Self {
        let Surroundings {
            settings,
            store,
            feeds,
            metrics,
            ..
        } = surroundings;
        Self {
            settings,
            store,
            feeds,
            metrics,
            supervisor,
            registry,
            admitting: Arc::default(),
        }
    }

    /// Creates a session and puts it into the queue; answered when it is on disk.
    pub async fn create(&self, new: NewSession) -> Result<Arc<Summary>, CallError> {
        self.begin(SessionId::new(), new, None).await
    }

    /// Creates a session under this id, with something for its journal to say. Where nothing has begun under the id,
    /// what was prepared for it goes again.
    async fn begin(&self, id: SessionId, new: NewSession, notice: Option<String>) -> Result<Arc<Summary>, CallError> {
        let result = self.try_begin(id, new, notice).await;
        let may_have_begun = |error: &CallError| {
            use StoreError::{Closed, Failed};
            matches!(error, CallError::Stopping | CallError::Store(Failed(_) | Closed))
        };
        if result.as_ref().is_err_and(|error| !may_have_begun(error)) {
            let directory = self.settings.session_directory(id);
            // What cannot go is in nobody's way.
            let _ = blocking(move || std::fs::remove_dir_all(directory)).await?;
        }
        result
    }

    async fn try_begin(
        &self,
        id: SessionId,
        mut new: NewSession,
        notice: Option<String>,
    ) -> Result<Arc<Summary>, CallError> {
        self.check_room()?;
        // Nothing is prepared on the disk for a session that nobody begins.
        if !self.supervisor.connected() {
            return Err(CallError::Stopping);
        }
        kin::take_depth(&mut new)?;
        let asker = self.asker_of(&new).await?;
        let _turn = self.turn_of(asker).await;
        let asker = match asker {
            Some(by) => Asker {
                asks: self.admit(by, id, &mut new).await?,
                declined: projects::declined_by(&*self.get(by).await?),
            },
            None => Asker::default(),
        };
        new.request.max_budget_usd = new.request.max_budget_usd.or(self.settings.max_budget_usd);
        new.request.check()?;
        let settings = Arc::clone(&self.settings);
        let (request, env) = (new.request.clone(), new.environment());
        new.env = None;
        let taken = blocking(move || intake::take_in(&settings, id, &request, env, &asker)).await??;
        let project = taken.put_into(&mut new.request);
        let (reply, answer) = reply_channel();
        self.supervisor.do_send(Create {
            id,
            new,
            project,
            notice,
            reply,
        });
        answer.await.unwrap_or(Err(CallError::Stopping))
    }

    /// Nothing is admitted that could not be written down.
    fn check_room(&self) -> Result<(), StoreError> {
        self.store.health().borrow().refusal().map_or(Ok(()), Err)
    }

    /// The answer of the supervisor to what needs a record of this session; while that waits for room on the disk the
    /// caller is not kept waiting too.
    async fn written(&self, id: SessionId, answer: ReplyReceiver) -> Result<Arc<Summary>, CallError> {
        // A refusal needs no record: it is there as soon as the supervisor has looked.
        self.supervisor.send(Heard).await.ok();
        let mut health = self.store.health();
        tokio::select! {
            biased;
            answer = answer => answer.unwrap_or(Err(CallError::Stopping)),
            Ok(full) = health.wait_for(|health| health.holds_up(id).is_some()) => {
                Err(full.refusal().map_or(CallError::Stopping, CallError::Delayed))
            }
        }
    }

    fn shown(&self, summaries: Vec<Arc<Summary>>) -> Vec<Arc<Summary>> {
        let health = self.store.health();
        let health = health.borrow();
        summaries.into_iter().map(|summary| shown(&health, summary)).collect()
    }

    /// Sessions that have not ended and those that ended lately, newest first; answered from memory by the registry.
    pub async fn list(&self) -> Result<Vec<Arc<Summary>>, CallError> {
        let found = self.registry.send(List).await.map_err(|_| CallError::Stopping)?;
        Ok(self.shown(found))
    }

    /// Any sessions, newest first, created before `before`; read from the store.
    pub async fn recent(&self, before: Option<SessionId>, limit: usize) -> Result<Vec<Arc<Summary>>, CallError> {
        let store = Arc::clone(&self.store);
        let recent = blocking(move || store.recent(before, limit)).await??;
        Ok(self.shown(recent.into_iter().map(Arc::new).collect()))
    }

    /// Sessions that fit the filter, newest first, created before `before`; read from the store.
    pub async fn find(
        &self,
        filter: Filter,
        before: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Arc<Summary>>, CallError> {
        let held_up = self.held_up(&filter, before).await?;
        let store = Arc::clone(&self.store);
        let found = blocking(move || store.find(&filter, before, limit)).await??;
        let found = self.shown(found.into_iter().map(Arc::new).collect());
        Ok(held_up::newest(found, held_up, limit))
    }

    /// The session that this very call has created before, if it has.
    pub async fn claimed(&self, claim: &Claim) -> Result<Option<Arc<Summary>>, CallError> {
        let (store, caller, key) = (Arc::clone(&self.store), claim.caller.clone(), claim.key.clone());
        let Some(owner) = blocking(move || store.claimed(&caller, &key)).await?? else {
            return Ok(None);
        };
        let summary = self.get(owner).await?;
        if summary.claim.as_ref().is_some_and(|kept| kept.digest == claim.digest) {
            return Ok(Some(summary));
        }
        let key = claim.key.clone();
        Err(CallError::KeyMismatch { key, owner })
    }

    /// A random text made when the database was made: cursors of another database mean nothing here.
    pub fn epoch(&self) -> &str {
        self.store.epoch()
    }

    /// One session.
    pub async fn get(&self, id: SessionId) -> Result<Arc<Summary>, CallError> {
        if let Some(summary) = self.registry.send(Get(id)).await.map_err(|_| CallError::Stopping)? {
            return Ok(shown(&self.store.health().borrow(), summary));
        }
        let store = Arc::clone(&self.store);
        let found = blocking(move || store.summary(id)).await??;
        found
            .map(Arc::new)
            .ok_or_else(|| CallError::NoSuchSession(id.to_string()))
    }

    /// At most `limit` records after `after`.
    pub async fn records(&self, id: SessionId, after: Seq, limit: usize) -> Result<Vec<Stored>, CallError> {
        self.get(id).await?;
        let store = Arc::clone(&self.store);
        Ok(blocking(move || store.records(id, after, limit)).await??)
    }

    /// At most `limit` records of one kind before the record `before`, the latest first; cheap however long the journal.
    pub async fn latest_of_kind(
        &self,
        id: SessionId,
        kind: &'static str,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Stored>, CallError> {
        let store = Arc::clone(&self.store);
        Ok(blocking(move || store.latest_of_kind(id, kind, before, limit)).await??)
    }

    /// Reads a session's stream: the records after `after`, then what happens.
    pub async fn stream(&self, id: SessionId, after: Seq) -> Result<Reader, CallError> {
        let has_ended = |summary: &Summary| summary.lifecycle.state.outcome().is_some();
        let before = self.get(id).await?;
        let reader = self.feeds.read(id, after, before.head, has_ended(&before));
        // A session that ended in between has shown its end on a feed that is gone. The registry is told before the
        // readers are, so it knows by now.
        let now = self.get(id).await?;
        if has_ended(&before) || !has_ended(&now) {
            return Ok(reader);
        }
        drop(reader);
        Ok(self.feeds.read(id, after, now.head, true))
    }

    /// What was counted so far and how things stand, in the text format of OpenMetrics; `readers` is how many streams
    /// are read.
    pub async fn metrics(&self, readers: usize) -> Result<String, CallError> {
        let sessions = self.list().await?;
        Ok(self.metrics.render(&sessions, readers, Timestamp::now()))
    }

    /// Reads the stream over all sessions: the records with ids above `after`, or only what happens from now on.
    /// It has no deltas and does not end.
    pub async fn stream_all(&self, after: Option<i64>) -> Result<Reader, CallError> {
        Ok(self.feeds.read_all(after))
    }
}

#[cfg(test)]
impl Handle {
    /// A handle whose actors are gone: every call that needs one is answered with [`CallError::Stopping`].
    pub(crate) fn stopped() -> Self {
        use crate::store::memory::MemoryStore;
        use actix::{AsyncContext, Context};

        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(super::Publisher::default())));
        let metrics = Arc::new(Metrics::new([]));
        let feeds = Feeds::new(Arc::clone(&store), Arc::clone(&metrics))
            .map(Arc::new)
            .expect("an empty store can be read");
        let settings = Arc::new(RuntimeSettings::for_tests());
        let supervisor = Context::<Supervisor>::new().address();
        let registry = Context::<Registry>::new().address();
        Self {
            settings,
            store,
            feeds,
            metrics,
            supervisor,
            registry,
            admitting: Arc::default(),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// A session as it is shown: one that has something to write for which there is no room is paused, and says so.
fn shown(health: &Health, summary: Arc<Summary>) -> Arc<Summary> {
    let Some(shortage) = health.holds_up(summary.session_id) else {
        return summary;
    };
    let mut summary = Arc::unwrap_or_clone(summary);
    summary.waiting_for = WaitingFor::Room;
    summary.note = Some(shortage.refusal().to_string());
    Arc::new(summary)
}

/// Runs what reads or writes files off the caller's thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, CallError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| CallError::Stopping)
}
