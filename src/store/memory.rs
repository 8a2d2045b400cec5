//! A store in memory, under the same contract: for tests with simulated time, and for tests of what follows a fault.
//!
//! An append is committed on the caller's thread before the call returns, so a paused clock sees no other thread.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::numbering::{PendingAppend, typed_digits};
use super::{
    Acknowledgement, Append, Catalogue, Commit, Filter, Health, Journal, Observer, PAGE_BYTES_MAX, PAGE_RECORDS_MAX,
    Removal, StoreError, StoreRefusal, StoredRecord, Unwritten, lock,
};
use crate::session::id::{Seq, SessionId};
use crate::session::journal::Created;
use crate::session::request::Claim;
use crate::session::summary::Summary;

/// What goes wrong at a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no room: nothing is written, the append is told, later ones may work.
    DiskFull,
    /// The commit fails: nothing is written, the append is told, and so is every later one.
    CommitFails,
    /// The process dies before the commit: nothing is written, nobody is told anything.
    DiesBeforeCommit,
    /// The process dies between the commit and its acknowledgement: it is written, nobody is told anything.
    DiesAfterCommit,
    /// It is written, and everybody is told but the one who asked, until [`MemoryStore::acknowledge`].
    AcknowledgedLate,
    /// It is acknowledged and not written. No store may do this: it is here to show that a test notices.
    Forgets,
}

/// Journals in memory.
pub struct MemoryStore {
    /// What outlives the store, as a disk would.
    disk: Arc<Mutex<Disk>>,
    epoch: String,
    observer: Arc<dyn Observer>,
    /// Held from the commit until the observer was told, so that it is told in order.
    plan: Mutex<Plan>,
    /// Acknowledgements that are held back.
    held: Mutex<Vec<Held>>,
    /// Why it answers nothing any more.
    ended: Mutex<Option<StoreError>>,
    health: watch::Sender<Health>,
}

/// A commit of which the one who asked is not told yet.
struct Held {
    answer: oneshot::Sender<Result<Commit, Unwritten>>,
    commit: Commit,
}

/// The faults to come.
#[derive(Debug, Default)]
struct Plan {
    /// How many commits there were.
    commits: u64,
    /// Faults by the number of the commit.
    faults: BTreeMap<u64, Fault>,
    /// The acknowledgement of this commit is to be held back.
    is_late: bool,
}

#[derive(Debug, Default)]
struct Disk {
    sessions: BTreeMap<SessionId, Kept>,
    /// Where each record is, or was before its session was removed; its id is its place here, from 1.
    places: Vec<(SessionId, usize)>,
}

#[derive(Debug)]
struct Kept {
    summary: Summary,
    records: Vec<StoredRecord>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        let epoch = Uuid::new_v4().simple().to_string();
        Self::on(Arc::default(), epoch, observer)
    }

    /// What the next process finds: a store with all that was committed in this one, and none of its faults.
    pub fn reopen(&self, observer: Arc<dyn Observer>) -> Self {
        Self::on(Arc::clone(&self.disk), self.epoch.clone(), observer)
    }

    /// Lets the n-th commit from now go wrong, counted from 1. Creations count, refused appends do not.
    pub fn fail_at(&self, nth: u64, fault: Fault) {
        let mut plan = lock(&self.plan);
        let nth = plan.commits + nth;
        plan.faults.insert(nth, fault);
    }

    /// Gives the acknowledgements that were held back.
    pub fn acknowledge(&self) {
        for Held { answer, commit } in lock(&self.held).drain(..) {
            let _ = answer.send(Ok(commit));
        }
    }

    fn on(disk: Arc<Mutex<Disk>>, epoch: String, observer: Arc<dyn Observer>) -> Self {
        Self {
            disk,
            epoch,
            observer,
            plan: Mutex::default(),
            held: Mutex::default(),
            ended: Mutex::default(),
            health: watch::Sender::default(),
        }
    }

    fn write(&self, draft: Result<PendingAppend, StoreError>) -> Acknowledgement {
        let (answer, acknowledgement) = oneshot::channel();
        let mut plan = lock(&self.plan);
        let committed = draft
            .map_err(Unwritten::from)
            .and_then(|draft| self.commit(&mut plan, draft));
        if let Some(result) = committed.transpose() {
            if let Ok(commit) = &result {
                self.observer.committed(commit);
                if std::mem::take(&mut plan.is_late) {
                    let commit = commit.clone();
                    lock(&self.held).push(Held { answer, commit });
                    return acknowledgement;
                }
            }
            let _ = answer.send(result);
        }
        acknowledgement
    }

    /// Nothing where the process dies, so that nobody is told.
    fn commit(&self, plan: &mut Plan, draft: PendingAppend) -> Result<Option<Commit>, Unwritten> {
        let mut disk = self.disk_to_write()?;
        let current = disk.sessions.get(&draft.session_id()).map(|kept| &kept.summary);
        let commit = draft.number(current, disk.last_id() + 1)?;
        let owner = draft.claim().and_then(|claim| disk.claimed(&claim.caller, &claim.key));
        if let Some(owner) = owner {
            return Err(StoreRefusal::KeyTaken(owner).into());
        }
        let is_told = self.carry_out(plan, &mut disk, |disk| disk.keep(&commit))?;
        Ok(is_told.then_some(commit))
    }

    /// Nothing where the process dies.
    fn commit_removal(&self, plan: &mut Plan, session_id: SessionId) -> Result<Option<()>, Unwritten> {
        let mut disk = self.disk_to_write()?;
        let kept = disk
            .sessions
            .get(&session_id)
            .ok_or(StoreRefusal::NoSuchSession(session_id))?;
        if kept.summary.lifecycle.state.outcome().is_none() {
            return Err(StoreRefusal::StillLive(session_id).into());
        }
        let is_told = self.carry_out(plan, &mut disk, |disk| drop(disk.sessions.remove(&session_id)))?;
        Ok(is_told.then_some(()))
    }

    /// Changes the disk, unless something is to go wrong; says whether anybody is told of it.
    fn carry_out(&self, plan: &mut Plan, disk: &mut Disk, change: impl FnOnce(&mut Disk)) -> Result<bool, StoreError> {
        plan.commits += 1;
        match plan.faults.remove(&plan.commits) {
            None => change(disk),
            Some(Fault::DiskFull) => return Err(disk_full()),
            Some(Fault::CommitFails) => {
                let error = StoreError::Failed("a commit failed as planned".into());
                self.end(error.clone());
                self.health.send_replace(Health::Failed(error.clone()));
                return Err(error);
            }
            Some(Fault::DiesBeforeCommit) => {
                self.end(StoreError::Closed);
                return Ok(false);
            }
            Some(Fault::DiesAfterCommit) => {
                change(disk);
                self.end(StoreError::Closed);
                return Ok(false);
            }
            Some(Fault::AcknowledgedLate) => {
                change(disk);
                plan.is_late = true;
            }
            Some(Fault::Forgets) => {}
        }
        Ok(true)
    }

    /// Once it is closed, it stays closed.
    fn end(&self, error: StoreError) {
        let mut ended = lock(&self.ended);
        if *ended != Some(StoreError::Closed) {
            *ended = Some(error);
        }
    }

    /// For a write: refused after a failed commit.
    fn disk_to_write(&self) -> Result<MutexGuard<'_, Disk>, StoreError> {
        let ended = lock(&self.ended).clone();
        ended.map_or_else(|| Ok(lock(&self.disk)), Err)
    }

    /// For a read: possible for as long as there is a store.
    fn disk(&self) -> Result<MutexGuard<'_, Disk>, StoreError> {
        let ended = lock(&self.ended).clone();
        match ended {
            Some(StoreError::Closed) => Err(StoreError::Closed),
            Some(_) | None => Ok(lock(&self.disk)),
        }
    }
}

impl Disk {
    fn last_id(&self) -> i64 {
        self.places.len() as i64
    }

    fn keep(&mut self, commit: &Commit) {
        let summary = Summary::clone(&commit.summary);
        let session_id = summary.session_id;
        let kept = self.sessions.entry(session_id).or_insert_with(|| Kept {
            summary: summary.clone(),
            records: Vec::new(),
        });
        kept.summary = summary;
        for record in commit.records.iter() {
            self.places.push((session_id, kept.records.len()));
            kept.records.push(record.clone());
        }
    }

    fn claimed(&self, caller: &str, key: &str) -> Option<SessionId> {
        let is_it = |claim: &Claim| claim.caller == caller && claim.key == key;
        let mut summaries = self.sessions.values().map(|kept| &kept.summary);
        let found = summaries.find(|summary| summary.claim.as_ref().is_some_and(is_it))?;
        Some(found.session_id)
    }

    fn record(&self, (session_id, index): (SessionId, usize)) -> Option<&StoredRecord> {
        self.sessions.get(&session_id)?.records.get(index)
    }

    fn records(&self, session_id: SessionId) -> &[StoredRecord] {
        self.sessions.get(&session_id).map_or(&[], |kept| &kept.records)
    }
}

impl Journal for MemoryStore {
    fn create(&self, session_id: SessionId, created: Created, at: Timestamp) -> Acknowledgement {
        self.write(PendingAppend::create(session_id, created, at))
    }

    fn append(&self, append: Append) -> Acknowledgement {
        self.write(PendingAppend::append(append))
    }

    fn remove(&self, session_id: SessionId) -> Removal {
        let (answer, removal) = oneshot::channel();
        let mut plan = lock(&self.plan);
        if let Some(result) = self.commit_removal(&mut plan, session_id).transpose() {
            if result.is_ok() {
                self.observer.removed(session_id);
            }
            let _ = answer.send(result);
        }
        removal
    }

    fn records(&self, session_id: SessionId, after: Seq, limit: usize) -> Result<Vec<StoredRecord>, StoreError> {
        let disk = self.disk()?;
        let records = disk.records(session_id);
        let first = records.partition_point(|record| record.seq <= after);
        Ok(page(records[first..].iter(), limit))
    }

    fn records_of_all(&self, after: i64, limit: usize) -> Result<Vec<StoredRecord>, StoreError> {
        let disk = self.disk()?;
        let first = usize::try_from(after).unwrap_or(0);
        let places = disk.places.iter().skip(first);
        Ok(page(places.filter_map(|place| disk.record(*place)), limit))
    }

    fn last_id(&self) -> Result<i64, StoreError> {
        Ok(self.disk()?.last_id())
    }

    fn summary(&self, session_id: SessionId) -> Result<Option<Summary>, StoreError> {
        Ok(self.disk()?.sessions.get(&session_id).map(|kept| kept.summary.clone()))
    }

    fn latest_of_kind(
        &self,
        session_id: SessionId,
        kind: &str,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let disk = self.disk()?;
        let records = disk.records(session_id).iter().rev();
        let found = records.filter(|record| record.kind == kind && before.is_none_or(|before| record.seq < before));
        Ok(page(found, limit))
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn epoch(&self) -> &str {
        &self.epoch
    }

    fn close(&self) {
        let _committed = lock(&self.plan);
        self.end(StoreError::Closed);
    }
}

impl Catalogue for MemoryStore {
    fn live(&self) -> Result<Vec<Summary>, StoreError> {
        let disk = self.disk()?;
        let summaries = disk.sessions.values().map(|kept| &kept.summary);
        let live = summaries.filter(|summary| summary.lifecycle.state.outcome().is_none());
        Ok(live.cloned().collect())
    }

    fn find(&self, filter: &Filter, before: Option<SessionId>, limit: usize) -> Result<Vec<Summary>, StoreError> {
        let disk = self.disk()?;
        let newest_first = disk.sessions.iter().rev();
        let earlier = newest_first.filter(|(id, _)| before.is_none_or(|before| **id < before));
        let found = earlier
            .map(|(_, kept)| &kept.summary)
            .filter(|summary| filter.fits(summary));
        Ok(found.take(limit).cloned().collect())
    }

    fn claimed(&self, caller: &str, key: &str) -> Result<Option<SessionId>, StoreError> {
        Ok(self.disk()?.claimed(caller, key))
    }

    fn meant_by(&self, digits: &str, limit: usize) -> Result<Vec<SessionId>, StoreError> {
        let disk = self.disk()?;
        let Some(digits) = typed_digits(digits) else {
            return Ok(Vec::new());
        };
        let newest_first = disk.sessions.keys().rev().copied();
        let meant = newest_first.filter(|id| id.is_meant_by(&digits));
        Ok(meant.take(limit).collect())
    }
}

/// What a full disk says, of which there is none here.
fn disk_full() -> StoreError {
    StoreError::DiskFull {
        directory: "memory".into(),
    }
}

/// A page, full by number or by bytes.
fn page<'a>(records: impl Iterator<Item = &'a StoredRecord>, limit: usize) -> Vec<StoredRecord> {
    let mut page = Vec::new();
    let mut bytes = 0;
    for record in records.take(limit.min(PAGE_RECORDS_MAX)) {
        bytes += record.data.len();
        page.push(record.clone());
        if bytes >= PAGE_BYTES_MAX {
            break;
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use std::panic;

    use super::*;
    use crate::store::Store;
    use crate::store::contract::entries::{at, created, notice};
    use crate::store::contract::{self, Place};

    /// Stores over one disk: the first one makes it.
    #[derive(Default)]
    struct Shared(Mutex<Option<Arc<MemoryStore>>>);

    impl Place for Shared {
        fn open(&self, observer: Arc<dyn Observer>) -> Arc<dyn Store> {
            let mut last = lock(&self.0);
            let store = Arc::new(match &*last {
                Some(store) => store.reopen(observer),
                None => MemoryStore::new(observer),
            });
            *last = Some(Arc::clone(&store));
            store
        }
    }

    contract::store_contract!(Shared);

    /// A store that forgets the third commit.
    #[derive(Default)]
    struct Forgetful;

    impl Place for Forgetful {
        fn open(&self, observer: Arc<dyn Observer>) -> Arc<dyn Store> {
            let store = MemoryStore::new(observer);
            store.fail_at(3, Fault::Forgets);
            Arc::new(store)
        }
    }

    #[test]
    fn the_contract_notices_a_store_that_forgets() {
        let claims: [fn(&Forgetful); 3] = [
            contract::a_journal_reads_back_as_it_was_written,
            contract::sessions_do_not_mix,
            contract::appends_of_many_threads_are_all_kept,
        ];
        for claim in claims {
            assert!(panic::catch_unwind(|| claim(&Forgetful)).is_err());
        }
    }

    /// A store with one session, whose next commit has this fault; and the session.
    fn faulty(fault: Fault) -> (MemoryStore, SessionId) {
        let store = MemoryStore::new(Arc::new(()));
        let session_id = SessionId::new();
        store
            .create(session_id, created(), at())
            .blocking_recv()
            .unwrap()
            .unwrap();
        store.fail_at(1, fault);
        (store, session_id)
    }

    fn head(store: &MemoryStore, session_id: SessionId) -> u64 {
        store.summary(session_id).unwrap().unwrap().head.0
    }

    #[test]
    fn a_full_disk_passes() {
        let (store, id) = faulty(Fault::DiskFull);
        let refused = store.append(notice(id, "one")).blocking_recv().unwrap();
        assert_eq!(refused.unwrap_err(), disk_full().into());
        let written = store.append(notice(id, "two")).blocking_recv().unwrap();
        assert_eq!(written.unwrap().records[0].seq, Seq(2));
    }

    #[test]
    fn after_a_failed_commit_nothing_is_written_but_all_can_be_read() {
        let (store, id) = faulty(Fault::CommitFails);
        for text in ["one", "two"] {
            let refused = store.append(notice(id, text)).blocking_recv().unwrap();
            assert!(matches!(refused.unwrap_err(), Unwritten::Failed(StoreError::Failed(_))));
        }
        assert_eq!(head(&store, id), 1);
    }

    #[test]
    fn who_dies_around_a_commit_tells_nobody() {
        for (fault, kept) in [(Fault::DiesBeforeCommit, 1), (Fault::DiesAfterCommit, 2)] {
            let (store, id) = faulty(fault);
            let unanswered = store.append(notice(id, "one")).blocking_recv();
            assert!(unanswered.is_err());
            assert_eq!(store.summary(id).unwrap_err(), StoreError::Closed);
            let next = store.reopen(Arc::new(()));
            assert_eq!(head(&next, id), kept, "{fault:?}");
        }
    }
}
