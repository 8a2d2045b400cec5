//! A full disk: nothing new is admitted, what was handed over waits, and goes on as soon as there is room.
//!
//! A ballast file beside the database is given up first: what is under way can still be written down while somebody
//! makes room. Appends are not refused, because their writers would have to say the same again; they wait, and with them
//! the sessions, whose output is safe in their spools.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};

use super::{Job, Write, Writer};
use crate::store::StoreError;

/// The size of the ballast, in bytes.
const BALLAST_BYTES: u64 = 8 * 1024 * 1024;

/// How long the writer waits before it tries a full disk again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A file whose only use is to be removed.
pub(super) struct Ballast(PathBuf);

impl Ballast {
    /// The ballast of a database; taken on board now if there is room for it.
    pub(super) fn beside(database: &Path) -> Self {
        let ballast = Self(database.with_extension("ballast"));
        ballast.take();
        ballast
    }

    /// Takes it on board. Where there is no room there is none; that is said when it matters.
    fn take(&self) {
        if self.0.exists() {
            return;
        }
        let file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&self.0);
        let filled = file.and_then(|file| Ok(fallocate(&file, FallocateFlags::empty(), 0, BALLAST_BYTES)?));
        if filled.is_err() {
            self.drop_it();
        }
    }

    /// Gives it up; whether that has made room.
    fn drop_it(&self) -> bool {
        std::fs::remove_file(&self.0).is_ok()
    }
}

impl Writer {
    /// A group did not fit. Answers whether it is to be tried again: not when the store was closed meanwhile. What is
    /// handed over in the meantime joins the group, but for new sessions.
    pub(super) fn wait_for_room(&mut self, waiting: &mut Vec<Write>, queue: &Receiver<Job>) -> bool {
        if !self.is_full {
            self.is_full = true;
            tracing::error!("the disk is full: no session is admitted and the others wait; make some room");
        }
        if self.ballast.drop_it() {
            return true;
        }
        let admitted = |write: &Write| !write.draft.is_create();
        let (kept, refused): (Vec<_>, Vec<_>) = std::mem::take(waiting).into_iter().partition(admitted);
        refused.into_iter().for_each(|write| write.refuse(StoreError::DiskFull));
        *waiting = kept;
        let until = Instant::now() + RETRY_PAUSE;
        loop {
            match queue.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Job::Write(write)) if write.draft.is_create() => write.refuse(StoreError::DiskFull),
                Ok(Job::Write(write)) => waiting.push(write),
                Ok(Job::Rebuild(answer)) => drop(answer.send(Err(StoreError::DiskFull))),
                #[cfg(test)]
                Ok(Job::Run(sql, done)) => {
                    self.run_for_test(sql, &done);
                    return true;
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// A group was written: if the disk was full before, it is no longer.
    pub(super) fn note_room(&mut self) {
        if std::mem::take(&mut self.is_full) {
            tracing::info!("there is room on the disk again");
            self.ballast.take();
        }
    }
}
