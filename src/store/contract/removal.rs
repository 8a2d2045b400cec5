//! What every store promises about sessions that are removed.

use super::entries::{agent_text, append, at, checkpoint, created, ended, notice, resumed, said, started, state};
use super::*;
use crate::session::journal::Created;
use crate::session::request::Claim;
use crate::store::{Removal, StoreRefusal, Unwritten};

pub(in crate::store) fn gone(removal: Removal) -> Result<(), Unwritten> {
    removal.blocking_recv().expect("every removal is answered")
}

/// A session that has ended, with a few records.
pub(in crate::store) fn ended_session(store: &dyn Store) -> SessionId {
    let id = new_session(store);
    let entries = vec![started(1), agent_text("a"), checkpoint(1), said("b"), ended()];
    write(store, append(id, 0, None, entries));
    id
}

fn assert_gone(store: &dyn Store, id: SessionId) {
    assert_eq!(store.summary(id).unwrap(), None);
    assert_eq!(journal(store, id), []);
    assert_eq!(store.last_of_kind(id, "checkpoint").unwrap(), None);
    assert_eq!(store.last_of_kind(id, "agent.message").unwrap(), None);
    assert_eq!(store.latest_of_kind(id, "checkpoint", None, 10).unwrap(), []);
    assert_eq!(store.latest_of_kind(id, "agent.message", None, 10).unwrap(), []);
    assert_eq!(store.meant_by(&id.to_string(), 10).unwrap(), []);
    let of_all = store.records_of_all(0, PAGE_RECORDS_MAX).unwrap();
    assert!(of_all.iter().all(|record| record.session_id != id));
    for listed in [store.find(&Filter::default(), None, 10), store.live()] {
        assert!(listed.unwrap().iter().all(|summary| summary.session_id != id));
    }
    let again = gone(store.remove(id)).unwrap_err();
    assert_eq!(again, StoreRefusal::NoSuchSession(id).into());
    let late = answered(store.append(notice(id, "late"))).unwrap_err();
    assert_eq!(late, StoreRefusal::NoSuchSession(id).into());
}

pub(in crate::store) fn a_removed_session_is_gone_and_the_others_are_as_they_were(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let (before, id, live) = (ended_session(&*store), ended_session(&*store), new_session(&*store));
    let others = [before, live];
    let as_it_is = |store: &dyn Store| others.map(|id| (summary(store, id), journal(store, id)));
    let as_it_was = as_it_is(&*store);
    gone(store.remove(id)).unwrap();
    assert_gone(&*store, id);
    assert_eq!(as_it_is(&*store), as_it_was);
    store.close();
    let store = place.open(Arc::new(()));
    assert_gone(&*store, id);
    assert_eq!(as_it_is(&*store), as_it_was);
    let next = write(&*store, notice(live, "on"));
    assert_eq!(next.records[0].seq, Seq(2), "the numbers of other sessions go on");
}

pub(in crate::store) fn a_session_that_lives_is_not_removed(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let id = new_session(&*store);
    assert_eq!(gone(store.remove(id)).unwrap_err(), StoreRefusal::StillLive(id).into());
    assert_eq!(seqs(&journal(&*store, id)), [1]);
    let nobody = SessionId::new();
    assert_eq!(
        gone(store.remove(nobody)).unwrap_err(),
        StoreRefusal::NoSuchSession(nobody).into()
    );
}

/// Who resumes a session and who removes it may be on their way at the same time.
pub(in crate::store) fn of_a_removal_and_an_append_the_first_one_wins(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let resuming = |id| append(id, 1, None, vec![resumed(), state(StateName::Queued)]);
    let (first, second) = (ended_session(&*store), ended_session(&*store));
    let (append, removal) = (store.append(resuming(first)), store.remove(first));
    answered(append).unwrap();
    assert_eq!(gone(removal).unwrap_err(), StoreRefusal::StillLive(first).into());
    let (removal, append) = (store.remove(second), store.append(resuming(second)));
    gone(removal).unwrap();
    assert_eq!(
        answered(append).unwrap_err(),
        StoreRefusal::NoSuchSession(second).into()
    );
}

pub(in crate::store) fn ids_of_removed_records_are_never_used_again(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let (first, last) = (new_session(&*store), ended_session(&*store));
    let last_id = store.last_id().unwrap();
    gone(store.remove(last)).unwrap();
    assert_eq!(store.last_id().unwrap(), last_id);
    store.close();
    let store = place.open(Arc::new(()));
    assert_eq!(store.last_id().unwrap(), last_id);
    let next = write(&*store, notice(first, "on"));
    assert_eq!(next.records[0].id, last_id + 1);
    // Who was in the middle of what is gone reads on behind it.
    let behind = store.records_of_all(last_id - 2, 10).unwrap();
    assert_eq!(behind, next.records[..]);
}

pub(in crate::store) fn the_key_of_a_removed_session_is_free(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let claim = Claim {
        caller: "me".to_owned(),
        key: "k".to_owned(),
        digest: "d".to_owned(),
    };
    let under_key = || Created {
        claim: Some(claim.clone()),
        ..created()
    };
    let (first, second) = (SessionId::new(), SessionId::new());
    answered(store.create(first, under_key(), at())).unwrap();
    write(&*store, append(first, 0, None, vec![started(1), ended()]));
    gone(store.remove(first)).unwrap();
    assert_eq!(store.claimed("me", "k").unwrap(), None);
    answered(store.create(second, under_key(), at())).unwrap();
    assert_eq!(store.claimed("me", "k").unwrap(), Some(second));
}

pub(in crate::store) fn the_observer_is_told_of_a_removal(place: &impl Place) {
    #[derive(Default)]
    struct Told(Mutex<Vec<(SessionId, &'static str)>>);
    impl Observer for Told {
        fn committed(&self, commit: &Commit) {
            self.0.lock().unwrap().push((commit.summary.session_id, "written"));
        }

        fn removed(&self, session_id: SessionId) {
            self.0.lock().unwrap().push((session_id, "removed"));
        }
    }
    let told = Arc::new(Told::default());
    let store = place.open(Arc::<Told>::clone(&told));
    let (id, live) = (ended_session(&*store), new_session(&*store));
    gone(store.remove(live)).unwrap_err();
    gone(store.remove(id)).unwrap();
    let told = told.0.lock().unwrap();
    assert_eq!(
        *told,
        [(id, "written"), (id, "written"), (live, "written"), (id, "removed")]
    );
}
