//! Clients that are too slow, too many, too loud or too quiet: the daemon's memory stays bounded, others are served, and
//! no work is lost.

use std::io::Read;

use serde_json::{Value, json};

use crate::client::{Client, Messages, SESSIONS, STATELESS, messages};
use crate::support::daemon::TestDaemon;
use crate::support::wait::until;
use crate::transport::{send_narrowly, session_of};

/// What the daemon's memory may grow by, in bytes: twice what it does, and less than it would if it kept what is written.
const GROWTH_MAX: u64 = 64 * 1024 * 1024;

/// As many notifications as there can be.
const EAGER: (&str, &str) = ("CC_EXECUTOR__MCP__PROGRESS_PER_SECOND_MAX", "1000000");

/// How many files the daemon has open.
fn open_files(daemon: &TestDaemon) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", daemon.pid()))
        .expect("it runs")
        .count()
}

fn assert_bounded(daemon: &TestDaemon, before: u64, growth_max: u64) {
    let after = daemon.memory();
    assert!(
        after < before + growth_max,
        "from {} to {} MiB",
        before >> 20,
        after >> 20
    );
}

#[test]
fn a_flood_at_a_client_that_stops_reading_holds_up_nobody_and_is_read_on_afterwards() {
    let daemon = TestDaemon::start_with(&[EAGER]);
    let client = Client::connect(&daemon, SESSIONS);
    let before = daemon.memory();
    let arguments = json!({"task": "flood 60000 1000 ;; slow 1 ;; flood 12000 2000 ;; say last", "cwd": daemon.work()});
    let call = json!({"name": "execute_with_streaming", "arguments": arguments, "_meta": {"progressToken": "p"}});
    // The second flood is told line by line: more than the kernel takes for a client that reads nothing.
    let mut stream = Messages::by_hand(send_narrowly(&daemon, &client, "tools/call", call));
    let first = std::iter::from_fn(|| stream.event()).find(|event| event.message.is_some());
    let first = first.expect("the stream begins");
    let id = session_of(first.message.as_ref().expect("a message"));
    // From here on nothing is read. Not even the same MCP session waits for it.
    for other in [
        &client,
        &Client::connect(&daemon, SESSIONS),
        &Client::connect(&daemon, STATELESS),
    ] {
        assert!(other.call("list_executions", json!({})).to_string().contains(&id));
    }
    assert_eq!(daemon.wait_for(&id, "completed")["result"], "last");
    assert!(
        client
            .call("get_execution", json!({"session_id": id}))
            .to_string()
            .contains("completed")
    );
    assert_bounded(&daemon, before, GROWTH_MAX);
    drop(stream);
    let rest: Vec<Value> = client.listen(first.id.as_deref()).collect();
    let answer = rest.last().expect("the answer");
    assert_eq!(answer["result"]["structuredContent"]["result"], "last", "{answer:#}");
    let steps: Vec<f64> = rest
        .iter()
        .filter_map(|message| message["params"]["progress"].as_f64())
        .collect();
    assert!(steps.windows(2).all(|pair| pair[0] < pair[1]), "{steps:?}");
    assert_bounded(&daemon, before, GROWTH_MAX);
}

#[test]
fn a_flood_at_a_client_without_a_session_that_stops_reading_is_bounded_too() {
    let daemon = TestDaemon::start_with(&[EAGER]);
    let client = Client::connect(&daemon, STATELESS);
    let before = daemon.memory();
    let call = json!({"name": "execute_with_streaming", "_meta": {"progressToken": "p"},
        "arguments": {"task": "flood 60000 1000", "cwd": daemon.work()}});
    let mut connection = send_narrowly(&daemon, &client, "tools/call", call);
    let id = until("the session", || {
        let sessions = client.call("list_executions", json!({}))["structuredContent"]["sessions"].clone();
        Some(sessions[0]["session_id"].as_str()?.to_owned())
    });
    daemon.wait_for(&id, "completed");
    assert_bounded(&daemon, before, GROWTH_MAX);
    let mut answer = Vec::new();
    let mut buffer = [0; 65536];
    while !String::from_utf8_lossy(&answer).contains("structuredContent") {
        let read = connection.read(&mut buffer).expect("the answer comes");
        assert!(read > 0, "the stream ended without an answer");
        answer.extend_from_slice(&buffer[..read]);
    }
}

#[test]
fn five_hundred_abandoned_sessions_cost_little_and_end_no_call_that_runs() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__MCP__SESSIONS_AWAKE_MAX", "16")]);
    let busy = Client::connect(&daemon, SESSIONS);
    let go = daemon.root().join("go");
    let task = format!("say first ;; wait-file {} ;; say last", go.display());
    let mut call = busy.call_and_watch("execute_resumable", json!({"task": task, "cwd": daemon.work()}));
    let id = session_of(&call.wait_for("notifications/progress"));
    daemon.wait_for(&id, "running");
    let idle = Client::connect(&daemon, SESSIONS);
    let (before, files) = (daemon.memory(), open_files(&daemon));
    let mut others = Vec::new();
    for n in 0..500 {
        let abandoned = Client::connect(&daemon, SESSIONS);
        drop(abandoned.listen(None));
        if n % 25 == 0 {
            // Its standing stream tells something, and is abandoned as well.
            let sessions = json!({"uri": "resource://cc-executor/sessions"});
            abandoned.request("resources/subscribe", sessions);
            let mut standing = abandoned.listen(None);
            others.push(daemon.create("say hello"));
            standing.wait_for("notifications/resources/updated");
        }
    }
    for other in others {
        daemon.wait_for(&other, "completed");
    }
    assert_bounded(&daemon, before, GROWTH_MAX);
    until("the abandoned to be put to rest", || {
        // Each new session puts the oldest to rest.
        Client::connect(&daemon, SESSIONS);
        (open_files(&daemon) < files + 10).then_some(())
    });
    assert!(idle.request("tools/list", json!({}))["tools"].is_array(), "it is woken");
    std::fs::write(&go, "").expect("a file");
    assert_eq!(
        call.result()["structuredContent"]["result"],
        "last",
        "its call was left alone"
    );
}

#[test]
fn calls_that_are_cancelled_leave_nothing_open() {
    let daemon = TestDaemon::start();
    let client = Client::connect(&daemon, SESSIONS);
    let go = daemon.root().join("go");
    let task = format!("wait-file {} ;; say last", go.display());
    let mut first = client.call_and_watch("execute_with_streaming", json!({"task": task, "cwd": daemon.work()}));
    let id = session_of(&first.wait_for("notifications/progress"));
    let files = open_files(&daemon);
    for _ in 0..50 {
        let wait = json!({"session_id": id, "wait_seconds": 60});
        let params = json!({"name": "get_execution", "arguments": wait, "_meta": {"progressToken": "w"}});
        let (request, message) = client.message("tools/call", params);
        let mut waiting = messages(client.post(&message));
        waiting.wait_for("notifications/progress");
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request}});
        assert_eq!(client.post(&cancel).status(), 202);
        assert!(
            waiting.all(|message| message.get("result").is_none()),
            "it has no answer"
        );
    }
    until("the files to be closed", || {
        (open_files(&daemon) < files + 25).then_some(())
    });
    std::fs::write(&go, "").expect("a file");
    assert_eq!(first.result()["structuredContent"]["result"], "last");
}

#[test]
fn a_call_that_is_silent_shows_that_it_lives() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__MCP__PROGRESS_SILENCE_SECONDS", "1")]);
    for revision in [SESSIONS, STATELESS] {
        let client = Client::connect(&daemon, revision);
        let go = daemon.root().join(revision);
        let task = format!("say first ;; wait-file {} ;; say last", go.display());
        let mut call = client.call_and_watch("execute_with_streaming", json!({"task": task, "cwd": daemon.work()}));
        call.find(|message| message.to_string().contains("first"))
            .expect("the first words");
        // Nothing happens now, and it is told again and again.
        let mut last = 0.0;
        for _ in 0..2 {
            let told = call.wait_for("notifications/progress");
            let step = told["params"]["progress"].as_f64().expect("a number");
            assert!(step > last, "{told}");
            last = step;
        }
        std::fs::write(&go, "").expect("a file");
        assert_eq!(call.result()["structuredContent"]["result"], "last");
    }
}
