//! The feed: what is written to journals, shown to readers as it happens.

use bytes::Bytes;

use crate::session::id::Seq;

/// One thing a reader is shown.
#[derive(Clone, Debug)]
pub enum Item {
    /// The first item of every stream.
    Hello(Hello),
    /// A record, once and in order.
    Record(Rendered),
    /// Partial text, as JSON: `{attempt, message_id, block, part, offset, text}`, where `offset` counts the characters
    /// of the block before it. Not stored; a record of the same message and block, or `draft.dropped`, replaces it.
    Delta(Bytes),
}

/// How a stream begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// False where the cursor the reader came with does not belong to this journal: it starts from the beginning.
    pub resumed: bool,
    /// The cursor of the last record when the stream began.
    pub head: u64,
    /// Names the database; cursors of another one mean nothing here.
    pub epoch: String,
}

/// A record, rendered once for all readers.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Its place among the records of all sessions: the cursor of the stream over all.
    pub id: i64,
    /// Its number in the session: the cursor of the session's stream.
    pub seq: Seq,
    /// Its kind.
    pub kind: Bytes,
    /// The record as one JSON object without line breaks.
    pub json: Bytes,
}

/// Reads one stream. Holds no more than a page of it in memory, however slow it is read.
#[derive(Debug)]
pub struct Reader {}

impl Reader {
    /// The next item, once there is one; none when the stream has ended, which the stream of a session does after a
    /// `session.ended` that is its head. Cancel safe.
    pub async fn next(&mut self) -> Option<Item> {
        None
    }
}
