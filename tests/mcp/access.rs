//! Who may use the face, what is kept of it, and where its sessions may work.

use serde_json::{Value, json};

use crate::client::{Client, SESSIONS, STATELESS, messages};
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

/// Whatever a client with this token tries with the session, there is none for it.
fn is_kept_out(daemon: &TestDaemon, token: &str, session: &str, last_event: &str) {
    let intruder = Client::with_session(daemon, token, Some(session));
    assert_eq!(
        intruder.post(&intruder.message("tools/list", json!({})).1).status(),
        404
    );
    assert_eq!(intruder.try_to_listen(None).status(), 404);
    assert_eq!(intruder.try_to_listen(Some(last_event)).status(), 404);
    assert_eq!(intruder.delete(), 404);
}

#[test]
fn an_operator_neither_uses_nor_ends_the_session_of_another_token() {
    let mut daemon = TestDaemon::start();
    let operator = token(&daemon, "hands", "operator");
    let mut admin = Client::connect(&daemon, SESSIONS);
    let session = admin.session.clone().expect("a session");
    let work = json!({"task": "say a secret", "cwd": daemon.work()});
    let mut call = admin.call_and_watch("execute_resumable", work);
    let first = call.event().and_then(|event| event.id).expect("an event with an id");
    assert!(call.result()["structuredContent"].to_string().contains("a secret"));

    is_kept_out(&daemon, &operator, &session, &first);
    assert!(admin.request("tools/list", json!({}))["tools"].is_array(), "it goes on");
    let own = Client::with_session(&daemon, &operator, None);
    let stolen: Vec<Value> = messages(own.try_to_listen(Some(&first))).collect();
    assert_eq!(stolen, [Value::Null; 0], "an event of another session begins nothing");
    assert!(
        admin.listen(Some(&first)).result()["structuredContent"]
            .to_string()
            .contains("a secret")
    );

    daemon.kill();
    daemon.launch();
    admin.find_again(&daemon);
    is_kept_out(&daemon, &operator, &session, &first);
    assert!(
        admin.request("tools/list", json!({}))["tools"].is_array(),
        "also after a restart"
    );

    // The version before did not write down whose a session is.
    assert_eq!(daemon.terminate(), Some(0));
    let path = daemon.state().join("mcp/sessions").join(&session);
    let mut introduction: Value = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
    introduction
        .as_object_mut()
        .expect("an object")
        .remove("signer")
        .expect("whose it is");
    std::fs::write(&path, introduction.to_string()).expect("it is written");
    daemon.launch();
    admin.find_again(&daemon);
    is_kept_out(&daemon, &operator, &session, &first);
    assert!(
        admin.request("tools/list", json!({}))["tools"].is_array(),
        "it is the machine's own"
    );
    assert_eq!(admin.delete(), 202);
    assert_eq!(admin.post(&admin.message("tools/list", json!({})).1).status(), 404);
}

#[test]
fn what_a_client_keeps_between_two_requests_opens_nothing_for_another_token() {
    let daemon = TestDaemon::start();
    let operator = token(&daemon, "hands", "operator");
    let admin = Client::connect(&daemon, STATELESS);
    let task = "question Which colour? | Red | Blue ;; say done";
    let mut call = json!({"name": "execute_with_streaming", "arguments": {"task": task, "cwd": daemon.work()}});
    let asked = admin.request("tools/call", call.clone());
    assert_eq!(asked["resultType"], "input_required", "{asked:#}");
    call["requestState"] = asked["requestState"].clone();
    call["inputResponses"] = json!({"q1": {"action": "accept", "content": {"q1": "Red"}}});
    let intruder = Client::connect(&daemon, STATELESS).with_another_token(&operator);
    let refused = intruder.request("tools/call", call.clone());
    assert_eq!(refused["isError"], true, "{refused:#}");
    let told = refused["content"][0]["text"].as_str().expect("words");
    assert!(told.contains("requestState"), "{told}");
    let result = admin.request("tools/call", call);
    assert_eq!(result["structuredContent"]["outcome"], "completed", "{result:#}");
}

#[test]
fn behind_a_proxy_the_face_is_called_by_its_public_address() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__SERVER__PUBLIC_URL", "https://agents.example")]);
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let agent: ureq::Agent = config.build().into();
    let url = format!("{}/mcp", daemon.base_url().expect("the daemon serves"));
    let message = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": SESSIONS, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}});
    for (host, origin, expected) in [
        ("agents.example", "https://agents.example", 200),
        ("agents.example", "https://evil.example", 403),
        ("evil.example", "https://agents.example", 403),
    ] {
        let request = agent.post(&url).header("Host", host).header("Origin", origin);
        let request = request
            .header("Authorization", format!("Bearer {}", daemon.token()))
            .header("Accept", "application/json, text/event-stream")
            .header("Content-Type", "application/json");
        let answer = request.send(message.to_string()).expect("an answer");
        assert_eq!(answer.status(), expected, "{host} {origin}");
    }
}
