//! The tools that run a task, and what a call of them comes to when a question is asked or the caller leaves.

use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CreateTaskResult, ElicitRequest, ElicitResult, InputRequest,
    InputRequests, InputRequiredResult, InputResponses, SealOptions,
};
use rmcp::service::RequestContext;
use serde::{Deserialize, Serialize};

use super::arguments::{Execute, Resume};
use super::{SMART, ToolError, read};
use crate::runtime::{CallError, EnvironmentBase, NewSession};
use crate::session::id::{QuestionId, SessionId};
use crate::session::limits::Limits;
use crate::session::question::Question;
use crate::session::summary::Summary;
use crate::web::mcp::caller::{Caller, Era};
use crate::web::mcp::follow::{Follow, Followed, Questions, Stop, follow};
use crate::web::mcp::forms::{self, Asker, Reply};
use crate::web::mcp::narrate::{Narrator, Told};
use crate::web::mcp::progress::Scale;
use crate::web::mcp::result::{Execution, failure};
use crate::web::mcp::server::Door;
use crate::web::mcp::steer::Steering;
use crate::web::mcp::tasks;

/// How long a client may keep a question before it answers by calling again.
const STATE_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// One call of a tool.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) door: &'a Door,
    pub(super) context: &'a RequestContext<RoleServer>,
    pub(super) caller: &'a Caller,
}

/// What a client of the stateless era keeps for us while its person answers.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    session: SessionId,
    /// What the client was told already: its log is that of the whole call.
    told: Told,
    /// How far its progress is.
    scale: Scale,
    cancel_on_disconnect: bool,
}

impl Kept {
    fn follow(&self, questions: Questions, wait: Option<Duration>) -> Follow {
        Follow {
            session: self.session,
            told: self.told,
            scale: self.scale,
            questions,
            wait,
        }
    }
}

impl Call<'_> {
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
        let Resume {
            session_id,
            instruction,
            max_turns,
            max_budget_usd,
            timeout_seconds,
            background,
            cancel_on_disconnect,
        } = read(params.arguments)?;
        let session = self.door.handle.resolve(&session_id).await?;
        // What was told before is not told again.
        let after = self.door.handle.get(session).await?.head;
        let limits = Limits {
            max_turns,
            max_budget_usd,
            timeout_seconds,
        };
        let summary = self.door.resume(self.caller, session, instruction, limits).await?;
        self.begun(
            tool,
            &summary,
            Kept {
                session,
                told: Told::up_to(after),
                scale: Scale::default(),
                cancel_on_disconnect,
            },
            background,
        )
        .await
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
        let summary = self.door.create(self.caller, new).await?;
        let kept = Kept {
            session: summary.session_id,
            told: Told::default(),
            scale: Scale::default(),
            cancel_on_disconnect: arguments.cancel_on_disconnect,
        };
        self.begun(tool, &summary, kept, arguments.background).await
    }

    /// A session runs: it is a task, is left alone, or is followed.
    async fn begun(
        self,
        tool: &str,
        summary: &Summary,
        kept: Kept,
        background: bool,
    ) -> Result<CallToolResponse, ToolError> {
        if self.caller.knows_tasks {
            return Ok(CreateTaskResult::new(tasks::task(summary)).into());
        }
        if background {
            return Ok(Execution::brief(summary).into_result(false).into());
        }
        self.follow(tool, kept).await
    }

    /// A client of the stateless era calls again, with what its person said.
    async fn go_on(self, tool: &str, state: &str, responses: InputResponses) -> Result<CallToolResponse, ToolError> {
        let opened = self
            .door
            .seal
            .open_json_with::<Kept>(state, self.binding(tool).as_bytes());
        let kept = opened.map_err(|_| ToolError::BadState)?;
        let summary = self.door.handle.get(kept.session).await?;
        for waiting in summary.questions.values().filter(|waiting| waiting.answer.is_none()) {
            let id = waiting.question.question_id;
            let Some(response) = responses.get(&id.to_string()) else {
                continue;
            };
            match self.reply(kept.session, &waiting.question, response).await? {
                Some(Reply::Later) => return self.put_off(kept).await,
                Some(Reply::Answer(_)) | None => {}
            }
        }
        self.follow(tool, kept).await
    }

    /// Gives one answer; none where it does not fit, so that the question is asked again.
    async fn reply(
        self,
        session: SessionId,
        question: &Question,
        response: &serde_json::Value,
    ) -> Result<Option<Reply>, ToolError> {
        let Ok(result) = serde_json::from_value::<ElicitResult>(response.clone()) else {
            return Ok(None);
        };
        let Ok(reply) = forms::reply(question, &result) else {
            return Ok(None);
        };
        if let Reply::Answer(answer) = &reply {
            let question = question.question_id;
            match self.door.answer(self.caller, session, question, answer.clone()).await {
                // Somebody was quicker: what counts is that it is answered.
                Ok(_) => {}
                Err(CallError::Denied(denied)) if denied.is_settled_question() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(reply))
    }

    /// The person wants to answer later: the call ends with what there is up to now.
    async fn put_off(self, kept: Kept) -> Result<CallToolResponse, ToolError> {
        let what = kept.follow(Questions::StopAt, Some(Duration::ZERO));
        let Followed { told, .. } = follow(self.door, self.context, self.caller, what).await?;
        self.finish(kept.session, told).await
    }

    async fn follow(self, tool: &str, kept: Kept) -> Result<CallToolResponse, ToolError> {
        let what = kept.follow(Questions::Ask, None);
        let begins_after = kept.told.begins_after();
        let noted = self
            .door
            .notes
            .note(self.caller, &self.context.id, kept.session, begins_after);
        let guard = kept.cancel_on_disconnect.then(|| CancelOnDrop::new(self, kept.session));
        let Followed { stop, told, scale } = follow(self.door, self.context, self.caller, what).await?;
        // A daemon that stops cancels nothing.
        if let Some(guard) = guard
            && !matches!(stop, Stop::Left)
        {
            guard.disarm();
        }
        if !matches!(stop, Stop::CutOff) {
            noted.done();
        }
        match stop {
            Stop::Asked(questions) if self.caller.can_fill_forms && self.caller.era == Era::Stateless => {
                let kept = Kept {
                    told: told.told(),
                    scale,
                    ..kept
                };
                self.ask(tool, questions, kept).await
            }
            Stop::Ended | Stop::Asked(_) | Stop::TimeUp => self.finish(kept.session, told).await,
            Stop::Left | Stop::CutOff => Ok(failure(format!(
                "the call was interrupted; session_id {} goes on: call get_execution with it and wait_seconds",
                kept.session
            ))
            .into()),
        }
    }

    /// Asks a client of the stateless era: it shows the forms and calls again.
    async fn ask(self, tool: &str, questions: Vec<Question>, kept: Kept) -> Result<CallToolResponse, ToolError> {
        let asker = Asker::of(&*self.door.handle.get(kept.session).await?);
        let named = |question: Question| {
            let form = ElicitRequest::new(forms::form(&asker, &question));
            (
                QuestionId::to_string(&question.question_id),
                InputRequest::Elicitation(form),
            )
        };
        let requests: InputRequests = questions.into_iter().map(named).collect();
        let binding = self.binding(tool);
        let options = SealOptions::new().associated_data(binding.as_bytes()).ttl(STATE_TTL);
        let sealed = self
            .door
            .seal
            .seal_json_with(&kept, &options)
            .map_err(|_| ToolError::BadState)?;
        Ok(InputRequiredResult::new(Some(requests), Some(sealed)).into())
    }

    /// What a state that the client keeps is bound to: no other tool opens it, and no other token.
    fn binding(self, tool: &str) -> String {
        format!("{tool} {}", self.caller.signer)
    }

    async fn finish(self, session: SessionId, told: Narrator) -> Result<CallToolResponse, ToolError> {
        let execution = Execution::new(&*self.door.handle.get(session).await?, told);
        let is_failure = execution.is_failure();
        Ok(execution.into_result(is_failure).into())
    }
}

/// Cancels a session when the call that wants this is dropped, which happens when its client leaves.
struct CancelOnDrop {
    armed: Option<(Steering, Caller, SessionId)>,
}

impl CancelOnDrop {
    fn new(call: Call<'_>, session: SessionId) -> Self {
        Self {
            armed: Some((call.door.steering(), call.caller.clone(), session)),
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
