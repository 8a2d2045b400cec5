//! The daemon's side of an agent: its lines, its launch, and the websocket to its host.

pub mod environment;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod launch;
pub mod marks;
pub mod project;
pub mod secrets;
pub mod socket;
pub mod transcript;
pub mod wire;
