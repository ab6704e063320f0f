//! See `targets::entries`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| unwedge_fuzz::targets::entries(data));
