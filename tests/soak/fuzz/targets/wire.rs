//! Lines of an agent's output.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cc_executor::agent::fuzz::wire(bytes));
