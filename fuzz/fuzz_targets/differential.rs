#![no_main]

#[path = "../../crates/ws-proto/tests/second_opinion/mod.rs"]
mod second_opinion;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    second_opinion::fuzz_differential(data);
});
