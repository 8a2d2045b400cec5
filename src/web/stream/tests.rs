//! Tests of streams: how events look, and how a response behaves towards clients that are slow, gone or too many.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use actix_web::test::TestRequest;
use actix_web::web::{self, ServiceConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::*;
use crate::runtime::feed::{Hello, Rendered};
use crate::web::tests::{Running, TOKEN, start_with};

/// Items that a test puts into a channel.
struct Fake(mpsc::UnboundedReceiver<FeedItem>);

impl Items for Fake {
    async fn next(&mut self) -> Option<FeedItem> {
        self.0.recv().await
    }
}

fn record(seq: u64) -> FeedItem {
    let json = format!(r#"{{"seq":{seq},"kind":"notice","data":{{"text":"hello"}}}}"#);
    let kind = Bytes::from_static(b"notice");
    FeedItem::Record(Rendered::from_json(seq as i64 + 1000, Seq(seq), kind, json.into()))
}

fn hello() -> FeedItem {
    FeedItem::Hello(Hello {
        resumed: true,
        head: 7,
        epoch: "e".into(),
    })
}

struct Rig {
    items: mpsc::UnboundedSender<FeedItem>,
    stopping: watch::Sender<bool>,
    writer: EventWriter<Fake>,
}

fn rig(heartbeat: Duration) -> Rig {
    let (items, received) = mpsc::unbounded_channel();
    let (stopping, stopped) = watch::channel(false);
    let streams = Streams::new(1, stopped.clone());
    let writer = EventWriter {
        items: Fake(received),
        cursor: CursorOf::Session,
        heartbeat,
        stopping: stopped,
        has_ended: false,
        buffer: BytesMut::new(),
        _slot: streams.take_slot().unwrap(),
    };
    Rig {
        items,
        stopping,
        writer,
    }
}

fn text(item: &FeedItem, cursor: CursorOf) -> String {
    let mut buffer = BytesMut::new();
    put_event(&mut buffer, item, cursor);
    String::from_utf8(buffer.to_vec()).unwrap()
}

#[test]
fn events_look_like_this() {
    let gap = FeedItem::Hello(Hello {
        resumed: false,
        head: 0,
        epoch: "e".into(),
    });
    let all = [
        text(&hello(), CursorOf::Session),
        text(&gap, CursorOf::All),
        text(&record(3), CursorOf::Session),
        text(&record(3), CursorOf::All),
        text(
            &FeedItem::Delta(Bytes::from_static(br#"{"text":"he"}"#)),
            CursorOf::Session,
        ),
    ];
    insta::assert_snapshot!(all.concat(), @r#"
    event: hello
    data: {"epoch":"e","head":7,"resume":"ok"}

    event: hello
    data: {"epoch":"e","head":0,"resume":"gap"}

    id: 3
    event: notice
    data: {"seq":3,"kind":"notice","data":{"text":"hello"}}

    id: 1003
    event: notice
    data: {"seq":3,"kind":"notice","data":{"text":"hello"}}

    event: delta
    data: {"text":"he"}
    "#);
}

#[actix_web::test]
async fn what_is_ready_goes_out_in_one_write_of_a_bounded_size() {
    let mut rig = rig(HEARTBEAT);
    (1..=3).for_each(|seq| rig.items.send(record(seq)).unwrap());
    let write = rig.writer.next_write().await.unwrap();
    assert_eq!(write.iter().filter(|byte| **byte == b'\n').count(), 3 * 4);
    (1..=5000).for_each(|seq| rig.items.send(record(seq)).unwrap());
    let write = rig.writer.next_write().await.unwrap();
    assert!(
        (WRITE_BYTES..WRITE_BYTES + 1024).contains(&write.len()),
        "{}",
        write.len()
    );
}

#[actix_web::test]
async fn a_silent_stream_says_that_it_lives() {
    let mut rig = rig(Duration::from_millis(1));
    assert_eq!(rig.writer.next_write().await.unwrap(), HEARTBEAT_COMMENT);
    rig.items.send(record(1)).unwrap();
    assert!(
        rig.writer.next_write().await.unwrap().starts_with(b"id: 1\n"),
        "and loses nothing"
    );
}

#[actix_web::test]
async fn a_stream_ends_with_its_items_after_the_last_is_out() {
    let mut rig = rig(HEARTBEAT);
    rig.items.send(record(1)).unwrap();
    drop(rig.items);
    assert!(rig.writer.next_write().await.unwrap().starts_with(b"id: 1\n"));
    assert_eq!(rig.writer.next_write().await, None);
}

#[actix_web::test]
async fn a_stream_ends_when_the_daemon_stops_however_much_is_ready() {
    let mut rig = rig(HEARTBEAT);
    (1..=5000).for_each(|seq| rig.items.send(record(seq)).unwrap());
    rig.stopping.send_replace(true);
    assert_eq!(rig.writer.next_write().await, None);
}

#[test]
fn the_header_wins_over_the_query() {
    let with = |query: &str, header: Option<&str>| {
        let mut request = TestRequest::with_uri(&format!("/events?{query}"));
        if let Some(header) = header {
            request = request.insert_header(("Last-Event-ID", header));
        }
        cursor::<i64>(&request.to_http_request()).map_err(|problem| problem.to_string())
    };
    assert_eq!(with("", None), Ok(None));
    assert_eq!(with("after=3", None), Ok(Some(3)));
    assert_eq!(with("after=3", Some("4")), Ok(Some(4)));
    assert!(with("after=x", None).unwrap_err().contains("after"));
    assert!(with("after=3", Some("-4")).unwrap_err().contains("Last-Event-ID"));
    assert!(with("after=3", Some("99999999999999999999")).is_err());
    assert!(with("from=3", None).is_err(), "unknown parameters are not ignored");
}

#[test]
fn there_are_only_so_many_streams() {
    let streams = Streams::new(1, watch::channel(false).1);
    let slot = streams.take_slot().unwrap();
    assert!(
        streams
            .take_slot()
            .unwrap_err()
            .to_string()
            .contains("stream_readers_max")
    );
    drop(slot);
    assert!(streams.take_slot().is_ok());
}

/// How many bytes of records [`Endless`] has given away, over all streams of one test's server; and how many live.
struct Counts {
    given: AtomicU64,
    live: AtomicU64,
}

impl Counts {
    const fn new() -> Self {
        Self {
            given: AtomicU64::new(0),
            live: AtomicU64::new(0),
        }
    }
}

/// As many records as anybody wants to read.
struct Endless {
    json: Bytes,
    counts: &'static Counts,
}

fn endless(faces: &Faces, counts: &'static Counts) -> Result<HttpResponse, Problem> {
    counts.live.fetch_add(1, Ordering::SeqCst);
    let json = format!(r#""{}""#, "x".repeat(1000)).into();
    let slot = faces.streams.take_slot()?;
    Ok(respond(
        &faces.streams,
        slot,
        Endless { json, counts },
        CursorOf::Session,
    ))
}

impl Items for Endless {
    async fn next(&mut self) -> Option<FeedItem> {
        // So much is more than all buffers between us and the client hold.
        const BYTES: u64 = 1 << 30;
        let given = self.counts.given.fetch_add(1000, Ordering::SeqCst);
        let seq = Seq(given / 1000 + 1);
        (given < BYTES).then(|| {
            let kind = Bytes::from_static(b"notice");
            FeedItem::Record(Rendered::from_json(1, seq, kind, self.json.clone()))
        })
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.counts.live.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Nothing ever happens here.
struct Silent(&'static Counts);

fn silent(faces: &Faces, counts: &'static Counts) -> Result<HttpResponse, Problem> {
    counts.live.fetch_add(1, Ordering::SeqCst);
    let slot = faces.streams.take_slot()?;
    Ok(respond(&faces.streams, slot, Silent(counts), CursorOf::Session))
}

impl Items for Silent {
    async fn next(&mut self) -> Option<FeedItem> {
        std::future::pending().await
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn connect(server: &Running, path: &str) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    client
}

/// Waits for what has to come before heartbeats could bring it about: the second of them would.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < HEARTBEAT + HEARTBEAT / 2, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[actix_web::test]
async fn a_slow_client_is_not_read_ahead_for() {
    static COUNTS: Counts = Counts::new();
    fn routes(cfg: &mut ServiceConfig) {
        cfg.route(
            "/endless",
            web::get().to(async |faces: Data<Faces>| endless(&faces, &COUNTS)),
        );
    }
    // What the sockets of both ends may hold at the most, by the usual limits of the kernel, and then some.
    const BUFFERS_BYTES: u64 = 64 << 20;
    let server = start_with(routes);
    let mut client = connect(&server, "/endless").await;
    let mut read = 0;
    let mut part = vec![0; 64 << 10];
    while read < 16 << 20 {
        read += client.read(&mut part).await.unwrap() as u64;
        let given = COUNTS.given.load(Ordering::SeqCst);
        assert!(given < read + BUFFERS_BYTES, "{given} given, {read} read");
    }
    drop(client);
    until("the items are dropped with their reader", || {
        COUNTS.live.load(Ordering::SeqCst) == 0
    })
    .await;
    server.stop().await;
}

#[actix_web::test]
async fn a_client_that_goes_away_is_noticed_in_silence_too() {
    static COUNTS: Counts = Counts::new();
    fn routes(cfg: &mut ServiceConfig) {
        cfg.route(
            "/silent",
            web::get().to(async |faces: Data<Faces>| silent(&faces, &COUNTS)),
        );
    }
    let server = start_with(routes);
    let mut client = connect(&server, "/silent").await;
    let mut head = vec![0; 4096];
    let length = client.read(&mut head).await.unwrap();
    let head = String::from_utf8_lossy(&head[..length]).to_lowercase();
    for line in [
        "http/1.1 200",
        "content-type: text/event-stream",
        "cache-control: no-store",
        "x-accel-buffering: no",
    ] {
        assert!(head.contains(line), "{head}");
    }
    until("the stream is open", || COUNTS.live.load(Ordering::SeqCst) == 1).await;
    drop(client);
    until("the stream is dropped", || COUNTS.live.load(Ordering::SeqCst) == 0).await;
    server.stop().await;
}

#[actix_web::test]
async fn a_stopping_server_ends_streams_properly() {
    static COUNTS: Counts = Counts::new();
    fn routes(cfg: &mut ServiceConfig) {
        cfg.route(
            "/silent",
            web::get().to(async |faces: Data<Faces>| silent(&faces, &COUNTS)),
        );
    }
    let server = start_with(routes);
    let mut client = connect(&server, "/silent").await;
    until("the stream is open", || COUNTS.live.load(Ordering::SeqCst) == 1).await;
    server.stop().await;
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(
        rest.ends_with(b"0\r\n\r\n"),
        "the body is whole: {}",
        String::from_utf8_lossy(&rest)
    );
}
