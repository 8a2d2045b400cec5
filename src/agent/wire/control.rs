//! Control requests to an agent, and its replies: a reply is read as the request that it answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::decode::usage_report;
use crate::session::message::Usage;

/// A control request to the agent, as the CLI names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "subtype", rename_all = "snake_case")]
pub enum ControlRequest {
    /// The first one: the agent says where it stands.
    Initialize,
    /// Tokens and cost by the agent's count.
    GetUsage,
    /// Ends the turn.
    Interrupt,
    /// Ends the turn and then the agent.
    EndSession,
}

/// Content of a reply.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ControlReply {
    /// No turn goes on.
    Idle,
    /// The agent's count by now.
    Used(Usage),
    /// Nothing but that the agent has taken the request.
    Taken,
}

impl ControlRequest {
    /// Reads the reply to this request.
    pub fn read(self, reply: &Value) -> ControlReply {
        match self {
            Self::Initialize if reply["session_state"] == "idle" => ControlReply::Idle,
            Self::GetUsage => usage_report(reply).map_or(ControlReply::Taken, ControlReply::Used),
            Self::Initialize | Self::Interrupt | Self::EndSession => ControlReply::Taken,
        }
    }
}

/// Control requests without a reply, by their ids.
#[derive(Clone, Debug, Default)]
pub struct PendingRequests(BTreeMap<String, ControlRequest>);

impl PendingRequests {
    /// Takes a request up, and returns its line. No other request to this agent may have had the same `unique`.
    pub fn line(&mut self, request: ControlRequest, unique: &str) -> String {
        let arguments = json!(request);
        let request_id = format!("{}-{unique}", arguments["subtype"].as_str().unwrap_or_default());
        let line = json!({"type": "control_request", "request_id": &request_id, "request": arguments});
        self.0.insert(request_id, request);
        line.to_string()
    }

    /// The request that a reply with this id answers. The id names the request of a daemon before, whose reply this one
    /// reads.
    pub fn answered(&mut self, request_id: &str) -> Option<ControlRequest> {
        let named = || ControlRequest::deserialize(json!({"subtype": request_id.split('-').next()})).ok();
        self.0.remove(request_id).or_else(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read_as_the_request_that_it_answers() {
        let mut pending = PendingRequests::default();
        let line: Value = serde_json::from_str(&pending.line(ControlRequest::Initialize, "7")).unwrap();
        assert_eq!(line["request"]["subtype"], "initialize");
        let request = pending.answered(line["request_id"].as_str().unwrap()).unwrap();
        let idle = json!({"session_state": "idle", "session": {"total_cost_usd": 1.0, "model_usage": {}}});
        assert_eq!(request.read(&idle), ControlReply::Idle);
        assert_eq!(request.read(&json!({"session_state": "running"})), ControlReply::Taken);
        assert!(matches!(ControlRequest::GetUsage.read(&idle), ControlReply::Used(usage) if usage.cost_usd == 1.0));
        assert_eq!(ControlRequest::GetUsage.read(&json!({})), ControlReply::Taken);
        assert_eq!(ControlRequest::Interrupt.read(&idle), ControlReply::Taken);
    }

    #[test]
    fn a_reply_to_a_daemon_before_names_its_request() {
        let mut pending = PendingRequests::default();
        assert_eq!(pending.answered("get_usage-9"), Some(ControlRequest::GetUsage));
        assert_eq!(pending.answered("get_usages-9"), None);
    }
}
