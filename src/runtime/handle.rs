//! The only door into the runtime: cheap to clone, callable from any thread and any tokio runtime.

use std::fmt;
use std::sync::Arc;

use actix::Addr;
use jiff::Timestamp;

use self::intake::Asker;
use super::context::RuntimeContext;
use super::feed::{FeedReader, Feeds};
use super::messages::{Create, Get, Heard, List};
use super::metrics::Metrics;
use super::new_session::NewSession;
use super::projects;
use super::refusal::CallError;
use super::registry::Registry;
use super::settings::RuntimeSettings;
use super::supervisor::{ReplyReceiver, Supervisor, reply_channel};
use crate::session::id::{Seq, SessionId};
use crate::session::request::Claim;
use crate::session::summary::{Summary, WaitingFor};
use crate::store::{Filter, Health, Store, StoreError, StoredRecord};

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
pub use self::kin::CallingAgent;
pub use self::removal::{Gone, Sweep, SweepOf, Swept};

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
    pub(super) fn new(context: RuntimeContext, supervisor: Addr<Supervisor>, registry: Addr<Registry>) -> Self {
        let RuntimeContext {
            settings,
            store,
            feeds,
            metrics,
            ..
        } = context;
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
        let recent = blocking(move || store.find(&Filter::default(), before, limit)).await??;
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
    pub async fn records(&self, id: SessionId, after: Seq, limit: usize) -> Result<Vec<StoredRecord>, CallError> {
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
    ) -> Result<Vec<StoredRecord>, CallError> {
        let store = Arc::clone(&self.store);
        Ok(blocking(move || store.latest_of_kind(id, kind, before, limit)).await??)
    }

    /// Reads a session's stream: the records after `after`, then what happens.
    pub async fn stream(&self, id: SessionId, after: Seq) -> Result<FeedReader, CallError> {
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
    pub async fn stream_all(&self, after: Option<i64>) -> Result<FeedReader, CallError> {
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
        let feeds = Feeds::new(store.clone(), Arc::clone(&metrics))
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
