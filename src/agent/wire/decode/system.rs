//! Lines of type `system`: what the CLI says about itself.

use serde::Deserialize;
use uuid::Uuid;

use super::read;
use crate::session::excerpt::first_paragraph;
use crate::session::message::{Activity, ApiFault, BackgroundTask, Frame, Message, TaskKind, TaskStatus};

/// The frames of a `system` line, none where its subtype is not known.
pub(super) fn system(subtype: &str, uuid: Option<Uuid>, line: &[u8]) -> serde_json::Result<Option<Vec<Frame>>> {
    let frame = match subtype {
        "session_state_changed" => session_state(&read(line)?),
        "status" => return Ok(Some(status(uuid, read(line)?))),
        "task_progress"
        | "task_updated"
        | "hook_started"
        | "hook_progress"
        | "hook_response"
        | "thinking_tokens"
        | "commands_changed"
        | "elicitation_complete" => Frame::Alive,
        _ => match message(subtype, line)? {
            Some(message) => Frame::Message { uuid, message },
            None => return Ok(None),
        },
    };
    Ok(Some(vec![frame]))
}

fn message(subtype: &str, line: &[u8]) -> serde_json::Result<Option<Message>> {
    Ok(Some(match subtype {
        "init" => init(read(line)?),
        "api_retry" => api_retry(read(line)?),
        "permission_denied" => {
            let PermissionDenied {
                tool_name,
                tool_use_id,
                message: reason,
            } = read(line)?;
            Message::PermissionDenied {
                tool: tool_name,
                tool_use_id,
                reason,
            }
        }
        "task_started" => task_started(read(line)?),
        "task_notification" => {
            let Notification {
                task_id,
                status,
                summary,
            } = read(line)?;
            Message::TaskEnded {
                task_id,
                status,
                summary,
            }
        }
        "background_tasks_changed" => {
            let tasks = read::<Tasks>(line)?.tasks.into_iter().map(background_task).collect();
            Message::BackgroundTasks { tasks }
        }
        "compact_boundary" => {
            let Compaction {
                pre_tokens,
                post_tokens,
            } = read::<CompactBoundary>(line)?.compact_metadata;
            Message::Compacted {
                pre_tokens,
                post_tokens,
            }
        }
        "informational"
        | "model_fallback"
        | "model_refusal_no_fallback"
        | "session_title_changed"
        | "session_writes_lost"
        | "notification"
        | "local_command_output" => said(subtype, read(line)?),
        _ => return Ok(None),
    }))
}

fn session_state(line: &SessionState) -> Frame {
    match line.state.as_str() {
        "running" => Frame::Activity(Activity::Running),
        "requires_action" => Frame::Activity(Activity::RequiresAction),
        "idle" => Frame::Activity(Activity::Idle),
        _ => Frame::Alive,
    }
}

/// The CLI tells of another permission mode by a status of its own.
fn status(uuid: Option<Uuid>, line: StatusLine) -> Vec<Frame> {
    let doing = match line.status.as_deref() {
        Some("requesting") => Some(Frame::Activity(Activity::Requesting)),
        _ => None,
    };
    let changed = line.permission_mode.map(|permission_mode| Frame::Message {
        uuid,
        message: Message::ModeChanged { permission_mode },
    });
    let frames: Vec<Frame> = changed.into_iter().chain(doing).collect();
    if frames.is_empty() { vec![Frame::Alive] } else { frames }
}

fn api_retry(line: ApiRetry) -> Message {
    let ApiRetry {
        attempt,
        max_retries,
        retry_delay_ms,
        error_status,
        error,
    } = line;
    let (retry, retries_max, delay_ms) = (attempt, max_retries, retry_delay_ms as u64);
    Message::ApiRetry {
        retry,
        retries_max,
        delay_ms,
        status: error_status,
        error,
        login_until: None,
    }
}

fn task_started(task: Task) -> Message {
    Message::TaskStarted {
        task: kind_of_task(&task.task_type),
        task_id: task.task_id,
        background: task.is_backgrounded,
        description: task.description,
    }
}

fn said(topic: &str, line: Content) -> Message {
    let text = [line.content, line.title]
        .into_iter()
        .flatten()
        .find(|text| !text.is_empty());
    let text = text.unwrap_or_default();
    let ending = line.prompt_submit_outcome.filter(PromptOutcome::is_known);
    // If a hook ends a command that runs as a fork, the line has no outcome. Its first paragraph says why, and the prompt
    // follows.
    let has_ended = line.prevent_continuation || ending.is_some();
    let reason = ending.and_then(|ending| ending.reason).unwrap_or_default();
    let stopped = has_ended.then(|| first_paragraph(if reason.is_empty() { &text } else { &reason }));
    Message::Said {
        topic: topic.to_owned(),
        text,
        stopped,
    }
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
struct StatusLine {
    #[serde(default)]
    status: Option<String>,
    #[serde(default, rename = "permissionMode")]
    permission_mode: Option<String>,
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
    error: ApiFault,
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
    status: TaskStatus,
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
    #[serde(default)]
    prevent_continuation: bool,
    #[serde(default)]
    prompt_submit_outcome: Option<PromptOutcome>,
}

/// How the CLI ended a prompt before it called the model.
#[derive(Deserialize)]
struct PromptOutcome {
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

impl PromptOutcome {
    /// The CLI asks its hosts to take an unknown kind for no outcome.
    fn is_known(&self) -> bool {
        const KINDS: [&str; 5] = [
            "blocked_by_hook",
            "stopped_by_hook",
            "dropped_by_hook",
            "not_passed_on",
            "no_verdict",
        ];
        self.kind.as_deref().is_some_and(|kind| KINDS.contains(&kind))
    }
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
