//! What every store does with an append before it writes it: fence, number, fold. No I/O.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Append, Commit, SpoolSpan, StoreError, StoreRefusal, StoredRecord};
use crate::session::id::{Attempt, SessionId};
use crate::session::journal::{Created, Entry};
use crate::session::request::Claim;
use crate::session::summary::Summary;

/// An append on its way: its entries are already JSON text, made on the caller's thread.
#[derive(Debug)]
pub(super) struct PendingAppend {
    session_id: SessionId,
    fence: Fence,
    at: Timestamp,
    entries: Vec<Arc<Entry>>,
    bodies: Vec<String>,
}

/// What must hold for a draft to be written.
#[derive(Debug)]
enum Fence {
    /// The session does not exist; this is its summary before any record.
    New(Box<Summary>),
    /// The session's attempt is this one, and its spool is journalled up to the beginning of the span.
    Current { attempt: Attempt, span: Option<SpoolSpan> },
}

impl PendingAppend {
    /// The first record of a session.
    pub(super) fn create(session_id: SessionId, created: Created, at: Timestamp) -> Result<Self, StoreError> {
        let at = whole_milliseconds(at);
        let fence = Fence::New(Box::new(Summary::new(session_id, &created, at)));
        Self::new(session_id, fence, at, vec![Entry::SessionCreated(Box::new(created))])
    }

    /// Further records of a session.
    pub(super) fn append(append: Append) -> Result<Self, StoreError> {
        let Append {
            session_id,
            attempt,
            span,
            at,
            entries,
        } = append;
        Self::new(
            session_id,
            Fence::Current { attempt, span },
            whole_milliseconds(at),
            entries,
        )
    }

    fn new(session_id: SessionId, fence: Fence, at: Timestamp, entries: Vec<Entry>) -> Result<Self, StoreError> {
        let bodies = entries.iter().map(Entry::to_json).collect::<Result<_, _>>();
        let bodies = bodies.map_err(|error| StoreError::Failed(format!("an entry cannot be written: {error}")))?;
        Ok(Self {
            session_id,
            fence,
            at,
            entries: entries.into_iter().map(Arc::new).collect(),
            bodies,
        })
    }

    /// The session it belongs to.
    pub(super) fn session_id(&self) -> SessionId {
        self.session_id
    }

    /// How many records it makes.
    pub(super) fn records(&self) -> usize {
        self.bodies.len()
    }

    /// How long their data is, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bodies.iter().map(String::len).sum()
    }

    /// The key that a session is created under.
    pub(super) fn claim(&self) -> Option<&Claim> {
        match &self.fence {
            Fence::New(summary) => summary.claim.as_ref(),
            Fence::Current { .. } => None,
        }
    }

    /// Whether it is the first record of a session.
    pub(super) fn is_create(&self) -> bool {
        matches!(self.fence, Fence::New(_))
    }

    /// What it becomes in a session that stands at `current`; the records' ids begin at `next_id`.
    ///
    /// The draft stays as it is, so that it can be tried again where it could not be written.
    pub(super) fn number(&self, current: Option<&Summary>, next_id: i64) -> Result<Commit, StoreRefusal> {
        let (mut summary, through) = self.pass(current)?;
        let mut records = Vec::with_capacity(self.bodies.len());
        for ((id, data), entry) in (next_id..).zip(&self.bodies).zip(&self.entries) {
            summary.apply(entry, self.at);
            records.push(StoredRecord {
                id,
                session_id: self.session_id,
                seq: summary.head,
                attempt: summary.lifecycle.attempt,
                at: self.at,
                kind: entry.kind().to_owned(),
                data: data.clone(),
                entry: Arc::clone(entry).into(),
            });
        }
        if let Some(through) = through {
            summary.through_offset = through;
        }
        Ok(Commit {
            summary: Arc::new(summary),
            records: records.into(),
        })
    }

    /// Holds the draft against its fence: the summary to fold it into, and the offset it reaches.
    fn pass(&self, current: Option<&Summary>) -> Result<(Summary, Option<u64>), StoreRefusal> {
        match (&self.fence, current) {
            (Fence::New(_), Some(_)) => Err(StoreRefusal::SessionExists(self.session_id)),
            (Fence::New(summary), None) => Ok((Summary::clone(summary), None)),
            (Fence::Current { .. }, None) => Err(StoreRefusal::NoSuchSession(self.session_id)),
            (Fence::Current { attempt, span }, Some(summary)) => {
                check_attempts(*attempt, &self.entries, summary.lifecycle.attempt)?;
                check_offset(*span, summary.through_offset)?;
                Ok((summary.clone(), span.map(|span| span.through)))
            }
        }
    }
}

/// The fence only moves forward: an attempt that starts must be later than all before it.
fn check_attempts(given: Attempt, entries: &[Arc<Entry>], mut current: Attempt) -> Result<(), StoreRefusal> {
    if given != current {
        return Err(StoreRefusal::WrongAttempt { given, current });
    }
    for entry in entries {
        let Entry::AttemptStarted(start) = &**entry else {
            continue;
        };
        if start.attempt <= current {
            return Err(StoreRefusal::WrongAttempt {
                given: start.attempt,
                current,
            });
        }
        current = start.attempt;
    }
    Ok(())
}

fn check_offset(span: Option<SpoolSpan>, stored: u64) -> Result<(), StoreRefusal> {
    match span {
        Some(SpoolSpan { from, .. }) if from != stored => Err(StoreRefusal::WrongOffset { given: from, stored }),
        Some(_) | None => Ok(()),
    }
}

/// Records keep milliseconds; the fold gets the same time as a reader of the journal will.
fn whole_milliseconds(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// The digits of the end of an id as a person types them, in lower case; none where that is no end of an id.
pub(super) fn typed_digits(typed: &str) -> Option<String> {
    let digits = typed.replace('-', "").to_ascii_lowercase();
    let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    (!digits.is_empty() && hexadecimal).then_some(digits)
}
