//! A look at a database from outside, also while a store has it open: nothing is changed.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::reader::key;
use super::{explain, schema};
use crate::session::id::SessionId;
use crate::session::journal::Created;
use crate::session::request::Background;
use crate::session::summary::Summary;
use crate::store::StoreError;

/// The result of an inspection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    /// How many sessions there are.
    pub sessions: usize,
    /// How many of them have a row that cannot be read.
    pub unreadable_rows: usize,
    /// What SQLite says is wrong with the file.
    pub damage: Option<String>,
    /// Those of the sessions asked about that have ended and wanted no process left.
    pub ended: Vec<SessionId>,
}

/// Looks at the database at `path`, and whether these sessions have ended.
pub fn inspect(path: &Path, sessions: &[SessionId]) -> Result<Inspected, StoreError> {
    let explain = |error| explain(path, error);
    let connection = schema::open_reader(path).map_err(explain)?;
    let damage: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(explain)?;
    let mut look = Inspected {
        damage: (damage != "ok").then_some(damage),
        ..Inspected::default()
    };
    count_rows(&connection, &mut look).map_err(explain)?;
    for session in sessions {
        if has_ended(&connection, *session).map_err(explain)? && !look.ended.contains(session) {
            look.ended.push(*session);
        }
    }
    Ok(look)
}

/// Whether this version can use the database at `path`, as far as its format says; also where there is none yet.
pub fn check_format(path: &Path) -> Result<(), StoreError> {
    if !path.exists() {
        return Ok(());
    }
    let connection = schema::open_reader(path).map_err(|error| explain(path, error))?;
    schema::checked_version(&connection, path, schema::MIGRATIONS).map(drop)
}

fn count_rows(connection: &Connection, look: &mut Inspected) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT summary FROM sessions")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        look.sessions += 1;
        let is_readable = serde_json::from_str::<Summary>(row.get_ref(0)?.as_str()?).is_ok();
        look.unreadable_rows += usize::from(!is_readable);
    }
    Ok(())
}

fn has_ended(connection: &Connection, session: SessionId) -> rusqlite::Result<bool> {
    let sql = "SELECT records.body FROM sessions JOIN records USING (session)
        WHERE session = ?1 AND sessions.ended = 1 AND records.seq = 1";
    let first: Option<String> = connection.query_row(sql, [key(session)], |row| row.get(0)).optional()?;
    let created = first.and_then(|body| serde_json::from_str::<Created>(&body).ok());
    Ok(created.is_some_and(|created| created.request.background() != Background::Keep))
}
