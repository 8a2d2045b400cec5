//! Requests to a person, and what the answers mean.

use serde_json::{Value, json};

use super::frames::{self, ToolOutcome};
use super::session::{Cut, Simulator};
use super::turn::Turn;

const REJECTED: &str = "The user doesn't want to proceed with this tool use. The tool use was rejected.";

/// What came of a permission request.
pub(super) enum Decision {
    Allowed { input: Value, meta: Value },
    Denied(ToolOutcome),
}

impl Simulator {
    /// Asks whether a call may run, and waits for as long as it takes. `extra` is what the request says beside
    /// the call.
    pub(super) fn ask(
        &mut self,
        turn: &mut Turn,
        (name, input): (&str, &Value),
        tool_use_id: &str,
        extra: Value,
    ) -> Result<Decision, Cut> {
        let for_person = extra["requires_user_interaction"] == json!(true);
        if self.mode == "bypassPermissions" && !for_person {
            return Ok(Decision::Allowed {
                input: input.clone(),
                meta: accepted("config"),
            });
        }
        if !self.args.prompts || self.mode == "dontAsk" {
            return Ok(Decision::Denied(self.deny_unasked(turn, name, input, tool_use_id)));
        }
        let answer = self.put(turn, tool_use_id, permission_request(name, input, tool_use_id, extra))?;
        self.decide(turn, name, input, tool_use_id, &answer)
    }

    /// Puts a request to the person and waits for the answer, for as long as it takes.
    fn put(&mut self, turn: &mut Turn, tool_use_id: &str, request: Value) -> Result<Value, Cut> {
        let id = self.ids.uuid().to_string();
        self.show_state("requires_action");
        let frame = json!({"type": "control_request", "request_id": id, "request": request});
        self.asked.push(frame.clone());
        self.output.frame(&frame);
        let answer = self.await_answer(&id);
        self.asked.retain(|asked| asked["request_id"] != json!(id));
        self.show_state("running");
        match answer {
            Err(Cut::Interrupted { .. }) => Err(self.reject(turn, tool_use_id)),
            answered => answered,
        }
    }

    fn await_answer(&mut self, id: &str) -> Result<Value, Cut> {
        loop {
            if let Some(answer) = self.answers.remove(id) {
                return Ok(answer);
            }
            if !self.stdin_open {
                return Ok(json!({"subtype": "error", "error": "AbortError: Stream closed"}));
            }
            self.listen_once(None)?;
        }
    }

    fn decide(
        &mut self,
        turn: &mut Turn,
        name: &str,
        input: &Value,
        tool_use_id: &str,
        answer: &Value,
    ) -> Result<Decision, Cut> {
        if answer["subtype"] != json!("success") {
            let text = format!(
                "Tool permission request failed: {}",
                answer["error"].as_str().unwrap_or_default()
            );
            return Ok(Decision::Denied(ToolOutcome::error(
                &text,
                json!({"non_execution_kind": "permission-rule"}),
            )));
        }
        let answer = &answer["response"];
        if answer["behavior"] == json!("allow") {
            self.take_updates(&answer["updatedPermissions"]);
            let input = if answer["updatedInput"].is_object() {
                &answer["updatedInput"]
            } else {
                input
            };
            return Ok(Decision::Allowed {
                input: input.clone(),
                meta: accepted("user_temporary"),
            });
        }
        turn.denials
            .push(json!({"tool_name": name, "tool_use_id": tool_use_id, "tool_input": input}));
        if answer["interrupt"] == json!(true) {
            return Err(self.reject(turn, tool_use_id));
        }
        let meta = json!({
            "non_execution_kind": "permission-rule",
            "permission_decision": {"decision": "reject", "source": "user_reject"},
        });
        Ok(Decision::Denied(ToolOutcome::error(
            answer["message"].as_str().unwrap_or("denied"),
            meta,
        )))
    }

    /// Of the updates only a new mode means something here.
    fn take_updates(&mut self, updates: &Value) {
        let updates = updates.as_array().map(Vec::as_slice).unwrap_or_default();
        let mode = updates
            .iter()
            .filter(|update| update["type"] == json!("setMode"))
            .find_map(|it| it["mode"].as_str());
        if let Some(mode) = mode {
            self.change_mode(mode);
        }
    }

    pub(super) fn change_mode(&mut self, mode: &str) {
        mode.clone_into(&mut self.mode);
        self.send(frames::mode_changed(mode));
    }

    /// The tool result of a call that an interrupt stopped.
    pub(super) fn reject(&mut self, turn: &mut Turn, tool_use_id: &str) -> Cut {
        let outcome = ToolOutcome {
            content: json!(REJECTED),
            detail: json!("User rejected tool use"),
            is_error: true,
            meta: json!({"non_execution_kind": "user-rejected"}),
        };
        self.close_tool(turn, tool_use_id, &outcome);
        Cut::Interrupted { in_tool: true }
    }

    fn deny_unasked(&mut self, turn: &mut Turn, name: &str, input: &Value, tool_use_id: &str) -> ToolOutcome {
        let message = format!("Permission to use {name} has been denied because nobody can be asked.");
        self.send(json!({
            "type": "system", "subtype": "permission_denied", "tool_name": name, "tool_use_id": tool_use_id,
            "decision_reason_type": "mode", "message": message,
        }));
        turn.denials
            .push(json!({"tool_name": name, "tool_use_id": tool_use_id, "tool_input": input}));
        ToolOutcome::error(&message, json!({"non_execution_kind": "permission-rule"}))
    }

    pub(super) fn question(&mut self, turn: &mut Turn, text: &str, options: &[String], multi: bool) -> Result<(), Cut> {
        let options: Vec<Value> = options
            .iter()
            .map(|label| json!({"label": label, "description": format!("Choose {label}")}))
            .collect();
        let header: String = text
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .chars()
            .take(12)
            .collect();
        let input = json!({"questions": [
            {"question": text, "header": header, "options": options, "multiSelect": multi},
        ]});
        let call = self.open_tool(turn, "AskUserQuestion", &input);
        let extra = json!({"requires_user_interaction": true});
        let outcome = match self.ask(turn, ("AskUserQuestion", &input), &call, extra)? {
            Decision::Allowed { input, meta } => answered(&input, meta),
            Decision::Denied(outcome) => outcome,
        };
        self.close_tool(turn, &call, &outcome);
        Ok(())
    }

    /// A call of an MCP server that has a form filled in; its result is what the server was given.
    pub(super) fn form(&mut self, turn: &mut Turn, message: &str, schema: &Value) -> Result<(), Cut> {
        let request = json!({
            "subtype": "elicitation", "mcp_server_name": "forms", "message": message, "mode": "form",
            "requested_schema": schema,
        });
        self.elicit(turn, request)
    }

    /// The same, which has an address opened.
    pub(super) fn open(&mut self, turn: &mut Turn, message: &str, url: &str) -> Result<(), Cut> {
        let request = json!({
            "subtype": "elicitation", "mcp_server_name": "forms", "message": message, "mode": "url", "url": url,
            "elicitation_id": "e1",
        });
        self.elicit(turn, request)
    }

    fn elicit(&mut self, turn: &mut Turn, request: Value) -> Result<(), Cut> {
        let call = self.open_tool(turn, "mcp__forms__ask", &json!({}));
        let answer = self.put(turn, &call, request)?;
        let given = &answer["response"];
        let outcome = if given["action"] == json!("accept") {
            ToolOutcome {
                content: json!(format!("It was filled in: {}", given["content"])),
                detail: given.clone(),
                is_error: false,
                meta: accepted("config"),
            }
        } else {
            ToolOutcome::error("It was not filled in.", accepted("config"))
        };
        self.close_tool(turn, &call, &outcome);
        Ok(())
    }

    pub(super) fn plan(&mut self, turn: &mut Turn, text: Option<&str>) -> Result<(), Cut> {
        let plan = text.unwrap_or("1. look\n2. do\n3. check");
        let call = self.open_tool(turn, "ExitPlanMode", &json!({"plan": plan}));
        // The plan lies in a file; the request's input is empty. Older versions of the CLI have it there.
        let input = text.map_or_else(|| json!({}), |text| json!({"plan": text}));
        let extra = json!({"requires_user_interaction": true});
        let outcome = match self.ask(turn, ("ExitPlanMode", &input), &call, extra)? {
            Decision::Allowed { meta, .. } => {
                if self.mode == "plan" {
                    self.change_mode("default");
                }
                ToolOutcome {
                    content: json!("User has approved exiting plan mode. You can now proceed."),
                    detail: json!({"plan": null, "isAgent": false}),
                    is_error: false,
                    meta,
                }
            }
            Decision::Denied(outcome) => outcome,
        };
        self.close_tool(turn, &call, &outcome);
        Ok(())
    }
}

pub(super) fn accepted(source: &str) -> Value {
    json!({"permission_decision": {"decision": "accept", "source": source}})
}

fn permission_request(name: &str, input: &Value, tool_use_id: &str, extra: Value) -> Value {
    let mut request = json!({
        "subtype": "can_use_tool", "tool_name": name, "display_name": name, "input": input,
        "tool_use_id": tool_use_id,
    });
    if let (Some(request), Value::Object(extra)) = (request.as_object_mut(), extra) {
        request.extend(extra);
    }
    request
}

/// What the model is told of the answers.
fn answered(input: &Value, meta: Value) -> ToolOutcome {
    let answers = input["answers"].as_object().cloned().unwrap_or_default();
    let given: Vec<String> = answers
        .iter()
        .map(|(question, answer)| format!("{question:?}={answer}"))
        .collect();
    let text = if given.is_empty() {
        "The user did not answer the questions.".to_owned()
    } else {
        let given = given.join(", ");
        format!("Your questions have been answered: {given}. You can now continue with these answers in mind.")
    };
    let detail = json!({"questions": input["questions"], "answers": answers});
    ToolOutcome {
        content: json!(text),
        detail,
        is_error: false,
        meta,
    }
}
