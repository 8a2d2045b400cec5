//! What the sessions below one have spent: those that its agent asked for, and those that theirs did.

use std::collections::BTreeMap;

use crate::session::amounts::money;
use crate::session::id::SessionId;
use crate::session::kin::committed;
use crate::session::summary::Summary;
use crate::store::{Store, StoreError};

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

/// Adds up the sessions below `session`. They were created after it, so only those are read.
pub(super) fn below(store: &dyn Store, session: SessionId) -> Result<Below, StoreError> {
    let mut children: BTreeMap<SessionId, Vec<Summary>> = BTreeMap::new();
    let mut before = None;
    loop {
        let page = store.recent(before, PAGE_SESSIONS)?;
        let Some(last) = page.last() else { break };
        before = Some(last.session_id);
        let is_last = last.session_id <= session;
        for summary in page {
            if let Some(parent) = summary.parent {
                children.entry(parent).or_default().push(summary);
            }
        }
        if is_last {
            break;
        }
    }
    Ok(sum(&mut children, session))
}

/// Each session is counted once, whatever the records say about who is above whom.
fn sum(children: &mut BTreeMap<SessionId, Vec<Summary>>, session: SessionId) -> Below {
    let mut all = Below::default();
    for child in children.remove(&session).unwrap_or_default() {
        let below = sum(children, child.session_id);
        let spent = child.usage.cost_usd + below.spent;
        let is_live = child.lifecycle.state.outcome().is_none();
        let budget = child.limits.and_then(|limits| limits.max_budget_usd);
        all.spent += spent;
        all.committed += committed(budget, child.usage.cost_usd + below.committed, is_live);
    }
    Below {
        spent: money(all.spent),
        committed: money(all.committed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::id::Attempt;
    use crate::session::journal::Entry;
    use crate::session::message::Usage;
    use crate::session::samples::created;
    use crate::store::Append;
    use crate::store::memory::MemoryStore;
    use crate::store::on_disk;
    use jiff::Timestamp;
    use std::sync::Arc;

    struct Nobody;

    impl crate::store::Observer for Nobody {
        fn committed(&self, _: &crate::store::Commit) {}
    }

    async fn session(store: &MemoryStore, parent: Option<SessionId>, budget: Option<f64>, cost_usd: f64) -> SessionId {
        let id = SessionId::new();
        let mut created = created("t");
        created.request.parent = parent;
        created.request.max_budget_usd = budget;
        let at = Timestamp::UNIX_EPOCH;
        on_disk(store.create(id, created, at)).await.unwrap();
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
        on_disk(store.append(append)).await.unwrap();
        id
    }

    #[tokio::test]
    async fn what_is_below_is_added_up_and_the_budgets_of_live_sessions_are_promised() {
        let store = MemoryStore::new(Arc::new(Nobody));
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
}
