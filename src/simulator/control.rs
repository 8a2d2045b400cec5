//! What the host sends: user messages, answers, and control requests, which are answered whatever is being played.

use serde_json::{Value, json};

use super::frames;
use super::session::{Cut, Simulator, UserMessage};

impl Simulator {
    /// One line of stdin. What the CLI does not know it ignores.
    pub(super) fn on_line(&mut self, line: &Value) -> Result<(), Cut> {
        match line["type"].as_str() {
            Some("user") => self.on_user_message(line),
            Some("control_request") => self.on_control_request(&line["request_id"], &line["request"]),
            Some("control_response") => {
                self.on_answer(&line["response"]);
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn on_user_message(&mut self, line: &Value) -> Result<(), Cut> {
        if !line["message"]["role"].is_string() {
            eprintln!("Error: Expected message role 'user', got 'undefined'");
            return Err(Cut::Exit(1));
        }
        let uuid = line["uuid"]
            .as_str()
            .map_or_else(|| self.ids.uuid().to_string(), str::to_owned);
        let content = line["message"]["content"].clone();
        if self.finished.contains(&uuid) {
            self.replay(&uuid, &content);
            self.send(frames::lifecycle(&uuid, "completed"));
            return Ok(());
        }
        if !self.seen.insert(uuid.clone()) {
            return Ok(());
        }
        self.show_state("running");
        self.send(frames::lifecycle(&uuid, "queued"));
        self.queue.push_back(UserMessage {
            uuid,
            content,
            is_note: line["shouldQuery"] == json!(false),
        });
        Ok(())
    }

    /// The echo that `--replay-user-messages` asks for; it bears the message's own uuid.
    pub(super) fn replay(&mut self, uuid: &str, content: &Value) {
        if self.args.replay_user_messages {
            let frame = json!({
                "type": "user", "message": {"role": "user", "content": content}, "parent_tool_use_id": null,
                "uuid": uuid, "session_id": self.session, "isReplay": true,
            });
            self.output.frame(&frame);
        }
    }

    /// Keeps the answer to a request that waits; any other is ignored, as is a second one.
    fn on_answer(&mut self, response: &Value) {
        let waits = self
            .asked
            .iter()
            .position(|asked| asked["request_id"] == response["request_id"]);
        if let (Some(index), Some(id)) = (waits, response["request_id"].as_str()) {
            self.asked.remove(index);
            self.answers.insert(id.to_owned(), response.clone());
        }
    }

    fn on_control_request(&mut self, id: &Value, request: &Value) -> Result<(), Cut> {
        let response = match request["subtype"].as_str().unwrap_or_default() {
            "initialize" => {
                self.initialized(id);
                return Ok(());
            }
            "interrupt" => return self.on_interrupt(id, request),
            "end_session" => return self.on_end_session(id),
            "set_permission_mode" => {
                self.mode = request["mode"].as_str().unwrap_or("default").to_owned();
                json!({"mode": self.mode})
            }
            "set_model" => {
                self.model = request["model"].as_str().unwrap_or(frames::MODEL).to_owned();
                json!({})
            }
            "cancel_async_message" => self.cancel_message(&request["message_uuid"]),
            "stop_task" => self.stop_task(&request["task_id"]),
            "get_session_cost" => json!({"total_cost_usd": self.total.cost_usd}),
            "get_usage" => frames::usage_report(self.total, &self.model),
            "get_binary_version" => json!({"version": frames::VERSION}),
            "set_max_thinking_tokens" | "apply_flag_settings" | "rename_session" => json!({}),
            unknown => {
                self.output.frame(&frames::unsupported(id, unknown));
                return Ok(());
            }
        };
        self.output.frame(&frames::success(id, response));
        Ok(())
    }

    fn initialized(&mut self, id: &Value) {
        let state = match (self.busy, self.asked.is_empty()) {
            (_, false) => "requires_action",
            (true, true) => "running",
            (false, true) => "idle",
        };
        let mut frame = frames::success(
            id,
            json!({
                "commands": [], "agents": [], "models": [], "account": {}, "output_style": "default",
                "available_output_styles": [], "pid": std::process::id(), "claude_code_version": frames::VERSION,
                "current_permission_mode": self.mode, "session_state": state,
            }),
        );
        // Beside the response proper, as the CLI has them.
        frame["response"]["pending_permission_requests"] = json!(self.asked);
        frame["response"]["pending_user_dialog_requests"] = json!([]);
        self.output.frame(&frame);
    }

    fn on_interrupt(&mut self, id: &Value, request: &Value) -> Result<(), Cut> {
        for asked in std::mem::take(&mut self.asked) {
            self.output
                .frame(&json!({"type": "control_cancel_request", "request_id": asked["request_id"]}));
        }
        let mut receipt = json!({});
        if request["cancel_queued"] == json!(true) {
            let cancelled: Vec<String> = self.queue.drain(..).map(|message| message.uuid).collect();
            for uuid in &cancelled {
                self.send(frames::lifecycle(uuid, "cancelled"));
            }
            receipt["cancelled"] = json!(cancelled);
        }
        receipt["still_queued"] = self.queue.iter().map(|message| json!(message.uuid)).collect();
        self.output.frame(&frames::success(id, receipt));
        if self.busy {
            Err(Cut::Interrupted { in_tool: false })
        } else {
            Ok(())
        }
    }

    fn on_end_session(&mut self, id: &Value) -> Result<(), Cut> {
        self.output.frame(&frames::success(id, json!({})));
        if self.linger.ignores_end_session() {
            Ok(())
        } else {
            Err(Cut::Exit(0))
        }
    }

    fn cancel_message(&mut self, uuid: &Value) -> Value {
        let queued = self.queue.iter().position(|message| uuid == &message.uuid);
        if let Some(message) = queued.and_then(|index| self.queue.remove(index)) {
            self.send(frames::lifecycle(&message.uuid, "cancelled"));
        }
        json!({"cancelled": queued.is_some(), "message_uuid": uuid})
    }
}
