//! Frames at the websocket to an agent host.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cc_executor::agent::fuzz::link(bytes));
