//! Runs `durably::fuzz::kafka`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| durably::fuzz::kafka(data));
