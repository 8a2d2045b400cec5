//! One shell or agent that goes on in the background.

use super::children::Child;

/// One background task.
pub(super) struct Task {
    pub(super) id: String,
    pub(super) run_id: String,
    pub(super) tool_use_id: String,
    /// The shell; an agent has none.
    pub(super) child: Option<Child>,
    pub(super) stopped: bool,
}

impl Task {
    pub(super) fn kind(&self) -> &'static str {
        if self.child.is_some() {
            "local_bash"
        } else {
            "local_agent"
        }
    }

    pub(super) fn description(&self) -> &'static str {
        if self.child.is_some() {
            "simulated shell"
        } else {
            "simulated agent"
        }
    }
}
