//! The content blocks of assistant and user lines.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{shown, timers};
use crate::agent::wire::lines::LINE_BYTES_MAX;
use crate::session::message::{ApiFault, Frame, Message};

/// A line of type `assistant`.
#[derive(Deserialize)]
pub(super) struct AssistantLine {
    message: AssistantMessage,
    #[serde(default)]
    parent_tool_use_id: Option<String>,
    #[serde(default)]
    aborted: Option<bool>,
    #[serde(default)]
    error: Option<ApiFault>,
    #[serde(default)]
    timestamp: Option<Value>,
    #[serde(default)]
    local_command_source: Option<String>,
    #[serde(default)]
    local_command_outcome: Option<CommandOutcome>,
}

/// How a slash command went that the CLI ran itself.
#[derive(Deserialize)]
struct CommandOutcome {
    #[serde(default)]
    kind: Option<String>,
}

/// Marks output of a failed command in `local_command_source`.
const COMMAND_STDERR: &str = "<local-command-stderr>";

impl AssistantLine {
    /// Returns true if the command failed or does not exist here; none if the line is not the output of a command.
    fn command_failed(&self) -> Option<bool> {
        let source = self.local_command_source.as_deref()?;
        let outcome = self.local_command_outcome.as_ref();
        let kind = outcome.and_then(|outcome| outcome.kind.as_deref());
        let has_failed = matches!(kind, Some("failed" | "unavailable_headless" | "unknown"));
        Some(has_failed || source.starts_with(COMMAND_STDERR))
    }
}

#[derive(Deserialize)]
struct AssistantMessage {
    id: String,
    #[serde(default)]
    content: Vec<Block>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    input: Option<Value>,
    #[serde(default)]
    tool_use_id: Option<String>,
    #[serde(default)]
    content: Option<Value>,
    #[serde(default)]
    is_error: Option<bool>,
}

/// Returns true if frames that each repeat so much text of their line would hold more than a line may have. An agent
/// could fill the daemon's memory with a line of many small blocks and a long id.
fn repeat_too_much(frames: usize, repeated_bytes: usize) -> bool {
    frames > 1 && frames.saturating_mul(repeated_bytes) > LINE_BYTES_MAX
}

fn bytes(text: Option<&String>) -> usize {
    text.map_or(0, String::len)
}

/// The frames of an `assistant` line: one for each content block, and there is one as a rule.
pub(super) fn assistant(uuid: Option<Uuid>, line: AssistantLine) -> Vec<Frame> {
    let command_failed = line.command_failed();
    let AssistantLine {
        message,
        parent_tool_use_id: parent,
        aborted,
        error,
        timestamp,
        ..
    } = line;
    let called_at = timestamp.as_ref().and_then(|at| at.as_str()?.parse::<Timestamp>().ok());
    let (aborted, id) = (aborted.unwrap_or(false), message.id);
    let repeated_bytes = id.len() + bytes(parent.as_ref()) + error.as_ref().map_or(0, |error| error.to_string().len());
    if repeat_too_much(message.content.len(), repeated_bytes) {
        return vec![Frame::Unknown {
            kind: Some("assistant with too many blocks".to_owned()),
        }];
    }
    let frame = |block: Block| {
        // The line does not say which block it is; who follows the stream does.
        let (message_id, block_index, parent) = (id.clone(), 0, parent.clone());
        let message = match block.kind.as_str() {
            "text" => {
                let text = block.text.unwrap_or_default();
                match command_failed {
                    Some(failed) => Message::CommandOutput { text, failed },
                    None => Message::Text {
                        block: block_index,
                        message_id,
                        text,
                        parent,
                        aborted,
                        error: error.clone(),
                    },
                }
            }
            "thinking" | "redacted_thinking" => Message::Thinking {
                block: block_index,
                message_id,
                text: block.thinking.unwrap_or_default(),
                parent,
            },
            "tool_use" | "server_tool_use" | "mcp_tool_use" => Message::ToolUse {
                message_id,
                block: block_index,
                tool_use_id: block.id.unwrap_or_default(),
                name: block.name.unwrap_or_default(),
                input: shown(block.input.unwrap_or_default()),
                parent,
                called_at,
            },
            other => {
                return Frame::Unknown {
                    kind: Some(format!("assistant/{other}")),
                };
            }
        };
        Frame::Message { uuid, message }
    };
    message.content.into_iter().map(frame).collect()
}

/// A line of type `user`.
#[derive(Deserialize)]
pub(super) struct UserLine {
    message: UserMessage,
    #[serde(default)]
    parent_tool_use_id: Option<String>,
    #[serde(default, rename = "isSynthetic")]
    is_synthetic: Option<bool>,
    #[serde(default, rename = "isReplay")]
    is_replay: Option<bool>,
    /// The result of a tool call in a form of its own for each tool.
    #[serde(default)]
    tool_use_result: Value,
}

#[derive(Deserialize)]
struct UserMessage {
    content: UserContent,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum UserContent {
    Text(String),
    Blocks(Vec<Block>),
}

/// The frames of a `user` line: tool results, and texts that entered the conversation as the user's.
pub(super) fn user(uuid: Option<Uuid>, line: UserLine) -> Vec<Frame> {
    if line.is_replay == Some(true) {
        return vec![Frame::Alive];
    }
    let synthetic = line.is_synthetic.unwrap_or(false);
    let parent = line.parent_tool_use_id;
    let user_text = |text| Frame::Message {
        uuid,
        message: Message::UserText { text, synthetic },
    };
    let blocks = match line.message.content {
        UserContent::Text(text) => return vec![user_text(text)],
        UserContent::Blocks(blocks) => blocks,
    };
    let told = timers::ToldTimers::of(&line.tool_use_result);
    let repeated_bytes = bytes(parent.as_ref()) + told.as_ref().map_or(0, timers::ToldTimers::bytes);
    if repeat_too_much(blocks.len(), repeated_bytes) {
        return vec![Frame::Unknown {
            kind: Some("user with too many blocks".to_owned()),
        }];
    }
    let frames = |block: Block| match block.kind.as_str() {
        "tool_result" => {
            let text = block.content.as_ref().map(text_of).unwrap_or_default();
            let (tool_use_id, is_error) = (block.tool_use_id.unwrap_or_default(), block.is_error.unwrap_or(false));
            let message = Message::ToolResult {
                tool_use_id,
                text,
                is_error,
                parent: parent.clone(),
            };
            // Before the result, with which the call is done.
            let timer = told.as_ref().and_then(|told| told.change(&message)).map(Message::Timer);
            let messages = timer.into_iter().chain([message]);
            messages.map(|message| Frame::Message { uuid, message }).collect()
        }
        "text" => vec![user_text(block.text.unwrap_or_default())],
        other => vec![Frame::Unknown {
            kind: Some(format!("user/{other}")),
        }],
    };
    blocks.into_iter().flat_map(frames).collect()
}

/// The text of a tool result, whose content is a text or a list of blocks.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().map(text_of_block).collect::<Vec<_>>().join("\n"),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => content.to_string(),
    }
}

fn text_of_block(block: &Value) -> String {
    let kind = block.get("type").and_then(Value::as_str).unwrap_or("content");
    block
        .get("text")
        .and_then(Value::as_str)
        .map_or_else(|| format!("[{kind}]"), str::to_owned)
}
