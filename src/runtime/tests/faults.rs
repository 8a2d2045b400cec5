//! Crash at a chosen place, then look: the store fails at every single commit of a session, and the next daemon
//! finishes it.

use std::collections::BTreeSet;

use super::agent::{Agent, Script, script};
use super::world::{SECOND, World, pass, simulate};
use crate::runtime::handle::Going;
use crate::runtime::refusal::CallError;
use crate::session::id::{Attempt, SessionId};
use crate::session::journal::Entry;
use crate::session::message::InputState;
use crate::session::outcome::Outcome;
use crate::session::request::{OnQuestion, Request};
use crate::session::state::State;
use crate::store::StoreError;
use crate::store::memory::Fault;

/// How many lines the script says.
const LINES: usize = 6;

/// Something of everything: lines, a tool, a question that is allowed in time, a death in between.
fn eventful() -> Script {
    script(|agent: Agent| async move {
        while (agent.lines() as usize) < LINES {
            agent.works(SECOND).await;
            agent.says_a_line();
            match agent.lines() {
                2 => agent.uses_tool("make", 2 * SECOND).await,
                3 if agent.is_first("death") => return agent.crashes(),
                4 if agent.is_first("question") => assert!(agent.asks("make install", SECOND).await),
                _ => {}
            }
        }
        agent.finishes();
    })
}

fn answered_by_policy(request: &mut Request) {
    request.on_question = OnQuestion::Allow;
    request.question_timeout_seconds = Some(60);
}

/// A session whose every commit goes wrong once.
pub(super) struct Case {
    pub(super) script: fn() -> Script,
    /// The request.
    pub(super) request: fn(&mut Request),
    /// Looks at what the last daemon made of it.
    pub(super) look: fn(&World, SessionId, &str),
}

const EVENTFUL: Case = Case {
    script: eventful,
    request: answered_by_policy,
    look: |world, id, context| {
        assert_eq!(world.lines(id).len(), LINES, "{context}");
        assert_eq!(world.endings(id), ["crashed", "finished"], "{context}");
        assert!(tells_each_once(world, id), "{context}");
    },
};

/// Whether no message to an agent is journalled as sent twice in one attempt.
pub(super) fn tells_each_once(world: &World, id: SessionId) -> bool {
    let mut told = BTreeSet::new();
    let mut attempt = Attempt::NONE;
    world.journal(id).into_iter().all(|(_, entry)| match entry {
        Entry::AttemptStarted(start) => {
            attempt = start.attempt;
            true
        }
        Entry::Input(input) if input.state == InputState::Sent => told.insert((attempt, input.uuid)),
        _ => true,
    })
}

impl Case {
    /// Asks for the session unless it is on disk: whoever asked was told nothing, or that it was not taken.
    async fn ask(&self, world: &World) {
        if world.only_session().is_none() {
            let _ = world.try_create(self.request).await;
        }
    }

    async fn look_at(&self, world: &World, fault: Fault, nth: u64) {
        let context = format!("{fault:?} at commit {nth}");
        let id = world.only_session().expect("the session was asked for");
        assert_eq!(world.ended(id).await.0, Outcome::Completed, "{context}");
        (self.look)(world, id, &context);
    }

    /// Lets the n-th commit fail, and another daemon go on; whether there was such a commit.
    async fn fails_at(&self, nth: u64, fault: Fault) -> bool {
        let mut world = World::new((self.script)());
        world.fail_at(nth, fault);
        self.ask(&world).await;
        // Where not even its creation came to the disk, there is no end to wait for.
        let is_over = world.only_session().is_some() && world.ended_before_fault().await;
        if !is_over {
            world.restart();
            self.ask(&world).await;
        }
        self.look_at(&world, fault, nth).await;
        !is_over
    }

    /// Lets every single commit fail, one in each run; answers how many there were.
    pub(super) fn fails_everywhere(&self, fault: Fault) -> u64 {
        let mut commits = 0;
        loop {
            let mut was_hit = false;
            simulate(async { was_hit = self.fails_at(commits + 1, fault).await });
            if !was_hit {
                return commits;
            }
            commits += 1;
        }
    }
}

fn fails_everywhere(fault: Fault) {
    let commits = EVENTFUL.fails_everywhere(fault);
    assert!(commits > 20, "only {commits} commits were tried");
}

#[test]
fn a_daemon_that_dies_before_any_commit_loses_nothing_and_doubles_nothing() {
    fails_everywhere(Fault::DiesBeforeCommit);
}

#[test]
fn a_daemon_that_dies_between_any_commit_and_its_acknowledgement_loses_nothing_and_doubles_nothing() {
    fails_everywhere(Fault::DiesAfterCommit);
}

#[test]
fn a_disk_that_is_full_at_any_commit_damages_nothing() {
    fails_everywhere(Fault::DiskFull);
}

#[test]
fn a_session_that_is_the_first_to_find_the_disk_full_is_refused_and_the_daemon_goes_on() {
    simulate(async {
        let mut world = World::new(eventful());
        world.fail_at(1, Fault::DiskFull);
        let refused = world
            .try_create(answered_by_policy)
            .await
            .expect_err("there is no room");
        assert!(
            matches!(refused, CallError::Store(StoreError::DiskFull { .. })),
            "{refused}"
        );
        world.create(answered_by_policy).await;
        assert!(world.ended_before_fault().await, "this daemon finishes another one");
    });
}

#[test]
fn a_commit_that_fails_anywhere_damages_nothing() {
    fails_everywhere(Fault::CommitFails);
}

#[test]
fn a_daemon_that_dies_again_and_again_finishes_all_the_same() {
    for (nth, fault) in [
        (2, Fault::DiesAfterCommit),
        (3, Fault::DiesBeforeCommit),
        (5, Fault::DiesAfterCommit),
    ] {
        simulate(async {
            let mut world = World::new(eventful());
            loop {
                world.fail_at(nth, fault);
                EVENTFUL.ask(&world).await;
                if world.ended_before_fault().await {
                    break;
                }
                world.restart();
            }
            EVENTFUL.look_at(&world, fault, nth).await;
        });
    }
}

/// Runs this while whatever acknowledgement is held back is given after ten seconds.
pub(super) async fn acknowledged_late(world: &World, looking: impl Future<Output = ()>) {
    let acknowledging = async {
        loop {
            pass(10 * SECOND).await;
            world.acknowledge();
        }
    };
    tokio::select! {
        () = looking => {}
        () = acknowledging => {}
    }
}

#[test]
fn an_acknowledgement_that_is_heard_of_behind_later_ones_changes_nothing() {
    for nth in 1..=30 {
        simulate(async {
            let world = World::new(eventful());
            world.fail_at(nth, Fault::AcknowledgedLate);
            let looking = async {
                EVENTFUL.ask(&world).await;
                EVENTFUL.look_at(&world, Fault::AcknowledgedLate, nth).await;
            };
            acknowledged_late(&world, looking).await;
        });
    }
}

#[test]
fn an_agent_that_ends_before_its_result_is_known_to_be_on_disk_has_finished() {
    for nth in 1..=10 {
        simulate(async {
            let world = World::new(script(|agent: Agent| async move {
                agent.says_a_line();
                agent.finishes();
                agent.exits();
            }));
            world.fail_at(nth, Fault::AcknowledgedLate);
            let looking = async {
                let id = world.create(|_| {}).await;
                assert_eq!(world.ended(id).await.0, Outcome::Completed, "{nth}");
                assert_eq!(world.endings(id), ["finished"], "{nth}");
            };
            acknowledged_late(&world, looking).await;
        });
    }
}

#[test]
fn work_that_is_done_while_a_decision_is_on_its_way_to_the_disk_counts() {
    for nth in 1..=10 {
        simulate(async {
            let world = World::new(script(|agent: Agent| async move {
                agent.says_a_line();
                if agent.is_first("work") {
                    std::future::pending::<()>().await;
                }
                agent.finishes();
                agent.exits();
            }));
            let id = world.create(|_| {}).await;
            world
                .until(id, |summary| summary.lifecycle.state == State::Running)
                .await;
            world.handle().cancel(None, id, "test".to_owned()).await.unwrap();
            assert_eq!(world.ended(id).await.0, Outcome::Cancelled);
            world.fail_at(nth, Fault::AcknowledgedLate);
            let looking = async {
                let handle = world.handle();
                let resumed = handle.resume(None, id, Going::default(), "test".into()).await;
                resumed.unwrap();
                world.until(id, |summary| summary.lifecycle.attempt == Attempt(2)).await;
                assert_eq!(world.ended(id).await.0, Outcome::Completed, "{nth}");
            };
            acknowledged_late(&world, looking).await;
        });
    }
}
