//! Requests that no honest client sends, byte by byte.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::access::Caller;
use crate::support::daemon::TestDaemon;
use crate::support::wait::PATIENCE;

/// Writes these bytes and reads all that comes back until the daemon closes the connection.
fn exchange(address: &str, bytes: &[u8]) -> String {
    let mut connection = TcpStream::connect(address).expect("a connection");
    connection.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // The daemon may have closed it already, which is an answer too.
    let _ = connection.write_all(bytes);
    let mut answer = Vec::new();
    if let Err(error) = connection.read_to_end(&mut answer) {
        let is_hanging = matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        );
        assert!(!is_hanging, "the daemon neither answers nor closes");
    }
    String::from_utf8_lossy(&answer).to_lowercase()
}

#[test]
fn a_line_break_in_what_is_given_begins_no_header_of_the_answer() {
    let daemon = TestDaemon::start();
    let caller = Caller::of(&daemon);
    let token = caller.token();
    let evil = "x%0d%0aX-Evil:%20yes%0d%0a%0d%0a<html>";
    for path in [
        format!("/api/sessions/{evil}"),
        format!("/api/sessions/{evil}/records?after={evil}"),
        format!("/execution/{evil}"),
        format!("/execution/{evil}/stream?after={evil}"),
        format!("/api/tokens/{evil}"),
        format!("/sign-in?code={evil}"),
        format!("/{evil}"),
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let answer = caller.call(method, &path, &[&token], "");
            assert!(answer.status >= 400, "{method} {path}: {}", answer.head);
            assert!(!answer.head.contains("\r\nx-evil"), "{method} {path}: {}", answer.head);
        }
    }
    let bad = json!({"name": "a\r\nX-Evil: yes", "role": "viewer"});
    assert_eq!(caller.post("/api/tokens", &bad.to_string()).status, 400);
    let named = json!({"task": "say hi", "cwd": daemon.work(), "name": "a\r\nX-Evil: yes"});
    let made = caller.post("/api/sessions", &named.to_string());
    assert!(!made.head.contains("\r\nx-evil"), "{}", made.head);
    if made.status == 201 {
        daemon.wait_for(made.body["session_id"].as_str().unwrap(), "completed");
    }
}

#[test]
fn a_header_with_a_stray_line_break_is_no_request() {
    let daemon = TestDaemon::start();
    let caller = Caller::of(&daemon);
    let (address, token) = (&caller.address, caller.token());
    for header in [
        "Idempotency-Key: a\rX-CC-Executor-Client: b",
        "Idempotency-Key: a\0b",
        "X-CC-Executor-Client: a\r b",
        "Last-Event-ID: 1\r\n\t2",
        " Host: evil.example",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 1\r\nContent-Length: 2",
        "Transfer-Encoding: identity, chunked, chunked",
    ] {
        let request = format!(
            "POST /api/sessions HTTP/1.1\r\nHost: {address}\r\n{token}\r\n{header}\r\nConnection: close\r\n\r\n0\r\n\r\n"
        );
        let answer = exchange(address, request.as_bytes());
        let is_refused = answer.is_empty() || answer.starts_with("http/1.1 4");
        assert!(is_refused, "{header:?}: {answer}");
        assert!(!answer.contains("\"session_id\""), "{header:?}: {answer}");
    }
    let long = format!("X-Long: {}", "x".repeat(1 << 20));
    let request = format!("GET /api/sessions HTTP/1.1\r\nHost: {address}\r\n{token}\r\n{long}\r\n\r\n");
    let answer = exchange(address, request.as_bytes());
    assert!(answer.is_empty() || answer.starts_with("http/1.1 4"), "{answer}");
    assert_eq!(daemon.get("/api/sessions").1["sessions"], json!([]));
}

#[test]
fn a_whole_url_is_judged_by_its_authority_and_a_port_by_its_digits() {
    let daemon = TestDaemon::start();
    let caller = Caller::of(&daemon);
    let (address, token) = (&caller.address, caller.token());
    let status = |target: &str, host: &str| {
        let answer = caller.call("GET", target, &[&token, &format!("Host: {host}")], "");
        (answer.status == 403).then(|| assert_eq!(answer.problem(), "foreign_host"));
        answer.status
    };
    let port = address.rsplit(':').next().unwrap();
    let path = "/api/sessions";
    assert_eq!(status(&format!("http://{address}{path}"), "evil.example"), 200);
    assert_eq!(status(&format!("http://localhost{path}"), address), 200);
    for foreign in [
        "evil.example",
        &format!("evil.example:{port}"),
        &format!("{address}@evil.example"),
    ] {
        assert_eq!(status(&format!("http://{foreign}{path}"), address), 403, "{foreign}");
    }
    for host in [
        format!("127.0.0.1:+{port}"),
        format!("[127.0.0.1]:{port}"),
        "127.0.0.1:".into(),
    ] {
        assert_eq!(status(path, &host), 403, "{host}");
    }
}

#[test]
fn a_head_that_does_not_come_holds_up_nobody_and_is_given_up() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__SERVER__HEADERS_TIMEOUT_SECONDS", "1")]);
    let caller = Caller::of(&daemon);
    let slow: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut connection = TcpStream::connect(&caller.address).expect("a connection");
            connection
                .write_all(b"GET /api/sessions HTTP/1.1\r\nHost: 127.")
                .expect("it is taken");
            connection.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            connection
        })
        .collect();
    assert_eq!(caller.call("GET", "/api/sessions", &[&caller.token()], "").status, 200);
    for mut connection in slow {
        let mut answer = Vec::new();
        if let Err(error) = connection.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it is given up");
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
}

#[test]
fn a_body_that_is_too_long_is_refused_on_every_route_that_takes_one() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__LIMITS__BODY_BYTES_MAX", "20000")]);
    let caller = Caller::of(&daemon);
    let token = caller.token();
    let long = format!("{{\"x\": \"{}\"}}", "x".repeat(400_000));
    for (path, methods) in crate::access::routes() {
        for method in methods.into_iter().filter(|method| ["POST", "PUT"].contains(method)) {
            let kind = if path == "/sign-in" {
                "application/x-www-form-urlencoded"
            } else {
                "application/json"
            };
            let kind = format!("Content-Type: {kind}");
            let answer = caller.call(method, &path, &[&token, &kind], &long);
            assert!(
                (400..500).contains(&answer.status) || answer.status == 204,
                "{method} {path}: {}",
                answer.head
            );
        }
    }
    assert_eq!(caller.post("/api/sessions", &long).problem(), "body_too_large");
    assert_eq!(caller.post("/api/tokens", &long).problem(), "body_too_large");
    assert_eq!(caller.post("/mcp", &long).problem(), "body_too_large");
    assert_eq!(daemon.get("/api/sessions").1["sessions"], json!([]));
}
