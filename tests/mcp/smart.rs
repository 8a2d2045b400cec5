//! `smart_execution`: a task is clarified with the caller's person before it is run.

use serde_json::{Value, json};

use crate::client::{Client, SESSIONS, STATELESS};
use crate::support::daemon::{BINARY, TestDaemon};

const VERDICT: &str = r#"{"ambiguous": true, "questions": [{"question": "Which colour?", "options": [{"label": "Red"}, {"label": "Blue"}]}]}"#;

/// A daemon whose agent gives this verdict first, and then says that it is done.
fn with_verdict(verdict: &str) -> TestDaemon {
    let mut daemon = TestDaemon::stopped(&[]);
    let script = daemon.root().join("script");
    std::fs::write(&script, format!("say {verdict}\n---\nsay done")).expect("the script is written");
    let command = json!([BINARY, "simulate", "--script", script]);
    daemon.set("CC_EXECUTOR__AGENT__COMMAND", &command.to_string());
    daemon.launch();
    daemon
}

fn task(daemon: &TestDaemon) -> Value {
    json!({"task": "paint it", "cwd": daemon.work()})
}

fn check_end(daemon: &TestDaemon, result: &Value, colour: &str) {
    let structured = &result["structuredContent"];
    assert_eq!(
        (&structured["outcome"], &structured["result"], &structured["attempt"]),
        (&json!("completed"), &json!("done"), &json!(2)),
        "{result:#}"
    );
    let refined = daemon.records_of(structured["session_id"].as_str().expect("an id"), "task.refined");
    assert_eq!(refined[0]["data"]["answers"]["Which colour?"], colour);
    assert!(
        structured["log"].to_string().contains("[the task is settled] paint it"),
        "{structured:#}"
    );
}

#[test]
fn what_is_meant_is_asked_by_a_form_in_both_eras_and_then_done() {
    let daemon = with_verdict(VERDICT);
    let client = Client::connect(&daemon, SESSIONS);
    let mut messages = client.call_and_watch("smart_execution", task(&daemon));
    let asked = messages.wait_for("elicitation/create");
    let options = &asked["params"]["requestedSchema"]["properties"]["q1"]["oneOf"];
    assert_eq!(options[1]["const"], "Blue", "{asked:#}");
    client.reply(&asked, &json!({"action": "accept", "content": {"q1": "Blue"}}));
    check_end(&daemon, &messages.result(), "Blue");

    let client = Client::connect(&daemon, STATELESS);
    let mut call = json!({"name": "smart_execution", "arguments": task(&daemon)});
    let asked = client.request("tools/call", call.clone());
    assert_eq!(asked["resultType"], "input_required", "{asked:#}");
    call["requestState"] = asked["requestState"].clone();
    call["inputResponses"] = json!({"q1": {"action": "accept", "content": {"q1": "Red"}}});
    check_end(&daemon, &client.request("tools/call", call), "Red");
}

#[test]
fn a_client_without_forms_is_told_the_question_and_a_declined_form_leaves_it_to_the_agent() {
    let daemon = with_verdict(VERDICT);
    let client = Client::connect_with(&daemon, SESSIONS, json!({}));
    let asked = client.call("smart_execution", task(&daemon))["structuredContent"].clone();
    assert_eq!(
        (&asked["status"], &asked["state"]),
        (&json!("awaiting_input"), &json!("awaiting_input"))
    );
    let id = &asked["session_id"];
    let answer = json!({"session_id": id, "action": "choose", "answers": {"Which colour?": "Red"}});
    assert_eq!(client.call("answer_question", answer)["isError"], false);
    let end = client.call("get_execution", json!({"session_id": id, "wait_seconds": 60}));
    check_end(&daemon, &end, "Red");

    let client = Client::connect(&daemon, SESSIONS);
    let mut messages = client.call_and_watch("smart_execution", task(&daemon));
    let asked = messages.wait_for("elicitation/create");
    client.reply(&asked, &json!({"action": "decline"}));
    let end = messages.result()["structuredContent"].clone();
    assert_eq!(end["outcome"], "completed", "{end:#}");
    let refined = daemon.records_of(end["session_id"].as_str().unwrap(), "task.refined");
    assert!(refined[0]["data"]["left_open"].is_string(), "{refined:?}");
}

#[test]
fn a_clear_task_is_run_without_a_question() {
    let daemon = with_verdict(r#"{"ambiguous": false}"#);
    let client = Client::connect(&daemon, SESSIONS);
    let end = client.call("smart_execution", task(&daemon))["structuredContent"].clone();
    assert_eq!(
        (&end["outcome"], &end["attempt"]),
        (&json!("completed"), &json!(2)),
        "{end:#}"
    );
}
