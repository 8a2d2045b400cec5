//! Locks that live exactly as long as a process: `flock` on an open file, which the kernel lets go at its end.
//!
//! A lock belongs to the open file description. An agent that inherits it holds it for as long as it lives, whatever
//! becomes of the host, once the host has closed its own copy.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::io::{FdFlags, fcntl_setfd};

use super::disk;

/// Takes a lock, or answers `None` when somebody holds it.
pub(super) fn try_lock(path: &Path) -> io::Result<Option<File>> {
    disk::create_parent(path)?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
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
        drop(held);
        assert!(try_lock(&path).unwrap().is_some());
    }
}
