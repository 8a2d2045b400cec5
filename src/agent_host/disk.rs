//! Small private files: read as JSON, written so that a reader finds the old text or the new one, never half of it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::regular;

/// What stands in a file that should be JSON.
pub(super) enum Stored<T> {
    /// No such file.
    Absent,
    /// The file is there and cannot be read or understood.
    Unreadable,
    /// What it says.
    Value(T),
}

/// Writes a value beside its place and renames it there.
///
/// Nothing is synced: after a power cut the agent is dead whatever these files say, and its lock shows it.
pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let text = serde_json::to_vec(value)?;
    let beside = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(&text)?;
    fs::rename(&beside, path)
}

/// Reads a value; what cannot be understood is told apart from what is not there.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Stored<T> {
    match regular::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_or(Stored::Unreadable, Stored::Value),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Stored::Absent,
        Err(_) => Stored::Unreadable,
    }
}

/// Opens a file of mode 0600 for appending, and creates it if need be.
pub(super) fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Opens the spool for reading and appending, and creates it if need be, so that it reads as empty.
pub(super) fn open_spool(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600).open(path)
}

/// Creates the directory that a path lies in, mode 0700, unless it is there.
pub(super) fn create_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => DirBuilder::new().recursive(true).mode(0o700).create(parent),
        Some(_) | None => Ok(()),
    }
}

/// Which file is at a path, links followed: its device and inode.
pub(crate) fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Length of an open file; 0 where it cannot be had.
pub(super) fn length(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}

/// The end of a text file, empty when there is none; what is not UTF-8 is replaced.
pub(crate) fn tail(path: &Path, bytes_max: u64) -> String {
    let read = || {
        let file = regular::open(path)?;
        let begin = file.metadata()?.len().saturating_sub(bytes_max);
        let mut text = vec![0; usize::try_from(bytes_max).unwrap_or(usize::MAX)];
        let read = file.read_at(&mut text, begin)?;
        io::Result::Ok(String::from_utf8_lossy(&text[..read]).into_owned())
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_reads_as_it_was_written_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("exit.json");
        assert!(matches!(read_json::<u32>(&path), Stored::Absent));
        write_json(&path, &7).unwrap();
        write_json(&path, &8).unwrap();
        assert!(matches!(read_json::<u32>(&path), Stored::Value(8)));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_tail_is_the_end_of_a_file_and_nothing_of_a_missing_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stderr.log");
        assert_eq!(tail(&path, 4), "");
        fs::write(&path, "0123456789").unwrap();
        assert_eq!(tail(&path, 4), "6789");
        assert_eq!(tail(&path, 400), "0123456789");
    }

    #[test]
    fn a_torn_file_is_unreadable_and_not_absent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.json");
        fs::write(&path, "{\"pid\":").unwrap();
        assert!(matches!(read_json::<u32>(&path), Stored::Unreadable));
    }
}
