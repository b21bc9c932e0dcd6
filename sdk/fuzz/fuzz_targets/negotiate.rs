//! Runs `durably::fuzz::negotiate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| durably::fuzz::negotiate(data));
