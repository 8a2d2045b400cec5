//! What was sent to clients of the session era, kept so that a client that comes back with `Last-Event-ID` gets what it
//! missed, also after the daemon was restarted.
//!
//! Each stream is a file of JSON lines, one an event; an event's id is `<number>@<stream>`. A stream of a call ends with
//! the answer. Should the daemon have died before it was given, whoever asks for the rest gets it from the
//! [`Continuation`] of the call: what the call worked on has usually gone on without the daemon.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use rmcp::model::ServerJsonRpcMessage;
use rmcp::transport::streamable_http_server::session::{
    EventId, EventStore, EventStoreError, EventStream, ServerSseMessage,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

mod line;

use self::line::{Line, is_answer};
use super::aside::undressed;
use super::kept::{Bounds, Kept};
use crate::config::McpSettings;
use crate::disk::regular;

/// Says what is left of a call whose answer the daemon did not live to give: messages, the answer last.
pub type Continuation = dyn Fn(Interrupted) -> BoxStream<'static, ServerJsonRpcMessage> + Send + Sync;

/// A call whose answer was never given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupted {
    /// The MCP session it belongs to.
    pub mcp_session: String,
    /// The client's id of the request, as JSON.
    pub request: Value,
}

/// All streams.
pub(super) struct Events {
    kept: Kept,
    /// The most bytes of one stream. Beyond it progress is no longer kept; the answer always is.
    stream_bytes_max: u64,
    live: Mutex<HashMap<String, Writing>>,
    continuation: Arc<Continuation>,
    closed: AtomicBool,
}

/// A stream that is being written by this process, and the call that it answers.
struct Writing {
    live: Arc<Mutex<Live>>,
    of: Option<Interrupted>,
}

/// What is known of a stream while it is written.
struct Live {
    file: File,
    /// The number of the last event.
    last: u64,
    bytes: u64,
    news: watch::Sender<u64>,
    /// The answer was given.
    ended: bool,
}

impl Events {
    /// Streams kept in this directory, which is made; those that are too old are removed.
    pub(super) fn open(
        directory: &Path,
        limits: McpSettings,
        continuation: Arc<Continuation>,
    ) -> io::Result<Arc<Self>> {
        let bounds = Bounds {
            files_max: limits.streams_kept_max,
            bytes_max: limits.streams_bytes_max,
            age_max: Duration::from_secs(limits.streams_kept_hours.saturating_mul(3600)),
        };
        Ok(Arc::new(Self {
            kept: Kept::open(directory, bounds)?,
            stream_bytes_max: limits.stream_bytes_max,
            live: Mutex::default(),
            continuation,
            closed: AtomicBool::new(false),
        }))
    }

    /// Remembers which call a stream answers, told by the id of the stream's first event. A stream that is not live any
    /// more has its answer already: it needs no call, and no open file.
    pub(super) fn bind(&self, first_event: &str, call: Interrupted) {
        let Some((_, stream)) = split(first_event) else { return };
        let Some(live) = lock(&self.live).get_mut(stream).map(|writing| {
            writing.of = Some(call.clone());
            Arc::clone(&writing.live)
        }) else {
            return;
        };
        let line = Line {
            number: 0,
            message: None,
            retry_ms: None,
            of: Some(call),
        };
        let outcome = write(&mut lock(&live).file, &line);
        if let Err(error) = outcome {
            tracing::warn!(%error, "a call cannot be noted: it will not be resumed after a restart");
        }
    }

    /// Takes no more events: what a daemon says while it stops is no answer to a call that goes on without it.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn append(&self, stream: &str, event: &ServerSseMessage) -> io::Result<EventId> {
        if self.closed.load(Ordering::Acquire) {
            return Err(io::Error::other("the daemon is stopping"));
        }
        let (live, _) = self.live(stream)?;
        let mut live = lock(&live);
        let message = event.message.as_deref().map(undressed);
        let message = message.as_deref().map(serde_json::to_value).transpose()?;
        let is_answer = message.as_ref().is_some_and(is_answer);
        live.last += 1;
        let (number, before) = (live.last, live.bytes);
        let retry_ms = event
            .retry
            .map(|retry| retry.as_millis().try_into().unwrap_or(u64::MAX));
        if live.bytes < self.stream_bytes_max || is_answer {
            let line = Line {
                number,
                message,
                retry_ms,
                of: None,
            };
            live.bytes += write(&mut live.file, &line)?;
        }
        live.ended |= is_answer;
        live.news.send_replace(number);
        let (has_ended, grown) = (live.ended, live.bytes - before);
        drop(live);
        if has_ended {
            lock(&self.live).remove(stream);
        }
        self.grew(usize::from(number == 1), grown);
        Ok(format!("{number}@{stream}"))
    }

    /// The stream as this process writes it, and whether it did so already.
    fn live(&self, stream: &str) -> io::Result<(Arc<Mutex<Live>>, bool)> {
        let mut all = lock(&self.live);
        if let Some(writing) = all.get(stream) {
            return Ok((Arc::clone(&writing.live), true));
        }
        let path = self.path(stream)?;
        let lines = Tail::open(&path).map_or(Vec::new(), |mut tail| tail.lines());
        let last = lines.iter().map(|line| line.number).max().unwrap_or(0);
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        let bytes = file.metadata()?.len();
        let live = Live {
            file,
            last,
            bytes,
            news: watch::Sender::new(last),
            ended: lines.iter().any(|line| line.message.as_ref().is_some_and(is_answer)),
        };
        let live = Arc::new(Mutex::new(live));
        let writing = Writing {
            live: Arc::clone(&live),
            of: lines.into_iter().find_map(|line| line.of),
        };
        all.insert(stream.to_owned(), writing);
        Ok((live, false))
    }

    /// Closes all streams of an MCP session that rests or has ended. What they have is kept for a while.
    pub(super) fn close_session(&self, mcp_session: &str) {
        let standing = format!("{mcp_session}:common");
        let is_of_session = |call: &Interrupted| call.mcp_session == mcp_session;
        lock(&self.live)
            .retain(|stream, writing| *stream != standing && !writing.of.as_ref().is_some_and(is_of_session));
    }

    /// Closes the stream of a call that its client has cancelled: no answer follows.
    pub(super) fn close_call(&self, call: &Interrupted) {
        lock(&self.live).retain(|_, writing| writing.of.as_ref() != Some(call));
    }

    /// True if an event was sent to this MCP session.
    pub(super) fn is_of_session(&self, event: &str, mcp_session: &str) -> bool {
        let Some((_, stream)) = split(event) else { return false };
        if stream == format!("{mcp_session}:common") {
            return true;
        }
        let live = lock(&self.live).get(stream).and_then(|writing| writing.of.clone());
        let kept = || {
            let mut tail = Tail::open(&self.path(stream).ok()?).ok()?;
            tail.lines().into_iter().find_map(|line| line.of)
        };
        live.or_else(kept).is_some_and(|call| call.mcp_session == mcp_session)
    }

    /// Counts what was written; streams that are being written stay when the oldest are removed.
    fn grew(&self, files: usize, bytes: u64) {
        self.kept.grew(files, bytes, || {
            let written: HashSet<String> = lock(&self.live).keys().map(|stream| file_name(stream)).collect();
            Box::new(move |name| written.contains(name))
        });
    }

    /// A stream's file; only names that rmcp gives are names.
    fn path(&self, stream: &str) -> io::Result<PathBuf> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':');
        if stream.is_empty() || stream.len() > 128 || !stream.bytes().all(fits) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no such stream"));
        }
        Ok(self.kept.path(&file_name(stream)))
    }

    /// The events after `after`, then what comes, up to the answer.
    fn replay(self: &Arc<Self>, stream: &str, after: u64) -> io::Result<BoxStream<'static, ServerSseMessage>> {
        let path = self.path(stream)?;
        let kept = Tail::open(&path)?.lines();
        let is_standing = stream.ends_with(":common");
        let has_answer = kept.iter().any(|line| line.message.as_ref().is_some_and(is_answer));
        if !has_answer && !is_standing {
            self.continue_call(stream, &kept)?;
        }
        let reading = Reading {
            events: Arc::clone(self),
            stream: stream.to_owned(),
            tail: Tail::open(&path)?,
            after,
            ready: VecDeque::new(),
            done: false,
        };
        Ok(stream::unfold(reading, Reading::next).boxed())
    }

    /// Writes what is left of an interrupted call into its stream, for whoever reads it. A call that this process
    /// carries out, or continues already, is left alone.
    fn continue_call(self: &Arc<Self>, stream: &str, kept: &[Line]) -> io::Result<()> {
        let (_, is_written) = self.live(stream)?;
        if is_written {
            return Ok(());
        }
        let call = kept.iter().find_map(|line| line.of.clone());
        let mut rest = match call {
            Some(call) => (self.continuation)(call),
            None => stream::empty().boxed(),
        };
        let (events, stream) = (Arc::clone(self), stream.to_owned());
        tokio::spawn(async move {
            while let Some(message) = rest.next().await {
                let event = ServerSseMessage::from_message(message);
                if let Err(error) = events.append(&stream, &event) {
                    tracing::warn!(%error, "the rest of a call is lost");
                    break;
                }
            }
            lock(&events.live).remove(&stream);
        });
        Ok(())
    }
}

/// Reads a stream's file as it grows.
struct Reading {
    events: Arc<Events>,
    stream: String,
    tail: Tail,
    /// The number of the last event handed out.
    after: u64,
    ready: VecDeque<Line>,
    /// The answer was handed out.
    done: bool,
}

impl Reading {
    async fn next(mut self) -> Option<(ServerSseMessage, Self)> {
        while !self.done {
            if let Some(line) = self.ready.pop_front() {
                self.after = line.number;
                self.done = line.message.as_ref().is_some_and(is_answer);
                let event = line.into_event(&self.stream)?;
                return Some((event, self));
            }
            let live = lock(&self.events.live)
                .get(&self.stream)
                .map(|writing| Arc::clone(&writing.live));
            let news = live.as_ref().map(|live| lock(live).news.subscribe());
            drop(live);
            let after = self.after;
            let is_new = |line: &Line| line.number > after && line.of.is_none();
            self.ready.extend(self.tail.lines().into_iter().filter(is_new));
            if self.ready.is_empty() {
                // Where nobody writes it any more, that was all.
                news?.changed().await.ok()?;
            }
        }
        None
    }
}

/// The lines of a stream's file, read on from where the last reading ended.
struct Tail(BufReader<File>);

impl Tail {
    fn open(path: &Path) -> io::Result<Self> {
        regular::open(path).map(BufReader::new).map(Self)
    }

    /// The lines that were added. A torn last line is left for the next time.
    fn lines(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        loop {
            let mut bytes = Vec::new();
            let Ok(read) = self.0.read_until(b'\n', &mut bytes) else {
                return lines;
            };
            if bytes.last() != Some(&b'\n') {
                let _ = self.0.seek_relative(-i64::try_from(read).unwrap_or_default());
                return lines;
            }
            lines.extend(serde_json::from_slice::<Line>(&bytes));
        }
    }
}

fn split(event: &str) -> Option<(u64, &str)> {
    let (number, stream) = event.split_once('@')?;
    Some((number.parse().ok()?, stream))
}

fn write(file: &mut File, line: &Line) -> io::Result<u64> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    // One write: a daemon that is killed leaves whole lines.
    file.write_all(&bytes)?;
    Ok(bytes.len() as u64)
}

fn file_name(stream: &str) -> String {
    stream.replace(':', ".")
}

type Stored<'a, T> = Pin<Box<dyn Future<Output = Result<T, EventStoreError>> + Send + 'a>>;

/// rmcp's view of the streams.
pub(super) struct SharedEvents(pub(super) Arc<Events>);

impl EventStore for SharedEvents {
    fn store_event<'s, 'i, 'e, 'f>(&'s self, stream: &'i str, event: &'e ServerSseMessage) -> Stored<'f, EventId>
    where
        's: 'f,
        'i: 'f,
        'e: 'f,
        Self: 'f,
    {
        Box::pin(async move { Ok(self.0.append(stream, event)?) })
    }

    fn replay_events_after<'s, 'i, 'f>(&'s self, last: &'i str) -> Stored<'f, EventStream>
    where
        's: 'f,
        'i: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let (after, stream) = split(last).ok_or("Last-Event-ID is none of ours")?;
            Ok(Box::pin(super::SyncStream::new(self.0.replay(stream, after)?)) as EventStream)
        })
    }
}

/// A lock whose holder panicked is taken all the same: every change under it leaves the data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::line::to_message;
    use super::*;
    use serde_json::json;

    fn message(message: Value) -> ServerSseMessage {
        ServerSseMessage::from_message(to_message(message).unwrap())
    }

    fn progress(n: u32) -> ServerSseMessage {
        message(
            json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": n}}),
        )
    }

    fn answer() -> ServerSseMessage {
        message(json!({"jsonrpc": "2.0", "id": 7, "result": {"content": [], "structuredContent": {"a": null}}}))
    }

    fn limits() -> McpSettings {
        crate::config::Settings::embedded().unwrap().mcp
    }

    fn nothing() -> Arc<Continuation> {
        Arc::new(|_| stream::empty().boxed())
    }

    fn texts(events: Vec<ServerSseMessage>) -> Vec<String> {
        let text = |event: ServerSseMessage| serde_json::to_string(event.message.as_deref().unwrap()).unwrap();
        events.into_iter().map(text).collect()
    }

    #[tokio::test]
    async fn a_reader_gets_what_it_missed_then_what_comes_up_to_the_answer() {
        let dir = tempfile::tempdir().unwrap();
        let events = Events::open(dir.path(), limits(), nothing()).unwrap();
        let first = events.append("s", &progress(1)).unwrap();
        events.append("s", &progress(2)).unwrap();
        let reader = tokio::spawn(
            events
                .replay("s", split(&first).unwrap().0)
                .unwrap()
                .collect::<Vec<_>>(),
        );
        events.append("s", &progress(3)).unwrap();
        events.append("s", &answer()).unwrap();
        let got = texts(reader.await.unwrap());
        assert_eq!(got.len(), 3, "{got:?}");
        assert!(
            got[0].contains("\"progress\":2") && got[2].contains("\"a\":null"),
            "{got:?}"
        );
    }

    #[tokio::test]
    async fn an_answer_is_kept_for_a_reader_that_comes_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let events = Events::open(dir.path(), limits(), nothing()).unwrap();
        events.append("s", &answer()).unwrap();
        drop(events);
        let events = Events::open(dir.path(), limits(), nothing()).unwrap();
        let got: Vec<_> = events.replay("s", 0).unwrap().collect().await;
        assert_eq!(got.len(), 1);
    }

    #[tokio::test]
    async fn a_call_that_was_cut_off_is_continued_once() {
        let dir = tempfile::tempdir().unwrap();
        let call = Interrupted {
            mcp_session: "m".into(),
            request: json!(7),
        };
        let events = Events::open(dir.path(), limits(), nothing()).unwrap();
        let first = events.append("s", &progress(1)).unwrap();
        events.bind(&first, call.clone());
        drop(events);
        let wanted = call.clone();
        let rest = move |asked: Interrupted| {
            assert_eq!(asked, wanted);
            stream::iter([to_message(json!({"jsonrpc": "2.0", "id": 7, "result": {}})).unwrap()]).boxed()
        };
        let events = Events::open(dir.path(), limits(), Arc::new(rest)).unwrap();
        let (a, b) = (events.replay("s", 1).unwrap(), events.replay("s", 0).unwrap());
        assert_eq!(a.collect::<Vec<_>>().await.len(), 1);
        assert_eq!(b.collect::<Vec<_>>().await.len(), 2);
        let again = events.replay("s", 1).unwrap().collect::<Vec<_>>().await;
        assert_eq!(again.len(), 1, "the answer was stored, and is not made again");
    }

    #[tokio::test]
    async fn an_answered_call_keeps_no_file_open_whatever_comes_behind_the_answer() {
        let dir = tempfile::tempdir().unwrap();
        let events = Events::open(dir.path(), limits(), nothing()).unwrap();
        let call = Interrupted {
            mcp_session: "m".into(),
            request: json!(7),
        };
        let first = events.append("s", &progress(1)).unwrap();
        events.append("s", &answer()).unwrap();
        events.bind(&first, call);
        assert_eq!(lock(&events.live).len(), 0, "it is bound too late");
        events.append("s", &progress(2)).unwrap();
        assert_eq!(lock(&events.live).len(), 0, "progress comes too late");
        let got: Vec<_> = events.replay("s", 0).unwrap().collect().await;
        assert_eq!(got.len(), 2, "a reader gets everything up to the answer");
    }

    #[tokio::test]
    async fn a_stream_without_an_answer_is_closed_with_its_call_or_its_session() {
        let dir = tempfile::tempdir().unwrap();
        let events = Events::open(dir.path(), limits(), nothing()).unwrap();
        let call = |request: u32| Interrupted {
            mcp_session: "m".into(),
            request: json!(request),
        };
        for request in 1..=3 {
            let first = events.append(&format!("s{request}"), &progress(1)).unwrap();
            events.bind(&first, call(request));
        }
        events.append("m:common", &progress(1)).unwrap();
        let reader = tokio::spawn(events.replay("s1", 0).unwrap().collect::<Vec<_>>());
        events.close_call(&call(1));
        assert_eq!(reader.await.unwrap().len(), 1, "its reader waits for nothing");
        assert_eq!(lock(&events.live).len(), 3);
        events.close_session("m");
        assert_eq!(lock(&events.live).len(), 0);
    }

    #[tokio::test]
    async fn an_id_that_is_none_of_ours_names_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let events = Events::open(dir.path(), limits(), nothing()).unwrap();
        for stream in ["", "../token", "a/b", "nowhere"] {
            assert!(events.replay(stream, 0).is_err(), "{stream}");
        }
    }
}
