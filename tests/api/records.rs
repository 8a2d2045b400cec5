//! Records of real sessions are what the description says that records of their kind are.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::schemathesis::python;
use crate::support::daemon::TestDaemon;
use crate::support::wait::until;

/// Kinds that may be missing: they need a machine that sleeps, a conversation that is lost, an agent that takes a question
/// back, something to be told of, or an analysis; or are written by no agent of today.
const RARE: [&str; 6] = [
    "clock.jumped",
    "context.rebuilt",
    "notice",
    "question.withdrawn",
    "task.refined",
    "usage",
];

/// Nearly everything that an agent does.
const BUSY: &str = "think about it ;; say hello ;; bash echo hello ;; write made it ;; stderr a warning ;; garbage ;; \
    unknown ;; question Which? | Red | Blue ;; ask-permission true ;; plan ;; background 50 ;; subagent 50 ;; \
    usage 10 20 0.5 ;; api-retry 1 10 ;; crash once text ;; say done";

/// Runs a session to its end, and answers whatever it asks.
fn run(daemon: &TestDaemon, task: &str) -> String {
    let id = daemon.create(task);
    until("the end", || {
        let view = daemon.view(&id);
        for question in view["questions"].as_array().into_iter().flatten() {
            let name = question["question_id"].as_str().expect("a name");
            let answer = match question["ask"].as_str() {
                Some("choice") => json!({"action": "choose", "answers": {"Which?": "Blue"}}),
                _ => json!({"action": "allow"}),
            };
            daemon.answer(&id, name, &answer);
        }
        view["ended_at"].is_string().then_some(())
    });
    id
}

/// Sessions of all sorts.
fn sessions(daemon: &TestDaemon) -> Vec<String> {
    let busy = run(daemon, BUSY);
    let short = run(daemon, "max-turns");
    let (status, _) = daemon.post(
        &format!("/api/sessions/{short}/resume"),
        &json!({"instruction": "say on"}),
    );
    assert!([200, 202].contains(&status));
    daemon.wait_for(&short, "completed");
    let asking = daemon.create("ask-permission true");
    daemon.question(&asking);
    daemon.cancel(&asking);
    daemon.wait_for(&asking, "cancelled");
    let (status, fork) = daemon.post(
        &format!("/api/sessions/{busy}/fork"),
        &json!({"instruction": "say forked"}),
    );
    assert_eq!(status, 201, "{fork}");
    let fork = fork["session_id"].as_str().expect("an id").to_owned();
    daemon.wait_for(&fork, "completed");
    vec![
        busy,
        short,
        asking,
        fork,
        run(daemon, "refuse"),
        run(daemon, "usage-limit 1 ;; say on"),
        run(daemon, "background 10000000 ;; say done"),
    ]
}

#[test]
fn records_of_every_kind_are_as_they_are_described() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__SUPERVISION__BACKGROUND_GRACE_SECONDS", "1")]);
    let records: Vec<Value> = sessions(&daemon).iter().flat_map(|id| daemon.records(id)).collect();
    let seen: BTreeSet<_> = records
        .iter()
        .map(|record| record["kind"].as_str().expect("a kind"))
        .collect();
    let (_, description) = daemon.get("/api/openapi.json");
    let kinds = &description["components"]["schemas"]["Record"]["allOf"][0]["properties"]["kind"]["enum"];
    let kinds = kinds
        .as_array()
        .expect("kinds")
        .iter()
        .map(|kind| kind.as_str().expect("a kind"));
    let unseen: Vec<_> = kinds
        .filter(|kind| !seen.contains(kind) && !RARE.contains(kind))
        .collect();
    assert!(unseen.is_empty(), "not there to be looked at: {unseen:?}");
    let complaints = validate(&daemon, &description, &records);
    assert!(complaints.is_empty(), "{complaints}");
}

/// What somebody else's validator has against the records.
fn validate(daemon: &TestDaemon, description: &Value, records: &[Value]) -> String {
    let path = daemon.root().join("openapi.json");
    std::fs::write(&path, description.to_string()).expect("a file");
    let mut command = daemon.command_of(&python());
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/validate.py"))
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut input = child.stdin.take().expect("its input");
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    let writing = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writing.join().expect("no panic").expect("all of it is read");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
