//! What an agent sends to a hub, one message behind another, up to what the hub makes of it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netcheck_hub::foreign::session_requests(bytes));
