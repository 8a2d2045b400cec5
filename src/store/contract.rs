//! What every store promises, as tests that each store runs: `store_contract!(PlaceOfThatStore)`.

pub(super) mod entries;
mod fold;
pub(super) mod listing;
mod order;
pub(super) mod removal;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;

use jiff::SignedDuration;
use uuid::Uuid;

use self::entries::{agent_text, append, at, checkpoint, created, ended, notice, resumed, said, started, state};
pub(super) use self::fold::the_summary_is_the_fold_of_the_records;
pub(super) use self::listing::{
    a_key_of_a_caller_is_used_once, a_long_result_is_searched_whole, pages_of_sessions_stay_where_they_are,
    sessions_are_found_by_the_one_whose_agent_asked_for_them, sessions_are_found_by_what_is_looked_for,
};
pub(super) use self::order::what_the_observer_is_told_can_be_read_by_then;
use self::removal::gone;
pub(super) use self::removal::{
    a_removed_session_is_gone_and_the_others_are_as_they_were, a_session_that_lives_is_not_removed,
    ids_of_removed_records_are_never_used_again, of_a_removal_and_an_append_the_first_one_wins,
    the_key_of_a_removed_session_is_free, the_observer_is_told_of_a_removal,
};
use super::{
    Acknowledgement, Append, Commit, Filter, Observer, PAGE_BYTES_MAX, PAGE_RECORDS_MAX, Store, StoreError,
    StoreRefusal, StoredRecord, Unwritten,
};
use crate::session::id::{Attempt, Seq, SessionId};
use crate::session::journal::Entry;
use crate::session::state::StateName;
use crate::session::summary::Summary;

/// Where the stores of one test keep their data; a new one is empty.
pub(super) trait Place: Default {
    /// Opens a store on it, for the first time or again.
    fn open(&self, observer: Arc<dyn Observer>) -> Arc<dyn Store>;
}

/// Makes one test of each claim.
macro_rules! store_contract {
    ($place:ty) => {
        $crate::store::contract::store_contract! { $place:
            a_journal_reads_back_as_it_was_written
            an_append_is_refused_whole_and_the_next_good_one_goes_on
            an_attempt_that_starts_moves_the_fence
            a_stretch_without_entries_moves_the_offset
            the_summary_is_the_fold_of_the_records
            the_observer_is_told_in_order_and_before_the_acknowledgement
            what_the_observer_is_told_can_be_read_by_then
            sessions_do_not_mix
            pages_follow_each_other
            a_page_of_long_lines_is_short
            the_last_record_of_a_kind_is_found
            sessions_are_listed_by_age
            sessions_are_found_by_what_is_looked_for
            pages_of_sessions_stay_where_they_are
            sessions_are_found_by_the_one_whose_agent_asked_for_them
            a_long_result_is_searched_whole
            a_key_of_a_caller_is_used_once
            a_session_is_found_by_the_end_of_its_id_or_the_beginning_of_its_short_one
            a_removed_session_is_gone_and_the_others_are_as_they_were
            a_session_that_lives_is_not_removed
            of_a_removal_and_an_append_the_first_one_wins
            ids_of_removed_records_are_never_used_again
            the_key_of_a_removed_session_is_free
            the_observer_is_told_of_a_removal
            a_closed_store_says_so
            a_store_that_is_opened_again_is_the_same
            appends_of_many_threads_are_all_kept
        }
    };
    ($place:ty: $($claim:ident)*) => {
        $(
            #[test]
            fn $claim() {
                $crate::store::contract::$claim(&<$place>::default());
            }
        )*
    };
}
pub(super) use store_contract;

/// An observer that remembers.
#[derive(Default)]
struct Remember(Mutex<Vec<StoredRecord>>);

impl Observer for Remember {
    fn committed(&self, commit: &Commit) {
        self.0.lock().unwrap().extend_from_slice(&commit.records);
    }
}

pub(super) fn answered(acknowledgement: Acknowledgement) -> Result<Commit, Unwritten> {
    acknowledgement.blocking_recv().expect("every append is answered")
}

pub(super) fn new_session(store: &dyn Store) -> SessionId {
    let session_id = SessionId::new();
    answered(store.create(session_id, created(), at())).unwrap();
    session_id
}

pub(super) fn write(store: &dyn Store, append: Append) -> Commit {
    answered(store.append(append)).unwrap()
}

pub(super) fn summary(store: &dyn Store, session_id: SessionId) -> Summary {
    store.summary(session_id).unwrap().unwrap()
}

/// All records of a session, by pages.
pub(super) fn journal(store: &dyn Store, session_id: SessionId) -> Vec<StoredRecord> {
    let mut records: Vec<StoredRecord> = Vec::new();
    loop {
        let after = records.last().map_or(Seq(0), |record| record.seq);
        let page = store.records(session_id, after, PAGE_RECORDS_MAX).unwrap();
        if page.is_empty() {
            return records;
        }
        records.extend(page);
    }
}

pub(super) fn seqs(records: &[StoredRecord]) -> Vec<u64> {
    records.iter().map(|record| record.seq.0).collect()
}

pub(super) fn a_journal_reads_back_as_it_was_written(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let id = SessionId::new();
    let first = answered(store.create(id, created(), at())).unwrap();
    let mut append = append(id, 0, None, vec![said("one"), said("two\n\"three\"\u{1f980}")]);
    append.at = at() + SignedDuration::from_micros(1_999);
    let second = write(&*store, append.clone());
    let third = write(&*store, notice(id, "four"));

    assert!(first.entries().eq(&[Entry::SessionCreated(Box::new(created()))]));
    assert!(second.entries().eq(&append.entries));
    let records = journal(&*store, id);
    assert_eq!(seqs(&records), [1, 2, 3, 4]);
    let committed: Vec<_> = [first, second, third]
        .iter()
        .flat_map(|commit| commit.records.to_vec())
        .collect();
    assert_eq!(records, committed, "a commit shows the records as they are read");
    for (record, entry) in records[1..3].iter().zip(&append.entries) {
        assert_eq!(record.entry().unwrap(), entry);
        assert_eq!((record.session_id, record.attempt), (id, Attempt::NONE));
        assert_eq!(record.at, at() + SignedDuration::from_millis(1), "whole milliseconds");
    }
    assert!(records.is_sorted_by(|a, b| a.id < b.id));
    assert_eq!(store.records_of_all(0, 10).unwrap(), records);
    assert_eq!(store.last_id().unwrap(), records[3].id);
}

pub(super) fn an_append_is_refused_whole_and_the_next_good_one_goes_on(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let id = new_session(&*store);
    write(&*store, append(id, 0, None, vec![started(1)]));
    write(&*store, append(id, 1, Some((0, 100)), vec![said("one")]));
    let (before, records) = (summary(&*store, id), journal(&*store, id));

    let two = || vec![said("two"), said("three")];
    let ghost = append(id, 0, Some((100, 200)), two());
    let early = append(id, 2, Some((100, 200)), two());
    let twice = append(id, 1, Some((0, 100)), two());
    let gap = append(id, 1, Some((150, 200)), two());
    let back = append(id, 1, None, vec![said("two"), started(1)]);
    let unknown = append(SessionId::new(), 1, None, two());
    let wrong_attempt = |given, current| {
        Unwritten::Refused(StoreRefusal::WrongAttempt {
            given: Attempt(given),
            current: Attempt(current),
        })
    };
    let wrong_offset = |given| Unwritten::Refused(StoreRefusal::WrongOffset { given, stored: 100 });
    let refused = |append: Append| answered(store.append(append)).unwrap_err();
    assert_eq!(refused(ghost), wrong_attempt(0, 1));
    assert_eq!(refused(early), wrong_attempt(2, 1));
    assert_eq!(refused(twice), wrong_offset(0));
    assert_eq!(refused(gap), wrong_offset(150));
    assert_eq!(refused(back), wrong_attempt(1, 1));
    let nobody = unknown.session_id;
    assert_eq!(refused(unknown), StoreRefusal::NoSuchSession(nobody).into());
    let again = answered(store.create(id, created(), at())).unwrap_err();
    assert_eq!(again, StoreRefusal::SessionExists(id).into());

    assert_eq!(summary(&*store, id), before);
    assert_eq!(journal(&*store, id), records);
    assert_eq!(store.summary(nobody).unwrap(), None);
    let good = write(&*store, append(id, 1, Some((100, 200)), two()));
    assert_eq!(seqs(&good.records), [4, 5]);
    assert_eq!(seqs(&journal(&*store, id)), [1, 2, 3, 4, 5]);
}

pub(super) fn an_attempt_that_starts_moves_the_fence(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let id = new_session(&*store);
    write(&*store, append(id, 0, None, vec![started(1)]));
    write(&*store, append(id, 1, Some((0, 70)), vec![]));
    let moved = write(
        &*store,
        append(id, 1, None, vec![said("before"), started(2), said("behind")]),
    );
    let attempts: Vec<_> = moved.records.iter().map(|record| record.attempt.0).collect();
    assert_eq!(attempts, [1, 2, 2]);
    assert_eq!(
        moved.summary.through_offset, 0,
        "the new attempt has a spool of its own"
    );
    let late = answered(store.append(append(id, 1, Some((70, 80)), vec![said("late")])));
    assert!(matches!(
        late,
        Err(Unwritten::Refused(StoreRefusal::WrongAttempt { .. }))
    ));
    write(&*store, append(id, 2, Some((0, 10)), vec![said("on")]));
}

pub(super) fn a_stretch_without_entries_moves_the_offset(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let id = new_session(&*store);
    let commit = write(&*store, append(id, 0, Some((0, 30)), vec![]));
    assert_eq!((commit.records.len(), commit.summary.through_offset), (0, 30));
    assert_eq!(summary(&*store, id).through_offset, 30);
    assert_eq!(seqs(&journal(&*store, id)), [1]);
}

pub(super) fn the_observer_is_told_in_order_and_before_the_acknowledgement(place: &impl Place) {
    let remember = Arc::new(Remember::default());
    let store = place.open(remember.clone());
    let (one, two) = (new_session(&*store), new_session(&*store));
    let waiting: Vec<_> = (0..100)
        .map(|n| store.append(notice(if n % 3 == 0 { one } else { two }, "hello")))
        .collect();
    for acknowledgement in waiting {
        let record = answered(acknowledgement).unwrap().records[0].clone();
        let told = remember.0.lock().unwrap();
        assert!(told.contains(&record), "acknowledged before the observer was told");
    }
    let refused = answered(store.append(append(one, 9, None, vec![said("no")])));
    assert!(refused.is_err());
    let told = remember.0.lock().unwrap().clone();
    assert_eq!(
        told,
        store.records_of_all(0, PAGE_RECORDS_MAX).unwrap(),
        "all of it, in the order of commits"
    );
}

pub(super) fn sessions_do_not_mix(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let ids = [new_session(&*store), new_session(&*store)];
    let waiting: Vec<_> = (0..40)
        .map(|n| store.append(notice(ids[n % 2], &format!("{n}"))))
        .collect();
    for acknowledgement in waiting {
        answered(acknowledgement).unwrap();
    }
    for (n, id) in ids.into_iter().enumerate() {
        let records = journal(&*store, id);
        assert_eq!(seqs(&records), (1..=21).collect::<Vec<_>>());
        for (place, record) in records[1..].iter().enumerate() {
            assert_eq!(record.entry().unwrap(), &said(&format!("{}", 2 * place + n)));
        }
    }
}

pub(super) fn pages_follow_each_other(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let id = new_session(&*store);
    let other = new_session(&*store);
    write(
        &*store,
        append(id, 0, None, vec![said("hello"); PAGE_RECORDS_MAX + 100]),
    );
    let page = |after, limit| seqs(&store.records(id, Seq(after), limit).unwrap());
    assert_eq!(page(0, 3), [1, 2, 3]);
    assert_eq!(page(3, 2), [4, 5]);
    assert_eq!(page(0, 0), [0_u64; 0]);
    assert_eq!(page(0, usize::MAX).len(), PAGE_RECORDS_MAX);
    assert_eq!(page(600, 10), [601]);
    assert_eq!(page(601, 10), [0_u64; 0]);
    assert_eq!(page(u64::MAX, 10), [0_u64; 0]);
    let last = store.last_id().unwrap();
    assert_eq!(store.records_of_all(0, usize::MAX).unwrap().len(), PAGE_RECORDS_MAX);
    assert_eq!(store.records_of_all(-1, 2).unwrap()[1].session_id, other);
    assert_eq!(store.records_of_all(last - 1, 10).unwrap()[0].seq, Seq(601));
    assert_eq!(store.records_of_all(last, 10).unwrap(), []);
    assert_eq!(store.records(SessionId::new(), Seq(0), 10).unwrap(), []);
}

pub(super) fn a_page_of_long_lines_is_short(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let id = new_session(&*store);
    let long = "x".repeat(PAGE_BYTES_MAX / 2);
    write(&*store, append(id, 0, None, vec![said(&long); 5]));
    assert_eq!(seqs(&store.records(id, Seq(1), 10).unwrap()), [2, 3]);
    assert_eq!(store.records_of_all(1, 10).unwrap().len(), 2);
    assert_eq!(seqs(&journal(&*store, id)), [1, 2, 3, 4, 5, 6]);
}

pub(super) fn the_last_record_of_a_kind_is_found(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let id = new_session(&*store);
    let other = new_session(&*store);
    write(
        &*store,
        append(
            id,
            0,
            None,
            vec![
                checkpoint(1),
                agent_text("a"),
                checkpoint(2),
                agent_text("b"),
                said("c"),
            ],
        ),
    );
    write(&*store, append(other, 0, None, vec![checkpoint(3)]));
    let last = |kind| store.last_of_kind(id, kind).unwrap();
    assert_eq!(last("checkpoint").unwrap().entry().unwrap(), &checkpoint(2));
    assert_eq!(last("agent.message").unwrap().seq, Seq(5));
    assert_eq!(last("session.created").unwrap().seq, Seq(1));
    assert_eq!(last("session.ended"), None);
    let latest =
        |kind, before: Option<u64>, limit| seqs(&store.latest_of_kind(id, kind, before.map(Seq), limit).unwrap());
    assert_eq!(latest("checkpoint", None, 10), [4, 2]);
    assert_eq!(latest("checkpoint", None, 1), [4]);
    assert_eq!(latest("checkpoint", Some(4), 10), [2]);
    assert_eq!(latest("agent.message", Some(6), 1), [5]);
    assert_eq!(latest("session.ended", None, 10), [0; 0]);
    assert_eq!(last("agent.sang"), None);
    assert_eq!(store.last_of_kind(SessionId::new(), "checkpoint").unwrap(), None);
}

pub(super) fn sessions_are_listed_by_age(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let ids: Vec<_> = (0..5).map(|_| new_session(&*store)).collect();
    write(&*store, append(ids[1], 0, None, vec![ended()]));
    write(&*store, append(ids[3], 0, None, vec![ended()]));
    write(
        &*store,
        append(ids[3], 0, None, vec![resumed(), state(StateName::Queued)]),
    );

    let listed = |summaries: Vec<Summary>| summaries.iter().map(|summary| summary.session_id).collect::<Vec<_>>();
    assert_eq!(listed(store.live().unwrap()), [ids[0], ids[2], ids[3], ids[4]]);
    assert_eq!(listed(recent(&*store, None, 2).unwrap()), [ids[4], ids[3]]);
    assert_eq!(
        listed(recent(&*store, Some(ids[3]), 10).unwrap()),
        [ids[2], ids[1], ids[0]]
    );
    assert_eq!(recent(&*store, None, usize::MAX).unwrap().len(), 5);
    assert_eq!(recent(&*store, None, 1).unwrap()[0], summary(&*store, ids[4]));
}

fn recent(store: &dyn Store, before: Option<SessionId>, limit: usize) -> Result<Vec<Summary>, StoreError> {
    store.find(&Filter::default(), before, limit)
}

pub(super) fn a_session_is_found_by_the_end_of_its_id_or_the_beginning_of_its_short_one(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let ids = [0x0001_abcd_u128, 0x0002_abcd, 0x0003_abce].map(|id| SessionId::from_uuid(Uuid::from_u128(id)));
    for id in ids {
        answered(store.create(id, created(), at())).unwrap();
    }
    let found = |digits: &str, limit| store.meant_by(digits, limit).unwrap();
    assert_eq!(found("abcd", 10), [ids[1], ids[0]]);
    assert_eq!(found("abcd", 1), [ids[1]]);
    assert_eq!(
        found("1abCD", 10),
        [ids[0]],
        "case does not matter, nor an odd number of digits"
    );
    assert_eq!(found(&ids[2].to_string(), 10), [ids[2]]);
    assert_eq!(found("0002", 10), [ids[1]]);
    assert_eq!(found("000", 10), [ids[2], ids[1], ids[0]]);
    for nothing in ["", "-", "abcf", "%", "_bcd", "xyz", &"0".repeat(40)] {
        assert_eq!(found(nothing, 10), [], "{nothing:?}");
    }
}

pub(super) fn a_closed_store_says_so(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let id = new_session(&*store);
    let waiting: Vec<_> = (0..50).map(|_| store.append(notice(id, "hello"))).collect();
    store.close();
    for acknowledgement in waiting {
        answered(acknowledgement).expect("what was handed over is committed");
    }
    store.close();
    let closed = StoreError::Closed;
    assert_eq!(
        answered(store.append(notice(id, "late"))).unwrap_err(),
        closed.clone().into()
    );
    assert_eq!(
        answered(store.create(SessionId::new(), created(), at())).unwrap_err(),
        closed.clone().into()
    );
    assert_eq!(gone(store.remove(id)).unwrap_err(), closed.clone().into());
    assert_eq!(store.records(id, Seq(0), 1).unwrap_err(), closed);
    assert_eq!(store.records_of_all(0, 1).unwrap_err(), closed);
    assert_eq!(store.last_id().unwrap_err(), closed);
    assert_eq!(store.summary(id).unwrap_err(), closed);
    assert_eq!(store.live().unwrap_err(), closed);
    assert_eq!(store.find(&Filter::default(), None, 1).unwrap_err(), closed);
    assert_eq!(store.claimed("me", "k").unwrap_err(), closed);
    assert_eq!(store.meant_by("ab", 1).unwrap_err(), closed);
    assert_eq!(store.last_of_kind(id, "notice").unwrap_err(), closed);
}

pub(super) fn a_store_that_is_opened_again_is_the_same(place: &impl Place) {
    let store = place.open(Arc::new(()));
    let id = new_session(&*store);
    write(&*store, append(id, 0, None, vec![started(1)]));
    write(&*store, append(id, 1, Some((0, 10)), vec![said("one"), checkpoint(1)]));
    let (epoch, records, summary_before) = (store.epoch().to_owned(), journal(&*store, id), summary(&*store, id));
    store.close();

    let store = place.open(Arc::new(()));
    assert_eq!(store.epoch(), epoch);
    assert_eq!(journal(&*store, id), records);
    assert_eq!(summary(&*store, id), summary_before);
    assert_eq!(store.live().unwrap(), [summary_before]);
    let next = write(&*store, append(id, 1, Some((10, 20)), vec![said("two")]));
    assert_eq!(next.records[0].seq, Seq(5));
    assert!(next.records[0].id > records[3].id);
}

pub(super) fn appends_of_many_threads_are_all_kept(place: &impl Place) {
    const THREADS: usize = 8;
    const APPENDS: usize = 40;
    let store = place.open(Arc::new(()));
    let shared = new_session(&*store);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || {
                let own = new_session(&**store);
                let waiting: Vec<_> = (0..APPENDS)
                    .map(|n| {
                        let id = if n % 2 == 0 { own } else { shared };
                        store.append(notice(id, &format!("{thread} {n}")))
                    })
                    .collect();
                let records = waiting
                    .into_iter()
                    .map(|waiting| answered(waiting).unwrap().records[0].clone());
                let (to_own, to_shared): (Vec<_>, Vec<_>) = records.partition(|record| record.session_id == own);
                assert_eq!(journal(&**store, own)[1..], to_own);
                assert!(
                    to_shared.is_sorted_by(|a, b| a.seq < b.seq),
                    "in the order of handing over"
                );
            });
        }
    });
    let records = journal(&*store, shared);
    let all = THREADS * APPENDS / 2 + 1;
    assert_eq!(seqs(&records), (1..=all as u64).collect::<Vec<_>>());
    let distinct: BTreeMap<_, _> = records.iter().map(|record| (&record.data, record.seq)).collect();
    assert_eq!(distinct.len(), all);
}
