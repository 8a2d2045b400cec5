//! The agent host as a process: the real binary, small shell agents, and a daemon's end of the websocket.

#![expect(clippy::unwrap_used, reason = "a test that meets what it does not expect is to fail")]

mod client;
mod death;
mod link;
mod marks;
mod place;
mod start;
#[path = "../support/mod.rs"]
mod support;
