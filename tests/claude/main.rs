//! The real `claude` CLI, through the daemon, against a scripted Messages API.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[path = "../support/mod.rs"]
mod support;

mod main_job;
mod recovery;
