//! The agent's own timers, and shells that it leaves in the background.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::main_job::{messages, with_claude, with_claude_and};
use crate::support::daemon::{TestDaemon, signal};
use crate::support::messages_api::MessagesApi;
use crate::support::wait::{shell_until_exists, until};

/// A task whose agent schedules its one wakeup for an hour later.
pub(crate) fn wakeup() -> Value {
    let call = json!({"delaySeconds": 3600, "reason": "the build", "prompt": "look at the build"});
    let task = format!("FAKE: tool ScheduleWakeup {call} ;; say I look again later");
    json!({"task": task, "allowed_tools": ["ScheduleWakeup"]})
}

/// Kills the daemon and starts it again.
fn restart(daemon: &mut TestDaemon) {
    daemon.kill();
    daemon.launch();
}

#[test]
fn a_wakeup_is_waited_for_over_the_death_of_the_daemon_and_told_over_that_of_the_agent() {
    let api = MessagesApi::start();
    let mut daemon = with_claude(&api);
    let id = daemon.create_with(wakeup());
    let view = daemon.wait_for(&id, "waiting_timer");
    let timer = view["timers"][0].as_str().unwrap_or_default();
    assert!(timer.ends_with("(look at the build)"), "{view}");
    assert!(view["waits_until"].is_string(), "{view}");
    restart(&mut daemon);
    let again = daemon.wait_for(&id, "waiting_timer");
    assert_eq!((&again["attempt"], &again["timers"]), (&json!(1), &view["timers"]));
    signal(daemon.agent_pid(&id, 1), Signal::KILL);
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 2);
    let told = api.model_requests().last().expect("it is asked")["messages"].to_string();
    assert!(
        told.contains("are lost and will not fire") && told.contains("look at the build"),
        "{told}"
    );
}

#[test]
fn a_scheduled_job_begins_a_turn_though_the_daemon_is_killed_before() {
    let api = MessagesApi::start();
    let mut daemon = with_claude(&api);
    let search = json!({"query": "select:CronCreate", "max_results": 1});
    let call = json!({"cron": "* * * * *", "recurring": false, "prompt": "FAKE: say the job is done"});
    let task = format!("FAKE: tool ToolSearch {search} ;; tool CronCreate {call} ;; say main part done");
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["ToolSearch", "CronCreate"]}));
    until("the first result", || {
        (!messages(&daemon, &id, "turn_ended").is_empty()).then_some(())
    });
    restart(&mut daemon);
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(
        (&view["attempt"], &view["result"]),
        (&json!(1), &json!("the job is done"))
    );
    assert!(view["cut_off"].is_null(), "{view}");
    assert_eq!(messages(&daemon, &id, "turn_ended").len(), 2);
}

#[test]
fn an_agent_without_timers_has_none_of_their_tools() {
    let api = MessagesApi::start();
    let daemon = with_claude_and(&api, &[("CC_EXECUTOR__AGENT__TIMERS", "false")]);
    let id = daemon.create_with(wakeup());
    let view = daemon.wait_for(&id, "completed");
    let results = messages(&daemon, &id, "tool_result");
    assert!(
        results[0]["text"]
            .as_str()
            .unwrap()
            .contains("ScheduleWakeup is disabled"),
        "{results:?}"
    );
    assert!(view["timers"].is_null(), "{view}");
}

#[test]
fn background_shells_are_ended_waited_for_or_kept() {
    let api = MessagesApi::start();
    let mut daemon = with_claude_and(&api, &[("CC_EXECUTOR__SUPERVISION__BACKGROUND_GRACE_SECONDS", "1")]);
    let gate = daemon.root().join("gate");
    let task = format!("FAKE: bashbg {} ;; say main part done", shell_until_exists(&gate));
    let create = |field: &str, value: Value| {
        let request = json!({"task": task, "allowed_tools": ["Bash"], field: value});
        daemon.create_with(request)
    };
    let waits = create("background_shells", json!("wait"));
    let kept = [
        create("background_shells", json!("keep")),
        create("keep_background", json!(true)),
    ];
    let ends = create("background_shells", json!("end"));
    let view = daemon.wait_for(&ends, "completed");
    let cut_off = view["cut_off"][0].as_str().unwrap_or_default();
    assert!(cut_off.starts_with("background shell"), "{view}");
    assert!(view["note"].as_str().unwrap().ends_with(cut_off), "{view}");
    assert!(daemon.processes_of(&ends).is_empty());
    for kept in &kept {
        assert!(daemon.wait_for(kept, "completed")["cut_off"].is_null());
    }
    until("the first result", || {
        (!messages(&daemon, &waits, "turn_ended").is_empty()).then_some(())
    });
    restart(&mut daemon);
    assert_eq!(daemon.view(&waits)["state"], "running");
    std::fs::write(gate, "").unwrap();
    assert!(daemon.wait_for(&waits, "completed")["cut_off"].is_null());
}
