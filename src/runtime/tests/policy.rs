//! What is carried over from one attempt to the next, and over a daemon and a machine that were away.

use super::agent::{Agent, script};
use super::world::{HOUR, MINUTE, SECOND, World, pass, simulate};
use crate::session::id::SessionId;
use crate::session::journal::Entry;
use crate::session::message::Message;
use crate::session::outcome::{Cause, Outcome};
use crate::session::question::Answer;
use crate::session::request::OnQuestion;
use crate::session::summary::Summary;
use jiff::SignedDuration;
use uuid::Uuid;

#[test]
fn the_time_that_a_machine_is_off_is_no_time_at_work() {
    simulate(async {
        let mut world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            agent.uses_tool("make", 20 * MINUTE).await;
            agent.finishes();
        }));
        let id = world.create(|request| request.timeout_seconds = Some(3600)).await;
        world.until(id, |summary| summary.work.open_tool().is_some()).await;
        pass(10 * MINUTE).await;
        world.is_off_for(9 * HOUR).await;
        let (outcome, summary) = world.ended(id).await;
        assert_eq!(outcome, Outcome::Completed);
        let active = SignedDuration::from_millis(summary.active_ms as i64);
        assert!(active >= 20 * MINUTE && active < 35 * MINUTE, "{active:?}");
        assert_eq!(world.endings(id), ["crashed", "finished"]);
    });
}

#[test]
fn an_agent_that_worked_while_the_daemon_was_away_was_at_work() {
    simulate(async {
        let mut world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            agent.uses_tool("make", 2 * HOUR).await;
            agent.finishes();
        }));
        let id = world.create(|request| request.timeout_seconds = Some(3600)).await;
        world.until(id, |summary| summary.work.open_tool().is_some()).await;
        world.is_without_daemon_for(90 * MINUTE).await;
        assert_eq!(world.ended(id).await.0, Outcome::TimedOut);
        assert_eq!(world.endings(id), ["stopped"]);
    });
}

#[test]
fn the_attempt_after_a_cleared_conversation_goes_on_in_the_new_one() {
    for restarts in [false, true] {
        simulate(async move {
            let mut world = World::new(script(|agent: Agent| async move {
                agent.says_a_line();
                if agent.lines() == 1 {
                    agent.clears_conversation();
                    agent.works(SECOND).await;
                    return agent.crashes();
                }
                agent.finishes();
            }));
            let id = world.create(|_| {}).await;
            world.shown(id, "waiting_retry").await;
            if restarts {
                world.restart();
            }
            world.until(id, |summary| summary.lifecycle.attempt.0 > 1).await;
            let cleared = cleared_in(&world, id)[0];
            assert_ne!(cleared, id.uuid());
            assert_eq!(started_in(&world, id)[1], cleared, "restarts: {restarts}");
            world.handle().cancel(None, id, "a test".into()).await.unwrap();
            world
                .until(id, |summary| summary.lifecycle.state.outcome().is_some())
                .await;
        });
    }
}

/// The conversations that agents went over to by clearing theirs.
fn cleared_in(world: &World, id: SessionId) -> Vec<Uuid> {
    let cleared = |(_, entry)| match entry {
        Entry::AgentMessage(said) => match said.message {
            Message::ConversationReset { agent_session_id } => Some(agent_session_id),
            _ => None,
        },
        _ => None,
    };
    world.journal(id).into_iter().filter_map(cleared).collect()
}

fn started_in(world: &World, id: SessionId) -> Vec<Uuid> {
    let started = |(_, entry)| match entry {
        Entry::AttemptStarted(start) => Some(start.agent_session_id),
        _ => None,
    };
    world.journal(id).into_iter().filter_map(started).collect()
}

#[test]
fn a_tool_call_that_has_succeeded_since_is_not_the_one_an_agent_died_at() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            if agent.lines() > 1 {
                agent.uses_tool("make", MINUTE).await;
            }
            for hour in 0..3 {
                agent.uses_tool(&format!("step {hour}"), HOUR).await;
            }
            if agent.lines() < 4 {
                agent.calls_tool("make");
                return agent.crashes();
            }
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["crashed", "crashed", "crashed", "finished"]);
    });
}

#[test]
fn what_a_crash_loop_has_spent_of_its_budget_is_known_over_restarts_of_the_daemon() {
    simulate(async {
        let mut world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            agent.crashes();
        }));
        let id = world.create(|_| {}).await;
        for attempt in 1..=5 {
            world
                .until(id, |summary| {
                    summary.lifecycle.attempt.0 == attempt && summary.shown_state().name() == "waiting_retry"
                })
                .await;
            world.restart();
        }
        let cause = Cause::Parked;
        assert_eq!(world.ended(id).await.0, Outcome::Failed { cause });
        assert_eq!(world.endings(id), ["crashed"; 6]);
    });
}

#[test]
fn a_question_of_a_dead_agent_is_never_allowed_by_policy_but_when_it_is_asked_again() {
    simulate(async {
        let mut world = World::new(script(|agent: Agent| async move {
            if !agent.is_first("run") {
                agent.uses_tool("look around", HOUR).await;
            }
            assert!(agent.asks("make install", SECOND).await);
            agent.finishes();
        }));
        let id = world
            .create(|request| {
                (request.on_question, request.question_timeout_seconds) = (OnQuestion::Allow, Some(600));
            })
            .await;
        world.shown(id, "awaiting_input").await;
        world.kill_agents();
        let is_looking = |summary: &Summary| summary.lifecycle.attempt.0 == 2 && summary.work.open_tool().is_some();
        world.until(id, is_looking).await;
        world.restart();
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        let journal = world.journal(id);
        let times = |kind| {
            let of_kind = journal.iter().filter(move |(_, entry)| entry.kind() == kind);
            of_kind.map(|(at, _)| *at).collect::<Vec<_>>()
        };
        let (asked, answered) = (times("question.asked"), times("question.answered"));
        assert_eq!((asked.len(), answered.len()), (2, 1));
        assert!(
            answered[0] >= asked[1] && asked[1] >= asked[0] + HOUR,
            "{asked:?} {answered:?}"
        );
    });
}

#[test]
fn fewer_slots_than_agents_that_live_end_none_and_let_nobody_start() {
    simulate(async {
        let mut world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            agent.uses_tool("make", HOUR).await;
            agent.finishes();
        }));
        let mut living = Vec::new();
        for _ in 0..3 {
            let id = world.create(|_| {}).await;
            world.shown(id, "running").await;
            living.push(id);
            pass(MINUTE).await;
        }
        world.sets(|settings| settings.live_agents_max = 2);
        world.restart();
        let late = world.create(|_| {}).await;
        let mut ends = Vec::new();
        for id in living {
            let (outcome, summary) = world.ended(id).await;
            assert_eq!((outcome, summary.lifecycle.attempt.0), (Outcome::Completed, 1));
            ends.push(summary.ended_at.unwrap());
        }
        let (outcome, summary) = world.ended(late).await;
        assert_eq!(outcome, Outcome::Completed);
        assert!(
            summary.started_at.unwrap() >= ends[1],
            "two of the three have to end first"
        );
    });
}

#[test]
fn what_a_policy_would_allow_and_no_agent_can_be_told_is_denied() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            let command = "x".repeat(1024 * 1024);
            agent.asks(&command, SECOND).await;
            agent.finishes();
        }));
        let id = world
            .create(|request| {
                (request.on_question, request.question_timeout_seconds) = (OnQuestion::Allow, Some(60));
            })
            .await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        let is_denied = world.told(id, |entry| match entry {
            Entry::QuestionAnswered(answered) => Some(matches!(answered.answer, Answer::Deny { .. })),
            _ => None,
        });
        assert_eq!(is_denied, [true]);
    });
}
