//! Questions that wait for a person, and the time that an agent may be at work.

use super::agent::{Agent, script};
use super::lines;
use super::world::{HOUR, MINUTE, SECOND, World, pass, simulate};
use crate::runtime::refusal::CallError;
use crate::session::decide::Denied;
use crate::session::id::{Attempt, QuestionId, SessionId};
use crate::session::journal::Entry;
use crate::session::message::Message;
use crate::session::outcome::Outcome;
use crate::session::question::{Answer, AnswerMismatch};
use crate::session::request::OnQuestion;
use crate::session::summary::Summary;
use jiff::Timestamp;

const ALLOW: Answer = Answer::Allow {
    updated_input: None,
    remember: false,
    grant: Vec::new(),
};

/// Works for so many minutes, asks once, is silent for four, and says a second line if it may and none if not; then
/// works again.
async fn asks_between(agent: Agent, before: i32, after: i32) {
    agent.says_a_line();
    agent.uses_tool("configure", before * MINUTE).await;
    if agent.asks("make install", 4 * MINUTE).await {
        agent.says_a_line();
    }
    agent.uses_tool("check", after * MINUTE).await;
    agent.finishes();
}

fn time_of(journal: &[(Timestamp, Entry)], kind: &str) -> Timestamp {
    let found = journal.iter().find(|(_, entry)| entry.kind() == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {journal:?}")).0
}

/// Allows what is asked, which has to be accepted.
async fn allow(world: &World, id: SessionId, question: QuestionId) {
    let allowing = world.handle();
    allowing
        .answer(None, id, question, ALLOW, "a test".into())
        .await
        .unwrap();
}

#[test]
fn a_question_that_is_open_for_a_day_waits_and_its_answer_is_delivered() {
    let answer_in_a_day = async |says_first: bool| {
        let world = World::new(script(|agent| asks_between(agent, 1, 1)));
        if says_first {
            world.machine.troubles.let_agents_say_first();
        }
        let id = world.create(|_| {}).await;
        world.shown(id, "awaiting_input").await;
        pass(24 * HOUR).await;
        let waiting = world.summary(id);
        assert_eq!(waiting.shown_state().name(), "awaiting_input");
        let question = *waiting.questions.keys().next().unwrap();
        allow(&world, id, question).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.lines(id).len(), 2, "the agent was told that it may");
        assert_eq!(world.endings(id), ["finished"], "the wait was not taken for silence");
        let journal = world.journal(id);
        let waited = time_of(&journal, "question.delivered").duration_since(time_of(&journal, "question.asked"));
        assert!(waited >= 24 * HOUR && waited < 24 * HOUR + SECOND, "{waited:?}");
    };
    [false, true]
        .into_iter()
        .for_each(|says_first| simulate(answer_in_a_day(says_first)));
}

#[test]
fn a_question_that_the_agent_no_longer_asks_is_withdrawn_also_before_it_is_on_disk() {
    for at_once in [false, true] {
        simulate(async move {
            let world = World::new(script(move |agent: Agent| async move {
                let (tool, request) = (agent.calls_tool("make"), agent.make_id("request"));
                agent.print(lines::permission_request(&request, &tool, "make"));
                if !at_once {
                    agent.works(MINUTE).await;
                }
                agent.print(lines::ask_cancelled(&request));
                agent.works(5 * MINUTE).await;
                agent.print(lines::tool_result(&tool, "it is not allowed", true));
                agent.finishes();
            }));
            let id = world.create(|_| {}).await;
            let withdrawn = || {
                world.told(id, |entry| match entry {
                    Entry::QuestionWithdrawn(withdrawn) => Some(withdrawn.question_id),
                    _ => None,
                })
            };
            world.until(id, |summary| summary.questions_asked == 1).await;
            pass(2 * MINUTE).await;
            let summary = world.summary(id);
            assert_eq!((summary.shown_state().name(), summary.questions.len()), ("running", 0));
            assert_eq!(withdrawn(), [QuestionId(1)]);
            assert_eq!(world.ended(id).await.0, Outcome::Completed);
            assert_eq!(withdrawn(), [QuestionId(1)], "once");
        });
    }
}

#[test]
fn a_question_that_nobody_answers_is_denied_on_time_where_the_request_says_so() {
    simulate(async {
        let world = World::new(script(|agent| asks_between(agent, 1, 1)));
        let id = world
            .create(|request| {
                request.on_question = OnQuestion::Deny;
                request.question_timeout_seconds = Some(5000);
            })
            .await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.lines(id).len(), 1, "the agent was told that it may not");
        let journal = world.journal(id);
        let waited = time_of(&journal, "question.answered").duration_since(time_of(&journal, "question.asked"));
        assert_eq!(waited.as_secs(), 5000);
        let answered = journal.iter().find_map(|(_, entry)| match entry {
            Entry::QuestionAnswered(answered) => Some((answered.question_id, answered.by.as_str())),
            _ => None,
        });
        assert_eq!(answered, Some((QuestionId(1), "the request's on_question")));
    });
}

#[test]
fn a_question_of_an_agent_that_died_can_be_answered_and_the_next_agent_has_the_answer() {
    simulate(async {
        let mut world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            if agent.asks("make install", SECOND).await {
                agent.says_a_line();
            }
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        let asked = world.shown(id, "awaiting_input").await;
        let question = *asked.questions.keys().next().unwrap();
        world.kill_agents();
        world.shown(id, "waiting_retry").await;
        allow(&world, id, question).await;
        let second = world.handle().answer(None, id, question, ALLOW, "a test".into()).await;
        assert_eq!(
            second.err(),
            Some(CallError::Denied(Denied::AlreadyAnswered(question))),
            "the first one waits"
        );
        world.restart();
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.lines(id).len(), 3, "one before the death, two after it");
        assert_eq!(world.endings(id), ["crashed", "finished"]);
    });
}

#[test]
fn the_wait_for_a_person_does_not_count_towards_the_timeout() {
    simulate(async {
        let run = async |before, after| {
            let world = World::new(script(move |agent| asks_between(agent, before, after)));
            let id = world.create(|request| request.timeout_seconds = Some(3600)).await;
            world.shown(id, "awaiting_input").await;
            pass(10 * HOUR).await;
            let question = QuestionId(1);
            allow(&world, id, question).await;
            let (outcome, summary) = world.ended(id).await;
            (outcome, summary.updated_at.duration_since(summary.created_at))
        };
        let (outcome, took) = run(30, 25).await;
        assert_eq!(outcome, Outcome::Completed, "59 minutes of work");
        assert!(took >= 10 * HOUR + 59 * MINUTE, "{took:?}");
        let (outcome, took) = run(30, 35).await;
        assert_eq!(outcome, Outcome::TimedOut, "69 minutes of work");
        assert!(took >= 11 * HOUR && took < 11 * HOUR + MINUTE, "{took:?}");
    });
}

#[test]
fn two_questions_that_are_the_same_are_both_answered_though_their_agent_died_over_them() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            let (first, second) = tokio::join!(agent.asks("make", SECOND), agent.asks("make", SECOND));
            if first && second {
                agent.says_a_line();
            }
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        world.until(id, |summary| summary.questions.len() == 2).await;
        world.kill_agents();
        let is_asked_again = |summary: &Summary| {
            let attempt = summary.lifecycle.attempt;
            attempt == Attempt(2) && summary.questions.values().all(|waiting| waiting.attempt == attempt)
        };
        let asked = world.until(id, is_asked_again).await;
        assert_eq!(asked.questions.len(), 2);
        for question in asked.questions.keys() {
            allow(&world, id, *question).await;
        }
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.lines(id).len(), 1, "both were allowed");
    });
}

#[test]
fn an_answer_that_no_agent_can_be_told_is_refused_while_another_can_be_given() {
    simulate(async {
        let world = World::new(script(|agent| asks_between(agent, 1, 1)));
        let id = world.create(|_| {}).await;
        let asked = world.shown(id, "awaiting_input").await;
        let question = *asked.questions.keys().next().unwrap();
        let long = Answer::Allow {
            updated_input: Some(serde_json::json!({"command": "x".repeat(1024 * 1024)})),
            remember: false,
            grant: Vec::new(),
        };
        let refused = world.handle().answer(None, id, question, long, "a test".into()).await;
        assert!(
            matches!(
                refused,
                Err(CallError::Denied(Denied::AnswerMismatch(AnswerMismatch::Long { .. })))
            ),
            "{refused:?}"
        );
        let deep = serde_json::from_str(&format!("{}{}", "[".repeat(120), "]".repeat(120))).unwrap();
        let deep = Answer::Allow {
            updated_input: Some(deep),
            remember: false,
            grant: Vec::new(),
        };
        let refused = world.handle().answer(None, id, question, deep, "a test".into()).await;
        assert!(
            matches!(
                refused,
                Err(CallError::Denied(Denied::AnswerMismatch(AnswerMismatch::Deep)))
            ),
            "{refused:?}"
        );
        allow(&world, id, question).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
    });
}

#[test]
fn a_question_that_the_next_agent_goes_past_is_withdrawn_and_keeps_nobody_waiting() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            if agent.is_first("question") {
                agent.asks("make install", SECOND).await;
            }
            // The end of a turn that was about something else says nothing of the question.
            agent.reports();
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        world.shown(id, "awaiting_input").await;
        world.kill_agents();
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        let journal = world.journal(id);
        let withdrawn = journal
            .iter()
            .position(|(_, entry)| entry.kind() == "question.withdrawn");
        let is_good_end = |entry: &Entry| match entry {
            Entry::AgentMessage(said) => matches!(&said.message, Message::TurnEnded(end) if !end.synthetic),
            _ => false,
        };
        let ended = journal.iter().position(|(_, entry)| is_good_end(entry));
        let follows = |place: usize| ended.is_some_and(|ended| place + 1 == ended || place == ended + 1);
        assert!(withdrawn.is_some_and(follows), "{journal:#?}");
    });
}

#[test]
fn a_question_that_is_asked_again_at_the_end_of_a_turn_stays_open() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            let (tool, request) = (agent.calls_tool("make"), agent.make_id("request"));
            agent.print(lines::permission_request(&request, &tool, "make"));
            if !agent.is_first("question") {
                agent.finishes();
            }
            agent.until(|state| state.answers.remove(&request)).await;
            agent.says_a_line();
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        world.shown(id, "awaiting_input").await;
        world.kill_agents();
        world.until(id, |summary| summary.work.is_answered()).await;
        pass(SECOND).await;
        let asked = world.summary(id);
        assert_eq!(
            (asked.shown_state().name(), asked.questions_asked),
            ("awaiting_input", 1)
        );
        allow(&world, id, QuestionId(1)).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.lines(id).len(), 1);
    });
}

#[test]
fn an_answer_that_a_host_took_with_it_is_given_by_the_next_host() {
    simulate(async {
        let world = World::new(script(|agent| asks_between(agent, 1, 1)));
        let id = world.create(|_| {}).await;
        world.shown(id, "awaiting_input").await;
        world.stops_hosts();
        allow(&world, id, QuestionId(1)).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.lines(id).len(), 2, "the agent was told that it may");
        assert_eq!(world.endings(id), ["finished"]);
    });
}
