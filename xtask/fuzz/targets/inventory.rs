//! An inventory file, up to the plans that a hub makes of it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netcheck_hub::foreign::inventory(bytes));
