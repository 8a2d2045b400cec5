//! The summaries, computed anew from the records: the way back when a row is lost or wrong.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::explain;
use super::reader::{self, key, session_id};
use super::writer::write_summary;
use crate::session::id::{Seq, SessionId};
use crate::session::journal::Entry;
use crate::session::summary::Summary;
use crate::store::{PAGE_RECORDS_MAX, StoreError, Stored};

/// Rebuilds every row, all or none.
pub(super) fn rebuild(connection: &mut Connection, path: &Path) -> Result<usize, StoreError> {
    let explain = |error| explain(path, error);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(explain)?;
    let sessions = sessions(&transaction).map_err(explain)?;
    for session_id in &sessions {
        let mut summary = fold(&transaction, path, *session_id)?;
        summary.through_offset = through_offset(&transaction, *session_id).map_err(explain)?;
        write_summary(&transaction, &summary).map_err(explain)?;
    }
    transaction.commit().map_err(explain)?;
    Ok(sessions.len())
}

fn sessions(connection: &Connection) -> rusqlite::Result<Vec<SessionId>> {
    let sql = "SELECT DISTINCT session FROM records
        WHERE NOT EXISTS (SELECT 1 FROM meta WHERE name = 'removed:' || hex(session))";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| session_id(row, 0))?;
    rows.collect()
}

/// [`Summary::fold`] page by page, since a journal may be longer than the memory.
fn fold(connection: &Connection, path: &Path, session_id: SessionId) -> Result<Summary, StoreError> {
    let damaged = |seq: Seq, why: String| StoreError::Damaged {
        file: path.to_owned(),
        why: format!("record {seq} of session {session_id}: {why}"),
    };
    let mut summary = None;
    let mut head = Seq::default();
    loop {
        let page =
            reader::records(connection, session_id, head, PAGE_RECORDS_MAX).map_err(|error| explain(path, error))?;
        if page.is_empty() {
            return summary.ok_or_else(|| damaged(head, "there is none".into()));
        }
        for record in page {
            if record.seq != head.next() {
                return Err(damaged(head.next(), "it is missing".into()));
            }
            head = record.seq;
            summary = Some(fold_one(summary, &record).map_err(|why| damaged(head, why))?);
        }
    }
}

fn fold_one(summary: Option<Summary>, record: &Stored) -> Result<Summary, String> {
    let entry = record.entry().map_err(|error| error.to_string())?;
    let mut summary = match (summary, &entry) {
        (Some(summary), _) => summary,
        (None, Entry::SessionCreated(created)) => Summary::new(record.session_id, created, record.at),
        (None, _) => return Err("a journal does not begin like this".into()),
    };
    summary.apply(&entry, record.at);
    Ok(summary)
}

/// The offset is a column of its own, so that it survives a summary that cannot be read.
fn through_offset(connection: &Connection, session_id: SessionId) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached("SELECT through_offset FROM sessions WHERE session = ?1")?;
    let offset = statement
        .query_row([key(session_id)], |row| row.get::<_, i64>(0))
        .optional()?;
    Ok(offset.map_or(0, i64::cast_unsigned))
}
