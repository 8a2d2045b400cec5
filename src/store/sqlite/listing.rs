//! Lists: what sessions are filtered by stands in a table of its own, written in the transaction of their summaries.

use std::cmp::Reverse;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::reader::{integer, key, parse_summary, session_id};
use crate::session::id::{SHORT_ID_DIGITS, SessionId};
use crate::session::summary::Summary;
use crate::store::Filter;
use crate::store::filter::{below, plain, searched_text};

/// Sorts behind every key of a session: none is as long.
const AFTER_ALL_KEYS: [u8; 17] = [0xff; 17];

/// How many sessions of an older database are filled in at a time, so that they need not fit the memory.
const FILLED_AT_ONCE: i64 = 500;

/// Writes what a session is found by; most commits change nothing of it.
pub(super) fn write(connection: &Connection, summary: &Summary) -> rusqlite::Result<()> {
    let sql = "INSERT INTO listing (session, created_at, state, directory, caller, key, text, name, parent)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
        ON CONFLICT (session) DO UPDATE
            SET state = excluded.state, text = excluded.text, name = excluded.name, parent = excluded.parent
            WHERE state <> excluded.state OR text <> excluded.text OR name IS NOT excluded.name
                OR parent IS NOT excluded.parent";
    connection.prepare_cached(sql)?.execute(params![
        key(summary.session_id),
        summary.created_at.as_millisecond(),
        summary.shown_state().name(),
        plain(&summary.cwd),
        summary.claim.as_ref().map(|claim| &claim.caller),
        summary.claim.as_ref().map(|claim| &claim.key),
        searched_text(summary),
        summary.name,
        summary.parent.map(key),
    ])?;
    Ok(())
}

/// The page of sessions that fit, newest first.
pub(super) fn find(
    connection: &Connection,
    filter: &Filter,
    before: Option<SessionId>,
    limit: usize,
) -> rusqlite::Result<Vec<Summary>> {
    let (sql, mut values) = query(filter);
    let before = before.map_or(AFTER_ALL_KEYS.to_vec(), |id| key(id).to_vec());
    values.splice(0..0, [Value::Blob(before), Value::Integer(integer(limit as u64))]);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), parse_summary)?;
    let mut page = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    page.sort_unstable_by_key(|summary| Reverse(summary.session_id));
    Ok(page)
}

/// The session of a caller's key.
pub(super) fn claimed(connection: &Connection, caller: &str, key: &str) -> rusqlite::Result<Option<SessionId>> {
    let sql = "SELECT session FROM listing WHERE caller = ?1 AND key = ?2 AND key IS NOT NULL";
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_row([caller, key], |row| session_id(row, 0)).optional()
}

/// Looks at all ids; at 10,000 sessions that is a few milliseconds.
pub(super) fn meant_by(connection: &Connection, digits: &str, limit: usize) -> rusqlite::Result<Vec<SessionId>> {
    let sql = "SELECT session FROM sessions WHERE substr(lower(hex(session)), -length(?1)) = ?1
        OR substr(substr(lower(hex(session)), -?3), 1, length(?1)) = ?1
        ORDER BY session DESC LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let short = integer(SHORT_ID_DIGITS as u64);
    let rows = statement.query_map(params![digits, integer(limit as u64), short], |row| session_id(row, 0))?;
    rows.collect()
}

/// Fills the table for sessions that are not in it: those of a database that was just migrated, also where that was cut
/// off. A summary that cannot be read is left to `doctor --rebuild`, which writes both.
pub(super) fn complete(connection: &mut Connection) -> rusqlite::Result<()> {
    let missing = "SELECT summary, session FROM sessions WHERE session > ?1
        AND session NOT IN (SELECT session FROM listing) ORDER BY session LIMIT ?2";
    let mut after = Vec::new();
    loop {
        let transaction = connection.transaction()?;
        let mut found = 0;
        {
            let mut statement = transaction.prepare_cached(missing)?;
            let mut rows = statement.query(params![after, FILLED_AT_ONCE])?;
            let mut last = Vec::new();
            while let Some(row) = rows.next()? {
                found += 1;
                last = row.get(1)?;
                if let Ok(summary) = parse_summary(row) {
                    write(&transaction, &summary)?;
                }
            }
            after = last;
        }
        transaction.commit()?;
        if found < FILLED_AT_ONCE {
            return Ok(());
        }
    }
}

/// The statement for a filter and its values, from `?3` on; `?1` is where the page begins, and `?2` how long it is. Which
/// sessions fit is found by their keys alone, and only those of the page have their summary read (the order of the join is
/// fixed, that is what CROSS means to SQLite). The rows come in any order.
pub(super) fn query(filter: &Filter) -> (String, Vec<Value>) {
    let mut conditions = vec!["session < ?1".to_owned()];
    let mut values = Vec::new();
    let mut value = |value: Value| {
        values.push(value);
        format!("?{}", values.len() + 2)
    };
    if !filter.states.is_empty() {
        let states: Vec<_> = filter
            .states
            .iter()
            .map(|state| value(state.name().to_owned().into()))
            .collect();
        conditions.push(format!("state IN ({})", states.join(", ")));
    }
    if let Some(name) = &filter.name {
        conditions.push(format!("name = {}", value(name.clone().into())));
    }
    if let Some(parent) = filter.parent {
        conditions.push(format!("parent = {}", value(key(parent).to_vec().into())));
    }
    if let Some(directory) = &filter.directory {
        let (itself, prefix) = (value(plain(directory).into()), value(below(directory).into()));
        conditions.push(format!(
            "(directory = {itself} OR substr(directory, 1, length({prefix})) = {prefix})"
        ));
    }
    if let Some(since) = filter.since {
        conditions.push(format!("created_at >= {}", value(since.as_millisecond().into())));
    }
    if let Some(until) = filter.until {
        conditions.push(format!("created_at < {}", value(until.as_millisecond().into())));
    }
    if let Some(needle) = filter.needle() {
        conditions.push(format!("instr(text, {}) > 0", value(needle.into())));
    }
    let sql = format!(
        "SELECT summary FROM (SELECT session FROM listing WHERE {} ORDER BY session DESC LIMIT ?2)
            CROSS JOIN sessions USING (session)",
        conditions.join(" AND ")
    );
    (sql, values)
}
