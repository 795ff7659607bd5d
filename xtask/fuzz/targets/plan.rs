//! What a hub sends to an agent.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netcheck_agent::foreign::session_response(bytes));
