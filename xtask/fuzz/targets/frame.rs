//! What comes over the vantage's socket, and what ICMP errors quote.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netcheck_agent::foreign::frame(bytes));
