//! The door, driven from outside: real files, real events in Avro, answers as the stages get them.

use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use rusqlite::Connection;
use serde_json::json;

use super::queue::{Finished, Written};
use super::record::Record;
use super::*;
use crate::inbound::command::{Events, Packed, RepairedRow};
use crate::inbound::prepare;
use crate::model::change::{RawEvent, ReplayId};
use crate::model::row::{Column, ColumnKind, Table};
use crate::store::cache::fields::Evolved;
use crate::store::cache::{proofs, repairs};
use crate::store::reader::Reader;

const TOPIC: &str = "/data/ChangeEvents";
const ID: &str = "01t000000000001AAA";
const OTHER: &str = "01t000000000002AAA";
/// 2026-11-22T09:30:00.000Z
const T0: Millis = 1_795_339_800_000;
const CREATE: i64 = 0;
const UPDATE: i64 = 1;
const DELETE: i64 = 2;
const GAP_UPDATE: i64 = 5;
const GAP_OVERFLOW: i64 = 8;

fn table(object: &str, columns: &[(&str, ColumnKind)]) -> Table {
    let column = |(field, kind): &(&str, ColumnKind)| Column {
        field: (*field).to_owned(),
        name: field.to_ascii_lowercase(),
        kind: *kind,
    };
    Table {
        object: object.to_owned(),
        name: object.to_ascii_lowercase(),
        columns: columns.iter().map(column).collect(),
    }
}

fn tables() -> Vec<Table> {
    use ColumnKind::{Boolean, DateTime, Real, Text};
    vec![
        table(
            "Product2",
            &[
                ("Name", Text),
                ("Price__c", Real),
                ("Active__c", Boolean),
                ("IsDeleted", Boolean),
                ("LastModifiedDate", DateTime),
                ("SystemModstamp", DateTime),
            ],
        ),
        table(
            "Contact",
            &[
                ("Name", Text),
                ("FirstName", Text),
                ("LastName", Text),
                ("Email", Text),
            ],
        ),
    ]
}

fn schema(event: &str, fields: &str) -> String {
    let text = |name: &str| format!(r#"{{"name":"{name}","type":"string"}}"#);
    let list = |name: &str| format!(r#"{{"name":"{name}","type":{{"type":"array","items":"string"}}}}"#);
    let symbols =
        "CREATE,UPDATE,DELETE,UNDELETE,GAP_CREATE,GAP_UPDATE,GAP_DELETE,GAP_UNDELETE,GAP_OVERFLOW,SNAPSHOT";
    let symbols = symbols
        .split(',')
        .map(|symbol| format!("\"{symbol}\""))
        .collect::<Vec<_>>()
        .join(",");
    let header = [
        text("entityName"),
        list("recordIds"),
        format!(
            r#"{{"name":"changeType","type":{{"type":"enum","name":"ChangeType","symbols":[{symbols}]}}}}"#
        ),
        text("changeOrigin"),
        text("transactionKey"),
        r#"{"name":"sequenceNumber","type":"int"}"#.to_owned(),
        r#"{"name":"commitTimestamp","type":"long"}"#.to_owned(),
        r#"{"name":"commitNumber","type":"long"}"#.to_owned(),
        text("commitUser"),
        list("nulledFields"),
        list("diffFields"),
        list("changedFields"),
    ]
    .join(",");
    format!(
        r#"{{"type":"record","name":"{event}","namespace":"com.sforce.eventbus","fields":[{{"name":"ChangeEventHeader","type":{{"type":"record","name":"ChangeEventHeader","fields":[{header}]}}}},{fields}]}}"#
    )
}

fn product_schema() -> String {
    schema(
        "Product2ChangeEvent",
        r#"{"name":"Name","type":["null","string"],"doc":"Data:Text:00N","default":null},
        {"name":"Price__c","type":["null","double"],"doc":"Data:Currency:00N","default":null},
        {"name":"Active__c","type":["null","boolean"],"doc":"Data:Boolean:00N","default":null},
        {"name":"LastModifiedDate","type":["null","long"],"doc":"Data:DateTime:00N","default":null}"#,
    )
}

fn contact_schema() -> String {
    let part = |name: &str| format!(r#"{{"name":"{name}","type":["null","string"],"default":null}}"#);
    let parts = ["Salutation", "FirstName", "LastName"].map(part).join(",");
    schema(
        "ContactChangeEvent",
        &format!(
            r#"{{"name":"Name","type":["null",{{"type":"record","name":"PersonName","fields":[{parts}]}}],"doc":"Data:PersonName","default":null}},{}"#,
            part("Email")
        ),
    )
}

fn long(into: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest > 0x7f {
        into.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    into.push(rest as u8);
}

fn text(into: &mut Vec<u8>, text: &str) {
    long(into, text.len() as i64);
    into.extend_from_slice(text.as_bytes());
}

fn list(into: &mut Vec<u8>, items: &[&str]) {
    if !items.is_empty() {
        long(into, items.len() as i64);
        items.iter().for_each(|item| text(into, item));
    }
    long(into, 0);
}

/// An event being made: bits of a mask count fields, the header being 0.
struct Event<'e> {
    entity: &'e str,
    ids: &'e [&'e str],
    kind: i64,
    committed: Millis,
    changed: &'e [&'e str],
    nulled: &'e [&'e str],
    diffed: &'e [&'e str],
    body: Vec<u8>,
}

impl Default for Event<'_> {
    fn default() -> Self {
        Self {
            entity: "Product2",
            ids: &[ID],
            kind: CREATE,
            committed: T0,
            changed: &[],
            nulled: &[],
            diffed: &[],
            body: product(None, None, None, None),
        }
    }
}

impl Event<'_> {
    fn raw(&self, replay: u8, event_id: &str) -> RawEvent {
        let mut payload = Vec::new();
        text(&mut payload, self.entity);
        list(&mut payload, self.ids);
        long(&mut payload, self.kind);
        text(&mut payload, "");
        text(&mut payload, "key");
        long(&mut payload, 1);
        long(&mut payload, self.committed);
        long(&mut payload, 7);
        text(&mut payload, "005");
        list(&mut payload, self.nulled);
        list(&mut payload, self.diffed);
        list(&mut payload, self.changed);
        payload.extend_from_slice(&self.body);
        RawEvent {
            replay_id: ReplayId(Bytes::from(vec![replay])),
            event_id: event_id.to_owned(),
            schema_id: self.entity.to_owned(),
            payload: payload.into(),
            redacted: Vec::new(),
        }
    }
}

fn product(
    name: Option<&str>,
    price: Option<f64>,
    active: Option<bool>,
    modified: Option<Millis>,
) -> Vec<u8> {
    let mut body = Vec::new();
    let mut union = |bytes: Option<Vec<u8>>| match bytes {
        None => body.push(0),
        Some(bytes) => {
            body.push(2);
            body.extend(bytes);
        }
    };
    let encode = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        write(&mut bytes);
        bytes
    };
    union(name.map(|name| encode(&|into| text(into, name))));
    union(price.map(|price| price.to_le_bytes().to_vec()));
    union(active.map(|active| vec![u8::from(active)]));
    union(modified.map(|modified| encode(&|into| long(into, modified))));
    body
}

fn contact(first: Option<&str>, last: Option<&str>, email: Option<&str>) -> Vec<u8> {
    let mut body = vec![2, 0];
    for (position, part) in [first, last, email].into_iter().enumerate() {
        // The parts stand inside the record; the address after it.
        let _ = position;
        match part {
            None => body.push(0),
            Some(part) => {
                body.push(2);
                text(&mut body, part);
            }
        }
    }
    body
}

/// An apply stage at work on a directory.
struct Door {
    dir: Arc<tempfile::TempDir>,
    queue: Option<Queue>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
    bells: Bells,
}

impl Door {
    fn new() -> Self {
        Self::open(Arc::new(tempfile::tempdir().unwrap()))
    }

    /// Objects without change events.
    fn polled() -> Self {
        Self::kept_by(Arc::new(tempfile::tempdir().unwrap()), false)
    }

    fn open(dir: Arc<tempfile::TempDir>) -> Self {
        Self::kept_by(dir, true)
    }

    fn kept_by(dir: Arc<tempfile::TempDir>, streamed: bool) -> Self {
        let mut cache = Cache::open(dir.path()).unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        let planned = tables().into_iter().map(|table| Planned {
            streamed,
            ..Planned::from(table)
        });
        prepare::mirror(&mut cache, &planned.collect::<Vec<_>>(), T0).unwrap();
        let bells = Bells::new(cache.rev());
        let (queue, requests) = queue();
        let rung = bells.clone();
        let clock = Clock::Manual(Arc::new(T0.into()));
        let thread = std::thread::spawn(move || run(cache, journal, requests, &clock, &rung));
        Self {
            dir,
            queue: Some(queue),
            thread: Some(thread),
            bells,
        }
    }

    /// A door whose objects are loaded and empty.
    fn live() -> Self {
        let door = Self::new();
        for table in tables() {
            let load = door.begin(&table.object);
            door.finish(&table.object, load.run);
        }
        door
    }

    fn close(mut self) -> Arc<tempfile::TempDir> {
        self.queue = None;
        self.thread.take().unwrap().join().unwrap().unwrap();
        Arc::clone(&self.dir)
    }

    fn apply(&self, command: Command) -> Outcome {
        let queue = self.queue.as_ref().unwrap();
        queue.begin_blocking(command).unwrap().blocking_recv().unwrap()
    }

    fn write(&self, command: Command) -> Written {
        self.apply(command).written().unwrap()
    }

    fn begin(&self, object: &str) -> Load {
        let begun = self.apply(Command::BeginLoad {
            object: object.to_owned(),
            watermark: T0,
            asked: None,
        });
        begun.load().unwrap()
    }

    fn change(&self, planned: Planned) -> Evolved {
        self.apply(Command::Changed { planned }).evolved().unwrap()
    }

    fn page(&self, object: &str, run: u64, csv: &str) -> Written {
        let csv = Bytes::from(csv.to_owned());
        self.write(Command::Page(Page {
            object: object.to_owned(),
            run,
            packed: Some(Packed::csv(&csv)),
            csv: Some(csv),
            place: None,
        }))
    }

    fn finish(&self, object: &str, run: u64) -> usize {
        let finished = self.apply(Command::FinishLoad {
            object: object.to_owned(),
            run,
            rows: None,
            answer: None,
        });
        match finished {
            Outcome::Finished(Finished::Swept(rows)) => rows,
            other => panic!("the load ended with {other:?}"),
        }
    }

    fn repaired(&self, read_rev: i64, rows: Vec<RepairedRow>) {
        self.apply(Command::Repaired {
            object: "Product2".to_owned(),
            read_rev,
            rows: Some(rows),
        });
    }

    fn events(&self, events: Vec<RawEvent>) {
        self.response(Events {
            events: events.into(),
            ..Events::default()
        });
    }

    fn response(&self, response: Events) {
        let schemas = [
            ("Product2".to_owned(), product_schema()),
            ("Contact".to_owned(), contact_schema()),
            ("broken".to_owned(), "{".to_owned()),
        ];
        let schemas = schemas.map(Schema::from).into();
        self.apply(Command::Events(Events {
            topic: TOPIC.into(),
            schemas,
            ..response
        }));
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> T {
        Reader::new(self.dir.path()).with(read).unwrap()
    }

    /// A query's rows, each as its values joined by `|`.
    fn rows(&self, sql: &str) -> Vec<String> {
        self.read(|connection| {
            let mut statement = connection.prepare(sql)?;
            let columns = statement.column_count();
            let row = |row: &rusqlite::Row<'_>| {
                let value = |column| row.get::<_, rusqlite::types::Value>(column);
                let values: Result<Vec<String>, _> =
                    (0..columns).map(|column| value(column).map(shown)).collect();
                values.map(|values| values.join("|"))
            };
            statement.query_map([], row)?.collect()
        })
    }

    fn products(&self) -> Vec<String> {
        self.rows("select id, name, price__c, active__c from product2 order by id")
    }

    fn open_repairs(&self) -> Vec<String> {
        self.rows("select object, record_id, reason from _repair where closed_at is null and kind = 'record' order by number")
    }
}

fn shown(value: rusqlite::types::Value) -> String {
    match value {
        rusqlite::types::Value::Null => "null".to_owned(),
        rusqlite::types::Value::Integer(number) => number.to_string(),
        rusqlite::types::Value::Real(number) => format!("{number:?}"),
        rusqlite::types::Value::Text(text) => text,
        rusqlite::types::Value::Blob(blob) => format!("{blob:?}"),
    }
}

fn created() -> Event<'static> {
    Event {
        body: product(Some("Tea"), Some(4.5), Some(true), Some(T0)),
        ..Event::default()
    }
}

#[test]
fn an_event_touches_what_it_says_and_no_more() {
    let door = Door::live();
    door.events(vec![created().raw(1, "a")]);
    assert_eq!(door.products(), [format!("{ID}|Tea|4.5|1")]);
    assert_eq!(
        door.rows("select isdeleted, lastmodifieddate, systemmodstamp, _modified, _base from product2"),
        ["0|2026-11-22T09:30:00.000Z|2026-11-22T09:30:00.000Z|2026-11-22T09:30:00.000Z|0"]
    );
    // Name and price; the price is nulled; Active__c is null because it did not change.
    let update = Event {
        kind: UPDATE,
        committed: T0 + 1_000,
        changed: &["0x06"],
        nulled: &["0x04"],
        body: product(Some("Green tea"), None, None, None),
        ..Event::default()
    };
    // Twice each, since a shape's statement is kept from the second time on.
    door.events(vec![update.raw(2, "b"), update.raw(3, "c"), update.raw(4, "d")]);
    assert_eq!(door.products(), [format!("{ID}|Green tea|null|1")]);
    // A value outside the mask may be taken.
    let formula = Event {
        kind: UPDATE,
        committed: T0 + 2_000,
        changed: &["0x02"],
        body: product(Some("Tea"), Some(9.0), None, None),
        ..Event::default()
    };
    door.events(vec![formula.raw(5, "e")]);
    assert_eq!(door.products(), [format!("{ID}|Tea|9.0|1")]);
    door.events(vec![
        Event {
            kind: DELETE,
            committed: T0 + 3_000,
            ..Event::default()
        }
        .raw(6, "f"),
    ]);
    assert_eq!(door.products(), [""; 0]);
    let kinds = door.rows("select kind from _change where record_id is not null order by rev");
    assert_eq!(
        kinds,
        ["created", "updated", "updated", "updated", "updated", "deleted"]
    );
    assert_eq!(
        door.rows("select rows from _object where object = 'Product2'"),
        ["0"]
    );
    assert_eq!(door.open_repairs(), [""; 0]);
}

#[test]
fn a_duplicate_changes_nothing_even_after_a_restart() {
    let door = Door::live();
    door.events(vec![created().raw(1, "a"), created().raw(2, "a")]);
    let rev = *door.bells.rev.borrow();
    let door = Door::open(door.close());
    door.events(vec![created().raw(9, "a")]);
    assert_eq!(*door.bells.rev.borrow(), rev);
    assert_eq!(door.rows("select hex(last_seen) from _cursor"), ["09"]);
    // Split from one event: one id, other records.
    door.events(vec![
        Event {
            ids: &[OTHER],
            ..created()
        }
        .raw(9, "a"),
    ]);
    assert_eq!(door.products().len(), 2);
}

#[test]
fn an_event_before_the_read_is_part_of_the_row_already() {
    let door = Door::live();
    let load = door.begin("Product2");
    let csv = format!("Id,Name,SystemModstamp\n{ID},New,2026-11-22T09:30:10.000Z\n");
    door.page("Product2", load.run, &csv).unwrap();
    door.finish("Product2", load.run);
    let update = |committed, name| Event {
        kind: UPDATE,
        committed,
        changed: &["0x02"],
        body: product(Some(name), None, None, None),
        ..Event::default()
    };
    door.events(vec![update(T0, "Old").raw(1, "a")]);
    assert_eq!(door.rows("select name from product2"), ["New"]);
    door.events(vec![
        Event {
            kind: DELETE,
            ..Event::default()
        }
        .raw(2, "b"),
    ]);
    assert_eq!(door.rows("select name from product2"), ["New"]);
    door.events(vec![update(T0 + 10_000, "Newer").raw(3, "c")]);
    assert_eq!(door.rows("select name from product2"), ["Newer"]);
    assert_eq!(door.open_repairs(), [""; 0]);
}

#[test]
fn what_an_event_can_not_tell_is_read_again() {
    let door = Door::live();
    let update = Event {
        kind: UPDATE,
        changed: &["0x02"],
        body: product(Some("Tea"), None, None, None),
        ..Event::default()
    };
    let gap = Event {
        kind: GAP_UPDATE,
        ids: &[OTHER],
        ..Event::default()
    };
    let broken = RawEvent {
        payload: Bytes::from_static(b"\x02"),
        ..created().raw(3, "c")
    };
    let unknown = RawEvent {
        schema_id: "broken".to_owned(),
        ..created().raw(4, "d")
    };
    door.events(vec![update.raw(1, "a"), gap.raw(2, "b")]);
    let repairs = [
        format!("Product2|{ID}|updated, but not here"),
        format!("Product2|{OTHER}|gap: updated"),
    ];
    assert_eq!(door.open_repairs(), repairs);

    let due = door.read(|connection| repairs::due(connection, "Product2", 10));
    let row =
        json!({"Id": ID, "Name": "Tea", "Price__c": 4, "SystemModstamp": "2026-11-22T09:30:00.000+0000"});
    let row = row.as_object().unwrap().clone();
    let rev = *door.bells.rev.borrow();
    door.repaired(
        rev,
        vec![
            (due[0].number, ID.to_owned(), Some(row)),
            (due[1].number, OTHER.to_owned(), None),
        ],
    );
    assert_eq!(door.products(), [format!("{ID}|Tea|4.0|null")]);
    assert_eq!(
        door.rows("select found from _repair order by number"),
        ["missing here", "in neither"]
    );

    door.events(vec![
        broken,
        unknown,
        Event {
            ids: &[OTHER],
            ..created()
        }
        .raw(5, "e"),
    ]);
    assert_eq!(door.products().len(), 2, "the stream goes on");
    assert_eq!(
        door.rows("select count(*) from _repair where reason like 'undecodable%' and closed_at is null"),
        ["2"]
    );
    assert_eq!(
        door.rows("select state from _object where object = 'Product2'"),
        ["reload"]
    );
    let journal = Connection::open(door.dir.path().join("journal.db")).unwrap();
    let kept: i64 = journal
        .query_row("select count(*) from event", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 5);
}

#[test]
fn overflow_and_wildcard_have_the_object_read_again() {
    for (kind, ids) in [(GAP_OVERFLOW, ["000000000000000AAA"]), (UPDATE, ["01t*"])] {
        let door = Door::live();
        let event = Event {
            kind,
            ids: &ids,
            ..Event::default()
        };
        door.events(vec![event.raw(1, "a")]);
        assert_eq!(
            door.rows("select state from _object order by object"),
            ["live", "reload"]
        );
        // Asked for during a load: another follows.
        let load = door.begin("Product2");
        door.events(vec![event.raw(2, "b")]);
        door.finish("Product2", load.run);
        assert_eq!(
            door.rows("select state from _object order by object"),
            ["live", "reload"]
        );
        let load = door.begin("Product2");
        door.finish("Product2", load.run);
        assert_eq!(
            door.rows("select state from _object order by object"),
            ["live", "live"]
        );
    }
}

#[test]
fn a_difference_is_not_taken_for_the_text() {
    let door = Door::live();
    let update = Event {
        kind: UPDATE,
        committed: T0 + 1_000,
        changed: &["0x06"],
        diffed: &["0x02"],
        body: product(Some("--- \n+++ hash\n"), Some(5.0), None, None),
        ..Event::default()
    };
    door.events(vec![created().raw(1, "a"), update.raw(2, "b")]);
    assert_eq!(door.products(), [format!("{ID}|Tea|5.0|1")]);
    assert_eq!(
        door.open_repairs(),
        [format!("Product2|{ID}|a text's difference does not fit")]
    );
}

#[test]
fn names_are_built_from_their_parts() {
    let door = Door::live();
    let create = Event {
        entity: "Contact",
        body: contact(Some("Ana"), Some("Lee"), None),
        ..Event::default()
    };
    door.events(vec![create.raw(1, "a")]);
    assert_eq!(
        door.rows("select name, firstname, lastname from contact"),
        ["Ana Lee|Ana|Lee"]
    );
    let marries = Event {
        entity: "Contact",
        kind: UPDATE,
        committed: T0 + 1_000,
        changed: &["1-0x04"],
        body: contact(None, Some("Moss"), None),
        ..Event::default()
    };
    door.events(vec![marries.raw(2, "b")]);
    assert_eq!(
        door.rows("select name, firstname, lastname from contact"),
        ["Ana Moss|Ana|Moss"]
    );
}

#[test]
fn a_page_is_read_by_the_kind_of_each_column() {
    let door = Door::new();
    let load = door.begin("Product2");
    assert!(load.fresh);
    let csv = format!(
        "\"Id\",\"Name\",\"Price__c\",\"Active__c\",\"SystemModstamp\"\n\
         \"{ID}\",\"Tea, \"\"green\"\"\nloose\",\"9.12260031E8\",\"true\",\"2026-11-22T09:30:00.000Z\"\n\
         \"{OTHER}\",\"\",\"\",\"false\",\"2026-11-22T09:30:00.000+0000\"\n"
    );
    assert_eq!(door.page("Product2", load.run, &csv), Ok(2));
    assert_eq!(door.page("Product2", load.run, ""), Ok(0));
    assert!(door.page("Product2", load.run, "Name\nTea\n").is_err());
    assert!(door.page("Product2", load.run + 1, &csv).is_err());
    assert_eq!(door.finish("Product2", load.run), 0);
    assert_eq!(
        door.products(),
        [
            format!("{ID}|Tea, \"green\"\nloose|912260031.0|1"),
            format!("{OTHER}|null|null|0")
        ]
    );
    assert_eq!(
        door.rows("select systemmodstamp, _base from product2 where id = '01t000000000002AAA'"),
        [format!("2026-11-22T09:30:00.000Z|{T0}")]
    );
    assert_eq!(
        door.rows("select state, rows from _object where object = 'Product2'"),
        ["live|2"]
    );
    assert_eq!(door.rows("select kind, record_id from _change"), ["loaded|null"]);
}

#[test]
fn a_reload_removes_the_unseen_and_keeps_what_the_stream_touched() {
    let door = Door::live();
    let (gone, kept, touched) = ("01t00000000000GAAA", "01t00000000000KAAA", "01t00000000000TAAA");
    for (replay, id) in [(1, gone), (2, kept), (3, touched)] {
        door.events(vec![
            Event {
                ids: &[id],
                ..created()
            }
            .raw(replay, id),
        ]);
    }
    let before = door.rows("select id, _rev from product2 order by id");
    let load = door.begin("Product2");
    let changed = Event {
        kind: UPDATE,
        ids: &[touched],
        committed: T0 + 60_000,
        changed: &["0x02"],
        body: product(Some("Streamed"), None, None, None),
        ..Event::default()
    };
    let deleted = Event {
        kind: DELETE,
        ids: &[OTHER],
        committed: T0 + 60_000,
        ..Event::default()
    };
    door.events(vec![
        changed.raw(4, "u"),
        Event {
            ids: &[ID],
            ..created()
        }
        .raw(5, "c"),
        deleted.raw(6, "d"),
    ]);
    let row =
        |id, name| format!("{id},{name},4.5,true,false,2026-11-22T09:30:00.000Z,2026-11-22T09:30:00.000Z\n");
    let csv = format!(
        "Id,Name,Price__c,Active__c,IsDeleted,LastModifiedDate,SystemModstamp\n{}{}{}",
        row(kept, "Tea"),
        row(touched, "Stale"),
        row(OTHER, "Ghost")
    );
    assert_eq!(door.page("Product2", load.run, &csv), Ok(3));
    assert_eq!(door.finish("Product2", load.run), 1);
    assert_eq!(
        door.rows("select id, name from product2 order by id"),
        [
            format!("{ID}|Tea"),
            format!("{OTHER}|Ghost"),
            format!("{kept}|Tea"),
            format!("{touched}|Streamed")
        ]
    );
    // The row that is the same keeps its revision.
    assert!(
        door.rows("select id, _rev from product2").contains(&before[1]),
        "{before:?}"
    );
    // What a page and the stream disagree on is read again, and so is what was deleted meanwhile.
    assert_eq!(
        door.open_repairs(),
        [
            format!("Product2|{OTHER}|deleted while the object was read"),
            format!("Product2|{touched}|changed while the object was read")
        ]
    );
}

#[test]
fn a_reload_by_rest_keeps_the_rows_that_it_saw() {
    let door = Door::live();
    for (replay, id) in [(1, ID), (2, OTHER)] {
        let made = Event {
            ids: &[id],
            ..created()
        };
        door.events(vec![made.raw(replay, id)]);
    }
    let row = json!({"Id": ID, "Name": "Tea", "SystemModstamp": "2026-11-22T09:30:00.000+0000"});
    // The second time nothing has changed.
    for gone in [1, 0] {
        let load = door.begin("Product2");
        let read = door.write(Command::rows(
            "Product2".to_owned(),
            Source::Load { run: load.run },
            vec![row.as_object().unwrap().clone()],
        ));
        assert!(read.is_ok(), "{read:?}");
        assert_eq!(door.finish("Product2", load.run), gone);
    }
    assert_eq!(door.rows("select id from product2"), [ID]);
}

#[test]
fn a_repair_that_was_overtaken_is_not_believed() {
    let door = Door::live();
    let gap = Event {
        kind: GAP_UPDATE,
        ..Event::default()
    };
    door.events(vec![created().raw(1, "a"), gap.raw(2, "b")]);
    let read_rev = *door.bells.rev.borrow();
    let number = door.read(|connection| repairs::due(connection, "Product2", 1))[0].number;
    let row = json!({"Id": ID, "Name": "Stale", "SystemModstamp": "2026-11-22T09:30:00.000Z"});
    let row = row.as_object().unwrap().clone();
    door.events(vec![
        Event {
            kind: DELETE,
            committed: T0 + 1_000,
            ..Event::default()
        }
        .raw(3, "c"),
    ]);
    door.repaired(read_rev, vec![(number, ID.to_owned(), Some(row.clone()))]);
    assert_eq!(door.products(), [""; 0], "a deleted row does not come back");
    assert_eq!(door.open_repairs().len(), 1);

    door.events(vec![
        Event {
            committed: T0 + 2_000,
            ..created()
        }
        .raw(4, "d"),
    ]);
    let number = door.read(|connection| repairs::due(connection, "Product2", 1))[0].number;
    door.repaired(read_rev, vec![(number, ID.to_owned(), Some(row))]);
    assert_eq!(door.rows("select name from product2"), ["Tea"]);
    assert_eq!(door.open_repairs().len(), 1, "it is read once more");
}

#[test]
fn a_poll_writes_what_changed_and_moves_the_watermark() {
    let door = Door::live();
    let row = |id: &str, name: &str, deleted: bool, second: u32| {
        let stamp = format!("2026-11-22T09:30:{second:02}.000+0000");
        json!({"Id": id, "Name": name, "IsDeleted": deleted, "SystemModstamp": stamp})
            .as_object()
            .unwrap()
            .clone()
    };
    let poll = |rows, watermark| {
        let source = Source::Poll {
            read_rev: *door.bells.rev.borrow(),
            watermark: Some(watermark),
            proved: None,
        };
        door.write(Command::rows("Product2".to_owned(), source, rows))
            .unwrap()
    };
    poll(
        vec![row(ID, "Tea", false, 1), row(OTHER, "Mug", false, 2)],
        T0 + 2_000,
    );
    let rev = *door.bells.rev.borrow();
    poll(
        vec![row(ID, "Tea", false, 1), row(OTHER, "Mug", false, 2)],
        T0 + 2_000,
    );
    assert_eq!(*door.bells.rev.borrow(), rev, "the overlap changes nothing");
    poll(
        vec![row(OTHER, "Mug", true, 3), row(ID, "Coffee", false, 4)],
        T0 + 4_000,
    );
    assert_eq!(door.products(), [format!("{ID}|Coffee|null|null")]);
    assert_eq!(
        door.rows("select watermark, rows from _object where object = 'Product2'"),
        [format!("{}|1", T0 + 4_000)]
    );
}

/// Of which seconds after `T0` it is proved that all before them is here, and whether the object is complete.
fn proved(door: &Door, object: &str) -> Option<(i64, bool)> {
    let now = Moment { wall: T0, boot: T0 };
    let known = Reader::new(door.dir.path())
        .with(|cache| proofs::known(cache, &[], now))
        .unwrap();
    let known = &known[object];
    Some(((known.proved?.boot - T0) / 1_000, known.complete))
}

fn seconds_after(seconds: i64) -> Option<Moment> {
    let instant = T0 + seconds * 1_000;
    Some(Moment {
        wall: instant,
        boot: instant,
    })
}

fn begin_asked(door: &Door, seconds: i64) -> Load {
    let begun = door.apply(Command::BeginLoad {
        object: "Product2".to_owned(),
        watermark: T0,
        asked: seconds_after(seconds),
    });
    begun.load().unwrap()
}

fn heard(door: &Door, seconds: i64, events: Vec<RawEvent>) {
    door.response(Events {
        events: events.into(),
        heard: seconds_after(seconds),
        objects: vec!["Product2".to_owned()].into(),
        ..Events::default()
    });
}

#[test]
fn a_stream_proves_a_time_before_its_responses() {
    let door = Door::new();
    let first = begin_asked(&door, 100);
    assert_eq!(proved(&door, "Product2"), None);
    heard(&door, 150, Vec::new());
    assert_eq!(
        proved(&door, "Product2"),
        Some((90, false)),
        "no stream completes"
    );
    door.finish("Product2", first.run);
    assert_eq!(
        proved(&door, "Product2"),
        Some((90, true)),
        "more than the load proved"
    );
    heard(&door, 200, Vec::new());
    heard(&door, 200, Vec::new());
    assert_eq!(
        proved(&door, "Product2"),
        Some((140, true)),
        "a minute before it came, on a road that is not known"
    );
    door.response(Events {
        events: [created().raw(1, "a")].into(),
        objects: vec!["Product2".to_owned()].into(),
        ..Events::default()
    });
    assert_eq!(
        proved(&door, "Product2"),
        Some((140, true)),
        "to come is no proof"
    );
}

#[test]
fn an_event_of_a_backlog_proves_no_more_than_its_own_age() {
    let door = Door::new();
    let first = begin_asked(&door, 100);
    door.finish("Product2", first.run);
    let hour = 3_600;
    // Back after an hour: what comes first was committed when it went away, and the rest is still to come.
    let old = |replay, id: &'static str, seconds: i64| {
        let event = Event {
            committed: T0 + seconds * 1_000,
            ..created()
        };
        event.raw(replay, id)
    };
    heard(&door, hour + 200, vec![old(1, "a", 200)]);
    assert_eq!(proved(&door, "Product2"), Some((200, true)));
    heard(&door, hour + 202, vec![old(2, "b", 1_800)]);
    assert_eq!(proved(&door, "Product2"), Some((1_800, true)));
    heard(&door, hour + 204, Vec::new());
    assert_eq!(
        proved(&door, "Product2"),
        Some((hour + 144, true)),
        "nothing is left, and nothing of the backlog counts as the road's"
    );
}

#[test]
fn nothing_is_proved_before_what_was_missed_is_read() {
    let door = Door::new();
    let first = begin_asked(&door, 100);
    door.finish("Product2", first.run);
    // What an overflow left out, until the object was read.
    let lost = Event {
        kind: GAP_OVERFLOW,
        ids: &["000000000000000AAA"],
        ..Event::default()
    };
    heard(&door, 300, vec![lost.raw(2, "b")]);
    let again = begin_asked(&door, 320);
    heard(&door, 400, Vec::new());
    assert_eq!(proved(&door, "Product2"), Some((70, true)));
    door.finish("Product2", again.run);
    assert_eq!(
        proved(&door, "Product2"),
        Some((290, true)),
        "half a minute before it was asked for"
    );
    // What came while the position was lost, until that was read.
    door.events(vec![created().raw(3, "c")]);
    door.apply(Command::Lost {
        topic: TOPIC.into(),
        objects: vec!["Product2".to_owned()],
    });
    heard(&door, 500, Vec::new());
    assert_eq!(proved(&door, "Product2"), Some((290, true)));
    let number = door.rows("select number from _repair where kind = 'catch_up' and closed_at is null");
    door.apply(Command::CaughtUp {
        object: "Product2".to_owned(),
        number: number[0].parse().unwrap(),
        rows: 0,
        asked: seconds_after(510),
    });
    assert_eq!(proved(&door, "Product2"), Some((480, true)));
}

#[test]
fn a_polled_object_is_complete_once_it_was_polled() {
    let door = Door::polled();
    let load = begin_asked(&door, 100);
    door.finish("Product2", load.run);
    assert_eq!(proved(&door, "Product2"), Some((70, false)));
    let poll = |watermark, proved| {
        door.write(Command::rows(
            "Product2".to_owned(),
            Source::Poll {
                read_rev: 0,
                watermark,
                proved,
            },
            Vec::new(),
        ))
        .unwrap()
    };
    poll(None, seconds_after(120));
    assert_eq!(proved(&door, "Product2"), Some((70, false)), "a page is not all");
    poll(Some(T0 + 1), seconds_after(120));
    assert_eq!(proved(&door, "Product2"), Some((120, true)));
}

#[test]
fn killed_between_journal_and_cache_the_event_comes_again() {
    let dir = Door::live().close();
    let response = || Events {
        topic: TOPIC.into(),
        events: [created().raw(1, "a")].into(),
        schemas: vec![Schema::from(("Product2".to_owned(), product_schema()))],
        resumed: true,
        ..Events::default()
    };
    let cache = Cache::open(dir.path()).unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let record = Record {
        at: T0,
        after: cache.journalled(),
        rev: cache.rev(),
        keeps_rows: true,
        commands: [Command::Events(response())].into(),
    };
    record.write(&mut journal).unwrap();
    drop((journal, cache));

    let door = Door::open(dir);
    assert_eq!(door.rows("select count(*) from _cursor"), ["0"]);
    door.response(response());
    assert_eq!(door.products().len(), 1);
    let journal = Connection::open(door.dir.path().join("journal.db")).unwrap();
    let kept: i64 = journal
        .query_row("select count(*) from event", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 1);
}

#[test]
fn the_cursor_stays_before_what_may_be_incomplete() {
    let door = Door::live();
    let event = |replay, id: &'static str| {
        let a_minute_ago = Event {
            committed: T0 - 60_000,
            ..created()
        };
        a_minute_ago.raw(replay, id)
    };
    let cursor = || door.rows("select hex(resume_after), hex(last_seen) from _cursor");
    door.events(vec![event(1, "a"), event(2, "b"), event(2, "c")]);
    assert_eq!(cursor(), ["01|02"]);
    let age = || door.rows("select heard_at - position_at from _cursor");
    assert_eq!(age(), ["60000"]);
    door.events(vec![event(2, "d")]);
    assert_eq!(cursor(), ["01|02"]);
    let latest = Some(ReplayId(Bytes::from_static(&[7])));
    door.response(Events {
        latest,
        ..Events::default()
    });
    assert_eq!(cursor(), ["07|07"]);
    assert_eq!(
        age(),
        ["0"],
        "a keep-alive says that nothing is missing up to now"
    );
    door.response(Events {
        restart: true,
        events: [event(3, "e"), event(4, "f")].into(),
        ..Events::default()
    });
    assert_eq!(cursor(), ["03|04"]);
}

fn what_pages_and_the_stream_disagree_on_is_read_once_more(door: &Door) {
    let row = json!({"Id": ID, "Name": "Mug", "SystemModstamp": "2026-11-22T09:30:00.000Z"});
    let touched = Event {
        kind: UPDATE,
        committed: T0 + 95_000,
        changed: &["0x02"],
        body: product(Some("Streamed"), None, None, None),
        ..Event::default()
    };
    let read_rev = *door.bells.rev.borrow();
    door.events(vec![touched.raw(3, "c")]);
    door.write(Command::rows(
        "Product2".to_owned(),
        Source::CatchUp { read_rev },
        vec![row.as_object().unwrap().clone()],
    ))
    .unwrap();
    let deleted = Event {
        kind: DELETE,
        ids: &[OTHER],
        committed: T0 + 96_000,
        ..Event::default()
    };
    door.events(vec![deleted.raw(4, "d")]);
    assert_eq!(
        door.open_repairs(),
        [
            format!("Product2|{ID}|changed while the object was read"),
            format!("Product2|{OTHER}|deleted while the object was read")
        ]
    );
}

fn lost(door: &Door) {
    door.apply(Command::Lost {
        topic: TOPIC.into(),
        objects: vec!["Product2".to_owned()],
    });
}

#[test]
fn a_lost_position_is_caught_up_from_the_newest_event_on_and_then_compared() {
    let door = Door::live();
    let later = Event {
        committed: T0 + 60_000,
        ..created()
    };
    door.events(vec![later.raw(1, "a")]);
    lost(&door);
    let open = || door.rows("select kind, since from _repair where closed_at is null order by number");
    assert_eq!(
        open(),
        [format!("catch_up|{}", T0 + 60_000), "verify|null".to_owned()]
    );
    let number =
        |at: usize| door.read(|connection| repairs::open(connection, repairs::Kind::CatchUp, 9))[at].number;
    let first = number(0);

    // Lost once more, after more was applied: the work under way is too late, and begins as early as before.
    let newer = Event {
        ids: &[OTHER],
        committed: T0 + 90_000,
        ..created()
    };
    door.events(vec![newer.raw(2, "b")]);
    lost(&door);
    assert_eq!(
        open(),
        [format!("catch_up|{}", T0 + 60_000), "verify|null".to_owned()]
    );
    let close = |number| {
        door.apply(Command::CaughtUp {
            object: "Product2".to_owned(),
            number,
            rows: 3,
            asked: None,
        });
    };
    close(first);
    assert_eq!(open().len(), 2, "its answer is too old");

    what_pages_and_the_stream_disagree_on_is_read_once_more(&door);
    close(number(0));
    assert_eq!(
        door.rows("select found from _repair where kind = 'catch_up' order by number"),
        ["superseded", "3 rows read again, 0 differed"]
    );
}

#[test]
fn a_difference_that_fits_is_applied() {
    let door = Door::live();
    let create = Event {
        body: product(Some("one\ntwo\nthree"), Some(4.5), Some(true), Some(T0)),
        ..Event::default()
    };
    // SHA-256 of "one\n2\nthree".
    let hash = "d5bb36fe02f0a90ba1dd0a2bcb85b1bfae9ed9ddb2eecc9b0cfd1fce47b0a0b4";
    let real: String = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"one\n2\nthree")
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let update = |hash: &str, replay, id| {
        let diff = format!("--- \n+++ {hash}\n@@ -2,1 +2,1 @@\n-two\n+2\n");
        Event {
            kind: UPDATE,
            committed: T0 + 1_000,
            changed: &["0x06"],
            diffed: &["0x02"],
            body: product(Some(&diff), Some(5.0), None, None),
            ..Event::default()
        }
        .raw(replay, id)
    };
    door.events(vec![create.raw(1, "a"), update(&real, 2, "b")]);
    assert_eq!(door.products(), [format!("{ID}|one\n2\nthree|5.0|1")]);
    assert_eq!(door.open_repairs(), [""; 0]);
    door.events(vec![update(hash, 3, "c")]);
    assert_eq!(
        door.open_repairs(),
        [format!("Product2|{ID}|a text's difference does not fit")]
    );
}

#[test]
fn a_formula_that_its_event_does_not_tell_is_read_with_its_record() {
    let planned = |formulas: &[&str], filter: Option<&str>| Planned {
        formulas: formulas.iter().map(|field| (*field).to_owned()).collect(),
        filter: filter.map(str::to_owned),
        ..Planned::from(tables().remove(0))
    };
    let change = |door: &Door, planned| door.change(planned);
    let update = |replay, id, price| {
        Event {
            kind: UPDATE,
            committed: T0 + 1_000,
            changed: &["0x02"],
            body: product(Some("Mug"), price, None, None),
            ..Event::default()
        }
        .raw(replay, id)
    };
    let door = Door::live();
    change(&door, planned(&["Price__c"], None));
    door.events(vec![created().raw(1, "a"), update(2, "b", Some(5.0))]);
    assert_eq!(door.open_repairs(), [""; 0], "the event tells it");
    door.events(vec![update(3, "c", None)]);
    let open = format!("Product2|{ID}|a formula that its event does not tell");
    assert_eq!(door.open_repairs(), [open], "it may be null now");

    // Of an object that is mirrored in part, each event only names what to read.
    let door = Door::live();
    change(&door, planned(&[], Some("Active__c = true")));
    door.events(vec![created().raw(1, "a")]);
    assert_eq!(door.products(), [""; 0]);
    assert_eq!(door.open_repairs().len(), 1);
}

#[test]
fn a_column_comes_while_events_do() {
    let door = Door::live();
    door.events(vec![created().raw(1, "a")]);
    let mut table = tables().remove(0);
    table.columns.retain(|column| column.field != "Active__c");
    table.columns.push(Column {
        field: "Tier__c".to_owned(),
        name: "tier__c".to_owned(),
        kind: ColumnKind::Text,
    });
    let evolved = door.change(table.into());
    assert_eq!(
        (evolved.added, evolved.missing),
        (vec!["Tier__c".to_owned()], vec!["Active__c".to_owned()])
    );
    // The schema that was known is read into the columns as they are now.
    door.events(vec![
        Event {
            ids: &[OTHER],
            ..created()
        }
        .raw(2, "b"),
    ]);
    assert_eq!(
        door.rows("select id, name, active__c, tier__c from product2 order by id"),
        [format!("{ID}|Tea|1|null"), format!("{OTHER}|Tea|null|null")]
    );
    assert_eq!(
        door.rows("select kind, reason from _repair where closed_at is null"),
        ["reload|fields have changed"]
    );
    let load = door.begin("Product2");
    let page = format!("\"Id\",\"Name\"\n\"{ID}\",\"Tea\"\n");
    door.page("Product2", load.run, &page).unwrap();
    door.finish("Product2", load.run);
    assert_eq!(
        door.rows("select found from _repair where kind = 'reload'"),
        ["the object was read again, 1 rows removed"]
    );
}

#[test]
fn a_load_goes_on_after_a_kill_with_what_it_has_seen() {
    let door = Door::live();
    for (replay, id) in [(1, ID), (2, OTHER)] {
        door.events(vec![
            Event {
                ids: &[id],
                ..created()
            }
            .raw(replay, id),
        ]);
    }
    let load = door.begin("Product2");
    let csv = format!("Id,Name,SystemModstamp\n{ID},New,2026-11-22T09:31:00.000Z\n");
    let place = loads::Place {
        job: "750".to_owned(),
        locator: "next".to_owned(),
        total: 2,
    };
    door.write(Command::Page(Page {
        object: "Product2".to_owned(),
        run: load.run,
        csv: Some(csv.into()),
        packed: None,
        place: Some(place.clone()),
    }))
    .unwrap();
    let door = Door::open(door.close());
    let progress = door.read(|connection| loads::load(connection, "Product2"));
    let progress = progress.unwrap();
    assert_eq!(
        (progress.load, progress.place, progress.rows),
        (load, Some(place), 1)
    );
    // What the stream deletes meanwhile may still be on a page.
    let deleted = Event {
        kind: DELETE,
        ids: &["01t000000000003AAA"],
        committed: T0 + 60_000,
        ..Event::default()
    };
    door.events(vec![deleted.raw(3, "d")]);
    assert_eq!(door.open_repairs().len(), 1);
    // The row never came, and who keeps something about it elsewhere hears that it is gone.
    let told = "select kind from _change where record_id = '01t000000000003AAA'";
    assert_eq!(door.rows(told), ["deleted"]);
    assert_eq!(door.page("Product2", load.run, "Id,Name\n"), Ok(0));
    assert_eq!(
        door.finish("Product2", load.run),
        1,
        "what the first process saw is not removed"
    );
    assert_eq!(door.rows("select id, name from product2"), [format!("{ID}|New")]);
}

#[test]
fn a_row_that_cannot_be_read_waits_by_itself() {
    let door = Door::live();
    let load = door.begin("Product2");
    let bytes = [
        b"\"Id\",\"Name\"\n\"" as &[u8],
        ID.as_bytes(),
        b"\",\"T\xffa\"\n\"",
        OTHER.as_bytes(),
        b"\",\"Cup\"\n",
    ]
    .concat();
    let written = door.write(Command::Page(Page {
        object: "Product2".to_owned(),
        run: load.run,
        packed: None,
        csv: Some(bytes.into()),
        place: None,
    }));
    assert_eq!(written, Ok(2));
    door.finish("Product2", load.run);
    assert_eq!(
        door.rows("select id, name from product2"),
        [format!("{OTHER}|Cup")]
    );
    let open = "select record_id, reason from _repair where closed_at is null";
    assert_eq!(
        door.rows(open),
        [format!("{ID}|it could not be read: a text is no UTF-8")]
    );
    // The next load does not take it for deleted either, whichever way it is read.
    let load = door.begin("Product2");
    let row = |id: &str, name: &str, value: &str| {
        let members = [("Id", id), (name, value)];
        let members = members.map(|(name, value)| (name.to_owned(), serde_json::Value::from(value)));
        members.into_iter().collect::<serde_json::Map<_, _>>()
    };
    let rows = vec![row(OTHER, "attributes", "lone surrogate"), row(ID, "Name", "Tea")];
    let written = door.write(Command::rows(
        "Product2".to_owned(),
        Source::Load { run: load.run },
        rows,
    ));
    assert_eq!(written, Ok(2));
    assert_eq!(door.finish("Product2", load.run), 0);
    assert_eq!(
        door.rows("select id, name from product2 order by name"),
        [format!("{OTHER}|Cup"), format!("{ID}|Tea")]
    );
}
