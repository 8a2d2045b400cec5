//! What several test binaries share: a scripted Messages API and the real `claude` that talks to it.
//!
//! A test binary takes it in by `#[path = "../support/mod.rs"] mod support;`. Each binary compiles a copy of its own and
//! uses the part that it needs.

#![allow(dead_code, reason = "no test binary uses every helper")]

pub(crate) mod agent;
pub(crate) mod chance;
pub(crate) mod claude;
pub(crate) mod daemon;
pub(crate) mod events;
pub(crate) mod messages_api;
pub(crate) mod namespace;
pub(crate) mod other_user;
pub(crate) mod previous;
pub(crate) mod spool;
pub(crate) mod victim;
pub(crate) mod wait;
