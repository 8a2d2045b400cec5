//! The lines of an agent's stdout that the simulated agent prints, in the shapes of the CLI.

use serde_json::{Value, json};
use uuid::Uuid;

const MODEL: &str = "claude-simulated-1";

pub(super) fn lifecycle(input: Uuid, state: &str) -> Value {
    json!({"type": "command_lifecycle", "command_uuid": input, "state": state})
}

pub(super) fn init(version: &str, mode: &str) -> Value {
    json!({
        "type": "system", "subtype": "init", "cwd": "/", "model": MODEL, "permissionMode": mode,
        "claude_code_version": version, "tools": ["Bash"], "mcp_servers": [],
    })
}

pub(super) fn state(state: &str) -> Value {
    json!({"type": "system", "subtype": "session_state_changed", "state": state})
}

pub(super) fn requesting() -> Value {
    json!({"type": "system", "subtype": "status", "status": "requesting"})
}

pub(super) fn mode_changed(mode: &str) -> Value {
    json!({"type": "system", "subtype": "status", "status": null, "permissionMode": mode})
}

/// An answer of the model with one block of text, as it is streamed and then whole.
pub(super) fn text(message_id: &str, text: &str) -> Vec<Value> {
    let event = |event: Value| json!({"type": "stream_event", "event": event, "parent_tool_use_id": null, "api_message_id": message_id});
    let block = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
    vec![
        event(block),
        event(delta),
        assistant(message_id, &json!({"type": "text", "text": text})),
        event(json!({"type": "content_block_stop", "index": 0})),
    ]
}

pub(super) fn tool_use(message_id: &str, tool_use_id: &str, name: &str, input: &Value) -> Value {
    assistant(
        message_id,
        &json!({"type": "tool_use", "id": tool_use_id, "name": name, "input": input}),
    )
}

fn assistant(message_id: &str, block: &Value) -> Value {
    json!({
        "type": "assistant", "parent_tool_use_id": null,
        "message": {
            "id": message_id, "type": "message", "role": "assistant", "model": MODEL, "content": [block],
            "stop_reason": null, "stop_sequence": null,
        },
    })
}

pub(super) fn tool_progress(tool_use_id: &str) -> Value {
    json!({"type": "tool_progress", "tool_use_id": tool_use_id, "tool_name": "Bash", "parent_tool_use_id": null})
}

/// What the CLI says of each open call every 30 seconds.
pub(super) fn heartbeat(tool_use_id: &str) -> Value {
    json!({
        "type": "tool_progress", "tool_use_id": format!("{tool_use_id}-heartbeat-0"), "tool_name": "a tool",
        "parent_tool_use_id": tool_use_id, "elapsed_time_seconds": 30, "heartbeat": true,
    })
}

pub(super) fn tool_result(tool_use_id: &str, text: &str, is_error: bool) -> Value {
    let block = json!({"type": "tool_result", "tool_use_id": tool_use_id, "content": text, "is_error": is_error});
    json!({
        "type": "user", "parent_tool_use_id": null, "message": {"role": "user", "content": [block]},
    })
}

pub(super) fn permission_request(request_id: &str, tool_use_id: &str, command: &str) -> Value {
    let request = json!({
        "subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": command},
        "tool_use_id": tool_use_id, "permission_suggestions": [],
    });
    json!({"type": "control_request", "request_id": request_id, "request": request})
}

/// The agent asks no longer.
pub(super) fn ask_cancelled(request_id: &str) -> Value {
    json!({"type": "control_cancel_request", "request_id": request_id})
}

/// The model begins its answer anew, without the blocks of this message from this one on.
pub(super) fn abandons(message_id: &str, from_block: u32) -> Value {
    json!({"type": "stream_event", "event": {"type": "message_stop"}, "parent_tool_use_id": null,
        "abandoned_blocks": {"api_message_id": message_id, "from_block_index": from_block}})
}

pub(super) fn success(request_id: &str, response: &Value) -> Value {
    json!({"type": "control_response", "response": {
        "subtype": "success", "request_id": request_id, "response": response,
    }})
}

pub(super) fn api_retry(attempt: u32, status: Option<u16>, error: &str) -> Value {
    json!({
        "type": "system", "subtype": "api_retry", "attempt": attempt, "max_retries": 300,
        "retry_delay_ms": 30_000, "error_status": status, "error": error,
    })
}

pub(super) fn rate_limit(resets_at_seconds: i64) -> Value {
    json!({"type": "rate_limit_event", "rate_limit_info": {
        "status": "rejected", "resetsAt": resets_at_seconds, "rateLimitType": "five_hour", "isUsingOverage": false,
    }})
}

/// A turn that ended well.
pub(super) fn done(inputs: &[Uuid], text: &str) -> Value {
    let mut frame = result(inputs, text);
    frame["terminal_reason"] = json!("completed");
    frame["stop_reason"] = json!("end_turn");
    frame
}

/// A turn that ended in an API error: the CLI's subtype is `success` all the same.
pub(super) fn api_error(inputs: &[Uuid], status: u16) -> Value {
    let mut frame = result(inputs, &format!("API Error: {status}"));
    frame["is_error"] = json!(true);
    frame["terminal_reason"] = json!("api_error");
    frame["api_error_status"] = json!(status);
    frame
}

fn result(inputs: &[Uuid], text: &str) -> Value {
    json!({
        "type": "result", "subtype": "success", "is_error": false, "result": text, "num_turns": 1,
        "total_cost_usd": 0.01, "modelUsage": {}, "queued_turn_count": 0, "user_message_uuids": inputs,
        "user_message_uuid": inputs.last(),
    })
}

/// The end of a turn that the CLI began by itself, to tell of something that had happened.
pub(super) fn report() -> Value {
    let mut frame = done(&[], "It has happened.");
    frame["origin"] = json!({"kind": "task-notification"});
    frame
}

/// All that goes on in the background: so many shells.
pub(super) fn shells(count: u32) -> Value {
    let task = |n| json!({"task_id": format!("b{n}"), "task_type": "local_bash", "description": "a shell"});
    json!({
        "type": "system", "subtype": "background_tasks_changed", "tasks": (0..count).map(task).collect::<Vec<_>>(),
    })
}
