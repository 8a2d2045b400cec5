//! Streams as server-sent events: `hello`, then records (their cursor is the event's id) and deltas (without one).
//!
//! Nothing is read from the feed before the client has taken what was read before, so a slow client costs no memory;
//! what is ready at once goes out in one write, so a fast one gets tens of thousands of records a second.

use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, HeaderName};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{FutureExt, stream};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::unconstrained;
use tokio::time::timeout;

use super::Faces;
use super::error::{Code, Problem};
use super::parameters::SessionPath;
use super::params::{Params, number};
use crate::runtime::feed::{FeedItem, FeedReader};
use crate::session::id::Seq;

/// How long a stream may be silent before a comment is sent, so that the ends know of each other.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// An SSE comment, which clients ignore.
const HEARTBEAT_COMMENT: &[u8] = b": keep-alive\n\n";

/// Items that are ready at once are gathered until a write has this many bytes.
const WRITE_BYTES: usize = 64 * 1024;

/// How many streams there may be, and when all of them end.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    slots: Arc<Semaphore>,
    readers_max: usize,
    stopping: watch::Receiver<bool>,
}

impl Streams {
    /// At most `readers_max` streams, which end when `stopping` becomes true.
    pub(super) fn new(readers_max: usize, stopping: watch::Receiver<bool>) -> Self {
        let slots = Arc::new(Semaphore::new(readers_max.min(Semaphore::MAX_PERMITS)));
        Self {
            slots,
            readers_max,
            stopping,
        }
    }

    /// How many are read now.
    pub(super) fn readers(&self) -> usize {
        self.readers_max.saturating_sub(self.slots.available_permits())
    }

    /// Becomes true when all streams end.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.clone()
    }

    /// A place among the readers, given back when it is dropped.
    pub(super) fn take_slot(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.slots).try_acquire_owned().map_err(|_| {
            let detail = format!(
                "{} streams are read already (`limits.stream_readers_max`)",
                self.readers_max
            );
            Problem::new(Code::TooManyStreams, detail)
        })
    }
}

/// `GET /execution/{id}/stream`: one session, from its beginning or after a record.
#[utoipa::path(
    get, path = "/execution/{id}/stream", tag = "streams", operation_id = "streamSession",
    params(
        SessionPath,
        ("after" = Option<u64>, Query, description = "Begin behind this record", maximum = 9223372036854775807_u64),
        ("Last-Event-ID" = Option<u64>, Header, description = "The same, as a browser sends it; this one counts"),
    ),
    responses((status = 200, content_type = "text/event-stream", body = String, description = "\
        Server-sent events. The first is `hello` (`Hello`). Then records: their `id` is `seq`, their `event` the kind, \
        their `data` a `Record`; and `delta` events (`Delta`, without an `id`): partial text, which a record of the same \
        message and block or `draft.dropped` replaces. A comment comes every 15 s; the stream ends behind the record \
        `session.ended`.")),
)]
pub(super) async fn of_session(
    faces: Data<Faces>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let after = Seq(cursor(&request)?.unwrap_or(0));
    let slot = faces.streams.take_slot()?;
    let id = faces.handle.resolve(&id).await?;
    let reader = faces.handle.stream(id, after).await?;
    Ok(respond(&faces.streams, slot, reader, CursorOf::Session))
}

/// `GET /events`: all sessions, from now on or after a record.
#[utoipa::path(
    get, path = "/events", tag = "streams", operation_id = "streamAll",
    params(
        ("after" = Option<u64>, Query, description = "Begin behind this record, by the `id` of its event; absent, with what happens from now on"),
        ("Last-Event-ID" = Option<u64>, Header, description = "The same, as a browser sends it; this one counts"),
    ),
    responses((status = 200, content_type = "text/event-stream", body = String, description = "\
        Server-sent events as for one session, without deltas: their `id` is the record's place among the records of all \
        sessions. The stream does not end.")),
)]
pub(super) async fn of_all(faces: Data<Faces>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let after = cursor(&request)?;
    let slot = faces.streams.take_slot()?;
    let reader = faces.handle.stream_all(after).await?;
    Ok(respond(&faces.streams, slot, reader, CursorOf::All))
}

/// Where the reader was: `Last-Event-ID`, which a browser sends when it reconnects to the URL it began with, else
/// `?after=`.
pub(super) fn cursor<N: std::str::FromStr>(request: &HttpRequest) -> Result<Option<N>, Problem> {
    let params = Params::of(request, &["after"])?;
    let Some(last) = request.headers().get("Last-Event-ID") else {
        return params.number("after");
    };
    let text = last.to_str().unwrap_or_default();
    match number(text) {
        Some(cursor) => Ok(Some(cursor)),
        None => Err(Problem::new(
            Code::BadHeader,
            format!("Last-Event-ID is {text:?}, not a number from 0"),
        )),
    }
}

fn respond<I: Items + 'static>(
    streams: &Streams,
    slot: OwnedSemaphorePermit,
    items: I,
    cursor: CursorOf,
) -> HttpResponse {
    let writer = EventWriter {
        items,
        cursor,
        heartbeat: HEARTBEAT,
        stopping: streams.stopping.clone(),
        has_ended: false,
        buffer: BytesMut::new(),
        _slot: slot,
    };
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((HeaderName::from_static("x-accel-buffering"), "no"))
        .streaming(stream::unfold(writer, async |mut writer: EventWriter<I>| {
            let write = writer.next_write().await?;
            Some((Ok::<_, Infallible>(write), writer))
        }))
}

/// What a stream is made of.
trait Items {
    /// The next item, once there is one; none at the end. Cancel safe.
    async fn next(&mut self) -> Option<FeedItem>;
}

impl Items for FeedReader {
    async fn next(&mut self) -> Option<FeedItem> {
        FeedReader::next(self).await
    }
}

/// Which number of a record is the id of its event.
#[derive(Clone, Copy, Debug)]
enum CursorOf {
    /// Its number in the session.
    Session,
    /// Its place among all records.
    All,
}

/// Turns items into the writes of one response.
struct EventWriter<I> {
    items: I,
    cursor: CursorOf,
    heartbeat: Duration,
    stopping: watch::Receiver<bool>,
    /// The items ended while a write was gathered.
    has_ended: bool,
    buffer: BytesMut,
    /// Given back when the client is gone.
    _slot: OwnedSemaphorePermit,
}

impl<I: Items> EventWriter<I> {
    /// The next bytes to be sent: all that is ready, up to [`WRITE_BYTES`] and one item; none at the end.
    async fn next_write(&mut self) -> Option<Bytes> {
        if self.has_ended {
            return None;
        }
        let first = tokio::select! {
            biased;
            _ = self.stopping.wait_for(|stopping| *stopping) => return None,
            first = timeout(self.heartbeat, self.items.next()) => first,
        };
        match first {
            Err(_silence) => return Some(Bytes::from_static(HEARTBEAT_COMMENT)),
            Ok(None) => return None,
            Ok(Some(item)) => put_event(&mut self.buffer, &item, self.cursor),
        }
        while self.buffer.len() < WRITE_BYTES {
            // Bounded by the bytes: tokio's budget would end each write after a hundred small items.
            match unconstrained(self.items.next()).now_or_never() {
                Some(Some(item)) => put_event(&mut self.buffer, &item, self.cursor),
                Some(None) => {
                    self.has_ended = true;
                    break;
                }
                None => break,
            }
        }
        Some(self.buffer.split().freeze())
    }
}

/// Writes one item as an event. Rendered records and deltas have no line breaks, so each is one `data:` line.
fn put_event(buffer: &mut BytesMut, item: &FeedItem, cursor: CursorOf) {
    match item {
        FeedItem::Hello(hello) => {
            let resume = if hello.resumed { "ok" } else { "gap" };
            let data = json!({"resume": resume, "head": hello.head, "epoch": hello.epoch}).to_string();
            put_lines(buffer, None, b"hello", data.as_bytes());
        }
        FeedItem::Record(record) => {
            let id = match cursor {
                CursorOf::Session => record.seq.0,
                CursorOf::All => record.id.unsigned_abs(),
            };
            put_lines(buffer, Some(id), &record.kind, &record.json);
        }
        FeedItem::Delta(json) => put_lines(buffer, None, b"delta", json),
    }
}

fn put_lines(buffer: &mut BytesMut, id: Option<u64>, kind: &[u8], data: &[u8]) {
    // The names of the fields, the line breaks and the longest number.
    const FRAME_BYTES: usize = 48;
    buffer.reserve(kind.len() + data.len() + FRAME_BYTES);
    if let Some(id) = id {
        // A buffer that grows takes every write.
        let _ = writeln!(buffer.writer(), "id: {id}");
    }
    for part in [b"event: ", kind, b"\ndata: ", data, b"\n\n"] {
        buffer.put_slice(part);
    }
}

#[cfg(test)]
mod tests;
