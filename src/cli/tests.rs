//! The client against a small fake daemon, which writes the files that a real one is found by. It is of an older version,
//! without a socket, so that what is told of tokens is tested as well.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use super::client::Client;
use super::exit::{Exit, Failure};
use super::follow::{Follow, Happening};
use super::view::View;
use super::wait;
use crate::config::DAEMON_LOCK;

const ID: &str = "01890000-0000-7000-8000-00000000abcd";

/// What the fake daemon says, and what it was asked.
#[derive(Default)]
struct Script {
    token: &'static str,
    view: Value,
    /// The bodies of the streams, one for each connection.
    streams: VecDeque<String>,
    asked: Vec<String>,
}

struct FakeDaemon {
    script: Arc<Mutex<Script>>,
    server: ServerHandle,
    lock: File,
}

impl FakeDaemon {
    fn start(state_dir: &Path, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let token = script.token;
        let script = Arc::new(Mutex::new(script));
        let data = web::Data::from(script.clone());
        let app = move || App::new().app_data(data.clone()).default_service(web::to(answer));
        // On a thread of its own, since the client under test holds up this one while it looks for the daemon.
        let (say, handle) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let server = HttpServer::new(app).workers(1).disable_signals();
                let server = server.listen(listener).unwrap().run();
                say.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        let handle = handle.recv().unwrap();
        fs::set_permissions(state_dir, fs::Permissions::from_mode(0o700)).unwrap();
        let lock = File::create(state_dir.join(DAEMON_LOCK)).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        fs::write(state_dir.join("token"), token).unwrap();
        fs::write(
            state_dir.join("daemon.json"),
            json!({"pid": 1, "port": port, "address": format!("127.0.0.1:{port}")}).to_string(),
        )
        .unwrap();
        Self {
            script,
            server: handle,
            lock,
        }
    }

    async fn stop(self) -> Vec<String> {
        self.server.stop(false).await;
        let asked = self.asked();
        drop(self.lock);
        asked
    }

    fn asked(&self) -> Vec<String> {
        self.script.lock().unwrap().asked.clone()
    }
}

async fn answer(request: HttpRequest, body: String, script: web::Data<Mutex<Script>>) -> HttpResponse {
    let mut script = script.lock().unwrap();
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    if header("authorization") != Some(format!("Bearer {}", script.token)) {
        return HttpResponse::Unauthorized().json(json!({"title": "Unauthorized", "status": 401}));
    }
    let last = header("last-event-id")
        .map(|id| format!(" last={id}"))
        .unwrap_or_default();
    script.asked.push(
        format!("{} {}{last} {body}", request.method(), request.uri())
            .trim_end()
            .to_owned(),
    );
    match request.path() {
        path if path.ends_with("/stream") => {
            let body = script.streams.pop_front().unwrap_or_default();
            HttpResponse::Ok().content_type("text/event-stream").body(body)
        }
        path if path.contains("abcd") && request.method() == "GET" => HttpResponse::Ok().json(&script.view),
        path if path.ends_with("/cancel") => HttpResponse::Ok().json(&script.view),
        _ => HttpResponse::NotFound()
            .content_type("application/problem+json")
            .body(json!({"title": "Not Found", "detail": "there is no such session"}).to_string()),
    }
}

fn view(state: &str, head: u64) -> Value {
    json!({"session_id": ID, "state": state, "created_at": "2026-01-01T00:00:00Z", "head": head})
}

fn hello(resume: &str, head: u64) -> String {
    format!(
        "event: hello\ndata: {}\n\n",
        json!({"resume": resume, "head": head, "epoch": "e"})
    )
}

fn record(seq: u64, kind: &str, data: Value) -> String {
    let record =
        json!({"seq": seq, "session_id": ID, "attempt": 1, "at": "2026-01-01T00:00:00Z", "kind": kind, "data": data});
    format!("id: {seq}\nevent: {kind}\ndata: {record}\n\n")
}

fn notice(seq: u64) -> String {
    record(seq, "notice", json!({"text": format!("notice {seq}")}))
}

fn ended(seq: u64) -> String {
    record(seq, "session.ended", json!({"outcome": "completed", "summary": "done"}))
}

/// What happens next, in a word.
async fn next(follow: &mut Follow) -> String {
    match follow.next().await.unwrap() {
        Some(Happening::Hello(hello)) => format!("hello {} {}", hello.resume, hello.head),
        Some(Happening::Record(record, _)) => format!("{} {}", record.seq, record.kind),
        Some(Happening::Delta(delta)) => format!("delta {}", delta.text),
        Some(Happening::DaemonGone) => "gone".to_owned(),
        Some(Happening::DaemonBack) => "back".to_owned(),
        None => "end".to_owned(),
    }
}

async fn all(follow: &mut Follow) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "end") {
        seen.push(next(follow).await);
    }
    seen
}

#[actix_rt::test]
async fn a_stream_goes_on_with_a_daemon_that_comes_back_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let delta = "event: delta\ndata: {\"attempt\":1,\"message_id\":\"m\",\"block\":0,\"part\":\"text\",\"offset\":0,\"text\":\"hi\"}\n\n";
    let first = Script {
        token: "first",
        view: view("running", 2),
        streams: [[hello("ok", 1), notice(1), notice(2), delta.to_owned()].concat()].into(),
        ..Script::default()
    };
    let daemon = FakeDaemon::start(dir.path(), first);
    let mut follow = Follow::new(Client::find(dir.path()).unwrap(), ID.to_owned(), 0);
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(next(&mut follow).await);
    }
    assert_eq!(seen, ["hello ok 1", "1 notice", "2 notice", "delta hi"]);
    daemon.stop().await;
    assert_eq!(next(&mut follow).await, "gone");
    let second = Script {
        token: "second",
        view: view("completed", 4),
        streams: [[hello("ok", 3), notice(2), notice(3), ended(4)].concat()].into(),
        ..Script::default()
    };
    let daemon = FakeDaemon::start(dir.path(), second);
    assert_eq!(
        all(&mut follow).await,
        ["back", "hello ok 3", "3 notice", "4 session.ended", "end"]
    );
    let asked = daemon.stop().await;
    assert_eq!(asked, [format!("GET /execution/{ID}/stream?after=2 last=2")]);
}

#[actix_rt::test]
async fn a_daemon_that_dies_before_the_stream_is_open_is_waited_for_too() {
    let dir = tempfile::tempdir().unwrap();
    let script = |token| Script {
        token,
        view: view("completed", 2),
        streams: [[hello("ok", 2), notice(1), ended(2)].concat()].into(),
        ..Script::default()
    };
    let daemon = FakeDaemon::start(dir.path(), script("first"));
    let mut follow = Follow::new(Client::find(dir.path()).unwrap(), ID.to_owned(), 0);
    daemon.stop().await;
    assert_eq!(next(&mut follow).await, "gone");
    let _daemon = FakeDaemon::start(dir.path(), script("second"));
    assert_eq!(
        all(&mut follow).await,
        ["back", "hello ok 2", "1 notice", "2 session.ended", "end"]
    );
}

#[actix_rt::test]
async fn a_connection_that_breaks_is_opened_again_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script {
        token: "t",
        view: view("running", 3),
        streams: [
            [
                hello("ok", 1),
                notice(1),
                "id: 2\nevent: notice\ndata: {\"se".to_owned(),
            ]
            .concat(),
            [hello("ok", 3), notice(2), ended(3)].concat(),
        ]
        .into(),
        ..Script::default()
    };
    let _daemon = FakeDaemon::start(dir.path(), script);
    let mut follow = Follow::new(Client::find(dir.path()).unwrap(), ID.to_owned(), 0);
    let seen = all(&mut follow).await;
    assert_eq!(
        seen,
        [
            "hello ok 1",
            "1 notice",
            "hello ok 3",
            "2 notice",
            "3 session.ended",
            "end"
        ]
    );
}

#[actix_rt::test]
async fn a_session_that_has_ended_before_ends_the_stream() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script {
        token: "t",
        view: view("completed", 7),
        streams: [hello("ok", 7)].into(),
        ..Script::default()
    };
    let _daemon = FakeDaemon::start(dir.path(), script);
    let mut follow = Follow::new(Client::find(dir.path()).unwrap(), ID.to_owned(), 7);
    assert_eq!(all(&mut follow).await, ["hello ok 7", "end"]);
}

#[actix_rt::test]
async fn another_journal_is_read_from_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script {
        token: "t",
        view: view("completed", 2),
        streams: [[hello("gap", 2), notice(1), ended(2)].concat()].into(),
        ..Script::default()
    };
    let _daemon = FakeDaemon::start(dir.path(), script);
    let mut follow = Follow::new(Client::find(dir.path()).unwrap(), ID.to_owned(), 50);
    assert_eq!(
        all(&mut follow).await,
        ["hello gap 2", "1 notice", "2 session.ended", "end"]
    );
}

#[actix_rt::test]
async fn an_unknown_session_and_a_missing_daemon_have_their_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let failure = Client::find(dir.path()).err().unwrap();
    assert_eq!(failure.exit(), Exit::NoDaemon);
    assert!(failure.to_string().contains("cc-executor serve"));
    let script = Script {
        token: "t",
        ..Script::default()
    };
    let daemon = FakeDaemon::start(dir.path(), script);
    let client = Client::find(dir.path()).unwrap();
    let failure = client.view("ffff").await.unwrap_err();
    assert_eq!(
        (failure.exit(), failure.to_string().as_str()),
        (Exit::UnknownId, "there is no such session")
    );
    fs::write(dir.path().join("token"), "stale").unwrap();
    let failure = Client::find(dir.path()).unwrap().view("abcd").await.unwrap_err();
    assert!(matches!(failure, Failure::Refused(_)), "{failure}");
    assert_eq!(daemon.asked().len(), 1, "nothing is told to a client without the token");
}

#[actix_rt::test]
async fn waiting_ends_as_the_worst_session() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script {
        token: "t",
        view: view("timed_out", 3),
        ..Script::default()
    };
    let _daemon = FakeDaemon::start(dir.path(), script);
    let args = super::args::WaitArgs {
        ids: vec!["abcd".into(), "abcd".into()],
        until: super::args::WaitUntil::End,
        timeout: None,
        json: true,
    };
    assert_eq!(wait::wait(dir.path(), &args).await.unwrap(), Exit::TimedOut);
}

#[actix_rt::test]
async fn a_daemon_that_dies_between_the_end_of_a_session_and_its_outcome_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let first = Script {
        token: "first",
        view: view("running", 1),
        streams: [[hello("ok", 2), notice(1), ended(2)].concat()].into(),
        ..Script::default()
    };
    let daemon = FakeDaemon::start(dir.path(), first);
    let mut follow = Follow::new(Client::find(dir.path()).unwrap(), ID.to_owned(), 0);
    assert_eq!(
        all(&mut follow).await,
        ["hello ok 2", "1 notice", "2 session.ended", "end"]
    );
    daemon.stop().await;
    let waiting = actix_rt::spawn(async move {
        let raw = follow.session().await.unwrap();
        super::client::read::<View>(&raw).unwrap().state
    });
    let second = Script {
        token: "second",
        view: view("failed", 2),
        ..Script::default()
    };
    let _daemon = FakeDaemon::start(dir.path(), second);
    assert_eq!(waiting.await.unwrap(), "failed");
}

#[actix_rt::test]
async fn a_mistake_is_told_before_anything_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script {
        token: "t",
        view: view("running", 3),
        ..Script::default()
    };
    let daemon = FakeDaemon::start(dir.path(), script);
    let args = super::args::WaitArgs {
        ids: vec!["abcd".into(), "ffff".into()],
        until: super::args::WaitUntil::End,
        timeout: None,
        json: false,
    };
    let failure = wait::wait(dir.path(), &args).await.unwrap_err();
    assert_eq!(failure.exit(), Exit::UnknownId);
    assert_eq!(daemon.asked(), ["GET /api/sessions/abcd", "GET /api/sessions/ffff"]);
}

#[actix_rt::test]
async fn a_cancel_is_a_post_and_its_answer_a_view() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script {
        token: "t",
        view: view("stopping", 3),
        ..Script::default()
    };
    let daemon = FakeDaemon::start(dir.path(), script);
    let raw = Client::find(dir.path()).unwrap().cancel("abcd").await.unwrap();
    assert_eq!(super::client::read::<View>(&raw).unwrap().state, "stopping");
    assert_eq!(daemon.asked(), ["POST /api/sessions/abcd/cancel"]);
}
