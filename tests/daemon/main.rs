//! The daemon from outside, with the simulated agent: what it promises whoever drives it over HTTP.

#[path = "../support/mod.rs"]
mod support;

mod access;
mod checks;
mod death;
mod main_job;
mod robust;
mod stream;
mod stream_load;
