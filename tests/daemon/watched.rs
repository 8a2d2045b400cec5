//! What somebody who watches the daemon sees: figures for Prometheus, traces for a collector.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::daemon::{TestDaemon, signal};
use crate::support::wait::until;

/// The figure of one line of `/metrics`.
fn figure(daemon: &TestDaemon, name: &str) -> Option<f64> {
    let (status, text) = daemon.get("/metrics");
    assert_eq!(status, 200, "{text}");
    let text = text.as_str().expect("a text that is no JSON").to_owned();
    assert!(text.ends_with("# EOF\n"), "the text is whole");
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.map(|figure| figure.parse().expect("a number"))
}

#[test]
fn figures_follow_what_happens() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say hello ;; usage 100 20 0.5 ;; ask-permission touch it ;; say done");
    let question = daemon.question(&id);
    daemon.wait_for(&id, "awaiting_input");
    until("the question to be seen", || {
        (figure(&daemon, "cc_executor_open_questions")? == 1.0).then_some(())
    });
    assert_eq!(
        figure(&daemon, "cc_executor_sessions{state=\"awaiting_input\"}"),
        Some(1.0)
    );
    let name = question["question_id"].as_str().unwrap();
    daemon.answer(&id, name, &json!({"action": "allow"}));
    daemon.wait_for(&id, "completed");
    until("the end to be counted", || {
        (figure(
            &daemon,
            "cc_executor_sessions_ended_total{outcome=\"completed\",cause=\"\"}",
        )? == 1.0)
            .then_some(())
    });
    for (name, expected) in [
        ("cc_executor_open_questions", 0.0),
        ("cc_executor_sessions{state=\"completed\"}", 1.0),
        ("cc_executor_attempts_ended_total{ending=\"finished\"}", 1.0),
        ("cc_executor_first_token_seconds_count", 1.0),
        ("cc_executor_queue_wait_seconds_count", 1.0),
        ("cc_executor_cost_usd_total", 0.5),
    ] {
        assert_eq!(figure(&daemon, name), Some(expected), "{name}");
    }
    let head = daemon.view(&id)["head"].as_f64();
    assert_eq!(figure(&daemon, "cc_executor_records_total"), head);
    assert!(figure(&daemon, "cc_executor_commit_delay_seconds_count") > Some(1.0));
}

#[test]
fn cost_is_not_counted_again_by_the_next_daemon() {
    let mut daemon = TestDaemon::start();
    let id = daemon.create("usage 100 20 0.5 ;; ask-permission touch it ;; say done");
    let question = daemon.question(&id);
    daemon.kill();
    daemon.launch();
    let name = question["question_id"].as_str().unwrap();
    daemon.answer(&id, name, &json!({"action": "allow"}));
    daemon.wait_for(&id, "completed");
    until("the end to be counted", || {
        figure(
            &daemon,
            "cc_executor_sessions_ended_total{outcome=\"completed\",cause=\"\"}",
        )
    });
    assert_eq!(figure(&daemon, "cc_executor_sessions_created_total"), Some(0.0));
    assert!(figure(&daemon, "cc_executor_cost_usd_total") <= Some(0.5));
}

/// Takes whatever is posted to it, until the test ends.
fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let received = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&received);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || take_posts(connection, &kept));
        }
    });
    (endpoint, received)
}

fn take_posts(connection: TcpStream, kept: &Mutex<Vec<u8>>) -> Option<()> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    let mut writer = connection;
    loop {
        let (mut length, mut line) = (0, String::new());
        while reader.read_line(&mut line).ok()? > 2 {
            let header = line.to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if header.starts_with("post") {
                assert!(header.starts_with("post /v1/traces "), "{header}");
            }
            line.clear();
        }
        if line.is_empty() {
            return None;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        kept.lock().unwrap().extend(body);
        writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}

#[test]
fn a_collector_gets_one_trace_a_session_without_what_was_said() {
    let (endpoint, received) = collector();
    let mut daemon = TestDaemon::start_with(&[("CC_EXECUTOR__TRACES__OTLP_ENDPOINT", &endpoint)]);
    let id = daemon.create("bash echo confidential ;; say confidential");
    daemon.wait_for(&id, "completed");
    assert_eq!(daemon.terminate(), Some(0));
    let body = received.lock().unwrap().clone();
    let has = |what: &[u8]| body.windows(what.len()).any(|window| window == what);
    let trace = uuid::Uuid::parse_str(&id).unwrap();
    assert!(has(trace.as_bytes()), "the trace has the session's id");
    for name in [
        "invoke_agent claude",
        "execute_tool Bash",
        "cc_executor.outcome",
        "cc-executor",
    ] {
        assert!(has(name.as_bytes()), "no {name}");
    }
    assert!(!has(b"confidential"), "spans hold nothing that was said");
}

#[test]
fn a_collector_that_is_not_there_is_in_nobodys_way() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{unused}");
    let mut daemon = TestDaemon::start_with(&[("CC_EXECUTOR__TRACES__OTLP_ENDPOINT", &endpoint)]);
    let id = daemon.create("say hello");
    daemon.wait_for(&id, "completed");
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn a_daemon_that_finds_no_agent_lives_and_is_not_ready() {
    let command = [("CC_EXECUTOR__AGENT__COMMAND", "no-such-agent-of-ours")];
    let daemon = TestDaemon::start_with(&command);
    assert_eq!(daemon.get("/healthz").0, 200);
    let (status, problem) = daemon.get("/readyz");
    assert_eq!(status, 503);
    let told = problem["detail"].as_str().unwrap();
    assert!(told.contains("no-such-agent-of-ours"), "{told}");
}

#[test]
fn every_line_about_a_session_stands_in_a_span_that_names_it() {
    let daemon = TestDaemon::start_with(&[
        ("CC_EXECUTOR__LOG__FORMAT", "json"),
        ("CC_EXECUTOR__LOG__LEVEL", "info"),
    ]);
    let id = daemon.create("ask-permission touch it ;; say done");
    let question = daemon.question(&id);
    signal(daemon.hosts_of(&id)[0], Signal::KILL);
    let told = |message: &str| {
        let log = daemon.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["message"] == message)
    };
    // It is the execution, in its own span, that says this.
    until("the adoption", || told("a new host adopted the agent"));
    daemon.answer(
        &id,
        question["question_id"].as_str().unwrap(),
        &json!({"action": "allow"}),
    );
    daemon.wait_for(&id, "completed");
    for message in [
        "execution starts",
        "a new host adopted the agent",
        "attempt ended",
        "session ended",
    ] {
        let line = until(message, || told(message));
        assert_eq!(
            (&line["span"]["session_id"], &line["span"]["attempt"]),
            (&json!(id), &json!("1")),
            "{line}"
        );
    }
}
