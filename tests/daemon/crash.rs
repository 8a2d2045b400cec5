//! Whatever dies, whenever: each part is killed at each moment, and afterwards the journal has every line once and in
//! order, no process is left, and the outcome is right.

use crate::support::daemon::TestDaemon;
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
    AfterTheResult,
    WhileWaitingToRetry,
}

impl Moment {
    /// A task that has this moment, and stays in it where that is possible.
    fn task(self, gate: &str) -> String {
        match self {
            Self::BeforeTheFirstMessage => "say hello ;; say the end".to_owned(),
            Self::MidText => "slow 10 ;; deltas 100 ;; say the end".to_owned(),
            Self::DuringATool => format!("bash until [ -e {gate} ]; do sleep 0.02; done ;; say the end"),
            Self::WhileAQuestionIsOpen => "ask-permission true ;; say the end".to_owned(),
            Self::AfterTheResult => "say the end".to_owned(),
            Self::WhileWaitingToRetry => "crash once tool ;; say the end".to_owned(),
        }
    }

    fn wait_for(self, daemon: &TestDaemon, id: &str) {
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
            }
            Self::MidText => until("some text", || in_spool("text_delta")),
            Self::DuringATool => until("the tool", || has("agent.message", "tool_use")),
            Self::WhileAQuestionIsOpen => {
                daemon.question(id);
            }
            Self::AfterTheResult => until("the result", || in_spool("\"result\"")),
            Self::WhileWaitingToRetry => until("the end of the first attempt", || has("attempt.ended", "crashed")),
        }
    }
}

fn check(victim: Victim, moment: Moment) {
    println!("{victim:?} {moment:?}");
    let mut daemon = TestDaemon::start();
    let gate = daemon.root().join("gate");
    let id = daemon.create(&moment.task(&gate.display().to_string()));
    moment.wait_for(&daemon, &id);
    victim.kill(&mut daemon, &id);
    std::fs::write(gate, "").unwrap();
    if moment == Moment::WhileAQuestionIsOpen {
        let (status, view) = daemon.answer(&id, "q1", &serde_json::json!({"action": "allow"}));
        assert_eq!(status, 200, "{view}");
    }
    daemon.wait_for(&id, "completed");
    compare_with_spools(&daemon, &id);
    let said = daemon.records_of(&id, "agent.message");
    let ends = said
        .iter()
        .filter(|record| record["data"]["message"]["text"] == "the end")
        .count();
    assert!(
        ends >= 1,
        "the work was done: {:#?}",
        daemon.records(&id).iter().map(|r| r.to_string()).collect::<Vec<_>>()
    );
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
    Victim::ALL
        .into_iter()
        .for_each(|victim| check(victim, Moment::MidText));
}

#[test]
fn between_a_tool_call_and_its_result() {
    Victim::ALL
        .into_iter()
        .chain([Victim::BashChild])
        .for_each(|victim| check(victim, Moment::DuringATool));
}

#[test]
fn while_a_question_is_open() {
    Victim::ALL
        .into_iter()
        .for_each(|victim| check(victim, Moment::WhileAQuestionIsOpen));
}

#[test]
fn after_the_result() {
    Victim::ALL
        .into_iter()
        .for_each(|victim| check(victim, Moment::AfterTheResult));
}

#[test]
fn while_waiting_to_retry() {
    [Victim::Daemon, Victim::Everything]
        .into_iter()
        .for_each(|victim| check(victim, Moment::WhileWaitingToRetry));
}
