//! The tools that look at sessions, answer their questions and end them.

use std::time::Duration;

use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock};
use schemars::JsonSchema;
use serde::Serialize;

use super::ToolError;
use super::arguments::{AnswerQuestion, Control, ControlAction, Get, List, WAIT_SECONDS_MAX};
use super::execute::Call;
use crate::session::id::{QuestionId, Seq, SessionId};
use crate::web::mcp::caller::Caller;
use crate::web::mcp::follow::{Follow, Followed, Questions, follow};
use crate::web::mcp::narrate::Told;
use crate::web::mcp::progress::Scale;
use crate::web::mcp::result::Execution;
use crate::web::mcp::server::Door;

/// How many sessions are listed when the caller does not say.
const LISTED: usize = 20;

/// The most that are listed.
const LISTED_MAX: usize = 100;

/// Sessions, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listed {
    sessions: Vec<Execution>,
    /// What to give as `before` for more; absent where there is no more
    #[serde(skip_serializing_if = "Option::is_none")]
    next_before: Option<String>,
}

type Answered = Result<CallToolResponse, ToolError>;

/// `get_execution`
pub(super) async fn get(call: Call<'_>, arguments: Result<Get, ToolError>) -> Answered {
    let Get {
        session_id,
        after,
        wait_seconds,
    } = arguments?;
    let session = call.door.handle.resolve(&session_id).await?;
    let what = Follow {
        session,
        told: Told::up_to(Seq(after)),
        scale: Scale::default(),
        questions: Questions::StopAt,
        wait: Some(Duration::from_secs(wait_seconds.unwrap_or(0).min(WAIT_SECONDS_MAX))),
    };
    let Followed { told, .. } = follow(call.door, call.context, call.caller, what).await?;
    let summary = call.door.handle.get(session).await?;
    Ok(Execution::new(&summary, told).into_result(false).into())
}

/// `list_executions`
pub(super) async fn list(door: &Door, arguments: Result<List, ToolError>) -> Answered {
    let List {
        state,
        all,
        before,
        limit,
    } = arguments?;
    let limit = limit.unwrap_or(LISTED).clamp(1, LISTED_MAX);
    let before = match before {
        Some(id) => Some(door.handle.resolve(&id).await?),
        None => None,
    };
    let mut next_before = None;
    let found = if all || before.is_some() {
        let found = door.handle.recent(before, limit).await?;
        next_before = found
            .last()
            .filter(|_| found.len() == limit)
            .map(|last| last.session_id.to_string());
        found
    } else {
        door.handle.list().await?
    };
    let wanted = found
        .iter()
        .filter(|summary| state.as_deref().is_none_or(|state| state == summary.shown_state()));
    let sessions: Vec<Execution> = wanted.take(limit).map(|summary| Execution::brief(summary)).collect();
    Ok(shown(&Listed { sessions, next_before }).into())
}

/// `answer_question`
pub(super) async fn answer(door: &Door, caller: &Caller, arguments: Result<AnswerQuestion, ToolError>) -> Answered {
    let arguments = arguments?;
    let session = door.handle.resolve(&arguments.session_id).await?;
    let question = match &arguments.question_id {
        Some(id) => id
            .parse()
            .map_err(|error| ToolError::Arguments(format!("question_id: {error}")))?,
        None => only_question(door, session).await?,
    };
    let summary = door.answer(caller, session, question, arguments.to_answer()).await?;
    Ok(Execution::brief(&summary).into_result(false).into())
}

/// `control_execution`
pub(super) async fn control(door: &Door, caller: &Caller, arguments: Result<Control, ToolError>) -> Answered {
    let Control { session_id, action } = arguments?;
    let session = door.handle.resolve(&session_id).await?;
    let summary = match action {
        ControlAction::Cancel => door.cancel(caller, session).await?,
    };
    Ok(Execution::brief(&summary).into_result(false).into())
}

async fn only_question(door: &Door, session: SessionId) -> Result<QuestionId, ToolError> {
    let summary = door.handle.get(session).await?;
    let waiting = summary.questions.values().filter(|waiting| waiting.answer.is_none());
    let open: Vec<QuestionId> = waiting.map(|waiting| waiting.question.question_id).collect();
    match open[..] {
        [] => Err(ToolError::NothingAsked(session)),
        [only] => Ok(only),
        _ => Err(ToolError::WhichQuestion(
            open.iter().map(QuestionId::to_string).collect::<Vec<_>>().join(", "),
        )),
    }
}

fn shown(listed: &Listed) -> CallToolResult {
    let structured = serde_json::to_value(listed).unwrap_or_default();
    let mut result = CallToolResult::success(vec![ContentBlock::text(structured.to_string())]);
    result.structured_content = Some(structured);
    result
}
