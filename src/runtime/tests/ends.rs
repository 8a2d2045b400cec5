//! Sessions that are ended by hand or by the clock, wherever they stand; and who comes too late.

use super::agent::{Agent, script};
use super::lines;
use super::world::{HOUR, MINUTE, SECOND, World, pass, simulate};
use crate::runtime::handle::Going;
use crate::runtime::refusal::CallError;
use crate::runtime::settings::RuntimeSettings;
use crate::session::decide::Denied;
use crate::session::id::{QuestionId, SessionId};
use crate::session::outcome::{Cause, Outcome};
use crate::session::question::Answer;
use crate::session::request::Request;
use crate::store::memory::Fault;
use serde_json::json;

const ALLOW: Answer = Answer::Allow {
    updated_input: None,
    remember: false,
    grant: Vec::new(),
};

#[test]
fn an_answer_to_a_session_that_is_being_ended_is_refused() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            agent.does_not_listen();
            agent.asks("make install", SECOND).await;
        }));
        let id = world.create(|_| {}).await;
        world.shown(id, "awaiting_input").await;
        world.handle().cancel(None, id, "a test".into()).await.unwrap();
        assert_eq!(world.shown(id, "stopping").await.questions.len(), 1);
        let answer = world
            .handle()
            .answer(None, id, QuestionId(1), ALLOW, "a test".into())
            .await;
        assert_eq!(answer.err(), Some(CallError::Denied(Denied::BeingEnded)));
        assert_eq!(world.ended(id).await.0, Outcome::Cancelled);
        let journal = world.journal(id);
        assert!(!journal.iter().any(|(_, entry)| entry.kind() == "question.answered"));
    });
}

#[test]
fn the_calls_of_a_turn_are_counted_once_though_a_notice_comes_amid_it() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            let mut notice = lines::report();
            notice["num_turns"] = json!(0);
            agent.print(notice);
            agent.says_a_line();
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        let (outcome, summary) = world.ended(id).await;
        assert_eq!((outcome, summary.turns), (Outcome::Completed, 2));
    });
}

#[test]
fn a_session_without_the_output_that_was_asked_for_is_not_completed() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            match agent.told().as_str() {
                "fill it in" => agent.finishes_with_output(&json!({"colour": "blue"})),
                _ => agent.finishes(),
            }
        }));
        let cause = Cause::NoStructuredOutput;
        for (task, expected) in [
            ("fill it in", Outcome::Completed),
            ("ignore it", Outcome::Failed { cause }),
        ] {
            let asked = |request: &mut Request| {
                task.clone_into(&mut request.task);
                request.json_schema = Some(json!({"type": "object"}));
            };
            let id = world.create(asked).await;
            assert_eq!(world.ended(id).await.0, expected, "{task}");
        }
    });
}

#[test]
fn a_cancel_that_comes_while_a_session_is_being_created_is_carried_out() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            agent.finishes();
        }));
        world.fail_at(1, Fault::AcknowledgedLate);
        let cancelling = async {
            let id = loop {
                pass(SECOND).await;
                if let Some(id) = world.only_session() {
                    break id;
                }
            };
            let handle = world.handle();
            let acknowledging = async {
                pass(SECOND).await;
                world.acknowledge();
            };
            let (cancelled, ()) = tokio::join!(handle.cancel(None, id, "a test".into()), acknowledging);
            cancelled.map(|_| id)
        };
        let (created, cancelled) = tokio::join!(world.try_create(|_| {}), cancelling);
        assert!(created.is_ok(), "{created:?}");
        let id = cancelled.unwrap();
        assert_eq!(world.ended(id).await.0, Outcome::Cancelled);
        assert!(world.lines(id).is_empty());
    });
}

#[test]
fn a_conversation_is_taken_over_once_though_two_ask_for_it_at_once() {
    simulate(async {
        let world = World::with(script(|agent: Agent| async move { agent.finishes() }), |_| {});
        let conversation = world.conversation_from_outside();
        let handle = world.handle();
        world.fail_at(1, Fault::AcknowledgedLate);
        let second = async {
            while world.only_session().is_none() {
                pass(SECOND).await;
            }
            let second = handle.import(conversation.to_string(), world.new_session(|_| {})).await;
            world.acknowledge();
            second
        };
        let first = handle.import(conversation.to_string(), world.new_session(|_| {}));
        let (first, second) = tokio::join!(first, second);
        let id = first.unwrap().session_id;
        let agent_session_id = conversation;
        let owned = CallError::Owned {
            agent_session_id,
            owner: id,
        };
        assert_eq!(second.err(), Some(owned));
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
    });
}

#[test]
fn a_queue_is_not_overfilled_by_those_who_come_at_once() {
    simulate(async {
        let world = World::with(script(|agent: Agent| async move { agent.finishes() }), |settings| {
            settings.queued_sessions_max = 1;
        });
        world.fail_at(1, Fault::AcknowledgedLate);
        let second = async {
            while world.only_session().is_none() {
                pass(SECOND).await;
            }
            let second = world.try_create(|_| {}).await;
            world.acknowledge();
            second
        };
        let (first, second) = tokio::join!(world.try_create(|_| {}), second);
        assert_eq!(second.err(), Some(CallError::QueueFull(1)));
        assert_eq!(world.ended(first.unwrap().session_id).await.0, Outcome::Completed);
    });
}

#[test]
fn a_conversation_is_not_given_back_while_a_session_waits_to_take_it_over() {
    simulate(async {
        let play = |agent: Agent| async move {
            if agent.told() == "hold the slot" {
                agent.uses_tool("make", HOUR).await;
            }
            agent.finishes();
        };
        let world = World::with(script(play), |settings| settings.live_agents_max = 1);
        let conversation = world.conversation_from_outside();
        let import = async || {
            world
                .handle()
                .import(conversation.to_string(), world.new_session(|_| {}))
                .await
        };
        let first = import().await.unwrap().session_id;
        world.ended(first).await;
        assert!(world.handle().handover(first).await.is_ok());
        let holder = world.create(|request| request.task = "hold the slot".into()).await;
        world.shown(holder, "running").await;
        let owner = import().await.unwrap().session_id;
        assert_eq!(world.summary(owner).shown_state().name(), "queued");
        let agent_session_id = conversation;
        let owned = CallError::Owned {
            agent_session_id,
            owner,
        };
        assert_eq!(import().await.err(), Some(owned.clone()));
        assert_eq!(world.handle().handover(first).await.err(), Some(owned));
        world.ended(owner).await;
        assert!(world.handle().handover(first).await.is_ok());
    });
}

/// Gets into a state in which its session waits, or is at work in the one that is named last.
async fn waits(agent: Agent, state: &str) {
    agent.says_a_line();
    match state {
        "waiting_quota" => agent.waits_for_quota(agent.now() + 5 * HOUR).await,
        "waiting_api" => {
            agent.retries_api(1);
            agent.works(HOUR).await;
        }
        "waiting_retry" => return agent.gives_up_on_api(),
        _ => agent.uses_tool("make", HOUR).await,
    }
    agent.finishes();
}

#[test]
fn a_cancel_ends_a_session_wherever_it_stands_and_it_stays_ended_over_a_restart() {
    for state in [
        "waiting_quota",
        "waiting_api",
        "waiting_retry",
        "running",
        "starting",
        "queued",
    ] {
        simulate(async move {
            let play = move |agent: Agent| async move { waits(agent, state).await };
            let mut world = World::with(script(play), |settings| settings.live_agents_max = 1);
            if state == "queued" {
                let holder = world.create(|_| {}).await;
                world.shown(holder, "running").await;
            }
            let id = world.create(|_| {}).await;
            world.shown(id, state).await;
            world.handle().cancel(None, id, "a test".into()).await.unwrap();
            world.restart();
            assert_eq!(world.ended(id).await.0, Outcome::Cancelled, "{state}");
            let attempts = world.summary(id).lifecycle.attempt;
            pass(6 * HOUR).await;
            let later = world.summary(id).lifecycle;
            assert_eq!(later.state.outcome(), Some(Outcome::Cancelled), "{state}");
            assert_eq!(later.attempt, attempts, "{state}");
        });
    }
}

#[test]
fn a_session_is_resumed_once_and_only_when_it_has_ended() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            agent.does_not_listen();
            if agent.is_first("run") {
                agent.uses_tool("make", HOUR).await;
            }
            agent.works(SECOND).await;
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        world.until(id, |summary| summary.work.open_tool().is_some()).await;
        let handle = world.handle();
        handle.cancel(None, id, "a test".into()).await.unwrap();
        let resume = || {
            handle.resume(
                None,
                id,
                Going {
                    instruction: Some("go on".into()),
                    ..Going::default()
                },
                "a test".into(),
            )
        };
        let early = resume().await;
        let is_refused = |result: &Result<_, CallError>| matches!(result, Err(CallError::Denied(Denied::StillLive(_))));
        assert!(is_refused(&early.map(drop)));
        world.ended(id).await;
        let (one, other) = tokio::join!(resume(), resume());
        let results = [one.map(drop), other.map(drop)];
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        assert_eq!(
            results.iter().filter(|result| is_refused(result)).count(),
            1,
            "{results:?}"
        );
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["stopped", "finished"]);
    });
}

/// Works for an hour, and does not listen.
async fn works_on(agent: Agent) {
    agent.says_a_line();
    agent.does_not_listen();
    agent.uses_tool("make", HOUR).await;
    agent.finishes();
}

/// Waits for the end of a session that was cancelled, which is not that of its agent's work.
async fn is_cancelled_soon(world: &World, id: SessionId) {
    let begun = world.now();
    assert_eq!(world.ended(id).await.0, Outcome::Cancelled);
    let took = world.now().duration_since(begun);
    assert!(took < MINUTE, "{took:?}");
    assert_eq!(world.endings(id), ["stopped"]);
}

#[test]
fn a_cancel_that_the_daemon_did_not_live_to_carry_out_is_carried_out_by_the_next() {
    simulate(async {
        let mut world = World::new(script(works_on));
        let id = world.create(|_| {}).await;
        world.until(id, |summary| summary.work.open_tool().is_some()).await;
        world.handle().cancel(None, id, "a test".into()).await.unwrap();
        world.restart();
        assert_eq!(world.summary(id).shown_state().name(), "stopping");
        is_cancelled_soon(&world, id).await;
    });
}

#[test]
fn a_cancel_that_comes_before_the_start_is_acknowledged_ends_the_agent() {
    simulate(async {
        let world = World::new(script(works_on));
        world.fail_at(2, Fault::AcknowledgedLate);
        let id = world.create(|_| {}).await;
        world.shown(id, "starting").await;
        world.handle().cancel(None, id, "a test".into()).await.unwrap();
        world.acknowledge();
        is_cancelled_soon(&world, id).await;
    });
}

/// A world with one slot, which is taken for an hour.
async fn without_slots(change: impl FnOnce(&mut RuntimeSettings)) -> World {
    let play = |agent: Agent| async move {
        if agent.told() == "hold the slot" {
            agent.uses_tool("make", HOUR).await;
        }
        agent.finishes();
    };
    let world = World::with(script(play), |settings| {
        settings.live_agents_max = 1;
        change(settings);
    });
    let holder = world.create(|request| request.task = "hold the slot".into()).await;
    world.shown(holder, "running").await;
    world
}

#[test]
fn a_session_that_is_resumed_while_its_end_is_written_down_goes_on() {
    simulate(async {
        let world = without_slots(|_| {}).await;
        let id = world.create(|_| {}).await;
        world.fail_at(1, Fault::AcknowledgedLate);
        let handle = world.handle();
        let resuming = async {
            world
                .until(id, |summary| summary.lifecycle.state.outcome().is_some())
                .await;
            let resumed = handle
                .resume(
                    None,
                    id,
                    Going {
                        instruction: Some("go on".into()),
                        ..Going::default()
                    },
                    "a test".into(),
                )
                .await;
            world.acknowledge();
            resumed
        };
        let (cancelled, resumed) = tokio::join!(handle.cancel(None, id, "a test".into()), resuming);
        assert!(cancelled.is_ok() && resumed.is_ok(), "{cancelled:?} {resumed:?}");
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
    });
}

#[test]
fn a_session_that_was_cancelled_while_it_waited_takes_no_place_in_the_queue() {
    simulate(async {
        let world = without_slots(|settings| settings.queued_sessions_max = 1).await;
        let id = world.create(|_| {}).await;
        assert_eq!(world.try_create(|_| {}).await.err(), Some(CallError::QueueFull(1)));
        world.handle().cancel(None, id, "a test".into()).await.unwrap();
        let next = world.create(|_| {}).await;
        assert_eq!(world.ended(next).await.0, Outcome::Completed);
    });
}

#[test]
fn a_session_is_not_resumed_while_another_one_works_in_its_conversation() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.uses_tool("make", HOUR).await;
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        let conversation = world.until(id, |summary| summary.work.open_tool().is_some()).await;
        let agent_session_id = conversation.lifecycle.agent_session_id.expect("it has begun");
        let handle = world.handle();
        handle.cancel(None, id, "a test".into()).await.unwrap();
        world.ended(id).await;
        let importing = handle.import(agent_session_id.to_string(), world.new_session(|_| {}));
        let owner = importing.await.unwrap().session_id;
        world.shown(owner, "running").await;
        let resume = async || {
            handle
                .resume(
                    None,
                    id,
                    Going {
                        instruction: Some("go on".into()),
                        ..Going::default()
                    },
                    "a test".into(),
                )
                .await
        };
        let owned = CallError::Owned {
            agent_session_id,
            owner,
        };
        assert_eq!(resume().await.err(), Some(owned));
        assert_eq!(world.ended(owner).await.0, Outcome::Completed);
        assert!(resume().await.is_ok());
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
    });
}

#[test]
fn an_agent_that_does_not_end_when_it_is_asked_to_gets_a_term_and_then_a_kill() {
    for (is_stubborn, signal, after) in [(false, "signal 15", 10 * SECOND), (true, "signal 9", 15 * SECOND)] {
        simulate(async move {
            let world = World::new(script(move |agent: Agent| async move {
                agent.state().is_stubborn = is_stubborn;
                works_on(agent).await;
            }));
            let id = world.create(|_| {}).await;
            world.until(id, |summary| summary.work.open_tool().is_some()).await;
            let asked = world.now();
            world.handle().cancel(None, id, "a test".into()).await.unwrap();
            assert_eq!(world.ended(id).await.0, Outcome::Cancelled);
            let took = world.now().duration_since(asked);
            assert!(took >= after && took < after + SECOND, "{took:?}");
            let end = &world.ends(id)[0];
            assert_eq!(end.exit.as_deref(), Some(signal));
            assert_eq!(end.open_tool, None, "nobody holds that tool against it");
        });
    }
}

#[test]
fn an_attempt_that_is_being_ended_for_one_reason_is_not_ended_for_another() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.does_not_listen();
            agent.says_a_line();
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        world.until(id, |summary| summary.work.is_answered()).await;
        pass(5 * SECOND).await;
        world.handle().cancel(None, id, "a test".into()).await.unwrap();
        world.ended(id).await;
        assert_eq!(world.endings(id), ["finished"]);
    });
}
