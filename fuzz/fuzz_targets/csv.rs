//! Pages of any bytes.
#![no_main]

use std::sync::LazyLock;

#[path = "../feed/csv.rs"]
mod csv;

static DOOR: LazyLock<csv::Door> = LazyLock::new(csv::Door::open);

libfuzzer_sys::fuzz_target!(|page: &[u8]| DOOR.feed(page));
