//! Runs `durably::fuzz::route`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| durably::fuzz::route(data));
