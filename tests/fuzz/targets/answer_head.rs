//! The heads of answers, for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keyward_fuzz::answer_head::check(data));
