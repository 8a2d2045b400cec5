//! A crowd at the door: who is known gets in.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use serde_json::json;

use crate::access::Caller;
use crate::support::daemon::TestDaemon;
use crate::support::wait::{PATIENCE, until};

/// Few enough places that a test fills them many times over.
const FEW: [(&str, &str); 5] = [
    ("CC_EXECUTOR__SERVER__CONNECTIONS_MAX", "40"),
    ("CC_EXECUTOR__SERVER__STRANGERS_MAX", "20"),
    // Nobody of the crowd is to leave because his time is over.
    ("CC_EXECUTOR__SERVER__STRANGERS_SECONDS", "3600"),
    ("CC_EXECUTOR__SERVER__HEADERS_TIMEOUT_SECONDS", "3600"),
    ("CC_EXECUTOR__SERVER__BODY_TIMEOUT_SECONDS", "3600"),
];

/// Connections that never end by themselves: idle, with half a head, with half a body.
fn crowd(address: &str, count: usize) -> Vec<TcpStream> {
    let slow_body = format!(
        "POST /sign-in HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: 1000\r\n\r\ntoken="
    );
    let beginnings = ["", "GET / HTTP/1.1\r\nHo", &slow_body];
    let knocking = beginnings.iter().cycle().take(count).map(|beginning| {
        let mut connection = TcpStream::connect(address).expect("the kernel takes it");
        // It may be ended already, to make room for those behind it.
        let _ = connection.write_all(beginning.as_bytes());
        connection
    });
    knocking.collect()
}

/// Reads until the daemon closes the connection; what it is closed with does not matter.
fn wait_for_end(connection: &mut TcpStream) -> String {
    connection.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut answer = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        match connection.read(&mut bytes) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&bytes[..length]),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it is ended");
                break;
            }
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// One request over a connection that stays; answers the status.
fn ask(connection: &mut TcpStream, host: &str, path: &str, header: &str) -> Option<u16> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{header}\r\n");
    connection.write_all(request.as_bytes()).ok()?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.parse().ok()?];
    connection.read_exact(&mut body).ok()?;
    head.split(' ').nth(1)?.parse().ok()
}

#[test]
fn who_is_known_gets_in_while_a_crowd_fills_the_port() {
    let daemon = TestDaemon::start_with(&FEW);
    let caller = Caller::of(&daemon);
    let id = daemon.create("silence");
    let crowd_there = crowd(&caller.address, 300);
    // By the port, on new connections, again and again.
    for _ in 0..10 {
        assert_eq!(caller.call("GET", "/api/sessions", &[&caller.token()], "").status, 200);
    }
    // And by the socket, which the crowd does not concern.
    let cancelled = daemon.command(&["cancel", &id]).output().unwrap();
    assert!(
        cancelled.status.success(),
        "{}",
        String::from_utf8_lossy(&cancelled.stderr)
    );
    drop(crowd_there);
    daemon.wait_for(&id, "cancelled");
}

#[test]
fn guests_with_tokens_leave_places_to_the_owner() {
    let daemon = TestDaemon::start_with(&FEW);
    let caller = Caller::of(&daemon);
    let (status, made) = daemon.post("/api/tokens", &json!({"name": "wall", "role": "viewer"}));
    assert_eq!(status, 201, "{made}");
    let viewer = format!("Authorization: Bearer {}\r\n", made["token"].as_str().unwrap());
    let mut crowd = Vec::new();
    let refused = (0..60).find_map(|_| {
        let mut connection = TcpStream::connect(&caller.address).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let status = ask(&mut connection, &caller.address, "/api/info", &viewer);
        crowd.push(connection);
        status.filter(|status| *status != 200)
    });
    assert_eq!((refused, crowd.len()), (Some(503), 31), "three quarters are for guests");
    for _ in 0..3 {
        assert_eq!(caller.call("GET", "/api/sessions", &[&caller.token()], "").status, 200);
    }
    drop(crowd);
}

#[test]
fn agents_have_none_of_the_owners_places_whatever_token_they_have() {
    let daemon = TestDaemon::start_with(&FEW);
    let caller = Caller::of(&daemon);
    let sessions = [true, false].map(|tools| {
        let session = daemon.create_with(json!({"task": "silence", "executor_tools": tools}));
        daemon.wait_for(&session, "running");
        session
    });
    let [served, refused] = sessions.each_ref().map(|session| {
        let mark = daemon.mark(session, 1);
        format!("{}\r\nX-CC-Executor-Parent: {mark}\r\n", caller.token())
    });
    let mut crowd = Vec::new();
    // Who is refused stays a stranger and makes room for others.
    for (agent, expected) in [(&refused, [403, 403]), (&served, [200, 503])] {
        let mut answered = Vec::new();
        for _ in 0..100 {
            let mut connection = TcpStream::connect(&caller.address).unwrap();
            connection.set_read_timeout(Some(PATIENCE)).unwrap();
            answered.push(ask(&mut connection, &caller.address, "/api/info", agent));
            crowd.push(connection);
        }
        let edges = [answered.first(), answered.last()].map(|status| status.copied().flatten());
        assert_eq!(edges, expected.map(Some));
        assert_eq!(caller.call("GET", "/api/sessions", &[&caller.token()], "").status, 200);
    }
    drop(crowd);
    for session in sessions {
        daemon.cancel(&session);
        daemon.wait_for(&session, "cancelled");
    }
}

#[test]
fn idle_connections_to_the_socket_keep_nobody_out_of_it() {
    let daemon = TestDaemon::start_with(&FEW);
    let crowd: Vec<_> = (0..300)
        .map(|_| UnixStream::connect(daemon.socket()).unwrap())
        .collect();
    for _ in 0..3 {
        let done = daemon.command(&["ls"]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    drop(crowd);
}

#[test]
fn a_strangers_time_is_bounded_and_that_of_who_is_known_is_not() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__SERVER__STRANGERS_SECONDS", "1")]);
    let caller = Caller::of(&daemon);
    let token = format!("{}\r\n", caller.token());
    let connect = || {
        let connection = TcpStream::connect(&caller.address).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection
    };
    let mut known = connect();
    assert_eq!(ask(&mut known, &caller.address, "/api/info", &token), Some(200));
    // It asks for what is everybody's, for as long as it is let.
    let mut stranger = connect();
    assert_eq!(ask(&mut stranger, &caller.address, "/healthz", ""), Some(200));
    until("the stranger's end", || {
        (ask(&mut stranger, &caller.address, "/healthz", "") != Some(200)).then_some(())
    });
    let mut crowd = crowd(&caller.address, 6);
    crowd.iter_mut().for_each(|connection| drop(wait_for_end(connection)));
    assert_eq!(ask(&mut known, &caller.address, "/api/info", &token), Some(200));
}

#[test]
fn a_body_that_does_not_come_is_given_up_whoever_sends_it() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__SERVER__BODY_TIMEOUT_SECONDS", "1")]);
    let caller = Caller::of(&daemon);
    for path in [
        "/api/sessions",
        "/api/sessions/0123abcd/resume",
        "/mcp",
        "/sign-in",
        "/api/tokens",
    ] {
        let kind = if path == "/sign-in" {
            "x-www-form-urlencoded"
        } else {
            "json"
        };
        let mut connection = TcpStream::connect(&caller.address).unwrap();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\n{}\r\nContent-Type: application/{kind}\r\nAccept: application/json, \
             text/event-stream\r\nContent-Length: 1000\r\n\r\n{{",
            caller.address,
            caller.token()
        );
        connection.write_all(request.as_bytes()).unwrap();
        let answer = wait_for_end(&mut connection);
        assert!(answer.starts_with("HTTP/1.1 408"), "{path}: {answer}");
        assert!(
            answer.contains("slow_body") && answer.contains("body_timeout_seconds"),
            "{path}: {answer}"
        );
    }
    assert_eq!(daemon.get("/api/sessions").1["sessions"], json!([]));
}
