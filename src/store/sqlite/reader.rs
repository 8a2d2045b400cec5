//! Reading: a small pool of connections, and the queries. Every read is one statement, so its transaction is short and
//! never keeps the log from being emptied.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use uuid::Uuid;

use super::{explain, schema};
use crate::session::id::{Attempt, Seq, SessionId};
use crate::session::summary::Summary;
use crate::store::{EntryCell, PAGE_BYTES_MAX, PAGE_RECORDS_MAX, StoreError, StoredRecord, lock};

/// How many reads go on at a time; further ones wait for their turn.
const READERS: usize = 4;

/// Records of a session that was removed are deleted bit by bit; nobody is shown what is left of them meanwhile.
pub(super) const RECORDS_SQL: &str = "SELECT id, session, seq, attempt, at, kind, body FROM records
    WHERE session = ?1 AND seq > ?2
    AND NOT EXISTS (SELECT 1 FROM meta WHERE name = 'removed:' || hex(?1)) ORDER BY seq LIMIT ?3";

const RECORDS_OF_ALL_SQL: &str = "SELECT id, session, seq, attempt, at, kind, body FROM records
    WHERE id > ?1
    AND NOT EXISTS (SELECT 1 FROM meta WHERE name = 'removed:' || hex(session)) ORDER BY id LIMIT ?2";

/// Repeats the condition of the index of kinds, so that SQLite may use it.
pub(super) const LATEST_OF_KIND_SQL: &str = "SELECT id, session, seq, attempt, at, kind, body FROM records
    WHERE session = ?1 AND kind = ?2 AND kind <> 'agent.message' AND seq < ?3
    AND NOT EXISTS (SELECT 1 FROM meta WHERE name = 'removed:' || hex(?1)) ORDER BY seq DESC LIMIT ?4";

/// Goes back from the end of the session.
pub(super) const LATEST_MESSAGES_SQL: &str = "SELECT id, session, seq, attempt, at, kind, body FROM records
    WHERE session = ?1 AND kind = ?2 AND seq < ?3
    AND NOT EXISTS (SELECT 1 FROM meta WHERE name = 'removed:' || hex(?1)) ORDER BY seq DESC LIMIT ?4";

pub(super) const LIVE_SQL: &str = "SELECT summary FROM sessions WHERE ended = 0 ORDER BY session";

/// The kind that is not in the index of kinds.
const COMMON_KIND: &str = "agent.message";

/// Connections that read.
pub(super) struct ReadConnections {
    path: PathBuf,
    /// Those not in use; none once closed.
    idle: Mutex<Option<Vec<Connection>>>,
    /// Something about `idle` has changed.
    changed: Condvar,
}

impl ReadConnections {
    /// Opens them all, so that a read never fails for want of a file descriptor.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let idle: rusqlite::Result<_> = (0..READERS).map(|_| schema::open_reader(path)).collect();
        Ok(Self {
            path: path.to_owned(),
            idle: Mutex::new(Some(idle.map_err(|error| explain(path, error))?)),
            changed: Condvar::new(),
        })
    }

    /// Reads on a connection of the pool, on the caller's thread.
    pub(super) fn with<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let lent = self.lend()?;
        read(&lent).map_err(|error| explain(&self.path, error))
    }

    /// Further reads are refused; those that go on keep their connection until they are done.
    pub(super) fn close(&self) {
        drop(lock(&self.idle).take());
        self.changed.notify_all();
    }

    fn lend(&self) -> Result<Lent<'_>, StoreError> {
        let mut idle = lock(&self.idle);
        loop {
            let connection = idle.as_mut().ok_or(StoreError::Closed)?.pop();
            if let Some(connection) = connection {
                return Ok(Lent {
                    connection: Some(connection),
                    readers: self,
                });
            }
            idle = self.changed.wait(idle).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A connection on loan; it goes back even if the read panics.
struct Lent<'a> {
    connection: Option<Connection>,
    readers: &'a ReadConnections,
}

impl std::ops::Deref for Lent<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("it is taken out in drop only")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(idle) = lock(&self.readers.idle).as_mut() {
            idle.extend(self.connection.take());
        }
        self.readers.changed.notify_one();
    }
}

pub(super) fn records(
    connection: &Connection,
    session_id: SessionId,
    after: Seq,
    limit: usize,
) -> rusqlite::Result<Vec<StoredRecord>> {
    page(
        connection,
        RECORDS_SQL,
        params![key(session_id), integer(after.0), page_limit(limit)],
    )
}

pub(super) fn records_of_all(connection: &Connection, after: i64, limit: usize) -> rusqlite::Result<Vec<StoredRecord>> {
    page(connection, RECORDS_OF_ALL_SQL, params![after, page_limit(limit)])
}

pub(super) fn last_id(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT max(coalesce((SELECT max(id) FROM records), 0),
        coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'last_id'), 0))";
    connection.query_row(sql, [], |row| row.get(0))
}

/// Sessions that were removed and whose records are not all gone.
pub(super) fn removed(connection: &Connection) -> rusqlite::Result<Vec<SessionId>> {
    let mut statement = connection.prepare("SELECT substr(name, 9) FROM meta WHERE name GLOB 'removed:*'")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let ids = rows.map(|digits| digits.map(|digits| digits.parse().ok()));
    ids.filter_map(Result::transpose).collect()
}

pub(super) fn epoch(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row("SELECT value FROM meta WHERE name = 'epoch'", [], |row| row.get(0))
}

pub(super) fn summary(connection: &Connection, session_id: SessionId) -> rusqlite::Result<Option<Summary>> {
    let mut statement = connection.prepare_cached("SELECT summary FROM sessions WHERE session = ?1")?;
    statement.query_row([key(session_id)], parse_summary).optional()
}

pub(super) fn live(connection: &Connection) -> rusqlite::Result<Vec<Summary>> {
    connection
        .prepare_cached(LIVE_SQL)?
        .query_map([], parse_summary)?
        .collect()
}

pub(super) fn latest_of_kind(
    connection: &Connection,
    session_id: SessionId,
    kind: &str,
    before: Option<Seq>,
    limit: usize,
) -> rusqlite::Result<Vec<StoredRecord>> {
    let sql = if kind == COMMON_KIND {
        LATEST_MESSAGES_SQL
    } else {
        LATEST_OF_KIND_SQL
    };
    let before = before.map_or(i64::MAX, |before| integer(before.0));
    page(
        connection,
        sql,
        params![key(session_id), kind, before, page_limit(limit)],
    )
}

/// Reads until the page is full, by number or by bytes.
fn page(connection: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<Vec<StoredRecord>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut page = Vec::new();
    let mut bytes = 0;
    for record in statement.query_map(params, parse_record)? {
        let record = record?;
        bytes += record.data.len();
        page.push(record);
        if bytes >= PAGE_BYTES_MAX {
            break;
        }
    }
    Ok(page)
}

/// The columns of a record, in the order of all queries here.
pub(super) fn parse_record(row: &Row<'_>) -> rusqlite::Result<StoredRecord> {
    let at = Timestamp::from_millisecond(row.get(4)?);
    Ok(StoredRecord {
        id: row.get(0)?,
        session_id: session_id(row, 1)?,
        seq: Seq(row.get::<_, i64>(2)?.cast_unsigned()),
        attempt: Attempt(row.get(3)?),
        at: at.map_err(|error| rusqlite::Error::FromSqlConversionFailure(4, Type::Integer, error.into()))?,
        kind: row.get(5)?,
        data: row.get(6)?,
        entry: EntryCell::default(),
    })
}

/// The first column is a summary.
pub(super) fn parse_summary(row: &Row<'_>) -> rusqlite::Result<Summary> {
    let json = row.get_ref(0)?.as_str()?;
    serde_json::from_str(json).map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into()))
}

pub(super) fn session_id(row: &Row<'_>, column: usize) -> rusqlite::Result<SessionId> {
    row.get(column)
        .map(|bytes| SessionId::from_uuid(Uuid::from_bytes(bytes)))
}

/// A session's id as it is kept: its sixteen bytes, which sort like the id.
pub(super) fn key(session_id: SessionId) -> [u8; 16] {
    session_id.uuid().into_bytes()
}

/// SQLite's integers are signed; nothing of ours comes near their end, so what is beyond it means "the end".
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn page_limit(limit: usize) -> i64 {
    integer(limit.min(PAGE_RECORDS_MAX) as u64)
}
