//! What the actors share: settings, store, feeds, and what bounds the work of many at once.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::feed::Feeds;
use super::metrics::Metrics;
use super::outside::Outside;
use super::settings::RuntimeSettings;
use super::spools::Spools;
use crate::store::Store;

/// What the actors share.
#[derive(Clone)]
pub(super) struct RuntimeContext {
    pub settings: Arc<RuntimeSettings>,
    pub store: Arc<dyn Store>,
    pub feeds: Arc<Feeds>,
    pub metrics: Arc<Metrics>,
    pub spools: Arc<Spools>,
    /// How many executions may be connecting at once: a daemon that comes back to a thousand agents stays responsive.
    pub connecting: Arc<Semaphore>,
    /// How many executions may be looking at git repositories at once, each with a process of git's.
    pub at_git: Arc<Semaphore>,
    pub outside: Outside,
}
