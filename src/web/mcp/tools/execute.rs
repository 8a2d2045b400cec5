//! The tools that run a task, and what a call of them comes to when a question is asked or the caller leaves.

use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CreateTaskResult, ElicitRequest, ElicitResult, InputRequest,
    InputRequests, InputRequiredResult, InputResponses,
};
use rmcp::service::RequestContext;

use super::arguments::{Execute, ResumeArguments};
use super::{SMART, ToolError, read};
use crate::runtime::{CallError, EnvironmentBase, NewSession};
use crate::session::id::{QuestionId, SessionId};
use crate::session::limits::Limits;
use crate::session::question::Question;
use crate::session::summary::Summary;
use crate::web::mcp::call_state::CallState;
use crate::web::mcp::caller::{Era, McpCaller};
use crate::web::mcp::follow::{FollowEnd, FollowPlan, Followed, Questions, follow};
use crate::web::mcp::forms::{self, AskingSession, FormReply};
use crate::web::mcp::narrate::{Narrator, ToldProgress};
use crate::web::mcp::result::{ExecutionResult, failure};
use crate::web::mcp::services::Services;
use crate::web::mcp::steer::Steering;
use crate::web::mcp::tasks;

/// One call of a tool.
#[derive(Clone, Copy)]
pub(super) struct ToolCall<'a> {
    pub(super) services: &'a Services,
    pub(super) context: &'a RequestContext<RoleServer>,
    pub(super) caller: &'a McpCaller,
}

impl ToolCall<'_> {
    /// `execute_with_streaming`, `execute_resumable` and `smart_execution`
    pub(super) async fn execute(
        self,
        params: CallToolRequestParams,
        tool: &str,
    ) -> Result<CallToolResponse, ToolError> {
        if let Some(state) = &params.request_state {
            return self
                .go_on(tool, state, params.input_responses.unwrap_or_default())
                .await;
        }
        self.begin(tool, read(params.arguments)?).await
    }

    /// `resume_execution`
    pub(super) async fn resume(self, params: CallToolRequestParams, tool: &str) -> Result<CallToolResponse, ToolError> {
        if let Some(state) = &params.request_state {
            return self
                .go_on(tool, state, params.input_responses.unwrap_or_default())
                .await;
        }
        let ResumeArguments {
            session_id,
            instruction,
            max_turns,
            max_budget_usd,
            timeout_seconds,
            background,
            cancel_on_disconnect,
        } = read(params.arguments)?;
        let session = self.services.handle.resolve(&session_id).await?;
        // What was told before is not told again.
        let after = self.services.handle.get(session).await?.head;
        let limits = Limits {
            max_turns,
            max_budget_usd,
            timeout_seconds,
        };
        let summary = self.services.resume(self.caller, session, instruction, limits).await?;
        let state = CallState {
            cancel_on_disconnect,
            ..CallState::begin(session, ToldProgress::up_to(after))
        };
        self.begun(tool, &summary, state, background).await
    }

    async fn begin(self, tool: &str, arguments: Execute) -> Result<CallToolResponse, ToolError> {
        let mut request = arguments.to_request(self.caller.directory.as_deref())?;
        request.clarify = tool == SMART;
        request.depth = self.caller.depth;
        let new = NewSession {
            request,
            env: None,
            base: EnvironmentBase::Daemon,
            by: self.caller.by.clone(),
            claim: None,
            asker: self.caller.asker(),
        };
        let summary = self.services.create(self.caller, new).await?;
        let state = CallState {
            cancel_on_disconnect: arguments.cancel_on_disconnect,
            ..CallState::begin(summary.session_id, ToldProgress::default())
        };
        self.begun(tool, &summary, state, arguments.background).await
    }

    /// A session runs: it is a task, is left alone, or is followed.
    async fn begun(
        self,
        tool: &str,
        summary: &Summary,
        state: CallState,
        background: bool,
    ) -> Result<CallToolResponse, ToolError> {
        if self.caller.knows_tasks {
            return Ok(CreateTaskResult::new(tasks::task(summary)).into());
        }
        if background {
            return Ok(ExecutionResult::brief(summary).into_result(false).into());
        }
        self.follow(tool, state).await
    }

    /// A client of the stateless era calls again, with what its person said; one of the session era reads on.
    async fn go_on(self, tool: &str, state: &str, responses: InputResponses) -> Result<CallToolResponse, ToolError> {
        let state = self.open(tool, state)?;
        let summary = self.services.handle.get(state.session).await?;
        for waiting in summary.questions.values().filter(|waiting| waiting.answer.is_none()) {
            let id = waiting.question.question_id;
            let Some(response) = responses.get(&id.to_string()) else {
                continue;
            };
            match self.reply(state.session, &waiting.question, response).await? {
                Some(FormReply::Later) => return self.put_off(tool, state).await,
                Some(FormReply::Answer(_)) | None => {}
            }
        }
        self.follow(tool, state).await
    }

    /// Gives one answer; none where it does not fit, so that the question is asked again.
    async fn reply(
        self,
        session: SessionId,
        question: &Question,
        response: &serde_json::Value,
    ) -> Result<Option<FormReply>, ToolError> {
        let Ok(result) = serde_json::from_value::<ElicitResult>(response.clone()) else {
            return Ok(None);
        };
        let Ok(reply) = forms::reply(question, &result) else {
            return Ok(None);
        };
        if let FormReply::Answer(answer) = &reply {
            let question = question.question_id;
            match self
                .services
                .answer(self.caller, session, question, answer.clone())
                .await
            {
                // Somebody was quicker: what counts is that it is answered.
                Ok(_) => {}
                Err(CallError::Denied(denied)) if denied.is_settled_question() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(reply))
    }

    /// The person wants to answer later: the call ends with what there is up to now.
    async fn put_off(self, tool: &str, state: CallState) -> Result<CallToolResponse, ToolError> {
        let what = FollowPlan {
            tool,
            state,
            questions: Questions::StopAt,
            wait: Some(Duration::ZERO),
        };
        let Followed { told, .. } = follow(self.services, self.context, self.caller, what).await?;
        self.finish(state.session, told).await
    }

    async fn follow(self, tool: &str, state: CallState) -> Result<CallToolResponse, ToolError> {
        let what = FollowPlan {
            tool,
            state,
            questions: Questions::Ask,
            wait: None,
        };
        let guard = state
            .cancel_on_disconnect
            .then(|| CancelOnDrop::new(self, state.session));
        let Followed { stop, told, scale } = follow(self.services, self.context, self.caller, what).await?;
        // A daemon that stops cancels nothing.
        if let Some(guard) = guard
            && !matches!(stop, FollowEnd::Left)
        {
            guard.disarm();
        }
        match stop {
            FollowEnd::Asked(questions) if self.caller.can_fill_forms && self.caller.era == Era::Stateless => {
                let state = CallState {
                    told: told.told(),
                    scale,
                    is_announced: true,
                    ..state
                };
                self.ask(tool, questions, state).await
            }
            FollowEnd::Ended | FollowEnd::Asked(_) | FollowEnd::TimeUp => self.finish(state.session, told).await,
            FollowEnd::Left | FollowEnd::CutOff => Ok(failure(format!(
                "the call was interrupted; session_id {} goes on: call get_execution with it and wait_seconds",
                state.session
            ))
            .into()),
        }
    }

    /// Asks a client of the stateless era: it shows the forms and calls again.
    async fn ask(self, tool: &str, questions: Vec<Question>, state: CallState) -> Result<CallToolResponse, ToolError> {
        let asker = AskingSession::of(&*self.services.handle.get(state.session).await?);
        let named = |question: Question| {
            let form = ElicitRequest::new(forms::form(&asker, &question));
            (
                QuestionId::to_string(&question.question_id),
                InputRequest::Elicitation(form),
            )
        };
        let requests: InputRequests = questions.into_iter().map(named).collect();
        let sealed = state.seal(self.services, tool, &self.caller.signer);
        let sealed = sealed.ok_or(ToolError::BadState)?;
        Ok(InputRequiredResult::new(Some(requests), Some(sealed)).into())
    }

    /// Opens where this call stands, as its client has kept it.
    pub(super) fn open(self, tool: &str, sealed: &str) -> Result<CallState, ToolError> {
        CallState::open(self.services, tool, &self.caller.signer, sealed).ok_or(ToolError::BadState)
    }

    async fn finish(self, session: SessionId, told: Narrator) -> Result<CallToolResponse, ToolError> {
        let execution = ExecutionResult::new(&*self.services.handle.get(session).await?, told);
        let is_failure = execution.is_failure();
        Ok(execution.into_result(is_failure).into())
    }
}

/// Cancels a session when the call that wants this is dropped, which happens when its client leaves.
struct CancelOnDrop {
    armed: Option<(Steering, McpCaller, SessionId)>,
}

impl CancelOnDrop {
    fn new(call: ToolCall<'_>, session: SessionId) -> Self {
        Self {
            armed: Some((call.services.steering(), call.caller.clone(), session)),
        }
    }

    fn disarm(mut self) {
        self.armed = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some((steering, caller, session)) = self.armed.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { steering.cancel(&caller, session).await.map(drop) });
        }
    }
}
