//! What is carried over from one attempt to the next, and over a daemon and a machine that were away.

use super::agent::{Agent, script};
use super::world::{HOUR, MINUTE, SECOND, World, simulate};
use crate::session::journal::Entry;
use crate::session::outcome::Outcome;
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
        super::world::pass(10 * MINUTE).await;
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
            let waiting = world.shown(id, "waiting_retry").await;
            if restarts {
                world.restart();
            }
            let fresh = waiting.lifecycle.agent_session_id.unwrap();
            assert_ne!(fresh, id.uuid());
            let second = world.until(id, |summary| summary.lifecycle.attempt.0 == 2).await;
            assert_eq!(second.lifecycle.agent_session_id, Some(fresh), "restarts: {restarts}");
            assert!(started_in(&world, id).contains(&fresh));
            world.handle().cancel(id, "a test".into()).await.unwrap();
            world
                .until(id, |summary| summary.lifecycle.state.outcome().is_some())
                .await;
        });
    }
}

fn started_in(world: &World, id: crate::session::id::SessionId) -> Vec<Uuid> {
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
