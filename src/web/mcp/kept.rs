//! A directory of small files of which only so many are kept: what clients left behind must not fill the disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::disk::create_private_dir;

/// How much may be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct DirectoryBounds {
    /// The most files; the oldest go first.
    pub(super) files_max: usize,
    /// The most bytes in all; the oldest go first.
    pub(super) bytes_max: u64,
    /// How long a file is kept after it was last written to.
    pub(super) age_max: Duration,
}

/// The directory.
pub(super) struct BoundedDirectory {
    directory: PathBuf,
    bounds: DirectoryBounds,
    /// How much it may have grown since it was last swept.
    growth: Mutex<Growth>,
}

#[derive(Default)]
struct Growth {
    files: usize,
    bytes: u64,
}

impl BoundedDirectory {
    /// Opens a directory, which is made, and sweeps it.
    pub(super) fn open(directory: &Path, bounds: DirectoryBounds) -> io::Result<Self> {
        create_private_dir(directory)?;
        let kept = Self {
            directory: directory.to_owned(),
            bounds,
            growth: Mutex::default(),
        };
        kept.sweep(|_| false)?;
        Ok(kept)
    }

    /// Where a file of this name is, or would be. Whoever asks has looked at the name.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Something was added; now and then all is swept. Files that are in use stay.
    pub(super) fn grew(&self, files: usize, bytes: u64, is_in_use: impl FnOnce() -> Box<dyn Fn(&str) -> bool>) {
        let mut growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
        growth.files += files;
        growth.bytes += bytes;
        if growth.files <= self.bounds.files_max / SLACK && growth.bytes <= self.bounds.bytes_max / SLACK as u64 {
            return;
        }
        *growth = Growth::default();
        drop(growth);
        if let Err(error) = self.sweep(is_in_use()) {
            tracing::warn!(%error, directory = %self.directory.display(), "what is too old cannot be removed");
        }
    }

    /// Removes what is too old, and the oldest that are too many or too big.
    fn sweep(&self, is_in_use: impl Fn(&str) -> bool) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            files.push((metadata.modified()?, metadata.len(), entry.path()));
        }
        files.sort();
        let mut bytes: u64 = files.iter().map(|(_, size, _)| size).sum();
        let mut count = files.len();
        for (at, size, path) in files {
            let is_old = at.elapsed().is_ok_and(|age| age > self.bounds.age_max);
            if !is_old && count <= self.bounds.files_max && bytes <= self.bounds.bytes_max {
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !is_in_use(&name) {
                fs::remove_file(&path)?;
                (count, bytes) = (count - 1, bytes - size);
            }
        }
        Ok(())
    }
}

/// It is swept when it has grown by this part of what is allowed.
const SLACK: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: DirectoryBounds = DirectoryBounds {
        files_max: 8,
        bytes_max: 800,
        age_max: Duration::from_secs(3600),
    };

    fn names(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Writes a file that was last written to so long ago.
    fn file(directory: &Path, name: &str, bytes: usize, age: Duration) {
        let path = directory.join(name);
        fs::write(&path, vec![0; bytes]).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    #[test]
    fn what_is_too_old_goes_when_it_is_opened_and_the_oldest_when_it_grows() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), "ancient", 1, Duration::from_secs(7200));
        let kept = BoundedDirectory::open(dir.path(), BOUNDS).unwrap();
        assert_eq!(names(dir.path()), [""; 0]);
        for n in 0..10 {
            file(dir.path(), &format!("{n}"), 1, Duration::from_secs(100 - n));
        }
        kept.grew(1, 0, || Box::new(|_| false));
        assert_eq!(names(dir.path()).len(), 10, "it is not swept each time");
        kept.grew(1, 0, || Box::new(|name| name == "0"));
        assert_eq!(
            names(dir.path()),
            ["0", "3", "4", "5", "6", "7", "8", "9"],
            "what is in use stays"
        );
    }

    #[test]
    fn the_oldest_go_when_all_are_too_big() {
        let dir = tempfile::tempdir().unwrap();
        let kept = BoundedDirectory::open(dir.path(), BOUNDS).unwrap();
        for n in 0..4 {
            file(dir.path(), &format!("{n}"), 300, Duration::from_secs(100 - n));
        }
        kept.grew(0, 1200, || Box::new(|_| false));
        assert_eq!(names(dir.path()), ["2", "3"]);
        file(dir.path(), "4", 300, Duration::from_secs(0));
        kept.grew(0, 1, || Box::new(|_| false));
        assert_eq!(names(dir.path()), ["2", "3", "4"], "it has grown by little since");
    }
}
