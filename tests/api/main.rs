//! The API of the real daemon: that it does what it says, and that it is what its description says.

#[path = "../support/mod.rs"]
mod support;

mod lists;
mod once;
mod records;
mod schemathesis;
mod whole;
