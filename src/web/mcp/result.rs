//! What a tool answers: a session as it stands, what was told of it, and what can be done next.

use std::borrow::Cow;

use rmcp::model::{CallToolResult, ContentBlock};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::narrate::Narrator;
use crate::session::outcome::Outcome;
use crate::session::question::{Question, QuestionKind};
use crate::session::summary::Summary;

/// A session, for a model to read.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Execution {
    /// Names the session in every other tool.
    session_id: String,
    /// What the caller should do about it.
    status: Status,
    /// queued, starting, running, awaiting_input, waiting_quota, waiting_api, waiting_login, paused, waiting_retry,
    /// stopping, completed, failed, cancelled or timed_out
    state: String,
    /// When it goes on by itself: at the next attempt, or the reset of a usage limit
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
    /// Questions that wait for an answer
    questions: Vec<OpenQuestion>,
    /// Which attempt this is; more than 1 after it was restarted
    attempt: u32,
    /// Model rounds so far
    turns: u32,
    /// What it cost so far, in US dollars
    cost_usd: f64,
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
pub(super) enum Status {
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

impl Execution {
    /// A session as it stands, with what was told of it.
    pub(super) fn new(summary: &Summary, told: Narrator) -> Self {
        let outcome = summary.lifecycle.state.outcome();
        let after = told.after.0;
        let (log, log_omitted) = told.into_log();
        let waiting = summary.questions.values().filter(|waiting| waiting.answer.is_none());
        let questions: Vec<OpenQuestion> = waiting.map(|waiting| OpenQuestion::of(&waiting.question)).collect();
        let status = match (outcome, questions.is_empty()) {
            (Some(_), _) => Status::Ended,
            (None, false) => Status::AwaitingInput,
            (None, true) => Status::Running,
        };
        Self {
            session_id: summary.session_id.to_string(),
            status,
            state: summary.shown_state().to_owned(),
            waits_until: summary.waits_until().map(|until| until.to_string()),
            outcome: outcome.map(|outcome| outcome.name().to_owned()),
            cause: outcome.and_then(Outcome::cause).map(|cause| cause.name().to_owned()),
            result: summary.result.clone(),
            structured_output: summary.structured_output.clone(),
            note: summary.shown_note().map(Cow::into_owned),
            questions,
            attempt: summary.lifecycle.attempt.0,
            turns: summary.turns,
            cost_usd: summary.usage.cost_usd,
            log,
            log_omitted,
            after,
            next: next_step(summary, status, outcome),
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

    fn to_text(&self) -> String {
        let mut text = String::new();
        if let Some(result) = &self.result {
            text.push_str(result);
            text.push_str("\n\n");
        }
        text.push_str(&format!("session_id: {}\nstate: {}", self.session_id, self.state));
        if let Some(note) = &self.note {
            text.push_str(&format!(" ({note})"));
        }
        for question in &self.questions {
            let (id, headline, how) = (&question.question_id, &question.headline, &question.how_to_answer);
            text.push_str(&format!(
                "\nstatus: awaiting_input\nquestion {id}: {headline}\nto answer: {how}"
            ));
        }
        text.push_str(&format!("\n{}", self.next));
        text
    }
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

fn next_step(summary: &Summary, status: Status, outcome: Option<Outcome>) -> String {
    let id = summary.session_id;
    match (status, outcome) {
        (Status::AwaitingInput, _) => {
            "Ask the user, then call answer_question; after that get_execution with wait_seconds.".to_owned()
        }
        (_, Some(Outcome::Completed)) => format!("The whole record: resource://cc-executor/session/{id}/log"),
        (_, Some(_)) => format!("Resume with session_id {id}: call resume_execution."),
        (_, None) => format!("It goes on: call get_execution with session_id {id} and wait_seconds."),
    }
}

/// An answer that says what went wrong and what to do.
pub(super) fn failure(told: impl std::fmt::Display) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(told.to_string())])
}
