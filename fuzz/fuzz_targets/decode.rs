//! Events, schemas and differences of any bytes.
#![no_main]

#[path = "../feed/decode.rs"]
mod decode;

libfuzzer_sys::fuzz_target!(|input: &[u8]| decode::feed(input));
