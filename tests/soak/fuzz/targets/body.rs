//! Bodies of calls to the MCP endpoint.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cc_executor::web::fuzz::body(bytes));
