//! The registry: the read model. Answers which sessions there are from memory, without touching the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::prelude::*;

use super::messages::{Committed, Forget, Get, List};
use crate::session::id::SessionId;
use crate::session::summary::Summary;

/// How many ended sessions are kept; older ones are read from the store.
pub(super) const ENDED_KEPT_MAX: usize = 200;

/// Holds the summary of every session that lives and of those that ended lately.
#[derive(Default)]
pub(super) struct Registry {
    /// Ids sort by creation time.
    sessions: BTreeMap<SessionId, Arc<Summary>>,
    ended: usize,
}

impl Registry {
    /// A registry that begins with these.
    pub(super) fn holding(summaries: impl IntoIterator<Item = Arc<Summary>>) -> Self {
        let mut registry = Self::default();
        summaries.into_iter().for_each(|summary| registry.put(summary));
        registry
    }

    fn put(&mut self, summary: Arc<Summary>) {
        let has_ended = |summary: &Summary| usize::from(summary.lifecycle.state.outcome().is_some());
        self.ended += has_ended(&summary);
        if let Some(before) = self.sessions.insert(summary.session_id, summary) {
            self.ended -= has_ended(&before);
        }
        if self.ended > ENDED_KEPT_MAX {
            let oldest = self
                .sessions
                .iter()
                .find(|(_, summary)| has_ended(summary) == 1)
                .map(|(id, _)| *id);
            if let Some(id) = oldest {
                self.sessions.remove(&id);
                self.ended -= 1;
            }
        }
    }

    fn forget(&mut self, session: SessionId) {
        let known = self.sessions.remove(&session);
        self.ended -= usize::from(known.is_some_and(|summary| summary.lifecycle.state.outcome().is_some()));
    }
}

impl Actor for Registry {
    type Context = Context<Self>;
}

impl Handler<Committed> for Registry {
    type Result = ();

    fn handle(&mut self, Committed(summary): Committed, _: &mut Self::Context) {
        self.put(summary);
    }
}

impl Handler<Forget> for Registry {
    type Result = ();

    fn handle(&mut self, Forget(session): Forget, _: &mut Self::Context) {
        self.forget(session);
    }
}

impl Handler<List> for Registry {
    type Result = Vec<Arc<Summary>>;

    fn handle(&mut self, _: List, _: &mut Self::Context) -> Self::Result {
        self.sessions.values().rev().cloned().collect()
    }
}

impl Handler<Get> for Registry {
    type Result = Option<Arc<Summary>>;

    fn handle(&mut self, Get(session): Get, _: &mut Self::Context) -> Self::Result {
        self.sessions.get(&session).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::outcome::Outcome;
    use crate::session::samples::created;
    use crate::session::state::State;
    use jiff::Timestamp;

    fn summary(ended: bool) -> Arc<Summary> {
        let mut summary = Summary::new(SessionId::new(), &created("t"), Timestamp::UNIX_EPOCH);
        if ended {
            summary.lifecycle.state = State::Ended {
                outcome: Outcome::Completed,
            };
        }
        Arc::new(summary)
    }

    #[test]
    fn live_sessions_stay_and_the_oldest_ended_ones_go() {
        let live = summary(false);
        let mut registry = Registry::holding([Arc::clone(&live)]);
        let ended: Vec<_> = (0..ENDED_KEPT_MAX + 3).map(|_| summary(true)).collect();
        ended.iter().for_each(|summary| registry.put(Arc::clone(summary)));
        assert_eq!(registry.sessions.len(), ENDED_KEPT_MAX + 1);
        assert!(registry.sessions.contains_key(&live.session_id));
        assert!(!registry.sessions.contains_key(&ended[0].session_id));
        registry.put(Arc::clone(&ended[ENDED_KEPT_MAX]));
        assert_eq!(registry.ended, ENDED_KEPT_MAX, "an update counts once");
        registry.forget(ended[ENDED_KEPT_MAX].session_id);
        registry.forget(ended[0].session_id);
        let held = (registry.sessions.len(), registry.ended);
        assert_eq!(
            held,
            (ENDED_KEPT_MAX, ENDED_KEPT_MAX - 1),
            "what was not held is not forgotten"
        );
    }
}
