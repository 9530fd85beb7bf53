#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ws_proto::testing::fuzz::fuzz_receive(data));
