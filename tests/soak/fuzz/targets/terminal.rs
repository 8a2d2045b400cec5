//! Text that is shown in a terminal.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cc_executor::cli::fuzz::terminal(bytes));
