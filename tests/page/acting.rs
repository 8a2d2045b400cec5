//! To act on the page: answers, starts, cancels, resumes, forks, and what is said when something is refused.

use serde_json::json;

use crate::browser::{Script, of_session};
use crate::support::daemon::TestDaemon;

/// A command long enough that nothing but its whole shows its end.
fn command(daemon: &TestDaemon) -> String {
    let words: Vec<_> = (0..200).map(|number| format!("word{number}")).collect();
    format!(
        "printf '%s\\n' {} > '{}/said' && echo the very end",
        words.join(" "),
        daemon.work().display()
    )
}

#[test]
fn a_permission_is_shown_in_full_and_answered() {
    let daemon = TestDaemon::start();
    let command = command(&daemon);
    let id = daemon.create(&format!(
        "ask-permission {command}\nask-permission rm -r everything\nsay over"
    ));
    Script::run(
        &daemon,
        "permission",
        &json!({"session": id, "command": command, "token": daemon.token()}),
    );
    daemon.wait_for(&id, "completed");
    let said = std::fs::read_to_string(daemon.work().join("said")).expect("what was allowed ran");
    assert_eq!(said.lines().count(), 200);
    let answers = daemon.records_of(&id, "question.answered");
    let mode = json!({"grant": "mode", "mode": "acceptEdits"});
    assert_eq!(
        answers[0]["data"]["granted"],
        json!([mode]),
        "the box that was ticked, and no other"
    );
    assert_eq!(answers[1]["data"]["answer"]["reason"], "ask me first");
}

#[test]
fn a_choice_is_answered_on_the_list_of_sessions() {
    let daemon = TestDaemon::start();
    let id = daemon
        .create("question Which colour? | red | green | blue\nquestion --multi Which sizes? | s | m | l\nsay over");
    Script::run(&daemon, "choice", &of_session(&id));
    daemon.wait_for(&id, "completed");
    let answers = daemon.records_of(&id, "question.answered");
    assert_eq!(
        answers[0]["data"]["answer"]["answers"],
        json!({"Which colour?": "green"})
    );
    assert_eq!(
        answers[1]["data"]["answer"]["answers"],
        json!({"Which sizes?": "s, l, huge"})
    );
}

#[test]
fn a_form_of_a_server_is_filled_in() {
    let daemon = TestDaemon::start();
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "title": "Name", "minLength": 2},
            "age": {"type": "integer", "title": "Age", "minimum": 0},
            "size": {"type": "string", "title": "Size", "enum": ["S", "L"]},
            "again": {"type": "boolean", "title": "Again"},
        },
        "required": ["name"],
    });
    let id = daemon.create(&format!("form Who shall sign? | {schema}\nsay over"));
    Script::run(&daemon, "form", &of_session(&id));
    daemon.wait_for(&id, "completed");
    let answers = daemon.records_of(&id, "question.answered");
    assert_eq!(
        answers[0]["data"]["answer"],
        json!({"action": "submit", "content": {"name": "Bob", "age": 47, "size": "L", "again": true}})
    );
    assert!(daemon.texts(&id).contains(&"over".to_owned()));
}

#[test]
fn a_run_is_started_by_the_form_and_cancelled() {
    let daemon = TestDaemon::start();
    Script::run(&daemon, "start-cancel", &json!({"cwd": daemon.work()}));
    let (_, page) = daemon.get("/api/sessions");
    let sessions = page["sessions"].as_array().expect("sessions");
    assert_eq!(
        sessions.len(),
        1,
        "what was refused began nothing, and nothing began twice"
    );
    assert_eq!(
        (&sessions[0]["name"], &sessions[0]["state"]),
        (&json!("by hand"), &json!("cancelled"))
    );
}

#[test]
fn a_session_is_resumed_and_forked_from_a_checkpoint() {
    let daemon = TestDaemon::start();
    let id = daemon.create_with(json!({"task": "say one ;; usage 1 1 0.75 ;; say two", "max_budget_usd": 0.5}));
    daemon.wait_for(&id, "failed");
    Script::run(&daemon, "checkpoint", &of_session(&id));
    daemon.wait_for(&id, "completed");
    let started = daemon.records_of(&id, "attempt.started");
    assert_eq!(started.len(), 2, "{started:?}");
    let checkpoint = &daemon.records_of(&id, "session.resumed")[0]["data"]["at"];
    assert!(checkpoint.is_u64(), "{checkpoint}");
    let limits = &daemon.records_of(&id, "session.resumed")[0]["data"]["limits"];
    assert_eq!(
        *limits,
        json!({"max_turns": 7, "max_budget_usd": 2.5, "timeout_seconds": 600})
    );
    let (_, page) = daemon.get("/api/sessions");
    let fork = &page["sessions"][0];
    assert_eq!((&fork["name"], &fork["state"]), (&json!("a copy"), &json!("completed")));
}
