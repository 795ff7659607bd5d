//! The answer of a DNS server.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netcheck_agent::foreign::dns_answer(bytes));
