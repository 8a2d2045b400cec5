//! Who is told of what, and when.

use std::sync::{Arc, Mutex, OnceLock, Weak};

use super::{Place, new_session, notice, write};
use crate::session::id::Seq;
use crate::store::{Commit, Observer, Store, lock};

/// Looks on the disk for every record that it is told of.
#[derive(Default)]
struct Looks {
    store: OnceLock<Weak<dyn Store>>,
    found: Mutex<Vec<bool>>,
}

impl Observer for Looks {
    fn committed(&self, commit: &Commit) {
        let Some(store) = self.store.get().and_then(Weak::upgrade) else {
            return;
        };
        let id = commit.summary.session_id;
        let head = store.summary(id).unwrap().map(|summary| summary.head);
        for record in commit.records.iter() {
            let read = store.records(id, Seq(record.seq.0 - 1), 1).unwrap();
            let is_found = read == [record.clone()] && head >= Some(record.seq);
            lock(&self.found).push(is_found);
        }
    }
}

pub(in crate::store) fn what_the_observer_is_told_can_be_read_by_then(place: &impl Place) {
    let looks = Arc::new(Looks::default());
    let store = place.open(Arc::<Looks>::clone(&looks));
    assert!(looks.store.set(Arc::downgrade(&store)).is_ok());
    let id = new_session(&*store);
    for n in 0..20 {
        write(&*store, notice(id, &format!("{n}")));
    }
    assert_eq!(*lock(&looks.found), [true; 21]);
}
