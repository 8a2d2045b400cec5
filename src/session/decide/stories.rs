//! Single ways through the state machine, from a new session on.

use super::walk::{cancel, decided, end, now, policy, resume};
use super::*;
use crate::session::message::{Message, TaskStatus, TurnEnd};
use crate::session::outcome::Cause;
use crate::session::restart::RestartPolicy;
use crate::session::samples::{good_turn, said, turn_ended};
use jiff::SignedDuration;

/// Follows a list of events from a new session, the clock standing still, and answers the end.
fn follow(policy: &RestartPolicy, events: &[Event]) -> Lifecycle {
    let mut life = Lifecycle::default();
    for event in events {
        let decision = decided(&life, event, policy, now(0), 0.5).unwrap();
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
    let decision = decided(&life, &ended, &policy, now(0), 0.0).unwrap();
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
    let cancel = cancel();
    let life = follow(&policy(), std::slice::from_ref(&cancel));
    assert_eq!(decided(&life, &cancel, &policy(), now(0), 0.0), Ok(Decision::default()));
    let done = Event::AttemptEnded {
        attempt: Attempt(1),
        analysis: None,
        end: end(Ending::Finished),
    };
    let life = follow(&policy(), &[slot(), done]);
    assert_eq!(
        decided(&life, &cancel, &policy(), now(0), 0.0),
        Err(Denied::AlreadyEnded(Outcome::Completed))
    );
    assert_eq!(
        decided(&life, &resume(), &policy(), now(0), 0.0),
        Err(Denied::Completed)
    );
}

/// The delays, in milliseconds, after each of these endings of a session that goes on after all of them.
fn delays(endings: &[Ending], between: &[Entry]) -> Vec<i128> {
    let mut life = Lifecycle::default();
    let policy = RestartPolicy::default();
    let mut delays = Vec::new();
    for ending in endings {
        let attempt = life.attempt.next();
        let ended = Event::AttemptEnded {
            attempt,
            analysis: None,
            end: end(ending.clone()),
        };
        for event in [slot(), Event::AgentUp { attempt }, ended, Event::RetryDue { attempt }] {
            let decision = decided(&life, &event, &policy, now(0), 1.0).unwrap();
            decision.entries.iter().for_each(|entry| life.apply(entry, now(0)));
            if let State::WaitingRetry { at } = life.state {
                delays.push(at.duration_since(now(0)).as_millis());
            }
            if let Event::AgentUp { .. } = event {
                between.iter().for_each(|entry| life.apply(entry, now(0)));
            }
        }
    }
    delays
}

#[test]
fn waits_grow_with_each_failure_in_a_row_and_a_good_turn_begins_a_new_row() {
    let down = || Ending::ApiDown { message: "500".into() };
    let result = |is_error| {
        said(turn_ended(TurnEnd {
            is_error,
            ..TurnEnd::default()
        }))
    };
    assert_eq!(delays(&[down(), down(), down()], &[]), [15_000, 30_000, 60_000]);
    assert_eq!(
        delays(&[down(), down()], &[result(false)]),
        [15_000, 15_000],
        "the API has answered"
    );
    assert_eq!(delays(&[down(), down()], &[result(true)]), [15_000, 30_000]);
    assert_eq!(
        delays(&[down(), down(), Ending::Crashed, down()], &[]),
        [15_000, 30_000, 1000, 15_000],
        "a crash is another trouble"
    );
    assert_eq!(
        delays(&[Ending::Crashed, Ending::Crashed, Ending::Crashed], &[result(false)]),
        [1000, 2000, 4000],
        "progress makes no crash loop quicker"
    );
}

/// A session whose first attempt ended like this, and that somebody resumed since.
fn resumed(ending: Ending) -> Lifecycle {
    let ended = Event::AttemptEnded {
        attempt: Attempt(1),
        analysis: None,
        end: end(ending),
    };
    let attempt = Attempt(2);
    follow(
        &policy(),
        &[slot(), ended, resume(), slot(), Event::AgentUp { attempt }],
    )
}

/// How it ends when that attempt finishes, with the sentence about it.
fn finished(life: &Lifecycle) -> (Outcome, String) {
    let event = Event::AttemptEnded {
        attempt: life.attempt,
        analysis: None,
        end: end(Ending::Finished),
    };
    let decision = decided(life, &event, &policy(), now(0), 0.0).unwrap();
    let Some(Entry::SessionEnded(ended)) = decision.entries.last() else {
        panic!("it ends: {decision:?}")
    };
    (ended.outcome, ended.summary.clone())
}

#[test]
fn a_session_in_which_only_a_command_ran_since_it_ended_ends_as_before() {
    let (cause, message) = (Cause::BadRequest, "400".to_owned());
    let life = resumed(Ending::Refused { cause, message });
    let as_before = (Outcome::Failed { cause }, "the API refused the request: 400".to_owned());
    assert_eq!(finished(&life), as_before);
    let after = |message: Message| {
        let mut life = life.clone();
        life.apply(&said(message), now(0));
        finished(&life).0
    };
    let turn = |turns, is_error, synthetic| {
        after(turn_ended(TurnEnd {
            turns,
            is_error,
            synthetic,
            ..good_turn()
        }))
    };
    assert_eq!(turn(1, false, false), Outcome::Completed, "the model has worked");
    assert_eq!(turn(0, false, false), as_before.0, "a command prints");
    assert_eq!(turn(1, true, false), as_before.0, "a turn that fails is no work");
    assert_eq!(turn(1, false, true), as_before.0, "nor is a notice");
    let task = |status| {
        after(Message::TaskEnded {
            task_id: "t".into(),
            status,
            summary: "/forked".into(),
        })
    };
    assert_eq!(
        task(TaskStatus::Completed),
        Outcome::Completed,
        "a command that runs as a fork"
    );
    assert_eq!(task(TaskStatus::Failed), as_before.0);
}

#[test]
fn a_session_that_ended_under_the_version_before_ends_as_before_too() {
    let life = follow(&policy(), &[cancel()]);
    let mut row = serde_json::to_value(&life).unwrap();
    for field in ["last_end", "login"] {
        row.as_object_mut().unwrap().remove(field);
    }
    let mut life: Lifecycle = serde_json::from_value(row).unwrap();
    for event in [resume(), slot()] {
        let decision = decided(&life, &event, &policy(), now(0), 0.0).unwrap();
        decision.entries.iter().for_each(|entry| life.apply(entry, now(0)));
    }
    assert_eq!(finished(&life), (Outcome::Cancelled, "cancelled".to_owned()));
}

#[test]
fn a_refused_login_is_tried_again_until_its_hold_is_over_and_not_charged() {
    let refused = |until: Option<Timestamp>| {
        let message = "401".to_owned();
        Event::AttemptEnded {
            attempt: Attempt(1),
            analysis: None,
            end: end(Ending::NotSignedIn { message, until }),
        }
    };
    let life = follow(&policy(), &[slot(), refused(Some(now(30)))]);
    // Half of the shortest ceiling of a failing API.
    assert_eq!(
        life.state,
        State::WaitingRetry {
            at: now(0) + SignedDuration::from_millis(7500)
        }
    );
    assert_eq!(life.restarts.in_window(&policy(), now(0)), 0);
    assert_eq!(life.login.held_until(), Some(now(30)));
    let soon = now(0) + SignedDuration::from_secs(1);
    let life = follow(&policy(), &[slot(), refused(Some(soon))]);
    assert_eq!(
        life.state,
        State::WaitingRetry { at: soon },
        "the last try is at its end"
    );
    let outcome = Outcome::Failed { cause: Cause::Auth };
    for over in [None, Some(now(0))] {
        let life = follow(&policy(), &[slot(), refused(over)]);
        assert_eq!(life.state, State::Ended { outcome });
    }
}
