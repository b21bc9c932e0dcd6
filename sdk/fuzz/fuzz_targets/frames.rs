//! Runs `durably::fuzz::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| durably::fuzz::frames(data));
