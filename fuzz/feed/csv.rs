//! Any bytes as a page of CSV, through the real door into a real file: rows or a sentence, and never a panic. What
//! is stored of a page can be read back.

use std::sync::LazyLock;

use bytes::Bytes;
use storesync::inbound::apply::{self, Bells, Work};
use storesync::model::clock::Clock;
use storesync::model::row::{Column, ColumnKind, Table};
use storesync::store::cache::Cache;
use storesync::store::journal::Journal;
use tokio::sync::{mpsc, oneshot};

struct Door {
    work: mpsc::Sender<Work>,
    run: u64,
    _dir: tempfile::TempDir,
}

static DOOR: LazyLock<Door> = LazyLock::new(|| {
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
    let table = Table {
        object: "Thing__c".to_owned(),
        name: "thing__c".to_owned(),
        columns: kinds.iter().map(column).collect(),
    };
    let dir = tempfile::tempdir().expect("a folder");
    let mut cache = Cache::open(dir.path()).expect("a cache");
    let journal = Journal::open(dir.path()).expect("a journal");
    cache.ensure_object(&table, true, 0).expect("a table");
    let (work, queue) = mpsc::channel(apply::QUEUE_MAX);
    let bells = Bells::new(cache.rev());
    std::thread::spawn(move || {
        apply::run(cache, journal, &[table.into()], queue, &Clock::System, &bells).expect("apply goes on");
    });
    let load = ask(&work, |done| Work::BeginLoad {
        object: "Thing__c".to_owned(),
        watermark: 0,
        done,
    });
    Door {
        work,
        run: load.run,
        _dir: dir,
    }
});

fn ask<T>(work: &mpsc::Sender<Work>, make: impl FnOnce(oneshot::Sender<T>) -> Work) -> T {
    let (done, answer) = oneshot::channel();
    work.blocking_send(make(done)).expect("apply runs");
    answer.blocking_recv().expect("apply answers")
}

pub fn feed(page: &[u8]) {
    let csv = Bytes::copy_from_slice(page);
    let written = ask(&DOOR.work, |done| Work::Page {
        object: "Thing__c".to_owned(),
        run: DOOR.run,
        csv,
        packed: None,
        place: None,
        done,
    });
    if let Err(sentence) = written {
        assert!(!sentence.is_empty());
    }
}
