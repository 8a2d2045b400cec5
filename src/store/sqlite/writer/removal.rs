//! Removing sessions. What is asked for takes one short transaction, from which on nobody finds the session; its records
//! are deleted behind it in portions, whenever nothing else is to be written, and by the next store if need be.
//!
//! The pages that become free are written again by later records: the file keeps its length.

use std::collections::VecDeque;

use rusqlite::{OptionalExtension, params};
use tokio::sync::oneshot;

use super::super::reader::key;
use super::Writer;
use crate::session::id::SessionId;
use crate::store::{StoreError, StoreRefusal, Unwritten};

/// A portion has at most so many records …
const PORTION_RECORDS: i64 = 500;

/// … and ends with the one that brings their data to this many bytes.
const PORTION_BYTES: i64 = 4 * 1024 * 1024;

/// A removal that waits.
pub(in crate::store::sqlite) struct Remove {
    pub(in crate::store::sqlite) session_id: SessionId,
    pub(in crate::store::sqlite) answer: oneshot::Sender<Result<(), Unwritten>>,
}

impl Remove {
    /// Answers that nothing was removed. Nobody may listen any more; that changes nothing.
    pub(in crate::store::sqlite) fn refuse(self, error: StoreError) {
        let _ = self.answer.send(Err(error.into()));
    }
}

/// Sessions that were removed and whose records are not all gone.
pub(super) struct Removed {
    sessions: VecDeque<SessionId>,
    /// There was no room for it: nothing is deleted until something else could be written.
    rests: bool,
}

impl Removed {
    pub(super) fn of(sessions: Vec<SessionId>) -> Self {
        Self {
            sessions: sessions.into(),
            rests: false,
        }
    }

    pub(super) fn is_to_be_deleted(&self) -> bool {
        !self.sessions.is_empty() && !self.rests
    }

    /// Something could be written.
    pub(super) fn go_on(&mut self) {
        self.rests = false;
    }
}

impl Writer {
    /// Removes a session, tells the observer, answers. On a full disk it takes the ballast, since it is asked for to make
    /// room.
    pub(super) fn remove(&mut self, asked: Remove) {
        let mut result = self.try_remove(asked.session_id);
        if matches!(result, Err(Unwritten::Failed(StoreError::DiskFull { .. }))) && self.room.make_some() {
            result = self.try_remove(asked.session_id);
        }
        if result.is_ok() {
            self.removed.sessions.push_back(asked.session_id);
            self.removed.go_on();
            self.observer.removed(asked.session_id);
        }
        let _ = asked.answer.send(result);
    }

    fn try_remove(&mut self, session_id: SessionId) -> Result<(), Unwritten> {
        if let Some(error) = &self.failed {
            return Err(error.clone().into());
        }
        self.refuse_unless_ended(session_id)?;
        let removed = self.commit_removal(session_id);
        if let Err(error) = &removed {
            self.give_up(error);
        }
        Ok(removed?)
    }

    fn refuse_unless_ended(&self, session_id: SessionId) -> Result<(), Unwritten> {
        let sql = "SELECT ended FROM sessions WHERE session = ?1";
        let ended = self.connection.query_row(sql, [key(session_id)], |row| row.get(0));
        match ended.optional().map_err(|error| self.explain(error))? {
            Some(true) => Ok(()),
            Some(false) => Err(StoreRefusal::StillLive(session_id).into()),
            None => Err(StoreRefusal::NoSuchSession(session_id).into()),
        }
    }

    /// The last id of all is written down with it: the records that have it may be among those that go.
    fn commit_removal(&mut self, session_id: SessionId) -> Result<(), StoreError> {
        self.place.check()?;
        self.run_sql("BEGIN IMMEDIATE")?;
        let (session, last_id) = (key(session_id), self.next_id - 1);
        let write = || -> rusqlite::Result<()> {
            let run = |sql: &str| self.connection.execute(sql, [session]);
            run("INSERT OR IGNORE INTO meta VALUES ('removed:' || hex(?1), '')")?;
            run("DELETE FROM listing WHERE session = ?1")?;
            run("DELETE FROM sessions WHERE session = ?1")?;
            let sql = "INSERT OR REPLACE INTO meta VALUES ('last_id', CAST(?1 AS TEXT))";
            self.connection.execute(sql, [last_id]).map(drop)
        };
        write().map_err(|error| self.explain(error))?;
        self.run_sql("COMMIT")?;
        self.summaries.remove(&session_id);
        Ok(())
    }

    /// Deletes a portion of the records of what was removed first. Where that fails for another reason than a full disk,
    /// the rest is left to the next store: nobody waits for it, and what others write is not concerned.
    pub(super) fn delete_some(&mut self) {
        let Some(session_id) = self.removed.sessions.front().copied() else {
            return;
        };
        if self.failed.is_some() {
            return self.removed.sessions.clear();
        }
        match self.delete_portion(session_id) {
            Ok(true) => drop(self.removed.sessions.pop_front()),
            Ok(false) => {}
            Err(error) => {
                if !self.connection.is_autocommit() && self.run_sql("ROLLBACK").is_err() {
                    tracing::warn!("the journal's transaction could not be rolled back");
                }
                if matches!(error, StoreError::DiskFull { .. }) {
                    self.removed.rests = true;
                } else {
                    tracing::warn!(%session_id, %error, "records of a removed session cannot be deleted");
                    self.removed.sessions.pop_front();
                }
            }
        }
    }

    /// Whether that was the last of it.
    fn delete_portion(&self, session_id: SessionId) -> Result<bool, StoreError> {
        self.place.check()?;
        self.run_sql("BEGIN IMMEDIATE")?;
        let delete = || -> rusqlite::Result<bool> {
            let through = self.end_of_portion(session_id)?;
            let sql = match through {
                Some(_) => "DELETE FROM records WHERE session = ?1 AND seq <= ?2",
                None => "DELETE FROM meta WHERE name = 'removed:' || hex(?1) AND ?2 = 0",
            };
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.execute(params![key(session_id), through.unwrap_or(0)])?;
            Ok(through.is_none())
        };
        let is_last = delete().map_err(|error| self.explain(error))?;
        self.run_sql("COMMIT")?;
        Ok(is_last)
    }

    /// The number of the last record of the next portion; none where there are none.
    fn end_of_portion(&self, session_id: SessionId) -> rusqlite::Result<Option<i64>> {
        let sql = "SELECT seq, octet_length(body) FROM records WHERE session = ?1 ORDER BY seq LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![key(session_id), PORTION_RECORDS])?;
        let (mut through, mut bytes) = (None, 0_i64);
        while let Some(row) = rows.next()? {
            through = Some(row.get(0)?);
            bytes += row.get::<_, i64>(1)?;
            if bytes >= PORTION_BYTES {
                break;
            }
        }
        Ok(through)
    }
}
