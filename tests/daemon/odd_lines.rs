//! An agent that prints what no agent should: whatever it is, it harms neither the journal nor the next daemon, and
//! nothing of it is taken for a success that was none.

use std::fs;

use serde_json::{Value, json};

use crate::support::daemon::TestDaemon;
use crate::support::wait::until;

/// Prints the lines of a file once it is told something, and then what is said in its second argument.
const PRINTER: &str = r#"
lines=$1
while read -r line; do
    case "$line" in
        *'"end_session"'*) exit 0 ;;
        *'"type":"user"'*) [ -e "$lines" ] && cat "$lines"; [ -e "$lines.dies" ] && kill -9 $$ ;;
    esac
done
"#;

/// Is done with each message and says nothing else.
const MUTE: &str = r#"
while read -r line; do
    case "$line" in
        *'"end_session"'*) exit 0 ;;
        *'"type":"user"'*)
            uuid=$(printf '%s' "$line" | sed -n 's/.*"uuid":"\([^"]*\)".*/\1/p')
            printf '{"type":"command_lifecycle","command_uuid":"%s","state":"completed"}\n' "$uuid"
            echo '{"type":"system","subtype":"session_state_changed","state":"idle"}' ;;
    esac
done
"#;

/// Asks for permissions and takes each back at once, and is done then.
const FICKLE: &str = r#"
while read -r line; do
    case "$line" in
        *'"end_session"'*) exit 0 ;;
        *'"type":"user"'*)
            for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
                printf '{"type":"control_request","request_id":"r%s","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"%s"}}}\n' $n $n
                sleep 0.00$((n % 6))
                printf '{"type":"control_cancel_request","request_id":"r%s"}\n' $n
            done
            cat "$1" ;;
    esac
done
"#;

const IDLE: &str = r#"{"type":"system","subtype":"session_state_changed","state":"idle"}"#;

/// A daemon whose agent is this script, with a file beside it.
fn daemon_of(script: &str) -> TestDaemon {
    let mut daemon = TestDaemon::stopped(&[("CC_EXECUTOR__SUPERVISION__RESTARTS_MAX", "0")]);
    let lines = daemon.root().join("lines").display().to_string();
    let command = json!(["/bin/sh", "-c", script, "agent", lines]).to_string();
    daemon.set("CC_EXECUTOR__AGENT__COMMAND", &command);
    daemon.launch();
    daemon
}

fn daemon_that_hears(lines: &[&str]) -> TestDaemon {
    let daemon = daemon_of(PRINTER);
    fs::write(daemon.root().join("lines"), lines.join("\n") + "\n").unwrap();
    daemon
}

fn result(fields: &Value) -> String {
    let mut line = json!({
        "type": "result", "subtype": "success", "is_error": false, "result": "all done", "num_turns": 1,
        "terminal_reason": "completed",
    });
    let more = fields.as_object().expect("fields").clone();
    line.as_object_mut().expect("an object").extend(more);
    line.to_string()
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

#[test]
fn sums_beyond_all_numbers_leave_a_journal_that_the_next_daemon_reads() {
    let tokens = u64::MAX;
    let spent = json!({
        "modelUsage": {"a": {"inputTokens": tokens}, "b": {"inputTokens": tokens, "outputTokens": tokens}},
        "model_usage_since_last_result": {"a": {"costUSD": 1.7e308, "inputTokens": tokens}, "b": {"costUSD": 1.7e308}},
    });
    let spent = result(&spent);
    let mut daemon = daemon_that_hears(&[&spent, &spent, IDLE]);
    let id = daemon.create("spend");
    daemon.wait_for(&id, "completed");
    daemon.kill();
    daemon.launch();
    assert_eq!(daemon.view(&id)["state"], "completed");
    assert_eq!(daemon.get("/metrics").0, 200);
}

#[test]
fn a_question_nested_too_deep_is_refused_and_the_next_daemon_starts() {
    let asked = format!(
        r#"{{"type":"control_request","request_id":"r1","request":{{"subtype":"can_use_tool","tool_name":"Bash","input":{}}}}}"#,
        nested(125)
    );
    let mut daemon = daemon_that_hears(&[&asked]);
    let id = daemon.create("ask");
    until("the line", || {
        let records = daemon.records(&id);
        let taken = |kind: &str| records.iter().any(|record| record["kind"] == kind);
        (taken("agent.unknown") || taken("question.asked")).then_some(())
    });
    daemon.kill();
    daemon.launch();
    assert_eq!(
        daemon.view(&id)["questions"],
        json!([]),
        "nobody is asked what cannot be kept"
    );
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
}

#[test]
fn a_schema_nested_too_deep_is_refused_where_the_caller_still_listens() {
    let daemon = TestDaemon::start();
    let body = format!(
        r#"{{"task": "say hello", "cwd": {}, "json_schema": {{"x": {}}}}}"#,
        json!(daemon.work()),
        nested(124)
    );
    let (status, problem) = daemon.post_text("/api/sessions", &body).expect("an answer");
    assert_eq!(status, 400, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("json_schema"), "{problem}");
}

#[test]
fn half_a_character_in_a_line_spoils_no_more_than_that_character() {
    let cut = result(&json!({})).replace("all done", r"all done \ud83d");
    let daemon = daemon_that_hears(&[&cut, IDLE]);
    let id = daemon.create("be cut");
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(view["result"], "all done \u{fffd}");
}

#[test]
fn an_error_that_does_not_say_so_twice_is_no_success() {
    let ended = result(&json!({"subtype": "error_max_turns", "terminal_reason": null}));
    let daemon = daemon_that_hears(&[&ended, IDLE]);
    let id = daemon.create("use up turns");
    let view = daemon.wait_for(&id, "failed");
    assert_eq!(view["cause"], "max_turns", "{view}");
}

#[test]
fn an_agent_that_dies_in_a_turn_behind_its_result_has_not_finished() {
    let turn = r#"{"type":"system","subtype":"init","session_id":"00000000-0000-4000-8000-000000000001"}"#;
    let running = r#"{"type":"system","subtype":"session_state_changed","state":"running"}"#;
    let daemon = daemon_that_hears(&[
        turn,
        &result(&json!({"result": "a subagent is at work"})),
        running,
        turn,
    ]);
    fs::write(daemon.root().join("lines.dies"), "").unwrap();
    let id = daemon.create("hand it to a subagent");
    let view = daemon.wait_for(&id, "failed");
    assert_eq!(view["cause"], "crashed", "{view}");
}

#[test]
fn an_agent_that_is_done_and_gives_no_result_is_not_asked_for_ever() {
    let daemon = daemon_of(MUTE);
    let id = daemon.create("say nothing");
    let view = daemon.wait_for(&id, "failed");
    assert_eq!(view["cause"], "agent_error", "{view}");
    let told = daemon.records_of(&id, "input");
    assert!(told.len() < 20, "{} records of messages", told.len());
}

#[test]
fn a_question_is_taken_back_wherever_it_is_on_its_way_to_the_disk() {
    let daemon = daemon_of(FICKLE);
    fs::write(daemon.root().join("lines"), result(&json!({})) + "\n" + IDLE + "\n").unwrap();
    let id = daemon.create("ask");
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(view["questions"], json!([]), "{view}");
    assert_eq!(daemon.records_of(&id, "question.withdrawn").len(), 30);
}
