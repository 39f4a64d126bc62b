//! Applying change events, durably and once: journal, rows, change feed, dedupe keys and cursor.
//!
//! Against a bare rusqlite loop that does a part of it: one prepared statement of the same row width, raw binds, the
//! same number of rows per transaction, random existing keys, no decoding. Once as SQLite comes, once tuned
//! as we are: pages of 2 KiB, checkpoints on another connection. Targets: 3 times the first, 0.8 of the second.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, Statement, TransactionBehavior};
use storesync::inbound::apply::EVENTS_PER_BATCH_MAX;
use storesync::model::change::RawEvent;
use storesync::model::row::{ColumnKind, Table};

use crate::door::{self, Door};
use crate::fixture::Fixture;
use crate::timing;

const RECORDS: u64 = 200_000;
const EVENTS: usize = 100_000;
const ROUNDS: usize = 5;

/// What a response holds at most.
pub const EVENTS_PER_RESPONSE: usize = 100;

pub fn run() {
    let mut fixture = Fixture::new(2, RECORDS);
    let table = door::table(&fixture);
    let csv = fixture.csv();
    let dirs: Vec<tempfile::TempDir> = (0..2).map(|_| tempfile::tempdir().expect("a folder")).collect();
    let doors: Vec<Door> = dirs.iter().map(|dir| Door::open(dir.path(), &table)).collect();
    doors.iter().for_each(|door| door.load(&[csv.clone().into()]));
    drop(csv);

    let bare_dir = tempfile::tempdir().expect("a folder");
    let loaded = dirs[0].path().join("cache.db");
    let mut default = Bare::new(&bare_dir.path().join("default.db"), &loaded, &table, false);
    let mut tuned = Bare::new(&bare_dir.path().join("tuned.db"), &loaded, &table, true);

    // Made beforehand, a round's worth for each turn.
    let keys: Vec<String> = (0..EVENTS).map(|_| fixture.key()).collect();
    let mut updates: Vec<_> = (0..ROUNDS).map(|_| responses(fixture.updates(EVENTS))).collect();
    let mut mixed: Vec<_> = (0..ROUNDS).map(|_| responses(fixture.events(EVENTS))).collect();
    println!(
        "{RECORDS} rows of {} columns, {EVENTS} events a round, medians of {ROUNDS} rounds",
        table.columns.len()
    );
    let rates = timing::medians(
        ROUNDS,
        EVENTS,
        &mut [
            &mut || default.upsert(&keys),
            &mut || tuned.upsert(&keys),
            &mut || doors[0].apply(updates.pop().expect("a round")),
            &mut || doors[1].apply(mixed.pop().expect("a round")),
        ],
    );
    timing::line("bare loop, SQLite's defaults", rates[0], rates[0]);
    timing::line("bare loop, tuned", rates[1], rates[0]);
    timing::line("storesync, updates (target 3x)", rates[2], rates[0]);
    timing::line(
        "storesync, created, updated, deleted (target 3x)",
        rates[3],
        rates[0],
    );
    println!(
        "of the tuned loop: {:.2} and {:.2} (target 0.8)",
        rates[2] / rates[1],
        rates[3] / rates[1]
    );
    doors.into_iter().for_each(Door::close);
}

/// As they arrive.
pub fn responses(events: Vec<RawEvent>) -> Vec<Vec<RawEvent>> {
    let mut responses = Vec::with_capacity(events.len() / EVENTS_PER_RESPONSE + 1);
    let mut events = events.into_iter().peekable();
    while events.peek().is_some() {
        responses.push(events.by_ref().take(EVENTS_PER_RESPONSE).collect());
    }
    responses
}

/// The loop that a program would write first.
struct Bare {
    connection: Connection,
    sql: String,
    kinds: Vec<ColumnKind>,
    written: i64,
    checkpoints: Option<Checkpoints>,
}

/// Moves pages on a connection of its own.
struct Checkpoints {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bare {
    /// With the rows of `loaded`.
    fn new(path: &Path, loaded: &Path, table: &Table, tuned: bool) -> Self {
        let connection = Connection::open(path).expect("a database");
        if tuned {
            connection
                .pragma_update(None, "page_size", 2048)
                .expect("a pragma");
        }
        for (pragma, value) in [("journal_mode", "wal"), ("synchronous", "normal")] {
            connection.pragma_update(None, pragma, value).expect("a pragma");
        }
        let names: Vec<String> = table
            .columns
            .iter()
            .map(|column| format!("\"{}\"", column.name))
            .collect();
        let list = names.join(", ");
        connection
            .execute_batch(&format!(
                "attach '{}' as loaded; create table product2 (id text primary key, {list}); \
                 insert into product2 select id, {list} from loaded.product2; detach loaded",
                loaded.display()
            ))
            .expect("the rows");
        let places: Vec<String> = (1..=names.len() + 1).map(|number| format!("?{number}")).collect();
        let sets: Vec<String> = names
            .iter()
            .map(|name| format!("{name} = excluded.{name}"))
            .collect();
        if tuned {
            connection
                .pragma_update(None, "wal_autocheckpoint", 0)
                .expect("a pragma");
            connection
                .pragma_update(None, "cache_size", -16_384)
                .expect("a pragma");
        }
        Self {
            connection,
            sql: format!(
                "insert into product2 (id, {list}) values ({}) on conflict (id) do update set {}",
                places.join(", "),
                sets.join(", ")
            ),
            kinds: table.columns.iter().map(|column| column.kind).collect(),
            written: 0,
            checkpoints: tuned.then(|| Checkpoints::start(path)),
        }
    }

    fn upsert(&mut self, keys: &[String]) {
        for batch in keys.chunks(EVENTS_PER_BATCH_MAX) {
            let transaction = self
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .expect("a transaction");
            let mut statement = transaction.prepare_cached(&self.sql).expect("a statement");
            for key in batch {
                self.written += 1;
                bind(&mut statement, key, &self.kinds, self.written).expect("values");
                statement.raw_execute().expect("a row");
            }
            drop(statement);
            transaction.commit().expect("a commit");
        }
        if self.checkpoints.is_some() {
            self.connection
                .query_row("pragma wal_checkpoint(restart)", [], |_| Ok(()))
                .expect("a checkpoint");
        }
    }
}

/// A value for every column, none as it was.
fn bind(statement: &mut Statement<'_>, key: &str, kinds: &[ColumnKind], number: i64) -> rusqlite::Result<()> {
    statement.raw_bind_parameter(1, key)?;
    for (index, kind) in (2..).zip(kinds) {
        match kind {
            ColumnKind::Text => statement.raw_bind_parameter(index, TEXTS[number.rem_euclid(7) as usize])?,
            ColumnKind::Boolean | ColumnKind::Integer => statement.raw_bind_parameter(index, number & 1)?,
            ColumnKind::Real => statement.raw_bind_parameter(index, number as f64 / 100.0)?,
            ColumnKind::Date | ColumnKind::DateTime | ColumnKind::Time => {
                statement.raw_bind_parameter(index, DATES[number.rem_euclid(7) as usize])?;
            }
        }
    }
    Ok(())
}

const TEXTS: [&str; 7] = [
    "a short text 1f3a9c",
    "a short text 9d02e7",
    "a short text 77b1c4",
    "a short text e05f18",
    "a short text 3c6d2a",
    "a short text b8804d",
    "a short text 512ef9",
];

const DATES: [&str; 7] = [
    "2026-09-21T14:00:01.000Z",
    "2026-09-22T14:00:01.000Z",
    "2026-09-23T14:00:01.000Z",
    "2026-09-24T14:00:01.000Z",
    "2026-09-25T14:00:01.000Z",
    "2026-09-26T14:00:01.000Z",
    "2026-09-27T14:00:01.000Z",
];

impl Checkpoints {
    fn start(path: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, path) = (Arc::clone(&stop), path.to_owned());
        let thread = std::thread::spawn(move || {
            let connection = Connection::open(path).expect("a database");
            connection
                .pragma_update(None, "wal_autocheckpoint", 0)
                .expect("a pragma");
            while !stopped.load(Ordering::Relaxed) {
                let waiting: i64 = connection
                    .query_row("pragma wal_checkpoint(noop)", [], |row| {
                        Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?)
                    })
                    .expect("a look");
                if waiting * 2048 > LOG_BYTES_MAX {
                    connection
                        .query_row("pragma wal_checkpoint(passive)", [], |_| Ok(()))
                        .expect("a checkpoint");
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

/// What waits in the log before it is moved.
const LOG_BYTES_MAX: i64 = 64 << 20;

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
