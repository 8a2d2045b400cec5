//! Tests of the application as it ships: every route is guarded, every refusal is a problem document, the listener
//! starts, says what is in its way, and stops.

use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::ServiceResponse;
use actix_web::http::Method;
use actix_web::test::{self, TestRequest};
use actix_web::web::ServiceConfig;
use serde_json::Value;
use tokio::sync::watch;

use super::*;
use crate::config::{Environment, Paths, Sources};
use crate::store::SmallStore;

/// The token of the tests.
pub(super) const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The longest body in the tests, in bytes.
const BODY_BYTES_MAX: usize = 4096;

/// A handle with nothing behind it: these tests are about what is refused before it, and what is shown of its refusal.
fn no_runtime() -> Handle {
    Handle::stopped()
}

pub(super) fn token(dir: &tempfile::TempDir) -> Token {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.path().join("token");
    std::fs::write(&path, TOKEN).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    Token::read(&path).unwrap()
}

pub(super) fn settings(dir: &tempfile::TempDir, port: u16) -> Settings {
    let vars = [
        (
            "CC_EXECUTOR__STATE__DIR",
            dir.path().join("state").display().to_string(),
        ),
        (
            "CC_EXECUTOR__STATE__RUNTIME_DIR",
            dir.path().join("run").display().to_string(),
        ),
        ("CC_EXECUTOR__LIMITS__BODY_BYTES_MAX", BODY_BYTES_MAX.to_string()),
        ("CC_EXECUTOR__SERVER__PORT", port.to_string()),
    ];
    let sources = Sources {
        environment: vars.into_iter().collect(),
        ..Sources::default()
    };
    Settings::load(&sources).unwrap()
}

fn ready() -> Readiness {
    Arc::new(|| Ok(()))
}

/// The small store in a directory.
pub(super) fn clients(dir: &tempfile::TempDir) -> Arc<SmallStore> {
    Arc::new(SmallStore::open(&dir.path().join("clients.sqlite3")).unwrap())
}

fn access(dir: &tempfile::TempDir) -> Access {
    let settings = settings(dir, 8005);
    let address = ([127, 0, 0, 1], 8005).into();
    Access::open(
        &token(dir),
        address,
        &dir.path().join("access"),
        clients(dir),
        &settings,
    )
    .unwrap()
}

fn doctor() -> Doctor {
    Arc::new(Vec::new)
}

fn faces_with(readiness: Readiness) -> Faces {
    let dir = tempfile::tempdir().unwrap();
    let access = access(&dir);
    let stopping = watch::channel(false).1;
    let streams = Streams::new(1, stopping.clone());
    let settings = settings(&dir, 8005);
    let mcp = mcp::start(dir.path(), no_runtime(), access.audit().clone(), &settings, stopping).unwrap();
    Faces::new(&settings, no_runtime(), access, readiness, streams, mcp)
}

/// What came back: status, headers as text, body.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Value,
}

impl Answer {
    async fn of(response: ServiceResponse<impl MessageBody>) -> Self {
        let status = response.status().as_u16();
        let header = |(name, value): (
            &actix_web::http::header::HeaderName,
            &actix_web::http::header::HeaderValue,
        )| { (name.to_string(), value.to_str().unwrap().to_owned()) };
        let headers = response.headers().iter().map(header).collect();
        let body = test::read_body(response).await;
        Self {
            status,
            headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The code of a refusal, which has to be a problem document in all its parts.
    fn problem(&self) -> &str {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{}",
            self.body
        );
        assert_eq!(self.body["status"], self.status);
        assert!(
            self.body["title"].is_string() && self.body["detail"].is_string(),
            "{}",
            self.body
        );
        let code = self.body["code"].as_str().unwrap();
        assert_eq!(self.body["type"], format!("urn:cc-executor:problem:{code}"));
        code
    }
}

async fn call(request: TestRequest) -> Answer {
    let app = test::init_service(app(&faces_with(ready()), routes)).await;
    Answer::of(test::call_service(&app, request.to_request()).await).await
}

/// The path with something in each of its places.
fn filled(path: &str) -> String {
    path.replace("{id}", "abcd")
        .replace("{question}", "q1")
        .replace("{name}", "nobody")
}

fn request(method: &Method, path: &str) -> TestRequest {
    TestRequest::with_uri(&filled(path))
        .method(method.clone())
        .insert_header(("Host", "127.0.0.1:8005"))
}

fn signed(method: &Method, path: &str) -> TestRequest {
    request(method, path).insert_header(("Authorization", format!("Bearer {TOKEN}")))
}

fn post_json(path: &str, body: &str) -> TestRequest {
    signed(&Method::POST, path)
        .insert_header(("Content-Type", "application/json"))
        .set_payload(body.to_owned())
}

/// Path and methods of every route, from where they stand.
pub(super) fn all_routes() -> Vec<(&'static str, Vec<Method>, &'static str)> {
    let lines = include_str!("mod.rs")
        .lines()
        .filter_map(|line| line.split_once("at(\"")?.1.split_once("\", \""));
    let routes: Vec<_> = lines
        .map(|(path, rest)| {
            let allowed = rest.split('"').next().unwrap();
            let methods = allowed.split(", ").map(|name| name.parse().unwrap()).collect();
            (path, methods, allowed)
        })
        .collect();
    assert!(routes.len() >= 9, "the routes are found: {routes:?}");
    routes
}

/// Where a browser without a token is shown how to sign in.
const SIGN_IN_SHOWN: &[&str] = &["/", "/history", "/execution/{id}"];

#[actix_web::test]
async fn every_route_but_health_needs_the_token() {
    for (path, methods, _) in all_routes() {
        for method in methods {
            let without = call(request(&method, path)).await;
            let wrong = call(request(&method, path).insert_header(("Authorization", "Bearer x"))).await;
            if access::is_public(&filled(path)) {
                let is_open = |answer: &Answer| answer.body["code"] != "unauthorized";
                assert!(is_open(&without) && is_open(&wrong), "{method} {path}");
                continue;
            }
            for answer in [without, wrong] {
                assert_eq!(answer.status, 401, "{method} {path}");
                match answer.header("content-type") {
                    Some("text/html; charset=utf-8") => assert!(SIGN_IN_SHOWN.contains(&path), "{method} {path}"),
                    _ => assert_eq!(answer.problem(), "unauthorized", "{method} {path}"),
                }
                assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
            }
            let with = call(signed(&method, path)).await;
            // There is no such session, but there is such a route.
            let is_refused = [401, 403, 405].contains(&with.status) || with.body["code"] == "no_such_route";
            assert!(!is_refused, "{method} {path}: {}", with.status);
        }
    }
}

#[actix_web::test]
async fn every_route_refuses_other_hosts_and_pages_of_others() {
    for (path, methods, _) in all_routes() {
        for method in methods {
            let answer = call(signed(&method, path).insert_header(("Host", "evil.example:8005"))).await;
            assert_eq!(
                (answer.status, answer.problem()),
                (403, "foreign_host"),
                "{method} {path}"
            );
            let answer = call(signed(&method, path).insert_header(("Origin", "http://evil.example"))).await;
            assert_eq!(
                (answer.status, answer.problem()),
                (403, "foreign_origin"),
                "{method} {path}"
            );
        }
    }
}

#[actix_web::test]
async fn a_method_that_a_path_has_not_is_answered_with_those_it_has() {
    for (path, _, allowed) in all_routes() {
        let answer = call(signed(&Method::PATCH, path)).await;
        assert_eq!((answer.status, answer.problem()), (405, "method_not_allowed"), "{path}");
        assert_eq!(answer.header("allow"), Some(allowed), "{path}");
    }
}

#[actix_web::test]
async fn an_unknown_path_tells_nothing_without_the_token() {
    for path in ["/api", "/api/sessions/", "//healthz", "/healthz/", "/%68ealthz"] {
        let answer = call(request(&Method::GET, path)).await;
        assert_eq!((answer.status, answer.problem()), (401, "unauthorized"), "{path}");
    }
    let answer = call(signed(&Method::GET, "/nowhere")).await;
    assert_eq!((answer.status, answer.problem()), (404, "no_such_route"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[actix_web::test]
async fn a_body_that_does_not_fit_is_explained() {
    let create = "/api/sessions";
    let answer = "/api/sessions/abcd/questions/q1/answer";
    let long = format!(r#"{{"task":"{}"}}"#, "x".repeat(BODY_BYTES_MAX));
    let bodies = [
        (create, r#"{"task":"t","cwd":"/w","tsk":1}"#, 400, "bad_body", "`tsk`"),
        (create, r#"{"task":"t""#, 400, "bad_body", "EOF"),
        (create, "[]", 400, "bad_body", "map"),
        (create, "", 400, "bad_body", "EOF"),
        (
            create,
            r#"{"task":"t","cwd":"here"}"#,
            400,
            "invalid_request",
            "absolute",
        ),
        (create, &long, 413, "body_too_large", "4096"),
        (answer, r#"{"action":"maybe"}"#, 400, "bad_body", "`maybe`"),
        (
            answer,
            r#"{"action":"allow","updatedInput":1}"#,
            400,
            "bad_body",
            "`updatedInput`",
        ),
        (answer, r#"{"action":"choose"}"#, 400, "bad_body", "`answers`"),
    ];
    for (path, body, status, code, told) in bodies {
        let got = call(post_json(path, body)).await;
        assert_eq!((got.status, got.problem()), (status, code), "{body}");
        assert!(got.body["detail"].as_str().unwrap().contains(told), "{}", got.body);
    }
    let deep = format!(r#"{{"task":{}"#, "[".repeat(4000));
    assert_eq!(call(post_json(create, &deep)).await.problem(), "bad_body");
    let untyped = signed(&Method::POST, create).set_payload("{}");
    assert_eq!(call(untyped).await.problem(), "not_json");
}

#[actix_web::test]
async fn a_query_that_does_not_fit_is_explained() {
    let queries = [
        ("/api/sessions?all=true", "bad_query"),
        ("/api/sessions?cursor=abc", "bad_query"),
        ("/api/history?date=today", "bad_query"),
        ("/api/sessions/abcd/wait?until=forever", "bad_query"),
        ("/api/sessions/abcd/export?format=pdf", "bad_query"),
        ("/api/sessions?state=maybe", "bad_query"),
        ("/api/sessions/abcd/records?after=x", "bad_query"),
        ("/api/sessions/abcd/records?limit=0", "bad_query"),
        ("/execution/abcd/stream?after=-1", "bad_query"),
        ("/events?after=1.5", "bad_query"),
    ];
    for (path, code) in queries {
        let answer = call(signed(&Method::GET, path)).await;
        assert_eq!((answer.status, answer.problem()), (400, code), "{path}");
    }
    let named = signed(&Method::POST, "/api/sessions/abcd/cancel").insert_header((CLIENT_HEADER, "A B"));
    assert_eq!(call(named).await.problem(), "bad_header");
    let cursor = signed(&Method::GET, "/events").insert_header(("Last-Event-ID", "x"));
    assert_eq!(call(cursor).await.problem(), "bad_header");
}

#[actix_web::test]
async fn the_daemon_says_when_it_is_not_ready() {
    let faces = faces_with(Arc::new(|| Err("the journal failed".to_owned())));
    let app = test::init_service(app(&faces, routes)).await;
    let response = test::call_service(&app, request(&Method::GET, "/readyz").to_request()).await;
    let answer = Answer::of(response).await;
    assert_eq!((answer.status, answer.problem()), (503, "not_ready"));
    assert_eq!(answer.header("retry-after"), Some("1"));
}

/// A server on a port of its own, served in the test's system.
pub(super) struct Running {
    pub(super) port: u16,
    stopper: Stopper,
    served: actix_web::rt::task::JoinHandle<std::io::Result<()>>,
    _dir: tempfile::TempDir,
}

impl Running {
    /// Stops it and waits for its end.
    pub(super) async fn stop(self) {
        self.stopper.stop().await;
        self.served.await.unwrap().unwrap();
    }
}

/// Starts a server with these routes behind the shipped doors.
pub(super) fn start_with(routes: fn(&mut ServiceConfig)) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&dir, 0);
    let paths = Paths::new(&settings.state, &Environment::default()).unwrap();
    let seen = (ready(), doctor());
    let server = Server::build_with(&settings, &paths, no_runtime(), token(&dir), seen, routes).unwrap();
    Running {
        port: server.port(),
        stopper: server.stopper(),
        served: actix_web::rt::spawn(server.run_until_stopped()),
        _dir: dir,
    }
}

#[actix_web::test]
async fn a_server_answers_on_its_port_until_it_is_stopped() {
    let server = start_with(routes);
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", server.port);
    let health = awc::Client::default().get(url("/healthz")).send().await.unwrap();
    assert_eq!(health.status(), 200);
    let refused = awc::Client::default().get(url("/api/sessions")).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let port = server.port;
    server.stop().await;
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[actix_web::test]
async fn a_port_that_is_taken_is_told_with_who_may_have_it() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = settings(&dir, taken.local_addr().unwrap().port());
    let paths = Paths::new(&settings.state, &Environment::default()).unwrap();
    let build = || {
        let built = Server::build(&settings, &paths, no_runtime(), token(&dir), ready(), doctor());
        built.err().unwrap().to_string()
    };
    assert!(build().contains("is taken:"), "{}", build());
    paths.create().unwrap();
    std::fs::write(paths.daemon_file(), "{}").unwrap();
    assert!(build().contains("daemon.json"), "{}", build());
}
