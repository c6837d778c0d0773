//! The reader of a WebSocket's frames, for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keyward_fuzz::frames::check(data));
