//! The reader of PROXY headers, for libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keyward_fuzz::proxy_protocol::check(data));
