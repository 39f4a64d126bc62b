//! Decoding compared with hand-made vectors, with an oracle, and with nonsense.

mod oracle;
mod vectors;

use super::*;

const PRODUCT: &str = include_str!("../../../tests/data/avro/product2.avsc");
const ACCOUNT: &str = include_str!("../../../tests/data/avro/account.avsc");
const CONTACT: &str = include_str!("../../../tests/data/avro/contact.avsc");

/// What an event says, under describe's names.
fn said<'a>(schema: &EventSchema, change: &Change<'a>) -> Vec<(String, Value<'a>)> {
    change
        .says()
        .map(|(leaf, value)| (schema.fields()[leaf].name.clone(), value))
        .collect()
}

fn paths(schema: &EventSchema, bits: &Bits) -> Vec<String> {
    bits.iter()
        .map(|leaf| schema.fields()[leaf].path.clone())
        .collect()
}
