//! Who may use the face, what is kept of it, and where its sessions may work.

use serde_json::{Value, json};

use crate::client::{Client, SESSIONS};
use crate::support::daemon::TestDaemon;

fn token(daemon: &TestDaemon, name: &str, role: &str) -> String {
    let (status, made) = daemon.post("/api/tokens", &json!({"name": name, "role": role}));
    assert_eq!(status, 201, "{made}");
    made["token"].as_str().expect("a token").to_owned()
}

/// What was done by MCP, the latest first.
fn kept(daemon: &TestDaemon) -> Vec<Value> {
    let (_, page) = daemon.get("/api/audit?limit=500");
    let entries = page["entries"].as_array().expect("entries").clone();
    entries.into_iter().filter(|entry| entry["face"] == "mcp").collect()
}

#[test]
fn a_viewer_is_kept_out_and_an_operator_is_not() {
    let daemon = TestDaemon::start();
    let viewer = Client::with_token(&daemon, &token(&daemon, "eyes", "viewer"));
    let list = |client: &Client| client.post(&client.message("tools/list", json!({})).1).status();
    assert_eq!(list(&viewer), 403);
    let operator = Client::with_token(&daemon, &token(&daemon, "hands", "operator"));
    assert_eq!(list(&operator), 200);
    assert_eq!(list(&Client::with_token(&daemon, "wrong")), 401);
}

#[test]
fn what_is_changed_is_kept_with_whose_token_it_was() {
    let daemon = TestDaemon::start();
    let client = Client::with_token(&daemon, &token(&daemon, "hands", "operator"));
    let begun = client.call(
        "execute_resumable",
        json!({"task": "max-turns", "cwd": daemon.work(), "background": true}),
    );
    let id = begun["structuredContent"]["session_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    daemon.wait_for(&id, "failed");
    client.call("list_executions", json!({}));
    client.call("get_execution", json!({"session_id": id}));
    let again = json!({"session_id": id, "instruction": "silence", "background": true});
    Client::connect(&daemon, SESSIONS).call("resume_execution", again);
    daemon.wait_for(&id, "running");
    client.call("control_execution", json!({"session_id": id, "action": "cancel"}));
    daemon.wait_for(&id, "cancelled");
    let shown: Vec<String> = kept(&daemon)
        .iter()
        .map(|entry| {
            assert_eq!(entry["session_id"], id, "{entry}");
            let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
            ["name", "role", "route", "outcome"].map(text).join(" ")
        })
        .collect();
    assert_eq!(
        shown,
        [
            "hands operator cancel done",
            "owner admin resume done",
            "hands operator create done"
        ],
        "looking is not kept"
    );
}

#[test]
fn a_task_runs_only_where_it_is_allowed() {
    let mut daemon = TestDaemon::stopped(&[]);
    let allowed = json!([daemon.root().join("elsewhere")]).to_string();
    daemon.set("CC_EXECUTOR__ACCESS__ALLOWED_DIRECTORIES", &allowed);
    daemon.launch();
    let client = Client::with_token(&daemon, &daemon.token());
    let refused = client.call("execute_resumable", json!({"task": "say hello", "cwd": daemon.work()}));
    assert_eq!(refused["isError"], true);
    let told = refused["content"][0]["text"].as_str().expect("words");
    assert!(told.contains("access.allowed_directories"), "{told}");
    assert_eq!(kept(&daemon)[0]["outcome"], "refused");
}
