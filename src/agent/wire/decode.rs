//! One line of the agent into frames.
//!
//! Key order varies and fields come and go between versions, so a line is first read for its type alone and then for
//! the few fields that matter to that type; everything else is passed over.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::session::message::{
    Activity, Asked, BackgroundTask, Delta, DeltaPart, Frame, InputState, Message, TaskKind, TurnEnd, Usage,
};
use crate::session::question::{Choice, QuestionKind};

use self::content::{assistant, user};

mod content;

/// The fields that say what a line is.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    subtype: Option<Cow<'a, str>>,
    #[serde(default)]
    uuid: Option<Uuid>,
}

/// Decodes one line. A line without content gives no frame; most give one; a few give several.
pub fn decode(line: &[u8]) -> Vec<Frame> {
    if line.trim_ascii().is_empty() {
        return Vec::new();
    }
    let Ok(head) = serde_json::from_slice::<Head<'_>>(line) else {
        return vec![Frame::Unknown { kind: None }];
    };
    let unknown = || {
        vec![Frame::Unknown {
            kind: Some(type_of(&head)),
        }]
    };
    known(&head, line).ok().flatten().unwrap_or_else(unknown)
}

fn type_of(head: &Head<'_>) -> String {
    match &head.subtype {
        Some(subtype) => format!("{}/{subtype}", head.kind),
        None => head.kind.clone().into_owned(),
    }
}

/// The frames of a line, none where its type is not known.
fn known(head: &Head<'_>, line: &[u8]) -> serde_json::Result<Option<Vec<Frame>>> {
    let message = |message| {
        vec![Frame::Message {
            uuid: head.uuid,
            message,
        }]
    };
    Ok(Some(match (&*head.kind, head.subtype.as_deref()) {
        ("stream_event", _) => stream_event(read(line)?),
        ("assistant", _) => assistant(head.uuid, read(line)?),
        ("user", _) => user(head.uuid, read(line)?),
        ("result", _) => message(Message::TurnEnded(Box::new(turn_end(read(line)?)))),
        ("command_lifecycle", _) => lifecycle(&read::<Lifecycle>(line)?),
        ("control_request", _) => control_request(read(line)?),
        ("control_cancel_request", _) => {
            vec![Frame::AskCancelled {
                request_id: read::<CancelRequest>(line)?.request_id,
            }]
        }
        ("control_response", _) => vec![reply(read(line)?)],
        ("rate_limit_event", _) => message(rate_limit(read::<RateLimitEvent>(line)?.rate_limit_info)),
        ("conversation_reset", _) => {
            let agent_session_id = read::<Reset>(line)?.new_conversation_id;
            message(Message::ConversationReset { agent_session_id })
        }
        ("system", Some(subtype)) => return system(subtype, head.uuid, line),
        ("tool_progress" | "keep_alive" | "attachment" | "transcript_mirror", _) => vec![Frame::Alive],
        _ => return Ok(None),
    }))
}

fn read<T: DeserializeOwned>(line: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(line)
}

fn system(subtype: &str, uuid: Option<Uuid>, line: &[u8]) -> serde_json::Result<Option<Vec<Frame>>> {
    let message = |message| vec![Frame::Message { uuid, message }];
    Ok(Some(match subtype {
        "init" => message(init(read(line)?)),
        "session_state_changed" => match read::<SessionState>(line)?.state.as_str() {
            "running" => vec![Frame::Activity(Activity::Running)],
            "requires_action" => vec![Frame::Activity(Activity::RequiresAction)],
            "idle" => vec![Frame::Activity(Activity::Idle)],
            _ => vec![Frame::Alive],
        },
        "status" => match read::<Status>(line)?.status.as_deref() {
            Some("requesting") => vec![Frame::Activity(Activity::Requesting)],
            _ => vec![Frame::Alive],
        },
        "api_retry" => {
            let ApiRetry {
                attempt,
                max_retries,
                retry_delay_ms,
                error_status,
                error,
            } = read(line)?;
            let (retry, retries_max, delay_ms) = (attempt, max_retries, retry_delay_ms as u64);
            message(Message::ApiRetry {
                retry,
                retries_max,
                delay_ms,
                status: error_status,
                error,
            })
        }
        "permission_denied" => {
            let PermissionDenied {
                tool_name,
                tool_use_id,
                message: reason,
            } = read(line)?;
            message(Message::PermissionDenied {
                tool: tool_name,
                tool_use_id,
                reason,
            })
        }
        "task_started" => {
            let task: Task = read(line)?;
            message(Message::TaskStarted {
                task: kind_of_task(&task.task_type),
                task_id: task.task_id,
                background: task.is_backgrounded,
                description: task.description,
            })
        }
        "task_notification" => {
            let Notification {
                task_id,
                status,
                summary,
            } = read(line)?;
            message(Message::TaskEnded {
                task_id,
                status,
                summary,
            })
        }
        "background_tasks_changed" => {
            let tasks = read::<Tasks>(line)?.tasks.into_iter().map(background_task).collect();
            message(Message::BackgroundTasks { tasks })
        }
        "compact_boundary" => {
            let Compaction {
                pre_tokens,
                post_tokens,
            } = read::<CompactBoundary>(line)?.compact_metadata;
            message(Message::Compacted {
                pre_tokens,
                post_tokens,
            })
        }
        "task_progress" | "task_updated" | "hook_started" | "hook_progress" | "hook_response" | "thinking_tokens" => {
            vec![Frame::Alive]
        }
        "informational"
        | "model_fallback"
        | "model_refusal_no_fallback"
        | "session_title_changed"
        | "session_writes_lost"
        | "notification"
        | "local_command_output" => {
            let text = read::<Content>(line)?;
            let text = [text.content, text.title]
                .into_iter()
                .flatten()
                .find(|text| !text.is_empty());
            message(Message::Said {
                topic: subtype.to_owned(),
                text: text.unwrap_or_default(),
            })
        }
        _ => return Ok(None),
    }))
}

#[derive(Deserialize)]
struct Init {
    session_id: Uuid,
    #[serde(default)]
    model: String,
    #[serde(default, rename = "permissionMode")]
    permission_mode: String,
    #[serde(default)]
    claude_code_version: String,
    #[serde(default)]
    mcp_servers: Vec<McpServer>,
}

#[derive(Deserialize)]
struct McpServer {
    name: String,
    #[serde(default)]
    status: String,
}

fn init(init: Init) -> Message {
    let failed = init
        .mcp_servers
        .into_iter()
        .filter(|server| server.status == "failed")
        .map(|server| server.name);
    Message::TurnStarted {
        agent_session_id: init.session_id,
        model: init.model,
        permission_mode: init.permission_mode,
        agent_version: init.claude_code_version,
        mcp_servers_failed: failed.collect(),
    }
}

#[derive(Deserialize)]
struct SessionState {
    state: String,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    status: Option<String>,
}

#[derive(Deserialize)]
struct ApiRetry {
    #[serde(default)]
    attempt: u32,
    #[serde(default)]
    max_retries: u32,
    #[serde(default)]
    retry_delay_ms: f64,
    #[serde(default)]
    error_status: Option<u16>,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
struct PermissionDenied {
    tool_name: String,
    #[serde(default)]
    tool_use_id: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Task {
    task_id: String,
    #[serde(default)]
    task_type: String,
    #[serde(default)]
    is_backgrounded: bool,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct Notification {
    task_id: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    summary: String,
}

#[derive(Deserialize)]
struct Tasks {
    tasks: Vec<Task>,
}

#[derive(Deserialize)]
struct CompactBoundary {
    compact_metadata: Compaction,
}

#[derive(Deserialize)]
struct Compaction {
    #[serde(default)]
    pre_tokens: u64,
    #[serde(default)]
    post_tokens: u64,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    title: Option<String>,
}

#[derive(Deserialize)]
struct Reset {
    new_conversation_id: Uuid,
}

#[derive(Deserialize)]
struct CancelRequest {
    request_id: String,
}

fn background_task(task: Task) -> BackgroundTask {
    BackgroundTask {
        task: kind_of_task(&task.task_type),
        task_id: task.task_id,
        description: task.description,
    }
}

fn kind_of_task(name: &str) -> TaskKind {
    match name {
        "local_bash" => TaskKind::Shell,
        "local_agent" | "remote_agent" => TaskKind::Agent,
        _ => TaskKind::Other,
    }
}

#[derive(Deserialize)]
struct Lifecycle {
    command_uuid: Uuid,
    state: String,
}

fn lifecycle(line: &Lifecycle) -> Vec<Frame> {
    let state = match line.state.as_str() {
        "queued" => InputState::Queued,
        "started" => InputState::Started,
        "completed" => InputState::Completed,
        "cancelled" => InputState::Cancelled,
        _ => return vec![Frame::Alive],
    };
    vec![Frame::Input {
        uuid: line.command_uuid,
        state,
    }]
}

#[derive(Deserialize)]
struct RateLimitEvent {
    rate_limit_info: RateLimitInfo,
}

#[derive(Deserialize)]
struct RateLimitInfo {
    #[serde(default)]
    status: String,
    #[serde(default, rename = "resetsAt")]
    resets_at: Option<f64>,
    #[serde(default, rename = "rateLimitType")]
    limit: Option<String>,
    #[serde(default)]
    utilization: Option<f64>,
}

fn rate_limit(info: RateLimitInfo) -> Message {
    Message::RateLimit {
        rejected: info.status == "rejected",
        resets_at: info.resets_at.map(|seconds| seconds as i64),
        limit: info.limit,
        utilization: info.utilization,
    }
}

#[derive(Deserialize)]
struct StreamEvent {
    event: ApiEvent,
    #[serde(default)]
    api_message_id: Option<String>,
    #[serde(default)]
    parent_tool_use_id: Option<String>,
    #[serde(default)]
    abandoned_blocks: Option<AbandonedBlocks>,
}

#[derive(Deserialize)]
struct AbandonedBlocks {
    api_message_id: String,
    #[serde(default)]
    from_block_index: u32,
}

#[derive(Deserialize)]
struct ApiEvent {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    index: u32,
    #[serde(default)]
    delta: Option<ApiDelta>,
}

#[derive(Deserialize)]
struct ApiDelta {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    partial_json: Option<String>,
}

fn stream_event(line: StreamEvent) -> Vec<Frame> {
    if let Some(AbandonedBlocks {
        api_message_id: message_id,
        from_block_index: from_block,
    }) = line.abandoned_blocks
    {
        return vec![Frame::DraftsAbandoned { message_id, from_block }];
    }
    let (Some(message_id), None) = (line.api_message_id, line.parent_tool_use_id) else {
        return vec![Frame::Alive];
    };
    let block = line.event.index;
    let delta = match (line.event.kind.as_str(), line.event.delta) {
        ("content_block_start", _) => return vec![Frame::BlockStarted { message_id, block }],
        ("content_block_delta", Some(delta)) => delta,
        _ => return vec![Frame::Alive],
    };
    let parts = [
        (DeltaPart::Text, delta.text),
        (DeltaPart::Thinking, delta.thinking),
        (DeltaPart::ToolInput, delta.partial_json),
    ];
    let text = parts
        .into_iter()
        .find_map(|(part, text)| Some((part, text.filter(|text| !text.is_empty())?)));
    match text {
        Some((part, text)) => vec![Frame::Delta(Delta {
            message_id,
            block: line.event.index,
            part,
            text,
        })],
        None => vec![Frame::Alive],
    }
}

#[derive(Deserialize)]
struct ControlRequest {
    request_id: String,
    request: Request,
}

#[derive(Deserialize)]
struct Request {
    subtype: String,
    #[serde(default)]
    tool_name: Option<String>,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    tool_use_id: Option<String>,
    #[serde(default)]
    decision_reason: Option<String>,
    #[serde(default)]
    permission_suggestions: Vec<Value>,
    #[serde(default)]
    mcp_server_name: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    requested_schema: Value,
}

/// What the agent wants of us. Requests of a kind we do not serve come out as such, so that they can be answered by an
/// error at once and the agent does not wait for ever.
fn control_request(line: ControlRequest) -> Vec<Frame> {
    let ControlRequest { request_id, request } = line;
    let tool_use_id = request.tool_use_id.clone();
    let kind = match request.subtype.as_str() {
        "can_use_tool" => tool_question(request),
        "elicitation" => QuestionKind::Form {
            server: request.mcp_server_name.unwrap_or_default(),
            message: request.message.unwrap_or_default(),
            schema: request.requested_schema,
        },
        _ => {
            return vec![Frame::Unserved {
                request_id,
                subtype: request.subtype,
            }];
        }
    };
    vec![Frame::Asked(Asked {
        request_id,
        tool_use_id,
        kind,
    })]
}

fn tool_question(request: Request) -> QuestionKind {
    let input = request.input;
    match request.tool_name.as_deref() {
        Some("AskUserQuestion") => {
            let questions = input.get("questions").cloned().unwrap_or_default();
            match serde_json::from_value::<Vec<Choice>>(questions) {
                Ok(questions) if !questions.is_empty() => QuestionKind::Choice { questions, input },
                Ok(_) | Err(_) => permission("AskUserQuestion".to_owned(), input, None, vec![]),
            }
        }
        Some("ExitPlanMode") => {
            let plan = input.get("plan").and_then(Value::as_str).map(str::to_owned);
            QuestionKind::Plan { plan, input }
        }
        tool => {
            let tool = tool.unwrap_or_default().to_owned();
            permission(tool, input, request.decision_reason, request.permission_suggestions)
        }
    }
}

fn permission(tool: String, input: Value, reason: Option<String>, suggestions: Vec<Value>) -> QuestionKind {
    QuestionKind::Permission {
        tool,
        input,
        reason,
        suggestions,
    }
}

#[derive(Deserialize)]
struct ControlResponse {
    response: Response,
}

#[derive(Deserialize)]
struct Response {
    subtype: String,
    request_id: String,
    #[serde(default)]
    response: Value,
    #[serde(default)]
    error: Option<String>,
}

fn reply(line: ControlResponse) -> Frame {
    let Response {
        subtype,
        request_id,
        response,
        error,
    } = line.response;
    let result = if subtype == "success" {
        Ok(response)
    } else {
        Err(error.unwrap_or(subtype))
    };
    Frame::Reply { request_id, result }
}

#[derive(Deserialize)]
struct ResultLine {
    #[serde(default)]
    subtype: String,
    #[serde(default)]
    is_error: bool,
    #[serde(default)]
    terminal_reason: Option<String>,
    #[serde(default)]
    result: Option<String>,
    #[serde(default)]
    errors: Vec<String>,
    #[serde(default)]
    api_error_status: Option<u16>,
    #[serde(default)]
    api_error: Option<String>,
    #[serde(default)]
    structured_output: Option<Value>,
    #[serde(default)]
    user_message_uuid: Option<Uuid>,
    #[serde(default)]
    user_message_uuids: Vec<Uuid>,
    #[serde(default)]
    queued_turn_count: u32,
    #[serde(default)]
    origin: Option<Value>,
    #[serde(default)]
    num_turns: u32,
    #[serde(default)]
    total_cost_usd: f64,
    #[serde(default, rename = "modelUsage")]
    model_usage: std::collections::BTreeMap<String, ModelUsage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct ModelUsage {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation_input_tokens: u64,
}

fn turn_end(line: ResultLine) -> TurnEnd {
    let mut answers = line.user_message_uuids;
    if let Some(uuid) = line.user_message_uuid.filter(|uuid| !answers.contains(uuid)) {
        answers.push(uuid);
    }
    let mut usage = Usage {
        cost_usd: line.total_cost_usd,
        ..Usage::default()
    };
    for model in line.model_usage.values() {
        usage.input_tokens += model.input_tokens;
        usage.output_tokens += model.output_tokens;
        usage.cache_read_tokens += model.cache_read_input_tokens;
        usage.cache_write_tokens += model.cache_creation_input_tokens;
    }
    TurnEnd {
        subtype: line.subtype,
        is_error: line.is_error,
        terminal_reason: line.terminal_reason,
        result: line.result.unwrap_or_default(),
        errors: line.errors,
        api_status: line.api_error_status,
        api_error: line.api_error,
        structured_output: line.structured_output,
        answers,
        queued_turns: line.queued_turn_count,
        synthetic: line.origin.is_some_and(|origin| !origin.is_null()),
        turns: line.num_turns,
        usage,
    }
}
