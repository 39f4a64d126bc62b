//! Pages of any bytes.
#![no_main]

#[path = "../feed/csv.rs"]
mod csv;

libfuzzer_sys::fuzz_target!(|page: &[u8]| csv::feed(page));
