//! A login that the API refuses: at once, or after it worked.

use serde_json::json;

use super::main_job::{messages, with_claude, with_claude_and};
use crate::support::messages_api::MessagesApi;

#[test]
fn a_login_that_is_refused_amid_the_work_is_tried_again_by_the_same_agent() {
    let api = MessagesApi::start();
    let mut daemon = with_claude(&api);
    let task = "FAKE: bash true ;; error 401 3 ;; say the end";
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"]}));
    let waiting = daemon.wait_for(&id, "waiting_login");
    let note = waiting["note"].as_str().unwrap();
    assert!(
        note.contains("the login is refused") && note.contains("until 20"),
        "{note}"
    );
    daemon.kill();
    daemon.launch();
    let view = daemon.wait_for(&id, "completed");
    assert_eq!((&view["attempt"], &view["result"]), (&json!(1), &json!("the end")));
    let retries = messages(&daemon, &id, "api_retry");
    let until = retries.iter().map(|retry| retry["login_until"].clone());
    let until: Vec<_> = until.collect();
    assert_eq!(until.len(), 3, "{retries:?}");
    assert!(
        until[0].is_string() && until.iter().all(|one| *one == until[0]),
        "{until:?}"
    );
}

/// A session whose agent gives up on its second request, in which the API fails `status`. Kills the daemon while the
/// session waits for its next attempt, and returns the note that it waits with.
fn given_up_on(status: u16) -> String {
    let api = MessagesApi::start();
    let environment = [
        ("CLAUDE_CODE_MAX_RETRIES", "1"),
        ("CC_EXECUTOR__SUPERVISION__RESTARTS_TOTAL_MAX", "0"),
    ];
    let mut daemon = with_claude_and(&api, &environment);
    let task = format!("FAKE: bash true ;; error {status} 2 ;; say the end");
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"]}));
    let note = daemon.wait_for(&id, "waiting_retry")["note"].to_string();
    daemon.kill();
    daemon.launch();
    let view = daemon.wait_for(&id, "completed");
    assert_eq!((&view["attempt"], &view["result"]), (&json!(2), &json!("the end")));
    // The call, the two failures, and one turn of the next agent.
    assert_eq!(api.model_requests().len(), 4, "{view:#}");
    let begun = messages(&daemon, &id, "turn_started");
    assert_eq!(begun.len(), 2, "{begun:?}");
    note
}

#[test]
fn a_login_that_the_agent_gives_up_on_is_tried_again_in_one_turn_of_the_next_one() {
    let note = given_up_on(401);
    assert!(
        note.starts_with("\"the login is refused, and tried again until"),
        "{note}"
    );
}

#[test]
fn an_api_that_the_agent_gives_up_on_is_asked_again_in_one_turn_of_the_next_one() {
    let note = given_up_on(500);
    assert!(note.contains("500"), "{note}");
}

#[test]
fn a_login_that_is_refused_from_the_first_request_on_fails_at_once() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let id = daemon.create("FAKE: error 401 always");
    let view = daemon.wait_for(&id, "failed");
    assert_eq!((&view["cause"], &view["attempt"]), (&json!("auth"), &json!(1)));
    let note = view["note"].as_str().unwrap();
    assert!(
        note.starts_with("the agent is not signed in: run `claude` once"),
        "{note}"
    );
}
