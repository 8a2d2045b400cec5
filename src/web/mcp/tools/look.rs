//! The tools that look at sessions, answer their questions and end them.

use std::time::Duration;

use jiff::Timestamp;
use rmcp::model::{CallToolRequestParams, CallToolResponse};

use super::arguments::{AnswerArguments, ControlAction, ControlArguments, GetArguments, WAIT_SECONDS_MAX};
use super::execute::ToolCall;
use super::{GET, ToolError, read};
use crate::session::id::{QuestionId, Seq, SessionId};
use crate::web::mcp::call_state::CallState;
use crate::web::mcp::caller::McpCaller;
use crate::web::mcp::follow::{FollowPlan, Followed, Questions, follow};
use crate::web::mcp::narrate::ToldProgress;
use crate::web::mcp::result::ExecutionResult;
use crate::web::mcp::services::Services;

type AnsweredResult = Result<CallToolResponse, ToolError>;

impl ToolCall<'_> {
    /// `get_execution`
    pub(super) async fn get(self, params: CallToolRequestParams) -> AnsweredResult {
        if let Some(state) = &params.request_state {
            return self.wait(self.open(GET, state)?).await;
        }
        let GetArguments {
            session_id,
            after,
            wait_seconds,
            result_from,
        } = read(params.arguments)?;
        let session = self.services.handle.resolve(&session_id).await?;
        if let Some(from) = result_from {
            let summary = self.services.handle.get(session).await?;
            return Ok(ExecutionResult::brief(&summary).read_on(from).into_result(false).into());
        }
        let wait = Duration::from_secs(wait_seconds.unwrap_or(0).min(WAIT_SECONDS_MAX));
        let state = CallState {
            is_announced: true,
            until: Some(Timestamp::now() + wait),
            ..CallState::begin(session, ToldProgress::up_to(Seq(after)))
        };
        self.wait(state).await
    }

    /// Waits until the session has ended or asks something, as long as the call may take.
    async fn wait(self, state: CallState) -> AnsweredResult {
        let what = FollowPlan {
            tool: GET,
            state,
            questions: Questions::StopAt,
            wait: state.time_left(),
        };
        let Followed { told, .. } = follow(self.services, self.context, self.caller, what).await?;
        let summary = self.services.handle.get(state.session).await?;
        Ok(ExecutionResult::new(&summary, told).into_result(false).into())
    }
}

/// `answer_question`
pub(super) async fn answer(
    services: &Services,
    caller: &McpCaller,
    arguments: Result<AnswerArguments, ToolError>,
) -> AnsweredResult {
    let arguments = arguments?;
    let session = services.handle.resolve(&arguments.session_id).await?;
    let question = match &arguments.question_id {
        Some(id) => id
            .parse()
            .map_err(|error| ToolError::Arguments(format!("question_id: {error}")))?,
        None => only_question(services, session).await?,
    };
    let summary = services
        .answer(caller, session, question, arguments.to_answer())
        .await?;
    Ok(ExecutionResult::brief(&summary).into_result(false).into())
}

/// `control_execution`
pub(super) async fn control(
    services: &Services,
    caller: &McpCaller,
    arguments: Result<ControlArguments, ToolError>,
) -> AnsweredResult {
    let ControlArguments { session_id, action } = arguments?;
    let session = services.handle.resolve(&session_id).await?;
    let summary = match action {
        ControlAction::Cancel => services.cancel(caller, session).await?,
    };
    Ok(ExecutionResult::brief(&summary).into_result(false).into())
}

async fn only_question(services: &Services, session: SessionId) -> Result<QuestionId, ToolError> {
    let summary = services.handle.get(session).await?;
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
