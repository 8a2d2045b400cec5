//! Why the store did not do what it was asked: it refuses, or its disk or database fails.

use std::path::PathBuf;

use super::health::ROOM_BYTES_MIN;
use crate::session::id::{Attempt, SessionId};

/// Why an append, a creation or a removal is not on disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritten {
    /// The store is sound, and what was asked does not fit what it has.
    #[error(transparent)]
    Refused(#[from] StoreRefusal),
    /// The store failed.
    #[error(transparent)]
    Failed(#[from] StoreError),
}

/// A refusal. Nothing was written, and nothing is wrong with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreRefusal {
    /// The append is of an attempt that is not the current one.
    #[error("attempt {given} is not the current one ({current}): nothing was written")]
    WrongAttempt {
        /// The append's attempt.
        given: Attempt,
        /// The session's attempt.
        current: Attempt,
    },
    /// The append does not begin where the journal ends.
    #[error("the spool is journalled through byte {stored}, not {given}: nothing was written")]
    WrongOffset {
        /// Where the append begins.
        given: u64,
        /// Through which byte the spool is journalled.
        stored: u64,
    },
    /// There is no such session.
    #[error("there is no session {0}")]
    NoSuchSession(SessionId),
    /// It cannot be removed.
    #[error("session {0} has not ended: cancel it first")]
    StillLive(SessionId),
    /// There is one already.
    #[error("there is a session {0} already")]
    SessionExists(SessionId),
    /// The caller's key for a new session belongs to one already.
    #[error("session {0} was created under this key already")]
    KeyTaken(SessionId),
}

/// A failure of the store: of its disk, of its files or of the database. Reads fail with these alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database was written by a newer version.
    #[error(
        "the journal has format {found}, and this version knows formats up to {known}: use the newer version again"
    )]
    FromTheFuture {
        /// Its format.
        found: i64,
        /// The newest format we know.
        known: i64,
    },
    /// The disk is full; what was written before is whole.
    #[error(
        "the disk is full: free at least {} MiB where {} is, and all goes on by itself; what was written is kept; \
         `cc-executor gc` removes what old sessions have left",
        ROOM_BYTES_MIN / (1024 * 1024), directory.display()
    )]
    DiskFull {
        /// The directory that has no room.
        directory: PathBuf,
    },
    /// The file cannot be read as a journal.
    #[error("the journal {} is damaged ({why}): stop the daemon and run `cc-executor doctor --rebuild`", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing can be read of the file.
    #[error(
        "nothing can be read of the journal {}: put a copy of it there, or move it away, and the next daemon begins a new \
         one", file.display()
    )]
    Unreadable {
        /// The file.
        file: PathBuf,
    },
    /// The journal's files were moved or removed while they were open.
    #[error(
        "the journal {} is no longer where it was: nothing is written any more; put it back, or leave it, and start the \
         daemon again",
        file.display()
    )]
    Moved {
        /// The file that is not in its place.
        file: PathBuf,
    },
    /// The state directory is not on a local disk.
    #[error(
        "{} is on a network file system ({kind}), which cannot keep a journal safe: choose a state directory on a local disk",
        directory.display()
    )]
    NetworkFileSystem {
        /// The directory.
        directory: PathBuf,
        /// What kind of file system it is.
        kind: &'static str,
    },
    /// The database failed. After a failed commit nothing is acknowledged any more.
    #[error("the journal failed: {0}")]
    Failed(String),
    /// The store is closed.
    #[error("the journal is closed")]
    Closed,
}
