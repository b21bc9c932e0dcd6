//! Runs `durably::fuzz::journal`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| durably::fuzz::journal(data));
