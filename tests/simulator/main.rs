//! The simulator as a process: what it prints, what it survives, how it ends.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod asking;
mod endings;
mod harness;
mod recovery;
#[path = "../support/mod.rs"]
mod support;
mod turns;
