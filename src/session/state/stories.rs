//! Single ways through the state machine, from a new session on.

use super::walk::{end, now, policy, resume};
use super::*;
use crate::session::outcome::Cause;
use crate::session::restart::RestartPolicy;

/// Follows a list of events from a new session, the clock standing still, and answers the end.
fn follow(policy: &RestartPolicy, events: &[Event]) -> Lifecycle {
    let mut life = Lifecycle::default();
    for event in events {
        let decision = decide(&life, event, policy, now(0), 0.5).unwrap();
        decision.entries.iter().for_each(|entry| life.apply(entry, now(0)));
    }
    life
}

fn slot() -> Event {
    Event::SlotFree {
        fresh: Uuid::from_u128(7),
        checkpoint: None,
    }
}

#[test]
fn a_crash_loop_that_writes_a_message_each_time_ends_parked() {
    let policy = policy();
    let mut events = Vec::new();
    for n in 1..=3 {
        let attempt = Attempt(n);
        events.extend([slot(), Event::AgentUp { attempt }]);
        events.push(Event::AttemptEnded {
            attempt,
            analysis: None,
            end: end(Ending::Crashed),
        });
        events.push(Event::RetryDue { attempt });
    }
    let life = follow(&policy, &events);
    assert_eq!(
        life.state,
        State::Ended {
            outcome: Outcome::Failed { cause: Cause::Parked }
        }
    );
}

#[test]
fn without_restarts_a_dead_agent_fails_as_crashed() {
    let policy = RestartPolicy {
        restarts_max: 0,
        ..policy()
    };
    let ended = Event::AttemptEnded {
        attempt: Attempt(1),
        analysis: None,
        end: end(Ending::Crashed),
    };
    let life = follow(&policy, &[slot(), ended]);
    assert_eq!(
        life.state,
        State::Ended {
            outcome: Outcome::Failed { cause: Cause::Crashed }
        }
    );
}

#[test]
fn a_session_that_is_given_up_says_how_its_agent_died() {
    let mut died = end(Ending::Crashed);
    died.exit = Some("exit code 1: it cannot be used as root".into());
    let ended = Event::AttemptEnded {
        attempt: Attempt(1),
        analysis: None,
        end: died,
    };
    let policy = RestartPolicy {
        restarts_total_max: 0,
        ..policy()
    };
    let life = follow(&policy, &[slot()]);
    let decision = decide(&life, &ended, &policy, now(0), 0.0).unwrap();
    let Some(Entry::SessionEnded(ended)) = decision.entries.last() else {
        panic!("it ends: {decision:?}")
    };
    assert_eq!(
        ended.summary,
        "the agent process died (exit code 1: it cannot be used as root), and its restart budget is used up"
    );
}

#[test]
fn waiting_for_quota_is_never_charged_and_can_be_turned_off() {
    let quota = Event::AttemptEnded {
        attempt: Attempt(1),
        analysis: None,
        end: end(Ending::Quota {
            resets_at: Some(now(99)),
        }),
    };
    let life = follow(&policy(), &[slot(), quota.clone()]);
    assert_eq!(life.state, State::WaitingRetry { at: now(99) });
    assert_eq!(life.restarts.in_window(&policy(), now(0)), 0);
    let off = RestartPolicy {
        resume_after_quota: false,
        ..policy()
    };
    let life = follow(&off, &[slot(), quota]);
    assert_eq!(
        life.state,
        State::Ended {
            outcome: Outcome::Failed { cause: Cause::Quota }
        }
    );
}

#[test]
fn a_lost_conversation_is_not_resumed() {
    let lost = Event::AttemptEnded {
        attempt: Attempt(1),
        analysis: None,
        end: end(Ending::LostContext { message: "gone".into() }),
    };
    let life = follow(&policy(), &[slot(), lost]);
    assert_eq!(
        life.agent_session_id, None,
        "the next attempt begins a new conversation"
    );
}

#[test]
fn a_repeated_cancel_is_accepted_quietly_and_a_late_one_refused() {
    let cancel = Event::Cancel { by: "me".into() };
    let life = follow(&policy(), std::slice::from_ref(&cancel));
    assert_eq!(decide(&life, &cancel, &policy(), now(0), 0.0), Ok(Decision::default()));
    let done = Event::AttemptEnded {
        attempt: Attempt(1),
        analysis: None,
        end: end(Ending::Finished),
    };
    let life = follow(&policy(), &[slot(), done]);
    assert_eq!(
        decide(&life, &cancel, &policy(), now(0), 0.0),
        Err(Denied::AlreadyEnded(Outcome::Completed))
    );
    assert_eq!(decide(&life, &resume(), &policy(), now(0), 0.0), Err(Denied::Completed));
}
