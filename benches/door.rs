//! An apply stage at work on a directory, as the daemon runs it: its own thread, the checkpoints on another.

use std::path::Path;
use std::thread::JoinHandle;

use bytes::Bytes;
use storesync::inbound::apply::log::Packed;
use storesync::inbound::apply::work::{Events, Written};
use storesync::inbound::apply::{self, Bells, Work};
use storesync::model::change::RawEvent;
use storesync::model::clock::Clock;
use storesync::model::row::{Column, ColumnKind, Table};
use storesync::store::cache::Cache;
use storesync::store::checkpoint;
use storesync::store::files::Files;
use storesync::store::journal::Journal;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::fixture::{self, Fixture, Kind};

pub const TOPIC: &str = "/data/Product2ChangeEvent";

pub struct Door {
    pub work: mpsc::Sender<Work>,
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
        cache.ensure_object(table, true, 0).expect("a table");
        let bells = Bells::new(cache.rev());
        let (work, queue) = mpsc::channel(apply::QUEUE_MAX);
        let (planned, rung) = (vec![table.clone().into()], bells.clone());
        let stop = CancellationToken::new();
        let (state_dir, stopped) = (dir.to_owned(), stop.clone());
        let threads = vec![
            std::thread::spawn(move || apply::run(cache, journal, &planned, queue, &Clock::System, &rung)),
            std::thread::spawn(move || checkpoint::run(&state_dir, &Files::default(), &stopped, || ())),
        ];
        Self {
            work,
            bells,
            stop,
            threads,
        }
    }

    /// Loads the object from pages of CSV.
    pub fn load(&self, pages: &[Bytes]) {
        let object = || "Product2".to_owned();
        let load = self.ask(|done| Work::BeginLoad {
            object: object(),
            watermark: 0,
            asked: None,
            done,
        });
        // As the daemon does: a page is fetched and packed while the one before is written.
        let mut writing: Option<oneshot::Receiver<Written>> = None;
        let finish = |writing: Option<oneshot::Receiver<Written>>| {
            if let Some(answer) = writing {
                answer.blocking_recv().expect("apply runs").expect("a page");
            }
        };
        for csv in pages {
            let packed = Some(Packed::csv(csv));
            finish(writing.take());
            let (done, answer) = oneshot::channel();
            let page = Work::Page {
                object: object(),
                run: load.run,
                csv: csv.clone(),
                packed,
                place: None,
                done,
            };
            self.work.blocking_send(page).expect("apply runs");
            writing = Some(answer);
        }
        finish(writing);
        self.ask(|done| Work::FinishLoad {
            object: object(),
            run: load.run,
            rows: None,
            answer: None,
            done,
        });
    }

    /// Applies responses and waits until the last is stored.
    pub fn apply(&self, responses: Vec<Vec<RawEvent>>) {
        for events in responses {
            let events = response(events);
            self.work.blocking_send(Work::Events(events)).expect("apply runs");
        }
        self.ask(|done| {
            Work::Events(Events {
                done: Some(done),
                ..response(Vec::new())
            })
        });
    }

    pub fn close(self) {
        drop(self.work);
        self.stop.cancel();
        for thread in self.threads {
            thread.join().expect("no panic").expect("no error");
        }
    }

    fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Work) -> T {
        let (done, answer) = oneshot::channel();
        self.work.blocking_send(make(done)).expect("apply runs");
        answer.blocking_recv().expect("an answer")
    }
}

fn response(events: Vec<RawEvent>) -> Events {
    Events {
        topic: TOPIC.into(),
        events: events.into(),
        schemas: vec![(fixture::SCHEMA_ID.to_owned(), fixture::SCHEMA.to_owned())],
        ..Events::default()
    }
}
