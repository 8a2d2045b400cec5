//! What a session is for: text, tools behind permissions, questions, files, background work, cost, failure.

use serde_json::{Value, json};

use crate::support::claude::{claude_binary, claude_env};
use crate::support::daemon::TestDaemon;
use crate::support::messages_api::MessagesApi;

/// A daemon whose agent is the real CLI.
pub(crate) fn with_claude(api: &MessagesApi) -> TestDaemon {
    let mut daemon = TestDaemon::stopped(&[]);
    let home = daemon.root().join("home");
    for (name, value) in claude_env(&home, api) {
        daemon.set(&name, &value);
    }
    daemon.set("CC_EXECUTOR__AGENT__COMMAND", &claude_binary().display().to_string());
    daemon.launch();
    daemon
}

/// The journalled messages of one type.
pub(crate) fn messages(daemon: &TestDaemon, id: &str, kind: &str) -> Vec<Value> {
    let said = daemon
        .records_of(id, "agent.message")
        .into_iter()
        .map(|record| record["data"]["message"].clone());
    said.filter(|message| message["type"] == kind).collect()
}

#[test]
fn text_is_journalled_and_the_result_has_cost_and_usage() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let id = daemon.create("FAKE: say hello from the model");
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(view["result"], "hello from the model");
    assert_eq!(messages(&daemon, &id, "text").len(), 1);
    assert!(view["cost_usd"].as_f64().unwrap() > 0.0, "{view}");
    assert!(view["usage"]["output_tokens"].as_u64().unwrap() > 0, "{view}");
    assert_eq!(daemon.records_of(&id, "agent.unknown"), Vec::<Value>::new());
}

#[test]
fn a_tool_waits_for_its_permission_and_writes_its_file() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let id = daemon.create("FAKE: bash touch made ;; say done");
    let question = daemon.question(&id);
    assert_eq!(question["input"]["command"], "touch made");
    assert!(!daemon.work().join("made").exists());
    daemon.answer(
        &id,
        question["question_id"].as_str().unwrap(),
        &json!({"action": "allow"}),
    );
    daemon.wait_for(&id, "completed");
    assert!(daemon.work().join("made").exists());
}

#[test]
fn a_file_is_written_where_edits_are_accepted() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let path = daemon.work().join("note.txt");
    let task = format!("FAKE: write {} some text ;; say done", path.display());
    let id = daemon.create_with(json!({"task": task, "permission_mode": "acceptEdits"}));
    daemon.wait_for(&id, "completed");
    assert_eq!(std::fs::read_to_string(path).unwrap().trim(), "some text");
}

#[test]
fn a_question_is_asked_and_its_answer_reaches_the_model() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let id = daemon.create("FAKE: ask Which colour? | Red | Blue ;; say done");
    let question = daemon.question(&id);
    assert_eq!(question["ask"], "choice");
    let answer = json!({"action": "choose", "answers": {"Which colour?": "Blue"}});
    daemon.answer(&id, question["question_id"].as_str().unwrap(), &answer);
    daemon.wait_for(&id, "completed");
    let results = messages(&daemon, &id, "tool_result");
    assert!(
        results
            .iter()
            .any(|result| result["text"].as_str().unwrap().contains("Blue")),
        "{results:?}"
    );
}

#[test]
fn a_background_shell_goes_on_after_the_result_and_is_part_of_the_session() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let gate = daemon.root().join("gate");
    let shell = crate::support::wait::shell_until_exists(&gate);
    let task = format!("FAKE: bashbg {shell} ;; say main part done");
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"]}));
    crate::support::wait::until("the first result", || {
        (!messages(&daemon, &id, "turn_ended").is_empty()).then_some(())
    });
    assert_eq!(daemon.view(&id)["state"], "running");
    std::fs::write(gate, "").unwrap();
    daemon.wait_for(&id, "completed");
}

#[test]
fn an_api_that_refuses_the_request_fails_the_session() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let id = daemon.create("FAKE: error 400 always");
    let view = daemon.wait_for(&id, "failed");
    assert_eq!(view["cause"], "bad_request", "{view}");
}

#[test]
fn limits_of_a_request_reach_the_agent() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let task = "FAKE: bash true ;; bash true ;; bash true ;; say done";
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"], "max_turns": 2}));
    assert_eq!(daemon.wait_for(&id, "failed")["cause"], "max_turns");
}

#[test]
fn a_cancel_ends_the_cli_and_its_tools() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let gate = daemon.root().join("never");
    let shell = crate::support::wait::shell_until_exists(&gate);
    let task = format!("FAKE: bash {shell} ;; say never");
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"]}));
    crate::support::wait::until("the tool", || {
        (!messages(&daemon, &id, "tool_use").is_empty()).then_some(())
    });
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
    assert!(daemon.processes_of(&id).is_empty());
}
