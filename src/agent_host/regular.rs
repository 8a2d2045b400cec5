//! Reads files that anybody may have put there: a pipe or a device in a file's place is an error at once, and is never
//! waited for.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file for reading; links are followed.
pub fn open(path: &Path) -> io::Result<File> {
    // Without this flag the opening of a pipe waits for a writer, and that of a device may wait for anything.
    let no_wait = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(no_wait).open(path)?;
    refuse_unless_regular(file.metadata()?.file_type())?;
    Ok(file)
}

/// Reads a regular file whole.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a regular file whole, as UTF-8 text.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Reads a regular file of at most `most` bytes.
pub fn read_at_most(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

/// Errors if something other than a regular file is at `path`. That nothing is there is no error.
pub fn check(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(metadata) => refuse_unless_regular(metadata.file_type()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn refuse_unless_regular(kind: FileType) -> io::Result<()> {
    match name(kind) {
        None => Ok(()),
        Some(what) => Err(io::Error::other(format!("it is {what}, not a regular file"))),
    }
}

/// What a file is in words, if it is not a regular one.
fn name(kind: FileType) -> Option<&'static str> {
    if kind.is_file() {
        return None;
    }
    Some(if kind.is_fifo() {
        "a pipe"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_dir() {
        "a directory"
    } else {
        "something else"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_no_regular_file_is_named_and_not_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let pipe = root.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        for (path, what) in [
            (pipe.as_path(), "it is a pipe"),
            (Path::new("/dev/null"), "it is a device"),
            (root.path(), "it is a directory"),
        ] {
            for told in [read(path).unwrap_err(), check(path).unwrap_err()] {
                assert!(told.to_string().starts_with(what), "{told}");
            }
        }
        let file = root.path().join("file");
        assert!(check(&file).is_ok(), "nothing is there");
        fs::write(&file, "text").unwrap();
        assert_eq!(read_to_string(&file).unwrap(), "text");
        assert_eq!(read_at_most(&file, 4).unwrap(), b"text");
        assert!(read_at_most(&file, 3).unwrap_err().to_string().contains("3 bytes"));
        assert!(check(&file).is_ok());
    }
}
