//! Calls that come from inside an agent.

use serde_json::Value;

use super::daemon::{TestDaemon, read};
use super::events::Events;
use super::wait::until;

/// The header that names the mark of an agent that calls by the port.
const MARK_HEADER: &str = "X-CC-Executor-Parent";

impl TestDaemon {
    /// The mark on the processes of an attempt, as `CC_EXECUTOR_ATTEMPT` has it.
    pub(crate) fn mark(&self, id: &str, attempt: u32) -> String {
        let file = self.state().join(format!("marks/{id}.json"));
        let digits = until("the secret of the attempt", || {
            let secrets: Value = serde_json::from_slice(&std::fs::read(&file).ok()?).ok()?;
            Some(secrets[attempt.to_string()]["digits"].as_str()?.to_owned())
        });
        format!("{id}/{attempt}/{digits}")
    }

    /// Gets something by the port as whatever carries this mark.
    pub(crate) fn get_as(&self, mark: &str, path: &str) -> (u16, Value) {
        self.call(self.agent.get(self.url(path)).header(MARK_HEADER, mark))
    }

    /// Posts by the port as whatever carries this mark.
    pub(crate) fn post_as(&self, mark: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = self.agent.post(self.url(path)).header(MARK_HEADER, mark);
        let request = request.header("Authorization", format!("Bearer {}", self.token()));
        let request = request.header("Content-Type", "application/json");
        read(request.send(body.to_string()).expect("an answer"))
    }

    /// Reads a stream as whatever carries this mark.
    pub(crate) fn stream_as(&self, mark: &str, path: &str) -> Events {
        self.read_stream(self.agent.get(self.url(path)).header(MARK_HEADER, mark), None)
    }
}
