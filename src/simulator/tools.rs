//! Steps that call a tool.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::children::Child;
use super::frames::{self, ToolOutcome};
use super::input::ChildStatus;
use super::permission::{Decision, accepted};
use super::session::{Cut, Simulator};
use super::turn::Turn;

/// A command that runs longer is announced as a task.
const TASK_AFTER: Duration = Duration::from_secs(3);

/// A running command shows this often that it runs.
const HEARTBEAT: Duration = Duration::from_secs(30);

impl Simulator {
    /// The model's message with a tool call; gives the call's id.
    pub(super) fn open_tool(&mut self, turn: &mut Turn, name: &str, input: &Value) -> String {
        let message = self.open_message(turn);
        let call = self.ids.prefixed("toolu");
        let block = |input: &Value| json!({"type": "tool_use", "id": call, "name": name, "input": input});
        self.send_stream(turn, frames::block_start(&message, block(&json!({}))));
        let text = input.to_string();
        let (head, tail) = text.split_at(text.floor_char_boundary(text.len() / 2));
        for part in [head, tail] {
            self.send_stream(
                turn,
                frames::block_delta(&message, json!({"type": "input_json_delta", "partial_json": part})),
            );
        }
        self.send_assistant(turn, frames::assistant(&message, &self.model, block(input)));
        self.close_message(turn, &message, "tool_use");
        call
    }

    pub(super) fn close_tool(&mut self, turn: &mut Turn, call: &str, outcome: &ToolOutcome) {
        turn.last_uuid = Some(self.send(frames::tool_result(call, outcome)));
    }

    pub(super) fn tool(&mut self, turn: &mut Turn, name: &str, input: &Value, result: &str) -> Result<(), Cut> {
        let call = self.open_tool(turn, name, input);
        if let Err(cut) = self.listen() {
            return Err(self.cut_tool(turn, &call, cut));
        }
        let outcome = ToolOutcome {
            content: json!(result),
            detail: json!(result),
            is_error: false,
            meta: accepted("config"),
        };
        self.close_tool(turn, &call, &outcome);
        Ok(())
    }

    pub(super) fn bash(&mut self, turn: &mut Turn, command: &str) -> Result<(), Cut> {
        let call = self.open_tool(turn, "Bash", &bash_input(command));
        self.run_command(turn, &call, command, accepted("config"))
    }

    pub(super) fn ask_permission(&mut self, turn: &mut Turn, command: &str) -> Result<(), Cut> {
        let input = bash_input(command);
        let call = self.open_tool(turn, "Bash", &input);
        let rule = json!({"toolName": "Bash", "ruleContent": format!("{command} *")});
        let extra = json!({
            "description": input["description"], "decision_reason": "This command requires approval",
            "decision_reason_type": "other",
            "permission_suggestions": [
                {"type": "addRules", "rules": [rule], "behavior": "allow", "destination": "localSettings"},
                {"type": "setMode", "mode": "acceptEdits", "destination": "session"},
            ],
        });
        match self.ask(turn, ("Bash", &input), &call, extra)? {
            Decision::Allowed { input, meta } => {
                let command = input["command"].as_str().unwrap_or(command).to_owned();
                self.run_command(turn, &call, &command, meta)
            }
            Decision::Denied(outcome) => {
                self.close_tool(turn, &call, &outcome);
                Ok(())
            }
        }
    }

    pub(super) fn write(&mut self, turn: &mut Turn, path: &Path, text: &str) -> Result<(), Cut> {
        let call = self.open_tool(turn, "Write", &json!({"file_path": path, "content": text}));
        let outcome = match std::fs::write(path, text) {
            Ok(()) => ToolOutcome {
                content: json!(format!("File created successfully at: {}", path.display())),
                detail: json!({"type": "create", "filePath": path, "content": text}),
                is_error: false,
                meta: accepted("config"),
            },
            Err(error) => ToolOutcome::error(
                &format!("failed to write {}: {error}", path.display()),
                accepted("config"),
            ),
        };
        self.close_tool(turn, &call, &outcome);
        Ok(())
    }

    fn run_command(&mut self, turn: &mut Turn, call: &str, command: &str, meta: Value) -> Result<(), Cut> {
        let id = self.child_id();
        match Child::start(id, command, &self.session, self.sender.clone()) {
            Ok(child) => self.foreground = Some(child),
            Err(error) => {
                self.close_tool(
                    turn,
                    call,
                    &ToolOutcome::error(&format!("failed to run sh: {error}"), meta),
                );
                return Ok(());
            }
        }
        let waited = self.await_command(id, call);
        let output = self.foreground.as_mut().map(Child::output).unwrap_or_default();
        match waited {
            Ok(status) => {
                self.foreground = None;
                self.close_tool(turn, call, &command_outcome(status, output, meta));
                Ok(())
            }
            Err(cut) => Err(self.cut_tool(turn, call, cut)),
        }
    }

    fn await_command(&mut self, id: u64, call: &str) -> Result<ChildStatus, Cut> {
        let started = Instant::now();
        let mut heartbeats = 0;
        let mut task = None;
        loop {
            if let Some(status) = self.ended_children.remove(&id) {
                if let Some(task) = task {
                    self.send(task_frame(
                        "task_notification",
                        task,
                        call,
                        json!({"status": "completed", "output_file": ""}),
                    ));
                }
                return Ok(status);
            }
            let next = if task.is_none() {
                TASK_AFTER
            } else {
                HEARTBEAT * (heartbeats + 1)
            };
            if started.elapsed() < next {
                self.listen_once(Some(next.saturating_sub(started.elapsed())))?;
            } else if task.is_none() {
                task = Some(id);
                self.send(task_frame("task_started", id, call, json!({"is_backgrounded": false})));
            } else {
                self.send(heartbeat(call, heartbeats, started.elapsed()));
                heartbeats += 1;
            }
        }
    }

    /// Ends what a call was doing and says what became of it: an interrupt rejects it, the end of the process
    /// leaves the exit code of a killed command.
    pub(super) fn cut_tool(&mut self, turn: &mut Turn, call: &str, cut: Cut) -> Cut {
        let running = self.foreground.take().inspect(Child::kill);
        match cut {
            Cut::Interrupted { .. } => self.reject(turn, call),
            Cut::Exit(code) => {
                if let Some(mut child) = running {
                    let text = format!("Exit code 137\n{}", child.output());
                    self.close_tool(turn, call, &ToolOutcome::error(text.trim_end(), accepted("config")));
                }
                Cut::Exit(code)
            }
            ended @ Cut::Ended(_) => ended,
        }
    }
}

fn bash_input(command: &str) -> Value {
    json!({"command": command, "description": "simulated command"})
}

fn task_frame(subtype: &str, task: u64, call: &str, mut fields: Value) -> Value {
    fields["type"] = json!("system");
    fields["subtype"] = json!(subtype);
    fields["task_id"] = json!(format!("b{task}"));
    fields["run_id"] = json!(format!("run-b{task}"));
    fields["tool_use_id"] = json!(call);
    fields["task_type"] = json!("local_bash");
    fields["description"] = json!("simulated command");
    fields["summary"] = json!("simulated command");
    fields
}

fn heartbeat(call: &str, number: u32, elapsed: Duration) -> Value {
    json!({
        "type": "tool_progress", "tool_use_id": format!("{call}-heartbeat-{number}"), "tool_name": "Bash",
        "parent_tool_use_id": call, "elapsed_time_seconds": elapsed.as_secs(), "heartbeat": true,
    })
}

fn command_outcome(status: ChildStatus, output: String, meta: Value) -> ToolOutcome {
    let code = match status {
        ChildStatus::Code(0) => {
            let quiet = output.is_empty();
            let content = if quiet {
                json!("(Bash completed with no output)")
            } else {
                json!(output)
            };
            let detail = json!({
                "stdout": output, "stderr": "", "interrupted": false, "isImage": false, "noOutputExpected": quiet,
            });
            return ToolOutcome {
                content,
                detail,
                is_error: false,
                meta,
            };
        }
        ChildStatus::Code(code) => code,
        ChildStatus::Signal(signal) => 128 + signal,
    };
    ToolOutcome::error(format!("Exit code {code}\n{output}").trim_end(), meta)
}
