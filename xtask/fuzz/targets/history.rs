//! A value of the history's files.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netcheck_history::foreign::value(bytes));
