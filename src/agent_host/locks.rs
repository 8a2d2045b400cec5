//! Locks that live exactly as long as a process: `flock` on an open file, which the kernel lets go at its end.
//!
//! A lock belongs to the open file description. An agent that inherits it holds it for as long as it lives, whatever
//! becomes of the host, once the host has closed its own copy.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::io::{FdFlags, fcntl_setfd};

use crate::disk;

/// Takes a lock, or answers `None` when somebody holds it.
pub(super) fn try_lock(path: &Path) -> io::Result<Option<File>> {
    disk::create_parent(path)?;
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        match file.try_lock() {
            Ok(()) if is_still_at(&file, path)? => return Ok(Some(file)),
            // It was removed in between.
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

fn is_still_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match disk::identity(path) {
        Ok(found) => Ok(found == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a lock that nobody holds any more.
pub(super) fn remove_if_free(path: &Path) -> io::Result<()> {
    if !path.try_exists()? {
        return Ok(());
    }
    // The lock is held while its file goes, so whoever has opened that meanwhile sees that it is gone.
    match try_lock(path)? {
        Some(_held) => fs::remove_file(path),
        None => Ok(()),
    }
}

/// Whether files in this directory can be locked; it is made where only it is missing.
pub(super) fn can_be_in(directory: &Path) -> bool {
    // What cannot be made is there already, or is not looked at any further.
    let _ = DirBuilder::new().mode(0o700).create(directory);
    let is_writable = || rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_ok();
    let is_locking = || File::open(directory).is_ok_and(|open| open.try_lock_shared().is_ok());
    directory.is_dir() && is_writable() && is_locking()
}

/// Lets the next child inherit a lock. Close the own copy right after the child is started.
pub(super) fn let_inherit(lock: &File) -> io::Result<()> {
    fcntl_setfd(lock, FdFlags::empty()).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_holder_and_is_free_again_after_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/er/x.lock");
        let held = try_lock(&path).unwrap().expect("nobody else");
        assert!(try_lock(&path).unwrap().is_none());
        remove_if_free(&path).unwrap();
        assert!(path.exists(), "it is held");
        drop(held);
        assert!(try_lock(&path).unwrap().is_some());
        remove_if_free(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_more_at_its_place_is_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.lock");
        let held = try_lock(&path).unwrap().expect("nobody else");
        assert!(is_still_at(&held, &path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!is_still_at(&held, &path).unwrap());
        fs::write(&path, "").unwrap();
        assert!(!is_still_at(&held, &path).unwrap());
    }

    #[test]
    fn locks_are_kept_where_they_can_be() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("locks");
        assert!(can_be_in(&place) && can_be_in(&place), "made, and there");
        assert!(!can_be_in(&directory.path().join("not/there")));
        fs::write(directory.path().join("file"), "").unwrap();
        assert!(!can_be_in(&directory.path().join("file")));
    }
}
