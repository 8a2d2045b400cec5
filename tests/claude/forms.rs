//! Forms: what an MCP server of the agent asks in the middle of a call. The server is our own, whose inner session has a
//! question that the outer one's person is shown as a form.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::as_client::tool;
use super::main_job::{answer, try_answer, with_claude};
use crate::support::daemon::{TestDaemon, signal};
use crate::support::messages_api::MessagesApi;
use crate::support::wait::until;

/// An outer session that calls for an inner one, whose question is open as a form; and the inner one.
fn begin(daemon: &TestDaemon) -> (String, String) {
    let inner = json!({"task": "FAKE: ask Which colour? | Red | Blue ;; say painted", "cwd": daemon.work()});
    let task = format!("FAKE: {} ;; say read", tool("execute_with_streaming", &inner));
    let outer = daemon.create_with(json!({
        "task": task, "executor_tools": true, "allowed_tools": ["mcp__cc-executor"],
    }));
    let form = daemon.question(&outer);
    assert_eq!((&form["ask"], &form["server"]), (&json!("form"), &json!("cc-executor")));
    assert!(form["message"].to_string().contains("Which colour?"), "{form}");
    let sessions = daemon.get("/api/sessions").1["sessions"].clone();
    let ids: Vec<_> = sessions.as_array().into_iter().flatten().map(id_of).collect();
    let inner: Vec<_> = ids.into_iter().filter(|id| *id != outer).collect();
    assert_eq!(inner.len(), 1, "{sessions:#}");
    (outer, inner[0].clone())
}

fn id_of(session: &Value) -> String {
    session["session_id"].as_str().expect("a session").to_owned()
}

#[test]
fn a_form_is_filled_in_and_reaches_the_server_that_asked() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let (outer, inner) = begin(&daemon);
    let (status, refused) = try_answer(&daemon, &outer, &json!({"action": "submit", "content": {"q1": 7}}));
    assert_eq!(
        (status, &refused["code"]),
        (400, &json!("answer_mismatch")),
        "{refused}"
    );
    answer(&daemon, &outer, &json!({"action": "submit", "content": {"q1": "Blue"}}));
    assert_eq!(daemon.wait_for(&outer, "completed")["result"], "read");
    assert_eq!(daemon.wait_for(&inner, "completed")["result"], "painted");
    assert_eq!(daemon.records_of(&outer, "question.delivered").len(), 1);
    assert_eq!(daemon.records_of(&outer, "agent.unknown"), Vec::<Value>::new());
    let answered = daemon.records_of(&inner, "question.answered");
    assert!(answered[0].to_string().contains("Blue"), "{answered:#?}");
}

#[test]
fn a_form_whose_agent_dies_is_taken_back_and_the_question_behind_it_stays_open() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let (outer, inner) = begin(&daemon);
    signal(daemon.agent_pid(&outer, 1), Signal::KILL);
    assert_eq!(daemon.wait_for(&outer, "completed")["attempt"], 2);
    let withdrawn = daemon.records_of(&outer, "question.withdrawn");
    assert_eq!(withdrawn.len(), 1, "{withdrawn:#?}");
    let blue = json!({"action": "choose", "answers": {"Which colour?": "Blue"}});
    until("the question of the inner session", || {
        let (status, _) = try_answer(&daemon, &inner, &blue);
        (status == 200).then_some(())
    });
    daemon.wait_for(&inner, "completed");
}

#[test]
fn a_form_stays_open_while_the_daemon_is_away() {
    let api = MessagesApi::start();
    let mut daemon = with_claude(&api);
    let (outer, _) = begin(&daemon);
    daemon.kill();
    daemon.launch();
    answer(&daemon, &outer, &json!({"action": "submit", "content": {"q1": "Blue"}}));
    assert_eq!(daemon.wait_for(&outer, "completed")["attempt"], 1);
}
