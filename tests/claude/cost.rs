//! What a session costs: what its own agents spent, and nothing of the conversation that it goes on with.

use serde_json::{Value, json};

use super::main_job::{with_claude, with_claude_and};
use crate::support::daemon::{TestDaemon, signal};
use crate::support::messages_api::MessagesApi;
use crate::support::wait::until;

/// Tokens in and out of one answer of the scripted model.
const ONE_ANSWER: (u64, u64) = (1000, 50);

/// Cost and tokens of a completed session.
fn used(daemon: &TestDaemon, id: &str) -> (f64, (u64, u64)) {
    let view = daemon.wait_for(id, "completed");
    let tokens = |kind: &str| view["usage"][kind].as_u64().expect("a number");
    let cost = view["cost_usd"].as_f64().expect("a number");
    (cost, (tokens("input_tokens"), tokens("output_tokens")))
}

fn begun(daemon: &TestDaemon, path: &str, body: &Value) -> String {
    let (status, view) = daemon.post(path, body);
    assert_eq!(status, 201, "{view}");
    view["session_id"].as_str().expect("a text").to_owned()
}

/// The count in the result of the CLI of an attempt, which goes on from that of the conversation.
fn counted_by_the_cli(daemon: &TestDaemon, id: &str, attempt: u32) -> f64 {
    let spool =
        std::fs::read_to_string(daemon.state().join(format!("sessions/{id}/{attempt}/stdout.jsonl"))).expect("a spool");
    let mut lines = spool
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    lines.find(|line| line["type"] == "result").expect("there is one")["total_cost_usd"]
        .as_f64()
        .expect("there is one")
}

#[test]
fn a_copy_and_a_takeover_do_not_cost_what_the_conversation_had_cost_before() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let id = daemon.create("FAKE: say one");
    let (cost, tokens) = used(&daemon, &id);
    assert_eq!(tokens, ONE_ANSWER);
    assert!(cost > 0.0);
    let fork = begun(
        &daemon,
        &format!("/api/sessions/{id}/fork"),
        &json!({"instruction": "FAKE: say two"}),
    );
    assert_eq!(used(&daemon, &fork), (cost, ONE_ANSWER));
    let import = begun(
        &daemon,
        "/api/sessions/import",
        &json!({"agent_session_id": fork, "instruction": "FAKE: say three"}),
    );
    assert_eq!(used(&daemon, &import), (cost, ONE_ANSWER));
    let counted = counted_by_the_cli(&daemon, &import, 1);
    assert!(
        (counted - 3.0 * cost).abs() < 1e-9,
        "the CLI counts all three: {counted}"
    );
}

#[test]
fn what_ended_turns_have_cost_stays_when_the_cli_is_killed() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let gate = daemon.root().join("gate");
    let shell = crate::support::wait::shell_until_exists(&gate);
    // The shell in the background keeps the agent alive behind its first result.
    let task = format!("FAKE: bashbg {shell} ;; say one");
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"]}));
    let cost = until("the first result", || {
        daemon.view(&id)["cost_usd"].as_f64().filter(|cost| *cost > 0.0)
    });
    signal(daemon.agent_pid(&id, 1), rustix::process::Signal::KILL);
    std::fs::write(gate, "").unwrap();
    let (in_all, _) = used(&daemon, &id);
    assert!(in_all >= cost, "{in_all} after {cost}");
}

#[test]
fn what_a_killed_cli_has_spent_in_its_turn_is_part_of_the_cost() {
    let api = MessagesApi::start();
    let daemon = with_claude_and(&api, &[("CC_EXECUTOR__SUPERVISION__RESTARTS_MAX", "0")]);
    let gate = daemon.root().join("gate");
    let shell = crate::support::wait::shell_until_exists(&gate);
    let task = format!("FAKE: bash true ;; bash {shell} ;; say one");
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"], "max_budget_usd": 1.0}));
    let told = until("what the CLI has spent so far", || {
        daemon.view(&id)["cost_usd"].as_f64().filter(|cost| *cost > 0.0)
    });
    signal(daemon.agent_pid(&id, 1), rustix::process::Signal::KILL);
    let at_its_end = daemon.wait_for(&id, "failed")["cost_usd"].as_f64().expect("a number");
    assert!(at_its_end >= told);
    std::fs::write(gate, "").unwrap();
    let (status, view) = daemon.post(&format!("/api/sessions/{id}/resume"), &json!({}));
    assert_eq!(status, 202, "{view}");
    let (in_all, _) = used(&daemon, &id);
    let by_the_second = counted_by_the_cli(&daemon, &id, 2);
    assert!(by_the_second > 0.0);
    assert!(
        (in_all - at_its_end - by_the_second).abs() < 1e-9,
        "{in_all} is not {at_its_end} and {by_the_second}"
    );
}
