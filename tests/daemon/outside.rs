//! Conversations that come from outside and go there again: import, handover, and who may work in one.

use serde_json::{Value, json};

use crate::support::daemon::TestDaemon;
use crate::support::wait::until;

/// A conversation that the simulated agent had by itself.
pub(crate) fn begin_outside(daemon: &TestDaemon, conversation: &str) {
    use std::io::Write;
    let mut agent = daemon
        .command(&["simulate", "--session-id", conversation])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("there is one");
    let line = json!({"type": "user", "message": {"role": "user", "content": "say outside"}, "uuid": "u-1"});
    writeln!(agent.stdin.take().expect("there is one"), "{line}").expect("there is one");
    assert!(agent.wait().expect("it ends").success());
}

#[test]
fn a_conversation_that_was_begun_outside_is_taken_over_and_given_back() {
    let daemon = TestDaemon::start();
    let conversation = "11111111-1111-4111-8111-111111111111";
    let import = |more: Value| {
        let mut body = json!({"agent_session_id": conversation, "cwd": daemon.work()});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        daemon.post("/api/sessions/import", &body)
    };
    let (status, problem) = import(json!({}));
    assert_eq!(
        (status, &problem["code"]),
        (409, &json!("no_conversation")),
        "{problem}"
    );
    begin_outside(&daemon, conversation);
    let gate = daemon.root().join("gate");
    let (status, view) = import(json!({"instruction": format!("say taken over ;; wait-file {}", gate.display())}));
    assert_eq!(status, 201, "{view}");
    let id = view["session_id"].as_str().unwrap();
    until("the agent's word", || {
        (daemon.texts(id) == ["taken over"]).then_some(())
    });
    assert_eq!(daemon.view(id)["agent_session_id"], conversation);
    let (status, problem) = import(json!({}));
    assert_eq!((status, &problem["code"]), (409, &json!("owned")), "{problem}");
    let (status, _) = daemon.get(&format!("/api/sessions/{id}/handover"));
    assert_eq!(status, 409, "a live session is not given back");
    std::fs::write(gate, "").unwrap();
    daemon.wait_for(id, "completed");
    let (status, handover) = daemon.get(&format!("/api/sessions/{id}/handover"));
    let line = format!(
        "cd {} && claude --resume={conversation}",
        daemon.work().canonicalize().unwrap().display()
    );
    assert_eq!((status, &handover["line"]), (200, &json!(line)));
    let out = daemon.command(&["handover", id]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), line);
}

#[test]
fn a_conversation_in_which_an_agent_of_another_daemon_works_is_not_taken_over() {
    let first = TestDaemon::start();
    let gate = first.root().join("gate");
    let id = first.create(&format!("say here ;; wait-file {}", gate.display()));
    until("the agent's word", || (first.texts(&id) == ["here"]).then_some(()));
    let conversation = first.view(&id)["agent_session_id"].clone();
    let home = first.root().join("home");
    let second = TestDaemon::start_with(&[("HOME", home.to_str().unwrap())]);
    let body = json!({"agent_session_id": conversation, "cwd": second.work()});
    let import = || {
        let (status, view) = second.post("/api/sessions/import", &body);
        assert_eq!(status, 201, "{view}");
        view["session_id"].as_str().unwrap().to_owned()
    };
    let refused = second.wait_for(&import(), "failed");
    assert_eq!(refused["cause"], "not_started", "{refused}");
    assert!(refused.to_string().contains("owns the transcript"), "{refused}");
    std::fs::write(gate, "").unwrap();
    first.wait_for(&id, "completed");
    second.wait_for(&import(), "completed");
    let locks = std::fs::read_dir(home.join(".claude/cc-executor")).unwrap();
    assert_eq!(locks.count(), 0, "a lock goes with its agent");
}

#[test]
fn a_conversation_that_is_kept_elsewhere_is_given_back_with_its_place() {
    let daemon = TestDaemon::start();
    let place = daemon.root().join("my claude");
    let path = std::env::var("PATH").unwrap();
    let env = json!({"CLAUDE_CONFIG_DIR": place, "PATH": path, "HOME": daemon.root().join("home")});
    let id = daemon.create_with(json!({"task": "say hi", "env": env}));
    let conversation = daemon.wait_for(&id, "completed")["agent_session_id"].clone();
    let (status, handover) = daemon.get(&format!("/api/sessions/{id}/handover"));
    let end = format!(
        " && CLAUDE_CONFIG_DIR='{}' claude --resume={}",
        place.display(),
        conversation.as_str().unwrap()
    );
    let line = handover["line"].as_str().unwrap();
    assert!(status == 200 && line.ends_with(&end), "{handover}");
}

#[test]
fn an_import_knows_its_fields() {
    let daemon = TestDaemon::start();
    for body in [
        json!({}),
        json!({"agent_session_id": "x"}),
        json!({"agent_session_id": "11111111-1111-4111-8111-111111111111", "task": "x"}),
        json!({"agent_session_id": "11111111-1111-4111-8111-111111111111", "instruktion": "x"}),
    ] {
        let (status, problem) = daemon.post("/api/sessions/import", &body);
        assert_eq!((status, &problem["code"]), (400, &json!("bad_body")), "{problem}");
    }
}
