//! Readers that join at any point of any history see every record once and in order, and can put drafts together.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use futures_util::FutureExt;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;
use tokio::task::unconstrained;

use super::*;
use crate::session::journal::{DroppedDraft, Text};
use crate::session::message::TurnEnd;
use crate::session::outcome::Outcome;
use crate::session::samples::{created, said, session_ended, text, turn_ended};
use crate::store::memory::MemoryStore;
use crate::store::{Append, Observer};

mod later;

/// A session in a store in memory, and the feeds over it.
struct World {
    store: Arc<MemoryStore>,
    feeds: Arc<Feeds>,
    publish: Arc<Publish>,
    session: SessionId,
}

/// Shows commits, at once or when it is let go on: what is on disk is not always shown yet.
#[derive(Default)]
struct Publish {
    feeds: OnceLock<Arc<Feeds>>,
    held: Mutex<Option<Vec<Commit>>>,
}

impl Publish {
    fn hold(&self) {
        lock(&self.held).get_or_insert_default();
    }

    fn go_on(&self) {
        let held = lock(&self.held).take().unwrap_or_default();
        held.iter().for_each(|commit| self.committed(commit));
    }
}

impl Observer for Publish {
    fn committed(&self, commit: &Commit) {
        let Some(feeds) = self.feeds.get() else { return };
        match &mut *lock(&self.held) {
            Some(held) => held.push(commit.clone()),
            None => feeds.publish(commit),
        }
    }
}

impl World {
    fn new() -> Self {
        let publish = Arc::new(Publish::default());
        let store = Arc::new(MemoryStore::new(publish.clone()));
        let session = SessionId::new();
        drop(store.create(session, created("t"), Timestamp::UNIX_EPOCH));
        // The feed of the session begins behind its first record, as after a daemon's start.
        let feeds = Arc::new(Feeds::new(store.clone(), Arc::new(Metrics::new([]))).unwrap());
        assert!(publish.feeds.set(Arc::clone(&feeds)).is_ok());
        Self {
            store,
            feeds,
            publish,
            session,
        }
    }

    fn append(&self, entries: Vec<Entry>) {
        let append = Append {
            session_id: self.session,
            attempt: Attempt::NONE,
            span: None,
            at: Timestamp::UNIX_EPOCH,
            entries,
        };
        let done = unconstrained(self.store.append(append));
        done.now_or_never()
            .expect("this store commits at once")
            .unwrap()
            .unwrap();
    }

    fn head(&self) -> Seq {
        self.store.summary(self.session).unwrap().unwrap().head
    }

    fn delta(&self, message: &str, text: &str) {
        let delta = Delta {
            message_id: message.to_owned(),
            block: 0,
            part: DeltaPart::Text,
            text: text.to_owned(),
        };
        self.feeds.delta(self.session, self.head(), Attempt(1), &delta);
    }

    /// The last record that readers are owed without waiting.
    fn shown(&self) -> Seq {
        Seq(lock(&self.feeds.feed_of(self.session, self.head().0).ring).head)
    }

    fn read(&self, after: u64) -> FeedReader {
        self.feeds.read(self.session, Seq(after), self.head(), false)
    }
}

fn notice(text: impl Into<String>) -> Entry {
    Entry::Notice(Text { text: text.into() })
}

fn whole(message: &str, words: &str) -> Entry {
    said(text(message, words))
}

fn turn_end() -> Entry {
    said(turn_ended(TurnEnd::default()))
}

fn end() -> Entry {
    session_ended(Outcome::Completed)
}

/// What a reader has seen, checked as it comes.
struct Seen {
    reader: FeedReader,
    after: u64,
    drafts: BTreeMap<String, String>,
    has_ended: bool,
}

impl Seen {
    fn by(reader: FeedReader, after: u64) -> Self {
        Self {
            reader,
            after,
            drafts: BTreeMap::new(),
            has_ended: false,
        }
    }

    /// Takes up to `most` items, as long as there are any without waiting for a writer.
    async fn take(&mut self, most: usize, head: Seq) {
        for _ in 0..most {
            let next = match unconstrained(self.reader.next()).now_or_never() {
                Some(next) => next,
                // A page of the journal is on its way from another thread.
                None if self.after < head.0 => self.reader.next().await,
                None => return,
            };
            match next {
                Some(item) => self.see(&item),
                None => {
                    self.has_ended = true;
                    return;
                }
            }
        }
    }

    fn see(&mut self, item: &FeedItem) {
        match item {
            FeedItem::Hello(hello) => assert!(hello.resumed),
            FeedItem::Record(record) => {
                assert_eq!(record.seq.0, self.after + 1, "once and in order");
                self.after = record.seq.0;
                let json: Value = serde_json::from_slice(&record.json).unwrap();
                self.close(&json);
            }
            FeedItem::Delta(json) => {
                let delta: Value = serde_json::from_slice(json).unwrap();
                let draft = self
                    .drafts
                    .entry(delta["message_id"].as_str().unwrap().to_owned())
                    .or_default();
                let offset = delta["offset"].as_u64().unwrap() as usize;
                let text = delta["text"].as_str().unwrap();
                // A reader that fell behind gets the whole draft again.
                assert!(offset <= draft.len(), "no hole before {delta}: {draft:?}");
                draft.truncate(offset);
                draft.push_str(text);
            }
        }
    }

    fn close(&mut self, record: &Value) {
        let data = &record["data"];
        match record["kind"].as_str().unwrap() {
            "agent.message" => {
                let Some(id) = data["message"]["message_id"].as_str() else {
                    return;
                };
                let whole = data["message"]["text"].as_str().unwrap();
                let draft = self.drafts.remove(id).unwrap_or_default();
                assert!(whole.starts_with(&draft), "{draft:?} became {whole:?}");
            }
            "draft.dropped" => drop(self.drafts.remove(data["message_id"].as_str().unwrap())),
            _ => {}
        }
    }
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Records(usize),
    /// Records of which a ring cannot hold many.
    Long(usize),
    Delta,
    Whole,
    Dropped,
    Join(u64),
    Read(usize, usize),
    Hold,
    GoOn,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1usize..5).prop_map(Step::Records),
        1 => (1usize..12).prop_map(Step::Long),
        6 => Just(Step::Delta),
        2 => Just(Step::Whole),
        1 => Just(Step::Dropped),
        2 => any::<u64>().prop_map(Step::Join),
        1 => Just(Step::Hold),
        1 => Just(Step::GoOn),
        4 => (any::<usize>(), 1usize..40).prop_map(|(reader, items)| Step::Read(reader, items)),
    ];
    proptest::collection::vec(step, 1..80)
}

/// Plays a history, with a record of the whole text for every draft that is not dropped.
async fn play(steps: Vec<Step>) {
    let world = World::new();
    let mut readers = vec![Seen::by(world.read(0), 0)];
    let (mut message, mut text) = (0, String::new());
    for step in steps {
        let name = format!("m{message}");
        match step {
            Step::Records(count) => world.append((0..count).map(|n| notice(n.to_string())).collect()),
            Step::Long(count) => world.append((0..count).map(|_| notice("x".repeat(150_000))).collect()),
            Step::Delta => {
                let more = format!("{} ", text.len());
                world.delta(&name, &more);
                text += &more;
            }
            Step::Whole => {
                world.append(vec![whole(&name, &text)]);
                (message, text) = (message + 1, String::new());
            }
            Step::Dropped => {
                let dropped = DroppedDraft {
                    message_id: name,
                    from_block: 0,
                };
                world.append(vec![Entry::DraftDropped(dropped)]);
                (message, text) = (message + 1, String::new());
            }
            Step::Join(after) => {
                let after = after % (world.head().0 + 1);
                readers.push(Seen::by(world.read(after), after));
            }
            Step::Read(reader, items) => {
                let place = reader % readers.len();
                let shown = world.shown();
                readers[place].take(items, shown).await;
            }
            Step::Hold => world.publish.hold(),
            Step::GoOn => world.publish.go_on(),
        }
    }
    world.publish.go_on();
    for seen in &mut readers {
        seen.take(usize::MAX, world.head()).await;
        let draft = seen.drafts.get(&format!("m{message}")).cloned().unwrap_or_default();
        assert_eq!(draft, text, "every reader has the open draft whole");
        assert_eq!(seen.after, world.head().0);
    }
    world.append(vec![end()]);
    for seen in &mut readers {
        seen.take(usize::MAX, world.head()).await;
        assert!(seen.has_ended && seen.after == world.head().0);
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_reader_that_joins_anywhere_sees_every_record_once_and_drafts_whole(steps in steps()) {
        run(play(steps));
    }
}

#[test]
fn a_record_that_is_read_from_the_journal_before_it_is_shown_comes_once() {
    run(async {
        let world = World::new();
        let mut seen = Seen::by(world.read(0), 0);
        world.publish.hold();
        world.append(vec![notice("one"), notice("two")]);
        seen.take(4, world.head()).await;
        assert_eq!(seen.after, 3, "the page has it");
        let mut back = Seen::by(world.read(3), 3);
        back.take(1, world.head()).await;
        world.publish.go_on();
        world.append(vec![notice("three")]);
        for mut seen in [seen, back] {
            seen.take(usize::MAX, world.head()).await;
            assert_eq!(seen.after, 4);
        }
    });
}

#[test]
fn a_reader_that_falls_behind_reads_the_journal() {
    run(async {
        let world = World::new();
        let mut seen = Seen::by(world.read(0), 0);
        seen.take(2, world.head()).await;
        for _ in 0..3 {
            world.append((0..RING_ITEMS_MAX).map(|n| notice(n.to_string())).collect());
        }
        let floor = lock(&world.feeds.feed_of(world.session, 0).ring).floor;
        assert!(seen.after < floor, "the ring has let go of what it has not read");
        seen.take(usize::MAX, world.head()).await;
        assert_eq!(seen.after, world.head().0);
    });
}

#[test]
fn a_ring_is_bounded_in_items_and_in_bytes() {
    let feed = Feed::new(Scope::All, 0);
    let record = |n: usize, bytes: usize| {
        let kind = Bytes::from_static(b"notice");
        Rendered::from_json(n as i64, Seq(n as u64), kind, vec![b'x'; bytes].into())
    };
    for n in 1..=2 * RING_ITEMS_MAX {
        feed.push(&[record(n, 1)]);
        assert!(lock(&feed.ring).items.len() <= RING_ITEMS_MAX);
    }
    for n in 1..=100 {
        feed.push(&[record(2 * RING_ITEMS_MAX + n, RING_BYTES_MAX / 10)]);
        let ring = lock(&feed.ring);
        assert!(ring.items.iter().map(size_of).sum::<usize>() == ring.bytes && ring.bytes <= RING_BYTES_MAX);
    }
    feed.push(&[record(1_000_000, 2 * RING_BYTES_MAX)]);
    assert_eq!(
        lock(&feed.ring).items.len(),
        0,
        "what is too long for the ring is read from the journal"
    );
}

#[test]
fn a_draft_that_grew_too_long_is_kept_without_a_hole() {
    run(async {
        let world = World::new();
        let long = "x".repeat(DRAFT_BYTES_MAX);
        for text in ["begin ", &*long, "and on"] {
            world.delta("m", text);
        }
        let mut reader = world.read(1);
        assert!(matches!(reader.next().await, Some(FeedItem::Hello(_))));
        let Some(FeedItem::Delta(json)) = reader.next().await else {
            panic!("the draft comes first");
        };
        let delta: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(delta["text"], "begin ");
    });
}

#[test]
fn a_draft_of_the_next_turn_outlives_the_record_of_the_turns_end() {
    // Deltas are shown at once and records when they are on disk: the next text begins before this record is shown.
    run(async {
        let world = World::new();
        let mut seen = Seen::by(world.read(0), 0);
        world.delta("next", "begin ");
        world.append(vec![turn_end()]);
        world.delta("next", "and on");
        seen.take(usize::MAX, world.head()).await;
        let mut late = Seen::by(world.read(0), 0);
        late.take(usize::MAX, world.head()).await;
        for seen in [seen, late] {
            assert_eq!(seen.drafts["next"], "begin and on");
        }
    });
}

#[test]
fn a_reader_of_an_ended_session_gets_what_it_lacks_and_the_end() {
    run(async {
        let world = World::new();
        world.append(vec![notice("one"), end()]);
        for after in 0..=3 {
            let mut seen = Seen::by(world.feeds.read(world.session, Seq(after), Seq(3), true), after);
            seen.take(usize::MAX, world.head()).await;
            assert!(seen.has_ended && seen.after == 3, "after {after}");
        }
    });
}

#[test]
fn no_feed_is_kept_of_a_session_that_has_ended() {
    let world = World::new();
    // A reader that looked the session up before it ended.
    world.append(vec![end()]);
    drop(world.feeds.read(world.session, Seq(1), Seq(1), false));
    drop(world.feeds.read(world.session, Seq(1), Seq(2), true));
    assert!(lock(&world.feeds.sessions).is_empty());
}
