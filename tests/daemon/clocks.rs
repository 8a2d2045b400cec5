//! Silence, usage limits and an API that does not answer: each has its clock and its treatment.

use serde_json::{Value, json};

use crate::support::daemon::TestDaemon;

#[test]
fn a_silent_agent_is_told_so_interrupted_and_restarted() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__SUPERVISION__STREAM_SECONDS", "1")]);
    let id = daemon.create("say before ;; silence");
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(view["attempt"], 2, "{view}");
    assert_eq!(daemon.records_of(&id, "attempt.ended")[0]["data"]["ending"], "stalled");
    let notices = daemon.records_of(&id, "notice");
    assert!(
        notices[0]["data"]["text"].as_str().unwrap().contains("silent"),
        "{notices:?}"
    );
}

#[test]
fn a_tool_with_a_child_process_is_not_silent() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__SUPERVISION__TOOL_SECONDS", "1")]);
    let (gate, ticks) = (daemon.root().join("gate"), daemon.root().join("ticks"));
    let tool = format!(
        "sleep 4; touch {}; until [ -e {} ]; do sleep 0.05; done",
        ticks.display(),
        gate.display()
    );
    // The end of a wait has the clock looked at, which else happens every 30 s.
    let id = daemon.create(&format!("api-retry 1 ;; bash {tool} ;; say done"));
    // The tool itself tells when it has been silent for several times its patience.
    crate::support::wait::until("the tool's own clock", || ticks.exists().then_some(()));
    std::fs::write(gate, "").unwrap();
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 1);
    assert_eq!(daemon.records_of(&id, "notice"), [Value::Null; 0]);
}

#[test]
fn a_usage_limit_is_waited_out_by_the_living_agent() {
    let daemon = TestDaemon::start();
    let id = daemon.create("usage-limit 1 ;; say after the reset");
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 1);
}

#[test]
fn beyond_the_hold_the_agent_is_ended_and_the_session_waits_for_the_reset() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__SUPERVISION__QUOTA_HOLD_MINUTES", "0")]);
    let id = daemon.create("usage-limit 3 ;; say after the reset");
    let view = daemon.wait_for(&id, "waiting_retry");
    assert_eq!(view["attempt"], 1);
    assert!(daemon.processes_of(&id).is_empty(), "no agent is kept for it");
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(view["attempt"], 2);
    assert_eq!(daemon.records_of(&id, "attempt.ended")[0]["data"]["ending"], "quota");
}

#[test]
fn the_reset_of_a_usage_limit_is_shown_and_known_to_the_next_daemon() {
    let mut daemon = TestDaemon::start();
    let id = daemon.create("usage-limit 3600 ;; say never");
    let reset = daemon.wait_for(&id, "waiting_quota")["waits_until"].clone();
    assert!(reset.is_string(), "{reset}");
    daemon.kill();
    daemon.set("CC_EXECUTOR__SUPERVISION__QUOTA_HOLD_MINUTES", "0");
    daemon.launch();
    daemon.wait_for(&id, "waiting_retry");
    let ended = &daemon.records_of(&id, "attempt.ended")[0]["data"];
    assert_eq!(seconds(&ended["resets_at"]), seconds(&reset), "{ended}");
    daemon.cancel(&id);
    assert_eq!(daemon.wait_for(&id, "cancelled").get("waits_until"), None);
}

/// A time to the second.
fn seconds(time: &serde_json::Value) -> i64 {
    let time: jiff::Timestamp = time.as_str().expect("a time").parse().unwrap();
    time.as_second()
}

#[test]
fn waiting_for_quota_can_be_turned_off() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__SUPERVISION__RESUME_AFTER_QUOTA", "false")]);
    let id = daemon.create("usage-limit 1000 ;; say never");
    let view = daemon.wait_for(&id, "failed");
    assert_eq!((&view["cause"], &view["attempt"]), (&json!("quota"), &json!(1)));
}

#[test]
fn an_api_that_does_not_answer_is_asked_again_later_and_not_charged() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__SUPERVISION__API_HOLD_MINUTES", "0")]);
    let id = daemon.create("api-retry 100000 20 ;; say never");
    daemon.wait_for(&id, "waiting_retry");
    assert_eq!(daemon.records_of(&id, "attempt.ended")[0]["data"]["ending"], "api_down");
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
}

#[test]
fn checkpoints_follow_each_step_and_name_the_commit() {
    let daemon = TestDaemon::start();
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.current_dir(daemon.work()).env("HOME", daemon.root());
        let settings = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
        assert!(
            command
                .args(settings)
                .args(arguments)
                .output()
                .unwrap()
                .status
                .success()
        );
    };
    git(&["init", "-q"]);
    git(&["commit", "-q", "--allow-empty", "-m", "first"]);
    // The directory is looked at beside the agent's work, so a step is taken at a time until one names what was found.
    const STEPS: usize = 200;
    let gate = |step: usize| daemon.root().join(format!("gate-{step}"));
    let steps = (0..STEPS).map(|step| format!("wait-file {} ;; bash true", gate(step).display()));
    let id = daemon.create(&steps.collect::<Vec<_>>().join(" ;; "));
    let checkpoint_after = |step: usize| {
        let before = daemon.records_of(&id, "checkpoint").len();
        std::fs::write(gate(step), "").unwrap();
        crate::support::wait::until("a checkpoint behind the step", || {
            daemon.records_of(&id, "checkpoint").get(before).cloned()
        })
    };
    let mut checkpoints = (0..STEPS).map(checkpoint_after);
    let named = checkpoints.find_map(|checkpoint| checkpoint["data"]["git"]["commit"].as_str().map(str::to_owned));
    assert_eq!(named.expect("one names the commit").len(), 40);
    let latest = checkpoints.next().expect("one more step");
    assert!(
        latest["data"]["git"]["commit"].is_string(),
        "and those behind it do: {latest}"
    );
    assert_eq!(daemon.view(&id)["checkpoint"], latest["seq"]);
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
}
