//! Sessions whose agent has set timers or has left shells in the background.

use serde_json::{Value, json};
use uuid::Uuid;

use super::agent::{Agent, Script, script};
use super::lines;
use super::world::{HOUR, MINUTE, World, pass, simulate};
use crate::session::journal::Entry;
use crate::session::outcome::Outcome;
use crate::session::request::Background;
use crate::session::words;
use jiff::{SignedDuration, Timestamp};

/// Calls a timer tool, which gives this result.
fn sets(agent: &Agent, purpose: &str, result: &Value) {
    let tool = agent.calls_tool(purpose);
    let mut line = lines::tool_result(&tool, "set", false);
    line["tool_use_result"] = result.clone();
    agent.print(line);
}

fn sets_wakeup(agent: &Agent, due: Timestamp) {
    let result = json!({"scheduledFor": due.as_millisecond(), "clampedDelaySeconds": 60, "wasClamped": false});
    sets(agent, "look at the build", &result);
}

fn sets_job(agent: &Agent, due: Timestamp, repeats: bool) {
    let due = due.as_millisecond();
    let result = json!({"id": "4e67b68b", "humanSchedule": "Every hour", "recurring": repeats, "nextFireAt": due});
    sets(agent, "look at the job", &result);
}

/// A turn begins since a timer fires.
fn fires(agent: &Agent, source: &str, due: Option<Timestamp>) {
    agent.print(lines::state("running"));
    let mut line = lines::lifecycle(Uuid::new_v4(), "started");
    line["wakeup_source"] = json!(source);
    if let Some(due) = due {
        line["scheduled_for"] = json!(due.as_millisecond());
    }
    agent.print(line);
    agent.begins_again();
}

/// Sets a wakeup for three hours later in its first turn, and is done with the turn after that.
fn looks_again() -> Script {
    script(|agent: Agent| async move {
        agent.says_a_line();
        if agent.told() == "be quick" || !agent.is_first("wakeup") {
            return agent.finishes();
        }
        let due = agent.now() + 3 * HOUR;
        sets_wakeup(&agent, due);
        agent.finishes_with("I look again later.");
        agent.works(3 * HOUR).await;
        fires(&agent, "loop_wakeup", Some(due));
        agent.says_a_line();
        agent.finishes();
    })
}

#[test]
fn a_session_waits_for_the_wakeup_of_its_agent_and_gives_its_slot_back() {
    simulate(async {
        let world = World::with(looks_again(), |settings| settings.live_agents_max = 1);
        let begun = world.now();
        let id = world.create(|_| {}).await;
        let waiting = world.shown(id, "waiting_timer").await;
        let until = waiting.waits_until().expect("it is known");
        assert!(until >= begun + 3 * HOUR, "{until}");
        let other = world.create(|request| request.task = "be quick".into()).await;
        assert_eq!(world.ended(other).await.0, Outcome::Completed);
        assert_eq!(world.summary(id).shown_state().name(), "waiting_timer");
        let (outcome, summary) = world.ended(id).await;
        assert_eq!((outcome, world.endings(id)), (Outcome::Completed, vec!["finished"]));
        assert_eq!(summary.result.as_deref(), Some("All is done."));
        assert!(summary.cut_off.is_empty());
        assert!(
            summary.active_ms < 60_000,
            "waiting is no time at work: {}",
            summary.active_ms
        );
    });
}

#[test]
fn the_wait_for_a_timer_holds_over_a_restart_of_the_daemon() {
    simulate(async {
        let mut world = World::new(looks_again());
        let id = world.create(|_| {}).await;
        world.shown(id, "waiting_timer").await;
        world.is_without_daemon_for(HOUR).await;
        pass(HOUR).await;
        assert_eq!(world.summary(id).shown_state().name(), "waiting_timer");
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["finished"]);
    });
}

#[test]
fn an_agent_that_dies_over_its_timers_is_followed_by_one_that_is_told_of_them() {
    simulate(async {
        let world = World::new(looks_again());
        let id = world.create(|_| {}).await;
        world.shown(id, "waiting_timer").await;
        world.kill_agents();
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["crashed", "finished"]);
        let told = world.told(id, |entry| match entry {
            Entry::Input(input) => input.text,
            _ => None,
        });
        let told = told.last().expect("it is told");
        assert!(
            told.starts_with(words::TIMERS_LOST) && told.contains("(look at the build)"),
            "{told}"
        );
    });
}

#[test]
fn a_timer_that_repeats_is_waited_for_up_to_the_limit_and_named_at_the_end() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            sets_job(&agent, agent.now() + HOUR, true);
            agent.finishes();
            loop {
                agent.works(HOUR).await;
                fires(&agent, "schedule_wakeup", None);
                agent.works(MINUTE).await;
                agent.finishes();
            }
        }));
        let begun = world.now();
        let id = world.create(|_| {}).await;
        let (outcome, summary) = world.ended(id).await;
        assert_eq!(outcome, Outcome::Completed);
        let took = world.now().duration_since(begun);
        assert!(took >= 24 * HOUR && took < 24 * HOUR + 5 * MINUTE, "{took:?}");
        assert_eq!(summary.cut_off, ["scheduled job, Every hour (look at the job)"]);
        let note = summary.note.expect("a sentence");
        assert!(
            note.starts_with("the task is done") && note.ends_with("Every hour (look at the job)"),
            "{note}"
        );
    });
}

#[test]
fn a_timer_that_never_fires_is_given_up_soon_after_it_was_due() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            sets_job(&agent, agent.now() + HOUR, false);
            agent.finishes();
        }));
        let begun = world.now();
        let id = world.create(|_| {}).await;
        let (_, summary) = world.ended(id).await;
        assert_eq!(summary.cut_off.len(), 1, "{:?}", summary.cut_off);
        let took = world.now().duration_since(begun);
        assert!(took >= HOUR + 5 * MINUTE && took < HOUR + 6 * MINUTE, "{took:?}");
    });
}

/// Leaves a shell behind that goes on for ten minutes.
fn leaves_a_shell() -> Script {
    script(|agent: Agent| async move {
        agent.says_a_line();
        agent.has_shells(1);
        agent.finishes();
        agent.works(10 * MINUTE).await;
        agent.has_shells(0);
    })
}

#[test]
fn background_shells_are_ended_waited_for_or_kept_as_the_request_says() {
    simulate(async {
        for (background, least, cut_off) in [
            (None, MINUTE, 1),
            (Some(Background::End), MINUTE, 1),
            (Some(Background::Wait), 10 * MINUTE, 0),
            (Some(Background::Keep), SignedDuration::ZERO, 0),
        ] {
            let world = World::new(leaves_a_shell());
            let begun = world.now();
            let id = world.create(|request| request.background_shells = background).await;
            let (outcome, summary) = world.ended(id).await;
            assert_eq!(outcome, Outcome::Completed);
            let took = world.now().duration_since(begun);
            assert!(took >= least && took < least + MINUTE, "{background:?}: {took:?}");
            assert_eq!(summary.cut_off.len(), cut_off, "{background:?}");
            let note = summary.note.expect("a sentence");
            assert_eq!(note.contains("background shell a shell (b0)"), cut_off > 0, "{note}");
            assert_eq!(world.ends(id)[0].cut_off, summary.cut_off);
        }
    });
}

#[test]
fn shells_that_are_waited_for_beyond_the_time_limit_are_named() {
    simulate(async {
        let world = World::new(leaves_a_shell());
        let id = world.create(|request| {
            request.background_shells = Some(Background::Wait);
            request.timeout_seconds = Some(300);
        });
        let (outcome, summary) = world.ended(id.await).await;
        assert_eq!(outcome, Outcome::TimedOut);
        let note = summary.note.expect("a sentence");
        assert!(note.ends_with("was cut off: background shell a shell (b0)"), "{note}");
    });
}

#[test]
fn a_shell_that_is_cut_off_is_named_once_though_the_daemon_dies_meanwhile() {
    simulate(async {
        let mut world = World::new(script(|agent: Agent| async move {
            agent.does_not_listen();
            agent.has_shells(1);
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        world.until(id, |summary| !summary.cut_off.is_empty()).await;
        world.restart();
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        let cut_off = world.told(id, |entry| match entry {
            Entry::WorkCutOff(cut_off) => Some(cut_off.what.len()),
            _ => None,
        });
        assert_eq!(cut_off, [1]);
    });
}
