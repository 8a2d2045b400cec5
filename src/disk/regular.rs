//! Opens files that anybody may have put there: a pipe or a device in a file's place is an error at once, and is never
//! waited for.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file for reading; links are followed.
pub fn open(path: &Path) -> io::Result<File> {
    open_by(OpenOptions::new().read(true), path)
}

/// Opens a regular file by these options, which may make it; links are followed.
pub fn open_by(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    // A pipe that is opened for writing says nothing of itself when nobody reads it.
    if let Some(there) = if_there(fs::metadata(path))? {
        refuse_unless_regular(there.file_type())?;
    }
    // Without this flag the opening of a pipe waits for its other end, and that of a device may wait for anything.
    let no_wait = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = options.custom_flags(no_wait).open(path)?;
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

/// What was looked for; none if nothing is there.
pub fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Errors with its name if a pipe or a device lies in `directory` or, down to `depth`, below it. Folders of the name
/// `passed_over` are not looked into.
pub fn check(directory: &Path, depth: usize, passed_over: &str) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let kind = match entry.file_type()? {
            kind if kind.is_symlink() => match std::fs::metadata(&path) {
                Ok(metadata) => metadata.file_type(),
                // It leads nowhere.
                Err(_) => continue,
            },
            kind => kind,
        };
        if kind.is_fifo() || kind.is_char_device() || kind.is_block_device() {
            let what = name(kind).unwrap_or_default();
            let told = format!("{}: it is {what}, not a regular file: remove it", path.display());
            return Err(io::Error::other(told));
        }
        if entry.file_type()?.is_dir() && depth > 0 && entry.file_name() != passed_over {
            check(&path, depth - 1, passed_over)?;
        }
    }
    Ok(())
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
    use std::os::unix::fs::symlink;

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
            let told = read(path).unwrap_err().to_string();
            assert!(told.starts_with(what), "{told}");
            let told = open_by(OpenOptions::new().append(true), path).unwrap_err().to_string();
            assert!(told.starts_with(what), "{told}");
        }
        let file = root.path().join("file");
        assert_eq!(if_there(read(&file)).unwrap(), None);
        assert!(if_there(read(&pipe)).is_err(), "what cannot be read is not absent");
        fs::write(&file, "text").unwrap();
        assert_eq!(read_to_string(&file).unwrap(), "text");
        assert_eq!(read_at_most(&file, 4).unwrap(), b"text");
        assert!(read_at_most(&file, 3).unwrap_err().to_string().contains("3 bytes"));
    }

    #[test]
    fn a_pipe_or_device_below_a_directory_is_told_by_name() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("below");
        fs::create_dir(&below).unwrap();
        fs::write(below.join("file"), "").unwrap();
        symlink("/missing", root.path().join("nowhere")).unwrap();
        assert!(check(root.path(), 1, "sessions").is_ok());
        let pipe = below.join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        let told = check(root.path(), 1, "sessions").unwrap_err().to_string();
        assert!(
            told.contains(&pipe.display().to_string()) && told.contains("a pipe"),
            "{told}"
        );
        assert!(check(root.path(), 0, "sessions").is_ok() && check(root.path(), 1, "below").is_ok());
        symlink("/dev/null", root.path().join("link")).unwrap();
        assert!(
            check(root.path(), 0, "sessions")
                .unwrap_err()
                .to_string()
                .contains("a device")
        );
    }
}
