//! Calls that remove what has ended: one session, or all that ended long ago. Nothing is removed that nobody asked for.
//!
//! The journal goes first, then the files: what a crash leaves in between is a folder that belongs to no session, which
//! the next sweep finds. Transcripts of the agent are its own and stay.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Handle, blocking};
use crate::runtime::files::{self, Folder};
use crate::runtime::refusal::CallError;
use crate::runtime::settings::RuntimeSettings;
use crate::session::decide::Denied;
use crate::session::id::{Attempt, Seq, SessionId};
use crate::session::journal::Entry;
use crate::session::summary::Summary;
use crate::store::{Filter, Journal, PAGE_RECORDS_MAX, StoreError, StoredRecord, Unwritten};

/// How long the host of an agent that has ended may take to leave.
const LEAVING_TIME_MAX: Duration = Duration::from_secs(3);

/// The wait between two looks whether it has.
const LEAVING_PAUSE: Duration = Duration::from_millis(50);

/// A sweep answers after this time with what it has done so far, which the caller can show.
const SWEEP_TIME_MAX: Duration = Duration::from_secs(3);

/// How many sessions a sweep reads at a time.
const PAGE_SESSIONS: usize = 100;

/// What is to be removed.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// Of the sessions that ended before then.
    pub ended_before: Timestamp,
    /// The parts of them that go.
    pub of: SweepOf,
    /// It is only said what would be removed.
    pub dry_run: bool,
    /// Where the sweep before this one stopped.
    pub before: Option<SessionId>,
}

/// What a sweep removes of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepOf {
    /// All of it; folders that belong to no session as well.
    Sessions,
    /// What its agents wrote to their standard output and error. Its journal says all of that, and stays.
    Spools,
}

/// What a sweep has removed, or would.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// Sessions, newest first, each with the room that its files took on the disk, in bytes.
    pub sessions: Vec<Gone>,
    /// Folders that belong to no session: their names, and the room they took, in bytes.
    pub folders: Vec<(String, u64)>,
    /// What was not removed though it was to be: a session or a folder, and why.
    pub kept: Vec<(String, String)>,
    /// Where to go on; none where all is done.
    pub next: Option<SessionId>,
}

/// A session that is removed, or would be, or whose output is.
#[derive(Clone, Debug)]
pub struct Gone {
    /// As it was.
    pub summary: Arc<Summary>,
    /// The room its files took on the disk, in bytes.
    pub bytes: u64,
}

impl Handle {
    /// Removes an ended session with all of its files; answered when they are gone.
    pub async fn remove(&self, id: SessionId) -> Result<Gone, CallError> {
        let summary = self.get(id).await?;
        let state = &summary.lifecycle.state;
        if state.outcome().is_none() {
            return Err(Denied::StillLive(state.name()).into());
        }
        let patient_until = Instant::now() + LEAVING_TIME_MAX;
        loop {
            let removed = self.off_thread(&summary, remove_session).await?;
            match removed {
                Err(CallError::InUse { .. }) if Instant::now() < patient_until => {
                    tokio::time::sleep(LEAVING_PAUSE).await;
                }
                removed => return removed,
            }
        }
    }

    /// Removes what has ended long ago. It may answer before all is done, and then says where to go on.
    pub async fn sweep(&self, sweep: Sweep) -> Result<Swept, CallError> {
        let until = Instant::now() + SWEEP_TIME_MAX;
        let mut swept = Swept::default();
        let mut before = sweep.before;
        let filter = Filter {
            until: Some(sweep.ended_before),
            ..Filter::default()
        };
        loop {
            let page = self.find(filter.clone(), before, PAGE_SESSIONS).await?;
            if page.is_empty() {
                break;
            }
            for summary in page {
                before = Some(summary.session_id);
                if is_meant(&summary, sweep.ended_before) {
                    self.sweep_one(&summary, sweep, &mut swept).await?;
                }
                if Instant::now() > until {
                    swept.next = before;
                    return Ok(swept);
                }
            }
        }
        if sweep.of == SweepOf::Sessions {
            self.sweep_folders(sweep.dry_run, &mut swept).await?;
        }
        Ok(swept)
    }

    /// Goes on with removals of files that a daemon's end has cut off.
    pub fn finish_removals(&self) {
        let settings = Arc::clone(&self.settings);
        let finishing = move || {
            if let Err(error) = files::finish_removals(&settings) {
                tracing::warn!(%error, "files of removed sessions stay behind");
            }
        };
        drop(tokio::task::spawn_blocking(finishing));
    }

    async fn sweep_one(&self, summary: &Arc<Summary>, sweep: Sweep, swept: &mut Swept) -> Result<(), CallError> {
        let remove = match (sweep.of, sweep.dry_run) {
            (SweepOf::Sessions, false) => remove_session,
            (SweepOf::Sessions, true) => look_at_session,
            (SweepOf::Spools, false) => remove_spools,
            (SweepOf::Spools, true) => look_at_spools,
        };
        match self.off_thread(summary, remove).await? {
            // There was nothing to remove.
            Ok(gone) if sweep.of == SweepOf::Spools && gone.bytes == 0 => {}
            Ok(gone) => swept.sessions.push(gone),
            // Somebody else was quicker.
            Err(CallError::NoSuchSession(_)) => {}
            Err(error @ (CallError::Stopping | CallError::Store(StoreError::Failed(_) | StoreError::Closed))) => {
                return Err(error);
            }
            Err(error) => swept.kept.push((summary.session_id.to_string(), error.to_string())),
        }
        Ok(())
    }

    async fn sweep_folders(&self, dry_run: bool, swept: &mut Swept) -> Result<(), CallError> {
        let (store, settings) = (Arc::clone(&self.store), Arc::clone(&self.settings));
        let (folders, kept) = blocking(move || sweep_folders(&*store, &settings, dry_run)).await??;
        swept.folders = folders;
        swept.kept.extend(kept);
        Ok(())
    }

    /// Does something about a session where it may block; it is carried out to its end even if nobody waits for it.
    async fn off_thread<T: Send + 'static>(
        &self,
        summary: &Arc<Summary>,
        work: fn(&dyn Journal, &RuntimeSettings, &Arc<Summary>) -> T,
    ) -> Result<T, CallError> {
        let (store, settings) = (Arc::clone(&self.store), Arc::clone(&self.settings));
        let summary = Arc::clone(summary);
        blocking(move || work(&*store, &settings, &summary)).await
    }
}

fn is_meant(summary: &Summary, ended_before: Timestamp) -> bool {
    let has_ended = summary.lifecycle.state.outcome().is_some();
    has_ended && summary.ended_at.unwrap_or(summary.updated_at) < ended_before
}

fn remove_session(store: &dyn Journal, settings: &RuntimeSettings, summary: &Arc<Summary>) -> Result<Gone, CallError> {
    let gone = look_at_session(store, settings, summary)?;
    let id = summary.session_id;
    match remove_journal(store, id) {
        // A removal is written down first, for which there has to be some room.
        Err(Unwritten::Failed(StoreError::DiskFull { .. })) => {
            // Where it cannot be made by that, the second try says what is to be done.
            let _ = remove_spools(store, settings, summary);
            remove_journal(store, id)
        }
        removed => removed,
    }?;
    tracing::info!(session_id = %id, bytes = gone.bytes, "session removed");
    let removed = files::remove_session(settings, id, summary.lifecycle.attempt);
    removed.map_err(|error| CallError::FilesStay {
        session: id,
        directory: files::removed_directory(settings, id),
        why: error.to_string(),
    })?;
    Ok(gone)
}

fn remove_journal(store: &dyn Journal, id: SessionId) -> Result<(), Unwritten> {
    let removal = store.remove(id).blocking_recv();
    removal.unwrap_or(Err(Unwritten::Failed(StoreError::Closed)))
}

fn look_at_session(_: &dyn Journal, settings: &RuntimeSettings, summary: &Arc<Summary>) -> Result<Gone, CallError> {
    refuse_while_in_use(settings, summary.session_id)?;
    Ok(Gone {
        summary: Arc::clone(summary),
        bytes: files::room(&settings.session_directory(summary.session_id)),
    })
}

fn remove_spools(store: &dyn Journal, settings: &RuntimeSettings, summary: &Arc<Summary>) -> Result<Gone, CallError> {
    let found = find_spools(store, settings, summary.session_id)?;
    files::remove_files(&found).map_err(unusable(summary.session_id))?;
    Ok(of_output(summary, &found))
}

fn look_at_spools(store: &dyn Journal, settings: &RuntimeSettings, summary: &Arc<Summary>) -> Result<Gone, CallError> {
    Ok(of_output(summary, &find_spools(store, settings, summary.session_id)?))
}

fn of_output(summary: &Arc<Summary>, found: &[(PathBuf, u64)]) -> Gone {
    Gone {
        summary: Arc::clone(summary),
        bytes: found.iter().map(|(_, bytes)| bytes).sum(),
    }
}

fn find_spools(
    store: &dyn Journal,
    settings: &RuntimeSettings,
    session: SessionId,
) -> Result<Vec<(PathBuf, u64)>, CallError> {
    refuse_while_in_use(settings, session)?;
    let found = files::spools(settings, session, &journalled(store, session)?);
    found
        .map_err(unusable(session))?
        .ok_or(CallError::NotJournalled(session))
}

/// The attempts whose output was read to its end: it is known how their agents ended, which is told last.
fn journalled(store: &dyn Journal, session: SessionId) -> Result<BTreeSet<Attempt>, StoreError> {
    let records = store.latest_of_kind(session, "attempt.ended", None, PAGE_RECORDS_MAX)?;
    let is_read = |record: &StoredRecord| matches!(record.entry(), Ok(Entry::AttemptEnded(end)) if end.exit.is_some());
    Ok(records
        .into_iter()
        .filter(is_read)
        .map(|record| record.attempt)
        .collect())
}

/// Its host, its agent or what that has left running may still write.
fn refuse_while_in_use(settings: &RuntimeSettings, session: SessionId) -> Result<(), CallError> {
    match files::held_lock(&settings.session_directory(session)).map_err(unusable(session))? {
        Some(lock) => Err(CallError::InUse { session, lock }),
        None => Ok(()),
    }
}

/// Folders and the room they took, and what stays with the reason for it.
type Folders = (Vec<(String, u64)>, Vec<(String, String)>);

fn sweep_folders(store: &dyn Journal, settings: &RuntimeSettings, dry_run: bool) -> Result<Folders, CallError> {
    let (mut gone, mut kept) = (Vec::new(), Vec::new());
    for folder in files::folders(settings).map_err(|error| unreadable(settings, &error))? {
        let path = match folder {
            Folder::Removed(path) => path,
            Folder::Of(session, path) if belongs_to_nobody(store, session)? && files::is_old(&path) => path,
            Folder::Of(..) => continue,
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = files::room(&path);
        match remove_folder(&path, dry_run) {
            Ok(None) => gone.push((name, bytes)),
            Ok(Some(lock)) => kept.push((name, format!("{} is held", lock.display()))),
            Err(error) => kept.push((name, error.to_string())),
        }
    }
    Ok((gone, kept))
}

/// The lock for whose sake it stays, if there is one.
fn remove_folder(path: &std::path::Path, dry_run: bool) -> std::io::Result<Option<PathBuf>> {
    let held = files::held_lock(path)?;
    if held.is_none() && !dry_run {
        files::remove_all(path)?;
    }
    Ok(held)
}

/// Whether neither a session has this id nor a record; of what cannot be read that is not said.
fn belongs_to_nobody(store: &dyn Journal, session: SessionId) -> Result<bool, StoreError> {
    match store.summary(session) {
        Ok(None) => Ok(store.records(session, Seq::default(), 1)?.is_empty()),
        Ok(Some(_)) | Err(StoreError::Damaged { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn unusable(session: SessionId) -> impl Fn(std::io::Error) -> CallError {
    move |error| CallError::FilesUnusable {
        session,
        why: error.to_string(),
    }
}

fn unreadable(settings: &RuntimeSettings, error: &std::io::Error) -> CallError {
    let directory = settings.sessions.display();
    StoreError::Failed(format!("{directory} cannot be read: {error}")).into()
}
