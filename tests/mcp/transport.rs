//! What carries the messages: sessions, streams that are resumed, clients that leave, callers that may not.

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::client::{Client, SESSIONS, STATELESS, messages};
use crate::support::daemon::TestDaemon;
use crate::support::previous::ENDS;
use crate::support::wait::{PATIENCE, until};

pub(crate) fn session_of(message: &Value) -> String {
    message["params"]["message"]
        .as_str()
        .expect("a message")
        .trim_start_matches("session_id ")
        .to_owned()
}

/// Sends a request by hand and answers the connection with nothing of the answer read.
pub(crate) fn send_by_hand(daemon: &TestDaemon, client: &Client, method: &str, params: Value) -> TcpStream {
    let address = daemon.base_url().expect("an address");
    let address = address.trim_start_matches("http://").to_owned();
    let connection = TcpStream::connect(&address).expect("it listens");
    send_on(connection, daemon, client, method, params)
}

/// The same on a connection whose end here takes only a few bytes that nobody has read.
pub(crate) fn send_narrowly(daemon: &TestDaemon, client: &Client, method: &str, params: Value) -> TcpStream {
    let address = daemon.base_url().expect("an address");
    let address: std::net::SocketAddr = address.trim_start_matches("http://").parse().expect("an address");
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    // It has to be known before it connects.
    socket.set_recv_buffer_size(4096).expect("a size");
    socket.connect(&address.into()).expect("it listens");
    send_on(socket.into(), daemon, client, method, params)
}

fn send_on(mut connection: TcpStream, daemon: &TestDaemon, client: &Client, method: &str, params: Value) -> TcpStream {
    let (_, message) = client.message(method, params);
    let address = connection.peer_addr().expect("it is connected");
    connection.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let body = message.to_string();
    let name = message["params"]["name"].as_str().unwrap_or_default();
    let session = client
        .session
        .as_deref()
        .map(|id| format!("Mcp-Session-Id: {id}\r\n"))
        .unwrap_or_default();
    let revision = if client.session.is_some() { SESSIONS } else { STATELESS };
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nAccept: application/json, text/event-stream\r\n\
         Content-Type: application/json\r\nMCP-Protocol-Version: {revision}\r\nMcp-Method: {method}\r\nMcp-Name: {name}\r\n\
         {session}Content-Length: {}\r\n\r\n{body}",
        daemon.token(),
        body.len()
    );
    connection.write_all(head.as_bytes()).expect("it reads");
    connection
}

#[test]
fn a_stream_is_read_on_after_the_daemon_was_killed() {
    read_on_after(TestDaemon::start(), |daemon| {
        daemon.kill();
        daemon.launch();
    });
}

#[test]
fn a_stream_is_read_on_after_the_daemon_was_stopped() {
    read_on_after(TestDaemon::start(), |daemon| {
        assert_eq!(daemon.terminate(), Some(0));
        daemon.launch();
    });
}

#[test]
fn a_stream_that_a_daemon_of_the_version_before_began_is_read_on_at_one_of_this_version() {
    for end in ENDS {
        read_on_after(TestDaemon::previous(), |daemon| daemon.upgrade(end));
    }
}

fn read_on_after(mut daemon: TestDaemon, replace: impl FnOnce(&mut TestDaemon)) {
    let mut client = Client::connect(&daemon, SESSIONS);
    let go = daemon.root().join("go");
    let task = format!("say first ;; wait-file {} ;; say last", go.display());
    let mut stream = client.call_and_watch("execute_resumable", json!({"task": task, "cwd": daemon.work()}));
    let mut last = None;
    loop {
        let event = stream.event().expect("the stream goes on");
        last = event.id.or(last);
        if event
            .message
            .is_some_and(|message| message.to_string().contains("first"))
        {
            break;
        }
    }
    replace(&mut daemon);
    std::fs::write(&go, "").expect("a file");
    client.find_again(&daemon);
    let resumed: Vec<Value> = client.listen(last.as_deref()).collect();
    let answer = resumed.last().expect("the answer");
    let structured = &answer["result"]["structuredContent"];
    assert_eq!(
        (&structured["outcome"], &structured["result"]),
        (&json!("completed"), &json!("last")),
        "{answer:#}"
    );
    let again: Vec<Value> = client.listen(last.as_deref()).collect();
    assert_eq!(again.last(), Some(answer), "the answer is kept");
    assert_eq!(
        client.call("list_executions", json!({}))["isError"],
        json!(false),
        "the session is known again"
    );
}

#[test]
fn a_stream_that_broke_is_read_on_without_gap_or_double() {
    let daemon = TestDaemon::start();
    let client = Client::connect(&daemon, SESSIONS);
    let go = daemon.root().join("go");
    let task = format!("say first ;; wait-file {} ;; say last", go.display());
    let mut stream = client.call_and_watch("execute_resumable", json!({"task": task, "cwd": daemon.work()}));
    let event = std::iter::from_fn(|| stream.event())
        .find(|event| event.message.is_some())
        .unwrap();
    drop(stream);
    std::fs::write(&go, "").unwrap();
    let rest: Vec<Value> = client.listen(event.id.as_deref()).collect();
    let steps: Vec<f64> = rest
        .iter()
        .filter_map(|message| message["params"]["progress"].as_f64())
        .collect();
    let first = event.message.unwrap()["params"]["progress"].as_f64().unwrap();
    assert!(
        steps.iter().all(|step| *step > first) && steps.windows(2).all(|pair| pair[0] < pair[1]),
        "{steps:?}"
    );
    assert_eq!(
        rest.last().unwrap()["result"]["structuredContent"]["outcome"],
        "completed"
    );
}

#[test]
fn a_client_that_leaves_detaches_from_its_session_or_cancels_it_as_it_said() {
    let daemon = TestDaemon::start();
    let client = Client::connect(&daemon, STATELESS);
    for (cancel, end) in [(true, "cancelled"), (false, "completed")] {
        let go = daemon.root().join(format!("go-{cancel}"));
        let task = format!("say first ;; wait-file {} ;; say last", go.display());
        let arguments = json!({"task": task, "cwd": daemon.work(), "cancel_on_disconnect": cancel});
        // Without a progress token nothing is sent before the result: the client leaves before the first byte.
        let call = json!({"name": "execute_with_streaming", "arguments": arguments});
        let connection = send_by_hand(&daemon, &client, "tools/call", call);
        let id = until("the session", || {
            let sessions = daemon.get("/api/sessions").1["sessions"].clone();
            let found = sessions
                .as_array()?
                .iter()
                .find(|view| view["state"] == "running")?
                .clone();
            Some(found["session_id"].as_str()?.to_owned())
        });
        drop(connection);
        if !cancel {
            std::fs::write(&go, "").unwrap();
        }
        daemon.wait_for(&id, end);
    }
}

#[test]
fn sessions_that_were_abandoned_are_put_to_rest_and_wake_again() {
    let daemon = TestDaemon::start();
    let first = Client::connect(&daemon, SESSIONS);
    for _ in 0..200 {
        Client::connect(&daemon, SESSIONS);
    }
    assert!(
        first.request("tools/list", json!({}))["tools"].is_array(),
        "the first is known still"
    );
    assert_eq!(first.delete(), 202);
    let (_, message) = first.message("tools/list", json!({}));
    assert_eq!(first.post(&message).status(), 404, "it has ended");
}

#[test]
fn who_may_not_call_is_refused_before_anything_is_read() {
    let daemon = TestDaemon::start();
    let url = format!("{}/mcp", daemon.base_url().unwrap());
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let post = |headers: &[(&str, &str)], body: String| {
        let mut request = agent.post(&url).header("Accept", "application/json, text/event-stream");
        request = request.header("Content-Type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send(body).unwrap().status().as_u16()
    };
    let bearer = format!("Bearer {}", daemon.token());
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": SESSIONS,
        "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    assert_eq!(post(&[], hello.to_string()), 401);
    assert_eq!(
        post(
            &[("Authorization", &bearer), ("Origin", "http://evil.example")],
            hello.to_string()
        ),
        403
    );
    assert_eq!(
        post(
            &[("Authorization", &bearer), ("Host", "evil.example")],
            hello.to_string()
        ),
        403
    );
    assert_eq!(post(&[("Authorization", &bearer)], hello.to_string()), 200);
    let long = format!("{{\"jsonrpc\":\"2.0\",\"x\":\"{}\"}}", "x".repeat(32 * 1024 * 1024));
    assert_eq!(post(&[("Authorization", &bearer)], long), 413);
    assert_eq!(post(&[("Authorization", &bearer)], "{".to_owned()), 400);
}

#[test]
fn a_daemon_stops_though_streams_are_open() {
    let mut daemon = TestDaemon::start();
    let client = Client::connect(&daemon, SESSIONS);
    let standing = client.listen(None);
    let mut call = client.call_and_watch(
        "execute_resumable",
        json!({"task": "bash sleep 1000", "cwd": daemon.work()}),
    );
    let id = session_of(&call.wait_for("notifications/progress"));
    daemon.wait_for(&id, "running");
    assert_eq!(daemon.terminate(), Some(0));
    // What it was told before of new sessions is no part of the stop.
    let rest: Vec<Value> = standing.collect();
    assert!(
        rest.iter()
            .all(|message| message["method"] == "notifications/resources/list_changed"),
        "{rest:?}"
    );
    assert!(
        call.all(|message| message.get("method").is_some()),
        "no answer was made up"
    );
    daemon.launch();
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
}

#[test]
fn a_name_that_tasks_lack_is_taken_from_the_body() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say hello");
    daemon.wait_for(&id, "completed");
    let tasks = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    let client = Client::connect_with(&daemon, STATELESS, tasks);
    let (_, message) = client.message("tasks/get", json!({"taskId": id}));
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let answer = agent
        .post(format!("{}/mcp", daemon.base_url().unwrap()))
        .header("Authorization", format!("Bearer {}", daemon.token()))
        .header("Accept", "application/json, text/event-stream")
        .header("Content-Type", "application/json")
        .header("MCP-Protocol-Version", STATELESS)
        .header("Mcp-Method", "tasks/get")
        .send(message.to_string())
        .unwrap();
    assert_eq!(messages(answer).result()["status"], "completed");
}

#[test]
fn what_is_logged_about_a_call_is_told_on_its_own_stream() {
    let daemon = TestDaemon::start();
    let client = Client::connect(&daemon, SESSIONS);
    client.request("logging/setLevel", json!({"level": "debug"}));
    // Nothing but the call's own stream is open, and it does not ask for progress.
    let call = json!({"name": "execute_with_streaming", "arguments": {"task": "say hello", "cwd": daemon.work()}});
    let mut stream = client.send("tools/call", call);
    let first = std::iter::from_fn(|| stream.event())
        .find(|event| event.message.is_some())
        .expect("the stream begins");
    let rest: Vec<Value> = stream.by_ref().collect();
    let told = |rest: &[Value]| {
        let logs = rest
            .iter()
            .filter(|message| message["method"] == "notifications/message");
        logs.map(|log| log["params"].clone()).collect::<Vec<_>>()
    };
    let answered = rest.last().expect("an answer");
    assert_eq!(
        answered["result"]["structuredContent"]["outcome"], "completed",
        "{answered:#}"
    );
    let logs = told(&rest);
    assert!(
        logs.iter().any(|log| log["data"]["data"]["to"] == "completed"),
        "{logs:#?}"
    );
    assert!(
        !rest
            .iter()
            .any(|message| message["method"] == "notifications/cancelled")
    );
    // Who lost the connection is told the same.
    let again: Vec<Value> = client.listen(first.id.as_deref()).collect();
    assert_eq!(told(&again), logs);
}

#[test]
fn a_light_call_writes_nothing() {
    let daemon = TestDaemon::start();
    let client = Client::connect(&daemon, SESSIONS);
    let kept = || {
        let mut files = Vec::new();
        let mut folders = vec![daemon.state().join("mcp")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
                match entry.file_type().expect("a type").is_dir() {
                    true => folders.push(entry.path()),
                    false => files.push((entry.path(), entry.metadata().expect("a file").modified().ok())),
                }
            }
        }
        files
    };
    client.call("list_executions", json!({}));
    let before = kept();
    for _ in 0..10 {
        let mut answer = client.send("tools/call", json!({"name": "list_executions", "arguments": {}}));
        let answer = answer.event().expect("an answer");
        assert_eq!(answer.id, None, "nothing of it can be read on");
        client.request("tools/list", json!({}));
    }
    assert_eq!(kept(), before);
}
