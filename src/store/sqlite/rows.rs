//! The rows of records and sessions, as every writer of a journal writes them.

use rusqlite::{Connection, params};

use super::listing;
use super::reader::{integer, key};
use crate::session::summary::Summary;
use crate::store::StoredRecord;

/// Writes a record under its own id.
pub(super) fn insert_record(connection: &Connection, record: &StoredRecord) -> rusqlite::Result<()> {
    let sql = "INSERT INTO records (id, session, seq, attempt, at, kind, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    connection.prepare_cached(sql)?.execute(params![
        record.id,
        key(record.session_id),
        integer(record.seq.0),
        record.attempt.0,
        record.at.as_millisecond(),
        record.kind,
        record.data,
    ])?;
    Ok(())
}

/// Writes a session's row.
pub(super) fn write_summary(connection: &Connection, summary: &Summary) -> rusqlite::Result<()> {
    let sql = "INSERT INTO sessions (session, created_at, ended, through_offset, summary) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT (session) DO UPDATE SET
            ended = excluded.ended, through_offset = excluded.through_offset, summary = excluded.summary";
    let json = serde_json::to_string(summary).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    connection.prepare_cached(sql)?.execute(params![
        key(summary.session_id),
        summary.created_at.as_millisecond(),
        has_ended(summary),
        integer(summary.through_offset),
        json,
    ])?;
    listing::write(connection, summary)
}

/// True if the session has an outcome.
pub(super) fn has_ended(summary: &Summary) -> bool {
    summary.lifecycle.state.outcome().is_some()
}
