//! The files of sessions that have ended: the room they take, whether anything still uses them, and their removal. No
//! link is followed, and all of this blocks.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::settings::RuntimeSettings;
use crate::agent_host::protocol::files;
use crate::session::id::{Attempt, SessionId};

/// What the name of a directory begins with whose session is gone already.
const REMOVED_PREFIX: &str = "removed-";

/// How long a folder that belongs to no session is left alone: it may be of one that just begins.
const STRAY_AGE_MIN: Duration = Duration::from_hours(24);

/// The unit of `st_blocks`, in bytes.
const BLOCK_BYTES: u64 = 512;

/// A lock in the directory of a session, or in one of its attempts', that some process holds. What cannot be looked at
/// is an error, never taken for free.
pub(super) fn held_lock(directory: &Path) -> io::Result<Option<PathBuf>> {
    for attempt in directories_in(directory)? {
        for name in [files::HOST_LOCK, files::AGENT_LOCK] {
            let path = attempt.join(name);
            if is_held(&path)? {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

/// How much room a file or a directory with all that is in it takes on the disk, in bytes. What cannot be looked at
/// counts nothing.
pub(super) fn room(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    let below = match metadata.is_dir().then(|| fs::read_dir(path)) {
        Some(Ok(entries)) => entries.flatten().map(|entry| room(&entry.path())).sum(),
        Some(Err(_)) | None => 0,
    };
    metadata.blocks() * BLOCK_BYTES + below
}

/// What agents of a session have written to their standard output and error, each file with the room it takes; none
/// where an attempt that is not among the `journalled` ones has written something.
pub(super) fn spools(
    settings: &RuntimeSettings,
    session: SessionId,
    journalled: &BTreeSet<Attempt>,
) -> io::Result<Option<Vec<(PathBuf, u64)>>> {
    let mut found = Vec::new();
    for attempt in directories_in(&settings.session_directory(session))? {
        let Some(number) = attempt.file_name().and_then(|name| name.to_str()?.parse().ok()) else {
            continue;
        };
        for name in [files::SPOOL, files::STDERR] {
            let path = attempt.join(name);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if !metadata.is_file() => {}
                Ok(metadata) if journalled.contains(&Attempt(number)) => {
                    found.push((path, metadata.blocks() * BLOCK_BYTES));
                }
                Ok(metadata) if metadata.len() > 0 => return Ok(None),
                // An agent may be about to write to it.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(Some(found))
}

/// Removes files; one that is gone already is none the worse.
pub(super) fn remove_files(paths: &[(PathBuf, u64)]) -> io::Result<()> {
    paths
        .iter()
        .try_for_each(|(path, _)| passed_over(fs::remove_file(path)))
}

/// Removes all that belongs to a session which is gone. The directory first gets another name, so that what a crash
/// leaves of it is known for what it is.
pub(super) fn remove_session(settings: &RuntimeSettings, session: SessionId, attempts: Attempt) -> io::Result<()> {
    for attempt in 1..=attempts.0 {
        passed_over(fs::remove_file(settings.socket(session, Attempt(attempt))))?;
    }
    passed_over(fs::remove_file(settings.secrets_file(session)))?;
    let directory = settings.session_directory(session);
    let removed = removed_directory(settings, session);
    remove_all(&removed)?;
    passed_over(fs::rename(&directory, &removed))?;
    remove_all(&removed)
}

/// Where what is being removed of a session is.
pub(super) fn removed_directory(settings: &RuntimeSettings, session: SessionId) -> PathBuf {
    settings.sessions.join(format!("{REMOVED_PREFIX}{session}"))
}

/// Goes on with removals that were cut off.
pub(super) fn finish_removals(settings: &RuntimeSettings) -> io::Result<()> {
    let cut_off = entries_of(&settings.sessions)?
        .into_iter()
        .filter(|(_, name)| name.starts_with(REMOVED_PREFIX));
    cut_off.map(|(path, _)| path).try_for_each(|path| remove_all(&path))
}

/// A folder among those of sessions.
pub(super) enum Folder {
    /// It is named like a session.
    Of(SessionId, PathBuf),
    /// It was being removed.
    Removed(PathBuf),
}

/// The folders of sessions, those that were being removed among them. What has another name is not ours.
pub(super) fn folders(settings: &RuntimeSettings) -> io::Result<Vec<Folder>> {
    let folder = |(path, name): (PathBuf, String)| {
        if name.starts_with(REMOVED_PREFIX) {
            return Some(Folder::Removed(path));
        }
        let session: SessionId = name.parse().ok()?;
        (session.to_string() == name).then_some(Folder::Of(session, path))
    };
    Ok(entries_of(&settings.sessions)?.into_iter().filter_map(folder).collect())
}

/// Whether nothing was made in a folder for so long that it is not of a session that begins.
pub(super) fn is_old(folder: &Path) -> bool {
    let age = |path: &Path| {
        let changed = fs::symlink_metadata(path)
            .and_then(|metadata| metadata.modified())
            .ok()?;
        SystemTime::now().duration_since(changed).ok()
    };
    let below = directories_in(folder).unwrap_or_default();
    let mut all = below.iter().map(PathBuf::as_path).chain([folder]);
    all.all(|path| age(path).is_some_and(|age| age >= STRAY_AGE_MIN))
}

fn is_held(path: &Path) -> io::Result<bool> {
    let opened = OpenOptions::new().read(true).custom_flags(no_follow()).open(path);
    let file: File = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        // A link is no lock of ours.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => return Ok(false),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn no_follow() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()
}

/// Directories, not links to some; none in what is no directory itself.
fn directories_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = entries_of(directory)?.into_iter().map(|(path, _)| path);
    Ok(entries.filter(|path| is_directory(path)).collect())
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// What is in a directory, with its name; nothing where there is none of this name.
fn entries_of(directory: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if is_no_directory(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let named = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        Ok((entry.path(), entry.file_name().to_string_lossy().into_owned()))
    };
    entries.map(named).collect()
}

fn is_no_directory(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Removes a directory with all that is in it, or a link. An agent may have left directories that nobody may write to.
pub(super) fn remove_all(path: &Path) -> io::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.is_dir() {
        return passed_over(fs::remove_file(path));
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            passed_over(fs::remove_dir_all(path))
        }
        removed => passed_over(removed),
    }
}

fn open_up(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    directories_in(directory)?.iter().try_for_each(|below| open_up(below))
}

/// What is not there any more was removed by somebody else.
fn passed_over(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn place() -> (tempfile::TempDir, RuntimeSettings) {
        let dir = tempfile::tempdir().unwrap();
        let settings = RuntimeSettings {
            sessions: dir.path().join("sessions"),
            sockets: dir.path().join("run"),
            ..RuntimeSettings::for_tests()
        };
        (dir, settings)
    }

    /// The files of a session with one attempt.
    fn session(settings: &RuntimeSettings) -> SessionId {
        let id = SessionId::new();
        let attempt = settings.attempt_directory(id, Attempt(1));
        fs::create_dir_all(&attempt).unwrap();
        fs::write(attempt.join(files::SPOOL), "one\n").unwrap();
        fs::write(attempt.join(files::STDERR), "oh\n").unwrap();
        fs::write(attempt.join(files::HOST_LOCK), "").unwrap();
        id
    }

    #[test]
    fn a_lock_that_is_held_is_found_and_a_free_one_is_not() {
        let (_dir, settings) = place();
        let directory = settings.session_directory(session(&settings));
        assert_eq!(held_lock(&directory).unwrap(), None);
        let path = directory.join("1").join(files::HOST_LOCK);
        let lock = File::open(&path).unwrap();
        lock.lock().unwrap();
        assert_eq!(held_lock(&directory).unwrap(), Some(path));
        drop(lock);
        assert_eq!(held_lock(&directory).unwrap(), None);
        assert_eq!(held_lock(&settings.session_directory(SessionId::new())).unwrap(), None);
    }

    #[test]
    fn a_file_in_the_place_of_a_folder_has_no_lock_and_goes_like_one() {
        let (_dir, settings) = place();
        fs::create_dir_all(&settings.sessions).unwrap();
        let file = settings.session_directory(SessionId::new());
        fs::write(&file, "").unwrap();
        assert_eq!(held_lock(&file).unwrap(), None);
        remove_all(&file).unwrap();
        assert!(!file.exists());
    }

    #[test]
    fn output_goes_only_where_all_of_it_is_journalled() {
        let (_dir, settings) = place();
        let id = session(&settings);
        assert_eq!(spools(&settings, id, &BTreeSet::new()).unwrap(), None);
        let journalled = [Attempt(1)].into();
        let found = spools(&settings, id, &journalled).unwrap().expect("it is journalled");
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|(_, bytes)| *bytes > 0), "{found:?}");
        remove_files(&found).unwrap();
        remove_files(&found).unwrap();
        fs::write(&found[0].0, "").unwrap();
        assert_eq!(
            spools(&settings, id, &BTreeSet::new()).unwrap(),
            Some(vec![]),
            "it may be written to"
        );
        assert_eq!(
            spools(&settings, id, &journalled).unwrap().map(|found| found.len()),
            Some(1)
        );
    }

    #[test]
    fn a_session_goes_with_all_of_its_files_and_nothing_that_links_lead_to() {
        let (dir, settings) = place();
        let (id, outside) = (session(&settings), dir.path().join("outside"));
        fs::create_dir_all(outside.join("1")).unwrap();
        fs::write(outside.join("1/stdout.jsonl"), "mine").unwrap();
        let directory = settings.session_directory(id);
        symlink(&outside, directory.join("2")).unwrap();
        symlink(&outside, directory.join("1/link")).unwrap();
        fs::create_dir_all(directory.join("tmp/closed/deep")).unwrap();
        fs::write(directory.join("tmp/closed/deep/file"), "x").unwrap();
        for closed in ["tmp/closed/deep", "tmp/closed"] {
            fs::set_permissions(directory.join(closed), Permissions::from_mode(0o500)).unwrap();
        }
        fs::create_dir_all(&settings.sockets).unwrap();
        fs::write(settings.socket(id, Attempt(1)), "").unwrap();
        assert!(room(&directory) >= 4096);
        remove_session(&settings, id, Attempt(1)).unwrap();
        remove_session(&settings, id, Attempt(1)).unwrap();
        assert_eq!(fs::read_dir(&settings.sessions).unwrap().count(), 0);
        assert_eq!(fs::read_dir(&settings.sockets).unwrap().count(), 0);
        assert_eq!(fs::read(outside.join("1/stdout.jsonl")).unwrap(), b"mine");

        symlink(&outside, settings.session_directory(id)).unwrap();
        assert_eq!(held_lock(&settings.session_directory(id)).unwrap(), None);
        remove_session(&settings, id, Attempt(1)).unwrap();
        assert_eq!(fs::read_dir(&settings.sessions).unwrap().count(), 0);
        assert!(outside.join("1/stdout.jsonl").exists());
    }

    #[test]
    fn what_was_cut_off_is_finished_and_nothing_else_goes() {
        let (_dir, settings) = place();
        let id = session(&settings);
        fs::create_dir_all(settings.sessions.join("removed-x/1")).unwrap();
        fs::create_dir_all(settings.sessions.join("mine")).unwrap();
        assert_eq!(
            folders(&settings).unwrap().len(),
            2,
            "that of a stranger is none of ours"
        );
        finish_removals(&settings).unwrap();
        let left = entries_of(&settings.sessions).unwrap();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(settings.session_directory(id).exists());
        assert!(!is_old(&settings.session_directory(id)));
    }
}
