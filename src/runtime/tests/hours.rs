//! Long sessions: crashes, restarts and their budget.

use std::collections::BTreeMap;

use super::agent::{Agent, script};
use super::world::{HOUR, MINUTE, SECOND, World, simulate};
use crate::session::id::SessionId;
use crate::session::journal::Entry;
use crate::session::message::InputState;
use crate::session::outcome::{Cause, Outcome};
use crate::session::request::Request;
use jiff::SignedDuration;

const PARKED: Outcome = Outcome::Failed { cause: Cause::Parked };

/// Says a line a minute, and dies after every twentieth but the last. Runs into a usage limit at one of them.
async fn crashes_every_twenty_minutes(agent: Agent, lines: u32, limit_at: Option<u32>) {
    while agent.lines() < lines {
        agent.uses_tool(&format!("step {}", agent.lines() + 1), MINUTE).await;
        agent.says_a_line();
        if Some(agent.lines()) == limit_at && agent.is_first("limit") {
            agent.waits_for_quota(agent.now() + 5 * HOUR).await;
        }
        if agent.lines().is_multiple_of(20) && agent.lines() < lines {
            return agent.crashes();
        }
    }
    agent.finishes();
}

#[test]
fn ten_hours_with_a_crash_every_twenty_minutes_and_a_wait_for_quota_end_completed() {
    simulate(async {
        let world = World::new(script(|agent| crashes_every_twenty_minutes(agent, 300, Some(150))));
        let begun = world.now();
        let id = world.create(|_| {}).await;
        let (outcome, summary) = world.ended(id).await;
        assert_eq!(outcome, Outcome::Completed);
        assert_eq!(world.lines(id).len(), 300);
        let endings = world.endings(id);
        let count = |name| endings.iter().filter(|ending| **ending == name).count();
        assert_eq!(
            (count("crashed"), count("quota"), count("finished")),
            (14, 1, 1),
            "{endings:?}"
        );
        assert_eq!(summary.result.as_deref(), Some("All is done."));
        let took = world.now().duration_since(begun);
        assert!(took >= 10 * HOUR && took < 10 * HOUR + 15 * MINUTE, "{took:?}");
        let active = SignedDuration::from_millis(summary.active_ms as i64);
        assert!(active >= 5 * HOUR && active < 5 * HOUR + 15 * MINUTE, "{active:?}");
    });
}

#[test]
fn what_a_dead_agent_left_behind_is_ended_and_listed() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            if agent.is_first("crash") {
                return agent.crashes();
            }
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        let leftovers: Vec<_> = world.ends(id).into_iter().map(|end| end.leftovers.len()).collect();
        assert_eq!(leftovers, [1, 0]);
    });
}

#[test]
fn a_crash_loop_that_writes_a_message_each_time_ends_parked_after_the_charged_restarts_of_the_window() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            agent.crashes();
        }));
        let id = world.create(|_| {}).await;
        let (outcome, summary) = world.ended(id).await;
        assert_eq!(outcome, PARKED);
        assert_eq!(
            world.endings(id),
            ["crashed"; 6],
            "a first attempt and restarts_max more"
        );
        assert_eq!(world.lines(id).len(), 6);
        assert!(summary.note.is_some_and(|note| note.contains("restart budget")));
        let delays = world.delays(id);
        let ceilings = [1, 2, 4, 8, 16].map(SignedDuration::from_secs);
        assert_eq!(delays.len(), ceilings.len());
        assert!(
            delays.iter().zip(ceilings).all(|(delay, most)| *delay <= most),
            "{delays:?}"
        );
    });
}

#[test]
fn a_session_that_crashes_every_twenty_minutes_outlives_the_window_but_not_the_total() {
    simulate(async {
        let world = World::new(script(|agent| crashes_every_twenty_minutes(agent, 140, None)));
        let id = world.create(|_| {}).await;
        assert_eq!(
            world.ended(id).await.0,
            Outcome::Completed,
            "six restarts, one in any window"
        );
        let world = World::new(script(|agent| crashes_every_twenty_minutes(agent, u32::MAX, None)));
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, PARKED);
        assert_eq!(
            world.endings(id),
            ["crashed"; 21],
            "a first attempt and restarts_total_max more"
        );
        let delays = world.delays(id);
        assert!(
            delays.iter().all(|delay| *delay <= SECOND),
            "each is the first in its window: {delays:?}"
        );
    });
}

#[test]
fn an_agent_that_dies_twice_at_the_same_tool_call_is_parked() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            agent.calls_tool("rm -rf build");
            agent.crashes();
        }));
        let id = world.create(|_| {}).await;
        let (outcome, summary) = world.ended(id).await;
        assert_eq!((outcome, world.endings(id).len()), (PARKED, 2));
        assert!(
            summary
                .note
                .is_some_and(|note| note.contains("twice at the same tool call"))
        );
    });
}

#[test]
fn an_agent_that_falls_silent_is_interrupted_ended_and_started_again() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            if agent.is_first("silence") {
                return std::future::pending().await;
            }
            agent.finishes();
        }));
        let begun = world.now();
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["stalled", "finished"]);
        let notices = world
            .journal(id)
            .into_iter()
            .filter(|(_, entry)| matches!(entry, Entry::Notice(_)));
        assert_eq!(notices.count(), 1);
        // 300 s of silence within an answer, 30 s after the interrupt.
        assert!(world.now().duration_since(begun) < 6 * MINUTE);
    });
}

/// What agents were told, in the order of the journal, which has each text once.
fn told(world: &World, id: SessionId) -> Vec<String> {
    let mut texts = BTreeMap::new();
    let mut sent = |(_, entry)| match entry {
        Entry::Input(input) if input.state == InputState::Sent => {
            let text = match input.text {
                Some(text) => {
                    assert!(!texts.contains_key(&input.uuid), "its text stands twice: {text}");
                    texts.entry(input.uuid).or_insert(text)
                }
                None => texts.get_mut(&input.uuid).expect("its first record has the text"),
            };
            Some(text.clone())
        }
        _ => None,
    };
    world.journal(id).into_iter().filter_map(&mut sent).collect()
}

#[test]
fn an_agent_that_does_not_see_by_itself_what_was_cut_short_is_told() {
    for (version, is_told, is_replaced) in [
        ("2.1.308", true, false),
        ("2.1.308", true, true),
        ("2.1.309", false, false),
    ] {
        simulate(async move {
            let world = World::with(
                script(|agent: Agent| async move {
                    agent.says_a_line();
                    if agent.is_first("crash") {
                        agent.calls_tool("make install");
                        return agent.crashes();
                    }
                    agent.finishes();
                }),
                |settings| settings.agent_command = vec![version.to_owned()],
            );
            let id = world.create(|_| {}).await;
            if is_replaced {
                // The link to the next agent is lost before that is told anything.
                world.shown(id, "waiting_retry").await;
                world.upgrades_hosts();
            }
            assert_eq!(world.ended(id).await.0, Outcome::Completed);
            let told = told(&world, id);
            assert_eq!((told.len(), told[0].as_str()), (2, "Say some lines."));
            let tells = |what: &str| told[1].contains(what);
            if is_told {
                assert!(
                    tells("make install") && tells("may or may not") && tells("line 1"),
                    "{told:?}"
                );
            } else {
                assert_eq!(told[1], told[0], "the agent drops what it has had, and goes on");
            }
        });
    }
}

#[test]
fn a_request_says_how_often_there_is_a_checkpoint() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            for _ in 0..30 {
                agent.works(10 * SECOND).await;
                agent.says_a_line();
            }
            agent.finishes();
        }));
        let count = async |interval: Option<u64>| {
            let id = world
                .create(|request| request.checkpoint_interval_seconds = interval)
                .await;
            assert_eq!(world.ended(id).await.0, Outcome::Completed);
            let journal = world.journal(id).into_iter();
            journal
                .filter(|(_, entry)| matches!(entry, Entry::Checkpoint(_)))
                .count()
        };
        assert_eq!(count(None).await, 1, "at the end of the turn");
        assert_eq!(count(Some(60)).await, 1 + 5, "five minutes of work");
    });
}

#[test]
fn nothing_but_work_makes_a_checkpoint() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            for attempt in 1..=40 {
                agent.retries_api(attempt);
                agent.works(30 * SECOND).await;
            }
            agent.says_a_line();
            agent.finishes();
        }));
        let interval = |request: &mut Request| request.checkpoint_interval_seconds = Some(60);
        let id = world.create(interval).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        let journal = world.journal(id).into_iter();
        let checkpoints = journal.filter(|(_, entry)| matches!(entry, Entry::Checkpoint(_)));
        assert_eq!(checkpoints.count(), 2, "behind the line, and at the end of the turn");
    });
}

#[test]
fn a_silent_tool_is_at_work_for_as_long_as_it_has_a_process_and_stalls_without_one() {
    // One of them answers in the moment in which its processes are counted.
    for (has_process, time) in [(true, 125 * MINUTE), (true, 2 * HOUR), (false, 125 * MINUTE)] {
        simulate(async move {
            let world = World::new(script(move |agent: Agent| async move {
                agent.says_a_line();
                if agent.is_first("silence") {
                    agent.runs_silently("make", has_process, time).await;
                }
                agent.finishes();
            }));
            let id = world.create(|_| {}).await;
            assert_eq!(world.ended(id).await.0, Outcome::Completed);
            let (endings, notices) = (world.endings(id), world.notices(id));
            if has_process {
                assert_eq!((endings, notices.len()), (vec!["finished"], 0), "{notices:?}");
            } else {
                assert_eq!(
                    (endings, notices.len()),
                    (vec!["stalled", "finished"], 1),
                    "{notices:?}"
                );
            }
        });
    }
}

#[test]
fn no_checkpoint_leaves_a_tool_call_open() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.calls_tool("make slowly");
            agent.uses_tool("make", SECOND).await;
            agent.says_a_line();
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        let journal = world.journal(id).into_iter();
        let checkpoints = journal.filter(|(_, entry)| matches!(entry, Entry::Checkpoint(_)));
        assert_eq!(checkpoints.count(), 1, "at the end of the turn");
    });
}

#[test]
fn a_checkpoint_amid_a_turn_counts_the_calls_of_that_turn() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            agent.uses_tool("make", SECOND).await;
            agent.says_a_line();
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        let turns = world.told(id, |entry| match entry {
            Entry::Checkpoint(checkpoint) => Some(checkpoint.turns),
            _ => None,
        });
        assert_eq!(turns, [2, 3]);
    });
}
