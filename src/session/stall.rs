//! Stall timeouts: the longest silence of an agent, by what it is doing, and what it may wait for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest silence of an agent in each of its occupations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StallTimeouts {
    /// From the start of the process to its first line.
    pub first_message: Duration,
    /// From a request to the model to the first event of its answer; the CLI itself waits 360 s and mends it.
    pub headers: Duration,
    /// Within an answer of the model; above the CLI's own watchdog.
    pub stream: Duration,
    /// Of a tool or a subagent that gives no sign of life and has started no process that lives.
    pub tool: Duration,
    /// Of a tool of an MCP server, which starts no process and says nothing before its result.
    pub mcp_tool: Duration,
}

/// What an agent is doing, as far as its silence goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It starts.
    Starting,
    /// It has asked the model, which has not begun to answer.
    Requesting,
    /// The model answers.
    Answering,
    /// A tool runs, or a subagent in the background.
    Tool,
    /// A tool of an MCP server runs.
    McpTool,
    /// It waits for a person, for the reset of a usage limit or for an API that answers: other clocks run for these.
    Waiting,
}

impl Doing {
    /// In words for a person, to follow "silent while".
    pub fn words(self) -> &'static str {
        match self {
            Self::Starting => "it starts",
            Self::Requesting => "the model has not begun to answer",
            Self::Answering => "the model answers",
            Self::Tool => "a tool runs",
            Self::McpTool => "a tool of an MCP server runs",
            Self::Waiting => "it waits",
        }
    }
}

impl StallTimeouts {
    /// The longest silence of an agent that does this. Returns none where silence says nothing.
    pub fn while_it_is(&self, doing: Doing) -> Option<Duration> {
        match doing {
            Doing::Starting => Some(self.first_message),
            Doing::Requesting => Some(self.headers),
            Doing::Answering => Some(self.stream),
            Doing::Tool => Some(self.tool),
            Doing::McpTool => Some(self.mcp_tool),
            Doing::Waiting => None,
        }
    }
}

/// What an agent waits for, besides people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitingFor {
    /// It waits for nothing.
    #[default]
    Nothing,
    /// The reset of a usage limit.
    Quota,
    /// An API that answers.
    Api,
    /// An API that accepts the login, which it accepted before.
    Login,
    /// A timer that the agent has set for itself.
    Timer,
    /// Room on the disk. Never in a journal, which has no room for it: shown from memory.
    Room,
}
