//! The tasks extension: a task is a session, so it outlives the daemon and is known by `session_id` everywhere.

use std::collections::BTreeMap;

use rmcp::ErrorData;
use rmcp::model::{
    DetailedTask, ElicitRequest, ElicitResult, GetTaskResult, InputRequest, InputRequests, Task, TaskPayload,
    TaskStatus, UpdateTaskParams,
};
use serde_json::{Map, Value};

use super::caller::McpCaller;
use super::forms::{self, AskingSession, FormReply};
use super::resources::refused;
use super::result::ExecutionResult;
use super::services::Services;
use crate::runtime::CallError;
use crate::session::id::{QuestionId, SessionId};
use crate::session::outcome::Outcome;
use crate::session::question::Question;
use crate::session::summary::Summary;

/// How often a client should look, in milliseconds.
const POLL_MS: u64 = 1000;

/// A session as a task.
pub(super) fn task(summary: &Summary) -> Task {
    let at = |at: jiff::Timestamp| format!("{at:.3}");
    let (created, updated) = (at(summary.created_at), at(summary.updated_at));
    let state = summary.shown_state();
    let told = summary
        .shown_note()
        .map_or_else(|| state.to_string(), |note| format!("{state}: {note}"));
    Task::new(summary.session_id.to_string(), status(summary), created, updated)
        .with_status_message(told)
        .with_poll_interval_ms(POLL_MS)
}

/// `tasks/get`
pub(super) async fn get(services: &Services, id: &str) -> Result<GetTaskResult, ErrorData> {
    let summary = services.handle.get(session(id)?).await.map_err(refused)?;
    let payload = match status(&summary) {
        TaskStatus::InputRequired => TaskPayload::InputRequired {
            input_requests: requests(&summary),
        },
        TaskStatus::Completed => TaskPayload::Completed {
            result: result(&summary),
        },
        TaskStatus::Cancelled => TaskPayload::Cancelled,
        _ => TaskPayload::Working,
    };
    Ok(GetTaskResult::new(DetailedTask::new(task(&summary), payload)))
}

/// `tasks/update`: answers to the questions that `tasks/get` showed.
pub(super) async fn update(services: &Services, caller: &McpCaller, params: UpdateTaskParams) -> Result<(), ErrorData> {
    let id = session(&params.task_id)?;
    let summary = services.handle.get(id).await.map_err(refused)?;
    let asked: BTreeMap<String, &Question> = open(&summary)
        .map(|question| (question.question_id.to_string(), question))
        .collect();
    for (name, response) in &params.input_responses {
        // A question that is settled meanwhile needs no answer.
        let Some(question) = asked.get(name) else { continue };
        let misfit =
            |why: String| ErrorData::invalid_params(format!("the response to {name} does not fit: {why}"), None);
        let result: ElicitResult =
            serde_json::from_value(response.clone()).map_err(|error| misfit(error.to_string()))?;
        let reply = forms::reply(question, &result).map_err(|error| misfit(error.to_string()))?;
        if let FormReply::Answer(answer) = reply {
            match services.answer(caller, id, question.question_id, answer).await {
                Ok(_) => {}
                Err(CallError::Denied(denied)) if denied.is_settled_question() => {}
                Err(error) => return Err(refused(error)),
            }
        }
    }
    Ok(())
}

/// `tasks/cancel`
pub(super) async fn cancel(services: &Services, caller: &McpCaller, id: &str) -> Result<(), ErrorData> {
    match services.cancel(caller, session(id)?).await {
        // A task that is over stays as it is; cancelling it is no fault.
        Ok(_) | Err(CallError::Denied(_)) => Ok(()),
        Err(error) => Err(refused(error)),
    }
}

fn session(id: &str) -> Result<SessionId, ErrorData> {
    id.parse()
        .map_err(|_| ErrorData::invalid_params(format!("there is no task {id:?}"), None))
}

fn status(summary: &Summary) -> TaskStatus {
    match summary.lifecycle.state.outcome() {
        // A failure of the agent is a result that says so; only a failure of the protocol would be a failed task.
        Some(Outcome::Completed | Outcome::Failed { .. } | Outcome::TimedOut) => TaskStatus::Completed,
        Some(Outcome::Cancelled) => TaskStatus::Cancelled,
        None if summary.is_waiting_for_person() => TaskStatus::InputRequired,
        None => TaskStatus::Working,
    }
}

fn open(summary: &Summary) -> impl Iterator<Item = &Question> {
    let waiting = summary.questions.values().filter(|waiting| waiting.answer.is_none());
    waiting.map(|waiting| &waiting.question)
}

fn requests(summary: &Summary) -> InputRequests {
    let asker = AskingSession::of(summary);
    let request = |question: &Question| {
        let form = InputRequest::Elicitation(ElicitRequest::new(forms::form(&asker, question)));
        (QuestionId::to_string(&question.question_id), form)
    };
    open(summary).map(request).collect()
}

fn result(summary: &Summary) -> Map<String, Value> {
    let execution = ExecutionResult::brief(summary);
    let is_failure = execution.is_failure();
    match serde_json::to_value(execution.into_result(is_failure)) {
        Ok(Value::Object(result)) => result,
        _ => Map::new(),
    }
}
