//! The real `claude` CLI, through the daemon, against a scripted Messages API.

#[path = "../support/mod.rs"]
mod support;

mod as_client;
mod clarify;
mod cost;
mod endings;
mod forms;
mod intake;
mod kills;
mod limits;
mod login;
mod main_job;
mod matrix;
mod owed;
mod recovery;
mod resume;
mod silence;
mod terms;
mod timers;
mod trust;
mod upgrade;
