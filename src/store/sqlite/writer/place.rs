//! Whether the files that are written to are still the journal.
//!
//! Files that were moved or removed can be written to for as long as they are open, and with the last one who has them
//! open all of it is gone, acknowledged or not. So the writer looks before each commit, which costs about a
//! microsecond.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// The files, and which ones they were when they were opened.
pub(super) struct OpenFiles {
    files: Vec<(PathBuf, (u64, u64))>,
}

impl OpenFiles {
    /// The database at `path` and its log, which lives as long as somebody has them open.
    pub(super) fn of(path: &Path) -> Self {
        let mut log = OsString::from(path);
        log.push("-wal");
        let files = [path.to_owned(), PathBuf::from(log)];
        let known = files
            .into_iter()
            .filter_map(|file| Some((file.clone(), identity(&file)?)));
        Self { files: known.collect() }
    }

    /// An error where a file is not the one that is written to.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.files.iter().find(|(file, known)| identity(file) != Some(*known)) {
            Some((file, _)) => Err(StoreError::Moved { file: file.clone() }),
            None => Ok(()),
        }
    }
}

/// Device and inode.
fn identity(file: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
