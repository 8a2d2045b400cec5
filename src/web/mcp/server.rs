//! What rmcp asks of us: each request goes to the module that answers it, and none can take the others down.

use std::sync::Arc;

use rmcp::model::*;
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};

use super::caller::McpCaller;
use super::guard::{answered, guarded};
use super::level::Level;
use super::services::Services;
use super::{prompts, resources, tasks, tools};

/// Told to models that are given our tools.
const INSTRUCTIONS: &str = "Runs Claude Code on this machine for hours and does not lose the work. Start a task with \
    execute_with_streaming (or execute_resumable for long ones, smart_execution where it is not clear what is meant). \
    Every session has a session_id and goes on when this call or connection ends: after a timeout do not start the task \
    again, but find it with list_executions and wait with get_execution and wait_seconds. With background: true a call \
    returns at once. A session that needs a person is awaiting_input: ask the user and call answer_question.";

/// The methods with parameters that both eras have; one that only the other era has is unknown.
const METHODS: [&str; 8] = [
    "completion/complete",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/templates/list",
    "tools/call",
    "tools/list",
];

/// The handler that rmcp calls; one for each request or session, all of them the same.
#[derive(Clone)]
pub(crate) struct Product(pub(super) Arc<Services>);

impl ServerHandler for Product {
    #[expect(
        deprecated,
        reason = "logging is deprecated in 2026-07-28, and still what clients show"
    )]
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_prompts()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_resources_list_changed()
            .enable_completions()
            .enable_logging()
            .enable_tasks()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("cc-executor", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::all().iter().find(|tool| tool.name == name).cloned()
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult {
            tools: tools::all().to_vec(),
            ..Default::default()
        })
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = McpCaller::of(&context);
        let _running = caller.mcp_session.as_deref().map(|session| self.0.calls.begin(session));
        let call = tools::call(&self.0, params, &context, &caller);
        answered(call).await
    }

    async fn list_resources(
        &self,
        params: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        guarded(resources::list(&self.0.handle, params.and_then(|params| params.cursor))).await
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(resources::templates())
    }

    async fn read_resource(
        &self,
        params: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        guarded(resources::read(&self.0.handle, &params.uri))
            .await
            .map(Into::into)
    }

    async fn subscribe(
        &self,
        params: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        guarded(self.0.subscriptions.subscribe(params.uri, context)).await
    }

    async fn unsubscribe(
        &self,
        params: UnsubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.0.subscriptions.unsubscribe(&params.uri, &context);
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        guarded(self.0.subscriptions.listen(context)).await
    }

    /// Whoever is introduced in the era of sessions hears of sessions that come and go; one that was put to rest is
    /// introduced again when it wakes.
    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        if let Err(error) = guarded(self.0.subscriptions.introduced(context)).await {
            tracing::warn!(%error, "a session is not told of changes");
        }
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult {
            prompts: prompts::all(),
            ..Default::default()
        })
    }

    async fn get_prompt(
        &self,
        params: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        guarded(prompts::get(&self.0.handle, params)).await.map(Into::into)
    }

    async fn complete(
        &self,
        params: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        guarded(prompts::complete(&self.0.handle, params)).await
    }

    #[expect(deprecated, reason = "as above")]
    async fn set_level(
        &self,
        params: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if let Some(session) = McpCaller::of(&context).mcp_session {
            self.0.levels.set(session, Level::of(params.level));
        }
        Ok(())
    }

    /// What rmcp could not read as any request it knows: a method that nobody has, or parameters of another shape.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let method = request.method;
        if METHODS.contains(&method.as_str()) {
            let told = format!("the parameters of {method} are not of the shape that the protocol has for it");
            return Err(ErrorData::invalid_params(told, None));
        }
        Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, method, None))
    }

    async fn get_task(&self, params: GetTaskParams, _: RequestContext<RoleServer>) -> Result<GetTaskResult, ErrorData> {
        guarded(tasks::get(&self.0, &params.task_id)).await
    }

    async fn update_task(
        &self,
        params: UpdateTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        guarded(tasks::update(&self.0, &McpCaller::of(&context), params)).await
    }

    async fn cancel_task(
        &self,
        params: CancelTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        guarded(tasks::cancel(&self.0, &McpCaller::of(&context), &params.task_id)).await
    }
}
