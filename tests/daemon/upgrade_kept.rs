//! A daemon of this version has what one of the version before has kept: ended sessions, sessions that wait, and who may call.

use std::fs;

use serde_json::{Value, json};

use crate::access::Caller;
use crate::access_roles::{Browser, link, token};
use crate::resume::resume;
use crate::support::daemon::TestDaemon;
use crate::support::previous::{ENDS, End};
use crate::support::wait::until;
use crate::upgrade_live::assert_holds;

/// The fields of an ended session that tell how it ended.
const FIELDS: [&str; 10] = [
    "session_id",
    "name",
    "state",
    "cause",
    "result",
    "attempt",
    "turns",
    "usage",
    "cost_usd",
    "created_at",
];

#[test]
fn ended_sessions_of_before_are_listed_exported_resumed_forked_and_removed() {
    for end in ENDS {
        let mut daemon = TestDaemon::previous();
        let task = "say hello ;; usage 100 20 0.5 ;; bash true ;; question Which? | Red | Blue ;; say done";
        let completed = daemon.create_with(json!({"task": task, "name": "the first"}));
        daemon.question(&completed);
        let answer = json!({"action": "choose", "answers": {"Which?": "Blue"}});
        assert_eq!(daemon.answer(&completed, "q1", &answer).0, 200);
        let failed = daemon.create("crash once tool ;; max-turns");
        let cancelled = daemon.create("say begun ;; silence");
        until("its words", || (daemon.texts(&cancelled) == ["begun"]).then_some(()));
        daemon.cancel(&cancelled);
        let ids = [
            (&completed, "completed"),
            (&failed, "failed"),
            (&cancelled, "cancelled"),
        ];
        ids.iter().for_each(|(id, state)| drop(daemon.wait_for(id, state)));
        let before = ids.map(|(id, _)| kept(&daemon, id));
        daemon.upgrade(end);
        let (_, page) = daemon.get("/api/sessions?limit=100");
        assert_eq!(page["sessions"].as_array().map(Vec::len), Some(3), "{page}");
        for ((id, _), before) in ids.iter().zip(&before) {
            assert_holds(&kept(&daemon, id), before);
            let (status, text) = daemon.get(&format!("/api/sessions/{id}/export?format=markdown"));
            assert!(
                status == 200 && text.as_str().is_some_and(|text| text.starts_with('#')),
                "{text}"
            );
        }
        go_on(&daemon, &completed, &failed, &cancelled);
    }
}

/// What is shown of an ended session, without what grows with the time.
fn kept(daemon: &TestDaemon, id: &str) -> Value {
    let view = daemon.view(id);
    let fields = FIELDS.map(|name| view[name].clone());
    let (_, export) = daemon.get(&format!("/api/sessions/{id}/export?format=json"));
    let (_, checkpoints) = daemon.get(&format!("/api/sessions/{id}/checkpoints"));
    json!({"fields": fields, "records": export["records"], "checkpoints": checkpoints})
}

/// The sessions of before are what the next ones begin with.
fn go_on(daemon: &TestDaemon, completed: &str, failed: &str, cancelled: &str) {
    let attempts = daemon.view(failed)["attempt"].as_u64().unwrap();
    for (id, attempts) in [(failed, attempts), (cancelled, 1)] {
        let (status, view) = resume(daemon, id, &json!({"instruction": "say once more"}));
        assert_eq!(status, 202, "{view}");
        let view = daemon.wait_for(id, "completed");
        assert_eq!(
            (&view["attempt"], &view["result"]),
            (&json!(attempts + 1), &json!("once more"))
        );
    }
    let (_, page) = daemon.get(&format!("/api/sessions/{completed}/checkpoints"));
    let body = json!({"instruction": "say a copy", "at": page["checkpoints"][0]["seq"]});
    let (status, fork) = daemon.post(&format!("/api/sessions/{completed}/fork"), &body);
    assert_eq!(status, 201, "{fork}");
    let fork = fork["session_id"].as_str().unwrap();
    daemon.wait_for(fork, "completed");
    assert_eq!(daemon.texts(fork), ["a copy"]);
    let (status, removed) = daemon.delete(&format!("/api/sessions/{completed}"));
    assert!([200, 204].contains(&status), "{removed}");
    assert_eq!(daemon.get(&format!("/api/sessions/{completed}")).0, 404);
}

#[test]
fn sessions_of_before_that_wait_go_on_waiting_and_then_go_on() {
    for end in ENDS {
        let mut daemon = TestDaemon::previous_with(&[("CC_EXECUTOR__SUPERVISION__QUOTA_HOLD_MINUTES", "0")]);
        let long = daemon.create("usage-limit 3600 ;; say never");
        let until_reset = daemon.wait_for(&long, "waiting_retry")["waits_until"].clone();
        assert!(until_reset.is_string());
        let short = daemon.create("usage-limit 4 ;; say after the reset");
        daemon.wait_for(&short, "waiting_retry");
        daemon.upgrade(end);
        let view = daemon.view(&long);
        let waits = (&view["state"], &view["waits_until"], &view["attempt"]);
        assert_eq!(waits, (&json!("waiting_retry"), &until_reset, &json!(1)), "{view:#}");
        let view = daemon.wait_for(&short, "completed");
        assert_eq!(
            (&view["attempt"], &view["result"]),
            (&json!(2), &json!("after the reset"))
        );
        daemon.cancel(&long);
        daemon.wait_for(&long, "cancelled");
    }
}

#[test]
fn an_agent_of_before_that_waits_for_quota_is_waited_for() {
    let mut daemon = TestDaemon::previous();
    let id = daemon.create("usage-limit 3600 ;; say never");
    let before = daemon.wait_for(&id, "waiting_quota");
    daemon.upgrade(End::Killed);
    let view = daemon.wait_for(&id, "waiting_quota");
    assert_eq!(
        (&view["waits_until"], &view["attempt"]),
        (&before["waits_until"], &json!(1))
    );
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
}

#[test]
fn a_queued_session_and_one_whose_project_is_not_trusted_yet_begin_under_this_version() {
    let mut daemon = TestDaemon::previous_with(&[("CC_EXECUTOR__LIMITS__MAX_LIVE_AGENTS", "1")]);
    let gate = daemon.root().join("gate");
    let first = daemon.create(&format!("wait-file {} ;; say one", gate.display()));
    daemon.wait_for(&first, "running");
    let queued = daemon.create("say two");
    let project = daemon.root().join("project");
    fs::create_dir_all(project.join(".claude")).unwrap();
    let hooks = json!({"hooks": {"SessionStart": [{"hooks": [{"type": "command", "command": "true"}]}]}});
    fs::write(project.join(".claude/settings.json"), hooks.to_string()).unwrap();
    let asking = daemon.create_with(json!({"task": "say three", "cwd": project}));
    let asked = daemon.question(&asking);
    daemon.upgrade(End::Killed);
    assert_eq!(daemon.view(&queued)["state"], "queued");
    let question = daemon.question(&asking);
    assert_holds(&question, &asked);
    let text = question["questions"][0]["question"].as_str().unwrap();
    let answer = json!({"action": "choose", "answers": {text: "Run it"}});
    let (status, view) = daemon.answer(&asking, question["question_id"].as_str().unwrap(), &answer);
    assert_eq!(status, 200, "{view}");
    fs::write(gate, "").unwrap();
    for (id, text) in [(&first, "one"), (&queued, "two"), (&asking, "three")] {
        let view = daemon.wait_for(id, "completed");
        assert_eq!((&view["attempt"], &view["result"]), (&json!(1), &json!(text)));
    }
}

/// The audit log from its first entry on.
fn audit(daemon: &TestDaemon) -> Vec<Value> {
    let (status, page) = daemon.get("/api/audit?limit=200");
    assert_eq!(status, 200, "{page}");
    page["entries"]
        .as_array()
        .expect("a list")
        .iter()
        .rev()
        .cloned()
        .collect()
}

#[test]
fn tokens_and_sign_ins_of_before_hold_with_their_roles() {
    for end in ENDS {
        let mut daemon = TestDaemon::previous();
        let own = daemon.token();
        let roles = ["viewer", "operator", "admin"];
        let tokens = roles.map(|role| token(&daemon, role, role));
        let revoked = token(&daemon, "revoked", "admin");
        assert!([200, 204].contains(&daemon.delete("/api/tokens/revoked").0));
        let browser = Browser::sign_in(&daemon);
        let place = link(&daemon, &Value::Null).0;
        let before = audit(&daemon);
        daemon.upgrade(end);
        assert_eq!(daemon.token(), own);
        let caller = Caller::of(&daemon);
        let body = format!("{{\"task\": \"say hi\", \"cwd\": {:?}}}", daemon.work());
        let json = "Content-Type: application/json";
        for ((token, role), may) in tokens
            .iter()
            .zip(roles)
            .zip([[200, 403, 403], [200, 201, 403], [200, 201, 200]])
        {
            let got = [
                caller.call("GET", "/api/sessions", &[token], "").status,
                caller.call("POST", "/api/sessions", &[token, json], &body).status,
                caller.call("GET", "/api/tokens", &[token], "").status,
            ];
            assert_eq!(got, may, "{role}");
        }
        assert_eq!(caller.call("GET", "/api/sessions", &[&revoked], "").status, 401);
        let listed = daemon.get("/api/tokens").1["tokens"].as_array().map(Vec::len);
        assert_eq!(listed, Some(3));
        assert_eq!(link(&daemon, &Value::Null).0, place, "the page is where it was");
        assert_eq!(browser.call(&daemon, "GET", "/", "").status, 200);
        assert_eq!(browser.call(&daemon, "POST", "/api/sessions", &body).status, 201);
        let told = audit(&daemon);
        assert_eq!(told[..before.len()], before, "the audit log goes on");
        let numbers: Vec<_> = told.iter().map(|entry| entry["n"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=told.len() as u64).collect::<Vec<_>>());
        until("the last session to end", || {
            let (_, page) = daemon.get("/api/sessions?state=live");
            page["sessions"].as_array()?.is_empty().then_some(())
        });
    }
}

#[test]
fn a_request_that_the_daemon_of_before_took_is_not_taken_again() {
    let mut daemon = TestDaemon::previous();
    let body = json!({"task": "say hi", "cwd": daemon.work()}).to_string();
    let post = |daemon: &TestDaemon| {
        let caller = Caller::of(daemon);
        let headers = [
            &*caller.token(),
            "Content-Type: application/json",
            "Idempotency-Key: once",
        ];
        caller.call("POST", "/api/sessions", &headers, &body)
    };
    let first = post(&daemon);
    assert_eq!(first.status, 201, "{}", first.body);
    let id = first.body["session_id"].as_str().unwrap();
    daemon.wait_for(id, "completed");
    daemon.upgrade(End::Asked);
    let again = post(&daemon);
    assert_eq!(again.body["session_id"], id, "{}", again.body);
    assert_eq!(again.header("idempotency-replayed"), Some("true"), "{}", again.head);
}
