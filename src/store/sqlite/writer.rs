//! Writing: one thread takes what waits in its queue and commits it in one transaction. There is no timer: while one
//! group is committed the next one gathers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::time::Instant;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{oneshot, watch};

use self::place::OpenFiles;
use self::removal::Removed;
use self::room::{DiskRoom, RETRY_PAUSE};
use super::reader;
use super::rebuild::{self, Rebuilt};
use super::rows::{has_ended, insert_record, write_summary};
use super::{explain, listing};
use crate::session::id::SessionId;
use crate::session::summary::Summary;
use crate::store::numbering::PendingAppend;
use crate::store::{Commit, Health, Observer, StoreError, StoreRefusal, StoredRecord, Unwritten};

mod place;
mod removal;
mod room;

pub(super) use self::removal::Remove;
pub(super) use self::room::{make_some_to_open, put_by_for_opening};

/// A group takes no further append once it has this many records …
const GROUP_RECORDS_MAX: usize = 2048;

/// … or this many bytes of data.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How many summaries of live sessions are kept at hand; beyond that they are read again when they are needed.
const SUMMARIES_MAX: usize = 1024;

/// What the writer is asked to do.
pub(super) enum WriterJob {
    /// Write this.
    Write(Write),
    /// Remove this session.
    Remove(Remove),
    /// Compute all summaries anew.
    Rebuild(SyncSender<Result<Rebuilt, StoreError>>),
    /// Run statements of a test on the writer's connection.
    #[cfg(test)]
    Run(&'static str, SyncSender<()>),
}

/// An append that waits.
pub(super) struct Write {
    pub(super) draft: PendingAppend,
    pub(super) answer: oneshot::Sender<Result<Commit, Unwritten>>,
    /// When it was handed over.
    pub(super) since: Instant,
}

impl Write {
    /// Answers that it was not written. Nobody may listen any more; that changes nothing.
    pub(super) fn refuse(self, error: StoreError) {
        let _ = self.answer.send(Err(error.into()));
    }
}

/// The writer, on its thread.
pub(super) struct Writer {
    connection: Connection,
    /// Named in errors.
    path: PathBuf,
    observer: Arc<dyn Observer>,
    /// Summaries of live sessions as they are committed.
    summaries: HashMap<SessionId, Arc<Summary>>,
    /// The id of the next record.
    next_id: i64,
    /// Why nothing is written any more. What a failed commit has left on disk is unknown, so it is never repeated.
    failed: Option<StoreError>,
    /// Sessions that were removed and whose records are not all gone.
    removed: Removed,
    /// Where the files are that are written to.
    place: OpenFiles,
    room: DiskRoom,
}

/// What a transaction has changed so far; it becomes true with the commit.
struct Group {
    summaries: HashMap<SessionId, Arc<Summary>>,
    next_id: i64,
}

/// How much of a group was not written.
enum Lost {
    /// The fault is an append's own; the others are not touched.
    One(Unwritten),
    /// The transaction cannot go on.
    All(StoreError),
}

impl Lost {
    fn one(error: impl Into<Unwritten>) -> Self {
        Self::One(error.into())
    }
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        path: &Path,
        observer: Arc<dyn Observer>,
        last_id: i64,
        removed: Vec<SessionId>,
        (health, was_full): (watch::Sender<Health>, bool),
    ) -> Self {
        Self {
            connection,
            path: path.to_owned(),
            observer,
            summaries: HashMap::new(),
            next_id: last_id + 1,
            failed: None,
            removed: Removed::of(removed),
            place: OpenFiles::of(path),
            room: DiskRoom::beside(path, health, was_full),
        }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self, queue: &Receiver<WriterJob>) {
        let mut next = self.next_job(queue);
        while let Some(job) = next {
            let behind = match job {
                WriterJob::Write(first) => {
                    let (group, mut behind) = gather(first, queue);
                    self.write(group, &mut behind, queue);
                    behind
                }
                WriterJob::Remove(asked) => {
                    self.look_for_room();
                    self.remove(asked);
                    None
                }
                WriterJob::Rebuild(answer) => {
                    let _ = answer.send(self.rebuild());
                    None
                }
                #[cfg(test)]
                WriterJob::Run(sql, done) => {
                    self.run_for_test(sql, &done);
                    None
                }
            };
            next = behind.or_else(|| self.next_job(queue));
        }
    }

    /// Waits for a job, and meanwhile looks for room on a full disk or deletes what was removed. None once the queue is
    /// closed and empty.
    fn next_job(&mut self, queue: &Receiver<WriterJob>) -> Option<WriterJob> {
        while self.room.is_short() {
            match queue.recv_timeout(RETRY_PAUSE) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Timeout) => self.look_for_room(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        while self.removed.is_to_be_deleted() {
            match queue.try_recv() {
                Ok(job) => return Some(job),
                Err(TryRecvError::Empty) => self.delete_some(),
                Err(TryRecvError::Disconnected) => return None,
            }
        }
        queue.recv().ok()
    }

    /// Commits a group, tells the observer, answers; in this order. Where the group has to wait for room, the job behind
    /// it does not.
    fn write(&mut self, mut group: Vec<Write>, behind: &mut Option<WriterJob>, queue: &Receiver<WriterJob>) {
        self.look_for_room();
        self.refuse_creations(&mut group);
        while self.failed.is_none() {
            match self.commit(&group) {
                Ok(results) => {
                    self.tell(group, results);
                    if let Some(passed) = self.room.nothing_waits() {
                        self.observer.went_on(&passed);
                    }
                    return self.look_for_room();
                }
                Err(error) => self.give_up(&error),
            }
            if self.failed.is_none() && !self.wait_for_room(&mut group, behind, queue) {
                return group.into_iter().for_each(|write| write.refuse(StoreError::Closed));
            }
        }
        let error = self.failed.clone().unwrap_or(StoreError::Closed);
        group.into_iter().for_each(|write| write.refuse(error.clone()));
    }

    fn tell(&self, group: Vec<Write>, results: Vec<Result<Commit, Unwritten>>) {
        if let Some(first) = group.first() {
            self.observer.group_committed(first.since.elapsed());
        }
        for (write, result) in group.into_iter().zip(results) {
            if let Ok(commit) = &result {
                self.observer.committed(commit);
            }
            let _ = write.answer.send(result);
        }
    }

    fn commit(&mut self, writes: &[Write]) -> Result<Vec<Result<Commit, Unwritten>>, StoreError> {
        self.place.check()?;
        self.run_sql("BEGIN IMMEDIATE")?;
        let mut group = Group {
            summaries: HashMap::new(),
            next_id: self.next_id,
        };
        let mut results = Vec::with_capacity(writes.len());
        for write in writes {
            match self.write_one(&mut group, &write.draft) {
                Ok(commit) => results.push(Ok(commit)),
                Err(Lost::One(error)) => results.push(Err(error)),
                Err(Lost::All(error)) => return Err(error),
            }
        }
        for summary in group.summaries.values() {
            write_summary(&self.connection, summary).map_err(|error| self.explain(error))?;
        }
        self.run_sql("COMMIT")?;
        self.next_id = group.next_id;
        self.remember(group.summaries);
        self.removed.go_on();
        Ok(results)
    }

    fn write_one(&mut self, group: &mut Group, draft: &PendingAppend) -> Result<Commit, Lost> {
        let session_id = draft.session_id();
        let current = match group.summaries.get(&session_id) {
            Some(summary) => Some(Arc::clone(summary)),
            None => self.committed(session_id)?,
        };
        let commit = draft.number(current.as_deref(), group.next_id).map_err(Lost::one)?;
        self.check_claim(group, draft)?;
        self.insert(&commit.records).map_err(|error| self.undo(error))?;
        group.next_id += commit.records.len() as i64;
        group.summaries.insert(session_id, Arc::clone(&commit.summary));
        Ok(commit)
    }

    /// Refuses a key that a session has already, on disk or in this group.
    fn check_claim(&self, group: &Group, draft: &PendingAppend) -> Result<(), Lost> {
        let Some(claim) = draft.claim() else {
            return Ok(());
        };
        let is_it = |summary: &&Arc<Summary>| {
            let other = summary.claim.as_ref();
            other.is_some_and(|other| other.caller == claim.caller && other.key == claim.key)
        };
        let in_group = group.summaries.values().find(is_it).map(|summary| summary.session_id);
        let owner = match in_group {
            Some(owner) => Some(owner),
            None => listing::claimed(&self.connection, &claim.caller, &claim.key)
                .map_err(|error| Lost::one(self.explain(error)))?,
        };
        owner.map_or(Ok(()), |owner| Err(Lost::one(StoreRefusal::KeyTaken(owner))))
    }

    /// The summary of a session before this group.
    fn committed(&mut self, session_id: SessionId) -> Result<Option<Arc<Summary>>, Lost> {
        if let Some(summary) = self.summaries.get(&session_id) {
            return Ok(Some(Arc::clone(summary)));
        }
        // What cannot be read is the trouble of one session.
        let read = reader::summary(&self.connection, session_id).map_err(|error| Lost::one(self.explain(error)))?;
        Ok(read.map(Arc::new))
    }

    fn insert(&self, records: &[StoredRecord]) -> rusqlite::Result<()> {
        self.connection.prepare_cached("SAVEPOINT append")?.execute([])?;
        for record in records {
            insert_record(&self.connection, record)?;
        }
        self.connection.prepare_cached("RELEASE append")?.execute([])?;
        Ok(())
    }

    /// Takes back a half-written append, where the transaction outlives its error.
    fn undo(&self, error: rusqlite::Error) -> Lost {
        let is_its_own = matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig)
        );
        let error = self.explain(error);
        if !is_its_own || self.connection.is_autocommit() {
            return Lost::All(error);
        }
        match self.run_sql("ROLLBACK TO append; RELEASE append") {
            Ok(()) => Lost::one(error),
            Err(error) => Lost::All(error),
        }
    }

    /// After an error of the whole group. A full disk passes; anything else is for good.
    fn give_up(&mut self, error: &StoreError) {
        if !self.connection.is_autocommit() && self.run_sql("ROLLBACK").is_err() {
            tracing::warn!("the journal's transaction could not be rolled back");
        }
        if matches!(error, StoreError::DiskFull { .. }) {
            return;
        }
        tracing::error!(%error, "the journal failed: nothing is written any more");
        self.room.failed(error);
        self.failed = Some(error.clone());
    }

    fn remember(&mut self, summaries: HashMap<SessionId, Arc<Summary>>) {
        if self.summaries.len() + summaries.len() > SUMMARIES_MAX {
            self.summaries.clear();
        }
        for (session_id, summary) in summaries {
            if has_ended(&summary) {
                self.summaries.remove(&session_id);
            } else {
                self.summaries.insert(session_id, summary);
            }
        }
    }

    fn rebuild(&mut self) -> Result<Rebuilt, StoreError> {
        self.summaries.clear();
        rebuild::rebuild(&mut self.connection, &self.path)
    }

    #[cfg(test)]
    fn run_for_test(&self, sql: &str, done: &SyncSender<()>) {
        self.connection.execute_batch(sql).unwrap();
        done.send(()).unwrap();
    }

    fn run_sql(&self, sql: &str) -> Result<(), StoreError> {
        self.connection.execute_batch(sql).map_err(|error| self.explain(error))
    }

    fn explain(&self, error: rusqlite::Error) -> StoreError {
        explain(&self.path, error)
    }
}

/// Takes what waits behind the first append, up to the size of a group; a job of another sort ends it and is handed
/// back.
fn gather(first: Write, queue: &Receiver<WriterJob>) -> (Vec<Write>, Option<WriterJob>) {
    let (mut records, mut bytes) = (first.draft.records(), first.draft.bytes());
    let mut group = vec![first];
    while records < GROUP_RECORDS_MAX && bytes < GROUP_BYTES_MAX {
        match queue.try_recv() {
            Ok(WriterJob::Write(write)) => {
                records += write.draft.records();
                bytes += write.draft.bytes();
                group.push(write);
            }
            Ok(other) => return (group, Some(other)),
            Err(_) => break,
        }
    }
    (group, None)
}
