//! Agents that call: what they may ask for, answer and touch, and how they are known.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::access_roles::token;
use crate::support::daemon::TestDaemon;
use crate::support::wait::until;

/// A session whose agent waits until it may go, and acts through the daemon meanwhile.
pub(crate) struct Parent<'a> {
    daemon: &'a TestDaemon,
    pub(crate) id: String,
    pub(crate) mark: String,
    go: PathBuf,
}

impl<'a> Parent<'a> {
    /// It has our tools, and what else the request says.
    pub(crate) fn start(daemon: &'a TestDaemon, name: &str, request: Value) -> Self {
        Self::start_with(daemon, name, "", request)
    }

    /// The same with steps before it waits.
    fn start_with(daemon: &'a TestDaemon, name: &str, steps: &str, mut request: Value) -> Self {
        let go = daemon.root().join(format!("go-{name}"));
        request["task"] = json!(format!("{steps} wait-file {} ;; say done", go.display()));
        if request.get("executor_tools").is_none() {
            request["executor_tools"] = json!(true);
        }
        let id = daemon.create_with(request);
        daemon.wait_for(&id, "running");
        let mark = daemon.mark(&id, 1);
        Self { daemon, id, mark, go }
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.daemon.post_as(&self.mark, path, body)
    }

    fn ask(&self, mut request: Value) -> (u16, Value) {
        request["cwd"] = request.get("cwd").cloned().unwrap_or_else(|| json!(self.daemon.work()));
        self.post("/api/sessions", &request)
    }

    /// Asks for a session and is given it.
    pub(crate) fn child(&self, request: Value) -> String {
        let (status, view) = self.ask(request);
        assert_eq!(status, 201, "{view}");
        view["session_id"].as_str().expect("an id").to_owned()
    }

    pub(crate) fn end(self) {
        std::fs::write(&self.go, "").unwrap();
        self.daemon.wait_for(&self.id, "completed");
    }
}

#[track_caller]
pub(crate) fn assert_refused((status, problem): (u16, Value), code: &str, told: &str) {
    assert_eq!((status, &problem["code"]), (403, &json!(code)), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(told), "{problem}");
}

pub(crate) fn request_of(daemon: &TestDaemon, id: &str) -> Value {
    daemon.records_of(id, "session.created")[0]["data"]["request"].clone()
}

fn argv_of(daemon: &TestDaemon, id: &str) -> String {
    let plan = daemon.state().join(format!("sessions/{id}/1/launch.json"));
    let plan: Value = serde_json::from_slice(&std::fs::read(plan).unwrap()).unwrap();
    plan["argv"].to_string()
}

#[test]
fn a_session_that_an_agent_asks_for_gets_no_more_than_the_agents_own_has() {
    let daemon = TestDaemon::start();
    let own = json!({"allowed_tools": ["Edit"], "disallowed_tools": ["WebFetch"], "permission_mode": "acceptEdits",
        "env": {"OWN": "1"}});
    let parent = Parent::start(&daemon, "p", own);
    for (more, told) in [
        (
            json!({"permission_mode": "bypassPermissions"}),
            "wider than acceptEdits",
        ),
        (json!({"permission_mode": "auto"}), "wider than acceptEdits"),
        (json!({"allowed_tools": ["Edit", "Bash"]}), "\"Bash\""),
        (json!({"allowed_tools": ["Edit,Bash"]}), "\"Edit,Bash\""),
        (json!({"mcp_config": ["servers.json"]}), "give the JSON itself"),
        (json!({"trust_project": true}), "trust_project"),
        (
            json!({"on_question": "allow", "question_timeout_seconds": 1}),
            "on_question",
        ),
        (json!({"cwd": daemon.root()}), "outside of the directories"),
        (json!({"add_dirs": [daemon.root()]}), "outside of the directories"),
        (json!({"cwd": daemon.work().join("..")}), "outside of the directories"),
    ] {
        let mut body = json!({"task": "say no"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_refused(parent.ask(body), "exceeds_agent", told);
    }
    let child = parent
        .child(json!({"task": "bash echo $OWN ;; say hi", "allowed_tools": ["Edit"], "disallowed_tools": ["Write"]}));
    daemon.wait_for(&child, "completed");
    let request = request_of(&daemon, &child);
    assert_eq!(
        (&request["depth"], &request["parent"]),
        (&json!(1), &json!(parent.id)),
        "{request}"
    );
    assert_eq!(request["disallowed_tools"], json!(["Write", "WebFetch"]));
    assert_eq!(
        request["env_names"],
        json!(["OWN"]),
        "it has the environment of its asker"
    );
    let argv = argv_of(&daemon, &child);
    for flag in [
        "--permission-mode=default",
        "--allowedTools=Edit",
        "--disallowedTools=WebFetch",
    ] {
        assert!(argv.contains(flag), "{argv}");
    }
    let printed = daemon
        .records_of(&child, "agent.message")
        .into_iter()
        .map(|record| record.to_string());
    assert!(
        printed
            .into_iter()
            .any(|record| record.contains("\"tool_result\"") && record.contains('1'))
    );
    parent.end();
}

#[test]
fn the_mode_in_force_counts_and_not_the_one_that_was_asked_for() {
    let daemon = TestDaemon::start();
    let parent = Parent::start(&daemon, "p", json!({"permission_mode": "plan"}));
    assert_refused(
        parent.ask(json!({"task": "say no", "permission_mode": "default"})),
        "exceeds_agent",
        "wider than plan",
    );
    let child = parent.child(json!({"task": "say hi"}));
    daemon.wait_for(&child, "completed");
    assert_eq!(request_of(&daemon, &child)["permission_mode"], "plan");
    parent.end();
}

#[test]
fn an_agent_answers_and_steers_only_what_it_has_asked_for() {
    let daemon = TestDaemon::start();
    let parent = Parent::start(&daemon, "p", json!({"allowed_tools": ["Bash"]}));
    let stranger = daemon.create("ask-permission true ;; say stranger");
    daemon.question(&stranger);
    let child = parent.child(json!({"task": "ask-permission true ;; say child"}));
    daemon.question(&child);
    let answer = |id: &str, body: &Value| parent.post(&format!("/api/sessions/{id}/questions/q1/answer"), body);
    let allow = json!({"action": "allow"});
    for id in [&stranger, &parent.id] {
        assert_refused(answer(id, &allow), "forbidden_agent", "was not asked for");
        assert_refused(
            answer(id, &json!({"action": "deny"})),
            "forbidden_agent",
            "was not asked for",
        );
        for what in ["cancel", "resume", "fork"] {
            let (status, problem) = parent.post(&format!("/api/sessions/{id}/{what}"), &json!({}));
            let is_refused = [403, 409].contains(&status);
            assert!(is_refused, "{what}: {problem}");
        }
    }
    let remembered = json!({"action": "allow", "remember": true});
    assert_refused(
        answer(&child, &remembered),
        "exceeds_agent",
        "do not ask again for Bash(true *)",
    );
    assert_refused(
        answer(&child, &json!({"action": "allow", "grant": [1]})),
        "exceeds_agent",
        "acceptEdits",
    );
    let (status, view) = answer(&child, &allow);
    assert_eq!(status, 200, "{view}");
    daemon.wait_for(&child, "completed");
    let name = format!("the agent of session {}", parent.id.replace('-', "").split_at(24).1);
    for kind in ["session.created", "question.answered"] {
        assert_eq!(daemon.records_of(&child, kind)[0]["data"]["by"], json!(name), "{kind}");
    }
    let (status, view) = daemon.answer(&stranger, "q1", &remembered);
    assert_eq!(status, 200, "a person may: {view}");
    daemon.wait_for(&stranger, "completed");
    parent.end();
}

#[test]
fn an_agent_lets_no_other_do_what_needs_a_person_in_its_own_session() {
    let daemon = TestDaemon::start();
    let parent = Parent::start(&daemon, "p", json!({"allowed_tools": ["Bash(true)"]}));
    let child = parent.child(json!({"task": "ask-permission true ;; say child"}));
    daemon.question(&child);
    let answer = |body: Value| parent.post(&format!("/api/sessions/{child}/questions/q1/answer"), &body);
    let other = json!({"action": "allow", "updated_input": {"command": "touch x"}});
    for allow in [json!({"action": "allow"}), other] {
        assert_refused(answer(allow), "exceeds_agent", "a person is asked there about Bash");
    }
    assert_eq!(answer(json!({"action": "deny"})).0, 200);
    daemon.wait_for(&child, "completed");
    parent.end();
}

#[test]
fn an_agent_answers_nothing_of_its_own_and_of_those_above_it() {
    let daemon = TestDaemon::start();
    let task = "ask-permission true ;; say done";
    let above = daemon.create_with(json!({"task": task, "executor_tools": true}));
    daemon.question(&above);
    let go = daemon.root().join("go");
    let below = json!({"task": format!("wait-file {} ;; say below", go.display()), "cwd": daemon.work(),
        "executor_tools": true});
    let (status, view) = daemon.post_as(&daemon.mark(&above, 1), "/api/sessions", &below);
    assert_eq!(status, 201, "{view}");
    let child = view["session_id"].as_str().unwrap();
    daemon.wait_for(child, "running");
    for id in [above.as_str(), child] {
        let path = format!("/api/sessions/{above}/questions/q1/answer");
        let answered = daemon.post_as(&daemon.mark(id, 1), &path, &json!({"action": "allow"}));
        assert_refused(answered, "forbidden_agent", "was not asked for");
    }
    assert_eq!(daemon.answer(&above, "q1", &json!({"action": "allow"})).0, 200);
    std::fs::write(go, "").unwrap();
    daemon.wait_for(child, "completed");
    daemon.wait_for(&above, "completed");
}

#[test]
fn an_agent_changes_no_token_and_the_audit_names_it() {
    let daemon = TestDaemon::start();
    let parent = Parent::start(&daemon, "p", json!({}));
    let child = parent.child(json!({"task": "say hi"}));
    daemon.wait_for(&child, "completed");
    for (path, body) in [
        ("/api/tokens", json!({"name": "mine", "role": "viewer"})),
        ("/api/sign-in-links", json!({})),
        ("/api/gc", json!({})),
        (
            "/api/sessions/import",
            json!({"agent_session_id": "abcd1234", "cwd": daemon.work()}),
        ),
        ("/sign-out", json!({})),
    ] {
        let (status, problem) = parent.post(path, &body);
        assert_eq!(status, 403, "{path}: {problem}");
    }
    assert_eq!(daemon.get_as(&parent.mark, "/api/audit").0, 403);
    let (status, page) = daemon.get("/api/audit");
    assert_eq!(status, 200);
    let name = json!(format!("agent of session {}", parent.id));
    let entries = page["entries"].as_array().expect("entries");
    let by_agent = entries.iter().filter(|entry| entry["name"] == name);
    let told: Vec<_> = by_agent
        .map(|entry| (entry["route"].clone(), entry["outcome"].clone()))
        .collect();
    assert!(told.contains(&(json!("/api/sessions"), json!("done"))), "{page}");
    assert!(told.contains(&(json!("/api/tokens"), json!("refused"))), "{page}");
    parent.end();
}

#[test]
fn who_is_inside_an_agent_is_that_agent_whatever_token_it_has() {
    let daemon = TestDaemon::start();
    let with = Parent::start(&daemon, "with", json!({}));
    let without = Parent::start(&daemon, "without", json!({"executor_tools": false}));
    let (session, digits) = with.mark.rsplit_once('/').expect("a secret");
    let forged = format!("{session}/{}", "0".repeat(digits.len()));
    for (mark, told) in [
        (without.mark.as_str(), "without the tools"),
        (&forged, "inside an agent"),
        (session, "inside an agent"),
        ("0193e9a4-7b1c-4c2e-8f00-1d5c2a7f9b10/1", "inside an agent"),
        ("anything", "inside an agent"),
        ("", "inside an agent"),
    ] {
        for path in ["/api/sessions", "/metrics", "/", "/mcp"] {
            assert_refused(daemon.get_as(mark, path), "forbidden_agent", told);
        }
        let body = json!({"task": "say no", "cwd": daemon.work()});
        assert_refused(daemon.post_as(mark, "/api/sessions", &body), "forbidden_agent", told);
    }
    assert_eq!(daemon.get_as(&with.mark, "/api/sessions").0, 200);
    let (mark, id) = (with.mark.clone(), with.id.clone());
    // What it reads ends with it.
    let mut stream = daemon.stream_as(&mark, "/events");
    stream.next().expect("a hello");
    with.end();
    assert!(stream.by_ref().count() > 0, "it goes on to the end of the agent");
    assert!(stream.next().is_none(), "and no further");
    assert_refused(daemon.get_as(&mark, "/api/sessions"), "forbidden_agent", "has ended");
    let (status, _) = daemon.post(&format!("/api/sessions/{id}/fork"), &json!({}));
    assert_eq!(status, 201, "its session is a person's");
    until("the copy", || {
        let (_, page) = daemon.get("/api/sessions?state=live");
        (page["sessions"].as_array()?.len() == 1).then_some(())
    });
    without.end();
}

#[test]
fn a_named_token_in_an_agent_is_that_agent_and_no_wider_than_its_role() {
    let daemon = TestDaemon::start();
    let parent = Parent::start(&daemon, "p", json!({}));
    let viewer = token(&daemon, "viewer", "viewer");
    let caller = crate::access::Caller::of(&daemon);
    let mark = format!("X-CC-Executor-Parent: {}", parent.mark);
    assert_eq!(caller.call("GET", "/api/sessions", &[&viewer, &mark], "").status, 200);
    assert_eq!(
        caller.call("POST", "/api/sessions", &[&viewer, &mark], "{}").problem(),
        "forbidden_role"
    );
    let depth = "X-CC-Executor-Depth: many";
    assert_eq!(
        caller.call("GET", "/api/sessions", &[&viewer, depth], "").problem(),
        "bad_header"
    );
    parent.end();
}

#[test]
fn the_depth_is_known_by_the_mark() {
    let daemon = TestDaemon::start();
    let mut above = vec![Parent::start(&daemon, "0", json!({"allowed_tools": ["Bash"]}))];
    for depth in 1..=3 {
        let parent = above.last().unwrap();
        let go = daemon.root().join(format!("go-{depth}"));
        let task = format!("wait-file {} ;; say done", go.display());
        let id = parent.child(json!({"task": task, "executor_tools": true, "depth": 0}));
        daemon.wait_for(&id, "running");
        assert_eq!(request_of(&daemon, &id)["depth"], depth);
        let mark = daemon.mark(&id, 1);
        above.push(Parent {
            daemon: &daemon,
            id,
            mark,
            go,
        });
    }
    let (status, problem) = above[3].ask(json!({"task": "say no"}));
    assert_eq!(
        (status, &problem["code"]),
        (400, &json!("invalid_request")),
        "{problem}"
    );
    // One far above answers, one below does not.
    let leaf = above[2].child(json!({"task": "ask-permission true ;; say leaf"}));
    daemon.question(&leaf);
    let path = format!("/api/sessions/{leaf}/questions/q1/answer");
    let allow = json!({"action": "allow"});
    assert_refused(above[3].post(&path, &allow), "forbidden_agent", "was not asked for");
    assert_eq!(above[0].post(&path, &allow).0, 200);
    daemon.wait_for(&leaf, "completed");
    above.into_iter().rev().for_each(Parent::end);
}

#[test]
fn the_budget_is_shared_with_the_sessions_below() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__LIMITS__MAX_LIVE_AGENTS", "8")]);
    let parent = Parent::start_with(
        &daemon,
        "p",
        "usage 1 1 0.25 ;; bash true ;;",
        json!({"max_budget_usd": 1.0}),
    );
    until("its cost", || {
        (daemon.view(&parent.id)["cost_usd"] == 0.25).then_some(())
    });
    let too_much = parent.ask(json!({"task": "say no", "max_budget_usd": 0.8}));
    assert_refused(too_much, "exceeds_agent", "$0.7500");
    // One that spends, and has ended.
    let spent = parent.child(json!({"task": "usage 1 1 0.25 ;; say spent", "max_budget_usd": 0.5}));
    daemon.wait_for(&spent, "completed");
    // One that lives keeps what it may still spend.
    let go = daemon.root().join("go-live");
    let live = parent.child(json!({"task": format!("wait-file {} ;; say live", go.display())}));
    assert_eq!(request_of(&daemon, &live)["max_budget_usd"], 0.5, "all that is left");
    assert_refused(parent.ask(json!({"task": "say no"})), "exceeds_agent", "nothing left");
    std::fs::write(go, "").unwrap();
    daemon.wait_for(&live, "completed");
    let next = parent.child(json!({"task": "say next", "max_budget_usd": 0.5}));
    daemon.wait_for(&next, "completed");
    parent.end();
}

#[test]
fn what_children_have_spent_is_taken_from_later_attempts() {
    let daemon = TestDaemon::start();
    let go = daemon.root().join("go");
    let task = format!("wait-file {} ;; max-turns", go.display());
    let id = daemon.create_with(json!({"task": task, "executor_tools": true, "max_budget_usd": 1.0}));
    daemon.wait_for(&id, "running");
    let body = json!({"task": "usage 1 1 0.75 ;; say spent", "cwd": daemon.work()});
    let (status, child) = daemon.post_as(&daemon.mark(&id, 1), "/api/sessions", &body);
    assert_eq!(status, 201, "{child}");
    daemon.wait_for(child["session_id"].as_str().unwrap(), "completed");
    std::fs::write(go, "").unwrap();
    daemon.wait_for(&id, "failed");
    let (status, view) = daemon.post(
        &format!("/api/sessions/{id}/resume"),
        &json!({"instruction": "say again"}),
    );
    assert!([200, 202].contains(&status), "{view}");
    daemon.wait_for(&id, "completed");
    let plan = daemon.state().join(format!("sessions/{id}/2/launch.json"));
    let plan = std::fs::read_to_string(plan).unwrap();
    assert!(plan.contains("--max-budget-usd=0.25\""), "{plan}");
}
