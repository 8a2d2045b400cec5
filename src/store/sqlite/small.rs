//! The small store: a database beside the journal for what is kept about those who call, such as tokens and browsers that
//! are signed in. It is a file of its own, so that damage to one of the two leaves the other alone.
//!
//! It holds lists of values. A list has one value of a key, which stands behind all that were written before it. A change
//! is synced like the journal, and made whole or not at all. Another kind of value needs the name of a list, and no table.
//!
//! A damaged database is put aside under another name, and an empty one takes its place: what it let in is let in no more,
//! and the sessions, and the owner's own token, are not touched.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rusqlite::Connection;

use super::{explain, salvage, schema};
use crate::disk::create_parent;
use crate::store::{StoreError, lock};

/// Formats, as those of the journal.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE kept (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        list TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        UNIQUE (list, key)
    ) STRICT;
"];

/// The small store.
pub struct SmallStore {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl SmallStore {
    /// Opens the database at `path`, made where there is none.
    pub fn open(path: &Path) -> io::Result<Self> {
        create_parent(path)?;
        if !path.try_exists()? {
            // The log of a database that was put aside belongs to that one.
            salvage::remove_log(path)?;
        }
        let connection = match open_sound(path) {
            Err(StoreError::Damaged { why, .. }) => {
                let kept = salvage::put_aside(path)?;
                tracing::error!(
                    "{} is damaged ({why}), and is kept as {}: tokens that were given out open nothing any more and \
                     browsers are signed out; make the tokens again (`cc-executor token create`), or stop the daemon and \
                     put a copy of the file there",
                    path.display(),
                    kept.display()
                );
                open_sound(path)
            }
            opened => opened,
        };
        Ok(Self {
            connection: Mutex::new(connection.map_err(|error| told(path, error))?),
            path: path.to_owned(),
        })
    }

    /// All values of a list with their keys, in the order in which they were written.
    pub fn all(&self, list: &str) -> io::Result<Vec<(String, String)>> {
        self.with(|connection| {
            let sql = "SELECT key, value FROM kept WHERE list = ?1 ORDER BY place";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([list], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
    }

    /// Takes values out of a list by their keys, and writes others into it; all of it or nothing.
    pub fn change(&self, list: &str, gone: &[String], new: &[(String, String)]) -> io::Result<()> {
        self.with(|connection| {
            let transaction = connection.transaction()?;
            for key in gone {
                transaction.execute("DELETE FROM kept WHERE list = ?1 AND key = ?2", [list, key])?;
            }
            for (key, value) in new {
                let sql = "INSERT OR REPLACE INTO kept (list, key, value) VALUES (?1, ?2, ?3)";
                transaction.execute(sql, [list, key, value])?;
            }
            transaction.commit()
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> io::Result<T> {
        work(&mut lock(&self.connection)).map_err(|error| told(&self.path, explain(&self.path, error)))
    }
}

/// The database is short: all of it is looked at, so that damage is found before anybody relies on it.
fn open_sound(path: &Path) -> Result<Connection, StoreError> {
    let connection = schema::open_writer(path, MIGRATIONS)?;
    let check = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0));
    match check.map_err(|error| explain(path, error))? {
        sound if sound == "ok" => Ok(connection),
        why => Err(StoreError::Damaged {
            file: path.to_owned(),
            why,
        }),
    }
}

/// The error in words that are about this file and not about the journal.
fn told(path: &Path, error: StoreError) -> io::Error {
    let why = match error {
        StoreError::DiskFull { .. } => return io::ErrorKind::StorageFull.into(),
        StoreError::FromTheFuture { found, known } => {
            format!("it has format {found}, and this version knows formats up to {known}: use the newer version again")
        }
        StoreError::Failed(why) | StoreError::Damaged { why, .. } => why,
        other => other.to_string(),
    };
    io::Error::other(format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn keys(store: &SmallStore, list: &str) -> Vec<String> {
        store.all(list).unwrap().into_iter().map(|(key, _)| key).collect()
    }

    fn pair(key: &str) -> (String, String) {
        (key.to_owned(), format!("value of {key}"))
    }

    #[test]
    fn a_change_is_on_disk_in_order_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clients.sqlite3");
        let store = SmallStore::open(&path).unwrap();
        store.change("a", &[], &[pair("x"), pair("y"), pair("z")]).unwrap();
        store.change("b", &[], &[pair("x")]).unwrap();
        store.change("a", &["y".to_owned()], &[pair("x")]).unwrap();
        assert_eq!(keys(&store, "a"), ["z", "x"], "what is written again is the last");
        // As a process that is killed leaves it.
        std::mem::forget(store);
        let store = SmallStore::open(&path).unwrap();
        assert_eq!(store.all("a").unwrap(), [pair("z"), pair("x")]);
        assert_eq!(keys(&store, "b"), ["x"]);
        for file in fs::read_dir(dir.path()).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600, "{file:?}");
        }
    }

    #[test]
    fn a_change_that_fails_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = SmallStore::open(&dir.path().join("clients.sqlite3")).unwrap();
        store.change("a", &[], &[pair("x")]).unwrap();
        let poison = "CREATE TEMP TRIGGER refuse BEFORE INSERT ON kept WHEN new.key = 'bad'
            BEGIN SELECT raise(ABORT, 'not this one'); END;";
        store.with(|connection| connection.execute_batch(poison)).unwrap();
        let failed = store.change("a", &["x".to_owned()], &[pair("y"), pair("bad")]);
        let told = failed.unwrap_err().to_string();
        assert!(
            told.contains("clients.sqlite3") && told.contains("not this one"),
            "{told}"
        );
        assert_eq!(keys(&store, "a"), ["x"]);
        store.change("a", &[], &[pair("y")]).unwrap();
        assert_eq!(keys(&store, "a"), ["x", "y"]);
    }

    #[test]
    fn a_damaged_database_is_put_aside_and_the_next_one_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clients.sqlite3");
        for damaged in 1..3 {
            let store = SmallStore::open(&path).unwrap();
            assert_eq!(keys(&store, "a"), [""; 0]);
            store.change("a", &[], &[pair("x")]).unwrap();
            drop(store);
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[..middle].fill(0x5a);
            fs::write(&path, &bytes).unwrap();
            let store = SmallStore::open(&path).unwrap();
            assert_eq!(keys(&store, "a"), [""; 0]);
            let kept = dir.path().join(format!("clients.sqlite3.damaged-{damaged}"));
            assert_eq!(fs::read(kept).unwrap(), bytes, "a person may look what was in it");
            store.change("a", &[], &[pair("y")]).unwrap();
            store.change("a", &["y".to_owned()], &[]).unwrap();
        }
    }

    #[test]
    fn a_newer_database_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clients.sqlite3");
        drop(SmallStore::open(&path).unwrap());
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", 9)
            .unwrap();
        let refused = SmallStore::open(&path).err().expect("it is newer").to_string();
        assert!(
            refused.contains("format 9") && refused.contains("newer version"),
            "{refused}"
        );
    }
}
