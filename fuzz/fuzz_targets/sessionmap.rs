//! See `targets::sessionmap`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| unwedge_fuzz::targets::sessionmap(data));
