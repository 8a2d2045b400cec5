//! Markdown of an agent, as the page shows it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cc_executor::web::fuzz::markdown(bytes));
