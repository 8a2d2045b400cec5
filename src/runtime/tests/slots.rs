//! Slots: who starts when there are too few, and that agents that wait for agents do not wait for ever.

use super::agent::{Agent, script};
use super::world::{HOUR, MINUTE, SECOND, World, simulate};
use crate::session::id::SessionId;
use crate::session::journal::Entry;
use crate::session::outcome::Outcome;
use jiff::Timestamp;

/// Works for as many minutes as its task says.
async fn works_for_minutes(agent: Agent) {
    agent.says_a_line();
    let minutes: i32 = agent.told().parse().expect("a number");
    for _ in 0..minutes {
        agent.works(MINUTE).await;
        agent.says_a_line();
    }
    agent.finishes();
}

fn one_slot() -> World {
    World::with(script(works_for_minutes), |settings| settings.live_agents_max = 1)
}

async fn session(world: &World, minutes: u32, parent: Option<SessionId>) -> SessionId {
    let created = world.create(|request| {
        request.task = minutes.to_string();
        request.parent = parent;
    });
    created.await
}

/// When its agent was started, and when the session ended.
fn span(world: &World, id: SessionId) -> (Timestamp, Timestamp) {
    let journal = world.journal(id);
    let began = journal
        .iter()
        .find(|(_, entry)| matches!(entry, Entry::AttemptStarted(_)))
        .expect("it was started");
    (began.0, journal.last().expect("an end").0)
}

#[test]
fn an_agent_lends_its_slot_to_one_that_it_started_and_to_one_at_a_time() {
    simulate(async {
        let world = one_slot();
        let parent = session(&world, 120, None).await;
        world.shown(parent, "running").await;
        let stranger = session(&world, 1, None).await;
        let first = session(&world, 10, Some(parent)).await;
        let second = session(&world, 10, Some(parent)).await;
        world.shown(first, "running").await;
        let below = session(&world, 2, Some(first)).await;
        for id in [below, first, second, parent, stranger] {
            assert_eq!(world.ended(id).await.0, Outcome::Completed);
        }
        let [parent, stranger, first, second, below] =
            [parent, stranger, first, second, below].map(|id| span(&world, id));
        assert!(below.1 < first.1, "what an agent below starts is lent the slot on");
        assert!(second.0 >= first.1, "one at a time");
        assert!(second.1 < parent.1, "all beside the agent that waits for them");
        assert!(stranger.0 >= parent.1, "nobody else is lent anything");
        assert!(parent.1.duration_since(parent.0) < 3 * HOUR);
    });
}

#[test]
fn what_an_agent_started_waits_like_others_when_that_agent_is_gone() {
    simulate(async {
        let world = one_slot();
        let parent = session(&world, 1, None).await;
        world.ended(parent).await;
        let other = session(&world, 10, None).await;
        world.shown(other, "running").await;
        let late = session(&world, 1, Some(parent)).await;
        world.ended(late).await;
        assert!(span(&world, late).0 >= span(&world, other).1);
    });
}

#[test]
fn a_lent_slot_is_known_over_a_restart() {
    simulate(async {
        let mut world = one_slot();
        let parent = session(&world, 60, None).await;
        world.shown(parent, "running").await;
        let (first, second) = (
            session(&world, 10, Some(parent)).await,
            session(&world, 10, Some(parent)).await,
        );
        world.shown(first, "running").await;
        world.restart();
        for id in [parent, first, second] {
            assert_eq!(world.ended(id).await.0, Outcome::Completed);
        }
        let [parent, first, second] = [parent, first, second].map(|id| span(&world, id));
        assert!(second.0 >= first.1 && second.1 < parent.1);
    });
}

#[test]
fn the_slot_of_an_agent_that_asks_is_free_at_once() {
    simulate(async {
        let play = |agent: Agent| async move {
            if agent.told() == "ask" {
                agent.asks("make install", SECOND).await;
            }
            agent.finishes();
        };
        let world = World::with(script(play), |settings| settings.live_agents_max = 1);
        let asking = world.create(|request| request.task = "ask".into()).await;
        let next = world.create(|_| {}).await;
        let asked = world.shown(asking, "awaiting_input").await.updated_at;
        let (outcome, summary) = world.ended(next).await;
        assert_eq!(outcome, Outcome::Completed);
        let waited = summary.started_at.expect("it was started").duration_since(asked);
        assert!(waited < 5 * SECOND, "{waited:?}");
        world.handle().cancel(None, asking, "a test".into()).await.unwrap();
        world.ended(asking).await;
    });
}
