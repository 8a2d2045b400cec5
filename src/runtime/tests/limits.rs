//! What a session may use, and what becomes of that when it is resumed.

use jiff::SignedDuration;

use super::agent::{Agent, script};
use super::world::{HOUR, SECOND, World, simulate};
use crate::runtime::handle::Going;
use crate::session::id::SessionId;
use crate::session::limits::Limits;
use crate::session::outcome::Outcome;

/// An agent that never ends by itself.
fn world() -> World {
    World::new(script(|agent: Agent| async move {
        agent.says_a_line();
        agent.uses_tool("make", 100 * HOUR).await;
    }))
}

async fn resume(world: &World, id: SessionId, timeout_seconds: Option<u64>) {
    let limits = Limits {
        timeout_seconds,
        ..Limits::default()
    };
    let resumed = world
        .handle()
        .resume(
            None,
            id,
            Going {
                limits,
                ..Going::default()
            },
            "a test".into(),
        )
        .await;
    assert!(resumed.is_ok(), "{resumed:?}");
}

/// Waits until its time is up; answers how long it was at work in all.
async fn at_work(world: &World, id: SessionId) -> SignedDuration {
    let (outcome, summary) = world.ended(id).await;
    assert_eq!(outcome, Outcome::TimedOut, "{:?}", summary.note);
    SignedDuration::from_millis(summary.active_ms as i64)
}

#[track_caller]
fn assert_about(active: SignedDuration, expected: SignedDuration) {
    assert!(
        (active - expected).abs() < 10 * SECOND,
        "{active:?} is not {expected:?}"
    );
}

#[test]
fn a_resume_has_as_much_time_again_or_what_it_gives() {
    simulate(async {
        let mut world = world();
        let id = world.create(|request| request.timeout_seconds = Some(3600)).await;
        assert_about(at_work(&world, id).await, HOUR);
        resume(&world, id, None).await;
        assert_about(at_work(&world, id).await, 2 * HOUR);
        resume(&world, id, Some(3 * 3600)).await;
        // The next daemon knows the limit too.
        world
            .until(id, |summary| {
                summary.lifecycle.attempt.0 == 3 && summary.work.open_tool().is_some()
            })
            .await;
        world.restart();
        assert_about(at_work(&world, id).await, 5 * HOUR);
        resume(&world, id, None).await;
        assert_about(at_work(&world, id).await, 8 * HOUR);
        let notices = world.notices(id);
        let granted = |time: &str| format!("The session may now use {time} more at work.");
        assert_eq!(notices, ["1 h", "3 h", "3 h"].map(granted));
    });
}

#[test]
fn a_session_without_limits_gets_one_by_its_resume() {
    simulate(async {
        let world = world();
        let id = world.create(|_| {}).await;
        world.until(id, |summary| summary.work.open_tool().is_some()).await;
        world.handle().cancel(None, id, "a test".into()).await.unwrap();
        world.ended(id).await;
        resume(&world, id, Some(60)).await;
        at_work(&world, id).await;
    });
}
