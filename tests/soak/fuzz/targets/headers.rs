//! Host, origin and cookies of a call.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cc_executor::web::fuzz::headers(bytes));
