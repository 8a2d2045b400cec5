//! How sessions look in JSON, the same over REST, MCP and in `--json`.

use std::borrow::Cow;
use std::path::Path;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::session::amounts::money;
use crate::session::clarify::Clarifications;
use crate::session::id::{Attempt, Seq, SessionId};
use crate::session::limits::{Limits, Used};
use crate::session::message::Usage;
use crate::session::question::Question;
use crate::session::shown::Shown;
use crate::session::state::State;
use crate::session::summary::{Summary, Waiting};
use crate::session::terms::Terms;

/// A session.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionView<'a> {
    #[schema(value_type = Uuid)]
    session_id: SessionId,
    /// The end of the id, which is enough to name it.
    short_id: String,
    name: &'a str,
    /// The beginning of the task.
    task: &'a str,
    /// Where it stands: what a person wants to know first.
    state: Shown,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    /// How it ended, once it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<OutcomeName>)]
    outcome: Option<&'static str>,
    /// When it goes on by itself: the end of a wait before the next attempt, the reset of a usage limit, or the next
    /// timer that its agent has set.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "milliseconds")]
    #[schema(value_type = Option<String>, format = DateTime)]
    waits_until: Option<Timestamp>,
    /// The run of an agent that it is at, from 1; 0 before the first.
    #[schema(value_type = u32)]
    attempt: Attempt,
    /// The directory it works in.
    #[schema(value_type = String)]
    cwd: &'a Path,
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    created_at: Option<Timestamp>,
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    updated_at: Option<Timestamp>,
    /// When its first attempt began.
    #[serde(serialize_with = "milliseconds")]
    #[schema(required, value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    #[serde(serialize_with = "milliseconds")]
    #[schema(required, value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// Time at work so far, in milliseconds: the time in which an agent was running and waited for nobody.
    active_ms: u64,
    /// Model calls so far in the main conversation, over all attempts.
    turns: u32,
    usage: UsageView,
    /// What it has cost so far, in US dollars.
    cost_usd: f64,
    /// The limits in force, and what counts against them; absent without limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<LimitsView>,
    /// The model, once the agent has named it.
    #[schema(required)]
    model: Option<&'a str>,
    /// What holds now besides what was asked for, or instead of it: the permission mode where it has changed, a model
    /// that was switched to, and what was granted for the rest of the session. A next attempt is started with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Terms>)]
    terms: Option<&'a Terms>,
    /// The agent's own id of the conversation.
    #[schema(required)]
    agent_session_id: Option<Uuid>,
    /// Questions that are open or whose answer is not delivered.
    questions: Vec<QuestionView<'a>>,
    /// What was made clear about the task before it was run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Clarifications>)]
    clarifications: Option<&'a Clarifications>,
    /// The record of the last checkpoint.
    #[schema(required, value_type = Option<u64>)]
    checkpoint: Option<Seq>,
    /// The last final text.
    #[schema(required)]
    result: Option<&'a str>,
    /// The last structured output: any JSON.
    #[schema(required, value_type = Value)]
    structured_output: Option<&'a Value>,
    /// A sentence about its end, or about what it waits for.
    #[schema(required)]
    note: Option<Cow<'a, str>>,
    /// Background shells and timers that were ended with the agent, each in a line.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    #[schema(required = false)]
    cut_off: &'a [String],
    /// Timers that its agent has set and that are still to fire, each in a line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    timers: Vec<String>,
    /// The number of the last record.
    #[schema(value_type = u64)]
    head: Seq,
}

/// Limits in force: turns and time since the last resume, money over the whole session.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LimitsInForce)]
struct LimitsView {
    #[serde(flatten)]
    limits: Limits,
    /// What counts against them so far.
    used: Used,
}

/// Tokens used.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Usage)]
struct UsageView {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
}

/// A question that is not done with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WaitingQuestion)]
pub struct QuestionView<'a> {
    #[serde(flatten)]
    #[schema(value_type = Question)]
    question: &'a Question,
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    asked_at: Option<Timestamp>,
    /// An answer is there and waits for the agent.
    answered: bool,
    /// The agent that asked is gone; an answer is kept for the next one.
    orphaned: bool,
    /// The question in one line.
    headline: String,
    /// The `suggestions` of a permission in plain words, a line each in the same order: what an answer can grant for the
    /// rest of the session.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    offers: Vec<String>,
}

impl<'a> SessionView<'a> {
    /// The view of a summary.
    pub fn of(summary: &'a Summary) -> Self {
        let outcome = summary.lifecycle.state.outcome();
        let now = Timestamp::now();
        Self {
            session_id: summary.session_id,
            short_id: summary.session_id.short(),
            name: &summary.name,
            task: &summary.task,
            state: summary.shown_state(),
            cause: outcome.and_then(|outcome| outcome.cause()).map(|cause| cause.name()),
            outcome: outcome.map(|outcome| outcome.name()),
            waits_until: summary.waits_until(),
            attempt: summary.lifecycle.attempt,
            cwd: &summary.cwd,
            created_at: Some(summary.created_at),
            updated_at: Some(summary.updated_at),
            started_at: summary.started_at,
            ended_at: summary.ended_at,
            active_ms: summary.active_ms_until(now),
            turns: summary.turns_by_now(),
            usage: UsageView::of(&summary.usage),
            cost_usd: money(summary.usage.cost_usd),
            limits: LimitsView::of(summary, now),
            model: summary.model.as_deref(),
            terms: Some(&summary.effective.terms).filter(|terms| !terms.is_as_asked()),
            agent_session_id: summary.lifecycle.agent_session_id,
            questions: QuestionView::all_of(summary).collect(),
            clarifications: summary.clarifications.as_ref(),
            checkpoint: summary.checkpoint,
            result: summary.result.as_deref(),
            structured_output: summary.structured_output.as_ref(),
            note: summary.shown_note(),
            cut_off: &summary.cut_off,
            timers: if outcome.is_some() {
                Vec::new()
            } else {
                summary.timers.described()
            },
            head: summary.head,
        }
    }
}

impl<'a> QuestionView<'a> {
    /// The questions of a session, in the order they were asked.
    pub(super) fn all_of(summary: &'a Summary) -> impl Iterator<Item = Self> {
        let lifecycle = &summary.lifecycle;
        // Our own question about the task waits for no agent.
        let is_kept = lifecycle.state.has_agent() || lifecycle.state == State::Asking;
        let orphans = move |waiting: &Waiting| !is_kept || waiting.attempt != lifecycle.attempt;
        let waiting = summary.questions.values();
        waiting.map(move |waiting| Self::of(waiting, orphans(waiting)))
    }

    /// Whether it waits for an answer.
    pub(super) fn is_open(&self) -> bool {
        !self.answered
    }

    /// The time at which it was asked.
    pub(super) fn asked_at(&self) -> Option<Timestamp> {
        self.asked_at
    }

    fn of(waiting: &'a Waiting, orphaned: bool) -> Self {
        let offers = waiting.question.kind.offers().into_iter();
        Self {
            question: &waiting.question,
            asked_at: Some(waiting.asked_at),
            answered: waiting.answer.is_some(),
            orphaned,
            headline: waiting.question.kind.headline(),
            offers: offers.map(|offer| offer.words).collect(),
        }
    }
}

impl LimitsView {
    fn of(summary: &Summary, now: Timestamp) -> Option<Self> {
        let limits = summary.limits.filter(|limits| *limits != Limits::default())?;
        let used = summary.used_until(now);
        Some(Self { limits, used })
    }
}

impl UsageView {
    fn of(usage: &Usage) -> Self {
        let Usage {
            input_tokens,
            output_tokens,
            cache_read_tokens,
            cache_write_tokens,
            cost_usd: _,
        } = *usage;
        Self {
            input_tokens,
            output_tokens,
            cache_read_tokens,
            cache_write_tokens,
        }
    }
}

/// RFC 3339 in UTC with milliseconds, as in records.
pub(super) fn milliseconds<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(&format_args!("{at:.3}")),
        None => serializer.serialize_none(),
    }
}

/// The name of an outcome; described, never made.
#[derive(Serialize, ToSchema)]
#[expect(dead_code, reason = "described, never made")]
#[serde(rename_all = "snake_case")]
pub(super) enum OutcomeName {
    Completed,
    Failed,
    Cancelled,
    TimedOut,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::journal::Created;
    use crate::session::outcome::{Cause, Outcome};
    use crate::session::request::Request;
    use crate::session::samples::ask_permission;

    fn summary() -> Summary {
        let request = Request {
            task: "tidy up".into(),
            cwd: "/srv/me".into(),
            ..Request::default()
        };
        let created = Created {
            request,
            by: "a test".into(),
            claim: None,
            project: None,
        };
        let id = SessionId::from_uuid(Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_1234_abcd));
        Summary::new(
            id,
            &created,
            Timestamp::from_microsecond(1_800_000_000_123_456).unwrap(),
        )
    }

    fn json(summary: &Summary) -> Value {
        serde_json::to_value(SessionView::of(summary)).unwrap()
    }

    #[test]
    fn a_session_looks_like_this() {
        let mut summary = summary();
        summary.lifecycle.state = State::Running;
        summary.lifecycle.attempt = Attempt(1);
        ask_permission(&mut summary, "ls");
        let text = serde_json::to_string_pretty(&SessionView::of(&summary)).unwrap();
        insta::assert_snapshot!(text, @r#"
        {
          "session_id": "01930000-0000-7000-8000-00001234abcd",
          "short_id": "1234abcd",
          "name": "tidy up",
          "task": "tidy up",
          "state": "awaiting_input",
          "attempt": 1,
          "cwd": "/srv/me",
          "created_at": "2027-01-15T08:00:00.123Z",
          "updated_at": "2027-01-15T08:00:00.123Z",
          "started_at": null,
          "ended_at": null,
          "active_ms": 0,
          "turns": 0,
          "usage": {
            "input_tokens": 0,
            "output_tokens": 0,
            "cache_read_tokens": 0,
            "cache_write_tokens": 0
          },
          "cost_usd": 0.0,
          "model": null,
          "agent_session_id": null,
          "questions": [
            {
              "question_id": "q1",
              "request_id": "r",
              "ask": "permission",
              "tool": "Bash",
              "input": {
                "command": "ls"
              },
              "asked_at": "2027-01-15T08:00:00.123Z",
              "answered": false,
              "orphaned": false,
              "headline": "Bash: ls"
            }
          ],
          "checkpoint": null,
          "result": null,
          "structured_output": null,
          "note": "it goes on when its question is answered",
          "head": 0
        }
        "#);
    }

    #[test]
    fn a_question_is_orphaned_while_no_agent_waits_for_its_answer() {
        let mut summary = summary();
        summary.lifecycle.state = State::Running;
        ask_permission(&mut summary, "ls");
        let orphaned = |summary: &Summary| json(summary)["questions"][0]["orphaned"].clone();
        assert_eq!(orphaned(&summary), false);
        summary.lifecycle.state = State::WaitingRetry { at: summary.created_at };
        assert_eq!(orphaned(&summary), true, "the agent is down");
        summary.lifecycle.state = State::Running;
        summary.lifecycle.attempt = Attempt(1);
        assert_eq!(orphaned(&summary), true, "an earlier attempt asked");
    }

    #[test]
    fn a_failure_has_a_cause() {
        let mut summary = summary();
        assert!(json(&summary).get("outcome").is_none());
        let outcome = Outcome::Failed { cause: Cause::Auth };
        summary.lifecycle.state = State::Ended { outcome };
        let json = json(&summary);
        let shown = ["state", "outcome", "cause"].map(|key| json[key].as_str().unwrap());
        assert_eq!(shown, ["failed", "failed", "auth"]);
    }
}
