//! A short list in a private file: read from memory, changed on disk first.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::disk::regular;
use crate::disk::write_private;

/// The list.
pub(super) struct Kept<T> {
    path: PathBuf,
    /// Held while a change is written, so that readers need not wait for the disk.
    writing: Mutex<()>,
    items: watch::Sender<Arc<Vec<T>>>,
}

/// Hears of each change of a list.
pub(super) type Changes<T> = watch::Receiver<Arc<Vec<T>>>;

impl<T: Clone + Serialize + DeserializeOwned> Kept<T> {
    /// Reads the list; where there is no file it is empty.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let items = match regular::if_there(regular::read(path))? {
            Some(json) => serde_json::from_slice(&json).map_err(|error| {
                let told = format!("{} cannot be read: {error}", path.display());
                io::Error::new(io::ErrorKind::InvalidData, told)
            })?,
            None => Vec::new(),
        };
        Ok(Self::with(path, items))
    }

    /// The list with these items, whatever the file says.
    pub(super) fn with(path: &Path, items: Vec<T>) -> Self {
        Self {
            path: path.to_owned(),
            writing: Mutex::default(),
            items: watch::Sender::new(Arc::new(items)),
        }
    }

    /// All items.
    pub(super) fn all(&self) -> Arc<Vec<T>> {
        Arc::clone(&self.items.borrow())
    }

    /// Hears of each change from now on.
    pub(super) fn changes(&self) -> Changes<T> {
        self.items.subscribe()
    }

    /// Changes the list; readers see the change once it is on disk. Waits for the disk.
    pub(super) fn change<R, E: From<io::Error>>(
        &self,
        change: impl FnOnce(&mut Vec<T>) -> Result<R, E>,
    ) -> Result<R, E> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut items = self.all().to_vec();
        let outcome = change(&mut items)?;
        let json = serde_json::to_vec_pretty(&items).map_err(io::Error::other)?;
        write_private(&self.path, &json)?;
        self.items.send_replace(Arc::new(items));
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_change_is_on_disk_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.json");
        let list: Kept<u32> = Kept::open(&path).unwrap();
        list.change(|items| {
            items.push(7);
            io::Result::Ok(())
        })
        .unwrap();
        let failed = list.change(|items| {
            items.push(8);
            Err::<(), _>(io::Error::other("no"))
        });
        assert!(failed.is_err());
        assert_eq!(*list.all(), [7], "what failed has changed nothing");
        assert_eq!(*Kept::<u32>::open(&path).unwrap().all(), [7]);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        std::fs::write(&path, "[").unwrap();
        assert!(
            Kept::<u32>::open(&path)
                .err()
                .unwrap()
                .to_string()
                .contains("list.json")
        );
    }
}
