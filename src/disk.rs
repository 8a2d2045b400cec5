//! Files of this user alone, and files that anybody may have put where we look ([`regular`]).
//!
//! Whatever is written here has mode 0600 from its first moment, and a reader finds the old text or the new one, never
//! half of it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::{Builder, NamedTempFile};

pub mod regular;

/// Creates a directory and its parents, mode 0700.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Creates the directory that a path lies in, and its parents, mode 0700.
pub(crate) fn create_parent(path: &Path) -> io::Result<()> {
    create_private_dir(parent(path))
}

/// Writes a file of mode 0600 whole. When this returns, text and name outlast a power cut.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = write_beside(path, bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync_dir(parent(path))
}

/// Writes a value as JSON, whole, without waiting for the disk: a power cut may undo it.
pub(crate) fn write_json_unsynced<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    write_beside(path, &serde_json::to_vec(value)?)?.persist(path)?;
    Ok(())
}

/// A new file in the directory of `path`; it is removed unless it is given a name.
fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let name = path.file_name().unwrap_or_default();
    let mut file = Builder::new().prefix(name).suffix(".new").tempfile_in(parent(path))?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Removes a file. When this returns, no power cut brings it back.
pub(crate) fn remove_synced(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    sync_dir(parent(path))
}

/// Waits until the names in a directory are on disk.
pub(crate) fn sync_dir(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// Reads a value from a regular file of JSON; none where there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let text = regular::if_there(regular::read(path))?;
    Ok(text.map(|text| serde_json::from_slice(&text)).transpose()?)
}

/// Opens a file of mode 0600 for appending, and creates it if need be.
pub(crate) fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Opens the spool for reading and appending, and creates it if need be, so that it reads as empty.
pub(crate) fn open_spool(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600).open(path)
}

/// Which file is at a path, links followed: its device and inode.
pub(crate) fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Length of an open file; 0 where it cannot be had.
pub(crate) fn length(file: &File) -> u64 {
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
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_whole_and_is_private_whatever_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let reader = File::open(&path).unwrap();
        write_private(&path, b"new text").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new text");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            reader.metadata().unwrap().len(),
            3,
            "who reads the old text reads it to its end"
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("taken");
        fs::create_dir(&path).unwrap();
        assert!(write_private(&path, b"text").is_err());
        assert!(write_private(&directory.path().join("missing/file"), b"text").is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_value_reads_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("exit.json");
        assert_eq!(read_json::<u32>(&path).unwrap(), None);
        write_json_unsynced(&path, &7).unwrap();
        write_json_unsynced(&path, &8).unwrap();
        assert_eq!(read_json(&path).unwrap(), Some(8));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        fs::write(&path, "{\"pid\":").unwrap();
        let torn = read_json::<u32>(&path).unwrap_err();
        assert_ne!(torn.kind(), io::ErrorKind::NotFound, "a torn file is not absent");
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
}
