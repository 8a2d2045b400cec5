//! The feed: what is written to journals, shown to readers as it happens.
//!
//! For each session that something happens in there is one feed: the last records as rendered bytes, a watch that
//! tells readers of news, and the text that is being written right now. A reader that falls behind the ring reads the
//! journal in short pages; it is never cut off in silence and costs no memory. One more feed carries the records of all
//! sessions.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::watch;

use super::metrics::Metrics;
use crate::session::id::{Attempt, Seq, SessionId};
use crate::session::journal::Entry;
use crate::session::message::{Delta, DeltaPart, Message};
use crate::store::{Commit, EntryCell, Journal, StoreError, StoredRecord, lock};

mod reader;

pub use self::reader::FeedReader;

/// How many bytes of rendered items one ring keeps.
const RING_BYTES_MAX: usize = 1024 * 1024;

/// How many items one ring keeps.
const RING_ITEMS_MAX: usize = 8192;

/// How much of one block's unfinished text is kept for readers that come later, in bytes.
const DRAFT_BYTES_MAX: usize = 256 * 1024;

/// One thing a reader is shown.
#[derive(Clone, Debug)]
pub enum FeedItem {
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
    /// The entry, as the journal's writer made it. It is read from the JSON only where the record came from the disk.
    entry: EntryCell,
}

impl Rendered {
    fn new(stored: &StoredRecord) -> Self {
        let kind = Bytes::copy_from_slice(stored.kind.as_bytes());
        let mut rendered = Self::from_json(stored.id, stored.seq, kind, stored.to_json().into());
        rendered.entry = stored.entry.clone();
        rendered
    }

    /// A record of which only the JSON is at hand.
    pub fn from_json(id: i64, seq: Seq, kind: Bytes, json: Bytes) -> Self {
        let entry = EntryCell::default();
        Self {
            id,
            seq,
            kind,
            json,
            entry,
        }
    }

    /// The entry, if this version knows it.
    pub fn entry(&self) -> Option<&Entry> {
        let kind = str::from_utf8(&self.kind).ok()?;
        // The data stands last.
        let json = str::from_utf8(&self.json).ok()?;
        let (_, data) = json.strip_suffix('}')?.split_once(r#","data":"#)?;
        self.entry.get(kind, data).ok()
    }
}

/// Which records a stream has, and by what it counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// One session's, by seq.
    Session(SessionId),
    /// All sessions', by id.
    All,
}

impl Scope {
    fn cursor(self, record: &Rendered) -> u64 {
        match self {
            Self::Session(_) => record.seq.0,
            Self::All => record.id.unsigned_abs(),
        }
    }
}

/// All feeds.
pub struct Feeds {
    store: Arc<dyn Journal>,
    metrics: Arc<Metrics>,
    all: Arc<Feed>,
    sessions: Mutex<HashMap<SessionId, Arc<Feed>>>,
}

impl Feeds {
    /// Feeds over a store; nothing has happened yet.
    pub(super) fn new(store: Arc<dyn Journal>, metrics: Arc<Metrics>) -> Result<Self, StoreError> {
        let head = store.last_id()?.unsigned_abs();
        Ok(Self {
            store,
            metrics,
            all: Arc::new(Feed::new(Scope::All, head)),
            sessions: Mutex::default(),
        })
    }

    /// Shows a commit to whoever reads. Called in commit order.
    pub fn publish(&self, commit: &Commit) {
        let Some(first) = commit.records.first() else { return };
        let before = first.seq.0.saturating_sub(1);
        let feed = self.feed_of(commit.summary.session_id, before);
        let rendered: Vec<Rendered> = commit.records.iter().map(Rendered::new).collect();
        self.all.push(&rendered);
        feed.push(&rendered);
        if matches!(commit.entries().next_back(), Some(Entry::SessionEnded(_))) {
            // Readers hold the feed for as long as they need it; who comes later reads the journal.
            lock(&self.sessions).remove(&commit.summary.session_id);
        }
    }

    /// Shows partial text.
    pub fn delta(&self, session: SessionId, head: Seq, attempt: Attempt, delta: &Delta) {
        self.feed_of(session, head.0).push_delta(attempt, delta);
    }

    /// Reads a session's stream after `after`; `head` is its last record, `ended` whether that is its end.
    pub fn read(&self, session: SessionId, after: Seq, head: Seq, ended: bool) -> FeedReader {
        let feed = if ended {
            self.forget_unread(session);
            let feed = Feed::new(Scope::Session(session), head.0);
            lock(&feed.ring).ended = true;
            Arc::new(feed)
        } else {
            self.feed_of(session, head.0)
        };
        self.reader(feed, Some(after.0))
    }

    /// Ends the streams of a session that is gone.
    pub(super) fn forget(&self, session: SessionId) {
        let feed = lock(&self.sessions).remove(&session);
        if let Some(feed) = feed {
            let mut ring = lock(&feed.ring);
            ring.ended = true;
            feed.news.send_replace(ring.end());
        }
    }

    /// Lets go of a feed that was asked for while its session ended: nothing will be shown on it.
    fn forget_unread(&self, session: SessionId) {
        let mut sessions = lock(&self.sessions);
        if sessions.get(&session).is_some_and(|feed| Arc::strong_count(feed) == 1) {
            sessions.remove(&session);
        }
    }

    /// Reads the stream over all sessions after `after`, or from now on.
    pub fn read_all(&self, after: Option<i64>) -> FeedReader {
        self.reader(Arc::clone(&self.all), after.map(i64::unsigned_abs))
    }

    fn reader(&self, feed: Arc<Feed>, after: Option<u64>) -> FeedReader {
        FeedReader::new(feed, Arc::clone(&self.store), Arc::clone(&self.metrics), after)
    }

    fn feed_of(&self, session: SessionId, head: u64) -> Arc<Feed> {
        let mut sessions = lock(&self.sessions);
        let feed = sessions
            .entry(session)
            .or_insert_with(|| Arc::new(Feed::new(Scope::Session(session), head)));
        Arc::clone(feed)
    }
}

/// One stream: its last items, and who waits for more.
struct Feed {
    scope: Scope,
    ring: Mutex<Ring>,
    /// The position behind the last item.
    news: watch::Sender<u64>,
}

/// The last items of a stream.
struct Ring {
    items: VecDeque<FeedItem>,
    /// The position of the first item; positions count all items there ever were.
    first: u64,
    bytes: usize,
    /// The cursor of the last record that is no longer in the ring.
    floor: u64,
    /// The cursor of the last record.
    head: u64,
    /// Whether that record ends the stream.
    ended: bool,
    drafts: BTreeMap<(String, u32), OpenText>,
}

/// Text that is being written.
struct OpenText {
    attempt: Attempt,
    part: DeltaPart,
    text: String,
    /// How many characters of the block were shown, those of `text` included.
    chars: usize,
    /// The text outgrew [`DRAFT_BYTES_MAX`]: nothing is added, so that what is kept has no hole.
    is_cut: bool,
}

impl Feed {
    fn new(scope: Scope, head: u64) -> Self {
        let ring = Ring {
            items: VecDeque::new(),
            first: 0,
            bytes: 0,
            floor: head,
            head,
            ended: false,
            drafts: BTreeMap::new(),
        };
        Self {
            scope,
            ring: Mutex::new(ring),
            news: watch::Sender::new(0),
        }
    }

    fn push(&self, records: &[Rendered]) {
        let mut ring = lock(&self.ring);
        for record in records {
            let cursor = self.scope.cursor(record);
            if cursor <= ring.head {
                continue;
            }
            ring.head = cursor;
            if let (Scope::Session(_), Some(entry)) = (self.scope, record.entry()) {
                ring.close_drafts(entry);
                ring.ended = matches!(entry, Entry::SessionEnded(_));
            }
            ring.push(self.scope, FeedItem::Record(record.clone()));
        }
        self.news.send_replace(ring.end());
    }

    fn push_delta(&self, attempt: Attempt, delta: &Delta) {
        let mut ring = lock(&self.ring);
        let key = (delta.message_id.clone(), delta.block);
        let draft = ring.drafts.entry(key).or_insert_with(|| OpenText {
            attempt,
            part: delta.part,
            text: String::new(),
            chars: 0,
            is_cut: false,
        });
        let offset = draft.chars;
        draft.chars += delta.text.chars().count();
        draft.is_cut |= draft.text.len() + delta.text.len() > DRAFT_BYTES_MAX;
        if !draft.is_cut {
            draft.text += &delta.text;
        }
        let item = FeedItem::Delta(render_delta(attempt, delta, offset));
        ring.push(self.scope, item);
        self.news.send_replace(ring.end());
    }
}

impl Ring {
    fn end(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    fn push(&mut self, scope: Scope, item: FeedItem) {
        self.bytes += size_of(&item);
        self.items.push_back(item);
        while self.bytes > RING_BYTES_MAX || self.items.len() > RING_ITEMS_MAX {
            let Some(oldest) = self.items.pop_front() else { break };
            self.first += 1;
            self.bytes -= size_of(&oldest);
            if let FeedItem::Record(record) = oldest {
                self.floor = scope.cursor(&record);
            }
        }
    }

    /// A whole block replaces its draft; a dropped draft and the end of an attempt leave none.
    fn close_drafts(&mut self, entry: &Entry) {
        match entry {
            Entry::AgentMessage(said) => match &said.message {
                Message::Text { message_id, block, .. }
                | Message::Thinking { message_id, block, .. }
                | Message::ToolUse { message_id, block, .. } => {
                    self.drafts.remove(&(message_id.clone(), *block));
                }
                _ => {}
            },
            Entry::DraftDropped(dropped) => {
                self.drafts
                    .retain(|(message, block), _| *message != dropped.message_id || *block < dropped.from_block);
            }
            Entry::AttemptEnded(_) | Entry::SessionEnded(_) => self.drafts.clear(),
            _ => {}
        }
    }

    /// The open drafts as deltas, for a reader that comes now.
    fn drafts_as_items(&self) -> impl Iterator<Item = FeedItem> + '_ {
        self.drafts.iter().map(|((message_id, block), draft)| {
            let delta = Delta {
                message_id: message_id.clone(),
                block: *block,
                part: draft.part,
                text: draft.text.clone(),
            };
            FeedItem::Delta(render_delta(draft.attempt, &delta, 0))
        })
    }
}

#[derive(Serialize)]
struct DeltaView<'a> {
    attempt: Attempt,
    #[serde(flatten)]
    delta: &'a Delta,
    offset: usize,
}

fn render_delta(attempt: Attempt, delta: &Delta, offset: usize) -> Bytes {
    // A delta is text and numbers: there is nothing in it that JSON could refuse.
    serde_json::to_vec(&DeltaView { attempt, delta, offset })
        .unwrap_or_default()
        .into()
}

fn size_of(item: &FeedItem) -> usize {
    const OVERHEAD: usize = 64;
    OVERHEAD
        + match item {
            FeedItem::Hello(_) => 0,
            // The entry takes about as much as its JSON.
            FeedItem::Record(record) => 2 * record.json.len() + record.kind.len(),
            FeedItem::Delta(json) => json.len(),
        }
}

#[cfg(test)]
mod tests;
