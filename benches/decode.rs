//! Decoding change events: ours against apache-avro's tree of values, on the same bytes in the same run.
//!
//! Target: at least 10 times `from_avro_datum`.

use std::hint::black_box;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use storesync::inbound::decode::{Change, EventSchema};

use crate::{fixture, timing};

const EVENTS: usize = 50_000;
const ROUNDS: usize = 7;

pub fn run() {
    let events = fixture::Fixture::new(1, 50_000).events(EVENTS);
    let bytes: usize = events.iter().map(|event| event.payload.len()).sum();
    println!(
        "{EVENTS} events, {} bytes on average, medians of {ROUNDS} rounds",
        bytes / EVENTS
    );
    let writer = Schema::parse_str(fixture::SCHEMA).expect("a schema");
    let reader = GenericDatumReader::builder(&writer).build().expect("a reader");
    let schema = EventSchema::compile(fixture::SCHEMA).expect("a schema");

    let mut from_avro_datum = || {
        for event in &events {
            #[allow(deprecated)] // what the target names, and what most code calls
            let value = apache_avro::from_avro_datum(&writer, &mut &event.payload[..], None);
            black_box(value.expect("an event"));
        }
    };
    let mut reused_reader = || {
        for event in &events {
            black_box(reader.read_value(&mut &event.payload[..]).expect("an event"));
        }
    };
    let mut ours = || {
        let mut change = Change::default();
        for event in &events {
            schema.decode(&event.payload, &mut change).expect("an event");
            for said in change.says() {
                black_box(said);
            }
        }
    };
    let rates = timing::medians(
        ROUNDS,
        EVENTS,
        &mut [&mut from_avro_datum, &mut reused_reader, &mut ours],
    );
    timing::line("apache-avro from_avro_datum to Value", rates[0], rates[0]);
    timing::line("apache-avro reader made once, to Value", rates[1], rates[0]);
    timing::line("storesync, to column values (target 10x)", rates[2], rates[0]);
}
