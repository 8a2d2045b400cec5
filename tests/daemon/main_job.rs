//! The main job: a task is run, watched, answered, found again.

use rustix::process::Signal;
use serde_json::json;

use crate::support::daemon::{TestDaemon, signal};
use crate::support::wait::until;

#[test]
fn a_task_runs_to_its_end() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say hello there ;; usage 100 20 0.5");
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(daemon.texts(&id), ["hello there"]);
    assert_eq!((&view["outcome"], &view["attempt"]), (&json!("completed"), &json!(1)));
    let seqs: Vec<_> = daemon
        .records(&id)
        .iter()
        .map(|record| record["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(
        seqs,
        (1..=seqs.len() as u64).collect::<Vec<_>>(),
        "numbered without gaps"
    );
    assert!(daemon.processes_of(&id).is_empty(), "its agent is gone");
}

#[test]
fn a_permission_is_asked_answered_once_and_delivered() {
    let daemon = TestDaemon::start();
    let id = daemon.create("ask-permission touch allowed ;; say done");
    let question = daemon.question(&id);
    daemon.wait_for(&id, "awaiting_input");
    assert_eq!(
        (&question["ask"], &question["input"]["command"]),
        (&json!("permission"), &json!("touch allowed"))
    );
    let name = question["question_id"].as_str().unwrap();
    let (status, _) = daemon.answer(&id, name, &json!({"action": "choose", "answers": {}}));
    assert_eq!(status, 400, "an answer that does not fit");
    let (status, _) = daemon.answer(&id, name, &json!({"action": "allow"}));
    assert_eq!(status, 200);
    let (status, problem) = daemon.answer(&id, name, &json!({"action": "deny"}));
    assert!(status == 409 || status == 404, "the first answer wins: {problem}");
    daemon.wait_for(&id, "completed");
    assert!(daemon.work().join("allowed").exists());
    assert_eq!(daemon.records_of(&id, "question.answered").len(), 1);
    assert_eq!(daemon.records_of(&id, "question.delivered").len(), 1);
}

#[test]
fn of_many_who_answer_at_once_one_is_taken_at_his_word() {
    let daemon = TestDaemon::start();
    let id = daemon.create("ask-permission echo ran >> ran ;; say done");
    let question = daemon.question(&id);
    let name = question["question_id"].as_str().unwrap();
    let statuses = std::thread::scope(|scope| {
        let answer = || daemon.answer(&id, name, &json!({"action": "allow"})).0;
        let answering: Vec<_> = (0..16).map(|_| scope.spawn(answer)).collect();
        let answered = answering.into_iter().map(|answering| answering.join().unwrap());
        answered.collect::<Vec<_>>()
    });
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        1,
        "{statuses:?}"
    );
    daemon.wait_for(&id, "completed");
    assert_eq!(std::fs::read_to_string(daemon.work().join("ran")).unwrap(), "ran\n");
    assert_eq!(daemon.records_of(&id, "question.answered").len(), 1);
}

#[test]
fn a_denied_permission_does_not_run() {
    let daemon = TestDaemon::start();
    let id = daemon.create("ask-permission touch denied ;; say done");
    let question = daemon.question(&id);
    let deny = json!({"action": "deny", "reason": "not today"});
    daemon.answer(&id, question["question_id"].as_str().unwrap(), &deny);
    daemon.wait_for(&id, "completed");
    assert!(!daemon.work().join("denied").exists());
}

#[test]
fn a_choice_reaches_the_agent() {
    let daemon = TestDaemon::start();
    let id = daemon.create("question Which colour? | Red | Blue ;; say done");
    let question = daemon.question(&id);
    let answer = json!({"action": "choose", "answers": {"Which colour?": "Blue"}});
    let (status, view) = daemon.answer(&id, question["question_id"].as_str().unwrap(), &answer);
    assert_eq!(status, 200, "{view}");
    daemon.wait_for(&id, "completed");
    let results = daemon.records_of(&id, "agent.message").into_iter();
    let mut results = results.filter(|record| record["data"]["message"]["type"] == "tool_result");
    assert!(results.any(|record| record["data"]["message"]["text"].as_str().unwrap().contains("Blue")));
}

#[test]
fn a_question_is_answered_by_the_requests_policy_and_the_journal_says_so() {
    let daemon = TestDaemon::start();
    let id = daemon.create_with(json!({"task": "ask-permission touch x ;; say done", "on_question": "deny"}));
    daemon.wait_for(&id, "completed");
    let answered = daemon.records_of(&id, "question.answered");
    assert_eq!(answered[0]["data"]["by"], "the request's on_question");
    assert!(!daemon.work().join("x").exists());
}

#[test]
fn what_goes_on_in_the_background_is_left_alone_where_that_is_wished() {
    let daemon = TestDaemon::start();
    let started = daemon.root().join("started");
    for keep in [false, true] {
        let task = format!(
            "leave touch {0}; exec sleep 1000 ;; wait-file {0} ;; say done",
            started.display()
        );
        let id = daemon.create_with(json!({"task": task, "keep_background": keep}));
        daemon.wait_for(&id, "completed");
        let left = daemon.processes_of(&id);
        assert_eq!(!left.is_empty(), keep, "{left:?}");
        let ended = &daemon.records_of(&id, "attempt.ended")[0]["data"]["leftovers"];
        assert_eq!(ended.as_array().is_none_or(Vec::is_empty), keep, "{ended}");
        left.into_iter().for_each(|pid| signal(pid as u32, Signal::KILL));
        until("its end", || daemon.processes_of(&id).is_empty().then_some(()));
        std::fs::remove_file(&started).unwrap();
    }
}

#[test]
fn a_cancel_ends_the_agent_and_is_accepted_again() {
    let daemon = TestDaemon::start();
    let id = daemon.create("bash sleep 1000 ;; say never");
    daemon.wait_for(&id, "running");
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
    assert!(daemon.processes_of(&id).is_empty());
    assert_eq!(daemon.cancel(&id)["state"], "cancelled");
}

#[test]
fn an_agent_that_does_not_listen_is_killed() {
    let settings = [
        ("CC_EXECUTOR__AGENT__STOP_GRACE_SECONDS", "1"),
        ("CC_EXECUTOR__AGENT__TERM_GRACE_SECONDS", "1"),
    ];
    let daemon = TestDaemon::start_with(&settings);
    let id = daemon.create("linger ;; say still here ;; silence");
    crate::support::wait::until("the step behind its linger", || {
        (!daemon.texts(&id).is_empty()).then_some(())
    });
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
    assert_eq!(daemon.records_of(&id, "attempt.ended")[0]["data"]["exit"], "signal 9");
}

#[test]
fn an_error_is_never_shown_as_success() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say trying ;; refuse");
    let view = daemon.wait_for(&id, "failed");
    assert_eq!((&view["cause"], &view["attempt"]), (&json!("model_refusal"), &json!(1)));
    let id = daemon.create("not-signed-in");
    assert_eq!(daemon.wait_for(&id, "failed")["cause"], "auth");
    let id = daemon.create("max-turns");
    assert_eq!(daemon.wait_for(&id, "failed")["cause"], "max_turns");
}

#[test]
fn a_missing_agent_fails_the_session_with_what_to_do() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__AGENT__COMMAND", "/no/such/claude")]);
    let id = daemon.create("anything");
    let view = daemon.wait_for(&id, "failed");
    assert_eq!(view["cause"], "not_started");
    assert!(view["note"].as_str().unwrap().contains("/no/such/claude"), "{view}");
}

#[test]
fn a_background_shell_is_waited_for_and_its_end_is_part_of_the_session() {
    let daemon = TestDaemon::start();
    let file = daemon.root().join("go");
    let id = daemon.create(&format!("background {} ;; say main part done", file.display()));
    crate::support::wait::until("the first result", || {
        let ended = |record: &serde_json::Value| record["data"]["message"]["type"] == "turn_ended";
        daemon.records_of(&id, "agent.message").iter().any(ended).then_some(())
    });
    assert_eq!(daemon.view(&id)["state"], "running", "a result alone is not the end");
    std::fs::write(file, "").unwrap();
    daemon.wait_for(&id, "completed");
}

#[test]
fn more_sessions_than_slots_wait_in_the_order_they_came() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__LIMITS__MAX_LIVE_AGENTS", "1")]);
    let gate = daemon.root().join("gate");
    let first = daemon.create(&format!("wait-file {} ;; say first", gate.display()));
    daemon.wait_for(&first, "running");
    let others: Vec<_> = (0..3).map(|n| daemon.create(&format!("say number {n}"))).collect();
    for id in &others {
        assert_eq!(daemon.view(id)["state"], "queued");
    }
    std::fs::write(gate, "").unwrap();
    let starts: Vec<_> = others
        .iter()
        .map(|id| {
            daemon.wait_for(id, "completed");
            daemon.records_of(id, "attempt.started")[0]["at"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert!(starts.is_sorted(), "{starts:?}");
    daemon.wait_for(&first, "completed");
}

#[test]
fn a_waiting_question_frees_the_slot() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__LIMITS__MAX_LIVE_AGENTS", "1")]);
    let asking = daemon.create("ask-permission true ;; say done");
    let question = daemon.question(&asking);
    let other = daemon.create("say hello");
    daemon.wait_for(&other, "completed");
    daemon.answer(
        &asking,
        question["question_id"].as_str().unwrap(),
        &json!({"action": "allow"}),
    );
    daemon.wait_for(&asking, "completed");
}

#[test]
fn active_time_that_is_used_up_ends_the_session() {
    let daemon = TestDaemon::start();
    let id = daemon.create_with(json!({"task": "say hi ;; silence", "timeout_seconds": 1}));
    daemon.wait_for(&id, "timed_out");
    assert!(daemon.processes_of(&id).is_empty());
}

#[test]
fn a_plan_is_shown_to_whoever_is_to_approve_it() {
    let daemon = TestDaemon::start();
    let id = daemon.create_with(json!({"task": "plan ;; say done", "permission_mode": "plan"}));
    let question = daemon.question(&id);
    assert_eq!(
        (&question["ask"], &question["plan"]),
        (&json!("plan"), &json!("1. look\n2. do\n3. check"))
    );
    let name = question["question_id"].as_str().unwrap();
    daemon.answer(&id, name, &json!({"action": "allow"}));
    daemon.wait_for(&id, "completed");
}
