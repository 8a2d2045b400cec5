//! Whatever dies, whenever: each part is killed at each moment, and afterwards the journal has every line once and in
//! order, no process is left, and the outcome is right.

use std::path::Path;

use rustix::process::Signal;
use serde_json::json;

use crate::support::daemon::{TestDaemon, signal};
use crate::support::spool::compare_with_spools;
use crate::support::victim::Victim;
use crate::support::wait::until;

/// When it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    BeforeTheFirstMessage,
    MidText,
    DuringATool,
    WhileAQuestionIsOpen,
    /// The result is in the spool, and the daemon has not seen it.
    AfterTheResult,
    /// The agent waits, because the API has failed.
    WhileTheApiFails,
    /// The daemon waits, because the agent has died. Nothing else of the session lives.
    WhileWaitingToRetry,
}

impl Moment {
    /// A task that has this moment, and stays in it until there is a file at the gate where that is possible.
    fn task(self, gate: &Path) -> String {
        let gate = gate.display();
        match self {
            Self::BeforeTheFirstMessage => format!("wait-file {gate} ;; say hello ;; say the end"),
            Self::MidText => "slow 10 ;; deltas 100 ;; say the end".to_owned(),
            Self::DuringATool => format!("bash until [ -e {gate} ]; do sleep 0.02; done ;; say the end"),
            Self::WhileAQuestionIsOpen => "ask-permission true ;; say the end".to_owned(),
            Self::AfterTheResult => format!("wait-file {gate} ;; say the end"),
            Self::WhileTheApiFails => "api-retry 10 100 ;; say the end".to_owned(),
            Self::WhileWaitingToRetry => "crash once tool ;; say the end".to_owned(),
        }
    }

    /// Whether the session stays in it until the victim is dead.
    fn is_held(self) -> bool {
        match self {
            Self::BeforeTheFirstMessage | Self::DuringATool | Self::WhileAQuestionIsOpen | Self::AfterTheResult => true,
            Self::MidText | Self::WhileTheApiFails | Self::WhileWaitingToRetry => false,
        }
    }

    fn wait_for(self, daemon: &TestDaemon, id: &str, gate: &Path) {
        let has = |kind: &str, part: &str| {
            let records = daemon.records_of(id, kind);
            records
                .iter()
                .any(|record| record.to_string().contains(part))
                .then_some(())
        };
        let spool = daemon.state().join(format!("sessions/{id}/1/stdout.jsonl"));
        let in_spool = |part: &str| {
            std::fs::read_to_string(&spool)
                .unwrap_or_default()
                .contains(part)
                .then_some(())
        };
        match self {
            Self::BeforeTheFirstMessage => {
                daemon.agent_pid(id, 1);
                until("its first line", || in_spool("\"subtype\":\"init\""));
            }
            Self::MidText => until("some text", || in_spool("text_delta")),
            Self::DuringATool => until("the tool", || has("agent.message", "tool_use")),
            Self::WhileAQuestionIsOpen => {
                daemon.question(id);
            }
            Self::AfterTheResult => {
                until("its first line", || in_spool("\"subtype\":\"init\""));
                signal(daemon.pid(), Signal::STOP);
                open(gate);
                until("the result", || in_spool("\"type\":\"result\""));
            }
            Self::WhileTheApiFails => until("a retry", || has("agent.message", "api_retry")),
            Self::WhileWaitingToRetry => until("the end of the first attempt", || has("attempt.ended", "crashed")),
        }
    }
}

fn open(gate: &Path) {
    std::fs::write(gate, "").expect("the gate opens");
}

/// What follows with this victim: how many attempts there were, where that is certain.
fn check_attempts(victim: Victim, moment: Moment, attempts: u64) {
    let has_died = moment == Moment::WhileWaitingToRetry || (victim.has_agent() && moment != Moment::AfterTheResult);
    if !has_died {
        assert_eq!(
            attempts, 1,
            "no agent is started in the place of one that lives or has finished"
        );
    } else if moment.is_held() {
        assert_eq!(attempts, 2, "the agent that was killed has one successor");
    }
}

fn check(victim: Victim, moment: Moment) {
    println!("{victim:?} {moment:?}");
    let mut daemon = TestDaemon::start();
    let (gate, shell_gate) = (daemon.root().join("gate"), daemon.root().join("shell-gate"));
    let task = moment.task(&gate);
    let task = match victim {
        // A shell in the background is there at every moment.
        Victim::BashChild if moment != Moment::DuringATool => format!("background {} ;; {task}", shell_gate.display()),
        _ => task,
    };
    let id = daemon.create(&task);
    moment.wait_for(&daemon, &id, &gate);
    if victim == Victim::BashChild {
        until("the agent's child", || {
            (daemon.processes_of(&id).len() > 1).then_some(())
        });
    }
    victim.kill(&mut daemon, &id);
    // A daemon that was stopped until the moment goes on.
    signal(daemon.pid(), Signal::CONT);
    open(&gate);
    open(&shell_gate);
    if moment == Moment::WhileAQuestionIsOpen {
        if victim.has_agent() {
            // An answer that is written to an agent which dies at that moment may be spent.
            until("the death to be known", || {
                (!daemon.records_of(&id, "attempt.ended").is_empty()).then_some(())
            });
        }
        let (status, view) = daemon.answer(&id, "q1", &json!({"action": "allow"}));
        assert_eq!(status, 200, "{view}");
    }
    let view = daemon.wait_for(&id, "completed");
    compare_with_spools(&daemon, &id);
    check_attempts(victim, moment, view["attempt"].as_u64().expect("an attempt"));
    let ends = daemon.texts(&id).iter().filter(|text| *text == "the end").count();
    let shown = || {
        let records = daemon.records(&id).into_iter();
        records.map(|record| record.to_string()).collect::<Vec<_>>()
    };
    assert!(ends >= 1, "the work was done: {:#?}", shown());
    assert!(ends == 1 || !moment.is_held(), "and not twice: {:#?}", shown());
    assert_eq!(daemon.records_of(&id, "session.ended").len(), 1);
}

#[test]
fn before_the_first_message() {
    Victim::ALL
        .into_iter()
        .for_each(|victim| check(victim, Moment::BeforeTheFirstMessage));
}

#[test]
fn in_the_middle_of_a_text() {
    Victim::with_bash_child()
        .into_iter()
        .for_each(|victim| check(victim, Moment::MidText));
}

#[test]
fn between_a_tool_call_and_its_result() {
    Victim::with_bash_child()
        .into_iter()
        .for_each(|victim| check(victim, Moment::DuringATool));
}

#[test]
fn while_a_question_is_open() {
    Victim::with_bash_child()
        .into_iter()
        .for_each(|victim| check(victim, Moment::WhileAQuestionIsOpen));
}

#[test]
fn after_the_result_and_before_its_commit() {
    Victim::with_bash_child()
        .into_iter()
        .for_each(|victim| check(victim, Moment::AfterTheResult));
}

#[test]
fn while_the_agent_waits_for_the_api() {
    Victim::with_bash_child()
        .into_iter()
        .for_each(|victim| check(victim, Moment::WhileTheApiFails));
}

#[test]
fn while_the_daemon_waits_to_start_the_agent_again() {
    [Victim::Daemon, Victim::Everything]
        .into_iter()
        .for_each(|victim| check(victim, Moment::WhileWaitingToRetry));
}
