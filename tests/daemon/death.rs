//! The daemon or a host dies, or is told to: the agent goes on, and nothing is lost or doubled.

use std::fs;
use std::process::Output;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::checks::{
    assert_each_once, assert_flood_is_journalled, host_pid, ids, lines_written, messages, wait_for_head, whole_journal,
};
use crate::support::daemon::{TestDaemon, signal};
use crate::support::wait::until;

/// Lines of the floods in which something dies.
const FLOOD: usize = 12_000;

const LINE_BYTES: usize = 400;

#[test]
fn a_daemon_killed_three_times_in_mid_flood_loses_and_doubles_nothing() {
    let mut daemon = TestDaemon::start();
    let gates: Vec<_> = (0..4).map(|n| daemon.root().join(format!("gate{n}"))).collect();
    // A part of the flood for each life of the daemon; the agent writes the next part whether a daemon is there or not.
    let parts = gates
        .iter()
        .map(|gate| format!("wait-file {} ;; flood {} {LINE_BYTES}", gate.display(), FLOOD / 4));
    let id = daemon.create(&parts.collect::<Vec<_>>().join(" ;; "));
    let path = format!("/execution/{id}/stream");
    let mut seen: Vec<u64> = Vec::new();
    for gate in &gates[..3] {
        let reader = daemon.stream(&path, seen.last().copied());
        fs::write(gate, "").unwrap();
        let before = seen.len();
        let mut reader = reader.filter_map(|event| event.id);
        seen.extend(reader.by_ref().take(FLOOD / 8));
        assert_eq!(seen.len(), before + FLOOD / 8, "the daemon is killed in the middle");
        daemon.kill();
        // What was on its way is read to the end of the connection.
        seen.extend(reader);
        daemon.launch();
    }
    fs::write(&gates[3], "").unwrap();
    let events: Vec<_> = daemon.stream(&path, seen.last().copied()).collect();
    assert_eq!(events[0].data["resume"], "ok");
    seen.extend(ids(&events));
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(view["attempt"], 1);
    let records = whole_journal(&daemon, &id);
    assert_each_once(&seen, records.len() as u64);
    assert_flood_is_journalled(&daemon, &records, LINE_BYTES);
    assert_eq!(lines_written(&daemon, LINE_BYTES).len(), FLOOD);
}

#[test]
fn a_draft_is_whole_after_the_daemon_was_killed() {
    let mut daemon = TestDaemon::start();
    let gate = daemon.root().join("gate");
    let id = daemon.create(&format!(
        "wait-file {} ;; say a whole text ;; slow 20 ;; deltas 1000",
        gate.display()
    ));
    let agent = daemon.agent_pid(&id, 1);
    daemon.wait_for(&id, "running");
    daemon.kill();
    fs::write(gate, "").unwrap();
    // The text and the beginning of the draft lie in the spool together when the next daemon comes.
    until("the draft to begin", || {
        let spool = fs::read_to_string(daemon.state().join(format!("sessions/{id}/1/stdout.jsonl"))).ok()?;
        spool.contains(r#""text":"5 ""#).then_some(())
    });
    signal(agent, Signal::STOP);
    daemon.launch();
    // Until the whole text is journalled its own partial text is shown again, and rightly so.
    until("the text", || {
        daemon.texts(&id).contains(&"a whole text".to_owned()).then_some(())
    });
    daemon.kill();
    daemon.launch();
    let mut reader = daemon.stream(&format!("/execution/{id}/stream"), None);
    signal(agent, Signal::CONT);
    let delta = reader.find(|event| event.event == "delta").unwrap();
    assert_eq!(delta.data["offset"], 0);
    assert!(delta.data["text"].as_str().unwrap().starts_with("1 "), "{delta:?}");
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
}

#[test]
fn sigterm_ends_the_daemon_and_not_the_agent() {
    let mut daemon = TestDaemon::start();
    let gate = daemon.root().join("gate");
    let id = daemon.create(&format!("say before ;; wait-file {} ;; say after", gate.display()));
    until("the first text", || {
        (!messages(&daemon.records(&id), "text").is_empty()).then_some(())
    });
    let agent = daemon.agent_pid(&id, 1);
    let mut reader = daemon.stream(&format!("/execution/{id}/stream"), None);
    assert_eq!(daemon.terminate(), Some(0));
    assert!(
        reader.all(|event| event.event != "session.ended"),
        "a reader is cut off, and the session has not ended"
    );
    assert!(daemon.processes_of(&id).contains(&(agent as i32)), "the agent goes on");
    assert!(!daemon.state().join("daemon.json").exists());
    daemon.launch();
    fs::write(gate, "").unwrap();
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 1);
    let texts: Vec<_> = messages(&whole_journal(&daemon, &id), "text")
        .iter()
        .map(|text| text["text"].clone())
        .collect();
    assert_eq!(texts, ["before", "after"]);
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_second_daemon_is_told_where_the_first_one_is_and_does_it_no_harm() {
    let daemon = TestDaemon::start();
    let id = daemon.create("ask-permission touch made ;; say done");
    let question = daemon.question(&id);
    let second = daemon.command(&["serve"]).output().unwrap();
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    let url = daemon.base_url().unwrap();
    for told in [&format!("pid {}", daemon.pid()), &url] {
        assert!(stderr(&second).contains(told), "{told}: {}", stderr(&second));
    }
    assert_eq!(daemon.base_url().unwrap(), url);
    let name = question["question_id"].as_str().unwrap();
    assert_eq!(daemon.answer(&id, name, &json!({"action": "allow"})).0, 200);
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 1);
}

#[test]
fn a_daemon_that_cannot_start_says_why() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let cases = [
        ("CC_EXECUTOR__SERVER__PROT", "1", "PROT".to_owned()),
        (
            "CC_EXECUTOR__LIMITS__MAX_LIVE_AGENTS",
            "many",
            "max_live_agents".to_owned(),
        ),
        ("CC_EXECUTOR__SERVER__PORT", &port, port.clone()),
    ];
    for (name, value, told) in cases {
        let daemon = TestDaemon::stopped(&[(name, value)]);
        let output = daemon.command(&["serve"]).output().unwrap();
        assert!(!output.status.success(), "{name}");
        assert!(
            stderr(&output).to_lowercase().contains(&told.to_lowercase()),
            "{name}: {}",
            stderr(&output)
        );
        assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    }
}

#[test]
fn the_queue_outlives_the_daemon_and_keeps_its_order() {
    let mut daemon = TestDaemon::start_with(&[("CC_EXECUTOR__LIMITS__MAX_LIVE_AGENTS", "1")]);
    let gate = daemon.root().join("gate");
    let first = daemon.create(&format!("wait-file {} ;; say first", gate.display()));
    daemon.wait_for(&first, "running");
    let waiting: Vec<_> = (0..4)
        .map(|n| daemon.create(&format!("bash echo {n} >> order ;; say {n}")))
        .collect();
    daemon.kill();
    daemon.launch();
    for id in &waiting {
        assert_eq!(daemon.view(id)["state"], "queued");
    }
    fs::write(gate, "").unwrap();
    for id in waiting.iter().chain([&first]) {
        assert_eq!(daemon.wait_for(id, "completed")["attempt"], 1);
    }
    let order = fs::read_to_string(daemon.work().join("order")).unwrap();
    assert_eq!(order, "0\n1\n2\n3\n");
}

#[test]
fn a_question_outlives_the_daemon_and_is_answered_after_it() {
    let mut daemon = TestDaemon::start();
    let id = daemon.create("ask-permission echo ran >> ran ;; say done");
    let question = daemon.question(&id);
    daemon.kill();
    daemon.launch();
    daemon.wait_for(&id, "awaiting_input");
    assert_eq!(daemon.question(&id), question, "the same question");
    let name = question["question_id"].as_str().unwrap();
    assert_eq!(daemon.answer(&id, name, &json!({"action": "allow"})).0, 200);
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 1);
    assert_delivered_once(&daemon, &id);
}

#[test]
fn an_answer_outlives_the_daemon_that_took_it() {
    let mut daemon = TestDaemon::start();
    for _ in 0..3 {
        let id = daemon.create("ask-permission echo ran >> ran ;; say done");
        let question = daemon.question(&id);
        let name = question["question_id"].as_str().unwrap();
        assert_eq!(daemon.answer(&id, name, &json!({"action": "allow"})).0, 200);
        daemon.kill();
        daemon.launch();
        assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 1);
        assert_delivered_once(&daemon, &id);
        fs::remove_file(daemon.work().join("ran")).unwrap();
    }
}

fn assert_delivered_once(daemon: &TestDaemon, id: &str) {
    let ran = fs::read_to_string(daemon.work().join("ran")).expect("the tool ran");
    assert_eq!(ran, "ran\n", "what was allowed ran once");
    let records = whole_journal(daemon, id);
    let count = |kind: &str| records.iter().filter(|record| record["kind"] == kind).count();
    assert_eq!((count("question.asked"), count("question.answered")), (1, 1));
    assert_eq!(count("question.delivered"), 1);
    assert_eq!(messages(&records, "text").last().expect("a text")["text"], "done");
}

#[test]
fn hosts_that_are_killed_again_and_again_are_replaced_each_time_and_nobody_is_troubled() {
    let daemon = TestDaemon::start();
    let gate = daemon.root().join("gate");
    let id = daemon.create(&format!("wait-file {} ;; say done", gate.display()));
    daemon.wait_for(&id, "running");
    for adopted in 1..=8 {
        kill_and_wait(&daemon, host_pid(&daemon, &id));
        until("the next host", || {
            (daemon.log().matches("a new host adopted the agent").count() >= adopted).then_some(())
        });
    }
    fs::write(gate, "").unwrap();
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 1);
    assert_eq!(daemon.records_of(&id, "notice"), [Value::Null; 0]);
}

#[test]
fn a_killed_host_is_replaced_and_the_attempt_goes_on() {
    let daemon = TestDaemon::start();
    let gates: Vec<_> = (0..2).map(|n| daemon.root().join(format!("gate{n}"))).collect();
    let id = daemon.create(&format!(
        "flood {FLOOD} {LINE_BYTES} ;; wait-file {} ;; ask-permission echo ran >> ran ;; wait-file {} ;; say done",
        gates[0].display(),
        gates[1].display()
    ));
    wait_for_head(&daemon, &id, 1000);
    let first = host_pid(&daemon, &id);
    kill_and_wait(&daemon, first);
    let second = host_pid(&daemon, &id);
    assert_ne!(first, second);
    fs::write(&gates[0], "").unwrap();
    // The question was asked to one host and is answered through another.
    let question = daemon.question(&id);
    kill_and_wait(&daemon, second);
    let name = question["question_id"].as_str().unwrap();
    assert_eq!(daemon.answer(&id, name, &json!({"action": "allow"})).0, 200);
    fs::write(&gates[1], "").unwrap();
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(view["attempt"], 1);
    let records = whole_journal(&daemon, &id);
    assert_flood_is_journalled(&daemon, &records, LINE_BYTES);
    assert_delivered_once(&daemon, &id);
    let inputs: Vec<&Value> = records.iter().filter(|record| record["kind"] == "input").collect();
    assert!(
        inputs
            .iter()
            .all(|input| input["data"]["uuid"] == inputs[0]["data"]["uuid"])
    );
}

fn kill_and_wait(daemon: &TestDaemon, pid: u32) {
    signal(pid, Signal::KILL);
    until("the host's end", || {
        (!daemon.family().contains(&(pid as i32))).then_some(())
    });
}

/// A daemon that comes back to an agent for which no host can be started, since its launch plan was spoilt; the
/// session, and how to mend the plan.
fn without_host(task: &str) -> (TestDaemon, String, impl FnOnce()) {
    let mut daemon = TestDaemon::start();
    let id = daemon.create(task);
    daemon.wait_for(&id, "running");
    let host = host_pid(&daemon, &id);
    daemon.kill();
    signal(host, Signal::KILL);
    until("the host to end", || daemon.hosts_of(&id).is_empty().then_some(()));
    let path = daemon.state().join(format!("sessions/{id}/1/launch.json"));
    let plan = fs::read(&path).unwrap();
    fs::write(&path, "{}").unwrap();
    daemon.launch();
    until("the notice", || {
        (!daemon.records_of(&id, "notice").is_empty()).then_some(())
    });
    assert_eq!(daemon.view(&id)["state"], "running");
    (daemon, id, move || fs::write(path, plan).unwrap())
}

#[test]
fn an_agent_for_which_no_host_can_be_had_goes_on_until_there_is_one() {
    let (daemon, id, mend) = without_host("say one ;; wait-file gate ;; say two");
    mend();
    fs::write(daemon.work().join("gate"), "").unwrap();
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 1);
    assert_eq!(daemon.texts(&id), ["one", "two"]);
    assert_eq!(daemon.records_of(&id, "notice").len(), 2, "lost once, and found");
}

#[test]
fn an_agent_for_which_no_host_can_be_had_is_ended_when_its_session_is_cancelled() {
    let (daemon, id, _) = without_host("say one ;; wait-file gate");
    let agent = daemon.agent_pid(&id, 1);
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
    assert!(!daemon.family().contains(&(agent as i32)), "the agent is gone");
}
