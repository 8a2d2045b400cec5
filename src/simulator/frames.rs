//! The frames of the CLI's stdout, built from what varies in them. Those that a single step sends stand with that step.

use serde_json::{Value, json};

/// The version that frames and `--version` show; the one whose behaviour is imitated.
pub(super) const VERSION: &str = "2.1.330";
pub(super) const MODEL: &str = "claude-simulated-1";

/// Tokens and dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Spent {
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) cost_usd: f64,
}

impl Spent {
    pub(super) fn add(&mut self, more: Self) {
        self.input = self.input.saturating_add(more.input);
        self.output = self.output.saturating_add(more.output);
        self.cost_usd += more.cost_usd;
    }

    fn usage(self) -> Value {
        json!({
            "input_tokens": self.input, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
            "output_tokens": self.output, "service_tier": "standard",
        })
    }

    fn model_usage(self, model: &str) -> Value {
        json!({ model: {
            "inputTokens": self.input, "outputTokens": self.output, "cacheReadInputTokens": 0,
            "cacheCreationInputTokens": 0, "webSearchRequests": 0, "costUSD": self.cost_usd,
            "contextWindow": 1_000_000, "maxOutputTokens": 128_000,
        }})
    }
}

/// The answer to `get_usage`, as far as it is about the session.
pub(super) fn usage_report(total: Spent, model: &str) -> Value {
    json!({"session": {"total_cost_usd": total.cost_usd, "model_usage": total.model_usage(model)}})
}

/// How a turn ended, as its `result` frame says it.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub(super) subtype: &'static str,
    pub(super) terminal_reason: &'static str,
    pub(super) is_error: bool,
    pub(super) stop_reason: Option<&'static str>,
    /// The final text; absent from endings that are not `success`.
    pub(super) text: Option<String>,
    pub(super) errors: Vec<String>,
    pub(super) api_error: Option<&'static str>,
    pub(super) api_error_status: Option<u16>,
    /// The class of error that the last assistant frame shows.
    pub(super) error_kind: Option<&'static str>,
}

impl Ending {
    pub(super) fn completed(text: String) -> Self {
        Self {
            subtype: "success",
            terminal_reason: "completed",
            is_error: false,
            stop_reason: Some("end_turn"),
            text: Some(text),
            errors: Vec::new(),
            api_error: None,
            api_error_status: None,
            error_kind: None,
        }
    }

    pub(super) fn interrupted(in_tool: bool) -> Self {
        let stop_reason = if in_tool { "tool_use" } else { "null" };
        Self {
            subtype: "error_during_execution",
            terminal_reason: if in_tool { "aborted_tools" } else { "aborted_streaming" },
            is_error: true,
            stop_reason: in_tool.then_some("tool_use"),
            text: None,
            errors: vec![format!(
                "[ede_diagnostic] result_type=user last_content_type=n/a stop_reason={stop_reason}"
            )],
            ..Self::completed(String::new())
        }
    }

    /// An API error as the CLI reports it: subtype `success`, and `is_error` all the same.
    pub(super) fn api_error(text: String, status: Option<u16>, kind: &'static str) -> Self {
        Self {
            terminal_reason: "api_error",
            is_error: true,
            stop_reason: Some("stop_sequence"),
            api_error_status: status,
            error_kind: Some(kind),
            ..Self::completed(text)
        }
    }

    pub(super) fn usage_limit(text: String) -> Self {
        Self {
            api_error: Some("usage_limit_reached"),
            ..Self::api_error(text, Some(429), "rate_limit")
        }
    }

    pub(super) fn refused() -> Self {
        let text = "API Error: the simulated safeguards flagged this message.".to_owned();
        Self {
            stop_reason: Some("refusal"),
            ..Self::api_error(text, None, "invalid_request")
        }
    }

    pub(super) fn max_turns(turns: u64) -> Self {
        Self::limit(
            "error_max_turns",
            "max_turns",
            format!("Reached maximum number of turns ({turns})"),
        )
    }

    pub(super) fn max_budget(usd: f64) -> Self {
        Self::limit(
            "error_max_budget_usd",
            "budget_exhausted",
            format!("Reached maximum budget (${usd})"),
        )
    }

    fn limit(subtype: &'static str, terminal_reason: &'static str, error: String) -> Self {
        Self {
            subtype,
            terminal_reason,
            stop_reason: Some("tool_use"),
            is_error: true,
            text: None,
            errors: vec![error],
            ..Self::completed(String::new())
        }
    }
}

/// What a `result` says besides its ending.
pub(super) struct Accounts<'a> {
    pub(super) model: &'a str,
    pub(super) turn: Spent,
    pub(super) total: Spent,
    pub(super) duration_ms: u64,
    pub(super) num_turns: u64,
    pub(super) result_index: u64,
    pub(super) queued: usize,
    pub(super) denials: &'a [Value],
}

pub(super) fn result(ending: &Ending, accounts: &Accounts<'_>) -> Value {
    let mut frame = json!({
        "type": "result", "subtype": ending.subtype, "is_error": ending.is_error,
        "terminal_reason": ending.terminal_reason, "stop_reason": ending.stop_reason,
        "duration_ms": accounts.duration_ms, "duration_api_ms": accounts.duration_ms,
        "num_turns": accounts.num_turns, "total_cost_usd": accounts.total.cost_usd,
        "usage": accounts.turn.usage(), "modelUsage": accounts.total.model_usage(accounts.model),
        "model_usage_since_last_result": accounts.turn.model_usage(accounts.model),
        "permission_denials": accounts.denials, "result_index": accounts.result_index,
        "queued_turn_count": accounts.queued, "fast_mode_state": "off", "safety_stops": 0,
    });
    if let Some(text) = &ending.text {
        frame["result"] = json!(text);
        frame["api_error_status"] = json!(ending.api_error_status);
    }
    if !ending.errors.is_empty() {
        frame["errors"] = json!(ending.errors);
    }
    if let Some(error) = ending.api_error {
        frame["api_error"] = json!(error);
    }
    frame
}

/// The result of a notice that needed no model: `num_turns` 0, nothing spent.
pub(super) fn notice_result(total: Spent, model: &str, result_index: u64) -> Value {
    let accounts = Accounts {
        model,
        turn: Spent::default(),
        total,
        duration_ms: 0,
        num_turns: 0,
        result_index,
        queued: 0,
        denials: &[],
    };
    let mut frame = result(
        &Ending {
            stop_reason: None,
            ..Ending::completed(String::new())
        },
        &accounts,
    );
    frame["origin"] = json!({"kind": "task-notification"});
    frame
}

pub(super) fn no_conversation(session: &str) -> Value {
    json!({
        "type": "result", "subtype": "error_during_execution", "is_error": true, "duration_ms": 0,
        "duration_api_ms": 0, "num_turns": 0, "stop_reason": null, "total_cost_usd": 0,
        "usage": Spent::default().usage(), "modelUsage": {}, "permission_denials": [], "result_index": 0,
        "errors": [format!("No conversation found with session ID: {session}")],
    })
}

pub(super) fn init(cwd: &str, model: &str, mode: &str) -> Value {
    json!({
        "type": "system", "subtype": "init", "cwd": cwd, "original_cwd": cwd, "model": model,
        "permissionMode": mode, "claude_code_version": VERSION, "apiKeySource": "none",
        "tools": ["Task", "AskUserQuestion", "Bash", "Edit", "ExitPlanMode", "Read", "Write"],
        "mcp_servers": [], "slash_commands": [], "agents": [], "skills": [], "plugins": [],
        "output_style": "default", "memory_paths": {}, "additional_directories": [],
        "capabilities": ["interrupt_receipt_v1", "interrupt_cancel_queued_v1", "msg_lifecycle_v1"],
    })
}

pub(super) fn lifecycle(command_uuid: &str, state: &str) -> Value {
    json!({"type": "command_lifecycle", "command_uuid": command_uuid, "state": state})
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

fn stream_event(message_id: &str, event: Value) -> Value {
    json!({"type": "stream_event", "event": event, "parent_tool_use_id": null, "api_message_id": message_id})
}

pub(super) fn message_start(message_id: &str, model: &str) -> Value {
    let message = json!({
        "id": message_id, "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": Spent::default().usage(),
    });
    let mut frame = stream_event(message_id, json!({"type": "message_start", "message": message}));
    frame["ttft_ms"] = json!(1);
    frame
}

pub(super) fn block_start(message_id: &str, block: Value) -> Value {
    stream_event(
        message_id,
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
    )
}

pub(super) fn block_delta(message_id: &str, delta: Value) -> Value {
    stream_event(
        message_id,
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
    )
}

pub(super) fn block_stop(message_id: &str) -> Value {
    stream_event(message_id, json!({"type": "content_block_stop", "index": 0}))
}

pub(super) fn message_delta(message_id: &str, stop_reason: Option<&str>) -> Value {
    let delta = json!({"stop_reason": stop_reason, "stop_sequence": null});
    stream_event(
        message_id,
        json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 1}}),
    )
}

pub(super) fn message_stop(message_id: &str) -> Value {
    stream_event(message_id, json!({"type": "message_stop"}))
}

/// Ends a stream that was cut off: what it showed from block `from` on is no longer to be believed.
pub(super) fn message_abandoned(message_id: &str, from: u64) -> Value {
    let mut frame = message_stop(message_id);
    frame["abandoned_blocks"] = json!({"api_message_id": message_id, "from_block_index": from});
    frame
}

pub(super) fn assistant(message_id: &str, model: &str, block: Value) -> Value {
    let usage = Spent {
        input: 1,
        output: 1,
        cost_usd: 0.0,
    }
    .usage();
    json!({
        "type": "assistant", "parent_tool_use_id": null, "timestamp": timestamp(),
        "message": {
            "id": message_id, "type": "message", "role": "assistant", "model": model, "content": [block],
            "stop_reason": null, "stop_sequence": null, "usage": usage, "context_management": null,
        },
    })
}

/// The assistant frame that stands for an API error.
pub(super) fn assistant_error(message_id: &str, ending: &Ending) -> Value {
    let mut frame = assistant(message_id, "<synthetic>", json!({"type": "text", "text": ending.text}));
    frame["message"]["stop_reason"] = json!(ending.stop_reason);
    frame["error"] = json!(ending.error_kind);
    frame["is_api_error_message"] = json!(true);
    frame["api_error_status"] = json!(ending.api_error_status);
    if let Some(error) = ending.api_error {
        frame["api_error"] = json!(error);
    }
    frame
}

pub(super) fn user_text(text: &str) -> Value {
    json!({
        "type": "user", "parent_tool_use_id": null, "timestamp": timestamp(),
        "message": {"role": "user", "content": [{"type": "text", "text": text}]},
    })
}

/// What became of a tool call.
pub(super) struct ToolOutcome {
    pub(super) content: Value,
    pub(super) detail: Value,
    pub(super) is_error: bool,
    /// `permission_decision` or `non_execution_kind`, as in `tool_result_meta`.
    pub(super) meta: Value,
}

impl ToolOutcome {
    pub(super) fn error(text: &str, meta: Value) -> Self {
        Self {
            content: json!(text),
            detail: json!(format!("Error: {text}")),
            is_error: true,
            meta,
        }
    }
}

pub(super) fn tool_result(tool_use_id: &str, outcome: &ToolOutcome) -> Value {
    let mut meta = outcome.meta.clone();
    meta["id"] = json!(tool_use_id);
    json!({
        "type": "user", "parent_tool_use_id": null, "timestamp": timestamp(),
        "message": {"role": "user", "content": [{
            "type": "tool_result", "tool_use_id": tool_use_id, "content": outcome.content,
            "is_error": outcome.is_error,
        }]},
        "tool_use_result": outcome.detail, "tool_result_meta": [meta],
    })
}

pub(super) fn api_retry(attempt: u64, of: u64, delay_ms: u64, status: Option<u16>, error: &str) -> Value {
    json!({
        "type": "system", "subtype": "api_retry", "attempt": attempt, "max_retries": of,
        "retry_delay_ms": delay_ms, "error_status": status, "error": error,
    })
}

pub(super) fn rate_limit(resets_at: u64) -> Value {
    let window = json!({"five_hour": {"utilization": 1, "resetsAt": resets_at}});
    json!({"type": "rate_limit_event", "rate_limit_info": {
        "status": "rejected", "resetsAt": resets_at, "rateLimitType": "five_hour",
        "isUsingOverage": false, "unifiedWindows": window,
    }})
}

pub(super) fn success(request_id: &Value, response: Value) -> Value {
    json!({"type": "control_response", "response": {
        "subtype": "success", "request_id": request_id, "response": response,
    }})
}

pub(super) fn unsupported(request_id: &Value, subtype: &str) -> Value {
    json!({"type": "control_response", "response": {
        "subtype": "error", "request_id": request_id, "error_code": "unsupported_request",
        "error": format!("Unsupported control request subtype: {subtype}"),
    }})
}

/// RFC 3339, UTC, milliseconds.
pub(super) fn timestamp() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}
