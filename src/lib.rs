//! cc-executor runs Claude Code on a workstation for hours and does not lose the work.

pub mod agent_host;
pub mod cli;
pub mod runtime;
pub mod session;
pub mod store;
