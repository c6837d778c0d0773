//! The framing of bodies, for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keyward_fuzz::request_body::check(data));
