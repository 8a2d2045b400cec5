//! Waits for the API and for quota, and a machine that sleeps through them.

use super::agent::{Agent, script};
use super::world::{HOUR, MINUTE, SECOND, World, pass, simulate};
use crate::session::outcome::{Cause, Outcome};
use crate::session::request::{OnQuestion, Request};
use jiff::SignedDuration;

/// The API is down for so long from the agent's first try on; until then the agent gives up after three minutes.
async fn gives_up_until(agent: Agent, up_after: SignedDuration) {
    if agent.is_first("try") {
        agent.says_a_line();
        agent.remembers(agent.now() + up_after);
    }
    if agent.now() < agent.remembered() {
        for attempt in 1..=6 {
            agent.retries_api(attempt);
            agent.works(30 * SECOND).await;
        }
        return agent.gives_up_on_api();
    }
    agent.says_a_line();
    agent.finishes();
}

#[test]
fn an_api_that_is_down_for_hours_is_asked_again_ever_later_and_nothing_is_charged() {
    simulate(async {
        let world = World::with(script(|agent| gives_up_until(agent, 6 * HOUR)), |settings| {
            settings.restart.restarts_total_max = 0;
        });
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.lines(id).len(), 2);
        let (endings, delays) = (world.endings(id), world.delays(id));
        assert!(
            endings[..endings.len() - 1].iter().all(|ending| *ending == "api_down"),
            "{endings:?}"
        );
        assert!(endings.len() > 20, "it was asked again often enough: {endings:?}");
        let ceilings = [15, 30, 60, 120, 240, 480].into_iter().chain(std::iter::repeat(900));
        for (n, (delay, most)) in delays.iter().zip(ceilings).enumerate() {
            let most = SignedDuration::from_secs(most);
            assert!(
                *delay >= most / 10 && *delay <= most,
                "delay {}: {delay:?}, at most {most:?}",
                n + 1
            );
        }
    });
}

#[test]
fn an_agent_that_asks_a_dead_api_by_itself_is_ended_after_the_hold() {
    simulate(async {
        let world = World::with(
            script(|agent: Agent| async move {
                agent.says_a_line();
                if agent.is_first("outage") {
                    for attempt in 1.. {
                        agent.retries_api(attempt);
                        agent.works(30 * SECOND).await;
                    }
                }
                agent.finishes();
            }),
            |settings| settings.restart.restarts_total_max = 0,
        );
        let begun = world.now();
        let id = world.create(|_| {}).await;
        world.shown(id, "waiting_api").await;
        let waiting = world.shown(id, "waiting_retry").await;
        let held = waiting.updated_at.duration_since(begun);
        assert!(held >= 30 * MINUTE && held < 31 * MINUTE, "{held:?}");
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["api_down", "finished"]);
        let why = waiting.note.unwrap_or_default();
        assert!(
            why.ends_with("it was asked for 30 minutes (500, server_error)"),
            "{why}"
        );
    });
}

/// Runs into a usage limit once, which is reset five hours later.
async fn runs_into_limit(agent: Agent) {
    agent.says_a_line();
    if agent.is_first("limit") {
        agent.waits_for_quota(agent.now() + 5 * HOUR).await;
    }
    agent.says_a_line();
    agent.finishes();
}

#[test]
fn a_usage_limit_is_waited_out_without_an_agent_and_not_charged() {
    simulate(async {
        let world = World::with(script(runs_into_limit), |settings| {
            settings.restart.restarts_total_max = 0
        });
        let begun = world.now();
        let id = world.create(|_| {}).await;
        let held = world.shown(id, "waiting_quota").await;
        assert!(!held.takes_slot(), "its slot is free for others");
        let waiting = world.shown(id, "waiting_retry").await;
        assert_eq!(waiting.updated_at.duration_since(held.updated_at).as_mins(), 10);
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["quota", "finished"]);
        let took = world.now().duration_since(begun);
        assert!(took >= 5 * HOUR && took < 5 * HOUR + MINUTE, "{took:?}");
    });
}

#[test]
fn a_usage_limit_at_which_the_agent_gives_up_is_waited_out_until_its_reset() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            if agent.is_first("limit") {
                return agent.gives_up_at_limit(agent.now() + 5 * HOUR);
            }
            agent.finishes();
        }));
        let begun = world.now();
        let id = world.create(|_| {}).await;
        let waiting = world.shown(id, "waiting_retry").await;
        assert!(waiting.note.is_some_and(|note| note.contains("it is reset at")));
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["quota", "finished"]);
        let took = world.now().duration_since(begun);
        assert!(took >= 5 * HOUR - SECOND && took < 5 * HOUR + MINUTE, "{took:?}");
    });
}

#[test]
fn an_agent_that_writes_again_is_not_ended_for_what_it_has_waited() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.waits_for_quota(agent.now() + 8 * MINUTE).await;
            agent.writes_for(8 * MINUTE).await;
            for attempt in 1..=50 {
                agent.retries_api(attempt);
                agent.works(30 * SECOND).await;
            }
            agent.writes_for(20 * MINUTE).await;
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["finished"]);
    });
}

#[test]
fn a_wait_for_one_thing_does_not_go_on_with_the_time_of_a_wait_for_another() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.waits_for_quota(agent.now() + 9 * MINUTE).await;
            for attempt in 1..=50 {
                agent.retries_api(attempt);
                agent.works(30 * SECOND).await;
            }
            agent.says_a_line();
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["finished"]);
    });
}

#[test]
fn an_answer_to_a_request_of_ours_is_no_answer_of_the_model() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            // The CLI gives up on it by itself after six minutes.
            agent.waits_for_model(6 * MINUTE).await;
            agent.says_a_line();
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["finished"]);
        let journal = world.journal(id);
        assert!(
            !journal.iter().any(|(_, entry)| entry.kind() == "notice"),
            "{journal:?}"
        );
    });
}

#[test]
fn a_usage_limit_ends_the_session_at_once_where_nobody_wants_to_wait() {
    simulate(async {
        let world = World::with(script(runs_into_limit), |settings| {
            settings.restart.resume_after_quota = false
        });
        let begun = world.now();
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Failed { cause: Cause::Quota });
        assert!(world.now().duration_since(begun) < 5 * SECOND);
    });
}

#[test]
fn after_the_machine_slept_a_due_retry_happens_at_the_next_look() {
    simulate(async {
        let world = World::new(script(runs_into_limit));
        let id = world.create(|_| {}).await;
        world.shown(id, "waiting_retry").await;
        pass(7 * SECOND).await;
        world.sleeps(8 * HOUR);
        let woken = tokio::time::Instant::now();
        world
            .until(id, |summary| summary.shown_state().name() != "waiting_retry")
            .await;
        assert!(woken.elapsed().as_secs() <= 30, "{:?}", woken.elapsed());
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
    });
}

#[test]
fn a_machine_that_sleeps_while_an_agent_works_takes_no_harm() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            for _ in 0..10 {
                agent.works(MINUTE).await;
                agent.says_a_line();
            }
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        world.until(id, |_| world.lines(id).len() == 5).await;
        world.sleeps(8 * HOUR);
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(
            world.endings(id),
            ["finished"],
            "its silence is measured by the monotonic clock"
        );
    });
}

#[test]
fn a_machine_that_sleeps_uses_up_none_of_a_sessions_time() {
    // The first thing after the sleep is a question, whenever that is: the time at work ends with it.
    for seconds_before_question in [0, 20, 59] {
        simulate(async move {
            let world = World::new(script(|agent: Agent| async move {
                agent.says_a_line();
                agent.uses_tool("make", 10 * MINUTE).await;
                assert!(agent.asks("make install", SECOND).await);
                agent.uses_tool("make check", 10 * MINUTE).await;
                agent.finishes();
            }));
            let limits = |request: &mut Request| {
                request.timeout_seconds = Some(30 * 60);
                (request.on_question, request.question_timeout_seconds) = (OnQuestion::Allow, Some(60));
            };
            let id = world.create(limits).await;
            world.until(id, |summary| summary.work.open_tool().is_some()).await;
            pass(10 * MINUTE - seconds_before_question * SECOND - SECOND / 2).await;
            world.sleeps(8 * HOUR);
            let (outcome, summary) = world.ended(id).await;
            assert_eq!(outcome, Outcome::Completed, "{seconds_before_question}");
            let active = SignedDuration::from_millis(summary.active_ms as i64);
            assert!(active >= 19 * MINUTE && active < 21 * MINUTE, "{active:?}");
        });
    }
}

#[test]
fn a_clock_that_is_set_back_lets_a_session_work_no_longer() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            agent.uses_tool("make", 3 * HOUR).await;
            agent.finishes();
        }));
        let begun = tokio::time::Instant::now();
        let id = world.create(|request| request.timeout_seconds = Some(30 * 60)).await;
        world.until(id, |summary| summary.work.open_tool().is_some()).await;
        pass(5 * MINUTE).await;
        world.sleeps(-5 * HOUR);
        assert_eq!(world.ended(id).await.0, Outcome::TimedOut);
        let took = begun.elapsed().as_secs() / 60;
        assert_eq!(took, 30, "minutes");
    });
}

#[test]
fn a_clock_that_is_set_back_delays_no_retry() {
    for restarts in [false, true] {
        simulate(async move {
            let mut world = World::new(script(|agent: Agent| async move {
                agent.says_a_line();
                if agent.is_first("outage") {
                    return agent.gives_up_on_api();
                }
                agent.finishes();
            }));
            let id = world.create(|_| {}).await;
            world.shown(id, "waiting_retry").await;
            world.sleeps(-5 * HOUR);
            if restarts {
                world.restart();
            }
            let waited = tokio::time::Instant::now();
            assert_eq!(world.ended(id).await.0, Outcome::Completed);
            assert!(waited.elapsed().as_secs() < 60, "{:?}", waited.elapsed());
        });
    }
}
