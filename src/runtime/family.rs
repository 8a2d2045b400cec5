//! What the sessions below one have spent: those that its agent asked for, and those that theirs did.

use std::collections::BTreeSet;

use crate::session::amounts::money;
use crate::session::id::SessionId;
use crate::session::kin::committed;
use crate::session::summary::Summary;
use crate::store::{Catalogue, Filter, StoreError};

/// How many sessions are read at a time.
const PAGE_SESSIONS: usize = 500;

/// Sums over the sessions below one, in US dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Below {
    /// What they have spent.
    pub spent: f64,
    /// What they have spent, and what those that live may still spend.
    pub committed: f64,
}

/// Adds up the sessions below `session`. Only they are read, however many others there are.
pub(super) fn below(store: &dyn Catalogue, session: SessionId) -> Result<Below, StoreError> {
    sum(store, session, &mut BTreeSet::from([session]))
}

/// Adds up what is below `session`. Each session counts once, whatever the records say about who is above whom.
fn sum(store: &dyn Catalogue, session: SessionId, counted: &mut BTreeSet<SessionId>) -> Result<Below, StoreError> {
    let mut all = Below::default();
    for child in children(store, session)? {
        if !counted.insert(child.session_id) {
            continue;
        }
        let below = sum(store, child.session_id, counted)?;
        let spent = child.usage.cost_usd + below.spent;
        let is_live = child.lifecycle.state.outcome().is_none();
        let budget = child.limits.and_then(|limits| limits.max_budget_usd);
        all.spent += spent;
        all.committed += committed(budget, child.usage.cost_usd + below.committed, is_live);
    }
    Ok(Below {
        spent: money(all.spent),
        committed: money(all.committed),
    })
}

/// Sessions that the agent of `session` asked for.
fn children(store: &dyn Catalogue, session: SessionId) -> Result<Vec<Summary>, StoreError> {
    let filter = Filter {
        parent: Some(session),
        ..Filter::default()
    };
    let mut children: Vec<Summary> = Vec::new();
    loop {
        let before = children.last().map(|child| child.session_id);
        let page = store.find(&filter, before, PAGE_SESSIONS)?;
        if page.is_empty() {
            return Ok(children);
        }
        children.extend(page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::id::Attempt;
    use crate::session::journal::Entry;
    use crate::session::message::Usage;
    use crate::session::samples::created;
    use crate::store::memory::MemoryStore;
    use crate::store::{Append, Journal, on_disk};
    use jiff::Timestamp;
    use std::sync::Arc;

    async fn session(store: &MemoryStore, parent: Option<SessionId>, budget: Option<f64>, cost_usd: f64) -> SessionId {
        let id = SessionId::new();
        create(store, id, parent, budget, cost_usd).await;
        id
    }

    async fn create(store: &MemoryStore, id: SessionId, parent: Option<SessionId>, budget: Option<f64>, cost_usd: f64) {
        let mut created = created("t");
        created.request.parent = parent;
        created.request.max_budget_usd = budget;
        let at = Timestamp::UNIX_EPOCH;
        on_disk(store.create(id, created, at)).await.expect("it is kept");
        let usage = Usage {
            cost_usd,
            ..Usage::default()
        };
        let append = Append {
            session_id: id,
            attempt: Attempt::NONE,
            span: None,
            at,
            entries: vec![Entry::Usage(usage)],
        };
        on_disk(store.append(append)).await.expect("it is kept");
    }

    #[tokio::test]
    async fn what_is_below_is_added_up_and_the_budgets_of_live_sessions_are_promised() {
        let store = MemoryStore::new(Arc::new(()));
        let stranger = session(&store, None, None, 9.0).await;
        let top = session(&store, None, Some(10.0), 1.0).await;
        let child = session(&store, Some(top), Some(3.0), 0.5).await;
        session(&store, Some(child), Some(1.0), 0.25).await;
        session(&store, Some(top), None, 0.125).await;
        let sums = |spent, committed| Below { spent, committed };
        assert_eq!(below(&store, top).unwrap(), sums(0.875, 3.125));
        assert_eq!(below(&store, child).unwrap(), sums(0.25, 1.0));
        assert_eq!(below(&store, stranger).unwrap(), Below::default());
    }

    #[tokio::test]
    async fn a_family_of_many_pages_is_added_up_whole() {
        let store = MemoryStore::new(Arc::new(()));
        let top = session(&store, None, Some(1000.0), 0.0).await;
        for _ in 0..=PAGE_SESSIONS {
            session(&store, Some(top), None, 0.25).await;
        }
        let spent = 0.25 * (PAGE_SESSIONS as f64 + 1.0);
        assert_eq!(below(&store, top).unwrap().spent, spent);
    }

    #[tokio::test]
    async fn sessions_that_are_said_to_be_above_each_other_are_counted_once() {
        let store = MemoryStore::new(Arc::new(()));
        let (one, other) = (SessionId::new(), SessionId::new());
        create(&store, one, Some(other), None, 1.0).await;
        create(&store, other, Some(one), None, 2.0).await;
        assert_eq!(below(&store, one).unwrap().spent, 2.0);
        assert_eq!(below(&store, other).unwrap().spent, 1.0);
    }
}
