//! Limits that have ended a session and are raised by its resume, and what a turn has used before it ends.

use serde_json::{Value, json};

use crate::support::daemon::TestDaemon;
use crate::support::wait::until;

fn resume(daemon: &TestDaemon, id: &str, body: &Value) -> (u16, Value) {
    daemon.post(&format!("/api/sessions/{id}/resume"), body)
}

fn plan(daemon: &TestDaemon, id: &str, attempt: u32) -> String {
    std::fs::read_to_string(daemon.state().join(format!("sessions/{id}/{attempt}/launch.json"))).expect("a plan")
}

/// Standard error of a command, and its exit code.
fn said(daemon: &TestDaemon, arguments: &[&str]) -> (Option<i32>, String) {
    let out = daemon.command(arguments).output().expect("it runs");
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

#[test]
fn a_resume_gives_more_turns_and_the_next_one_as_many_again() {
    let daemon = TestDaemon::start();
    let id = daemon.create_with(json!({"task": "say 1 ;; say 2 ;; say 3", "max_turns": 2}));
    let view = daemon.wait_for(&id, "failed");
    assert_eq!((&view["cause"], &view["turns"]), (&json!("max_turns"), &json!(2)));
    let body = json!({"instruction": "say 4 ;; say 5 ;; say 6 ;; say 7", "max_turns": 3});
    let (status, view) = resume(&daemon, &id, &body);
    assert_eq!((status, &view["limits"]["max_turns"]), (202, &json!(3)), "{view}");
    let ended = || daemon.records_of(&id, "session.ended").len();
    until("the second end", || (ended() == 2).then_some(()));
    let view = daemon.view(&id);
    assert_eq!((&view["cause"], &view["turns"]), (&json!("max_turns"), &json!(5)));
    assert_eq!(view["limits"]["used"]["turns"], 3, "{view}");
    let (code, told) = said(&daemon, &["resume", &id, "say 8 ;; say 9", "--detach"]);
    assert!(code == Some(0) && told.contains("3 more turns"), "{told}");
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(view["turns"], 7, "{view}");
    assert!(plan(&daemon, &id, 2).contains("--max-turns=3") && plan(&daemon, &id, 3).contains("--max-turns=3"));
    let notices = daemon.records_of(&id, "notice");
    let granted = notices
        .iter()
        .filter(|notice| notice["data"]["text"].as_str().unwrap().contains("3 more turns"));
    assert_eq!(granted.count(), 2, "{notices:?}");
}

#[test]
fn a_spent_budget_has_to_be_raised_and_each_face_names_its_own_way() {
    let daemon = TestDaemon::start();
    let id = daemon.create_with(json!({"task": "usage 100 20 0.6 ;; say hm ;; say never", "max_budget_usd": 0.5}));
    assert_eq!(daemon.wait_for(&id, "failed")["cause"], "budget");
    for body in [json!({}), json!({"max_budget_usd": 0.6})] {
        let (status, problem) = resume(&daemon, &id, &body);
        assert_eq!((status, &problem["code"]), (409, &json!("budget_spent")), "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("$0.6000") && detail.contains("max_budget_usd"),
            "{detail}"
        );
    }
    let (status, problem) = resume(&daemon, &id, &json!({"max_budget_usd": 0}));
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_request")));
    let (code, told) = said(&daemon, &["resume", &id]);
    assert!(
        code == Some(5) && told.contains("more than $0.6000 as --max-budget-usd"),
        "{told}"
    );
    let (code, told) = said(&daemon, &["resume", &id, "say on", "--max-budget-usd", "2", "--detach"]);
    assert!(
        code == Some(0) && told.contains("$2.00 in all, of which $0.6000 is spent"),
        "{told}"
    );
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(view["limits"]["max_budget_usd"], 2.0, "{view}");
    assert!(plan(&daemon, &id, 2).contains("--max-budget-usd=1.4"));
    // A copy has the limits in force, and has spent nothing of them.
    let (_, copy) = daemon.post(
        &format!("/api/sessions/{id}/fork"),
        &json!({"instruction": "say copied"}),
    );
    assert_eq!(copy["limits"]["max_budget_usd"], 2.0, "{copy}");
    daemon.wait_for(copy["session_id"].as_str().unwrap(), "completed");
}

#[test]
fn a_turn_shows_what_it_has_used_before_it_ends_and_counts_nothing_twice() {
    let mut daemon = TestDaemon::start();
    let gate = daemon.root().join("gate");
    let step = "usage 10 2 0.1 ;; tool Look {} => seen";
    let task = format!("{step} ;; {step} ;; {step} ;; wait-file {} ;; say done", gate.display());
    let id = daemon.create_with(json!({"task": task, "max_turns": 9}));
    let figures = |daemon: &TestDaemon| {
        let view = daemon.view(&id);
        let tokens = &view["usage"];
        let figures = [
            &view["turns"],
            &tokens["input_tokens"],
            &tokens["output_tokens"],
            &view["cost_usd"],
        ];
        Value::from_iter(figures.map(Clone::clone))
    };
    let used = json!([3, 30, 6, 0.3]);
    until("the figures amid the turn", || (figures(&daemon) == used).then_some(()));
    let shown = daemon.command(&["status", &id]).output().unwrap().stdout;
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("3 turns · 36 tokens · $0.3000 ·"), "{shown}");
    assert!(shown.contains("3 of 9 turns"), "{shown}");
    assert!(daemon.records_of(&id, "usage").len() <= 3, "one record a call at most");
    daemon.kill();
    daemon.launch();
    assert_eq!(figures(&daemon), used);
    std::fs::write(gate, "").unwrap();
    daemon.wait_for(&id, "completed");
    assert_eq!(figures(&daemon), json!([4, 30, 6, 0.3]));
}
