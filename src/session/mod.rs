//! The pure core: what a session is, what can happen to it, and what is written down about it.

pub mod id;
