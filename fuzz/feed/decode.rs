//! Any bytes as an event of real schemas, and any text as a schema and a difference: a result or an error, in
//! bounded memory, and never a panic.
//!
//! The first byte chooses: a schema of the tests, or that the input brings its own, up to a zero byte.

use std::sync::LazyLock;

use storesync::inbound::decode::{Change, EventSchema, patch};

static SCHEMAS: LazyLock<Vec<EventSchema>> = LazyLock::new(|| {
    [
        include_str!("../../tests/data/avro/product2.avsc"),
        include_str!("../../tests/data/avro/account.avsc"),
        include_str!("../../tests/data/avro/contact.avsc"),
    ]
    .into_iter()
    .map(|json| EventSchema::compile(json).expect("a schema of the tests"))
    .collect()
});

fn decode(schema: &EventSchema, payload: &[u8]) {
    let mut change = Change::default();
    // Twice with the same lists: nothing of the first may show in the second.
    let first = schema.decode(payload, &mut change);
    let said = change.says().count();
    let second = schema.decode(payload, &mut change);
    assert_eq!(first.is_ok(), second.is_ok());
    assert_eq!(said, change.says().count());
    assert!(change.values().len() <= schema.fields().len());
}

pub fn feed(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else {
        return;
    };
    if let Some(schema) = SCHEMAS.get(usize::from(*choice)) {
        return decode(schema, rest);
    }
    let split = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    let (head, tail) = rest.split_at(split);
    let Ok(head) = std::str::from_utf8(head) else {
        return;
    };
    if *choice == 3 {
        if let Ok(diff) = std::str::from_utf8(tail) {
            let _ = patch(head, diff.trim_start_matches('\0'));
        }
    } else if let Ok(schema) = EventSchema::compile(head) {
        decode(&schema, tail);
    }
}
