//! The database file: where it may be, its settings, its tables, and how an older one becomes a newer one.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{explain, full};
use crate::disk::regular::if_there;
use crate::disk::sync_dir;
use crate::store::StoreError;

/// Each step makes format n of format n - 1; `user_version` is the format. Steps are never changed, only added.
pub(super) const MIGRATIONS: &[&str] = &[FORMAT_1, FORMAT_2, FORMAT_3, FORMAT_4];

/// A log: the order of ids is the order of commits, so all sessions write at one end of the table.
///
/// The index of kinds leaves out `agent.message`, of which a journal mostly consists, to spare its writing.
const FORMAT_1: &str = "
    CREATE TABLE records (
        id INTEGER PRIMARY KEY,
        session BLOB NOT NULL,
        seq INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        at INTEGER NOT NULL,
        kind TEXT NOT NULL,
        body TEXT NOT NULL,
        UNIQUE (session, seq)
    ) STRICT;
    CREATE INDEX records_by_kind ON records (session, kind, seq) WHERE kind <> 'agent.message';
    CREATE TABLE sessions (
        session BLOB PRIMARY KEY NOT NULL,
        created_at INTEGER NOT NULL,
        ended INTEGER NOT NULL,
        through_offset INTEGER NOT NULL,
        summary TEXT NOT NULL
    ) STRICT;
    CREATE INDEX sessions_live ON sessions (session) WHERE ended = 0;
    CREATE TABLE meta (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO meta VALUES ('epoch', lower(hex(randomblob(16))));
";

/// What lists are filtered by, apart from the summaries, whose rows are long and written with every commit. `listing.rs`
/// fills it for the sessions of an older database.
const FORMAT_2: &str = "
    CREATE TABLE listing (
        session BLOB PRIMARY KEY NOT NULL,
        created_at INTEGER NOT NULL,
        state TEXT NOT NULL,
        directory TEXT NOT NULL,
        caller TEXT,
        key TEXT,
        text TEXT NOT NULL
    ) STRICT;
    CREATE INDEX listing_by_state ON listing (state, session);
    CREATE INDEX listing_by_age ON listing (session, created_at, directory);
    CREATE UNIQUE INDEX listing_by_key ON listing (caller, key) WHERE key IS NOT NULL;
";

/// Sessions by name. A summary that cannot be read has none until `doctor --rebuild`, like what `listing.rs` fills.
const FORMAT_3: &str = "
    ALTER TABLE listing ADD COLUMN name TEXT;
    UPDATE listing SET name = (
        SELECT iif(json_valid(summary), summary ->> 'name', NULL) FROM sessions WHERE sessions.session = listing.session
    );
    CREATE INDEX listing_by_name ON listing (name, session);
";

/// Sessions by the one whose agent asked for them. Few have one, so the index holds only those.
const FORMAT_4: &str = "
    ALTER TABLE listing ADD COLUMN parent BLOB;
    UPDATE listing SET parent = (
        SELECT iif(json_valid(summary), unhex(summary ->> 'parent', '-'), NULL)
        FROM sessions WHERE sessions.session = listing.session
    );
    CREATE INDEX listing_by_parent ON listing (parent, session) WHERE parent IS NOT NULL;
";

/// The size of a page of the database, in bytes; fixed when the file is made.
pub(super) const PAGE_BYTES: i64 = 16 * 1024;

/// To what the write-ahead log is cut when it begins anew, in bytes.
const WAL_BYTES_KEPT: i64 = 64 * 1024 * 1024;

/// How much the writer keeps in memory, in KiB; negative is how SQLite tells KiB from pages.
const WRITER_CACHE_KIB: i64 = -32 * 1024;

/// How much each reader keeps in memory, in KiB; the kernel's cache serves the rest.
const READER_CACHE_KIB: i64 = -2 * 1024;

/// How long a lock of another process (a backup, a look with `sqlite3`) is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// File systems whose locks or syncs cannot be relied on, by the number `statfs` gives them in `linux/magic.h`.
const NETWORK_FILE_SYSTEMS: &[(u32, &str)] = &[
    (0x0000_6969, "nfs"),
    (0x0000_517b, "smb"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    (0x6573_5546, "fuse"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "ceph"),
    (0x5346_414f, "afs"),
    (0x7375_7245, "coda"),
    (0x0bd0_0bd0, "lustre"),
];

/// Opens the one connection that writes, and makes or migrates the database where that is needed.
pub(super) fn open_writer(path: &Path, migrations: &[&str]) -> Result<Connection, StoreError> {
    refuse_network(path)?;
    make_private(path).map_err(|error| failed_on(path, &error))?;
    let explain = |error| explain(path, error);
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(explain)?;
    let version = checked_version(&connection, path, migrations)?;
    let mode = set_up(&connection).map_err(explain)?;
    if mode != "wal" {
        return Err(StoreError::Failed(format!(
            "{}: no write-ahead log is possible here",
            path.display()
        )));
    }
    if version > 0 && version < migrations.len() {
        back_up(&connection, path, version)?;
    }
    migrate(&mut connection, migrations, version).map_err(explain)?;
    settle(&connection).map_err(explain)?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.pragma_update(None, "cache_size", READER_CACHE_KIB)?;
    Ok(connection)
}

fn refuse_network(path: &Path) -> Result<(), StoreError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let statfs = rustix::fs::statfs(directory).map_err(|error| failed_on(directory, &error.into()))?;
    // The numbers have 32 bits; the field is wider, and signed on some machines.
    match network_name(statfs.f_type as u32) {
        Some(kind) => Err(StoreError::NetworkFileSystem {
            directory: directory.to_owned(),
            kind,
        }),
        None => Ok(()),
    }
}

fn network_name(magic: u32) -> Option<&'static str> {
    let known = NETWORK_FILE_SYSTEMS.iter().find(|(number, _)| *number == magic);
    known.map(|(_, name)| *name)
}

/// SQLite gives its other files the mode of this one. The mode of a file that exists is set by name: to close a
/// descriptor of it would drop the locks that another connection of this process has on it.
fn make_private(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::set_permissions(path, Permissions::from_mode(0o600))
        }
        Err(error) => Err(error),
    }
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Looks at the format before anything is changed, so that a newer database stays as it is.
pub(super) fn checked_version(connection: &Connection, path: &Path, migrations: &[&str]) -> Result<usize, StoreError> {
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| explain(path, error))?;
    let version = usize::try_from(found).map_err(|_| StoreError::Damaged {
        file: path.to_owned(),
        why: format!("its format is {found}"),
    })?;
    if version > migrations.len() {
        let known = migrations.len() as i64;
        return Err(StoreError::FromTheFuture { found, known });
    }
    Ok(version)
}

/// The page size has to come first: it cannot change once there is a write-ahead log. Answers the mode of the log.
fn set_up(connection: &Connection) -> rusqlite::Result<String> {
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    let mode = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "cache_size", WRITER_CACHE_KIB)?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES_KEPT, |_| Ok(()))?;
    Ok(mode)
}

/// Copies the database to a file beside it, which carries its format in its name. The copy gets that name when it is
/// whole.
fn back_up(connection: &Connection, path: &Path, version: usize) -> Result<(), StoreError> {
    let backup = beside(path, &format!(".v{version}.backup"));
    let unfinished = beside(path, ".backup.unfinished");
    let on_disk = |result: io::Result<()>| result.map_err(|error| failed_on(&backup, &error));
    on_disk(remove_if_there(&unfinished))?;
    on_disk(make_private(&unfinished))?;
    connection
        .execute("VACUUM INTO ?1", [unfinished.to_string_lossy()])
        .map_err(|error| explain(path, error))?;
    on_disk(File::open(&unfinished).and_then(|file| file.sync_all()))?;
    on_disk(fs::rename(&unfinished, &backup))?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    on_disk(sync_dir(directory))
}

pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    if_there(fs::remove_file(path)).map(drop)
}

/// Each step is a transaction of its own, its format number in it.
fn migrate(connection: &mut Connection, migrations: &[&str], version: usize) -> rusqlite::Result<()> {
    for (index, step) in migrations.iter().enumerate().skip(version) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", index as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

/// What a killed writer left in the log may not have reached the disk, yet it can be read now. A checkpoint syncs it,
/// so that nothing is shown that a power cut could take back.
fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

pub(super) fn failed_on(path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull => full(path),
        _ => StoreError::Failed(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_their_number() {
        assert_eq!(network_name(0x6969), Some("nfs"));
        assert_eq!(network_name(0xff53_4d42_u32), Some("cifs"));
        let ext4 = 0xef53;
        assert_eq!(network_name(ext4), None);
    }
}
