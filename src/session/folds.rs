//! What a journal amounts to, over the ends of agents, turns and sessions: what is folded in, what is carried over and what
//! is let go.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::clarify::Clarifications;
use super::grant::Grant;
use super::id::{QuestionId, Seq, SessionId};
use super::journal::{Answered, ClockJump, Entry, QuestionRef, Refined, Resumed, Why};
use super::limits::Limits;
use super::message::{ApiFault, InputState, Message, TurnEnd, Usage};
use super::outcome::{Ending, Outcome};
use super::question::{Answer, Question, QuestionKind};
use super::request::Request;
use super::samples::{
    attempt_ended, attempt_started, created, denied, good_turn, input, permission, said, session_ended, state_changed,
    tool_use, turn_ended,
};
use super::state::StateName::{Queued, Running, Starting, WaitingRetry};
use super::summary::{Summary, WaitingFor};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

impl Summary {
    fn with(mut self, entries: &[Entry]) -> Self {
        entries.iter().for_each(|entry| self.apply(entry, at(0)));
        self
    }

    /// The next agent is at work.
    fn attempts(self, attempt: u32) -> Self {
        self.with(&[attempt_started(attempt), state_changed(Starting, Running)])
    }

    /// Its agent dies, and another one is to follow.
    fn dies(self) -> Self {
        self.with(&[attempt_ended(Ending::Crashed), state_changed(Running, WaitingRetry)])
    }

    fn resumes(self, resumed: Resumed) -> Self {
        self.with(&[Entry::SessionResumed(resumed), state_changed(Running, Queued)])
    }
}

/// A session whose first agent is at work.
fn at_work() -> Summary {
    Summary::new(SessionId::new(), &created("tidy up"), at(0)).attempts(1)
}

fn asks(n: u32, request_id: &str, kind: QuestionKind) -> Entry {
    Entry::QuestionAsked(Question {
        question_id: QuestionId(n),
        request_id: request_id.into(),
        tool_use_id: Some("call".into()),
        kind,
    })
}

fn answered(answer: Answer, granted: Vec<Grant>) -> Entry {
    Entry::QuestionAnswered(Answered {
        question_id: QuestionId(1),
        answer,
        by: "a test".into(),
        granted,
    })
}

fn taken() -> Entry {
    let question_id = QuestionId(1);
    Entry::QuestionDelivered(QuestionRef { question_id })
}

fn ends_turn(change: impl FnOnce(&mut TurnEnd)) -> Entry {
    let mut end = TurnEnd {
        turns: 1,
        answers: vec![Uuid::from_u128(1)],
        ..good_turn()
    };
    change(&mut end);
    said(turn_ended(end))
}

fn usd(cost_usd: f64) -> Usage {
    Usage {
        cost_usd,
        ..Usage::default()
    }
}

#[test]
fn a_question_that_is_asked_again_is_that_of_the_new_agent_and_its_request() {
    let asked = at_work()
        .with(&[asks(1, "first", permission("git push"))])
        .dies()
        .attempts(2);
    assert!(!asked.is_waiting_for_person(), "its agent has died");
    let again = asked.with(&[asks(1, "second", permission("git push"))]);
    assert!(again.is_waiting_for_person());
    assert_eq!(again.questions[&QuestionId(1)].question.request_id, "second");
}

#[test]
fn questions_are_numbered_on_behind_one_that_is_asked_again() {
    let asked = at_work().with(&[
        asks(1, "a", permission("git push")),
        asks(2, "b", permission("git push")),
    ]);
    let again = asked.dies().attempts(2).with(&[asks(1, "c", permission("git push"))]);
    assert_eq!(again.questions_asked, 2);
}

#[test]
fn an_answer_that_only_a_dead_agent_could_have_taken_is_not_spent_while_the_next_one_works() {
    let asked = at_work()
        .with(&[asks(1, "a", permission("git push"))])
        .dies()
        .attempts(2);
    let given = asked.with(&[answered(Answer::allow(), vec![])]);
    assert!(!given.questions[&QuestionId(1)].may_be_spent());
}

#[test]
fn what_does_no_harm_twice_is_never_spent_and_never_held_against_the_next_agent() {
    let choice = QuestionKind::Choice {
        questions: vec![],
        input: json!({}),
    };
    let chosen = Answer::Choose {
        answers: Default::default(),
    };
    let asked = at_work().with(&[asks(1, "a", choice), answered(chosen, vec![])]).dies();
    assert!(!asked.questions[&QuestionId(1)].may_be_spent());
    let refused = at_work().with(&[asks(1, "a", permission("git push")), denied(false), taken()]);
    assert_eq!(refused.dies().attempts(2).acted_before(&permission("git push")), None);
}

#[test]
fn what_was_asked_and_acted_upon_ends_with_the_session() {
    let open = at_work().with(&[asks(1, "a", permission("git push"))]);
    let acting = at_work().with(&[
        asks(1, "a", permission("git push")),
        answered(Answer::allow(), vec![]),
        taken(),
    ]);
    for summary in [open, acting] {
        let ended = summary.with(&[attempt_ended(Ending::Stopped), session_ended(Outcome::Cancelled)]);
        let again = ended.resumes(Resumed::default()).attempts(2);
        assert!(again.questions.is_empty());
        assert_eq!(again.acted_before(&permission("git push")), None);
    }
}

#[test]
fn what_an_answer_grants_is_what_its_giver_saw() {
    let directories = vec!["/srv".into()];
    let granted = vec![Grant::Directories { directories }];
    let given = at_work().with(&[
        asks(1, "a", permission("git push")),
        answered(Answer::allow(), granted.clone()),
    ]);
    assert_eq!(given.questions[&QuestionId(1)].grants(), granted);
}

#[test]
fn a_clock_that_is_set_back_makes_no_question_wait_longer() {
    let mut summary = at_work();
    summary.apply(&asks(1, "a", permission("git push")), at(100));
    let (since, by_ms) = (at(60), -50_000);
    summary.apply(&Entry::ClockJumped(ClockJump { since, by_ms }), at(60));
    assert_eq!(summary.questions[&QuestionId(1)].asked_at, at(60));
}

#[test]
fn what_is_told_amid_a_turn_is_part_of_its_result_and_of_no_other() {
    let told = || at_work().with(&[Entry::Usage(usd(1.0))]);
    let ended = told().with(&[ends_turn(|end| end.spent = Some(usd(1.25)))]);
    assert_eq!(ended.usage.cost_usd, 1.25);
    let next = told().dies().attempts(2);
    let ended = next.with(&[ends_turn(|end| end.spent = Some(usd(0.5)))]);
    assert_eq!(
        ended.usage.cost_usd, 1.5,
        "no result tells of what a dead agent has used"
    );
}

#[test]
fn a_usage_limit_stays_one_while_retries_are_announced() {
    let limit = Message::RateLimit {
        rejected: true,
        resets_at: Some(1_800_003_600),
        limit: None,
        utilization: None,
    };
    let retry = Message::ApiRetry {
        retry: 1,
        retries_max: 300,
        delay_ms: 500,
        status: Some(429),
        error: ApiFault::RateLimit,
        login_until: None,
    };
    let waits = at_work().with(&[said(limit), said(retry)]);
    assert_eq!(
        (waits.waiting_for, waits.waits_until()),
        (WaitingFor::Quota, Some(at(3600)))
    );
}

#[test]
fn a_result_stays_until_there_is_another_one() {
    let first = ends_turn(|end| {
        end.result = "Done.".into();
        end.structured_output = Some(json!({"n": 1}));
    });
    let summary = at_work().with(&[first, ends_turn(|_| {})]);
    assert_eq!(summary.result.as_deref(), Some("Done."));
    assert_eq!(summary.structured_output, Some(json!({"n": 1})));
    // What an analysis says is no result of the task.
    let clarifications = Clarifications {
        answers: Default::default(),
        left_open: None,
    };
    let task = "tidy up".to_owned();
    let refined = summary.with(&[Entry::TaskRefined(Box::new(Refined { task, clarifications }))]);
    assert_eq!((refined.result, refined.structured_output), (None, None));
}

#[test]
fn a_conversation_is_rebuilt_and_cut_once() {
    let message = "No conversation found".to_owned();
    let lost = at_work().with(&[attempt_ended(Ending::LostContext { message })]);
    assert!(lost.lost.is_some());
    let rebuilt = lost.with(&[Entry::ContextRebuilt(Why {
        why: "it is gone".into(),
    })]);
    assert_eq!(rebuilt.lost, None);
    let resumed = Resumed {
        at: Some(Seq(2)),
        message: Some(Uuid::from_u128(7)),
        ..Resumed::default()
    };
    let cut = rebuilt.resumes(resumed).attempts(2);
    assert_eq!(cut.cut, Some(Uuid::from_u128(7)));
    assert_eq!(cut.with(&[ends_turn(|_| {})]).cut, None, "a turn has begun a branch");
}

#[test]
fn a_resume_begins_anew_and_keeps_what_it_does_not_give() {
    let mut worked = at_work().with(&[input(Uuid::from_u128(1), InputState::Sent, Some("tidy up"))]);
    worked.apply(&attempt_ended(Ending::Stopped), at(60));
    worked.apply(&state_changed(Running, super::state::StateName::Stopping), at(60));
    let ended = worked.with(&[session_ended(Outcome::Cancelled)]);
    assert!(ended.ended_at.is_some());
    let more = Limits {
        max_turns: Some(5),
        ..Limits::default()
    };
    let limits = Some(more);
    let resumed = ended.resumes(Resumed {
        limits,
        ..Resumed::default()
    });
    assert_eq!(resumed.ended_at, None);
    assert_eq!(resumed.pending().count(), 1, "it goes on where it was");
    let (at_point, message) = (Some(Seq(2)), Some(Uuid::from_u128(7)));
    let cut_back = resumed.resumes(Resumed {
        at: at_point,
        message,
        ..Resumed::default()
    });
    assert_eq!(cut_back.limits_in_force(&Request::default()), more);
    assert_eq!(cut_back.checkpoint, Some(Seq(2)));
    assert_eq!(
        cut_back.pending().count(),
        0,
        "what came behind that point is not said again"
    );
}

#[test]
fn time_from_before_a_resume_counts_against_no_limit() {
    let mut summary = at_work();
    summary.apply(&attempt_ended(Ending::Stopped), at(60));
    summary.apply(&session_ended(Outcome::Cancelled), at(60));
    assert_eq!(summary.used_until(at(60)).active_ms, 60_000);
    let resumed = summary.resumes(Resumed::default());
    assert_eq!(resumed.used_until(at(60)).active_ms, 0);
}

#[test]
fn a_denial_that_ends_the_turn_ends_that_turn_and_no_other() {
    let denies = || at_work().with(&[asks(1, "a", permission("git push")), denied(true)]);
    assert!(denies().work.ended_by_person().is_some());
    assert!(denies().dies().attempts(2).work.ended_by_person().is_some());
    assert_eq!(denies().with(&[ends_turn(|_| {})]).work.ended_by_person(), None);
    assert_eq!(denies().dies().resumes(Resumed::default()).work.ended_by_person(), None);
}

#[test]
fn a_tool_call_that_fails_is_none_that_was_passed() {
    let calls = at_work().with(&[said(tool_use("call", "make"))]);
    let ends = |is_error| {
        let (tool_use_id, text, parent) = ("call".into(), String::new(), None);
        said(Message::ToolResult {
            tool_use_id,
            text,
            is_error,
            parent,
        })
    };
    assert_eq!(calls.work.passed_tool(&ends(true)), None);
    assert!(calls.work.passed_tool(&ends(false)).is_some());
}
