//! The terms of a session as its row keeps them, or as its journal tells them where the row is of a version that did not.

use std::borrow::Cow;

use crate::session::id::{Seq, SessionId};
use crate::session::journal::Entry;
use crate::session::summary::Effective;
use crate::session::summary::Summary;
use crate::store::{Journal, StoreError, each_record};

/// The terms that are in force in a session.
pub(super) fn in_force<'a>(store: &dyn Journal, summary: &'a Summary) -> Result<Cow<'a, Effective>, StoreError> {
    let kept = Cow::Borrowed(&summary.effective);
    if summary.effective.asked_mode().is_some() {
        return Ok(kept);
    }
    let told = at(store, summary.session_id, summary.head)?;
    Ok(told.map_or(kept, Cow::Owned))
}

/// The terms that held in a session at the record `at`, as its journal tells them. Returns none if it has no journal.
pub(super) fn at(store: &dyn Journal, id: SessionId, at: Seq) -> Result<Option<Effective>, StoreError> {
    let mut summary: Option<Summary> = None;
    each_record(store, id, Seq::default(), at, |record| {
        match (record.entry(), &mut summary) {
            (Ok(Entry::SessionCreated(created)), None) => summary = Some(Summary::new(id, created, record.at)),
            (Ok(entry), Some(summary)) => summary.apply(entry, record.at),
            (Ok(_) | Err(_), _) => {}
        }
    })?;
    Ok(summary.map(|summary| summary.effective))
}
