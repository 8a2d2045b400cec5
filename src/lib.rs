//! cc-executor runs Claude Code on a workstation for hours and does not lose the work.
//!
//! To read it, begin with [`session`], the pure core: what a session is and what can happen to it. Then [`store`], where
//! its journal is kept; [`agent`] and [`agent_host`], the two ends of the link to a `claude` process; [`attempt`], one run of
//! an agent as a pure value; [`runtime`], the actors that bring them together; [`web`] and [`cli`], the faces; [`disk`],
//! files; [`daemon`], the whole. `ARCHITECTURE.md` has the picture.

pub mod agent;
pub mod agent_host;
pub mod attempt;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod disk;
pub mod runtime;
pub mod session;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod web;
