//! Where the reader of a stream says that it was.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cc_executor::web::fuzz::cursor(bytes));
