//! Decoding change events: ours against apache-avro's tree of values, and against what users have today, the Node
//! client's `parseEvent` and Python's fastavro, on the same bytes in the same run.
//!
//! Targets: 10 times `from_avro_datum`, 20 times `parseEvent`, 60 times fastavro. The last two are measured where
//! `sh benches/peers/setup.sh` has installed them.

use std::hint::black_box;
use std::process::Command;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use bytes::Bytes;
use storesync::inbound::decode::{Change, EventSchema};
use storesync::model::change::RawEvent;

use crate::{fixture, scripts, timing};

const EVENTS: usize = 50_000;
const ROUNDS: usize = 7;

pub fn run() {
    let events = together(fixture::Fixture::new(1, 50_000).events(EVENTS));
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
    peers(&events, rates[2]);
}

/// The payloads in one buffer, as they arrive from the wire and as the peers read them from their file.
fn together(mut events: Vec<RawEvent>) -> Vec<RawEvent> {
    let buffer: Bytes = events
        .iter()
        .flat_map(|event| event.payload.iter().copied())
        .collect();
    let mut start = 0;
    for event in &mut events {
        let end = start + event.payload.len();
        event.payload = buffer.slice(start..end);
        start = end;
    }
    events
}

/// Each peer reads the same events in a process of its own and says its rate.
fn peers(events: &[RawEvent], ours: f64) {
    let Some(installed) = scripts::installed() else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let (schema, file) = (dir.path().join("schema.avsc"), dir.path().join("events"));
    std::fs::write(&schema, fixture::SCHEMA).expect("the schema");
    let mut bytes = Vec::new();
    for event in events {
        bytes.extend((event.payload.len() as u32).to_le_bytes());
        bytes.extend(&event.payload[..]);
    }
    std::fs::write(&file, bytes).expect("the events");
    let mut node = Command::new("node");
    node.arg(scripts::path("parse_event.mjs")).arg(&installed);
    let mut python = Command::new(installed.join("venv/bin/python"));
    python.arg(scripts::path("read_events.py"));
    let peers = [
        ("Node client's parseEvent", node, 20.0),
        ("Python's fastavro", python, 60.0),
    ];
    for (name, mut command, target) in peers {
        command.arg(&schema).arg(&file).arg(ROUNDS.to_string());
        let rate = scripts::rate(name, &mut command);
        timing::line(&format!("{name} (target {target}x of it)"), rate, ours);
        println!("storesync is {:.0}x of it", ours / rate);
    }
}
