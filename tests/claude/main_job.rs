//! What a session is for: text, tools behind permissions, questions, files, background work, cost, failure.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::claude::{claude_binary, claude_env};
use crate::support::daemon::TestDaemon;
use crate::support::messages_api::MessagesApi;

/// A daemon whose agent is the real CLI.
pub(crate) fn with_claude(api: &MessagesApi) -> TestDaemon {
    with_claude_and(api, &[])
}

/// The same with more environment variables, settings among them.
pub(crate) fn with_claude_and(api: &MessagesApi, environment: &[(&str, &str)]) -> TestDaemon {
    start_but(api, environment, "")
}

/// The same without one of the variables that the CLI usually gets.
fn start_but(api: &MessagesApi, environment: &[(&str, &str)], missing: &str) -> TestDaemon {
    give_claude(TestDaemon::stopped(environment), api, missing)
}

/// A daemon of the version before whose agent is the real CLI.
pub(crate) fn previous_with_claude(api: &MessagesApi) -> TestDaemon {
    give_claude(TestDaemon::previous_stopped(&[]), api, "")
}

/// Starts a daemon with the CLI as its agent.
fn give_claude(mut daemon: TestDaemon, api: &MessagesApi, missing: &str) -> TestDaemon {
    let home = daemon.root().join("home");
    for (name, value) in claude_env(&home, api) {
        if name != missing {
            daemon.set(&name, &value);
        }
    }
    daemon.set("CC_EXECUTOR__AGENT__COMMAND", &claude_binary().display().to_string());
    daemon.launch();
    daemon
}

/// Gives the open question of a session this answer.
pub(crate) fn answer(daemon: &TestDaemon, id: &str, answer: &Value) {
    let (status, view) = try_answer(daemon, id, answer);
    assert_eq!(status, 200, "{view}");
}

/// The same, which may be refused.
pub(crate) fn try_answer(daemon: &TestDaemon, id: &str, answer: &Value) -> (u16, Value) {
    let question = daemon.question(id);
    daemon.answer(id, question["question_id"].as_str().expect("a text"), answer)
}

/// Creates a session, allows what it asks first, and answers its id.
pub(crate) fn create_and_allow(daemon: &TestDaemon, task: &str) -> String {
    let id = daemon.create(task);
    answer(daemon, &id, &json!({"action": "allow"}));
    id
}

/// The journalled messages of one type.
pub(crate) fn messages(daemon: &TestDaemon, id: &str, kind: &str) -> Vec<Value> {
    let said = daemon
        .records_of(id, "agent.message")
        .into_iter()
        .map(|record| record["data"]["message"].clone());
    said.filter(|message| message["type"] == kind).collect()
}

/// The file that the CLI keeps of a conversation, once it does.
pub(crate) fn transcript(daemon: &TestDaemon, conversation: &str) -> Option<PathBuf> {
    let projects = std::fs::read_dir(daemon.root().join("home/.claude/projects")).ok()?;
    let name = format!("{conversation}.jsonl");
    let mut files = projects.flatten().map(|project| project.path().join(&name));
    files.find(|path| path.exists())
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
fn a_missing_login_fails_the_session_at_once_and_says_what_to_run() {
    let api = MessagesApi::start();
    let daemon = start_but(&api, &[], "ANTHROPIC_API_KEY");
    let id = daemon.create("FAKE: say hello from the model");
    let view = daemon.wait_for(&id, "failed");
    assert_eq!((&view["cause"], &view["attempt"]), (&json!("auth"), &json!(1)));
    assert!(view["note"].as_str().unwrap().contains("run `claude` once"), "{view}");
    assert_eq!(api.model_requests(), Vec::<Value>::new());
}

#[test]
fn a_tool_waits_for_its_permission_and_writes_its_file() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let id = daemon.create("FAKE: bash touch made ;; say done");
    let question = daemon.question(&id);
    assert_eq!(question["input"]["command"], "touch made");
    assert!(!daemon.work().join("made").exists());
    answer(&daemon, &id, &json!({"action": "allow"}));
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
    let choice = json!({"action": "choose", "answers": {"Which colour?": "Blue"}});
    answer(&daemon, &id, &choice);
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
fn an_answer_that_does_not_fit_the_schema_is_no_success() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let colour = json!({"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]});
    let create = |task: &str| daemon.create_with(json!({"task": task, "json_schema": colour}));
    let fits = create(r#"FAKE: tool StructuredOutput {"colour": "blue"} ;; say done"#);
    assert_eq!(
        daemon.wait_for(&fits, "completed")["structured_output"]["colour"],
        "blue"
    );
    let ignored = create("FAKE: say it is blue");
    assert_eq!(daemon.wait_for(&ignored, "failed")["cause"], "no_structured_output");
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
