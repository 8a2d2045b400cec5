//! Who may call, and what is said to calls that do not fit, over the real listener.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::daemon::TestDaemon;

/// Every path with its methods, from where the routes stand.
pub(crate) fn routes() -> Vec<(String, Vec<&'static str>)> {
    let lines = include_str!("../../src/web/mod.rs").lines();
    let found = lines.filter_map(|line| line.split_once("at(\"")?.1.split_once("\", \""));
    let routes: Vec<_> = found
        .map(|(path, rest)| {
            let path = path.replace("{id}", "0123abcd").replace("{question}", "q1");
            let path = path.replace("{name}", "nobody");
            (path, rest.split('"').next().expect("methods").split(", ").collect())
        })
        .collect();
    assert!(routes.len() >= 9, "the routes are found: {routes:?}");
    routes
}

/// Whether a path is for everybody, told here once more.
pub(crate) fn is_public(path: &str) -> bool {
    ["/healthz", "/readyz", "/sign-in"].contains(&path) || path.starts_with("/assets/")
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The code of a refusal, which has to be a problem document.
    pub(crate) fn problem(&self) -> &str {
        assert!(
            self.head.contains("content-type: application/problem+json"),
            "{} {}",
            self.head,
            self.body
        );
        assert_eq!(self.body["status"], self.status);
        assert!(self.body["title"].is_string() && self.body["detail"].is_string());
        self.body["code"].as_str().expect("a code")
    }
}

/// A caller that writes its requests byte by byte as it likes.
pub(crate) struct Caller<'a> {
    pub(crate) address: String,
    daemon: &'a TestDaemon,
}

impl<'a> Caller<'a> {
    pub(crate) fn of(daemon: &'a TestDaemon) -> Self {
        let url = daemon.base_url().expect("an address");
        Self {
            address: url.strip_prefix("http://").expect("http").to_owned(),
            daemon,
        }
    }

    pub(crate) fn token(&self) -> String {
        format!("Authorization: Bearer {}", self.daemon.token())
    }

    /// The head of an answer whose body may never end.
    pub(crate) fn head_of(&self, method: &str, path: &str, headers: &[&str]) -> Answer {
        self.open(method, path, headers).0
    }

    /// The same with the connection, from which the body can be read.
    pub(crate) fn open(&self, method: &str, path: &str, headers: &[&str]) -> (Answer, TcpStream) {
        let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let mut connection = TcpStream::connect(&self.address).expect("a connection");
        let host = match headers.contains("Host:") {
            true => String::new(),
            false => format!("Host: {}\r\n", self.address),
        };
        let closing = "Content-Length: 0\r\nConnection: close";
        let request = format!("{method} {path} HTTP/1.1\r\n{host}{headers}{closing}\r\n\r\n");
        connection.write_all(request.as_bytes()).expect("it is taken");
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            connection.read_exact(&mut byte).expect("an answer");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("text");
        let answer = Answer {
            status: head.split(' ').nth(1).expect("a status").parse().expect("a status"),
            head: head.to_lowercase(),
            body: Value::Null,
        };
        (answer, connection)
    }

    /// A request with these header lines beside the host's and the body's length.
    pub(crate) fn call(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let host = format!("Host: {}", self.address);
        let has_host = headers.iter().any(|header| header.starts_with("Host:"));
        let host = if has_host { None } else { Some(host.as_str()) };
        let lines = headers.iter().copied().chain(host);
        let headers: String = lines.map(|line| format!("{line}\r\n")).collect();
        let mut connection = TcpStream::connect(&self.address).expect("a connection");
        let length = body.len();
        let request =
            format!("{method} {path} HTTP/1.1\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        // A body that is too long is refused before it is read: then writing may fail, and the answer is there.
        let _ = connection.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = connection.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        Answer {
            status: head.split(' ').nth(1).expect("a status").parse().expect("a status"),
            head: head.to_lowercase(),
            body: serde_json::from_str(body).unwrap_or_else(|_| json!(body)),
        }
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        self.call("POST", path, &[&self.token(), "Content-Type: application/json"], body)
    }
}

#[test]
fn a_head_is_a_get_without_its_body() {
    let daemon = TestDaemon::start();
    let caller = Caller::of(&daemon);
    for path in ["/healthz", "/api/sessions", "/api/info", "/api/sessions/0123abcd"] {
        let [get, head] = ["GET", "HEAD"].map(|method| caller.call(method, path, &[&caller.token()], ""));
        assert_eq!((head.status, &head.body), (get.status, &json!("")), "{path}");
    }
    assert_eq!(caller.call("HEAD", "/api/sessions", &[], "").status, 401);
}

#[test]
fn every_route_but_health_is_for_those_who_know_the_token() {
    let daemon = TestDaemon::start();
    let caller = Caller::of(&daemon);
    for (path, methods) in routes() {
        // A HEAD is a GET whose body, also that of a refusal, is not sent.
        for method in methods.into_iter().filter(|method| *method != "HEAD") {
            let longer = format!("{}0", caller.token());
            for headers in [&[][..], &["Authorization: Bearer wrong"], &[&*longer]] {
                let answer = caller.call(method, &path, headers, "");
                if is_public(&path) {
                    assert_ne!(answer.body["code"], "unauthorized", "{path}");
                    continue;
                }
                if answer.head.contains("text/html") {
                    assert_eq!((answer.status, method), (401, "GET"), "{path}: only a page is a page");
                    continue;
                }
                assert_eq!(
                    (answer.status, answer.problem()),
                    (401, "unauthorized"),
                    "{method} {path} {headers:?}"
                );
                assert!(!answer.body.to_string().contains(&daemon.token()));
            }
        }
    }
}

#[test]
fn no_route_answers_to_another_name_or_another_sites_page() {
    let daemon = TestDaemon::start();
    let caller = Caller::of(&daemon);
    let token = caller.token();
    for (path, methods) in routes() {
        // A HEAD is a GET whose body, also that of a refusal, is not sent.
        for method in methods.into_iter().filter(|method| *method != "HEAD") {
            let answer = caller.call(method, &path, &[&token, "Host: evil.example"], "");
            assert_eq!(
                (answer.status, answer.problem()),
                (403, "foreign_host"),
                "{method} {path}"
            );
            let answer = caller.call(method, &path, &[&token, "Origin: http://evil.example"], "");
            assert_eq!(
                (answer.status, answer.problem()),
                (403, "foreign_origin"),
                "{method} {path}"
            );
        }
    }
    let own = format!("Origin: http://{}", caller.address);
    assert_eq!(caller.call("GET", "/api/sessions", &[&token, &own], "").status, 200);
}

#[test]
fn a_method_that_a_path_has_not_is_405_and_an_unknown_path_404() {
    let daemon = TestDaemon::start();
    let caller = Caller::of(&daemon);
    let token = caller.token();
    for (path, methods) in routes() {
        let answer = caller.call("PUT", &path, &[&token], "");
        assert_eq!((answer.status, answer.problem()), (405, "method_not_allowed"), "{path}");
        assert!(
            answer
                .head
                .contains(&format!("allow: {}", methods.join(", ")).to_lowercase())
        );
    }
    for path in ["/api", "/nowhere", "/api/sessions/"] {
        let answer = caller.call("GET", path, &[&token], "");
        assert_eq!((answer.status, answer.problem()), (404, "no_such_route"), "{path}");
    }
}

#[test]
fn a_body_that_does_not_fit_is_refused_with_what_is_wrong() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__LIMITS__BODY_BYTES_MAX", "100000")]);
    let caller = Caller::of(&daemon);
    let (work, file) = (daemon.work(), daemon.root().join("file"));
    std::fs::write(&file, "").unwrap();
    let missing = work.join("missing");
    let bodies = [
        (
            json!({"task": "t", "cwd": work, "max_turn": 3}),
            400,
            "bad_body",
            "max_turn",
        ),
        (json!({"task": "t"}), 400, "invalid_request", "cwd"),
        (json!({"task": "t", "cwd": 7}), 400, "bad_body", "cwd"),
        (json!({"task": "t", "cwd": "work"}), 400, "invalid_request", "absolute"),
        (json!({"task": "t", "cwd": missing}), 400, "bad_directory", "missing"),
        (json!({"task": "t", "cwd": file}), 400, "bad_directory", "directory"),
        (json!({"task": "", "cwd": work}), 400, "invalid_request", "task"),
        (json!([]), 400, "bad_body", "map"),
        (
            json!({"task": "t".repeat(100_001), "cwd": work}),
            413,
            "body_too_large",
            "100000",
        ),
    ];
    for (body, status, code, told) in bodies {
        let answer = caller.post("/api/sessions", &body.to_string());
        let shown: String = body.to_string().chars().take(100).collect();
        assert_eq!((answer.status, answer.problem()), (status, code), "{shown}");
        assert!(
            answer.body["detail"].as_str().unwrap().contains(told),
            "{shown}: {}",
            answer.body
        );
    }
    assert_eq!(caller.post("/api/sessions", "{\"task\"").problem(), "bad_body");
    let untyped = caller.call("POST", "/api/sessions", &[&caller.token()], "{}");
    assert_eq!((untyped.status, untyped.problem()), (415, "not_json"));
    let (_, list) = daemon.get("/api/sessions");
    assert_eq!(list["sessions"], json!([]), "none of them made a session");
}

#[test]
fn an_id_is_never_a_path_and_an_unknown_one_is_404() {
    let daemon = TestDaemon::start();
    let caller = Caller::of(&daemon);
    let token = caller.token();
    let known = daemon.create("say hello");
    daemon.wait_for(&known, "completed");
    let ids = [
        "00000000-0000-7000-8000-000000000000",
        "0000000",
        "zzzz",
        "..",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e",
        "%00",
        "%ff",
        "*",
        "'%20OR%201=1",
        &"a".repeat(4000),
    ];
    for id in ids {
        let routes = [
            ("GET", format!("/api/sessions/{id}")),
            ("GET", format!("/api/sessions/{id}/records")),
            ("GET", format!("/execution/{id}/stream")),
            ("POST", format!("/api/sessions/{id}/cancel")),
        ];
        for (method, path) in routes {
            let answer = caller.call(method, &path, &[&token], "");
            let is_known_refusal = match answer.problem() {
                "no_such_session" | "no_such_route" => answer.status == 404,
                "bad_path" => answer.status == 400,
                _ => false,
            };
            assert!(is_known_refusal, "{method} {path}: {} {}", answer.status, answer.body);
        }
    }
    for question in ["q9", "9", "../q1", "%00"] {
        let path = format!("/api/sessions/{known}/questions/{question}/answer");
        let answer = caller.post(&path, r#"{"action":"allow"}"#);
        assert_eq!(answer.status, 404, "{question}: {}", answer.body);
    }
}
