//! One line of the agent into frames.
//!
//! Key order varies and fields come and go between versions, so a line is first read for its type alone and then for
//! the few fields that matter to that type; everything else is passed over.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::session::message::{Delta, DeltaPart, Frame, InputState, Message};
use crate::session::nesting;

pub use self::result::usage_report;
pub use self::timers::TIMER_TOOLS;

use self::content::{assistant, user};
use self::control::{control_request, reply};
use self::mend::mend;
use self::result::turn_end;
use self::system::system;

mod content;
mod control;
mod mend;
mod result;
mod system;
mod timers;

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
    let frames = understand(line).or_else(|kind| match mend(line) {
        Some(mended) => understand(&mended),
        None => Err(kind),
    });
    frames.unwrap_or_else(|kind| vec![Frame::Unknown { kind }])
}

/// The frames of a line, or its type where it cannot be read as one of that type.
fn understand(line: &[u8]) -> Result<Vec<Frame>, Option<String>> {
    let head = serde_json::from_slice::<Head<'_>>(line).map_err(|_| None)?;
    match known(&head, line) {
        Ok(Some(frames)) => Ok(frames),
        Ok(None) => Ok(vec![Frame::Unknown {
            kind: Some(type_of(&head)),
        }]),
        Err(_) => Err(Some(type_of(&head))),
    }
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
        ("command_lifecycle", _) => lifecycle(&read::<CommandLifecycle>(line)?),
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
        ("tool_progress", _) => vec![tool_progress(read(line)?)],
        ("keep_alive", _) => vec![Frame::Heartbeat { tool_use_id: None }],
        ("attachment" | "transcript_mirror", _) => vec![Frame::Alive],
        _ => return Ok(None),
    }))
}

/// A value that is only shown; its text, where it is nested deeper than it could be read again from where it is kept.
fn shown(value: Value) -> Value {
    if nesting::is_within(&value) {
        value
    } else {
        Value::String(value.to_string())
    }
}

fn read<T: DeserializeOwned>(line: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(line)
}

/// A line of type `tool_progress`. The CLI writes one every 30 seconds for each open call, as a heartbeat; then the id of
/// the call is the parent's.
#[derive(Deserialize)]
struct ToolProgress {
    #[serde(default)]
    heartbeat: bool,
    #[serde(default)]
    parent_tool_use_id: Option<String>,
}

fn tool_progress(line: ToolProgress) -> Frame {
    if line.heartbeat {
        let tool_use_id = line.parent_tool_use_id;
        Frame::Heartbeat { tool_use_id }
    } else {
        Frame::Alive
    }
}

#[derive(Deserialize)]
struct Reset {
    new_conversation_id: Uuid,
}

#[derive(Deserialize)]
struct CancelRequest {
    request_id: String,
}

#[derive(Deserialize)]
struct CommandLifecycle {
    command_uuid: Uuid,
    state: String,
    #[serde(flatten)]
    fire: timers::Fire,
}

fn lifecycle(line: &CommandLifecycle) -> Vec<Frame> {
    let state = match line.state.as_str() {
        "queued" => InputState::Queued,
        "started" => InputState::Started,
        "completed" => InputState::Completed,
        "cancelled" => InputState::Cancelled,
        _ => return vec![Frame::Alive],
    };
    let fired = line.fire.change().map(|change| Frame::Message {
        uuid: None,
        message: Message::Timer(change),
    });
    let input = Frame::Input {
        uuid: line.command_uuid,
        state,
    };
    fired.into_iter().chain([input]).collect()
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
    #[serde(default, rename = "isUsingOverage")]
    is_using_overage: bool,
}

fn rate_limit(info: RateLimitInfo) -> Message {
    Message::RateLimit {
        // What goes beyond the limit is paid for, and goes on.
        rejected: info.status == "rejected" && !info.is_using_overage,
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
        ("message_stop", _) => return vec![Frame::CallEnded],
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
