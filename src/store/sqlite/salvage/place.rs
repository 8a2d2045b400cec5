//! The files of a salvage: the new database beside the damaged one, and how it takes its place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::schema::{self, PAGE_BYTES, beside, failed_on, remove_if_there};
use crate::disk::sync_dir;
use crate::store::StoreError;

/// What SQLite keeps beside a database: its log, and the index of that.
const LOG: &str = "-wal";
const LOG_INDEX: &str = "-shm";

/// Where a database's first page says how many pages there are, in bytes from the start of the file.
const PAGE_COUNT_AT: u64 = 28;

/// The new database, which is removed unless it was put in its place.
pub(super) struct Unfinished {
    path: PathBuf,
    /// A copy of the damaged one, where its first page cannot be used.
    copy: PathBuf,
}

impl Unfinished {
    /// What an earlier salvage left, because it was killed, is removed.
    pub(super) fn beside(database: &Path) -> Result<Self, StoreError> {
        let new = Self {
            path: beside(database, ".salvage"),
            copy: beside(database, ".salvage-copy"),
        };
        new.remove().map_err(|error| failed_on(database, &error))?;
        Ok(new)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the closed new database the name of the damaged one, and answers the name that this one has from now on. It
    /// has it before anything is taken away.
    pub(super) fn put_in_place(&self, database: &Path) -> Result<PathBuf, StoreError> {
        let in_place = || {
            File::open(&self.path)?.sync_all()?;
            let kept = keep(database)?;
            remove_log(database)?;
            fs::rename(&self.path, database)?;
            sync_dir(database.parent().unwrap_or(Path::new("/")))?;
            Ok(kept)
        };
        in_place().map_err(|error| failed_on(database, &error))
    }

    fn remove(&self) -> io::Result<()> {
        for database in [&self.path, &self.copy] {
            for ending in ["", LOG, LOG_INDEX] {
                remove_if_there(&beside(database, ending))?;
            }
        }
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(%error, "a part of a new journal stays behind");
        }
    }
}

/// Takes a damaged database out of its place, and answers where it is kept with its log.
pub(in crate::store::sqlite) fn put_aside(database: &Path) -> io::Result<PathBuf> {
    let kept = keep(database)?;
    // Without its log, the database would be an older one: the log goes last.
    remove_if_there(database)?;
    remove_log(database)?;
    Ok(kept)
}

/// A log that stayed would be taken for that of the database that comes next.
pub(in crate::store::sqlite) fn remove_log(database: &Path) -> io::Result<()> {
    remove_if_there(&beside(database, LOG))?;
    remove_if_there(&beside(database, LOG_INDEX))
}

/// Gives a database another name beside its own, with its log.
fn keep(database: &Path) -> io::Result<PathBuf> {
    let names = (1..).map(|number| beside(database, &format!(".damaged-{number}")));
    for kept in names {
        match fs::hard_link(database, &kept) {
            Ok(()) => {
                let log = fs::hard_link(beside(database, LOG), beside(&kept, LOG));
                return log.or_else(if_missing).map(|()| kept);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn if_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

/// Opens the damaged database to read it. Where not even its first page can be used, that is a copy of it with the first
/// page of the new one, whose tables that are read begin on the same pages: all formats have made them first.
pub(super) fn open_damaged(database: &Path, new: &Unfinished) -> Result<Connection, StoreError> {
    if let Ok(connection) = open(database) {
        return schema::checked_version(&connection, database, schema::MIGRATIONS).map(|_| connection);
    }
    let copied = || {
        fs::copy(database, &new.copy)?;
        fs::copy(beside(database, LOG), beside(&new.copy, LOG))
            .map(drop)
            .or_else(if_missing)?;
        put_first_page(&new.path, &new.copy)
    };
    copied().map_err(|error| failed_on(database, &error))?;
    open(&new.copy).map_err(|_| StoreError::Unreadable {
        file: database.to_owned(),
    })
}

fn open(database: &Path) -> rusqlite::Result<Connection> {
    let connection = schema::open_reader(database)?;
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name IN ('records', 'sessions')";
    match connection.query_row(sql, [], |row| row.get(0))? {
        2 => Ok(connection),
        _ => Err(rusqlite::Error::QueryReturnedNoRows),
    }
}

fn put_first_page(from: &Path, to: &Path) -> io::Result<()> {
    let mut page = vec![0; PAGE_BYTES as usize];
    File::open(from)?.read_exact(&mut page)?;
    let mut to = OpenOptions::new().write(true).open(to)?;
    let pages = to.metadata()?.len() / PAGE_BYTES as u64;
    to.write_all(&page)?;
    to.seek(SeekFrom::Start(PAGE_COUNT_AT))?;
    to.write_all(&u32::try_from(pages).unwrap_or(u32::MAX).to_be_bytes())
}
