//! Limits of the real CLI, raised by a resume, and the figures of a turn that goes on.

use serde_json::{Value, json};

use super::main_job::{messages, with_claude};
use crate::support::daemon::TestDaemon;
use crate::support::messages_api::MessagesApi;
use crate::support::wait::{shell_until_exists, until};

fn resume(daemon: &TestDaemon, id: &str, body: &Value) -> (u16, Value) {
    daemon.post(&format!("/api/sessions/{id}/resume"), body)
}

/// Waits for this end of a session that was resumed.
fn end(daemon: &TestDaemon, id: &str, nth: usize) -> Value {
    until("the end", || {
        (daemon.records_of(id, "session.ended").len() == nth).then(|| daemon.view(id))
    })
}

/// Turns, tokens in and out, and whether there is a cost.
fn figures(daemon: &TestDaemon, id: &str) -> (u64, u64, u64, bool) {
    let view = daemon.view(id);
    let tokens = |kind: &str| view["usage"][kind].as_u64().expect("a number");
    let (turns, cost) = (
        view["turns"].as_u64().expect("a number"),
        view["cost_usd"].as_f64().expect("a number"),
    );
    (turns, tokens("input_tokens"), tokens("output_tokens"), cost > 0.0)
}

#[test]
fn a_turn_shows_its_calls_tokens_and_cost_before_it_ends_also_to_the_next_daemon() {
    let api = MessagesApi::start();
    let mut daemon = with_claude(&api);
    let gate = daemon.root().join("gate");
    let shell = shell_until_exists(&gate);
    // Two tools of one answer are one call of the model.
    let task = format!("FAKE: bash true ;+ bash echo two ;; bash true ;; bash {shell} ;; say done");
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"]}));
    let amid = (3, 3000, 150, true);
    until("the figures of three calls", || {
        (figures(&daemon, &id) == amid).then_some(())
    });
    assert!(messages(&daemon, &id, "turn_ended").is_empty());
    daemon.kill();
    daemon.launch();
    assert_eq!(figures(&daemon, &id), amid);
    std::fs::write(gate, "").unwrap();
    daemon.wait_for(&id, "completed");
    assert_eq!(figures(&daemon, &id), (4, 4000, 200, true));
}

#[test]
fn turns_are_granted_again_or_as_many_as_a_resume_gives() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let task = "FAKE: bash true ;; bash true ;; bash true ;; say done";
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"], "max_turns": 2}));
    let view = end(&daemon, &id, 1);
    assert_eq!(
        (&view["cause"], &view["turns"]),
        (&json!("max_turns"), &json!(2)),
        "{view}"
    );
    let (status, view) = resume(&daemon, &id, &json!({"instruction": task}));
    assert_eq!(status, 202, "{view}");
    let view = end(&daemon, &id, 2);
    assert_eq!(
        (&view["cause"], &view["turns"]),
        (&json!("max_turns"), &json!(4)),
        "{view}"
    );
    let (status, view) = resume(&daemon, &id, &json!({"instruction": task, "max_turns": 4}));
    assert_eq!(status, 202, "{view}");
    let view = end(&daemon, &id, 3);
    assert_eq!(
        (&view["state"], &view["turns"]),
        (&json!("completed"), &json!(8)),
        "{view}"
    );
}

#[test]
fn a_spent_budget_and_a_time_that_is_up_are_raised() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let gate = daemon.root().join("gate");
    let tools = json!(["Bash"]);
    let task = "FAKE: bash true ;; say never";
    let poor = daemon.create_with(json!({"task": task, "allowed_tools": tools, "max_budget_usd": 0.000_001}));
    let task = format!("FAKE: bash {} ;; say never", shell_until_exists(&gate));
    let late = daemon.create_with(json!({"task": task, "allowed_tools": tools, "timeout_seconds": 1}));
    let view = end(&daemon, &poor, 1);
    assert_eq!(view["cause"], "budget", "{view}");
    let (status, problem) = resume(&daemon, &poor, &json!({}));
    assert_eq!((status, &problem["code"]), (409, &json!("budget_spent")), "{problem}");
    let total = view["cost_usd"].as_f64().unwrap() + 1.0;
    let (status, view) = resume(
        &daemon,
        &poor,
        &json!({"instruction": "FAKE: say rich", "max_budget_usd": total}),
    );
    assert_eq!(status, 202, "{view}");
    assert_eq!(daemon.wait_for(&poor, "completed")["result"], "rich");
    daemon.wait_for(&late, "timed_out");
    // Whatever of the cut turn is left comes to its end.
    std::fs::write(gate, "").unwrap();
    let (status, view) = resume(
        &daemon,
        &late,
        &json!({"instruction": "FAKE: say in time", "timeout_seconds": 600}),
    );
    assert_eq!(status, 202, "{view}");
    assert_eq!(daemon.wait_for(&late, "completed")["result"], "in time");
}
