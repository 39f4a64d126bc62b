//! Any bytes as a page of CSV, through the real apply stage into a real file: rows or a sentence, and never a panic. Rows
//! that are stored are there to be read.

use std::thread::JoinHandle;

use bytes::Bytes;
use storesync::inbound::apply::{self, Bells, Outcome, Queue};
use storesync::inbound::command::{Command, Page};
use storesync::inbound::prepare;
use storesync::model::clock::Clock;
use storesync::model::row::{Column, ColumnKind, Table};
use storesync::store::cache::Cache;
use storesync::store::journal::Journal;
use storesync::store::reader::Reader;
use storesync::store::storefront::objects::{self, Listed, Selection};

/// An apply stage at work in a folder of its own, a load begun.
pub struct Door {
    queue: Option<Queue>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
    reader: Reader,
    run: u64,
    _dir: tempfile::TempDir,
}

impl Door {
    pub fn open() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut cache = Cache::open(dir.path()).expect("a cache");
        let journal = Journal::open(dir.path()).expect("a journal");
        prepare::mirror(&mut cache, &[table().into()], 0).expect("a table");
        let (queue, requests) = apply::queue();
        let bells = Bells::new(cache.rev());
        let thread = std::thread::spawn(move || apply::run(cache, journal, requests, &Clock::System, &bells));
        let mut door = Self {
            queue: Some(queue),
            thread: Some(thread),
            reader: Reader::new(dir.path()),
            run: 0,
            _dir: dir,
        };
        let begun = door.apply(Command::BeginLoad {
            object: OBJECT.to_owned(),
            watermark: 0,
            asked: None,
        });
        door.run = begun.load().expect("a load").run;
        door
    }

    pub fn feed(&self, page: &[u8]) {
        let outcome = self.apply(Command::Page(Page {
            object: OBJECT.to_owned(),
            run: self.run,
            csv: Some(Bytes::copy_from_slice(page)),
            packed: None,
            place: None,
        }));
        match outcome.written().expect("an outcome of a page") {
            Ok(rows) => self.read_back(rows),
            Err(sentence) => assert!(!sentence.is_empty()),
        }
    }

    /// A few of the rows: JSON, whatever the page held.
    fn read_back(&self, written: u64) {
        let first = Selection {
            limit: 20,
            ..Selection::default()
        };
        let read = self.reader.with(|cache| objects::list(cache, OBJECT, &first));
        let Ok(Listed::Page(rows)) = read else {
            panic!("{read:?}");
        };
        assert!(written == 0 || !rows.items.is_empty());
        for row in rows.items {
            let row: serde_json::Value = serde_json::from_slice(&row).expect("JSON");
            assert!(row["id"].is_string(), "{row}");
        }
    }

    fn apply(&self, command: Command) -> Outcome {
        let queue = self.queue.as_ref().expect("it is open");
        let outcome = queue.begin_blocking(command).expect("apply runs");
        outcome.blocking_recv().expect("apply answers")
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic").expect("no error");
        }
    }
}

const OBJECT: &str = "Thing__c";

/// A column of each kind that is read in a way of its own.
fn table() -> Table {
    let kinds = [
        ("Name", ColumnKind::Text),
        ("Flag__c", ColumnKind::Boolean),
        ("Count__c", ColumnKind::Integer),
        ("Price__c", ColumnKind::Real),
        ("Day__c", ColumnKind::Date),
        ("Hour__c", ColumnKind::Time),
        ("SystemModstamp", ColumnKind::DateTime),
    ];
    let column = |(field, kind): &(&str, ColumnKind)| Column {
        field: (*field).to_owned(),
        name: field.to_ascii_lowercase(),
        kind: *kind,
    };
    Table {
        object: OBJECT.to_owned(),
        name: OBJECT.to_ascii_lowercase(),
        columns: kinds.iter().map(column).collect(),
    }
}
