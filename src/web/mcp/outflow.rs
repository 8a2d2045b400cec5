//! The streams of calls, in the era of sessions.
//!
//! A light call has a short stream without ids, straight from rmcp. The stream of a call that follows work begins with a
//! [`Bookmark`]: from then on the call's messages are taken at once by a task, because rmcp writes all streams of an MCP
//! session from one task, and a client that stops reading one of them would get nothing on the others. The last of them
//! wait in memory. A client whose connection broke reads on from there while its call runs. Afterwards the bookmark in the
//! event's id says how the call goes on.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt, unfold};
use rmcp::model::{JsonRpcMessage, RequestId, ServerNotification};
use rmcp::transport::streamable_http_server::session::ServerSseMessage;
use tokio::sync::watch;

use super::aside::{Bookmark, undressed};
use crate::store::lock;

/// Maximum number of progress messages of a call that wait for its client. Progress is superseded by what follows.
const PROGRESS_MAX: usize = 64;

/// Maximum number of messages of a call that wait for its client, without requests and the answer.
const NOTIFICATIONS_MAX: usize = 256;

/// How long a client waits before it reads on after its connection broke.
const RETRY: Duration = Duration::from_secs(3);

/// A call of a client in the era of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallKey {
    /// The MCP session.
    pub mcp_session: String,
    /// The client's id of the request.
    pub request: RequestId,
}

/// The streams of calls that run and can be read on.
#[derive(Default)]
pub(super) struct Outflows {
    live: Mutex<HashMap<CallKey, Arc<Outflow>>>,
    stopped: AtomicBool,
}

/// What one call tells.
struct Outflow {
    told: Mutex<Backlog>,
    news: watch::Sender<()>,
}

#[derive(Default)]
struct Backlog {
    /// The number of the last event.
    last: u64,
    /// The bookmark in the ids of events.
    bookmark: String,
    events: VecDeque<(u64, ServerSseMessage)>,
    has_ended: bool,
}

/// A stream on its way to the client.
enum Reading {
    /// Straight from rmcp: nothing in it can be read on so far.
    Light(BoxStream<'static, ServerSseMessage>),
    /// Behind the event with this number.
    Behind(u64, Arc<Outflow>, watch::Receiver<()>),
    /// The answer was given.
    Answered,
}

impl Outflows {
    /// Ends all streams: what a daemon says while it stops is no answer to a call that goes on without it.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// True while a call runs whose stream can be read on.
    pub(super) fn are_live(&self, call: &CallKey) -> bool {
        self.lock().contains_key(call)
    }

    /// The messages of a call that runs, behind the event with this number.
    pub(super) fn read_on(&self, call: &CallKey, after: u64) -> Option<BoxStream<'static, ServerSseMessage>> {
        let outflow = self.lock().get(call).cloned()?;
        Some(
            unfold(Reading::behind(after, outflow), async |reading| {
                reading.next(None).await
            })
            .boxed(),
        )
    }

    /// The messages of a call, up to its answer, as its client is to see them.
    pub(super) fn carry(
        self: &Arc<Self>,
        call: Option<CallKey>,
        messages: BoxStream<'static, ServerSseMessage>,
    ) -> BoxStream<'static, ServerSseMessage> {
        let beginning = (Reading::Light(messages), Arc::clone(self), call);
        unfold(beginning, async |(reading, outflows, call)| {
            let origin = call.as_ref().map(|call| (&outflows, call));
            let (event, reading) = reading.next(origin).await?;
            Some((event, (reading, outflows, call)))
        })
        .boxed()
    }

    /// Takes what a call tells from its first bookmark on, whether anybody reads it or not.
    fn begin(
        self: &Arc<Self>,
        call: &CallKey,
        first: ServerSseMessage,
        messages: BoxStream<'static, ServerSseMessage>,
    ) -> Reading {
        let outflow = Arc::new(Outflow {
            told: Mutex::default(),
            news: watch::Sender::new(()),
        });
        outflow.push(first);
        self.lock().insert(call.clone(), Arc::clone(&outflow));
        tokio::spawn(Arc::clone(self).take_all(call.clone(), Arc::clone(&outflow), messages));
        Reading::behind(0, outflow)
    }

    async fn take_all(
        self: Arc<Self>,
        call: CallKey,
        outflow: Arc<Outflow>,
        mut messages: BoxStream<'static, ServerSseMessage>,
    ) {
        while let Some(event) = messages.next().await
            && !self.stopped.load(Ordering::Acquire)
        {
            outflow.push(event);
        }
        let mut live = self.lock();
        // The same call may have been gone on with by now.
        if live.get(&call).is_some_and(|known| Arc::ptr_eq(known, &outflow)) {
            live.remove(&call);
        }
        drop(live);
        outflow.lock().has_ended = true;
        outflow.news.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallKey, Arc<Outflow>>> {
        lock(&self.live)
    }
}

impl Outflow {
    fn push(&self, event: ServerSseMessage) {
        let (mut event, bookmark) = undressed(event);
        let mut told = self.lock();
        if let Some(Bookmark { id, is_alone }) = bookmark {
            told.bookmark = id;
            if is_alone {
                event = ServerSseMessage::retry(RETRY);
            }
        }
        told.last += 1;
        let number = told.last;
        event.event_id = Some(format!("{number}.{}", told.bookmark));
        told.events.push_back((number, event));
        told.keep_latest(is_progress, PROGRESS_MAX);
        told.keep_latest(is_notification, NOTIFICATIONS_MAX);
        drop(told);
        self.news.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Backlog> {
        lock(&self.told)
    }
}

impl Backlog {
    /// The first event behind one, and whether none follows the last.
    fn behind(&self, after: u64) -> (Option<(u64, ServerSseMessage)>, bool) {
        let next = self.events.iter().find(|(number, _)| *number > after);
        (next.cloned(), self.has_ended)
    }

    /// Drops the oldest of a kind where there is one too many.
    fn keep_latest(&mut self, is_one: fn(&ServerSseMessage) -> bool, most: usize) {
        let mut all = self.events.iter().enumerate().filter(|(_, (_, event))| is_one(event));
        if let Some((oldest, _)) = all.next()
            && all.count() >= most
        {
            self.events.remove(oldest);
        }
    }
}

impl Reading {
    fn behind(after: u64, outflow: Arc<Outflow>) -> Self {
        let news = outflow.news.subscribe();
        Self::Behind(after, outflow, news)
    }

    /// The next event, and what is read after it.
    async fn next(self, origin: Option<(&Arc<Outflows>, &CallKey)>) -> Option<(ServerSseMessage, Self)> {
        let reading = match self {
            Self::Light(mut messages) => {
                let event = messages.next().await?;
                match origin {
                    Some((outflows, call)) if Bookmark::is_in(&event) => outflows.begin(call, event, messages),
                    Some(_) | None => return Some(light(event, messages)),
                }
            }
            Self::Behind(..) => self,
            Self::Answered => return None,
        };
        let Self::Behind(after, outflow, mut news) = reading else {
            return None;
        };
        loop {
            news.mark_unchanged();
            let (next, has_ended) = outflow.lock().behind(after);
            match next {
                Some((_, event)) if is_answer(&event) => return Some((event, Self::Answered)),
                Some((number, event)) => return Some((event, Self::Behind(number, outflow, news))),
                None if has_ended => return None,
                None => news.changed().await.ok()?,
            }
        }
    }
}

/// An event of a light call, which has no id: it cannot be read on.
fn light(event: ServerSseMessage, messages: BoxStream<'static, ServerSseMessage>) -> (ServerSseMessage, Reading) {
    let (mut event, _) = undressed(event);
    event.event_id = None;
    let rest = if is_answer(&event) {
        Reading::Answered
    } else {
        Reading::Light(messages)
    };
    (event, rest)
}

fn is_answer(event: &ServerSseMessage) -> bool {
    match event.message.as_deref() {
        Some(JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_)) => true,
        Some(JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_)) | None => false,
    }
}

fn is_notification(event: &ServerSseMessage) -> bool {
    matches!(event.message.as_deref(), Some(JsonRpcMessage::Notification(_)))
}

fn is_progress(event: &ServerSseMessage) -> bool {
    let Some(JsonRpcMessage::Notification(told)) = event.message.as_deref() else {
        return false;
    };
    matches!(told.notification, ServerNotification::ProgressNotification(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use rmcp::model::{ProgressNotification, ProgressNotificationParam, ProgressToken};
    use serde_json::json;
    use tokio::sync::mpsc;

    fn call() -> CallKey {
        CallKey {
            mcp_session: "m".to_owned(),
            request: RequestId::Number(7),
        }
    }

    fn event(message: serde_json::Value) -> ServerSseMessage {
        ServerSseMessage::from_message(serde_json::from_value(message).unwrap())
    }

    fn answer() -> ServerSseMessage {
        event(json!({"jsonrpc": "2.0", "id": 7, "result": {}}))
    }

    fn asked(n: usize) -> ServerSseMessage {
        event(json!({"jsonrpc": "2.0", "id": n, "method": "ping"}))
    }

    fn progress(n: usize, bookmark: Option<&str>) -> ServerSseMessage {
        let token = ProgressToken(RequestId::Number(1));
        let mut told = ProgressNotification::new(ProgressNotificationParam::new(token, n as f64));
        if let Some(id) = bookmark {
            told.extensions.insert(Bookmark {
                id: id.to_owned(),
                is_alone: false,
            });
        }
        let told = ServerNotification::ProgressNotification(told);
        ServerSseMessage::from_message(JsonRpcMessage::notification(told))
    }

    /// What a call tells, as it is told.
    fn telling() -> (
        mpsc::UnboundedSender<ServerSseMessage>,
        BoxStream<'static, ServerSseMessage>,
    ) {
        let (tell, told) = mpsc::unbounded_channel();
        let told = stream::unfold(told, async |mut told| Some((told.recv().await?, told)));
        (tell, told.boxed())
    }

    fn ids(events: &[ServerSseMessage]) -> Vec<&str> {
        events
            .iter()
            .map(|event| event.event_id.as_deref().unwrap_or("-"))
            .collect()
    }

    #[tokio::test]
    async fn a_light_call_has_no_ids_and_ends_with_its_answer() {
        let outflows = Arc::new(Outflows::default());
        let told = stream::iter([progress(1, None), answer()]).chain(stream::pending());
        let seen: Vec<_> = outflows.carry(Some(call()), told.boxed()).collect().await;
        assert_eq!(ids(&seen), ["-", "-"]);
        assert!(!outflows.are_live(&call()), "nothing of it can be read on");
    }

    #[tokio::test]
    async fn a_call_with_a_bookmark_is_read_on_behind_each_event_while_it_runs() {
        let outflows = Arc::new(Outflows::default());
        let (tell, told) = telling();
        let mut first = outflows.carry(Some(call()), told);
        tell.send(progress(1, Some("a"))).unwrap();
        assert_eq!(first.next().await.unwrap().event_id.as_deref(), Some("1.a"));
        drop(first);
        let (again, other) = (
            outflows.read_on(&call(), 1).unwrap(),
            outflows.read_on(&call(), 2).unwrap(),
        );
        for told in [asked(1), progress(2, Some("b")), answer()] {
            tell.send(told).unwrap();
        }
        assert_eq!(ids(&again.collect::<Vec<_>>().await), ["2.a", "3.b", "4.b"]);
        assert_eq!(ids(&other.collect::<Vec<_>>().await), ["3.b", "4.b"]);
    }

    #[tokio::test]
    async fn a_call_that_has_ended_is_not_live_whether_it_was_answered_or_not() {
        for last in [None, Some(answer())] {
            let outflows = Arc::new(Outflows::default());
            let told = stream::iter([progress(1, Some("a"))].into_iter().chain(last));
            let seen: Vec<_> = outflows.carry(Some(call()), told.boxed()).collect().await;
            assert!(!seen.is_empty());
            while outflows.are_live(&call()) {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn a_daemon_that_stops_keeps_its_last_words() {
        let outflows = Arc::new(Outflows::default());
        let (tell, told) = telling();
        let mut seen = outflows.carry(Some(call()), told);
        tell.send(progress(1, Some("a"))).unwrap();
        seen.next().await.unwrap();
        outflows.stop();
        tell.send(answer()).unwrap();
        assert_eq!(seen.count().await, 0);
    }

    /// Waits until a call has taken all that it is told.
    async fn all_taken(outflows: &Outflows, last: u64) {
        let outflow = outflows.lock().get(&call()).cloned().unwrap();
        while outflow.lock().last < last {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn progress_is_left_out_for_a_slow_client_and_nothing_else() {
        let outflows = Arc::new(Outflows::default());
        let (tell, told) = telling();
        let mut read = outflows.carry(Some(call()), told);
        tell.send(progress(0, Some("a"))).unwrap();
        read.next().await.unwrap();
        (1..=1000).for_each(|n| tell.send(progress(n, Some("a"))).unwrap());
        (0..300).for_each(|n| tell.send(asked(n)).unwrap());
        all_taken(&outflows, 1301).await;
        tell.send(answer()).unwrap();
        let read: Vec<_> = read.collect().await;
        assert_eq!(read.iter().filter(|event| is_progress(event)).count(), PROGRESS_MAX);
        assert_eq!(read.len(), PROGRESS_MAX + 301);
        assert_eq!(read[0].event_id.as_deref(), Some("938.a"), "the latest are kept");
    }

    #[tokio::test]
    async fn a_client_that_reads_on_gets_all_progress_however_much_there_was() {
        let outflows = Arc::new(Outflows::default());
        let (tell, told) = telling();
        let mut read = outflows.carry(Some(call()), told);
        for n in 0..3 * PROGRESS_MAX {
            tell.send(progress(n, Some("a"))).unwrap();
            assert!(is_progress(&read.next().await.unwrap()), "{n}");
        }
    }
}
