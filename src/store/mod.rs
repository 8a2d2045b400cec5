//! The store: where journals are kept. Each method says what it promises for recovery.
//!
//! One writer thread commits; readers have connections of their own. What a store has acknowledged survives `kill -9`
//! and a power cut, and nothing is ever visible to anybody before that.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{oneshot, watch};

use crate::agent::wire::conclude::complete;
use crate::session::id::{Attempt, Seq, SessionId};
use crate::session::journal::shown_creation;
use crate::session::journal::{Created, Entry, UnreadableRecord};
use crate::session::summary::Summary;

pub mod health;

#[cfg(test)]
mod contract;
mod error;
mod filter;
mod fold;
#[cfg(test)]
pub mod memory;
mod numbering;
mod sqlite;

pub use self::error::{StoreError, StoreRefusal, Unwritten};
pub use self::filter::Filter;
pub use self::health::{Health, Shortage};
use self::sqlite::SqliteStore;
pub use self::sqlite::{Inspected, Rebuilt, Salvaged, SmallStore, check_format, inspect, rebuild, salvage};

/// The most records one page of a reader holds.
pub const PAGE_RECORDS_MAX: usize = 500;

/// A page ends with the record that brings its data to this many bytes, so that long lines do not fill the memory.
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Entries to be added to one session's journal, all or none.
#[derive(Clone, Debug)]
pub struct Append {
    /// The session.
    pub session_id: SessionId,
    /// The attempt the writer belongs to. The append is refused unless it is the session's current one; an
    /// `attempt.started` entry makes its own attempt the current one, for the entries behind it and for what comes,
    /// and is refused where that is not a later one.
    pub attempt: Attempt,
    /// Which bytes of the attempt's spool the entries stand for. The append is refused unless `from` is the offset up
    /// to which the spool is journalled, so that no line is lost, doubled, or written by a ghost.
    pub span: Option<SpoolSpan>,
    /// When it happened; every entry is stamped with it, in whole milliseconds.
    pub at: Timestamp,
    /// What happened, in order; may be empty where a stretch of the spool holds nothing to write down.
    pub entries: Vec<Entry>,
}

/// A stretch of a spool, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolSpan {
    /// Offset of its first byte.
    pub from: u64,
    /// Offset after its last byte.
    pub through: u64,
}

/// What one append has become.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The session's summary with the append folded in.
    pub summary: Arc<Summary>,
    /// The new records, in order, with the entries that they were made of.
    pub records: Arc<[StoredRecord]>,
}

impl Commit {
    /// The entries, in order.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.records.iter().filter_map(|record| record.entry().ok())
    }
}

/// The entry of a record for all who look at it: the one that the record was made of, or the one that is read from its
/// JSON at the first look.
#[derive(Clone, Debug, Default)]
pub struct EntryCell(OnceLock<Result<Arc<Entry>, Arc<UnreadableRecord>>>);

impl EntryCell {
    /// The entry, where the data of a record of this kind is at hand.
    pub fn get(&self, kind: &str, data: &str) -> Result<&Entry, &UnreadableRecord> {
        let read = || {
            Entry::from_json(kind, data)
                .map(complete)
                .map(Arc::new)
                .map_err(Arc::new)
        };
        match self.0.get_or_init(read) {
            Ok(entry) => Ok(entry),
            Err(error) => Err(error),
        }
    }
}

impl From<Arc<Entry>> for EntryCell {
    fn from(entry: Arc<Entry>) -> Self {
        Self(Ok(entry).into())
    }
}

/// Records are compared by their data.
impl PartialEq for EntryCell {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A record as it is kept: its data is JSON text, so that it is written and shown without being built anew.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRecord {
    /// Its place among the records of all sessions.
    pub id: i64,
    /// The session.
    pub session_id: SessionId,
    /// Its number in the session.
    pub seq: Seq,
    /// The attempt.
    pub attempt: Attempt,
    /// The time.
    pub at: Timestamp,
    /// Its kind; [`Entry::kind`].
    pub kind: String,
    /// Its data; [`Entry::to_json`].
    pub data: String,
    /// Its entry; [`StoredRecord::entry`].
    pub entry: EntryCell,
}

impl StoredRecord {
    /// The entry itself.
    pub fn entry(&self) -> Result<&Entry, &UnreadableRecord> {
        self.entry.get(&self.kind, &self.data)
    }

    /// The record as every client sees it, one JSON object without line breaks and without secrets.
    pub fn to_json(&self) -> String {
        let Self {
            id: _,
            session_id,
            seq,
            attempt,
            at,
            kind,
            data,
            entry: _,
        } = self;
        let data = match kind.as_str() {
            "session.created" => shown_creation(data),
            _ => Cow::Borrowed(data.as_str()),
        };
        format!(
            r#"{{"seq":{seq},"session_id":"{session_id}","attempt":{attempt},"at":"{at:.3}","kind":"{kind}","data":{data}}}"#
        )
    }
}

/// Told of every commit by the writer thread itself: in commit order, after the data is on disk and before the
/// append's future resolves. It must not block.
pub trait Observer: Send + Sync + 'static {
    /// These records exist from now on.
    fn committed(&self, commit: &Commit);

    /// A group of appends is on disk, this long after the first of them was handed over.
    fn group_committed(&self, _waited: Duration) {}

    /// What waited for room on a full disk is committed.
    fn went_on(&self, _passed: &Shortage) {}

    /// This session and its records are gone for good.
    fn removed(&self, _session_id: SessionId) {}
}

/// Nobody.
impl Observer for () {
    fn committed(&self, _: &Commit) {}
}

/// The answer to an append, once it is on disk. An answer that never comes (the other end is gone) means that the
/// store died in between: whether the append was written is seen when the store is opened again.
pub type Acknowledgement = oneshot::Receiver<Result<Commit, Unwritten>>;

/// The answer to a removal, once it is on disk; what an answer that never comes means is as for an append.
pub type Removal = oneshot::Receiver<Result<(), Unwritten>>;

/// What became of an append or a removal.
pub async fn on_disk<T>(answer: oneshot::Receiver<Result<T, Unwritten>>) -> Result<T, Unwritten> {
    answer.await.unwrap_or(Err(Unwritten::Failed(StoreError::Closed)))
}

/// Opens the store whose database is at `path`, made where there is none. `observer` is told of every commit. Only one
/// store may have a database open; who opens it sees to that.
pub fn open(path: &Path, observer: Arc<dyn Observer>) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(SqliteStore::open(path, observer)?))
}

/// Keeps journals, and the catalogue of what they are about, in one place: a row is written in the transaction of its
/// records.
pub trait Store: Journal + Catalogue {}

impl<T: Journal + Catalogue> Store for T {}

/// The journals: appending, reading and following. Appends of one session are committed in the order in which they were
/// handed over. [`Observer`] is told of commits; a reader that follows reads on from the last record it knows.
pub trait Journal: Send + Sync + 'static {
    /// Begins a journal with `session.created` as its record 1.
    ///
    /// Promise: acknowledged means on disk; a session id is never used twice, and neither is a caller's key, from one
    /// daemon to the next.
    fn create(&self, session_id: SessionId, created: Created, at: Timestamp) -> Acknowledgement;

    /// Adds to a journal.
    ///
    /// Promise: acknowledged means on disk, numbered without gaps, the summary's row in step; refused means that no part
    /// of it was written. It never blocks; appends handed over meanwhile share a commit.
    fn append(&self, append: Append) -> Acknowledgement;

    /// Removes a session that has ended: its summary, its records, its creator's key.
    ///
    /// Promise: acknowledged means on disk, and that nothing of it is found again; refused ([`StoreRefusal::StillLive`],
    /// [`StoreRefusal::NoSuchSession`]) means that nothing has changed. It happens in the order of what is handed over, but
    /// does not wait with others for room on a full disk. No id of a record is ever used again. Other appends do not wait
    /// for it, however long the journal is.
    fn remove(&self, session_id: SessionId) -> Removal;

    /// At most `limit` (and [`PAGE_RECORDS_MAX`]) records of a session with numbers above `after`, in order; fewer
    /// where they reach [`PAGE_BYTES_MAX`]. Only an empty page is the end, and that of an unknown session.
    ///
    /// Promise: only what is on disk. Reads on the caller's thread: call it off the actors' threads.
    fn records(&self, session_id: SessionId, after: Seq, limit: usize) -> Result<Vec<StoredRecord>, StoreError>;

    /// At most `limit` (and [`PAGE_RECORDS_MAX`]) records of all sessions with ids above `after`, in order, in pages
    /// like those of [`Journal::records`].
    fn records_of_all(&self, after: i64, limit: usize) -> Result<Vec<StoredRecord>, StoreError>;

    /// The id of the last record of all that there ever were; 0 where there was none.
    fn last_id(&self) -> Result<i64, StoreError>;

    /// The fold of one session's records.
    fn summary(&self, session_id: SessionId) -> Result<Option<Summary>, StoreError>;

    /// At most `limit` (and [`PAGE_RECORDS_MAX`]) records of this kind in a session with numbers below `before` (of all
    /// where it is none), the latest first; an indexed look-up, however long the journal
    /// (except for `agent.message`, which is looked for from the end).
    fn latest_of_kind(
        &self,
        session_id: SessionId,
        kind: &str,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<StoredRecord>, StoreError>;

    /// The record of this kind with the highest number in a session, like [`Journal::latest_of_kind`].
    fn last_of_kind(&self, session_id: SessionId, kind: &str) -> Result<Option<StoredRecord>, StoreError> {
        Ok(self.latest_of_kind(session_id, kind, None, 1)?.pop())
    }

    /// The store's health at this moment; does not touch the disk. What is seen changes with it.
    fn health(&self) -> watch::Receiver<Health>;

    /// A random text made when the database was made: cursors of another database mean nothing here.
    fn epoch(&self) -> &str;

    /// Commits what was handed over and stops; further calls answer [`StoreError::Closed`].
    fn close(&self);
}

/// The catalogue: which sessions there are. Each method reads what is on disk, on the caller's thread, and looks at no
/// record.
pub trait Catalogue: Send + Sync + 'static {
    /// The summaries of all sessions that have not ended, oldest first.
    fn live(&self) -> Result<Vec<Summary>, StoreError>;

    /// Summaries of the sessions that fit the filter and were created before `before` (of all where it is none), newest
    /// first, at most `limit`: a page that later sessions do not shift. Ids are in the order of creation.
    fn find(&self, filter: &Filter, before: Option<SessionId>, limit: usize) -> Result<Vec<Summary>, StoreError>;

    /// The session that this caller created under this key.
    fn claimed(&self, caller: &str, key: &str) -> Result<Option<SessionId>, StoreError>;

    /// Ids of the sessions that these hexadecimal digits mean ([`SessionId::is_meant_by`]; case and dashes do not
    /// matter), newest first, at most `limit`; none where there are no digits or others.
    fn meant_by(&self, digits: &str, limit: usize) -> Result<Vec<SessionId>, StoreError>;
}

/// Shows `take` the records of a session above `after` and up to `upto`, in order, page by page. Reads on the caller's thread.
pub fn each_record(
    journal: &dyn Journal,
    session_id: SessionId,
    mut after: Seq,
    upto: Seq,
    mut take: impl FnMut(&StoredRecord),
) -> Result<(), StoreError> {
    while after < upto {
        let page = journal.records(session_id, after, PAGE_RECORDS_MAX)?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        page.iter().filter(|record| record.seq <= upto).for_each(&mut take);
    }
    Ok(())
}

/// Locks. What a panicking thread left behind is used as it is: nothing that changes a value of ours panics halfway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
