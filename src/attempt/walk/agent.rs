//! The agent of the walk: it says one thing, asks one question, and ends its turn.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::agent_host::protocol::AgentExit;

/// More than half of the window, so that it has to be raised.
const FILLING_BYTES: usize = 200 * 1024;

/// A process that outlives daemons.
#[derive(Clone, Debug, Default)]
pub(super) struct Agent {
    pub spool: Arc<Vec<u8>>,
    pub exit: Option<AgentExit>,
    /// The message that its turn began with.
    first: Option<String>,
    /// Ids of all messages it has read.
    seen: BTreeSet<String>,
    has_answer: bool,
    /// It does not end when it is asked to.
    pub is_deaf: bool,
}

impl Agent {
    /// Takes a line from its stdin.
    pub(super) fn hear(&mut self, line: &str) {
        let line: Value = serde_json::from_str(line).expect("half a line would kill the CLI");
        match line["type"].as_str() {
            _ if self.exit.is_some() => {}
            Some("user") => self.hear_message(line["uuid"].as_str().expect("a message has an id")),
            Some("control_response") if !std::mem::replace(&mut self.has_answer, true) => self.end_turn(),
            Some("control_request") if line["request"]["subtype"] == "end_session" && !self.is_deaf => {
                self.exit = Some(AgentExit::Code { code: 0 });
            }
            Some(_) | None => {}
        }
    }

    /// It dies, and has written no more than this.
    pub(super) fn dies_after(&mut self, bytes: u64) {
        self.exit = Some(AgentExit::Signal { signal: 9 });
        Arc::make_mut(&mut self.spool).truncate(usize::try_from(bytes).expect("a short spool"));
    }

    fn hear_message(&mut self, uuid: &str) {
        if !self.seen.insert(uuid.to_owned()) {
            return self.print(&lifecycle(uuid, "completed"));
        }
        self.print(&lifecycle(uuid, "started"));
        if self.first.replace(uuid.to_owned()).is_some() {
            return;
        }
        self.print(&json!({
            "type": "system", "subtype": "init", "cwd": "/", "model": "m", "permissionMode": "default",
            "claude_code_version": "2.1.0", "tools": ["Bash"], "mcp_servers": [],
        }));
        self.says("m1", "one");
        let spool = Arc::make_mut(&mut self.spool);
        spool.extend(std::iter::repeat_n(b' ', FILLING_BYTES));
        spool.push(b'\n');
        let call = json!({"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}});
        self.print(&assistant("m2", &call));
        let request = json!({
            "subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": "ls"}, "tool_use_id": "t1",
            "permission_suggestions": [],
        });
        self.print(&json!({"type": "control_request", "request_id": "r1", "request": request}));
    }

    fn end_turn(&mut self) {
        let block = json!({"type": "tool_result", "tool_use_id": "t1", "content": "done", "is_error": false});
        let message = json!({"role": "user", "content": [block]});
        self.print(&json!({"type": "user", "parent_tool_use_id": null, "message": message}));
        self.says("m3", "two");
        let first = self.first.clone().expect("a turn begins with a message");
        self.print(&json!({
            "type": "result", "subtype": "success", "is_error": false, "result": "All is done.", "num_turns": 1,
            "total_cost_usd": 0.01, "modelUsage": {}, "queued_turn_count": 0, "user_message_uuids": [first],
            "user_message_uuid": first, "terminal_reason": "completed", "stop_reason": "end_turn",
        }));
        self.print(&lifecycle(&first, "completed"));
        self.print(&json!({"type": "system", "subtype": "session_state_changed", "state": "idle"}));
    }

    /// Says a text, as it is written and then whole.
    fn says(&mut self, message_id: &str, text: &str) {
        let event = |event: Value| json!({"type": "stream_event", "event": event, "parent_tool_use_id": null, "api_message_id": message_id});
        self.print(&event(
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ));
        let delta = json!({"type": "text_delta", "text": text});
        self.print(&event(
            json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        ));
        self.print(&assistant(message_id, &json!({"type": "text", "text": text})));
    }

    fn print(&mut self, line: &Value) {
        let mut line = line.clone();
        line["session_id"] = json!(Uuid::from_u128(1));
        line["uuid"] = json!(Uuid::from_u128(self.spool.len() as u128));
        let spool = Arc::make_mut(&mut self.spool);
        spool.extend(line.to_string().bytes());
        spool.push(b'\n');
    }
}

fn lifecycle(input: &str, state: &str) -> Value {
    json!({"type": "command_lifecycle", "command_uuid": input, "state": state})
}

fn assistant(message_id: &str, block: &Value) -> Value {
    json!({
        "type": "assistant", "parent_tool_use_id": null,
        "message": {
            "id": message_id, "type": "message", "role": "assistant", "model": "m", "content": [block],
            "stop_reason": null, "stop_sequence": null,
        },
    })
}
