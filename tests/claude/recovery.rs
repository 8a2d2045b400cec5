//! Messages to an agent that dies: none is lost, and none is given twice.

use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::main_job::{transcript, with_claude, with_claude_and};
use crate::support::daemon::{TestDaemon, signal};
use crate::support::messages_api::MessagesApi;
use crate::support::wait::{shell_until_exists, until};

/// The beginning of what a person adds.
const ADDED: &str = "and mind the tests";

/// A tool call that says that it runs, and does so until there is a file at its gate.
pub(crate) fn tool(root: &Path, name: &str) -> String {
    let wait = shell_until_exists(&root.join(format!("{name}.gate")));
    format!("bash touch {}; {wait}", root.join(name).display())
}

fn wait_for_tool(daemon: &TestDaemon, name: &str) {
    until(name, || daemon.root().join(name).exists().then_some(()));
}

pub(crate) fn kill_agent(daemon: &TestDaemon, id: &str, attempt: u32) {
    signal(daemon.agent_pid(id, attempt), Signal::KILL);
    assert_eq!(daemon.wait_for(id, "failed")["cause"], "crashed");
}

pub(crate) fn resume(daemon: &TestDaemon, id: &str, body: &Value) {
    let (status, view) = daemon.post(&format!("/api/sessions/{id}/resume"), body);
    assert_eq!(status, 202, "{view}");
}

/// The last state of the message that was added, and the attempt that says so.
fn state_of_added(daemon: &TestDaemon, id: &str) -> (Value, Value) {
    let inputs = daemon.records_of(id, "input");
    let added = inputs
        .iter()
        .find(|input| {
            input["data"]["text"]
                .as_str()
                .is_some_and(|text| text.starts_with(ADDED))
        })
        .expect("there is one");
    let last = inputs
        .iter()
        .rfind(|input| input["data"]["uuid"] == added["data"]["uuid"])
        .expect("there is one");
    (last["data"]["state"].clone(), last["attempt"].clone())
}

#[test]
fn an_instruction_whose_turn_was_cut_is_not_sent_again() {
    let api = MessagesApi::start();
    let daemon = with_claude_and(&api, &[("CC_EXECUTOR__SUPERVISION__RESTARTS_MAX", "0")]);
    let root = daemon.root();
    let task = format!("FAKE: {} ;; say never", tool(root, "one"));
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"]}));
    wait_for_call(&daemon, &id, "one");
    kill_agent(&daemon, &id, 1);
    let steps = ["two", "three"].map(|name| tool(root, name)).join(" ;; ");
    let instruction = format!("{ADDED}\nFAKE: {steps} ;; say the end");
    resume(&daemon, &id, &json!({"instruction": instruction}));
    wait_for_call(&daemon, &id, "two");
    kill_agent(&daemon, &id, 2);
    // A call that the transcript did not have yet is made once more.
    for name in ["two", "three"] {
        std::fs::write(root.join(format!("{name}.gate")), "").unwrap();
    }
    resume(&daemon, &id, &json!({}));
    let view = daemon.wait_for(&id, "completed");
    assert_eq!((&view["attempt"], &view["result"]), (&json!(3), &json!("the end")));
    let told = api.model_requests().last().unwrap()["messages"].to_string();
    assert_eq!(told.matches(ADDED).count(), 1, "{told}");
    assert_eq!(state_of_added(&daemon, &id), (json!("completed"), json!(3)));
    assert_eq!(texts_of_inputs(&daemon, &id), [1, 1], "the task and the instruction");
}

/// Waits until the CLI has written down the call of this tool.
pub(crate) fn wait_for_call(daemon: &TestDaemon, id: &str, name: &str) {
    wait_for_tool(daemon, name);
    wait_for_transcript(daemon, id, &format!("touch {};", daemon.root().join(name).display()));
}

/// Waits until the transcript has a tool call with this text. The CLI writes it a moment after the call has begun.
pub(crate) fn wait_for_transcript(daemon: &TestDaemon, id: &str, call: &str) {
    until("the call in the transcript", || {
        let text = std::fs::read_to_string(transcript(daemon, id)?).ok()?;
        let mut lines = text.lines();
        lines
            .any(|line| line.contains("\"tool_use\"") && line.contains(call))
            .then_some(())
    });
}

#[test]
fn an_agent_that_is_interrupted_from_outside_is_started_again_and_goes_on() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let task = format!("FAKE: {} ;; say the end", tool(daemon.root(), "one"));
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"]}));
    wait_for_call(&daemon, &id, "one");
    signal(daemon.agent_pid(&id, 1), Signal::INT);
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(view["attempt"], 2, "{view}");
    let ends = daemon.records_of(&id, "attempt.ended");
    assert_eq!(ends[0]["data"]["ending"], "crashed", "{ends:?}");
    let told = api.model_requests().last().unwrap()["messages"].to_string();
    assert!(told.contains("Continue from where you left off"), "{told}");
}

/// How often each message to an agent has its text in the journal.
fn texts_of_inputs(daemon: &TestDaemon, id: &str) -> Vec<usize> {
    let inputs = daemon.records_of(id, "input");
    let with_text = inputs.iter().filter(|input| input["data"]["text"].is_string());
    let mut counts = std::collections::BTreeMap::new();
    with_text.for_each(|input| *counts.entry(input["data"]["uuid"].to_string()).or_default() += 1);
    counts.into_values().collect()
}

#[test]
fn a_turn_that_is_cut_twice_is_one_turn_to_the_model() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let root = daemon.root();
    let steps = ["one", "two", "three"].map(|name| tool(root, name)).join(" ;; ");
    let task = format!("FAKE: {steps} ;; say the end");
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"]}));
    for (attempt, name) in [(1, "one"), (2, "two")] {
        wait_for_call(&daemon, &id, name);
        signal(daemon.agent_pid(&id, attempt), Signal::KILL);
    }
    std::fs::write(root.join("three.gate"), "").unwrap();
    let view = daemon.wait_for(&id, "completed");
    assert_eq!((&view["attempt"], &view["result"]), (&json!(3), &json!("the end")));
    assert_eq!(
        view["turns"],
        1 + 1 + 2,
        "those of the killed agents are counted, each once"
    );
    assert_eq!(texts_of_inputs(&daemon, &id), [1], "one message, shown once");
    let told = api.model_requests().last().unwrap()["messages"].to_string();
    assert_eq!(told.matches(&steps).count(), 1, "{told}");
    assert_eq!(told.matches("Tool call interrupted").count(), 2, "{told}");
    let of_ours = ["The last run of this task was interrupted", "sent a new message while"];
    assert!(!of_ours.iter().any(|text| told.contains(text)), "{told}");
}

#[test]
fn a_cli_that_is_killed_before_it_wrote_anything_down_starts_again_under_its_id() {
    let api = MessagesApi::start();
    let daemon = with_claude_and(&api, &[("CC_EXECUTOR__SUPERVISION__RESTARTS_MAX", "0")]);
    let root = daemon.root();
    let task = format!("FAKE: {} ;; say the end", tool(root, "one"));
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"]}));
    wait_for_tool(&daemon, "one");
    kill_agent(&daemon, &id, 1);
    // How soon it is killed is chance; what else it leaves behind at home is its own.
    if let Some(transcript) = transcript(&daemon, &id) {
        std::fs::remove_file(transcript).unwrap();
    }
    std::fs::write(root.join("one.gate"), "").unwrap();
    resume(&daemon, &id, &json!({}));
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(
        (&view["attempt"], &view["agent_session_id"], &view["result"]),
        (&json!(2), &json!(id), &json!("the end"))
    );
    assert!(daemon.records_of(&id, "context.rebuilt").is_empty());
    let told = api.model_requests().last().unwrap()["messages"].to_string();
    assert_eq!(
        told.matches("An earlier run of this task ended uncleanly").count(),
        1,
        "{told}"
    );
    assert!(told.contains("may or may not have taken effect"), "{told}");
}
