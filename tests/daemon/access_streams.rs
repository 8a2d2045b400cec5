//! A stream is read for as long as its reader may read: no longer than his token, or than his browser is signed in.

use std::io::Read;
use std::net::TcpStream;

use serde_json::json;

use crate::access::Caller;
use crate::access_roles::{Browser, token};
use crate::support::daemon::TestDaemon;
use crate::support::wait::PATIENCE;

/// The streams of one running session: its own, that of all, and what the server says by itself over MCP.
fn open_all(
    daemon: &TestDaemon,
    session: &str,
    headers: &[&str],
    with_mcp: bool,
) -> Vec<(String, Vec<String>, TcpStream)> {
    let caller = Caller::of(daemon);
    let mut opened = Vec::new();
    let mut open = |path: &str, headers: &[&str]| {
        let (answer, connection) = caller.open("GET", path, headers);
        assert_eq!(answer.status, 200, "{path}: {}", answer.head);
        connection.set_read_timeout(Some(PATIENCE)).expect("a patience");
        let headers = headers.iter().map(|line| (*line).to_owned()).collect();
        opened.push((path.to_owned(), headers, connection));
    };
    open(&format!("/execution/{session}/stream"), headers);
    open("/events", headers);
    if with_mcp {
        let id = format!("Mcp-Session-Id: {}", introduced(&caller, headers[0]));
        open("/mcp", &[headers[0], "Accept: text/event-stream", &id]);
    }
    opened
}

/// The id of a new session of MCP.
fn introduced(caller: &Caller<'_>, header: &str) -> String {
    let message = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}});
    let accept = "Accept: application/json, text/event-stream";
    let headers = [header, accept, "Content-Type: application/json"];
    let answer = caller.call("POST", "/mcp", &headers, &message.to_string());
    assert_eq!(answer.status, 200, "{}", answer.head);
    answer.header("mcp-session-id").expect("an id").to_owned()
}

/// Reads every stream to its proper end, and finds that it is not opened again.
fn are_cut(daemon: &TestDaemon, opened: Vec<(String, Vec<String>, TcpStream)>) {
    for (path, headers, mut connection) in opened {
        let mut rest = Vec::new();
        let outcome = connection.read_to_end(&mut rest);
        assert!(outcome.is_ok(), "{path} is still open: {outcome:?}");
        assert!(rest.ends_with(b"0\r\n\r\n"), "{path} ends as an answer does");
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        let again = Caller::of(daemon).call("GET", &path, &headers, "");
        assert_eq!((again.status, again.problem()), (401, "unauthorized"), "{path}");
    }
}

/// A daemon with a session at work.
fn at_work() -> (TestDaemon, String) {
    let daemon = TestDaemon::start();
    let id = daemon.create("silence");
    daemon.wait_for(&id, "running");
    (daemon, id)
}

fn end(daemon: &TestDaemon, id: &str) {
    daemon.cancel(id);
    daemon.wait_for(id, "cancelled");
}

#[test]
fn streams_are_cut_when_their_token_is_revoked() {
    let (daemon, id) = at_work();
    let ci = token(&daemon, "ci", "operator");
    let other = token(&daemon, "other", "operator");
    let opened = open_all(&daemon, &id, &[&ci], true);
    let mut kept = open_all(&daemon, &id, &[&other], true);
    let owner = format!("Authorization: Bearer {}", daemon.token());
    let revoked = Caller::of(&daemon).call("DELETE", "/api/tokens/ci", &[&owner], "");
    assert_eq!(revoked.status, 204);
    are_cut(&daemon, opened);
    // Those of another token are still there, and hear of what comes.
    end(&daemon, &id);
    let (_, _, mut events) = kept.swap_remove(1);
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("event: session.ended") {
        let mut part = [0; 4096];
        let read = events.read(&mut part).expect("it is open");
        assert!(read > 0, "it is open");
        heard.extend_from_slice(&part[..read]);
    }
}

#[test]
fn streams_are_cut_when_their_token_expires() {
    let (daemon, id) = at_work();
    let brief = json!({"name": "brief", "role": "operator", "expires_in_seconds": 3});
    let (_, made) = daemon.post("/api/tokens", &brief);
    let brief = format!("Authorization: Bearer {}", made["token"].as_str().expect("a token"));
    let opened = open_all(&daemon, &id, &[&brief], true);
    are_cut(&daemon, opened);
    end(&daemon, &id);
}

#[test]
fn streams_of_a_page_are_cut_when_its_browser_is_signed_out() {
    let (daemon, id) = at_work();
    let browser = Browser::sign_in(&daemon);
    let opened = open_all(&daemon, &id, &[&browser.host, &browser.cookie], false);
    let out = browser.call(&daemon, "POST", "/sign-out", "");
    assert_eq!(out.status, 204, "{}", out.head);
    are_cut(&daemon, opened);
    end(&daemon, &id);
}
