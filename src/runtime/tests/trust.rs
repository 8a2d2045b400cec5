//! A person is asked about a project before anything starts in it, whatever dies in between.

use std::fs;

use super::agent::{Agent, Script, script};
use super::faults::Case;
use super::world::{HOUR, SECOND, World, pass, simulate};
use crate::runtime::handle::Going;
use crate::runtime::refusal::CallError;
use crate::runtime::settings::RuntimeSettings;
use crate::session::id::{QuestionId, SessionId};
use crate::session::outcome::Outcome;
use crate::session::question::{Answer, AnswerMismatch, QuestionKind};
use crate::session::request::{OnQuestion, Request};
use crate::session::trust::{CANCEL, Policy, RUN, Trust, WITHOUT};
use crate::store::memory::Fault;

const HOOKS: &str = r#"{"hooks": {"SessionStart": [{"hooks": [{"type": "command", "command": "./start.sh"}]}]}}"#;

fn frail() -> Script {
    script(|agent: Agent| async move {
        agent.works(SECOND).await;
        if agent.is_first("death") {
            return agent.crashes();
        }
        agent.says_a_line();
        agent.finishes();
    })
}

fn world() -> World {
    world_with(|_| {})
}

fn world_with(change: impl FnOnce(&mut RuntimeSettings)) -> World {
    World::with(frail(), |settings| {
        settings.state = settings.sessions.with_file_name("state");
        fs::create_dir_all(&settings.state).expect("a directory");
        change(settings);
    })
}

fn in_a_project(request: &mut Request) {
    fs::create_dir_all(request.cwd.join(".claude")).expect("a directory");
    fs::write(request.cwd.join(".claude/settings.json"), HOOKS).expect("written");
}

async fn answer(world: &World, id: SessionId, label: &str) -> Result<(), CallError> {
    let asked = world.shown(id, "awaiting_input").await;
    let (question, waiting) = asked.questions.iter().next().expect("a question");
    let QuestionKind::Choice { questions, .. } = &waiting.question.kind else {
        panic!("{waiting:?}");
    };
    let answer = Answer::Choose {
        answers: [(questions[0].question.clone(), label.to_owned())].into(),
    };
    world
        .handle()
        .answer(None, id, *question, answer, "a test".into())
        .await
        .map(drop)
}

fn count(world: &World, id: SessionId, kind: &str) -> usize {
    let journal = world.journal(id);
    journal.iter().filter(|(_, entry)| entry.kind() == kind).count()
}

/// Whether each attempt was started without the project's settings.
fn without<const N: usize>(world: &World, id: SessionId, attempts: [u32; N]) -> [bool; N] {
    attempts.map(|attempt| world.argv(id, attempt).contains(&"--setting-sources=user".to_owned()))
}

#[test]
fn nothing_starts_before_the_answer_and_no_attempt_has_more_than_it_gives() {
    simulate(async {
        for (label, is_without) in [(RUN, false), (WITHOUT, true)] {
            let mut world = world();
            let id = world.create(in_a_project).await;
            assert!(!world.shown(id, "awaiting_input").await.takes_slot());
            world.restart();
            pass(24 * HOUR).await;
            assert_eq!(count(&world, id, "attempt.started"), 0);
            let refused = answer(&world, id, "yes, why not").await;
            let expected = CallError::Denied(AnswerMismatch::NotOffered.into());
            assert_eq!(refused, Err(expected));
            answer(&world, id, label).await.unwrap();
            assert_eq!(world.ended(id).await.0, Outcome::Completed);
            assert_eq!(without(&world, id, [1, 2]), [is_without; 2]);
            assert_eq!(
                count(&world, id, "notice"),
                usize::from(is_without),
                "what does not start is told"
            );
            let next = world.create(in_a_project).await;
            assert_eq!(world.ended(next).await.0, Outcome::Completed, "it is asked about once");
            assert_eq!(without(&world, next, [1]), [is_without]);
            assert_eq!(count(&world, next, "notice"), usize::from(is_without));
        }
    });
}

/// Nothing is in the directory when the request is accepted, and the session waits for a slot meanwhile.
async fn waits_in_an_empty_directory(world: &World) -> (SessionId, Request) {
    let first = world.create(|_| {}).await;
    world.shown(first, "running").await;
    let mut request = None;
    let waiting = world.create(|waiting| request = Some(waiting.clone())).await;
    (waiting, request.expect("a request"))
}

#[test]
fn what_comes_into_the_directory_before_the_start_is_asked_about_then() {
    simulate(async {
        for (label, is_without) in [(RUN, false), (WITHOUT, true)] {
            let mut world = world_with(|settings| settings.live_agents_max = 1);
            let (id, mut request) = waits_in_an_empty_directory(&world).await;
            in_a_project(&mut request);
            assert!(world.shown(id, "awaiting_input").await.lifecycle.trust.is_open());
            world.restart();
            pass(HOUR).await;
            assert_eq!(world.endings(id), ["untrusted"]);
            answer(&world, id, label).await.unwrap();
            assert_eq!(world.ended(id).await.0, Outcome::Completed);
            assert_eq!(world.endings(id), ["untrusted", "crashed", "finished"]);
            assert_eq!(without(&world, id, [2, 3]), [is_without; 2]);
        }
    });
}

#[test]
fn what_changes_between_the_answer_and_the_start_is_asked_about_anew() {
    simulate(async {
        let world = world_with(|settings| settings.live_agents_max = 1);
        let (id, mut request) = waits_in_an_empty_directory(&world).await;
        in_a_project(&mut request);
        world.shown(id, "awaiting_input").await;
        fs::write(request.cwd.join("start.sh"), "#!/bin/sh\n").unwrap();
        answer(&world, id, RUN).await.unwrap();
        let asked = world.until(id, |summary| summary.questions.contains_key(&QuestionId(2)));
        assert_ne!(asked.await.lifecycle.trust, Trust::Run);
        answer(&world, id, RUN).await.unwrap();
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["untrusted", "untrusted", "crashed", "finished"]);
    });
}

#[test]
fn what_has_come_since_is_asked_about_when_somebody_resumes_the_session_and_not_in_between() {
    simulate(async {
        let mut world = world_with(|settings| settings.restart.restarts_total_max = 0);
        let mut request = None;
        let id = world.create(|new| request = Some(new.clone())).await;
        world.shown(id, "running").await;
        in_a_project(&mut request.expect("a request"));
        assert_eq!(world.endings(id), [""; 0]);
        world.restart();
        assert_ne!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(count(&world, id, "question.asked"), 0, "the session's own work");
        let handle = world.handle();
        handle
            .resume(None, id, Going::default(), "a test".into())
            .await
            .unwrap();
        answer(&world, id, WITHOUT).await.unwrap();
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["crashed", "untrusted", "finished"]);
        assert_eq!(without(&world, id, [3]), [true]);
    });
}

#[test]
fn where_it_is_decided_already_a_session_goes_on_without_what_has_come() {
    simulate(async {
        let world = world_with(|settings| {
            settings.live_agents_max = 1;
            settings.project_trust = Policy::Ignore;
        });
        let (id, mut request) = waits_in_an_empty_directory(&world).await;
        in_a_project(&mut request);
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(count(&world, id, "question.asked"), 0);
        assert_eq!(count(&world, id, "notice"), 1, "what does not start is told");
        assert_eq!(without(&world, id, [2, 3]), [true; 2]);
    });
}

#[test]
fn a_session_that_is_cancelled_is_asked_about_anew_when_it_is_resumed() {
    simulate(async {
        let world = world();
        let id = world.create(in_a_project).await;
        answer(&world, id, CANCEL).await.unwrap();
        assert_eq!(world.ended(id).await.0, Outcome::Cancelled);
        assert_eq!(count(&world, id, "attempt.started"), 0);
        let handle = world.handle();
        let resumed = handle.resume(None, id, Going::default(), "a test".into()).await;
        resumed.unwrap();
        let asked = world.shown(id, "awaiting_input").await;
        assert_eq!(asked.questions.keys().copied().collect::<Vec<_>>(), [QuestionId(2)]);
        answer(&world, id, WITHOUT).await.unwrap();
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(without(&world, id, [1, 2]), [true; 2]);
    });
}

#[test]
fn no_policy_lets_a_project_start_and_none_is_remembered() {
    simulate(async {
        let world = world();
        for policy in [OnQuestion::Deny, OnQuestion::FirstOption, OnQuestion::Allow] {
            let id = world
                .create(|request| {
                    in_a_project(request);
                    request.on_question = policy;
                })
                .await;
            assert_eq!(world.ended(id).await.0, Outcome::Completed);
            assert_eq!(without(&world, id, [1]), [true], "{policy:?}");
            assert_eq!(
                count(&world, id, "question.answered"),
                1,
                "a person was asked: {policy:?}"
            );
        }
    });
}

#[test]
fn a_task_is_clarified_behind_the_question_about_the_project() {
    simulate(async {
        let world = world();
        let id = world
            .create(|request| {
                in_a_project(request);
                request.clarify = true;
            })
            .await;
        answer(&world, id, WITHOUT).await.unwrap();
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(count(&world, id, "task.refined"), 1);
        assert_eq!(without(&world, id, [1, 2, 3]), [true; 3]);
    });
}

/// Asked, answered in time, and run, with a death at work.
const FRAIL: Case = Case {
    script: frail,
    request: |request| {
        in_a_project(request);
        request.on_question = OnQuestion::Deny;
        request.question_timeout_seconds = Some(60);
    },
    look: |world, id, context| {
        assert_eq!(world.endings(id), ["crashed", "finished"], "{context}");
        for kind in ["question.asked", "question.answered", "question.delivered"] {
            assert_eq!(count(world, id, kind), 1, "{kind}, {context}");
        }
        assert_eq!(without(world, id, [1, 2]), [true; 2], "{context}");
    },
};

#[test]
fn a_daemon_that_dies_at_any_commit_asks_once_and_starts_nothing_more() {
    for fault in [Fault::CommitFails, Fault::DiesBeforeCommit, Fault::DiesAfterCommit] {
        assert!(FRAIL.fails_everywhere(fault) > 8, "{fault:?}");
    }
}
