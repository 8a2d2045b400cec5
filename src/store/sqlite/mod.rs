//! The store on SQLite: one file, one thread that writes it, a few connections that read it.
//!
//! An append goes to the writer's queue (`writer.rs`), which commits all that waits in one transaction. Nothing else
//! writes. Readers (`reader.rs`, and `listing.rs` for lists) see what is committed, and SQLite syncs its log before it shows a commit to them.

mod inspect;
mod listing;
mod reader;
mod rebuild;
mod rows;
mod salvage;
mod schema;
mod small;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use jiff::Timestamp;
use rusqlite::{ErrorCode, ffi};
use tokio::sync::{oneshot, watch};

use self::reader::ReadConnections;
use self::writer::{Remove, Write, Writer, WriterJob};
use super::numbering::{PendingAppend, typed_digits};
use super::{
    Acknowledgement, Append, Catalogue, Filter, Health, Journal, Observer, Removal, StoreError, StoredRecord, lock,
};
use crate::session::id::{Seq, SessionId};
use crate::session::journal::Created;
use crate::session::summary::Summary;

pub use self::inspect::{Inspected, check_format, inspect};
pub use self::rebuild::Rebuilt;
pub use self::salvage::{Salvaged, salvage};
pub use self::small::SmallStore;

/// Journals in one SQLite database. Only one store may have a database open; who opens it sees to that.
pub(super) struct SqliteStore {
    /// The writer's queue; none once the store is closed. Handing over under this lock keeps the order.
    jobs: Mutex<Option<Sender<WriterJob>>>,
    /// Waited for when the store is closed.
    writer: Mutex<Option<JoinHandle<()>>>,
    readers: ReadConnections,
    /// Kept by the writer.
    health: watch::Receiver<Health>,
    /// The database.
    path: PathBuf,
    epoch: String,
}

impl SqliteStore {
    /// Opens the database at `path`, made where there is none, and starts its writer, which tells `observer` of every
    /// commit.
    pub(super) fn open(path: &Path, observer: Arc<dyn Observer>) -> Result<Self, StoreError> {
        Self::open_migrated(path, observer, schema::MIGRATIONS)
    }

    fn open_migrated(path: &Path, observer: Arc<dyn Observer>, migrations: &[&str]) -> Result<Self, StoreError> {
        let was_full = writer::make_some_to_open(path);
        let mut connection = schema::open_writer(path, migrations)?;
        listing::complete(&mut connection).map_err(|error| explain(path, error))?;
        let readers = ReadConnections::open(path)?;
        let epoch = readers.with(reader::epoch)?;
        let last_id = readers.with(reader::last_id)?;
        let (sender, health) = watch::channel(Health::Good);
        let removed = readers.with(reader::removed)?;
        let writer = Writer::new(connection, path, observer, last_id, removed, (sender, was_full));
        let (jobs, queue) = mpsc::channel();
        let writer = thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run(&queue))
            .map_err(|error| StoreError::Failed(format!("no thread for the writer: {error}")))?;
        Ok(Self {
            jobs: Mutex::new(Some(jobs)),
            writer: Mutex::new(Some(writer)),
            readers,
            health,
            path: path.to_owned(),
            epoch,
        })
    }

    fn rebuild(&self) -> Result<Rebuilt, StoreError> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.hand_over(WriterJob::Rebuild(answer))?;
        answered.recv().unwrap_or(Err(StoreError::Closed))
    }

    fn write(&self, draft: Result<PendingAppend, StoreError>) -> Acknowledgement {
        let (answer, acknowledgement) = oneshot::channel();
        match draft {
            Ok(draft) => self.hand_over_write(Write {
                draft,
                answer,
                since: Instant::now(),
            }),
            Err(error) => drop(answer.send(Err(error.into()))),
        }
        acknowledgement
    }

    fn hand_over_write(&self, write: Write) {
        match lock(&self.jobs).as_ref() {
            Some(jobs) => {
                if let Err(mpsc::SendError(WriterJob::Write(write))) = jobs.send(WriterJob::Write(write)) {
                    write.refuse(StoreError::Closed);
                }
            }
            None => write.refuse(StoreError::Closed),
        }
    }

    fn hand_over(&self, job: WriterJob) -> Result<(), StoreError> {
        let jobs = lock(&self.jobs);
        let jobs = jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(job).map_err(|_| StoreError::Closed)
    }
}

impl Journal for SqliteStore {
    fn create(&self, session_id: SessionId, created: Created, at: Timestamp) -> Acknowledgement {
        self.write(PendingAppend::create(session_id, created, at))
    }

    fn append(&self, append: Append) -> Acknowledgement {
        self.write(PendingAppend::append(append))
    }

    fn remove(&self, session_id: SessionId) -> Removal {
        let (answer, removal) = oneshot::channel();
        match lock(&self.jobs).as_ref() {
            Some(jobs) => {
                if let Err(mpsc::SendError(WriterJob::Remove(remove))) =
                    jobs.send(WriterJob::Remove(Remove { session_id, answer }))
                {
                    remove.refuse(StoreError::Closed);
                }
            }
            None => Remove { session_id, answer }.refuse(StoreError::Closed),
        }
        removal
    }

    fn records(&self, session_id: SessionId, after: Seq, limit: usize) -> Result<Vec<StoredRecord>, StoreError> {
        self.readers
            .with(|connection| reader::records(connection, session_id, after, limit))
    }

    fn records_of_all(&self, after: i64, limit: usize) -> Result<Vec<StoredRecord>, StoreError> {
        self.readers
            .with(|connection| reader::records_of_all(connection, after, limit))
    }

    fn last_id(&self) -> Result<i64, StoreError> {
        self.readers.with(reader::last_id)
    }

    fn summary(&self, session_id: SessionId) -> Result<Option<Summary>, StoreError> {
        self.readers.with(|connection| reader::summary(connection, session_id))
    }

    fn latest_of_kind(
        &self,
        session_id: SessionId,
        kind: &str,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        self.readers
            .with(|connection| reader::latest_of_kind(connection, session_id, kind, before, limit))
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    fn epoch(&self) -> &str {
        &self.epoch
    }

    fn close(&self) {
        // The readers go first: the last connection to go tidies up the files, and only the writer's can.
        self.readers.close();
        drop(lock(&self.jobs).take());
        let Some(writer) = lock(&self.writer).take() else {
            return;
        };
        // An observer may hold the last handle of its own store; a thread cannot wait for itself.
        if writer.thread().id() != thread::current().id() && writer.join().is_err() {
            tracing::error!("the journal's writer panicked");
        }
        // The log and its index have just gone, which is room even on a full disk.
        writer::put_by_for_opening(&self.path, 0);
    }
}

impl Catalogue for SqliteStore {
    fn live(&self) -> Result<Vec<Summary>, StoreError> {
        self.readers.with(reader::live)
    }

    fn find(&self, filter: &Filter, before: Option<SessionId>, limit: usize) -> Result<Vec<Summary>, StoreError> {
        self.readers
            .with(|connection| listing::find(connection, filter, before, limit))
    }

    fn claimed(&self, caller: &str, key: &str) -> Result<Option<SessionId>, StoreError> {
        self.readers
            .with(|connection| listing::claimed(connection, caller, key))
    }

    fn meant_by(&self, digits: &str, limit: usize) -> Result<Vec<SessionId>, StoreError> {
        let digits = typed_digits(digits);
        self.readers.with(|connection| match &digits {
            Some(digits) => listing::meant_by(connection, digits, limit),
            None => Ok(Vec::new()),
        })
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.close();
    }
}

/// Computes all summaries in the database at `path` anew from the records, and says how many. What is not in the records,
/// the offset up to which each spool is journalled, is kept; it is 0 for a session that had no summary at all.
///
/// One transaction over the whole journal. Nobody may have it open.
pub fn rebuild(path: &Path) -> Result<Rebuilt, StoreError> {
    let look = inspect(path, &[]);
    if let Ok(Inspected { damage: Some(why), .. }) = look {
        let file = path.to_owned();
        return Err(StoreError::Damaged { file, why });
    }
    let store = SqliteStore::open(path, Arc::new(()))?;
    let rebuilt = store.rebuild();
    store.close();
    rebuilt
}

/// What an error of SQLite means to whoever uses the store.
fn explain(path: &Path, error: rusqlite::Error) -> StoreError {
    let damaged = |why: String| StoreError::Damaged {
        file: path.to_owned(),
        why,
    };
    match (&error, error.sqlite_error_code()) {
        (_, Some(ErrorCode::DiskFull)) => full(path),
        // The index of the write-ahead log could not be made longer: that is how SQLite names it there.
        (rusqlite::Error::SqliteFailure(cause, _), _) if cause.extended_code == ffi::SQLITE_IOERR_SHMSIZE => full(path),
        (_, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) => damaged(error.to_string()),
        (rusqlite::Error::FromSqlConversionFailure(column, _, cause), _) => {
            damaged(format!("column {column} cannot be read: {cause}"))
        }
        (rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::IntegralValueOutOfRange(..), _) => {
            damaged(error.to_string())
        }
        _ => StoreError::Failed(error.to_string()),
    }
}

/// There is no room where this file is.
fn full(path: &Path) -> StoreError {
    StoreError::DiskFull {
        directory: path.parent().unwrap_or(Path::new("/")).to_owned(),
    }
}
