//! The binary: what the library does, and the exit code.

fn main() {}
