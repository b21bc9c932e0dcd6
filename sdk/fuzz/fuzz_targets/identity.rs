//! Runs `durably::fuzz::identity`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| durably::fuzz::identity(data));
