//! The daemon from outside, with the simulated agent: what it promises whoever drives it over HTTP.

#[path = "../support/mod.rs"]
mod support;

mod clocks;
mod doctor;
mod main_job;
mod resume;
