//! The page in a real browser, on the real daemon with the simulated agent.
//!
//! Each test holds the daemon and starts one script of this folder, which holds the browser; `browser` says how the two
//! talk. A script fails its test by ending with an error, and the errors that a page reports are errors.

#[path = "../support/mod.rs"]
mod support;

mod access;
mod acting;
mod browser;
mod looking;
mod watching;
