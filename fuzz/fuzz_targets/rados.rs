//! See `targets::rados`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| unwedge_fuzz::targets::rados(data));
