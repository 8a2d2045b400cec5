//! A short list that outlives the daemon: read from memory, changed on disk first.
//!
//! It is kept in the small store. Versions before kept each list in a JSON file, which is taken over once and then
//! removed: a token that is revoked later must not come back from it, neither after a crash nor with an older version,
//! which knows none of these tokens. Where an older version has made tokens meanwhile, they are taken over again, each in
//! the place of the one that has its name.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::disk::{read_json, remove_synced};
use crate::store::{SmallStore, lock};

/// An item of a list.
pub(super) trait Saved: Clone + Serialize + DeserializeOwned {
    /// The name of the list.
    const LIST: &'static str;

    /// What the item is known by: a list has one of this key.
    fn key(&self) -> String;
}

/// The list.
pub(super) struct SavedList<T> {
    store: Arc<SmallStore>,
    /// Held while a change is written, so that readers need not wait for the disk.
    writing: Mutex<()>,
    items: watch::Sender<Arc<Vec<T>>>,
}

/// Hears of each change of a list.
pub(super) type Changes<T> = watch::Receiver<Arc<Vec<T>>>;

impl<T: Saved> SavedList<T> {
    /// Reads the list. An item that this version cannot read stays where it is and opens nothing.
    pub(super) fn open(store: Arc<SmallStore>) -> io::Result<Self> {
        let mut items = Vec::new();
        for (key, value) in store.all(T::LIST)? {
            match serde_json::from_str(&value) {
                Ok(item) => items.push(item),
                Err(error) => tracing::warn!(list = T::LIST, key, %error, "what is kept cannot be read"),
            }
        }
        Ok(Self {
            store,
            writing: Mutex::default(),
            items: watch::Sender::new(Arc::new(items)),
        })
    }

    /// Takes over what a version before kept in a file, if there is one.
    pub(super) fn take_over(&self, file: &Path) -> io::Result<()> {
        let unreadable =
            |error: io::Error| io::Error::new(error.kind(), format!("{} cannot be read: {error}", file.display()));
        let Some(before) = read_json::<Vec<T>>(file).map_err(unreadable)? else {
            return Ok(());
        };
        self.change(|items| {
            items.retain(|item| before.iter().all(|other| other.key() != item.key()));
            items.extend(before);
            io::Result::Ok(())
        })?;
        remove_synced(file)
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
        let _alone = lock(&self.writing);
        let before = self.all();
        let mut items = before.to_vec();
        let outcome = change(&mut items)?;
        let (mut gone, mut new) = (written(&before)?, written(&items)?);
        new.retain(|key, value| gone.remove(key).as_ref() != Some(value));
        let gone: Vec<_> = gone.into_keys().collect();
        let order = items.iter().map(Saved::key);
        let new: Vec<_> = order.filter_map(|key| new.remove_entry(&key)).collect();
        self.store.change(T::LIST, &gone, &new)?;
        self.items.send_replace(Arc::new(items));
        Ok(outcome)
    }
}

/// Items by their keys, as they are kept.
fn written<T: Saved>(items: &[T]) -> io::Result<HashMap<String, String>> {
    let pairs = items.iter().map(|item| Ok((item.key(), serde_json::to_string(item)?)));
    pairs.collect()
}
