//! A full disk: nothing new is admitted, what was handed over waits, and goes on as soon as there is room.
//!
//! A ballast file beside the database is given up first: what is under way can still be written down while somebody
//! makes room. The disk counts as full until the ballast is on board again and as much is free beside it. Appends are not refused, because their
//! writers would have to say the same again; they wait, and with them the sessions, whose output is safe in their
//! spools.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tokio::sync::watch;

use super::{Write, Writer, WriterJob};
use crate::session::id::SessionId;
use crate::store::health::ROOM_BYTES_MIN;
use crate::store::{Health, Shortage, StoreError};

/// How long the writer waits before it tries a full disk again.
pub(super) const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The size of the reserve for opening, and those that are tried on a disk that is nearly full, in bytes.
const RESERVE_BYTES: [u64; 3] = [1024 * 1024, 256 * 1024, 64 * 1024];

/// Free bytes that opening a database certainly does with: for the index of its log, and for small files of the daemon.
const OPENING_BYTES: u64 = RESERVE_BYTES[0] / 2;

/// The size of the ballast, and of what is to be free beside it, in bytes.
const BALLAST_BYTES: u64 = ROOM_BYTES_MIN / 2;

/// The room there is on the disk, as far as the writer has noticed.
pub(super) struct DiskRoom {
    /// A file whose only use is to be removed.
    ballast: PathBuf,
    /// The directory of the database.
    directory: PathBuf,
    /// What everybody sees.
    health: watch::Sender<Health>,
    /// The disk counts as full.
    is_short: bool,
    /// What could not be written when it was tried, since when, and whose it is.
    held_up: Option<Shortage>,
}

impl DiskRoom {
    /// The room beside a database. The ballast is taken on board if it can be; where it cannot, that is said when it
    /// matters. A disk that was full when the database was opened is said to be full at once.
    pub(super) fn beside(database: &Path, health: watch::Sender<Health>, was_full: bool) -> Self {
        let mut room = Self {
            ballast: database.with_extension("ballast"),
            directory: database.parent().unwrap_or(Path::new("/")).to_owned(),
            health,
            is_short: false,
            held_up: None,
        };
        room.take_ballast();
        put_by_for_opening(database, ROOM_BYTES_MIN);
        if was_full {
            room.say_full();
            room.show(BTreeSet::new());
        }
        room
    }

    /// Whether the disk is full.
    pub(super) fn is_short(&self) -> bool {
        self.is_short
    }

    /// What was handed over is written. Answers what had been held up.
    pub(super) fn nothing_waits(&mut self) -> Option<Shortage> {
        if self.is_short {
            self.show(BTreeSet::new());
        }
        self.held_up.take()
    }

    /// Nothing is written any more.
    pub(super) fn failed(&self, error: &StoreError) {
        self.health.send_replace(Health::Failed(error.clone()));
    }

    /// Gives up the ballast for something that has to be written on a full disk, and says so. Whether that has made room.
    pub(super) fn make_some(&mut self) -> bool {
        let has_made = self.give_up_ballast();
        if has_made && !self.is_short {
            self.say_full();
            self.show(BTreeSet::new());
        }
        has_made
    }

    fn say_full(&self) {
        let directory = self.directory.display();
        tracing::error!(%directory, "the disk is full: no session is admitted and those that write wait; make some room");
    }

    /// Shows that the disk is full, and who waits for it.
    fn show(&mut self, waiting: BTreeSet<SessionId>) {
        self.is_short = true;
        let shortage = |waiting| Shortage {
            directory: self.directory.clone(),
            since: Timestamp::now(),
            waiting,
        };
        if !waiting.is_empty() {
            let held_up = self.held_up.get_or_insert_with(|| shortage(BTreeSet::new()));
            held_up.waiting.extend(&waiting);
        }
        self.health.send_modify(|health| match health {
            Health::Full(shortage) => shortage.waiting = waiting,
            Health::Good | Health::Failed(_) => *health = Health::Full(shortage(waiting)),
        });
    }

    fn waits_too(&mut self, session_id: SessionId) {
        let of_shown = |health: &mut Health| match health {
            Health::Full(shortage) => shortage.waiting.insert(session_id),
            Health::Good | Health::Failed(_) => false,
        };
        if self.health.send_if_modified(of_shown)
            && let Some(held_up) = &mut self.held_up
        {
            held_up.waiting.insert(session_id);
        }
    }

    fn has(&self, bytes: u64) -> bool {
        has(&self.directory, bytes)
    }

    /// Whether it is on board now. It is not tried where it hardly fits: that would take the last room away from agents
    /// that write, if only for a moment.
    fn take_ballast(&self) -> bool {
        if self.ballast.exists() {
            return true;
        }
        if !self.has(ROOM_BYTES_MIN) {
            return false;
        }
        is_put_by(&self.ballast, BALLAST_BYTES)
    }

    /// Whether that has made room.
    fn give_up_ballast(&self) -> bool {
        std::fs::remove_file(&self.ballast).is_ok()
    }
}

/// Puts some room by with which a database can be opened on a full disk, unless there is some already or fewer than
/// `free_min` bytes are free. It is given up by [`make_some_to_open`] alone.
pub(in crate::store::sqlite) fn put_by_for_opening(database: &Path, free_min: u64) {
    let reserve = database.with_extension("reserve");
    if !reserve.exists() && has(directory_of(database), free_min) {
        // Not having it matters on a full disk only.
        let _ = RESERVE_BYTES.iter().any(|bytes| is_put_by(&reserve, *bytes));
    }
}

/// Gives up what was put by, if there is hardly any room to open a database: the reserve first, then the ballast. Returns
/// true if there was hardly any.
pub(in crate::store::sqlite) fn make_some_to_open(database: &Path) -> bool {
    let was_full = !has(directory_of(database), OPENING_BYTES);
    for put_by in ["reserve", "ballast"] {
        if !has(directory_of(database), OPENING_BYTES) {
            let _ = std::fs::remove_file(database.with_extension(put_by));
        }
    }
    was_full
}

fn directory_of(database: &Path) -> &Path {
    database.parent().unwrap_or(Path::new("/"))
}

/// Returns true if so many bytes are free. If that cannot be known, the next write shows it.
fn has(directory: &Path, bytes: u64) -> bool {
    statvfs(directory).map_or(true, |stat| stat.f_bavail.saturating_mul(stat.f_frsize) >= bytes)
}

/// Makes a file of this size, whose only use is to be removed. Returns false if it does not fit.
fn is_put_by(path: &Path, bytes: u64) -> bool {
    let file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path);
    let filled = file.and_then(|file| Ok(fallocate(&file, FallocateFlags::empty(), 0, bytes)?));
    if filled.is_err() {
        let _ = std::fs::remove_file(path);
    }
    filled.is_ok()
}

impl Writer {
    /// A group did not fit. Answers whether it is to be tried again: not when the store was closed meanwhile. What is
    /// handed over in the meantime joins the group, but for new sessions.
    pub(super) fn wait_for_room(
        &mut self,
        waiting: &mut Vec<Write>,
        behind: &mut Option<WriterJob>,
        queue: &Receiver<WriterJob>,
    ) -> bool {
        if !self.room.is_short() {
            self.room.say_full();
        }
        let has_ballast = self.room.give_up_ballast();
        let appends = waiting.iter().filter(|write| !has_ballast && !write.draft.is_create());
        self.room.show(appends.map(|write| write.draft.session_id()).collect());
        self.refuse_creations_of(waiting);
        if has_ballast {
            return true;
        }
        let until = Instant::now() + RETRY_PAUSE;
        loop {
            let next = behind.take().map_or_else(
                || queue.recv_timeout(until.saturating_duration_since(Instant::now())),
                Ok,
            );
            match next {
                Ok(WriterJob::Write(write)) if write.draft.is_create() => write.refuse(self.disk_full()),
                Ok(WriterJob::Write(write)) => {
                    self.room.waits_too(write.draft.session_id());
                    waiting.push(write);
                }
                Ok(WriterJob::Remove(asked)) => {
                    self.remove(asked);
                    return true;
                }
                Ok(WriterJob::Rebuild(answer)) => drop(answer.send(Err(self.disk_full()))),
                #[cfg(test)]
                Ok(WriterJob::Run(sql, done)) => {
                    self.run_for_test(sql, &done);
                    return true;
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Looks, while the disk counts as full, whether it still is.
    pub(super) fn look_for_room(&mut self) {
        if !self.room.is_short() || !self.room.take_ballast() || !self.room.has(BALLAST_BYTES) {
            return;
        }
        put_by_for_opening(&self.path, 0);
        tracing::info!("there is room on the disk again");
        self.room.is_short = false;
        self.room.health.send_replace(Health::Good);
    }

    /// Where there is hardly room no session begins: its agent could not be started.
    pub(super) fn refuse_creations(&mut self, waiting: &mut Vec<Write>) {
        let has_room = || !self.room.is_short() && self.room.has(BALLAST_BYTES);
        if !waiting.iter().any(|write| write.draft.is_create()) || has_room() {
            return;
        }
        if !self.room.is_short() {
            self.room.say_full();
            self.room.show(BTreeSet::new());
        }
        self.refuse_creations_of(waiting);
    }

    fn refuse_creations_of(&self, waiting: &mut Vec<Write>) {
        let (refused, kept): (Vec<_>, Vec<_>) = std::mem::take(waiting)
            .into_iter()
            .partition(|write| write.draft.is_create());
        *waiting = kept;
        refused.into_iter().for_each(|write| write.refuse(self.disk_full()));
    }

    fn disk_full(&self) -> StoreError {
        super::super::full(&self.path)
    }
}
