//! The actors: supervisor, executions, registry; and the feed. The only door in from outside is [`Handle`].
//!
//! The supervisor and the registry have a thread of their own; executions share as many threads as there are cores. The
//! store's writer thread tells [`Publisher`] of every commit, in commit order, and it tells the actors first and the
//! readers then: whoever reacts to what it is shown finds the actors knowing about it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{Semaphore, mpsc};

use self::context::RuntimeContext;
use self::execution::{AT_GIT_MAX, CONNECTING_MAX};
use self::feed::Feeds;
use self::messages::{Committed, Forget, HeldUp, Recover};
use self::metrics::Metrics;
use self::outside::{Outside, Threads};
use self::registry::{ENDED_KEPT_MAX, Registry};
use self::settings::RuntimeSettings;
use self::spools::Spools;
use self::supervisor::{FoundSession, Supervisor};
use crate::session::id::{Seq, SessionId};
use crate::session::journal::Entry;
use crate::session::summary::Summary;
use crate::store::{Commit, Filter, Journal, Observer, Shortage, Store, StoreError, Unwritten};

pub mod feed;
pub mod handle;
pub mod settings;
pub mod traces;

mod context;
mod execution;
mod family;
mod files;
mod git;
mod messages;
mod metrics;
mod new_session;
mod outside;
mod places;
mod projects;
mod refusal;
mod registry;
mod spans;
mod spools;
mod supervisor;
mod terms;
#[cfg(test)]
mod tests;

pub use self::handle::Handle;
pub use self::new_session::{EnvironmentBase, NewSession};
pub use self::refusal::{CallError, NotServed};

/// Passes every commit on: to the supervisor and the registry, then to the readers.
///
/// It is made before the store, which it observes, and learns of the actors when they start.
#[derive(Default)]
pub struct Publisher {
    runtime: OnceLock<Published>,
}

struct Published {
    supervisor: Addr<Supervisor>,
    registry: Addr<Registry>,
    feeds: Arc<Feeds>,
    metrics: Arc<Metrics>,
}

impl Observer for Publisher {
    fn committed(&self, commit: &Commit) {
        let Some(Published {
            supervisor,
            registry,
            feeds,
            metrics,
        }) = self.runtime.get()
        else {
            return;
        };
        supervisor.do_send(Committed(Arc::clone(&commit.summary)));
        registry.do_send(Committed(Arc::clone(&commit.summary)));
        feeds.publish(commit);
        metrics.committed(commit);
    }

    fn group_committed(&self, waited: Duration) {
        if let Some(published) = self.runtime.get() {
            published.metrics.group_committed(waited);
        }
    }

    fn went_on(&self, passed: &Shortage) {
        if let Some(published) = self.runtime.get() {
            published.supervisor.do_send(HeldUp(passed.clone()));
        }
    }

    fn removed(&self, session_id: SessionId) {
        if let Some(published) = self.runtime.get() {
            published.registry.do_send(Forget(session_id));
            published.feeds.forget(session_id);
        }
    }
}

/// The running actors.
pub struct Runtime {
    handle: Handle,
    fatal: mpsc::UnboundedReceiver<Unwritten>,
}

impl Runtime {
    /// Starts the actors on a store that `publisher` observes, and takes up the sessions that have not ended. Needs an
    /// actix system.
    pub fn start(settings: RuntimeSettings, store: Arc<dyn Store>, publisher: &Publisher) -> Result<Self, StoreError> {
        let outside = Outside::real(&settings);
        Self::start_on(Threads::new(), settings, outside, store, publisher)
    }

    fn start_on(
        threads: Threads,
        settings: RuntimeSettings,
        outside: Outside,
        store: Arc<dyn Store>,
        publisher: &Publisher,
    ) -> Result<Self, StoreError> {
        let found = find_live(&*store)?;
        let metrics = Arc::new(Metrics::new(found.iter().map(|found| &*found.summary)));
        let feeds = Arc::new(Feeds::new(store.clone(), Arc::clone(&metrics))?);
        let recent = store
            .find(&Filter::default(), None, ENDED_KEPT_MAX)?
            .into_iter()
            .map(Arc::new);
        let known: Vec<_> = recent
            .chain(found.iter().map(|found| Arc::clone(&found.summary)))
            .collect();
        let Threads { own, executions } = threads;
        let context = RuntimeContext {
            settings: Arc::new(settings),
            store,
            feeds: Arc::clone(&feeds),
            metrics: Arc::clone(&metrics),
            spools: Spools::start(&own),
            connecting: Arc::new(Semaphore::new(CONNECTING_MAX)),
            at_git: Arc::new(Semaphore::new(AT_GIT_MAX)),
            outside,
        };
        let registry = Registry::start_in_arbiter(&own, |_| Registry::holding(known));
        let (fatal_sender, fatal) = mpsc::unbounded_channel();
        let shared = context.clone();
        let supervisor =
            Supervisor::start_in_arbiter(&own, |_| Supervisor::new(shared, found, executions, fatal_sender));
        let published = Published {
            supervisor: supervisor.clone(),
            registry: registry.clone(),
            feeds,
            metrics,
        };
        if publisher.runtime.set(published).is_err() {
            return Err(StoreError::Failed("the runtime was started twice".to_owned()));
        }
        supervisor.do_send(Recover);
        Ok(Self {
            handle: Handle::new(context, supervisor, registry),
            fatal,
        })
    }

    /// The door.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until the store fails, after which nothing can be promised and the daemon must end.
    pub async fn failed(&mut self) -> Unwritten {
        self.fatal.recv().await.unwrap_or(Unwritten::Failed(StoreError::Closed))
    }
}

/// The sessions that have not ended, each with its request: rows and one look-up each, no history.
fn find_live(store: &dyn Store) -> Result<Vec<FoundSession>, StoreError> {
    let live = store.live()?.into_iter();
    let found: Result<Vec<_>, _> = live.map(|summary| with_request(store, summary)).collect();
    Ok(found?.into_iter().flatten().collect())
}

/// A session with its request; none where its first record cannot be read.
fn with_request(journal: &dyn Journal, summary: Summary) -> Result<Option<FoundSession>, StoreError> {
    let first = journal.records(summary.session_id, Seq::default(), 1)?;
    match first.first().map(|record| record.entry()) {
        Some(Ok(Entry::SessionCreated(created))) => Ok(Some(FoundSession {
            summary: Arc::new(summary),
            request: Arc::new(created.request.clone()),
        })),
        Some(Ok(_) | Err(_)) | None => {
            tracing::error!(session_id = %summary.session_id, "a session without a readable first record is left alone");
            Ok(None)
        }
    }
}
