//! The agent's stream-json: the only place that knows its format.
//!
//! [`lines`] cuts the spool into lines, [`decode`] turns a line into frames, [`conclude`] says how a turn ended, [`encode`] and [`control`] write what goes to the agent.
//! The format is that of the Claude Code CLI's `--output-format stream-json`, as observed of versions 2.1.330 and
//! 2.1.332. Unknown types and malformed lines become [`Frame::Unknown`](crate::session::message::Frame::Unknown), never
//! an error.

pub mod conclude;
pub mod control;
pub mod decode;
pub mod encode;
pub mod lines;
pub mod plan;

#[cfg(test)]
mod tests;
