//! The MCP face of the real daemon, spoken to in plain JSON-RPC, in both eras of the protocol.

#[path = "../support/mod.rs"]
mod support;

mod access;
mod client;
mod python;
mod questions;
mod relay;
mod resources;
mod tools;
mod transport;
