//! cc-executor runs Claude Code on a workstation for hours and does not lose the work.

pub mod agent;
pub mod agent_host;
pub mod config;
pub mod daemon;
pub mod runtime;
pub mod session;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod web;
