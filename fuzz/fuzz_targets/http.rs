//! Requests of any bytes, and any bytes in a place of one.
#![no_main]

use std::sync::LazyLock;

#[path = "../feed/http.rs"]
mod http;

static DOOR: LazyLock<http::Door> = LazyLock::new(http::Door::open);

libfuzzer_sys::fuzz_target!(|input: &[u8]| DOOR.feed(input));
