//! `Idempotency-Key`: the same call creates one session, however often it is made and whatever happens in between.

use serde_json::{Value, json};

use crate::support::daemon::TestDaemon;

/// What came back of a call with a key: status, whether it says that it is a replay, body.
fn post(daemon: &TestDaemon, path: &str, key: &str, body: &Value) -> (u16, bool, Value) {
    post_with(daemon, &daemon.token(), path, key, body)
}

/// The same with another token.
fn post_with(daemon: &TestDaemon, token: &str, path: &str, key: &str, body: &Value) -> (u16, bool, Value) {
    let url = format!("{}{path}", daemon.base_url().expect("the daemon serves"));
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let agent: ureq::Agent = config.build().into();
    let request = agent.post(url).header("Authorization", format!("Bearer {token}"));
    let request = request
        .header("Content-Type", "application/json")
        .header("Idempotency-Key", key);
    let mut answer = request.send(body.to_string()).expect("an answer");
    let replayed = answer.headers().get("idempotency-replayed").is_some();
    let text = answer.body_mut().read_to_string().expect("a body");
    (
        answer.status().as_u16(),
        replayed,
        serde_json::from_str(&text).expect("JSON"),
    )
}

#[test]
fn a_call_that_is_repeated_creates_one_session_also_over_a_restart() {
    let mut daemon = TestDaemon::start();
    let body = json!({"task": "say hello", "cwd": daemon.work(), "env": {"A": "secret"}});
    let (status, replayed, first) = post(&daemon, "/api/sessions", "one", &body);
    assert_eq!((status, replayed), (201, false), "{first}");
    let id = first["session_id"].as_str().expect("an id").to_owned();
    daemon.wait_for(&id, "completed");
    daemon.kill();
    daemon.launch();

    let (status, replayed, again) = post(&daemon, "/api/sessions", "one", &body);
    assert_eq!((status, replayed), (201, true), "{again}");
    assert_eq!(
        (&again["session_id"], &again["state"]),
        (&json!(id), &json!("completed"))
    );
    let other = json!({"task": "say other", "cwd": daemon.work()});
    let (status, _, problem) = post(&daemon, "/api/sessions", "one", &other);
    assert_eq!((status, &problem["code"]), (422, &json!("idempotency_mismatch")));
    let (status, replayed, second) = post(&daemon, "/api/sessions", "two", &body);
    assert_eq!((status, replayed), (201, false), "another key is another session");
    daemon.wait_for(second["session_id"].as_str().expect("an id"), "completed");
    let (status, _, problem) = post(&daemon, "/api/sessions", &"x".repeat(256), &body);
    assert_eq!((status, &problem["code"]), (400, &json!("bad_header")));
    let (_, page) = daemon.get("/api/sessions");
    assert_eq!(page["sessions"].as_array().map(Vec::len), Some(2));
    let records = daemon.records(&id);
    assert!(!records[0].to_string().contains("secret"), "a key keeps no secret");
}

#[test]
fn a_key_belongs_to_the_token_that_it_came_with() {
    let daemon = TestDaemon::start();
    let body = json!({"task": "say hello", "cwd": daemon.work()});
    let tokens = ["ci", "nightly"].map(|name| {
        let (status, made) = daemon.post("/api/tokens", &json!({"name": name, "role": "operator"}));
        assert_eq!(status, 201, "{made}");
        made["token"].as_str().expect("a token").to_owned()
    });
    let mut sessions = Vec::new();
    for (token, by) in [
        (&daemon.token(), "rest"),
        (&tokens[0], "rest:ci"),
        (&tokens[1], "rest:nightly"),
    ] {
        let (status, replayed, made) = post_with(&daemon, token, "/api/sessions", "one", &body);
        assert_eq!((status, replayed), (201, false), "{by}: {made}");
        let (_, replayed, again) = post_with(&daemon, token, "/api/sessions", "one", &body);
        assert_eq!((replayed, &again["session_id"]), (true, &made["session_id"]), "{by}");
        let id = made["session_id"].as_str().expect("an id").to_owned();
        daemon.wait_for(&id, "completed");
        assert_eq!(daemon.records(&id)[0]["data"]["by"], by, "the journal tells them apart");
        sessions.push(id);
    }
    sessions.dedup();
    assert_eq!(sessions.len(), 3, "each has a session of his own");
}

#[test]
fn calls_that_are_made_at_once_create_one_session() {
    let daemon = TestDaemon::start();
    let body = json!({"task": "say hello", "cwd": daemon.work()});
    let answers: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| post(&daemon, "/api/sessions", "race", &body)))
            .collect();
        calls.into_iter().map(|call| call.join().expect("an answer")).collect()
    });
    let first = &answers[0].2["session_id"];
    for (status, _, view) in &answers {
        assert_eq!((*status, &view["session_id"]), (201, first), "{view}");
    }
    assert_eq!(answers.iter().filter(|(_, replayed, _)| !replayed).count(), 1);
    daemon.wait_for(first.as_str().expect("an id"), "completed");
}

#[test]
fn a_fork_is_made_once_under_a_key() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say hello");
    daemon.wait_for(&id, "completed");
    let path = format!("/api/sessions/{id}/fork");
    let body = json!({"instruction": "say again"});
    let (status, _, first) = post(&daemon, &path, "fork", &body);
    assert_eq!(status, 201, "{first}");
    let (status, replayed, again) = post(&daemon, &path, "fork", &body);
    assert_eq!(
        (status, replayed, &again["session_id"]),
        (201, true, &first["session_id"])
    );
    daemon.wait_for(first["session_id"].as_str().expect("an id"), "completed");
}
