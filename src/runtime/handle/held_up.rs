//! Sessions that wait for room on a full disk. No journal says so, so lists take them from memory.

use std::cmp::Reverse;
use std::sync::Arc;

use super::Handle;
use crate::runtime::refusal::CallError;
use crate::session::id::SessionId;
use crate::session::shown::Shown;
use crate::session::summary::Summary;
use crate::store::{Filter, Health};

impl Handle {
    /// Returns the paused sessions that fit a filter which asks for them.
    pub(super) async fn held_up(
        &self,
        filter: &Filter,
        before: Option<SessionId>,
    ) -> Result<Vec<Arc<Summary>>, CallError> {
        let is_full = matches!(*self.store.health().borrow(), Health::Full(_));
        if !is_full || !filter.states.contains(&Shown::Paused) {
            return Ok(Vec::new());
        }
        let of_any_state = Filter {
            states: Vec::new(),
            ..filter.clone()
        };
        let mut found = self.list().await?;
        found.retain(|summary| {
            let is_in_page = before.is_none_or(|before| summary.session_id < before);
            is_in_page && summary.shown_state() == Shown::Paused && of_any_state.fits(summary)
        });
        Ok(found)
    }
}

/// Puts two lists together, newest first, at most `limit` of them, each session once.
pub(super) fn newest(found: Vec<Arc<Summary>>, more: Vec<Arc<Summary>>, limit: usize) -> Vec<Arc<Summary>> {
    if more.is_empty() {
        return found;
    }
    let mut all = more;
    all.extend(found);
    all.sort_by_key(|summary| Reverse(summary.session_id));
    all.dedup_by_key(|summary| summary.session_id);
    all.truncate(limit);
    all
}
