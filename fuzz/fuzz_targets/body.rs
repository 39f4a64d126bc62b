//! Bodies of any bytes.
#![no_main]

#[path = "../feed/body.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::feed(input));
