//! The MCP face of the real daemon, in both eras of the protocol: spoken to in plain JSON-RPC, and by clients that nobody
//! here wrote.

#[path = "../support/mod.rs"]
mod support;

mod access;
mod client;
mod clients;
mod load;
mod questions;
mod refusals;
mod relay;
mod resources;
mod smart;
mod tools;
mod transport;
