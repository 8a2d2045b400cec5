//! One reader of one stream: from the journal until it has caught up with the ring, then from the ring.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Feed, FeedItem, Hello, Rendered, Scope, lock};
use crate::runtime::metrics::Metrics;
use crate::session::id::Seq;
use crate::store::{Journal, PAGE_RECORDS_MAX, StoreError, StoredRecord};

/// The most items a reader takes from the ring at once.
const BATCH_ITEMS_MAX: usize = 512;

/// Reads one stream. Holds no more than a page of it in memory, however slow it is read.
pub struct FeedReader {
    feed: Arc<Feed>,
    store: Arc<dyn Journal>,
    metrics: Arc<Metrics>,
    news: watch::Receiver<u64>,
    /// The cursor of the last record handed out.
    after: u64,
    /// The ring position of the next item; none while the reader reads the journal.
    position: Option<u64>,
    /// A page of the journal on its way; held here, so that a reader whose future is dropped finds it again.
    page: Option<JoinHandle<Result<Vec<StoredRecord>, StoreError>>>,
    /// Items read and not yet shown.
    ready: VecDeque<FeedItem>,
    greeted: bool,
    /// The cursor the reader came with does not belong to this journal.
    gap: bool,
    done: bool,
}

impl fmt::Debug for FeedReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("scope", &self.feed.scope)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

/// Where a reader stands after a look at the ring.
enum RingPosition {
    /// There is something to hand out.
    Ready,
    /// There is nothing new.
    Wait,
    /// The ring begins too late: read the journal.
    Behind,
    /// The stream has ended.
    Over,
}

impl FeedReader {
    pub(super) fn new(feed: Arc<Feed>, store: Arc<dyn Journal>, metrics: Arc<Metrics>, after: Option<u64>) -> Self {
        let news = feed.news.subscribe();
        let head = lock(&feed.ring).head;
        // A record that another reader had from the journal may not have been shown yet.
        let is_unknown =
            |after: u64| after > head && !page(&*store, feed.scope, after - 1).is_ok_and(|page| !page.is_empty());
        let gap = after.is_some_and(is_unknown);
        let after = if gap { 0 } else { after.unwrap_or(head) };
        Self {
            feed,
            store,
            metrics,
            news,
            after,
            position: None,
            page: None,
            ready: VecDeque::new(),
            greeted: false,
            gap,
            done: false,
        }
    }

    /// The next item, once there is one; none when the stream has ended, which the stream of a session does after a
    /// `session.ended` that is its head. Cancel safe.
    pub async fn next(&mut self) -> Option<FeedItem> {
        if !self.greeted {
            self.greeted = true;
            let head = lock(&self.feed.ring).head.max(self.after);
            let epoch = self.store.epoch().to_owned();
            return Some(FeedItem::Hello(Hello {
                resumed: !self.gap,
                head,
                epoch,
            }));
        }
        while !self.done {
            if let Some(item) = self.ready.pop_front() {
                return Some(self.hand_out(item));
            }
            match self.look() {
                RingPosition::Ready => {}
                RingPosition::Wait => self.news.changed().await.ok()?,
                RingPosition::Behind => self.read_page().await,
                RingPosition::Over => self.done = true,
            }
        }
        None
    }

    fn hand_out(&mut self, item: FeedItem) -> FeedItem {
        if let FeedItem::Record(record) = &item {
            self.after = self.feed.scope.cursor(record);
        }
        item
    }

    fn look(&mut self) -> RingPosition {
        let ring = lock(&self.feed.ring);
        self.news.mark_unchanged();
        let scope = self.feed.scope;
        if let Some(position) = self.position.filter(|position| *position >= ring.first) {
            let skip = usize::try_from(position - ring.first).unwrap_or(usize::MAX);
            self.ready
                .extend(ring.items.iter().skip(skip).take(BATCH_ITEMS_MAX).cloned());
            if !self.ready.is_empty() {
                self.metrics.read(ring.end() - position);
            }
            self.position = Some(position + self.ready.len() as u64);
        } else if self.after > ring.head && !ring.ended {
            // What a page brought is on disk and will be shown in a moment. To join before that would double it.
            return RingPosition::Wait;
        } else if self.after >= ring.floor {
            // Joins the ring: the records it has not had, then what is being written, then what comes.
            let missing = ring.items.iter().filter(|item| match item {
                FeedItem::Record(record) => scope.cursor(record) > self.after,
                FeedItem::Hello(_) | FeedItem::Delta(_) => false,
            });
            self.ready.extend(missing.cloned());
            self.ready.extend(ring.drafts_as_items());
            self.position = Some(ring.end());
        } else {
            self.position = None;
            return RingPosition::Behind;
        }
        match (self.ready.is_empty(), ring.ended) {
            (false, _) => RingPosition::Ready,
            (true, true) => RingPosition::Over,
            (true, false) => RingPosition::Wait,
        }
    }

    /// Reads a page of the journal off this thread. A page that cannot be read ends the stream: its reader connects
    /// again with its cursor, and misses nothing.
    async fn read_page(&mut self) {
        if self.page.is_none() {
            self.metrics.caught_up_from_journal();
        }
        let (scope, after) = (self.feed.scope, self.after);
        let store = &self.store;
        let reading = self.page.get_or_insert_with(|| {
            let store = Arc::clone(store);
            tokio::task::spawn_blocking(move || page(&*store, scope, after))
        });
        let page = reading.await;
        self.page = None;
        let records = match page {
            Ok(Ok(records)) => records,
            Ok(Err(error)) => {
                tracing::error!(%error, "a stream ends because the journal cannot be read");
                self.done = true;
                return;
            }
            Err(_) => {
                self.done = true;
                return;
            }
        };
        let Some(last) = records.last() else {
            // Nothing is left of what the ring no longer has, as after a clean-up: go on with what it has.
            self.after = lock(&self.feed.ring).floor;
            return;
        };
        let is_end = matches!(scope, Scope::Session(_))
            && last.kind == "session.ended"
            && lock(&self.feed.ring).head <= last.seq.0;
        self.ready
            .extend(records.iter().map(|stored| FeedItem::Record(Rendered::new(stored))));
        if is_end {
            lock(&self.feed.ring).ended = true;
        }
    }
}

fn page(store: &dyn Journal, scope: Scope, after: u64) -> Result<Vec<StoredRecord>, StoreError> {
    match scope {
        Scope::Session(session) => store.records(session, Seq(after), PAGE_RECORDS_MAX),
        Scope::All => store.records_of_all(i64::try_from(after).unwrap_or(i64::MAX), PAGE_RECORDS_MAX),
    }
}
