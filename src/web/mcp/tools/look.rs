//! The tools that look at sessions, answer their questions and end them.

use std::time::Duration;

use jiff::Timestamp;
use rmcp::model::{CallToolRequestParams, CallToolResponse};

use super::arguments::{AnswerQuestion, Control, ControlAction, Get, WAIT_SECONDS_MAX};
use super::execute::Call;
use super::{GET, ToolError, read};
use crate::session::id::{QuestionId, Seq, SessionId};
use crate::web::mcp::call_state::CallState;
use crate::web::mcp::caller::Caller;
use crate::web::mcp::follow::{Follow, Followed, Questions, follow};
use crate::web::mcp::narrate::Told;
use crate::web::mcp::result::Execution;
use crate::web::mcp::services::Services;

type Answered = Result<CallToolResponse, ToolError>;

impl Call<'_> {
    /// `get_execution`
    pub(super) async fn get(self, params: CallToolRequestParams) -> Answered {
        if let Some(state) = &params.request_state {
            return self.wait(self.open(GET, state)?).await;
        }
        let Get {
            session_id,
            after,
            wait_seconds,
            result_from,
        } = read(params.arguments)?;
        let session = self.services.handle.resolve(&session_id).await?;
        if let Some(from) = result_from {
            let summary = self.services.handle.get(session).await?;
            return Ok(Execution::brief(&summary).read_on(from).into_result(false).into());
        }
        let wait = Duration::from_secs(wait_seconds.unwrap_or(0).min(WAIT_SECONDS_MAX));
        let state = CallState {
            is_announced: true,
            until: Some(Timestamp::now() + wait),
            ..CallState::begin(session, Told::up_to(Seq(after)))
        };
        self.wait(state).await
    }

    /// Waits until the session has ended or asks something, as long as the call may take.
    async fn wait(self, state: CallState) -> Answered {
        let what = Follow {
            tool: GET,
            state,
            questions: Questions::StopAt,
            wait: state.time_left(),
        };
        let Followed { told, .. } = follow(self.services, self.context, self.caller, what).await?;
        let summary = self.services.handle.get(state.session).await?;
        Ok(Execution::new(&summary, told).into_result(false).into())
    }
}

/// `answer_question`
pub(super) async fn answer(
    services: &Services,
    caller: &Caller,
    arguments: Result<AnswerQuestion, ToolError>,
) -> Answered {
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
    Ok(Execution::brief(&summary).into_result(false).into())
}

/// `control_execution`
pub(super) async fn control(services: &Services, caller: &Caller, arguments: Result<Control, ToolError>) -> Answered {
    let Control { session_id, action } = arguments?;
    let session = services.handle.resolve(&session_id).await?;
    let summary = match action {
        ControlAction::Cancel => services.cancel(caller, session).await?,
    };
    Ok(Execution::brief(&summary).into_result(false).into())
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
