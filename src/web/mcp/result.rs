//! What a tool answers: a session as it stands, what was told of it, and what can be done next.

use std::borrow::Cow;

use jiff::Timestamp;
use rmcp::model::{CallToolResult, ContentBlock};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::narrate::Narrator;
use crate::session::amounts::money;
use crate::session::excerpt;
use crate::session::outcome::{Cause, Outcome};
use crate::session::question::{Question, QuestionKind};
use crate::session::summary::Summary;

/// Maximum bytes of what stands first in an answer. Some clients show a model little more than 2 KB.
const ABOUT_BYTES_MAX: usize = 1800;

/// Maximum bytes of the end of a long answer that stand first.
const END_BYTES_MAX: usize = 900;

/// Maximum bytes of a note or of the words of a question there.
const LINE_BYTES_MAX: usize = 300;

/// Maximum bytes of a name there.
const NAME_BYTES_MAX: usize = 120;

/// Maximum bytes of a piece of an answer that is read on.
const PIECE_BYTES_MAX: usize = 1500;

/// A session, for a model to read.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ExecutionResult {
    /// How it stands, the end of its answer, and how to read on: all that matters, in less than 2 KB
    about: String,
    /// Names the session in every other tool.
    session_id: String,
    /// What a person calls it
    name: String,
    /// The beginning of its task
    task: String,
    /// The directory it works in
    directory: String,
    /// When it was asked for
    created_at: String,
    /// When it ended
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    /// What the caller should do about it.
    status: ResultStatus,
    /// queued, starting, running, awaiting_input, waiting_quota, waiting_api, waiting_login, waiting_timer, paused,
    /// waiting_retry, stopping, completed, failed, cancelled or timed_out
    state: String,
    /// When it goes on by itself: at the next attempt, the reset of a usage limit, or the next timer of its agent
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_until: Option<String>,
    /// completed, failed, cancelled or timed_out; absent while it has not ended
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    /// Why it failed
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// The agent's last final text
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    /// The answer in the form that json_schema asked for
    #[serde(skip_serializing_if = "Option::is_none")]
    structured_output: Option<Value>,
    /// A sentence about its end, or about what it waits for
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// Timers that its agent has set for itself, for which the session waits
    #[serde(skip_serializing_if = "Vec::is_empty")]
    timers: Vec<String>,
    /// Background shells and timers that were ended with the agent
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cut_off: Vec<String>,
    /// Questions that wait for an answer
    questions: Vec<OpenQuestion>,
    /// Which attempt this is; more than 1 after it was restarted
    attempt: u32,
    /// Model calls so far
    turns: u32,
    /// Tokens so far, cached ones among them
    tokens: u64,
    /// What it cost so far, in US dollars
    cost_usd: f64,
    /// Time at work so far, such as "1 h 2 min"
    at_work: String,
    /// What it may use since its last resume, and in all; absent without limits
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<String>,
    /// What happened, a line each, as "record: text"; bounded
    log: Vec<String>,
    /// How many earlier lines were left out of the log
    log_omitted: usize,
    /// The last record that the log tells of: give it as `after` to read on
    after: u64,
    /// What to do next
    next: String,
}

/// What the caller should do about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ResultStatus {
    /// It goes on.
    Running,
    /// It waits for an answer to a question.
    AwaitingInput,
    /// It has ended.
    Ended,
}

/// A question that waits.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct OpenQuestion {
    question_id: String,
    /// permission, choice, plan or form
    ask: String,
    /// The question in one line
    headline: String,
    /// What is asked, whole
    details: Value,
    /// What can be granted along with "allow", for the rest of the session, a line each
    #[serde(skip_serializing_if = "Vec::is_empty")]
    offers: Vec<String>,
    /// The arguments of answer_question that fit
    how_to_answer: String,
}

impl ExecutionResult {
    /// A session as it stands, with what was told of it.
    pub(super) fn new(summary: &Summary, told: Narrator) -> Self {
        let (outcome, now) = (summary.lifecycle.state.outcome(), Timestamp::now());
        let after = told.after.0;
        let (log, log_omitted) = told.into_log();
        let waiting = summary.questions.values().filter(|waiting| waiting.answer.is_none());
        let questions: Vec<OpenQuestion> = waiting.map(|waiting| OpenQuestion::of(&waiting.question)).collect();
        let status = match (outcome, questions.is_empty()) {
            (Some(_), _) => ResultStatus::Ended,
            (None, false) => ResultStatus::AwaitingInput,
            (None, true) => ResultStatus::Running,
        };
        let next = next_step(summary, status, outcome);
        Self {
            about: about(summary, &questions, &next),
            session_id: summary.session_id.to_string(),
            name: summary.name.clone(),
            task: excerpt::head(&summary.task, LINE_BYTES_MAX).to_owned(),
            directory: summary.cwd.display().to_string(),
            created_at: format!("{:.0}", summary.created_at),
            ended_at: summary.ended_at.map(|at| format!("{at:.0}")),
            status,
            state: summary.shown_state().to_string(),
            waits_until: summary.waits_until().map(|until| until.to_string()),
            outcome: outcome.map(|outcome| outcome.name().to_owned()),
            cause: outcome.and_then(Outcome::cause).map(|cause| cause.name().to_owned()),
            result: summary.result.clone(),
            structured_output: summary.structured_output.clone(),
            note: summary.shown_note().map(Cow::into_owned),
            timers: if outcome.is_some() {
                Vec::new()
            } else {
                summary.timers.described()
            },
            cut_off: summary.cut_off.clone(),
            questions,
            attempt: summary.lifecycle.attempt.0,
            turns: summary.turns_by_now(),
            tokens: summary.usage.tokens(),
            cost_usd: money(summary.usage.cost_usd),
            at_work: summary.at_work(now),
            limits: summary.used_of_limits(now),
            log,
            log_omitted,
            after,
            next,
        }
    }

    /// The same without its log, for lists.
    pub(super) fn brief(summary: &Summary) -> Self {
        Self::new(summary, Narrator::after(summary.head))
    }

    /// The answer of a tool: structured, and in words for clients that show only those.
    pub(super) fn into_result(self, is_error: bool) -> CallToolResult {
        let text = self.to_text();
        let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
        result.structured_content = serde_json::to_value(&self).ok();
        result.is_error = Some(is_error);
        result
    }

    /// Whether the work was not done.
    pub(super) fn is_failure(&self) -> bool {
        self.outcome.as_deref().is_some_and(|outcome| outcome != "completed")
    }

    /// What matters first, then the answer where that does not hold all of it.
    fn to_text(&self) -> String {
        match &self.result {
            Some(result) if !self.about.ends_with(result.as_str()) => {
                format!("{}\n\nThe answer:\n{result}", self.about)
            }
            Some(_) | None => self.about.clone(),
        }
    }

    /// The same with a piece of its answer, from this byte on, in place of the whole.
    pub(super) fn read_on(mut self, from: usize) -> Self {
        let whole = self.result.take().unwrap_or_default();
        let begin = whole.ceil_char_boundary(from.min(whole.len()));
        let piece = excerpt::head(&whole[begin..], PIECE_BYTES_MAX).to_owned();
        let (end, bytes) = (begin + piece.len(), whole.len());
        let next = match bytes - end {
            0 => "that is its end".to_owned(),
            _ => format!("read on with result_from: {end}"),
        };
        self.about = format!(
            "session_id: {}\nstate: {}\nthe answer, bytes {begin} to {end} of {bytes}; {next}\n\n{piece}",
            self.session_id, self.state
        );
        self.next = next;
        self.result = Some(piece);
        self
    }
}

/// What a model needs first: how the session stands, what to do, and the end of the answer.
fn about(summary: &Summary, questions: &[OpenQuestion], next: &str) -> String {
    let id = summary.session_id;
    let mut text = format!("session_id: {id}\nstate: {}", summary.shown_state());
    if let Some(cause) = summary.lifecycle.state.outcome().and_then(Outcome::cause) {
        text.push_str(&format!(", cause: {}", cause.name()));
    }
    if let Some(note) = summary.shown_note() {
        text.push_str(&format!(" ({})", excerpt::head(&note, LINE_BYTES_MAX)));
    }
    let name = excerpt::head(&summary.name, NAME_BYTES_MAX);
    text.push_str(&format!("\nname: {name}\ndirectory: {}", summary.cwd.display()));
    for question in questions {
        let (id, headline, how) = (&question.question_id, &question.headline, &question.how_to_answer);
        let headline = excerpt::head(headline, LINE_BYTES_MAX);
        text.push_str(&format!(
            "\nstatus: awaiting_input\nquestion {id}: {headline}\nto answer: {how}"
        ));
    }
    text.push_str(&format!("\n{next}"));
    let end = summary.result.as_deref().map(end_of_answer).unwrap_or_default();
    let room = ABOUT_BYTES_MAX.saturating_sub(end.len());
    format!("{}{end}", excerpt::head(&text, room))
}

/// A short answer as it is, or the end of a long one and how to read all of it.
fn end_of_answer(result: &str) -> String {
    if result.len() <= END_BYTES_MAX {
        return format!("\n\n{result}");
    }
    format!(
        "\n\nThe end of the answer, which has {} bytes (get_execution with result_from: 0 reads all of it, piece by \
         piece):\n{}",
        result.len(),
        excerpt::tail(result, END_BYTES_MAX).into_owned()
    )
}

impl OpenQuestion {
    fn of(question: &Question) -> Self {
        let id = question.question_id;
        let details = serde_json::to_value(&question.kind).unwrap_or_default();
        let ask = details["ask"].as_str().unwrap_or_default().to_owned();
        let offers = question.kind.offers().into_iter();
        let offers: Vec<String> = offers
            .filter(|offer| offer.grant.is_some())
            .map(|offer| offer.words)
            .collect();
        let how = match &question.kind {
            QuestionKind::Permission { .. } if !offers.is_empty() => format!(
                r#"answer_question with question_id "{id}" and action "allow", and as grant those of its offers that the user wants, or "deny" with a reason"#
            ),
            QuestionKind::Permission { .. } | QuestionKind::Plan { .. } => {
                format!(r#"answer_question with question_id "{id}" and action "allow", or "deny" with a reason"#)
            }
            QuestionKind::Choice { .. } => format!(
                r#"answer_question with question_id "{id}", action "choose" and answers {{"<the question's text>": "<a label, or words of your own>"}}"#
            ),
            QuestionKind::Form { url: Some(_), .. } => format!(
                r#"answer_question with question_id "{id}" and action "allow" when the user has opened the address, or "deny" with a reason"#
            ),
            QuestionKind::Form { .. } => {
                format!(r#"answer_question with question_id "{id}", action "submit" and content that fits the schema"#)
            }
        };
        Self {
            question_id: id.to_string(),
            ask,
            headline: question.kind.headline(),
            details,
            offers,
            how_to_answer: how,
        }
    }
}

fn next_step(summary: &Summary, status: ResultStatus, outcome: Option<Outcome>) -> String {
    let id = summary.session_id;
    match (status, outcome) {
        (ResultStatus::AwaitingInput, _) => {
            "Ask the user, then call answer_question; after that get_execution with wait_seconds.".to_owned()
        }
        (_, Some(Outcome::Completed)) => format!("The whole record: resource://cc-executor/session/{id}/log"),
        (_, Some(Outcome::Failed { cause: Cause::Budget })) => format!(
            "Its budget is spent. Ask the user for a larger total, then resume with session_id {id}: call \
             resume_execution with max_budget_usd."
        ),
        (_, Some(_)) => format!("Resume with session_id {id}: call resume_execution."),
        (_, None) => format!("It goes on: call get_execution with session_id {id} and wait_seconds."),
    }
}

/// An answer that says what went wrong and what to do.
pub(super) fn failure(told: impl std::fmt::Display) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(told.to_string())])
}

#[cfg(test)]
mod tests;
