#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| percept_libfuzzer::read("checkpoint", data));
