//! cc-executor runs Claude Code on a workstation for hours and does not lose the work.

pub mod agent_host;
pub mod session;
pub mod simulator;
