//! A directory as it was when a request was accepted, so that another one under its name is noticed before an agent
//! works there.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::proc;

/// Tells one start of the machine from another.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A directory: its path, and which one was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedDirectory {
    /// Where it was; absolute.
    pub path: PathBuf,
    /// The file system that holds it. The number means another one after the next start of the machine.
    device: u64,
    /// Its number there.
    inode: u64,
    /// The start of the machine, or of the container, in which `device` was seen.
    boot: String,
}

impl AcceptedDirectory {
    /// The directory at this path as it is now, and where it is, without links: by what was opened, so that nothing can
    /// come in between.
    pub fn of(path: &Path) -> io::Result<(Self, PathBuf)> {
        let directory = open(path)?;
        let (metadata, found) = (directory.metadata()?, fs::read_link(entrance(&directory))?);
        let place = Self {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
            boot: boot(),
        };
        Ok((place, found))
    }

    /// Opens the directory if it is still the same one. The error is for a person and says what to do.
    pub(super) fn open(&self) -> Result<File, String> {
        let shown = self.path.display();
        let opened = open(&self.path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("the directory {shown} is not there: create it or choose another"),
            _ => format!("the directory {shown} cannot be opened: {error}"),
        })?;
        let is_same_device = metadata.dev() == self.device || boot() != self.boot;
        if is_same_device && metadata.ino() == self.inode {
            return Ok(file);
        }
        Err(format!(
            "{shown} is another directory than when the session was asked for: somebody has moved or replaced it. Put the \
             first one back, or start a new session in the one that is there now"
        ))
    }
}

/// A path by which a child of this process can enter an open directory, whatever has its name by then.
pub(super) fn entrance(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

/// Opens a directory to look at it and to enter it, for which it need not be readable.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

/// The start of the machine; in a container its own start too, since its file systems are mounted anew with it.
fn boot() -> String {
    let machine = fs::read_to_string(BOOT_ID).unwrap_or_default();
    let first = proc::stat(1).map_or(0, |stat| stat.start_ticks);
    format!("{} {first}", machine.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_directory_is_the_same_under_its_name_until_another_has_it() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("work");
        fs::create_dir(&path).unwrap();
        let (place, found) = AcceptedDirectory::of(&path).unwrap();
        assert_eq!(found, path.canonicalize().unwrap());
        fs::write(path.join("file"), "").unwrap();
        let opened = place.open().unwrap();
        assert!(entrance(&opened).join("file").exists());
        fs::rename(&path, root.path().join("aside")).unwrap();
        assert!(place.open().unwrap_err().contains("is not there"));
        fs::create_dir(&path).unwrap();
        assert!(place.open().unwrap_err().contains("another directory"));
        fs::remove_dir(&path).unwrap();
        symlink("/", &path).unwrap();
        assert_eq!(AcceptedDirectory::of(&path).unwrap().1, Path::new("/"));
        assert!(place.open().unwrap_err().contains("another directory"));
        fs::remove_file(&path).unwrap();
        fs::rename(root.path().join("aside"), &path).unwrap();
        assert!(place.open().is_ok());
        assert!(
            entrance(&opened).join("file").exists(),
            "it is the same one, wherever it is"
        );
    }

    #[test]
    fn after_another_start_of_the_machine_the_device_may_have_another_number() {
        let root = tempfile::tempdir().unwrap();
        let (place, _) = AcceptedDirectory::of(root.path()).unwrap();
        let device = place.device + 1;
        assert!(
            AcceptedDirectory {
                device,
                ..place.clone()
            }
            .open()
            .is_err()
        );
        let boot = "another".to_owned();
        assert!(
            AcceptedDirectory {
                device,
                boot: boot.clone(),
                ..place.clone()
            }
            .open()
            .is_ok()
        );
        let inode = place.inode + 1;
        assert!(AcceptedDirectory { inode, boot, ..place }.open().is_err());
    }
}
