//! A journal whose file is damaged: what can be read of it goes into a new file, which takes its place. The damaged one
//! is kept beside it.
//!
//! SQLite ends a query at the first page that it cannot read, so the rows behind it are asked for by their numbers. In
//! the place of a lost record stands a notice, since the records of a session are numbered without gaps. A session's row
//! is taken over where it can be read: it says how the session stands. Where it cannot, nobody knows what followed the
//! last record that is left: such a session is ended, and goes on by hand.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, Row, TransactionBehavior, params};
use serde_json::value::RawValue;

use super::reader::{self, key, parse_record, parse_summary, session_id};
use super::rows::{insert_record, write_summary};
use super::{explain, rebuild, schema};
use crate::session::id::{Attempt, Seq, SessionId};
use crate::session::journal::{Entry, SessionEnd, StateChange, Text};
use crate::session::outcome::{Cause, Outcome};
use crate::session::state::{State, StateName};
use crate::session::summary::Summary;
use crate::store::fold::fold_in;
use crate::store::{StoreError, StoredRecord};

mod place;

pub(super) use self::place::{put_aside, remove_log};

/// How many numbers in a row may stand for nothing readable before all that is behind them is given up. That is more
/// than any one page of the database leads to.
const UNREADABLE_MAX: u32 = 1_000_000;

const RECORDS_SQL: &str = "SELECT id, session, seq, attempt, at, kind, body FROM records WHERE id > ?1 ORDER BY id";

const ROWS_SQL: &str = "SELECT summary, session, rowid AS id FROM sessions WHERE id > ?1 ORDER BY id";

/// What stands in the place of a lost record.
const LOST: &str = "this record was lost: the journal's file was damaged here";

/// Why a session is ended.
const UNKNOWN: &str = "how it stood is lost with a part of the journal: resume it to go on";

/// What could be saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Sessions that are there again.
    pub sessions: usize,
    /// Records that could be read.
    pub records: usize,
    /// Records that are known to be lost.
    pub lost: usize,
    /// Sessions that were ended, since it is not known how they stood.
    pub ended: usize,
    /// Sessions of which too little is left to show them.
    pub gone: usize,
    /// Where the damaged file is.
    pub kept: PathBuf,
}

/// Saves what can be read of the damaged database at `path`, all or nothing. Nobody may have it open.
pub fn salvage(path: &Path) -> Result<Salvaged, StoreError> {
    let new = place::Unfinished::beside(path)?;
    let mut connection = schema::open_writer(new.path(), schema::MIGRATIONS)?;
    let mut salvaged = {
        let damaged = place::open_damaged(path, &new)?;
        copy(&damaged, &mut connection).map_err(|error| explain(path, error))?
    };
    if salvaged.sessions == 0 {
        return Err(StoreError::Unreadable { file: path.to_owned() });
    }
    connection.close().map_err(|(_, error)| explain(new.path(), error))?;
    salvaged.kept = new.put_in_place(path)?;
    Ok(salvaged)
}

fn copy(damaged: &Connection, new: &mut Connection) -> rusqlite::Result<Salvaged> {
    let transaction = new.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut copy = Copy {
        new: &transaction,
        removed: reader::removed(damaged).unwrap_or_default().into_iter().collect(),
        sessions: HashMap::new(),
        next_id: 1,
        told: Salvaged::default(),
    };
    each_row(damaged, RECORDS_SQL, parse_record, |record| copy.take_record(record))?;
    let parse_row = |row: &Row<'_>| Ok((session_id(row, 1)?, parse_summary(row).ok()));
    each_row(damaged, ROWS_SQL, parse_row, |(id, row)| copy.take_row(id, row))?;
    let without_row: Vec<_> = copy.sessions.keys().copied().collect();
    for session_id in without_row {
        copy.take_row(session_id, None)?;
    }
    let told = copy.told;
    transaction.commit()?;
    Ok(told)
}

/// Shows all rows that can be read, in the order of their `id`s. What cannot be parsed is passed over too.
fn each_row<T>(
    connection: &Connection,
    sql: &str,
    parse: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    mut take: impl FnMut(T) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(sql)?;
    let (mut after, mut unreadable) = (0_i64, 0);
    while unreadable < UNREADABLE_MAX {
        let mut rows = statement.query([after])?;
        let error = loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(()),
                Err(error) => break error,
            };
            after = row.get("id")?;
            match parse(row) {
                Ok(parsed) => take(parsed)?,
                Err(error) if is_damage(&error) => {}
                Err(error) => return Err(error),
            }
            unreadable = 0;
        };
        if !is_damage(&error) {
            return Err(error);
        }
        (after, unreadable) = (after + 1, unreadable + 1);
    }
    Ok(())
}

/// Whether it is about what is in the file.
fn is_damage(error: &rusqlite::Error) -> bool {
    let is_in_place = matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
    );
    is_in_place
        || matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::SystemIoFailure)
        )
}

/// The copy as far as it has come.
struct Copy<'a> {
    new: &'a Connection,
    removed: BTreeSet<SessionId>,
    sessions: HashMap<SessionId, SalvagedSession>,
    /// The id of the next record: they are numbered anew, and the new file's epoch tells those who know the old ones.
    next_id: i64,
    told: Salvaged,
}

/// What is copied of one session.
#[derive(Default)]
struct SalvagedSession {
    head: Seq,
    /// The latest attempt that a record is of.
    attempt: Attempt,
    /// When the last record was written.
    at: Timestamp,
    /// The fold of the records; none where the first one is lost.
    fold: Option<Summary>,
    /// Records that are not in the fold.
    lost: usize,
}

impl SalvagedSession {
    fn take(&mut self, record: &StoredRecord) {
        self.head = record.seq;
        if fold_in(&mut self.fold, record).is_err() {
            self.lost += 1;
            if let Some(fold) = &mut self.fold {
                fold.pass_over(record.at);
            }
        }
    }
}

impl Copy<'_> {
    fn take_record(&mut self, record: StoredRecord) -> rusqlite::Result<()> {
        let id = record.session_id;
        let mut journal = self.sessions.remove(&id).unwrap_or_default();
        let is_next = record.seq > journal.head && record.seq.0 - journal.head.0 <= u64::from(UNREADABLE_MAX);
        if is_next && !self.removed.contains(&id) {
            (journal.attempt, journal.at) = (journal.attempt.max(record.attempt), record.at);
            self.fill_up(id, &mut journal, Seq(record.seq.0 - 1))?;
            if serde_json::from_str::<&RawValue>(&record.data).is_ok() {
                self.told.records += 1;
                self.write(&mut journal, record)?;
            } else {
                self.fill_up(id, &mut journal, record.seq)?;
            }
        }
        self.sessions.insert(id, journal);
        Ok(())
    }

    fn write(&mut self, journal: &mut SalvagedSession, mut record: StoredRecord) -> rusqlite::Result<()> {
        record.id = self.next_id;
        self.next_id += 1;
        insert_record(self.new, &record)?;
        journal.take(&record);
        Ok(())
    }

    /// Notices in the place of the records up to and with `last`.
    fn fill_up(&mut self, id: SessionId, journal: &mut SalvagedSession, last: Seq) -> rusqlite::Result<()> {
        while journal.head < last {
            journal.lost += 1;
            self.told.lost += 1;
            self.add(id, journal, Entry::Notice(Text { text: LOST.to_owned() }))?;
        }
        Ok(())
    }

    fn add(&mut self, id: SessionId, journal: &mut SalvagedSession, entry: Entry) -> rusqlite::Result<()> {
        let data = entry.to_json();
        let record = StoredRecord {
            id: 0,
            session_id: id,
            seq: journal.head.next(),
            attempt: journal.attempt,
            at: journal.at,
            kind: entry.kind().to_owned(),
            data: data.map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?,
            entry: Arc::new(entry).into(),
        };
        self.write(journal, record)
    }

    /// All records of the session have been seen; `row` is what its row says.
    fn take_row(&mut self, id: SessionId, row: Option<Summary>) -> rusqlite::Result<()> {
        if self.removed.contains(&id) {
            return Ok(());
        }
        let mut journal = self.sessions.remove(&id).unwrap_or_default();
        let has_begun = journal.fold.is_some();
        let may_be = |row: &Summary| (0..=u64::from(UNREADABLE_MAX)).contains(&row.head.0.wrapping_sub(journal.head.0));
        match row.filter(may_be) {
            Some(row) => {
                (journal.attempt, journal.at) = (row.lifecycle.attempt, row.updated_at);
                self.fill_up(id, &mut journal, row.head)?;
                journal.fold = Some(row);
                self.keep(id, journal, has_begun)
            }
            None if has_begun => self.keep(id, journal, false),
            None => self.leave_out(id),
        }
    }

    /// Writes the session's row; its end before that where it is not known how it stands.
    fn keep(&mut self, id: SessionId, mut journal: SalvagedSession, is_certain: bool) -> rusqlite::Result<()> {
        let state = journal.fold.as_ref().map(|summary| &summary.lifecycle.state);
        let live = state.filter(|state| state.outcome().is_none()).map(State::name);
        if let Some(from) = live.filter(|_| !is_certain) {
            self.told.ended += 1;
            for entry in end(from) {
                self.add(id, &mut journal, entry)?;
            }
        }
        let Some(mut summary) = journal.fold else { return Ok(()) };
        summary.lifecycle.attempt = summary.lifecycle.attempt.max(journal.attempt);
        if journal.lost > 0 || !is_certain {
            rebuild::mark_kept(self.new, id)?;
        }
        self.told.sessions += 1;
        write_summary(self.new, &summary)
    }

    fn leave_out(&mut self, id: SessionId) -> rusqlite::Result<()> {
        self.told.gone += 1;
        self.new
            .execute("DELETE FROM records WHERE session = ?1", params![key(id)])?;
        Ok(())
    }
}

fn end(from: StateName) -> [Entry; 2] {
    let outcome = Outcome::Failed { cause: Cause::Crashed };
    let change = StateChange {
        from,
        to: StateName::Failed,
        reason: UNKNOWN.to_owned(),
        until: None,
        stop_for: None,
    };
    let summary = UNKNOWN.to_owned();
    [
        Entry::SessionState(change),
        Entry::SessionEnded(SessionEnd { outcome, summary }),
    ]
}
