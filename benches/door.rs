//! An apply stage at work on a directory, as the daemon runs it: its own thread, the checkpoints on another.

use std::path::Path;
use std::thread::JoinHandle;

use bytes::Bytes;
use storesync::inbound::apply::{self, Bells, Outcome, Queue};
use storesync::inbound::command::{Command, Events, Packed, Page, Schema};
use storesync::inbound::prepare;
use storesync::model::change::RawEvent;
use storesync::model::clock::Clock;
use storesync::model::row::{Column, ColumnKind, Table};
use storesync::store::cache::Cache;
use storesync::store::checkpoint;
use storesync::store::files::Files;
use storesync::store::journal::Journal;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::fixture::{self, Fixture, Kind};

pub const TOPIC: &str = "/data/Product2ChangeEvent";

pub struct Door {
    pub queue: Queue,
    pub bells: Bells,
    stop: CancellationToken,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

/// The fixture's object as the daemon would mirror it.
pub fn table(fixture: &Fixture) -> Table {
    let column = |field: &str, kind| Column {
        field: field.to_owned(),
        name: field.to_ascii_lowercase(),
        kind,
    };
    let mut columns: Vec<Column> = fixture
        .fields
        .iter()
        .map(|(name, kind)| {
            let kind = match kind {
                Kind::Text | Kind::LongText | Kind::Id => ColumnKind::Text,
                Kind::Boolean => ColumnKind::Boolean,
                Kind::Double => ColumnKind::Real,
                Kind::DateTime => ColumnKind::DateTime,
                Kind::Date => ColumnKind::Date,
            };
            column(name, kind)
        })
        .collect();
    columns.push(column("SystemModstamp", ColumnKind::DateTime));
    Table {
        object: "Product2".to_owned(),
        name: "product2".to_owned(),
        columns,
    }
}

impl Door {
    pub fn open(dir: &Path, table: &Table) -> Self {
        let mut cache = Cache::open(dir).expect("a cache");
        let journal = Journal::open(dir).expect("a journal");
        prepare::mirror(&mut cache, &[table.clone().into()], 0).expect("a table");
        let bells = Bells::new(cache.rev());
        let (queue, requests) = apply::queue();
        let rung = bells.clone();
        let stop = CancellationToken::new();
        let (state_dir, stopped) = (dir.to_owned(), stop.clone());
        let threads = vec![
            std::thread::spawn(move || apply::run(cache, journal, requests, &Clock::System, &rung)),
            std::thread::spawn(move || checkpoint::run(&state_dir, &Files::default(), &stopped, || ())),
        ];
        Self {
            queue,
            bells,
            stop,
            threads,
        }
    }

    /// Loads the object from pages of CSV.
    pub fn load(&self, pages: &[Bytes]) {
        let object = || "Product2".to_owned();
        let run = self.begin_load(&object());
        // As the daemon does: a page is fetched and packed while the one before is written.
        let mut writing: Option<oneshot::Receiver<Outcome>> = None;
        let finish = |writing: Option<oneshot::Receiver<Outcome>>| {
            if let Some(answer) = writing {
                let outcome = answer.blocking_recv().expect("apply runs");
                outcome.written().expect("an outcome of a page").expect("a page");
            }
        };
        for csv in pages {
            let packed = Some(Packed::csv(csv));
            finish(writing.take());
            let page = Command::Page(Page {
                object: object(),
                run,
                csv: Some(csv.clone()),
                packed,
                place: None,
            });
            writing = Some(self.begin(page));
        }
        finish(writing);
        self.apply_one(Command::FinishLoad {
            object: object(),
            run,
            rows: None,
            answer: None,
        });
    }

    /// Applies responses and waits until the last is stored.
    pub fn apply(&self, responses: Vec<Vec<RawEvent>>) {
        for events in responses {
            drop(self.begin(Command::Events(response(events))));
        }
        self.apply_one(Command::Events(response(Vec::new())));
    }

    pub fn close(self) {
        drop(self.queue);
        self.stop.cancel();
        for thread in self.threads {
            thread.join().expect("no panic").expect("no error");
        }
    }

    /// Sends a command: its outcome comes later.
    pub fn begin(&self, command: Command) -> oneshot::Receiver<Outcome> {
        self.queue.begin_blocking(command).expect("apply runs")
    }

    /// Applies a command and waits until it is committed.
    pub fn apply_one(&self, command: Command) -> Outcome {
        self.begin(command).blocking_recv().expect("an outcome")
    }

    /// Begins a load: its number.
    pub fn begin_load(&self, object: &str) -> u64 {
        let begun = self.apply_one(Command::BeginLoad {
            object: object.to_owned(),
            watermark: 0,
            asked: None,
        });
        begun.load().expect("a load").run
    }
}

fn response(events: Vec<RawEvent>) -> Events {
    Events {
        topic: TOPIC.into(),
        events: events.into(),
        schemas: vec![Schema::from((
            fixture::SCHEMA_ID.to_owned(),
            fixture::SCHEMA.to_owned(),
        ))],
        ..Events::default()
    }
}
