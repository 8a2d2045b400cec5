//! The promises: what holds when something dies. The README's table is made of these tests' names: the part before the
//! double underscore is the event, the part behind it the promise.

#![allow(non_snake_case, reason = "a name is an event and a promise")]

use serde_json::{Value, json};

use crate::disk;
use crate::support::daemon::{TestDaemon, signal};
use crate::support::wait::until;
use crate::upgrade_live;
use rustix::process::Signal;

/// What is killed.
#[derive(Clone, Copy)]
enum Victim {
    Daemon,
    Host,
    Agent,
    /// As when the machine restarts.
    Everything,
}

impl Victim {
    fn strike(self, daemon: &mut TestDaemon, id: &str) {
        let hosts = daemon.hosts_of(id);
        let agent = daemon.agent_pid(id, 1);
        match self {
            Self::Daemon => daemon.kill(),
            Self::Host => hosts.iter().for_each(|host| signal(*host, Signal::KILL)),
            Self::Agent => signal(agent, Signal::KILL),
            Self::Everything => {
                daemon.kill();
                hosts.iter().for_each(|host| signal(*host, Signal::KILL));
                signal(agent, Signal::KILL);
                until("the machine to be down", || daemon.family().is_empty().then_some(()));
            }
        }
        if matches!(self, Self::Daemon | Self::Everything) {
            daemon.launch();
        }
    }
}

/// A session whose agent has said something and waits for a gate; answers its id and the gate.
fn in_the_middle(daemon: &TestDaemon) -> (String, std::path::PathBuf) {
    let gate = daemon.root().join("gate");
    let id = daemon.create(&format!(
        "flood 50 ;; bash true ;; wait-file {} ;; flood 50 ;; say the end",
        gate.display()
    ));
    until("the first part", || (daemon.texts(&id).len() == 50).then_some(()));
    until("the tool", || {
        (!daemon.records_of(&id, "checkpoint").is_empty()).then_some(())
    });
    (id, gate)
}

/// Every line once and in order, numbered without gaps.
fn check_output(daemon: &TestDaemon, id: &str) {
    let texts = daemon.texts(id);
    let mut once = texts.clone();
    once.dedup();
    assert_eq!(once.len(), texts.len(), "nothing is doubled: {texts:?}");
    assert_eq!(texts.len(), 101, "nothing is lost: {texts:?}");
    let seqs: Vec<_> = daemon
        .records(id)
        .iter()
        .map(|record| record["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
}

fn check_agent_and_output(victim: Victim, attempts: u32) {
    let mut daemon = TestDaemon::start();
    let (id, gate) = in_the_middle(&daemon);
    victim.strike(&mut daemon, &id);
    std::fs::write(gate, "").unwrap();
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(view["attempt"], attempts, "{view}");
    check_output(&daemon, &id);
}

fn asking(daemon: &TestDaemon) -> (String, Value) {
    let id = daemon.create("ask-permission touch allowed ;; say done");
    let question = daemon.question(&id)["question_id"].clone();
    (id, question)
}

/// The question outlives the victim, is answered once, and the tool runs once.
fn check_question(victim: Victim) {
    let mut daemon = TestDaemon::start();
    let (id, question) = asking(&daemon);
    victim.strike(&mut daemon, &id);
    if matches!(victim, Victim::Agent) {
        // An answer that is written to an agent which dies at that moment may be spent.
        until("the death to be known", || {
            (!daemon.records_of(&id, "attempt.ended").is_empty()).then_some(())
        });
    }
    let (status, view) = daemon.answer(&id, question.as_str().unwrap(), &json!({"action": "allow"}));
    assert_eq!(status, 200, "{view}");
    daemon.wait_for(&id, "completed");
    assert!(daemon.work().join("allowed").exists());
    assert_eq!(daemon.records_of(&id, "question.answered").len(), 1);
    assert_eq!(daemon.records_of(&id, "question.delivered").len(), 1);
}

#[test]
fn a_client_disconnects__the_agent_goes_on() {
    let daemon = TestDaemon::start();
    let (id, gate) = in_the_middle(&daemon);
    let mut events = daemon.stream(&format!("/execution/{id}/stream"), None);
    assert_eq!(events.next().expect("a hello").event, "hello");
    drop(events);
    std::fs::write(gate, "").unwrap();
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 1);
}

#[test]
fn a_client_disconnects__the_output_is_kept_and_replayed_from_any_record() {
    let daemon = TestDaemon::start();
    let (id, gate) = in_the_middle(&daemon);
    let path = format!("/execution/{id}/stream");
    let seen = daemon
        .stream(&path, None)
        .filter_map(|event| event.id)
        .nth(20)
        .expect("records");
    std::fs::write(gate, "").unwrap();
    let rest: Vec<_> = daemon.stream(&path, Some(seen)).filter_map(|event| event.id).collect();
    let last = daemon.records(&id).len() as u64;
    assert_eq!(rest, (seen + 1..=last).collect::<Vec<_>>());
    daemon.wait_for(&id, "completed");
}

#[test]
fn a_client_disconnects__open_questions_stay_open() {
    let daemon = TestDaemon::start();
    let (id, question) = asking(&daemon);
    let mut events = daemon.stream(&format!("/execution/{id}/stream"), None);
    events
        .find(|event| event.event == "question.asked")
        .expect("the question is shown");
    drop(events);
    assert_eq!(daemon.question(&id)["question_id"], question);
    daemon.answer(&id, question.as_str().unwrap(), &json!({"action": "allow"}));
    daemon.wait_for(&id, "completed");
}

#[test]
fn the_daemon_is_killed__the_agent_goes_on_and_its_output_is_journalled_on_return_without_loss_or_double() {
    check_agent_and_output(Victim::Daemon, 1);
}

#[test]
fn the_daemon_is_killed__open_questions_stay_open_and_are_answered_on_return() {
    check_question(Victim::Daemon);
}

#[test]
fn the_daemon_is_upgraded__the_agent_goes_on_and_its_output_is_journalled_without_loss_or_double() {
    upgrade_live::output_is_neither_lost_nor_doubled();
}

#[test]
fn the_daemon_is_upgraded__open_questions_stay_open_and_are_answered_afterwards() {
    upgrade_live::questions_are_answered();
}

#[test]
fn the_agent_host_is_killed__a_new_host_adopts_the_agent_without_loss_or_double() {
    check_agent_and_output(Victim::Host, 1);
}

#[test]
fn the_agent_host_is_killed__open_questions_stay_open() {
    check_question(Victim::Host);
}

#[test]
fn the_agent_is_killed__it_is_restarted_from_its_last_checkpoint_and_what_was_written_stays() {
    check_agent_and_output(Victim::Agent, 2);
}

#[test]
fn the_agent_is_killed__its_leftovers_are_ended_before_the_next_attempt() {
    let daemon = TestDaemon::start();
    let (marker, gate) = (daemon.root().join("left"), daemon.root().join("gate"));
    let left = format!("touch {}; exec sleep 1000", marker.display());
    let id = daemon.create(&format!("leave {left} ;; wait-file {} ;; say done", gate.display()));
    until("the leftover", || marker.exists().then_some(()));
    signal(daemon.agent_pid(&id, 1), Signal::KILL);
    std::fs::write(gate, "").unwrap();
    daemon.wait_for(&id, "completed");
    let ended = daemon.records_of(&id, "attempt.ended");
    let leftovers = ended[0]["data"]["leftovers"].as_array().expect("a list of leftovers");
    assert!(
        leftovers
            .iter()
            .any(|line| line.as_str().unwrap().contains("sleep 1000")),
        "{ended:?}"
    );
}

#[test]
fn the_agent_is_killed__an_answer_given_meanwhile_is_used() {
    check_question(Victim::Agent);
}

#[test]
fn the_machine_restarts__the_session_is_resumed_when_the_daemon_starts_and_what_was_written_stays() {
    check_agent_and_output(Victim::Everything, 2);
}

#[test]
fn the_machine_restarts__an_answer_given_on_return_is_used() {
    check_question(Victim::Everything);
}

#[test]
fn the_disk_fills_up__no_session_is_admitted_and_those_that_write_pause_until_there_is_room() {
    disk::sessions_wait_and_go_on(
        "promises::the_disk_fills_up__no_session_is_admitted_and_those_that_write_pause_until_there_is_room",
    );
}

#[test]
fn the_disk_fills_up__open_questions_stay_open() {
    disk::questions_stay_open("promises::the_disk_fills_up__open_questions_stay_open");
}
