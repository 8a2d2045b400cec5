//! A login that worked and is refused later: it is tried again for five minutes, over attempts and daemons.

use super::agent::{Agent, script};
use super::lines;
use super::world::{MINUTE, SECOND, World, pass, simulate};
use crate::session::journal::AttemptEnd;
use crate::session::outcome::{Cause, Ending, Outcome};
use jiff::SignedDuration;

const REFUSED: Outcome = Outcome::Failed { cause: Cause::Auth };

impl Agent {
    /// Is refused and tries again, for so long.
    async fn is_refused_for(&self, time: SignedDuration) {
        let until = self.now() + time;
        for attempt in 1.. {
            if self.now() >= until {
                return;
            }
            self.print(lines::api_retry(attempt, Some(401), "authentication_failed"));
            self.works(30 * SECOND).await;
        }
    }

    /// Is refused and does not try again.
    fn gives_up_on_login(&self) {
        self.end_turn(|inputs| lines::api_error(inputs, 401));
    }
}

/// What a person is told to do.
fn says_what_to_run(note: Option<String>) -> bool {
    note.is_some_and(|note| note.starts_with("the agent is not signed in: run `claude` once"))
}

#[test]
fn an_agent_whose_login_is_accepted_again_goes_on() {
    for restarts in [false, true] {
        simulate(async move {
            let mut world = World::new(script(|agent: Agent| async move {
                for _ in 0..3 {
                    agent.says_a_line();
                    agent.is_refused_for(4 * MINUTE).await;
                }
                agent.says_a_line();
                agent.finishes();
            }));
            let id = world.create(|_| {}).await;
            let waiting = world.shown(id, "waiting_login").await;
            assert!(waiting.takes_slot(), "its agent works on");
            if restarts {
                world.restart();
            }
            assert_eq!(world.ended(id).await.0, Outcome::Completed);
            assert_eq!(world.endings(id), ["finished"]);
        });
    }
}

#[test]
fn a_login_that_stays_refused_fails_after_the_hold_and_a_daemon_that_comes_back_does_not_begin_it_anew() {
    for restarts in [false, true] {
        simulate(async move {
            let mut world = World::new(script(|agent: Agent| async move {
                agent.says_a_line();
                agent.is_refused_for(60 * MINUTE).await;
            }));
            let id = world.create(|_| {}).await;
            let begun = world.shown(id, "waiting_login").await.updated_at;
            if restarts {
                pass(3 * MINUTE).await;
                world.restart();
            }
            let (outcome, summary) = world.ended(id).await;
            let held = world.now().duration_since(begun);
            assert_eq!(outcome, REFUSED);
            assert!(held >= 5 * MINUTE - SECOND && held < 6 * MINUTE, "{held:?}");
            assert_eq!(summary.lifecycle.attempt.0, 1);
            assert!(says_what_to_run(summary.note));
        });
    }
}

#[test]
fn an_agent_that_gives_up_is_followed_by_another_until_the_hold_is_over_and_nothing_is_charged() {
    for restarts in [false, true] {
        simulate(async move {
            let play = script(|agent: Agent| async move {
                if agent.is_first("try") {
                    agent.says_a_line();
                }
                agent.gives_up_on_login();
            });
            let mut world = World::with(play, |settings| settings.restart.restarts_total_max = 0);
            let id = world.create(|_| {}).await;
            let waiting = world.shown(id, "waiting_retry").await;
            let note = waiting.note.unwrap_or_default();
            assert!(
                note.starts_with("the login is refused, and tried again until "),
                "{note}"
            );
            if restarts {
                pass(2 * MINUTE).await;
                world.restart();
            }
            let (outcome, summary) = world.ended(id).await;
            let held = world.now().duration_since(waiting.updated_at);
            assert_eq!(outcome, REFUSED);
            assert!(held >= 5 * MINUTE - SECOND && held < 6 * MINUTE, "{held:?}");
            assert!(says_what_to_run(summary.note));
            let ends = world.ends(id);
            let is_held = |end: &AttemptEnd| matches!(end.ending, Ending::NotSignedIn { until: Some(_), .. });
            let (last, before) = ends.split_last().expect("there are some");
            assert!(before.len() >= 3 && before.iter().all(is_held), "{ends:?}");
            assert!(!is_held(last), "{last:?}");
        });
    }
}

#[test]
fn a_login_that_is_accepted_again_has_its_whole_hold_the_next_time() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            for try_ in ["first", "second", "third"] {
                if agent.is_first(try_) {
                    agent.says_a_line();
                    agent.is_refused_for(4 * MINUTE).await;
                    return agent.gives_up_on_login();
                }
            }
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        let endings = world.endings(id);
        assert_eq!(endings, ["not_signed_in", "not_signed_in", "not_signed_in", "finished"]);
    });
}

#[test]
fn a_login_that_never_worked_or_is_not_to_be_held_fails_at_once() {
    for (speaks_first, hold) in [(false, 300), (true, 0)] {
        simulate(async move {
            let play = script(move |agent: Agent| async move {
                if speaks_first {
                    agent.says_a_line();
                }
                agent.is_refused_for(60 * MINUTE).await;
            });
            let world = World::with(play, |settings| {
                settings.attempt.login_hold = jiff::SignedDuration::from_secs(hold);
            });
            let begun = world.now();
            let id = world.create(|_| {}).await;
            let (outcome, summary) = world.ended(id).await;
            assert_eq!(outcome, REFUSED);
            assert!(world.now().duration_since(begun) < MINUTE, "it is not tried again");
            assert!(says_what_to_run(summary.note));
        });
    }
}

#[test]
fn the_hold_of_a_login_is_not_used_up_by_a_machine_that_sleeps() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            agent.is_refused_for(4 * MINUTE).await;
            agent.says_a_line();
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        world.shown(id, "waiting_login").await;
        pass(MINUTE).await;
        world.sleeps(8 * 60 * MINUTE);
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["finished"]);
    });
}
