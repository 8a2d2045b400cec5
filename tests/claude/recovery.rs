//! What happens to the real CLI when something of ours dies.

use serde_json::json;

use super::main_job::{messages, with_claude};
use crate::support::messages_api::MessagesApi;
use crate::support::wait::until;

#[test]
fn the_daemon_is_killed_in_mid_turn_and_nothing_is_lost_or_doubled() {
    let api = MessagesApi::start();
    let mut daemon = with_claude(&api);
    let gate = daemon.root().join("gate");
    let id = daemon.create(&format!(
        "FAKE: say first ;; bash true ;; hold {} one two three four",
        gate.display()
    ));
    let question = daemon.question(&id);
    daemon.answer(
        &id,
        question["question_id"].as_str().unwrap(),
        &json!({"action": "allow"}),
    );
    until("the tool's result", || {
        (!messages(&daemon, &id, "tool_result").is_empty()).then_some(())
    });
    daemon.kill();
    std::fs::write(gate, "").unwrap();
    daemon.launch();
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(
        (&view["attempt"], &view["result"]),
        (&json!(1), &json!("one two three four"))
    );
    let texts: Vec<_> = messages(&daemon, &id, "text")
        .iter()
        .map(|text| text["text"].clone())
        .collect();
    assert_eq!(texts, [json!("first"), json!("one two three four")]);
}

#[test]
fn a_question_outlives_the_daemon_and_is_answered_to_the_same_agent() {
    let api = MessagesApi::start();
    let mut daemon = with_claude(&api);
    let id = daemon.create("FAKE: bash touch made ;; say done");
    let question = daemon.question(&id);
    daemon.kill();
    daemon.launch();
    assert_eq!(daemon.view(&id)["state"], "awaiting_input");
    let (status, view) = daemon.answer(
        &id,
        question["question_id"].as_str().unwrap(),
        &json!({"action": "allow"}),
    );
    assert_eq!(status, 200, "{view}");
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 1);
    assert!(daemon.work().join("made").exists());
}

#[test]
fn a_killed_cli_is_resumed_and_finishes_its_turn() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let gate = daemon.root().join("gate");
    let id = daemon.create(&format!(
        "FAKE: say first ;; bash true ;; hold {} the rest",
        gate.display()
    ));
    let question = daemon.question(&id);
    daemon.answer(
        &id,
        question["question_id"].as_str().unwrap(),
        &json!({"action": "allow"}),
    );
    until("the second answer to begin", || {
        (api.model_requests().len() >= 2).then_some(())
    });
    let pid = daemon.agent_pid(&id, 1);
    crate::support::daemon::signal(pid, rustix::process::Signal::KILL);
    std::fs::write(gate, "").unwrap();
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(view["attempt"], 2, "{view}");
    let started = daemon.records_of(&id, "attempt.started");
    assert_eq!(
        started[0]["data"]["agent_session_id"],
        started[1]["data"]["agent_session_id"]
    );
}
