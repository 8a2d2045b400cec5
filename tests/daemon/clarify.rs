//! A task is clarified before it is run, and the daemon may be killed at every place of it.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::daemon::{BINARY, TestDaemon};

const VERDICT: &str = r#"{"ambiguous": true, "questions": [{"question": "Which colour?", "options": [{"label": "Red"}, {"label": "Blue"}]}]}"#;

/// A daemon whose agent plays these turns, one after the other.
fn with_turns(turns: &[&str]) -> TestDaemon {
    let mut daemon = TestDaemon::stopped(&[]);
    let script = daemon.root().join("script");
    std::fs::write(&script, turns.join("\n---\n")).unwrap();
    let command = json!([BINARY, "simulate", "--script", script]);
    daemon.set("CC_EXECUTOR__AGENT__COMMAND", &command.to_string());
    daemon.launch();
    daemon
}

fn gate(path: &Path) -> String {
    format!("wait-file {}", path.display())
}

fn blue() -> Value {
    json!({"action": "choose", "answers": {"Which colour?": "Blue"}})
}

#[test]
fn a_daemon_killed_while_it_is_analysed_asked_and_run_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (analysed, ran) = (folder.path().join("analysed"), folder.path().join("ran"));
    let analysis = format!("{}\nsay {VERDICT}", gate(&analysed));
    let work = format!("{}\nwrite made it\nsay done", gate(&ran));
    let mut daemon = with_turns(&[&analysis, &work]);
    let id = daemon.create_with(json!({"task": "paint it", "clarify": true, "permission_mode": "acceptEdits"}));
    daemon.wait_for(&id, "running");
    daemon.kill();
    std::fs::write(&analysed, "").unwrap();
    daemon.launch();
    let question = daemon.question(&id);
    assert_eq!(
        (&question["ask"], &question["orphaned"]),
        (&json!("choice"), &json!(false))
    );
    daemon.kill();
    daemon.launch();
    assert_eq!(daemon.view(&id)["state"], "awaiting_input");
    let (status, view) = daemon.answer(&id, "q1", &blue());
    assert_eq!(status, 200, "{view}");
    daemon.wait_for(&id, "running");
    daemon.kill();
    std::fs::write(&ran, "").unwrap();
    daemon.launch();
    let view = daemon.wait_for(&id, "completed");
    assert_eq!((&view["attempt"], &view["result"]), (&json!(2), &json!("done")));
    assert_eq!(view["clarifications"]["answers"]["Which colour?"], "Blue");
    let refined = daemon.records_of(&id, "task.refined");
    assert_eq!(refined.len(), 1);
    assert_eq!(refined[0]["data"]["answers"]["Which colour?"], "Blue");
    assert!(refined[0]["data"]["task"].as_str().unwrap().starts_with("paint it"));
    let started = daemon.records_of(&id, "attempt.started");
    assert_eq!(
        started[0]["data"]["agent_session_id"],
        started[1]["data"]["agent_session_id"]
    );
    assert!(daemon.work().join("made").exists());
}

#[test]
fn an_answer_at_the_terminal_settles_the_task_and_the_log_shows_it() {
    let daemon = with_turns(&[&format!("say {VERDICT}"), "say done"]);
    let output = |arguments: &[&str]| {
        let output = daemon.command(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let id = output(&["run", "--clarify", "--detach", "paint it"]).trim().to_owned();
    daemon.wait_for(&id, "awaiting_input");
    output(&["answer", &id, "q1", "--choice", "Blue"]);
    daemon.wait_for(&id, "completed");
    let log = output(&["logs", &id]);
    assert!(log.contains("the task is settled: Which colour? Blue"), "{log}");
}

#[test]
fn an_agent_that_dies_in_its_analysis_analyses_again() {
    let daemon = with_turns(&[&format!("crash once tool\nsay {VERDICT}"), "say done"]);
    let id = daemon.create_with(json!({"task": "paint it", "clarify": true}));
    daemon.question(&id);
    daemon.answer(&id, "q1", &blue());
    let view = daemon.wait_for(&id, "completed");
    assert_eq!((&view["attempt"], &view["result"]), (&json!(3), &json!("done")));
    assert_eq!(daemon.records_of(&id, "task.refined").len(), 1);
}
