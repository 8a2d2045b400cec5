//! The summaries, computed anew from the records: the way back when a row is lost or wrong.
//!
//! A record that cannot be read is left out, so that one of them does not keep a whole journal from being used; only
//! not where it could say what the session's state is.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::explain;
use super::reader::{self, key, session_id};
use super::rows::write_summary;
use crate::session::id::{Seq, SessionId};
use crate::session::summary::Summary;
use crate::store::fold::fold_in;
use crate::store::{PAGE_RECORDS_MAX, StoreError, StoredRecord};

/// The result of a rebuild.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Rows of sessions.
    pub rows: usize,
    /// Records that could not be read and were left out.
    pub left_out: usize,
}

/// How the kinds begin of which no record may be left out: without one a session that has ended might go on, or one that
/// is understood be asked again.
const NEEDED_KINDS: [&str; 3] = ["session.", "attempt.", "task."];

/// Rebuilds every row, all or none.
pub(super) fn rebuild(connection: &mut Connection, path: &Path) -> Result<Rebuilt, StoreError> {
    let explain = |error| explain(path, error);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(explain)?;
    let sessions = sessions(&transaction).map_err(explain)?;
    let mut rebuilt = Rebuilt::default();
    for session_id in &sessions {
        if is_kept(&transaction, *session_id).map_err(explain)? {
            rebuilt.rows += 1;
            continue;
        }
        let mut summary = fold(&transaction, path, *session_id, &mut rebuilt.left_out)?;
        summary.through_offset = through_offset(&transaction, *session_id).map_err(explain)?;
        write_summary(&transaction, &summary).map_err(explain)?;
        rebuilt.rows += 1;
    }
    transaction.commit().map_err(explain)?;
    Ok(rebuilt)
}

fn sessions(connection: &Connection) -> rusqlite::Result<Vec<SessionId>> {
    let sql = "SELECT DISTINCT session FROM records
        WHERE NOT EXISTS (SELECT 1 FROM meta WHERE name = 'removed:' || hex(session))";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| session_id(row, 0))?;
    rows.collect()
}

/// Says that a session's row knows more than its records, of which some were lost.
pub(super) fn mark_kept(connection: &Connection, session_id: SessionId) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO meta VALUES ('kept:' || hex(?1), '')";
    connection.execute(sql, [key(session_id)]).map(drop)
}

/// Whether a session has a row that knows more than its records, and that can be read.
fn is_kept(connection: &Connection, session_id: SessionId) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM meta WHERE name = 'kept:' || hex(?1))";
    let is_marked: bool = connection
        .prepare_cached(sql)?
        .query_row([key(session_id)], |row| row.get(0))?;
    Ok(is_marked && matches!(reader::summary(connection, session_id), Ok(Some(_))))
}

/// [`Summary::fold`] page by page, since a journal may be longer than the memory.
fn fold(
    connection: &Connection,
    path: &Path,
    session_id: SessionId,
    left_out: &mut usize,
) -> Result<Summary, StoreError> {
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
            fold_one(&mut summary, &record, left_out).map_err(|why| damaged(head, why))?;
        }
    }
}

/// A record that cannot be read is passed over if the state of the session does not depend on it.
fn fold_one(summary: &mut Option<Summary>, record: &StoredRecord, left_out: &mut usize) -> Result<(), String> {
    let Err(why) = fold_in(summary, record) else {
        return Ok(());
    };
    let is_needed = NEEDED_KINDS.iter().any(|beginning| record.kind.starts_with(beginning));
    let summary = summary.as_mut().filter(|_| !is_needed).ok_or(why)?;
    summary.pass_over(record.at);
    *left_out += 1;
    Ok(())
}

/// The offset is a column of its own, so that it survives a summary that cannot be read.
fn through_offset(connection: &Connection, session_id: SessionId) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached("SELECT through_offset FROM sessions WHERE session = ?1")?;
    let offset = statement
        .query_row([key(session_id)], |row| row.get::<_, i64>(0))
        .optional()?;
    Ok(offset.map_or(0, i64::cast_unsigned))
}
