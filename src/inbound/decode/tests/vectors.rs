//! Events written by hand, byte by byte.

use super::*;
use crate::model::change::GapKind;

/// Writes Avro, so that a test reads as the event it is about.
#[derive(Default)]
struct Event(Vec<u8>);

impl Event {
    /// A header with an empty transaction key and user.
    fn header(kind: u8, changed: &[&str], nulled: &[&str], diffed: &[&str]) -> Self {
        let event = Self::default().text("Thing").texts(&["001000000000001AAA"]);
        let mut event = event
            .number(i64::from(kind))
            .text("api")
            .text("key")
            .number(7)
            .number(1_000)
            .number(9);
        event = event.text("005");
        [nulled, diffed, changed]
            .into_iter()
            .fold(event, |event, list| event.texts(list))
    }

    fn number(mut self, number: i64) -> Self {
        let mut rest = (number << 1) ^ (number >> 63);
        while rest & !0x7f != 0 {
            self.0.push(rest as u8 | 0x80);
            rest = ((rest as u64) >> 7) as i64;
        }
        self.0.push(rest as u8);
        self
    }

    fn text(self, text: &str) -> Self {
        let mut event = self.number(text.len() as i64);
        event.0.extend(text.as_bytes());
        event
    }

    fn texts(self, texts: &[&str]) -> Self {
        if texts.is_empty() {
            return self.number(0);
        }
        let event = self.number(texts.len() as i64);
        texts.iter().fold(event, |event, text| event.text(text)).number(0)
    }

    /// A branch of a union and its text.
    fn some(self, branch: i64, text: &str) -> Self {
        self.number(branch).text(text)
    }

    fn null(self, count: usize) -> Self {
        (0..count).fold(self, |event, _| event.number(0))
    }
}

const CREATE: u8 = 0;
const UPDATE: u8 = 1;
const DELETE: u8 = 2;
const UNDELETE: u8 = 3;
const GAP_UPDATE: u8 = 5;

#[test]
fn the_header_is_read() {
    let schema = EventSchema::compile(CONTACT).unwrap();
    let event = Event::header(GAP_UPDATE, &[], &[], &[]).null(7);
    let mut change = Change::default();
    schema.decode(&event.0, &mut change).unwrap();
    let header = &change.header;
    assert_eq!((schema.entity(), header.entity.as_str()), ("Contact", "Thing"));
    assert_eq!(header.record_ids, ["001000000000001AAA"]);
    assert_eq!(header.kind, ChangeKind::Gap(GapKind::Update));
    assert_eq!(
        [header.origin, header.transaction_key, header.commit_user],
        ["api", "key", "005"]
    );
    assert_eq!(
        (
            header.sequence_number,
            header.commit_timestamp,
            header.commit_number
        ),
        (7, 1_000, 9)
    );
    assert_eq!(change.says().count(), 0);
}

#[test]
fn an_update_says_what_its_bitmaps_name() {
    // Contact: 1 Name {Salutation FirstName LastName}, 2 Email, 3 MailingAddress, 4.. stamps.
    let schema = EventSchema::compile(CONTACT).unwrap();
    let event = Event::header(UPDATE, &["0x04", "1-0x02", "3-0x03"], &["3-0x02"], &[]);
    let event = event.number(1).null(1).some(1, "Ana").null(1); // Name
    let event = event.null(1); // Email: changed, null
    let event = event.number(1).some(1, "1 High St").null(9); // MailingAddress
    let event = event.number(1).number(5).null(3); // CreatedDate: not listed
    let mut change = Change::default();
    schema.decode(&event.0, &mut change).unwrap();
    let expected = [
        ("FirstName", Value::Text("Ana".into())),
        ("Email", Value::Null),
        ("MailingStreet", Value::Text("1 High St".into())),
        ("MailingCity", Value::Null),
        ("CreatedDate", Value::DateTime(5)),
    ];
    assert_eq!(
        said(&schema, &change),
        expected.map(|(name, value)| (name.to_owned(), value))
    );
    let unlisted: Vec<_> = change
        .says()
        .filter(|(leaf, _)| !change.is_listed(*leaf))
        .collect();
    assert_eq!(unlisted.len(), 1);
    assert!(change.name_parts_changed());
    assert_eq!(paths(&schema, change.nulled()), ["MailingAddress.City"]);
}

#[test]
fn a_first_entry_may_be_nested_and_a_whole_compound_may_be_named() {
    let schema = EventSchema::compile(CONTACT).unwrap();
    let body = |event: Event| event.null(7).0;
    let cases = [
        (vec!["3-0x0180"], vec!["MailingLatitude", "MailingLongitude"]),
        (vec!["0x02"], vec!["Salutation", "FirstName", "LastName"]),
        (vec!["0x0040"], vec!["LastModifiedDate"]),
        (vec!["0x01"], vec![]),
        (vec![], vec![]),
    ];
    for (bitmaps, expected) in cases {
        let payload = body(Event::header(UPDATE, &bitmaps, &[], &[]));
        let mut change = Change::default();
        schema.decode(&payload, &mut change).unwrap();
        let names: Vec<String> = said(&schema, &change).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, expected, "{bitmaps:?}");
    }
}

#[test]
fn bitmaps_that_do_not_fit_are_refused_with_the_header_read() {
    let schema = EventSchema::compile(CONTACT).unwrap();
    for bitmap in ["0x0100", "2-0x01", "9-0x01", "1-0x08", "0x2", "Email", "0-0x01"] {
        let payload = Event::header(UPDATE, &[bitmap], &[], &[]).null(7).0;
        let mut change = Change::default();
        let error = schema.decode(&payload, &mut change).unwrap_err();
        assert_eq!(error, DecodeError::Bitmap(bitmap.to_owned()));
        assert_eq!(change.header.record_ids, ["001000000000001AAA"]);
    }
}

#[test]
fn a_name_is_plain_text_or_parts() {
    let schema = EventSchema::compile(ACCOUNT).unwrap();
    let rest = schema.body.steps.len() - 1;
    let decode = |event: Event, parts_changed: bool, expected: &[(&str, Value<'_>)]| {
        let payload = event.null(rest).0;
        let mut change = Change::default();
        schema.decode(&payload, &mut change).unwrap();
        let said = said(&schema, &change);
        let said: Vec<_> = said.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(said, expected);
        assert_eq!(change.name_parts_changed(), parts_changed);
    };
    let text = |text: &'static str| Value::Text(text.into());
    decode(
        Event::header(UPDATE, &["0x02"], &[], &[]).some(1, "Acme"),
        false,
        &[("Name", text("Acme"))],
    );
    let person = || Event::header(UPDATE, &["1-0x06"], &[], &[]).number(2).null(1);
    decode(
        person().some(1, "Ana").some(1, "Lee").null(3),
        true,
        &[("FirstName", text("Ana")), ("LastName", text("Lee"))],
    );
    decode(
        Event::header(UPDATE, &["1-0x01"], &[], &[])
            .number(2)
            .some(1, "Dr")
            .null(5),
        false,
        &[("Salutation", text("Dr"))],
    );
}

#[test]
fn created_and_undeleted_records_say_every_field_and_deleted_ones_none() {
    let schema = EventSchema::compile(CONTACT).unwrap();
    let event = |kind| {
        let event = Event::header(kind, &[], &[], &[]);
        event.null(1).some(1, "a@b.c").null(5).0
    };
    let (create, undelete, delete) = (event(CREATE), event(UNDELETE), event(DELETE));
    let mut change = Change::default();
    for (payload, kind) in [(&create, "CREATE"), (&undelete, "UNDELETE")] {
        schema.decode(payload, &mut change).unwrap();
        assert_eq!(change.says().count(), schema.fields().len(), "{kind}");
        let filled = change.says().filter(|(_, value)| *value != Value::Null);
        assert_eq!(filled.count(), 1, "{kind}");
    }
    schema.decode(&delete, &mut change).unwrap();
    assert_eq!(change.says().count(), 0);
    assert_eq!(change.values().len(), 1);
}

#[test]
fn a_difference_is_not_a_value() {
    let schema = EventSchema::compile(PRODUCT).unwrap();
    let event = Event::header(UPDATE, &["0x0A"], &[], &["0x08"])
        .some(1, "Tea")
        .null(1)
        .some(1, "--- ")
        .null(42);
    let mut change = Change::default();
    schema.decode(&event.0, &mut change).unwrap();
    assert_eq!(
        said(&schema, &change),
        [("Name".to_owned(), Value::Text("Tea".into()))]
    );
    assert!(change.has_diff());
    assert_eq!(paths(&schema, change.diffed()), ["Description"]);
}

#[test]
fn bytes_left_over_or_missing_are_refused() {
    let schema = EventSchema::compile(CONTACT).unwrap();
    let whole = Event::header(CREATE, &[], &[], &[])
        .null(1)
        .some(1, "a@b.c")
        .null(5)
        .0;
    let mut longer = whole.clone();
    longer.push(0);
    let mut change = Change::default();
    assert!(matches!(
        schema.decode(&longer, &mut change),
        Err(DecodeError::Malformed { .. })
    ));
    for length in 0..whole.len() {
        let mut change = Change::default();
        assert!(
            schema.decode(&whole[..length], &mut change).is_err(),
            "{length} bytes"
        );
    }
}

#[test]
fn an_unknown_kind_of_change_names_its_records() {
    let schema = EventSchema::compile(&CONTACT.replace("\"SNAPSHOT\"", "\"MERGE\"")).unwrap();
    let payload = Event::header(9, &[], &[], &[]).null(7).0;
    let mut change = Change::default();
    let error = schema.decode(&payload, &mut change).unwrap_err();
    assert_eq!(error, DecodeError::UnknownChangeType("MERGE".to_owned()));
    assert_eq!(change.header.record_ids, ["001000000000001AAA"]);
    let payload = Event::header(10, &[], &[], &[]).null(7).0;
    let mut change = Change::default();
    assert!(matches!(
        schema.decode(&payload, &mut change),
        Err(DecodeError::Malformed { .. })
    ));
}

#[test]
fn values_that_no_column_holds_are_passed_over() {
    let text = contact_and(
        r#"[{"name": "Bag", "type": ["null", {"type": "map", "values": ["null", "long"]}]},
        {"name": "Raw", "type": {"type": "fixed", "name": "Four", "size": 4}},
        {"name": "Deep", "type": ["null", {"type": "record", "name": "Deep", "fields": [
            {"name": "List", "type": {"type": "array", "items": "bytes"}},
            {"name": "Ratio", "type": "float"}]}]},
        {"name": "Last", "type": ["string", "null"]}]"#,
    );
    let schema = EventSchema::compile(&text).unwrap();
    let mut event = Event::header(CREATE, &[], &[], &[]).null(7);
    event = event
        .number(1)
        .number(2)
        .text("a")
        .null(1)
        .text("b")
        .number(1)
        .number(-5)
        .number(0); // Bag
    event.0.extend([1, 2, 3, 4]); // Raw
    event = event.number(1).number(1).text("xy").number(0); // Deep.List
    event.0.extend(1.5f32.to_le_bytes()); // Deep.Ratio
    event = event.some(0, "end"); // Last
    let mut change = Change::default();
    schema.decode(&event.0, &mut change).unwrap();
    let values: Vec<_> = change
        .values()
        .iter()
        .map(|(leaf, value)| (&*schema.fields()[*leaf].path, *value))
        .collect();
    assert_eq!(
        values,
        [
            ("Deep.Ratio", Value::Real(1.5)),
            ("Last", Value::Text("end".into()))
        ]
    );
}

#[test]
fn a_schema_of_something_else_is_refused() {
    let cases = [
        "\"string\"".to_owned(),
        CONTACT.replace("ContactChangeEvent", "Contact"),
        CONTACT.replace("ContactChangeEvent", "ChangeEvent"),
        CONTACT.replacen("\"ChangeEventHeader\"", "\"Header\"", 1),
        CONTACT.replace("recordIds", "ids"),
        CONTACT.replacen("\"int\"", "\"string\"", 1),
        r#"{"type": "record", "name": "AChangeEvent", "fields": []}"#.to_owned(),
    ];
    for text in cases {
        assert!(EventSchema::compile(&text).is_err(), "{text}");
    }
    let custom = CONTACT.replace("ContactChangeEvent", "s_c__Store__ChangeEvent");
    assert_eq!(EventSchema::compile(&custom).unwrap().entity(), "s_c__Store__c");
}

#[test]
fn types_that_hold_themselves_end() {
    // Each level holds two of the next: 2^25 values in no bytes at all.
    let mut levels = r#"{"type": "record", "name": "L25", "fields": []}"#.to_owned();
    for level in (0..25).rev() {
        let next = level + 1;
        levels = format!(
            r#"{{"type": "record", "name": "L{level}", "fields":
            [{{"name": "a", "type": {levels}}}, {{"name": "b", "type": "L{next}"}}]}}"#
        );
    }
    let itself = r#"{"type": "record", "name": "Loop", "fields": [{"name": "a", "type": "Loop"}]}"#;
    for odd in [&levels, itself] {
        let text = contact_and(&format!(r#"[{{"name": "Odd", "type": {odd}}}]"#));
        let schema = EventSchema::compile(&text).unwrap();
        let payload = Event::header(CREATE, &[], &[], &[]).null(7).0;
        let error = schema.decode(&payload, &mut Change::default()).unwrap_err();
        assert!(error.to_string().contains("nested too deep"), "{error}");
    }
}

/// The contact's schema with more fields at its end.
fn contact_and(fields: &str) -> String {
    let mut schema: serde_json::Value = serde_json::from_str(CONTACT).unwrap();
    let more: Vec<serde_json::Value> = serde_json::from_str(fields).unwrap();
    schema["fields"].as_array_mut().unwrap().extend(more);
    schema.to_string()
}
