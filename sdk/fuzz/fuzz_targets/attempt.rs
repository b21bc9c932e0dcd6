//! Runs `durably::fuzz::attempt`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| durably::fuzz::attempt(data));
