//! Links that break and hosts that stand still: what the agent is at goes on, and nobody tells it anything twice.

use super::agent::{Agent, script};
use super::world::{HOUR, MINUTE, SECOND, World, pass, simulate};
use crate::session::outcome::Outcome;

/// Works for an hour between two lines, and ends with how often it was told something and initialized.
async fn works_for_an_hour(agent: Agent) {
    agent.says_a_line();
    agent.uses_tool("make", HOUR).await;
    agent.says_a_line();
    let (told, initialized) = agent.heard();
    agent.finishes_with(&format!("told {told}, initialized {initialized}"));
}

#[test]
fn an_agent_that_is_at_its_task_is_not_told_it_again_by_another_host_or_daemon() {
    simulate(async {
        let mut world = World::new(script(works_for_an_hour));
        let id = world.create(|_| {}).await;
        world.until(id, |summary| summary.work.open_tool().is_some()).await;
        world.stops_hosts();
        pass(5 * MINUTE).await;
        world.restart();
        let (outcome, summary) = world.ended(id).await;
        assert_eq!(
            (outcome, summary.result.as_deref()),
            (Outcome::Completed, Some("told 1, initialized 1"))
        );
    });
}

#[test]
fn what_a_host_sends_twice_is_taken_once() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            if agent.is_first("death") {
                agent.says_a_line();
                return agent.crashes();
            }
            works_for_an_hour(agent).await;
        }));
        world.machine.troubles.stutter();
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.lines(id).len(), 3);
        assert_eq!(world.endings(id), ["crashed", "finished"]);
        pass(MINUTE).await;
    });
}

#[test]
fn a_host_that_serves_its_agent_is_never_killed() {
    simulate(async {
        let world = World::new(script(works_for_an_hour));
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.machine.troubles.kills(), 0);
    });
}

/// Crashes once, with a process left behind.
async fn crashes_once(agent: Agent) {
    agent.says_a_line();
    agent.works(MINUTE).await;
    if agent.is_first("death") {
        return agent.crashes();
    }
    agent.finishes();
}

#[test]
fn what_a_dead_agent_left_behind_is_ended_by_the_next_host_where_the_first_dies_of_it() {
    simulate(async {
        let world = World::new(script(crashes_once));
        world.machine.troubles.make_leftovers_deadly();
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.ends(id)[0].leftovers.len(), 1);
    });
}

#[test]
fn what_a_host_has_ended_unasked_while_no_daemon_was_there_is_listed() {
    simulate(async {
        let mut world = World::new(script(crashes_once));
        let id = world.create(|_| {}).await;
        world.until(id, |summary| summary.work.uncounted_rounds() == 1).await;
        world.is_without_daemon_for(5 * MINUTE).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.ends(id)[0].leftovers.len(), 1);
    });
}

#[test]
fn an_agent_whose_hosts_stand_still_again_and_again_goes_on_and_nobody_is_troubled() {
    simulate(async {
        let world = World::new(script(works_for_an_hour));
        let id = world.create(|_| {}).await;
        world.until(id, |summary| summary.work.open_tool().is_some()).await;
        for _ in 0..8 {
            world.stops_hosts();
            pass(5 * MINUTE).await;
        }
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["finished"]);
        assert_eq!(world.notices(id), [""; 0], "each host was reached");
    });
}

#[test]
fn a_host_whose_links_break_is_reached_for_ever_more_slowly() {
    simulate(async {
        let mut world = World::new(script(works_for_an_hour));
        let id = world.create(|_| {}).await;
        world.until(id, |summary| summary.work.open_tool().is_some()).await;
        world.machine.troubles.break_links();
        world.restart();
        pass(20 * MINUTE).await;
        assert_eq!(world.summary(id).shown_state().name(), "running");
        let broken = world.machine.troubles.mend_links();
        assert!((20..40).contains(&broken), "{broken}");
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["finished"]);
    });
}

#[test]
fn an_agent_without_a_host_is_not_taken_for_silent_before_one_can_be_had() {
    simulate(async {
        let mut world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            // The last line that it says has a record: the next daemon reads nothing again.
            agent.changes_mode("plan");
            if agent.is_first("silence") {
                return std::future::pending().await;
            }
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        world.until(id, |summary| summary.work.uncounted_rounds() == 1).await;
        pass(SECOND).await;
        world.loses_hosts();
        world.restart();
        pass(3 * HOUR).await;
        assert_eq!(world.endings(id), [""; 0]);
        world.has_hosts_again();
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["stalled", "finished"]);
        let notices = world.notices(id);
        let silence = notices.iter().filter(|notice| notice.contains("silent for 300 s"));
        assert_eq!(silence.count(), 1, "its time begins with the host: {notices:?}");
    });
}
