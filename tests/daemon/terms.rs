//! What a person grants along with an answer, and the terms of the attempts that follow.

use serde_json::{Value, json};

use crate::resume::resume;
use crate::support::daemon::TestDaemon;

/// What the simulated agent suggests for the command `true`, in words.
const RULE: &str = "do not ask again for Bash(true *)";
const MODE: &str = "switch to the permission mode acceptEdits: file edits need no permission";

/// The permission mode and the allowed tools that an attempt's agent was started with.
fn started_with(daemon: &TestDaemon, id: &str, attempt: u32) -> (String, Vec<String>) {
    let path = daemon.state().join(format!("sessions/{id}/{attempt}/launch.json"));
    let plan: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let argv: Vec<String> = serde_json::from_value(plan["argv"].clone()).unwrap();
    let values = |flag: &str| {
        let flags = argv.iter().filter_map(|argument| argument.strip_prefix(flag));
        flags.map(str::to_owned).collect::<Vec<_>>()
    };
    (values("--permission-mode=").remove(0), values("--allowedTools="))
}

/// A session that fails behind its first checkpoint and is resumed with a question, which is answered like this.
fn answered_with(daemon: &TestDaemon, answer: &Value) -> String {
    let id = daemon.create("say first ;; max-turns");
    daemon.wait_for(&id, "failed");
    go_on(daemon, &id, &json!({"instruction": "ask-permission true ;; max-turns"}));
    let question = daemon.question(&id);
    assert_eq!(question["offers"], json!([RULE, MODE]));
    let (status, view) = daemon.answer(&id, "q1", answer);
    assert_eq!(status, 200, "{view}");
    daemon.wait_for(&id, "failed");
    id
}

fn go_on(daemon: &TestDaemon, id: &str, body: &Value) {
    let (status, view) = resume(daemon, id, body);
    assert_eq!(status, 202, "{view}");
}

fn granted(daemon: &TestDaemon, id: &str) -> Value {
    daemon.records_of(id, "question.answered")[0]["data"]["granted"].clone()
}

#[test]
fn what_was_granted_holds_in_the_next_attempt_and_neither_before_a_cut_nor_in_a_copy() {
    let daemon = TestDaemon::start();
    let id = answered_with(&daemon, &json!({"action": "allow", "grant": [0, MODE]}));
    let rule = json!({"grant": "rules", "rules": [{"tool": "Bash", "content": "true *"}]});
    assert_eq!(
        granted(&daemon, &id),
        json!([rule, {"grant": "mode", "mode": "acceptEdits"}])
    );
    let terms = json!({"permission_mode": "acceptEdits", "allowed_tools": ["Bash(true *)"]});
    assert_eq!(daemon.view(&id)["terms"], terms);
    go_on(&daemon, &id, &json!({"instruction": "say more ;; max-turns"}));
    daemon.wait_for(&id, "failed");
    let with_both = ("acceptEdits".to_owned(), vec!["Bash(true *)".to_owned()]);
    assert_eq!(started_with(&daemon, &id, 3), with_both);
    let as_asked = ("default".to_owned(), Vec::<String>::new());
    let (status, copy) = daemon.post(
        &format!("/api/sessions/{id}/fork"),
        &json!({"instruction": "say copied"}),
    );
    assert_eq!(status, 201, "{copy}");
    let copy = copy["session_id"].as_str().unwrap();
    daemon.wait_for(copy, "completed");
    assert_eq!(
        started_with(&daemon, copy, 1),
        as_asked,
        "it was granted for that session"
    );
    let (_, page) = daemon.get(&format!("/api/sessions/{id}/checkpoints"));
    let first = page["checkpoints"].as_array().unwrap().last().unwrap()["seq"].clone();
    go_on(&daemon, &id, &json!({"at": first, "instruction": "say other"}));
    daemon.wait_for(&id, "completed");
    assert_eq!(started_with(&daemon, &id, 4), as_asked);
    assert_eq!(daemon.view(&id).get("terms"), None);
}

#[test]
fn to_remember_neither_switches_the_mode_nor_adds_directories() {
    let daemon = TestDaemon::start();
    let id = answered_with(&daemon, &json!({"action": "allow", "remember": true}));
    let rule = json!({"grant": "rules", "rules": [{"tool": "Bash", "content": "true *"}]});
    assert_eq!(granted(&daemon, &id), json!([rule]));
    assert_eq!(daemon.view(&id)["terms"], json!({"allowed_tools": ["Bash(true *)"]}));
}

#[test]
fn what_is_not_suggested_is_not_granted() {
    let daemon = TestDaemon::start();
    let id = daemon.create("ask-permission true ;; say done");
    daemon.question(&id);
    for pick in [json!(2), json!("everything")] {
        let (status, problem) = daemon.answer(&id, "q1", &json!({"action": "allow", "grant": [pick]}));
        assert_eq!(status, 400, "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(RULE) && detail.contains(MODE), "{problem}");
    }
    let done = daemon
        .command(&["answer", &id, "--allow", "--grant", "2"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && said.contains(MODE) && !said.contains(RULE),
        "{done:?}"
    );
    daemon.wait_for(&id, "completed");
    assert_eq!(granted(&daemon, &id), json!([{"grant": "mode", "mode": "acceptEdits"}]));
    let status = daemon.command(&["status", &id]).output().unwrap();
    let shown = String::from_utf8_lossy(&status.stdout);
    assert!(shown.contains("terms      permission mode acceptEdits"), "{shown}");
}
