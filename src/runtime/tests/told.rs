//! What agents are told, held against the journal: whoever writes a line to an agent has it on disk before, since the next
//! daemon knows of nothing else.

use std::collections::BTreeSet;

use serde_json::Value;

use uuid::Uuid;

use super::agent::{Agent, script};
use super::lines;
use super::world::{HOUR, MINUTE, SECOND, World, pass, simulate};
use crate::runtime::refusal::CallError;
use crate::session::decide::Denied;
use crate::session::id::{Attempt, QuestionId, SessionId};
use crate::session::journal::Entry;
use crate::session::message::InputState;
use crate::session::outcome::{Cause, Outcome};
use crate::session::question::Answer;
use crate::session::summary::WaitingFor;
use crate::session::words::CONTINUE;
use crate::store::memory::{Fault, MemoryStore};
use crate::store::{Journal, PAGE_RECORDS_MAX};

/// The answers that one link has brought to its agent.
#[derive(Default)]
pub(super) struct Answers(BTreeSet<String>);

impl Answers {
    /// Takes a line for an agent; what is wrong with it.
    pub(super) fn take(&mut self, disk: &MemoryStore, session: SessionId, line: &str) -> Option<String> {
        let line: Value = serde_json::from_str(line).ok()?;
        match line["type"].as_str()? {
            "user" => {
                let uuid = line["uuid"].as_str()?;
                let is_it = |entry: &Entry| matches!(entry, Entry::Input(input) if input.uuid.to_string() == uuid);
                let is_on_disk = entries(disk, session, "input").iter().any(is_it);
                (!is_on_disk).then(|| format!("is told {line} before that is on disk"))
            }
            "control_response" => {
                let request = line["response"]["request_id"].as_str()?;
                if !self.0.insert(request.to_owned()) {
                    return Some(format!("is answered {request} twice"));
                }
                let is_refusal = line["response"]["subtype"] == "error";
                let is_on_disk = is_refusal || is_answered(disk, session, request);
                (!is_on_disk).then(|| format!("is answered {request} before that is on disk"))
            }
            _ => None,
        }
    }
}

fn is_answered(disk: &MemoryStore, session: SessionId, request: &str) -> bool {
    let asked = entries(disk, session, "question.asked");
    let asked: BTreeSet<_> = asked
        .iter()
        .filter_map(|entry| match entry {
            Entry::QuestionAsked(question) if question.request_id == request => Some(question.question_id),
            _ => None,
        })
        .collect();
    let answered = entries(disk, session, "question.answered");
    answered
        .iter()
        .any(|entry| matches!(entry, Entry::QuestionAnswered(answered) if asked.contains(&answered.question_id)))
}

fn entries(disk: &MemoryStore, session: SessionId, kind: &str) -> Vec<Entry> {
    let records = disk.latest_of_kind(session, kind, None, PAGE_RECORDS_MAX);
    let records = records.expect("the disk is readable").into_iter();
    records
        .map(|record| record.entry().expect("a readable record").clone())
        .collect()
}

/// Asks once, and says a line if it may.
async fn asks(agent: Agent) {
    if agent.asks("make install", SECOND).await {
        agent.says_a_line();
    }
    agent.finishes();
}

#[test]
fn an_answer_that_did_not_come_to_the_disk_is_told_to_no_agent_and_can_be_given_again() {
    simulate(async {
        let mut world = World::new(script(asks));
        let id = world.create(|_| {}).await;
        world.shown(id, "awaiting_input").await;
        world.fail_at(1, Fault::DiesBeforeCommit);
        let handle = world.handle();
        let lost = handle
            .answer(None, id, QuestionId(1), Answer::allow(), "a test".into())
            .await;
        assert!(lost.is_err(), "{lost:?}");
        world.restart();
        pass(MINUTE).await;
        assert_eq!(
            world.summary(id).shown_state().name(),
            "awaiting_input",
            "nobody has acted on it"
        );
        let deny = Answer::Deny {
            reason: None,
            interrupt: false,
        };
        let handle = world.handle();
        handle
            .answer(None, id, QuestionId(1), deny, "a test".into())
            .await
            .unwrap();
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert!(world.lines(id).is_empty(), "what counts is what is on disk");
    });
}

#[test]
fn of_two_answers_that_come_at_once_the_agent_is_told_the_first() {
    simulate(async {
        let world = World::new(script(asks));
        let id = world.create(|_| {}).await;
        world.shown(id, "awaiting_input").await;
        let deny = Answer::Deny {
            reason: None,
            interrupt: false,
        };
        let handle = world.handle();
        // The second one comes while the first is on its way to the disk.
        world.fail_at(1, Fault::AcknowledgedLate);
        let answer = async |answer| handle.answer(None, id, QuestionId(1), answer, "a test".into()).await;
        let acknowledging = async {
            pass(SECOND).await;
            world.acknowledge();
        };
        let (denied, allowed, ()) = tokio::join!(answer(deny), answer(Answer::allow()), acknowledging);
        let late = Some(CallError::Denied(Denied::AlreadyAnswered(QuestionId(1))));
        let (is_denied, is_allowed) = (denied.is_ok(), allowed.is_ok());
        let refused = [denied.err(), allowed.err()];
        assert!(is_denied != is_allowed && refused.contains(&late), "{refused:?}");
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.lines(id).len(), usize::from(is_allowed));
        let answered = world.told(id, |entry| match entry {
            Entry::QuestionAnswered(answered) => Some(answered.question_id),
            _ => None,
        });
        assert_eq!(answered, [QuestionId(1)]);
    });
}

/// The messages that an attempt's agent was to be told.
fn messages(world: &World, id: SessionId) -> Vec<String> {
    world.told(id, |entry| match entry {
        Entry::Input(input) if input.state == InputState::Sent => input.text,
        _ => None,
    })
}

#[test]
fn an_agent_that_is_done_and_gives_no_result_is_asked_for_it_three_times() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            for _ in 0..10 {
                agent.end_turn(|_| lines::state("running"));
                agent.works(MINUTE).await;
            }
        }));
        let id = world.create(|_| {}).await;
        let cause = Cause::AgentError;
        let (outcome, summary) = world.ended(id).await;
        assert_eq!(outcome, Outcome::Failed { cause });
        assert!(summary.note.is_some_and(|note| note.contains("gives no result")));
        assert_eq!(messages(&world, id)[1..], [CONTINUE; 3]);
    });
}

#[test]
fn an_agent_is_not_asked_for_its_result_while_it_asks_itself() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            let (tool, request) = (agent.calls_tool("make"), agent.make_id("request"));
            agent.print(lines::permission_request(&request, &tool, "make"));
            agent.end_turn(|_| lines::state("running"));
            agent.until(|state| state.answers.remove(&request)).await;
            agent.print(lines::tool_result(&tool, "done", false));
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        world.shown(id, "awaiting_input").await;
        pass(HOUR).await;
        let handle = world.handle();
        let answering = handle.answer(None, id, QuestionId(1), Answer::allow(), "a test".into());
        answering.await.unwrap();
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(messages(&world, id), ["Say some lines."]);
    });
}

#[test]
fn what_an_agent_says_of_messages_that_are_not_ours_is_nothing_to_wait_for() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.print(lines::lifecycle(Uuid::new_v4(), "queued"));
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
    });
}

#[test]
fn an_agent_that_is_being_ended_is_told_no_answer() {
    simulate(async {
        let play = |agent: Agent| async move {
            agent.does_not_listen();
            let (tool, request) = (agent.calls_tool("make"), agent.make_id("request"));
            agent.print(lines::permission_request(&request, &tool, "make"));
            agent.works(SECOND).await;
            agent.print(lines::api_retry(1, Some(401), "authentication_failed"));
            agent.until(|state| state.answers.remove(&request)).await;
            agent.says_a_line();
        };
        let world = World::with(script(play), |settings| {
            settings.attempt.login_hold = jiff::SignedDuration::ZERO
        });
        let id = world.create(|_| {}).await;
        world
            .until(id, |summary| summary.waiting_for == WaitingFor::Login)
            .await;
        pass(SECOND).await;
        let handle = world.handle();
        let answering = handle.answer(None, id, QuestionId(1), Answer::allow(), "a test".into());
        // Whether it is still taken is not what counts here.
        let _ = answering.await;
        let cause = Cause::Auth;
        assert_eq!(world.ended(id).await.0, Outcome::Failed { cause });
        assert!(world.lines(id).is_empty());
    });
}

#[test]
fn a_task_that_has_to_go_by_a_file_waits_until_that_can_be_written() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move { agent.finishes() }));
        let task = "tidy up ".repeat(200_000);
        let id = world.create(|request| request.task.clone_from(&task)).await;
        let directory = world.settings.attempt_directory(id, Attempt(1));
        let elsewhere = directory.with_extension("elsewhere");
        while !directory.join("launch.json").exists() {
            pass(SECOND / 1000).await;
        }
        std::fs::rename(&directory, &elsewhere).unwrap();
        pass(MINUTE).await;
        assert_eq!(world.summary(id).shown_state().name(), "running");
        std::fs::rename(&elsewhere, &directory).unwrap();
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["finished"]);
    });
}
