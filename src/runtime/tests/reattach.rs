//! Agents without an execution or without a host: somebody takes them up again, and nobody doubles them.

use std::sync::atomic::Ordering;

use super::agent::{Agent, HALF_A_LINE, script};
use super::world::{MINUTE, SECOND, World, pass, simulate};
use crate::session::id::Attempt;
use crate::session::journal::Entry;
use crate::session::outcome::{Cause, Outcome};

/// Says a line, works for half an hour with signs of life, and says another one.
async fn works_between_lines(agent: Agent) {
    agent.says_a_line();
    agent.uses_tool("make", 30 * MINUTE).await;
    agent.says_a_line();
    agent.finishes();
}

#[test]
fn an_execution_that_the_journal_takes_for_a_ghost_is_followed_by_a_fresh_one() {
    simulate(async {
        let world = World::new(script(works_between_lines));
        let id = world.create(|_| {}).await;
        world.until(id, |summary| summary.work.open_tool().is_some()).await;
        pass(MINUTE).await;
        world.is_overtaken(id).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["finished"]);
        assert_eq!(world.lines(id).len(), 2);
    });
}

#[test]
fn an_attempt_whose_executions_are_ghosts_again_and_again_is_ended_and_charged() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            for n in 0..12 {
                agent.uses_tool(&format!("step {n}"), 2 * MINUTE).await;
            }
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        pass(MINUTE).await;
        for _ in 0..6 {
            world.is_overtaken(id).await;
            pass(2 * MINUTE).await;
        }
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["panicked", "finished"]);
    });
}

#[test]
fn an_execution_that_panics_ends_with_its_agent_and_the_session_goes_on() {
    simulate(async {
        let mut world = World::new(script(works_between_lines));
        let id = world.create(|_| {}).await;
        world.until(id, |summary| summary.work.open_tool().is_some()).await;
        world.makes_hosts_deadly(true);
        world.restart();
        world.until(id, |summary| summary.lifecycle.attempt > Attempt(1)).await;
        world.makes_hosts_deadly(false);
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["panicked", "finished"]);
    });
}

#[test]
fn executions_that_panic_for_ever_are_charged_and_the_session_is_parked() {
    simulate(async {
        let world = World::new(script(works_between_lines));
        world.makes_hosts_deadly(true);
        let id = world.create(|_| {}).await;
        let (outcome, summary) = world.ended(id).await;
        assert_eq!(outcome, Outcome::Failed { cause: Cause::Parked });
        assert_eq!(world.endings(id), ["panicked"; 6]);
        assert_eq!(summary.lifecycle.attempt, Attempt(6));
        world.makes_hosts_deadly(false);
        let other = world.create(|_| {}).await;
        assert_eq!(world.ended(other).await.0, Outcome::Completed, "the daemon lives");
    });
}

#[test]
fn an_agent_without_a_host_is_reached_for_ever_more_slowly_and_its_session_goes_on() {
    simulate(async {
        let mut world = World::new(script(works_between_lines));
        let id = world.create(|_| {}).await;
        world.until(id, |summary| summary.work.open_tool().is_some()).await;
        world.loses_hosts();
        world.restart();
        pass(20 * MINUTE).await;
        assert_eq!(world.summary(id).shown_state().name(), "running");
        let tries = world.has_hosts_again();
        assert!((20..30).contains(&tries), "{tries}");
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["finished"]);
        assert_eq!(world.lines(id).len(), 2);
        let notices = world.notices(id);
        assert_eq!(notices.len(), 2, "{notices:?}");
        assert!(notices[0].contains("no process can be started"), "{notices:?}");
    });
}

#[test]
fn a_host_that_stands_still_under_an_agent_at_work_is_followed_by_another() {
    simulate(async {
        let world = World::new(script(works_between_lines));
        let id = world.create(|_| {}).await;
        world.until(id, |summary| summary.work.open_tool().is_some()).await;
        world.stops_hosts();
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["finished"]);
        assert_eq!(world.lines(id).len(), 2);
    });
}

#[test]
fn an_order_that_an_older_host_does_not_know_takes_effect_at_the_next_attempt() {
    simulate(async {
        let world = World::new(script(works_between_lines));
        world.machine.asks_too_much.store(true, Ordering::Relaxed);
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["finished"], "the host stays");
        let notices = world.notices(id);
        assert!(notices.len() == 1, "{notices:?}");
        assert!(
            notices[0].contains("`pause`: it takes effect at the next attempt"),
            "{notices:?}"
        );
    });
}

#[test]
fn an_older_daemon_puts_a_host_of_its_own_in_the_place_of_one_that_it_does_not_understand() {
    simulate(async {
        let mut world = World::new(script(works_between_lines));
        let id = world.create(|_| {}).await;
        world.until(id, |summary| summary.work.open_tool().is_some()).await;
        world.upgrades_hosts();
        world.restart();
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["finished"]);
        assert_eq!(world.lines(id).len(), 2);
        let notices = world.notices(id);
        assert!(notices.len() == 1 && notices[0].contains("protocol"), "{notices:?}");
    });
}

#[test]
fn a_session_that_is_cancelled_while_its_agent_has_no_host_ends_with_its_agent() {
    simulate(async {
        let mut world = World::new(script(works_between_lines));
        let id = world.create(|_| {}).await;
        world.until(id, |summary| summary.work.open_tool().is_some()).await;
        world.loses_hosts();
        world.restart();
        // It was reached for a few seconds ago, and would be again in a minute.
        pass(70 * SECOND).await;
        let asked = world.now();
        world.handle().cancel(None, id, "a test".into()).await.unwrap();
        assert_eq!(world.ended(id).await.0, Outcome::Cancelled);
        assert!(
            world.now().duration_since(asked) < 5 * SECOND,
            "it is not waited for that"
        );
        assert_eq!(world.endings(id), ["stopped"]);
        assert!(world.notices(id).iter().any(|notice| notice.contains("its agent")));
    });
}

#[test]
fn a_session_for_which_no_host_can_be_started_has_no_agent_and_fails() {
    simulate(async {
        let world = World::new(script(works_between_lines));
        world.loses_hosts();
        let id = world.create(|_| {}).await;
        let cause = Cause::NotStarted;
        assert_eq!(world.ended(id).await.0, Outcome::Failed { cause });
    });
}

#[test]
fn a_task_for_which_the_agents_stdin_does_not_grow_goes_by_a_file() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            let told = agent.told();
            agent.finishes_with(&told);
        }));
        world.keeps_pipes_small(8 * 1024);
        let task = "tidy up ".repeat(2000);
        let id = world.create(|request| request.task.clone_from(&task)).await;
        let (outcome, summary) = world.ended(id).await;
        assert_eq!(outcome, Outcome::Completed);
        let told = summary.result.unwrap();
        let file = told.split_whitespace().find(|word| word.contains("input-")).unwrap();
        let written = std::fs::read_to_string(file.trim_end_matches('.')).unwrap();
        assert_eq!(written, task);
    });
}

#[test]
fn a_turn_that_follows_while_a_shell_goes_on_is_not_cut_when_the_time_of_the_shell_is_up() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.has_shells(1);
            agent.says_a_line();
            agent.finishes();
            agent.works(30 * SECOND).await;
            agent.begins_again();
            agent.uses_tool("make", 5 * MINUTE).await;
            agent.says_a_line();
            agent.has_shells(0);
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.lines(id).len(), 2);
        assert_eq!(world.notices(id), [""; 0], "no shell was ended");
    });
}

#[test]
fn half_a_line_of_an_agent_that_died_over_it_is_kept_as_what_it_is() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            if agent.is_first("death") {
                return agent.dies_amid_a_line();
            }
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        let kept = world.told(id, |entry| match entry {
            Entry::AgentUnknown(unknown) => Some(unknown.line),
            _ => None,
        });
        assert_eq!(kept, [HALF_A_LINE]);
    });
}

#[test]
fn what_an_agent_said_on_its_stderr_is_told_once_by_whichever_daemon_hears_of_its_end() {
    simulate(async {
        const WORDS: &str = "Error: out of luck";
        let mut world = World::new(script(|agent: Agent| async move {
            agent.works(MINUTE).await;
            if agent.is_first("death") {
                return agent.fails_with(WORDS);
            }
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        pass(10 * SECOND).await;
        world.loses_hosts();
        world.restart();
        pass(2 * MINUTE).await;
        world.stops_hosts();
        world.has_hosts_again();
        world.until(id, |summary| summary.work.has_stderr()).await;
        assert_eq!(world.endings(id), [""; 0], "the next daemon hears of it too");
        world.restart();
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        let ends = world.ends(id);
        assert_eq!((ends.len(), ends[0].ending.name()), (2, "crashed"));
        assert!(ends[0].exit.as_ref().unwrap().contains(WORDS), "{ends:?}");
        let said = world.told(id, |entry| match entry {
            Entry::AgentStderr(said) => Some(said.text),
            _ => None,
        });
        assert_eq!(said, [WORDS]);
    });
}

#[test]
fn a_checkpoint_tells_all_the_turns_also_behind_a_restart_of_the_daemon() {
    simulate(async {
        let mut world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            agent.has_shells(1);
            agent.finishes();
            agent.works(30 * SECOND).await;
            agent.begins_again();
            agent.says_a_line();
            agent.has_shells(0);
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        world.until(id, |summary| summary.work.is_answered()).await;
        world.restart();
        let (outcome, summary) = world.ended(id).await;
        assert_eq!((outcome, summary.turns), (Outcome::Completed, 2));
        let turns = world.told(id, |entry| match entry {
            Entry::Checkpoint(checkpoint) => Some(checkpoint.turns),
            _ => None,
        });
        assert_eq!(turns, [1, 2]);
    });
}
