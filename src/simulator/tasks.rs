//! What goes on after the turn's result: shells and agents in the background, and the turns that tell of their end.

use std::time::Duration;

use serde_json::{Value, json};

use super::background::Task;
use super::children::Child;
use super::frames::{self, ToolOutcome};
use super::input::{ChildStatus, Event, spawn};
use super::permission::accepted;
use super::session::{Cut, Simulator};
use super::transcript::{PastTask, Record};
use super::turn::Turn;

impl Simulator {
    pub(super) fn background(&mut self, turn: &mut Turn, command: &str) -> Result<(), Cut> {
        let input = json!({"command": command, "description": "simulated shell", "run_in_background": true});
        let call = self.open_tool(turn, "Bash", &input);
        let number = self.child_id();
        let child = match Child::start(number, command, &self.session, self.sender.clone()) {
            Ok(child) => child,
            Err(error) => {
                let outcome = ToolOutcome::error(&format!("failed to run sh: {error}"), accepted("config"));
                self.close_tool(turn, &call, &outcome);
                return Ok(());
            }
        };
        let id = self.start_task(&call, Some(child));
        let outcome = ToolOutcome {
            content: json!(format!(
                "Command running in background with ID: {id}. You will be notified."
            )),
            detail: json!({"stdout": "", "stderr": "", "interrupted": false, "backgroundTaskId": id}),
            is_error: false,
            meta: accepted("config"),
        };
        self.close_tool(turn, &call, &outcome);
        Ok(())
    }

    pub(super) fn subagent(&mut self, turn: &mut Turn, time: Duration) -> Result<(), Cut> {
        let input = json!({"description": "simulated agent", "prompt": "look", "subagent_type": "general-purpose"});
        let call = self.open_tool(turn, "Agent", &input);
        let id = self.start_task(&call, None);
        let outcome = ToolOutcome {
            content: json!([{"type": "text", "text": format!("Async agent launched successfully.\nagentId: {id}")}]),
            detail: json!({"isAsync": true, "status": "async_launched", "agentId": id}),
            is_error: false,
            meta: accepted("config"),
        };
        self.close_tool(turn, &call, &outcome);
        self.send_subagent(&call, &id, "looking into it");
        let events = self.sender.clone();
        spawn("subagent", move || {
            std::thread::sleep(time);
            // The player may be gone; then nobody wants the report.
            let _ = events.send(Event::SubagentDone { task: id });
        });
        Ok(())
    }

    fn start_task(&mut self, call: &str, child: Option<Child>) -> String {
        let id = self.ids.prefixed(if child.is_some() { "b" } else { "a" });
        let task = Task {
            run_id: self.ids.prefixed("run"),
            id: id.clone(),
            tool_use_id: call.to_owned(),
            child,
            stopped: false,
        };
        let agent = task.child.is_none();
        let record = Record::Task {
            id: id.clone(),
            tool_use_id: call.to_owned(),
            agent,
        };
        self.transcript.append("simulator", None, &record, &Value::Null);
        let mut started = json!({
            "type": "system", "subtype": "task_started", "task_id": id, "run_id": task.run_id, "tool_use_id": call,
            "description": task.description(), "is_backgrounded": true, "task_type": task.kind(),
        });
        if agent {
            started["subagent_type"] = json!("general-purpose");
            started["spawn_depth"] = json!(1);
        }
        self.tasks.push(task);
        self.send_tasks();
        self.send(started);
        id
    }

    fn send_tasks(&mut self) {
        let shown = |task: &Task| {
            json!({
                "task_id": task.id, "run_id": task.run_id, "task_type": task.kind(), "description": task.description(),
            })
        };
        let tasks: Vec<Value> = self.tasks.iter().map(shown).collect();
        self.send(json!({"type": "system", "subtype": "background_tasks_changed", "tasks": tasks}));
    }

    fn send_subagent(&mut self, call: &str, agent: &str, text: &str) {
        let message = self.ids.prefixed("msg");
        let mut frame = frames::assistant(&message, &self.model, json!({"type": "text", "text": text}));
        frame["parent_tool_use_id"] = json!(call);
        frame["agent_id"] = json!(agent);
        frame["subagent_type"] = json!("general-purpose");
        frame["task_description"] = json!("simulated agent");
        self.send(frame);
    }

    pub(super) fn on_child_ended(&mut self, child: u64, status: ChildStatus) {
        if self
            .foreground
            .as_ref()
            .is_some_and(|foreground| foreground.id == child)
        {
            self.ended_children.insert(child, status);
            return;
        }
        let task = self
            .tasks
            .iter()
            .position(|task| task.child.as_ref().is_some_and(|shell| shell.id == child));
        if let Some(index) = task {
            self.finish_task(
                index,
                if status == ChildStatus::Code(0) {
                    "completed"
                } else {
                    "failed"
                },
            );
        }
    }

    pub(super) fn on_subagent_done(&mut self, id: &str) {
        let Some(index) = self.tasks.iter().position(|task| task.id == id) else {
            return;
        };
        let call = self.tasks[index].tool_use_id.clone();
        self.send_subagent(&call, id, "nothing found");
        self.finish_task(index, "completed");
    }

    fn finish_task(&mut self, index: usize, status: &str) {
        let task = self.tasks.remove(index);
        let status = if task.stopped { "stopped" } else { status };
        self.transcript.append(
            "simulator",
            None,
            &Record::TaskOver { id: task.id.clone() },
            &Value::Null,
        );
        self.send(json!({
            "type": "system", "subtype": "task_updated", "task_id": task.id, "run_id": task.run_id,
            "patch": {"status": status},
        }));
        self.send(json!({
            "type": "system", "subtype": "task_notification", "task_id": task.id, "run_id": task.run_id,
            "tool_use_id": task.tool_use_id, "status": status, "output_file": "", "summary": task.description(),
        }));
        self.send_tasks();
        self.notices.push_back(task);
    }

    /// Ends a task at the host's wish; its end is told like any other.
    pub(super) fn stop_task(&mut self, id: &Value) -> Value {
        let Some(index) = self.tasks.iter().position(|task| id == &task.id) else {
            return json!({"stopped": false});
        };
        self.tasks[index].stopped = true;
        match &self.tasks[index].child {
            Some(child) => child.kill(),
            None => self.finish_task(index, "stopped"),
        }
        json!({"stopped": true})
    }

    /// The notices of tasks that died with an earlier process, each with an empty result.
    pub(super) fn tell_of_lost_tasks(&mut self, lost: &[PastTask]) {
        for task in lost {
            let what = if task.agent {
                "Background agent"
            } else {
                "Background shell command"
            };
            self.send(json!({
                "type": "system", "subtype": "task_notification", "task_id": task.id, "status": "stopped",
                "tool_use_id": task.tool_use_id, "output_file": "",
                "summary": format!("{what} didn't finish before the previous session ended"),
            }));
            self.transcript.append(
                "simulator",
                None,
                &Record::TaskOver { id: task.id.clone() },
                &Value::Null,
            );
        }
        for _ in lost {
            let frame = frames::notice_result(self.total, &self.model, self.results);
            self.results += 1;
            self.send(frame);
        }
    }
}
