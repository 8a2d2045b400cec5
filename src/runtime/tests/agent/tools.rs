//! Tools that say nothing until they answer, and processes beside them.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Agent, TOOL_PROGRESS};
use crate::runtime::tests::lines;

impl Agent {
    /// Calls a tool that has not answered yet; gives the call's id.
    pub(in crate::runtime::tests) fn calls_tool(&self, command: &str) -> String {
        self.calls("Bash", &json!({"command": command}))
    }

    /// Calls the tool of this name; gives the call's id.
    fn calls(&self, name: &str, input: &Value) -> String {
        let (message, tool) = (self.make_id("msg"), self.make_id("toolu"));
        self.print(lines::tool_use(&message, &tool, name, input));
        tool
    }

    /// Calls a tool that gives no sign of life until it answers, but for the agent's heartbeats.
    pub(in crate::runtime::tests) async fn waits_for_tool(&self, name: &str, input: &Value, time: SignedDuration) {
        let (tool, mut left) = (self.calls(name, input), time);
        while left > TOOL_PROGRESS {
            self.works(TOOL_PROGRESS).await;
            self.print(lines::heartbeat(&tool));
            left -= TOOL_PROGRESS;
        }
        self.works(left).await;
        self.print(lines::tool_result(&tool, "done", false));
    }

    /// Starts a process that lives on beside its tools.
    pub(in crate::runtime::tests) fn starts_process(&self, command: &str) {
        let mut state = self.state();
        state.children.push(command.to_owned());
        state.youngest = Some((tokio::time::Instant::now(), self.now()));
    }

    /// Its host is of the version before, and tells no ages.
    pub(in crate::runtime::tests) fn has_older_host(&self) {
        self.state().youngest = None;
    }

    /// Age of the process that began last. A machine that slept counts, a clock that was set back does not.
    pub(in crate::runtime::tests) fn youngest_ms(&self) -> Option<u64> {
        let (monotonic, wall) = self.state().youngest?;
        let by_clock = Duration::try_from(self.now().duration_since(wall)).unwrap_or_default();
        Some(monotonic.elapsed().max(by_clock).as_millis() as u64)
    }

    /// Calls a tool that gives no sign of life until it answers, in a process of its own or in none.
    pub(in crate::runtime::tests) async fn runs_silently(
        &self,
        command: &str,
        has_process: bool,
        time: SignedDuration,
    ) {
        let tool = self.calls_tool(command);
        if has_process {
            self.starts_process(command);
        }
        self.works(time).await;
        self.state().children.retain(|process| process != command);
        self.print(lines::tool_result(&tool, "done", false));
    }
}
