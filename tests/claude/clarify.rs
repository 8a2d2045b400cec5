//! The real CLI analyses a task, is answered, and does it; and is given our own tools.

use serde_json::{Value, json};

use super::main_job::{messages, with_claude};
use crate::support::messages_api::MessagesApi;

/// A verdict as the model gives it where the CLI asks for structured output.
fn verdict(ambiguous: bool) -> String {
    let option = |label: &str| json!({"label": label, "description": label});
    let question = json!({"question": "Which file?", "header": "File", "options": [option("one"), option("two")], "multiSelect": false});
    let verdict = json!({"ambiguous": ambiguous, "interpretations": [], "questions": [question]});
    format!("tool StructuredOutput {verdict}")
}

fn modes(daemon: &crate::support::daemon::TestDaemon, id: &str) -> Vec<Value> {
    let started = messages(daemon, id, "turn_started");
    started.iter().map(|turn| turn["permission_mode"].clone()).collect()
}

#[test]
fn an_ambiguous_task_is_asked_about_and_then_done_in_the_same_conversation() {
    let api = MessagesApi::start();
    let mut daemon = with_claude(&api);
    let (early, late) = (daemon.work().join("early"), daemon.work().join("late"));
    let task = format!("FAKE: write {} too soon ;; {}", early.display(), verdict(true));
    let id = daemon.create_with(json!({"task": task, "clarify": true, "permission_mode": "acceptEdits"}));
    let question = daemon.question(&id);
    assert_eq!(question["questions"][0]["question"], "Which file?", "{question:#}");
    assert!(!early.exists(), "an analysis changes nothing");
    daemon.kill();
    daemon.launch();
    let answer = format!("FAKE: write {} now ;; say done", late.display());
    let (status, view) = daemon.answer(
        &id,
        question["question_id"].as_str().unwrap(),
        &json!({"action": "choose", "answers": {"Which file?": answer}}),
    );
    assert_eq!(status, 200, "{view}");
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(
        (&view["attempt"], &view["result"]),
        (&json!(2), &json!("done")),
        "{view:#}"
    );
    assert_eq!(modes(&daemon, &id), ["plan", "acceptEdits"]);
    assert!(!early.exists() && late.exists());
    let started = daemon.records_of(&id, "attempt.started");
    assert_eq!(
        started[0]["data"]["agent_session_id"],
        started[1]["data"]["agent_session_id"]
    );
    let told = api.model_requests().last().expect("there is one")["messages"].to_string();
    assert!(
        told.contains("Do not do it yet") && told.contains("The analysis is over"),
        "{told}"
    );
}

#[test]
fn a_clear_task_is_done_at_once() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let id = daemon.create_with(json!({"task": format!("FAKE: {}", verdict(false)), "clarify": true}));
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(view["attempt"], 2);
    assert_eq!(daemon.records_of(&id, "notice"), Vec::<Value>::new());
}

#[test]
fn a_task_whose_analysis_is_mere_words_is_run_as_it_stands() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let id = daemon.create_with(json!({"task": "FAKE: say it is clear to me", "clarify": true}));
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(
        (&view["attempt"], &view["result"]),
        (&json!(2), &json!("it is clear to me"))
    );
    assert_eq!(daemon.records_of(&id, "notice").len(), 1);
}

#[test]
fn a_command_that_changes_something_is_not_run_in_an_analysis_even_where_a_rule_allows_it() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let made = daemon.work().join("made");
    let task = format!("FAKE: bash touch {} ;; {}", made.display(), verdict(true));
    let id = daemon.create_with(json!({"task": task, "clarify": true, "allowed_tools": ["Bash"]}));
    daemon.question(&id);
    let results = messages(&daemon, &id, "tool_result");
    assert_eq!(results[0]["is_error"], true, "{results:?}");
    assert!(!made.exists());
    daemon.answer(&id, "q1", &json!({"action": "deny"}));
    daemon.wait_for(&id, "completed");
    assert!(made.exists(), "the work itself has the rule");
}

#[test]
fn an_agent_that_is_given_our_tools_sees_the_sessions_of_this_daemon() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let task = "FAKE: tool mcp__cc-executor__list_executions {} ;; say seen";
    let request = json!({"task": task, "executor_tools": true, "allowed_tools": ["mcp__cc-executor"],
        "mcp_config": [r#"{"mcpServers": {}}"#]});
    let id = daemon.create_with(request);
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(view["result"], "seen");
    let results = messages(&daemon, &id, "tool_result");
    assert!(results[0]["text"].as_str().unwrap().contains(&id), "{results:?}");
}
