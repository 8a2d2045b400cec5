//! Agents that a daemon of the version before has started, under a daemon of this version.

use rustix::process::Signal;
use serde_json::json;

use super::main_job::{answer, previous_with_claude};
use super::recovery::{resume, tool, wait_for_call};
use super::timers::wakeup;
use crate::support::daemon::signal;
use crate::support::messages_api::MessagesApi;
use crate::support::previous::End;
use crate::support::spool::compare_with_spools;

#[test]
fn agents_of_the_version_before_work_ask_and_wait_under_this_version() {
    let api = MessagesApi::start();
    let mut daemon = previous_with_claude(&api);
    let ended = daemon.create("FAKE: say the first end");
    daemon.wait_for(&ended, "completed");
    let task = format!("FAKE: {} ;; say the work is done", tool(daemon.root(), "one"));
    let working = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"]}));
    let asking = daemon.create("FAKE: bash touch made ;; say it is made");
    let waiting = daemon.create_with(wakeup());
    wait_for_call(&daemon, &working, "one");
    daemon.question(&asking);
    let timers = daemon.wait_for(&waiting, "waiting_timer")["timers"].clone();
    daemon.upgrade(End::Killed);

    assert_eq!(daemon.view(&ended)["result"], "the first end");
    answer(&daemon, &asking, &json!({"action": "allow"}));
    std::fs::write(daemon.root().join("one.gate"), "").unwrap();
    for (id, result) in [(&working, "the work is done"), (&asking, "it is made")] {
        let view = daemon.wait_for(id, "completed");
        assert_eq!((&view["attempt"], &view["result"]), (&json!(1), &json!(result)));
        compare_with_spools(&daemon, id);
    }
    assert!(daemon.work().join("made").exists());

    let view = daemon.wait_for(&waiting, "waiting_timer");
    assert_eq!((&view["attempt"], &view["timers"]), (&json!(1), &timers));
    signal(daemon.agent_pid(&waiting, 1), Signal::KILL);
    assert_eq!(daemon.wait_for(&waiting, "completed")["attempt"], 2);
    let told = api.model_requests().last().expect("it is asked")["messages"].to_string();
    assert!(told.contains("are lost and will not fire"), "{told}");

    let instruction = json!({"instruction": "FAKE: say a copy"});
    let (status, fork) = daemon.post(&format!("/api/sessions/{working}/fork"), &instruction);
    assert_eq!(status, 201, "{fork}");
    let fork = fork["session_id"].as_str().unwrap();
    assert_eq!(daemon.wait_for(fork, "completed")["result"], "a copy");
}

#[test]
fn a_conversation_of_the_version_before_is_resumed() {
    let api = MessagesApi::start();
    let mut daemon = previous_with_claude(&api);
    let id = daemon.create("FAKE: bash touch made ;; say never");
    daemon.question(&id);
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
    daemon.upgrade(End::Asked);
    resume(&daemon, &id, &json!({"instruction": "FAKE: say once more"}));
    let view = daemon.wait_for(&id, "completed");
    assert_eq!((&view["attempt"], &view["result"]), (&json!(2), &json!("once more")));
    let requests = api.model_requests();
    let told = requests.last().expect("it is asked")["messages"].to_string();
    assert!(told.contains("say never"), "the conversation goes on: {told}");
}
