//! What a larger catalogue costs, per row: events applied and products read at 10,000, 100,000 and 1,000,000 rows.
//!
//! Reads are of random rows, in process, row to JSON; events are updates of random rows. Target: a read takes at
//! most 1.5 times as long at a million rows as at ten thousand. Apply has no target: with more rows, fewer of the
//! changed ones share a page, so that more pages are written for the same events.

use std::time::Duration;

use bytes::Bytes;
use storesync::inbound::command::{Command, Page};
use storesync::store::reader::Reader;
use storesync::store::storefront::{Found, objects};

use crate::apply::responses;
use crate::door::{self, Door};
use crate::fixture::{self, Fixture};
use crate::timing;

const ROWS: [u64; 3] = [10_000, 100_000, 1_000_000];
const ROWS_PER_PAGE: u64 = 20_000;
const EVENTS: usize = 50_000;
const READS: usize = 100_000;
const ROUNDS: usize = 5;

struct Catalogue {
    rows: u64,
    door: Door,
    reader: Reader,
    rounds: Vec<Vec<Vec<storesync::model::change::RawEvent>>>,
    _dir: tempfile::TempDir,
}

impl Catalogue {
    fn new(rows: u64) -> Self {
        let mut fixture = Fixture::new(6, rows);
        let dir = tempfile::tempdir().expect("a folder");
        let door = Door::open(dir.path(), &door::table(&fixture));
        fill(&door, &mut fixture, rows);
        let rounds = (0..ROUNDS).map(|_| responses(fixture.updates(EVENTS))).collect();
        Self {
            rows,
            door,
            reader: Reader::new(dir.path()),
            rounds,
            _dir: dir,
        }
    }

    fn read(&self) {
        for _ in 0..READS {
            let id = fixture::id(fastrand::u64(..self.rows));
            match self.reader.with(|cache| objects::row(cache, "Product2", &id)) {
                Ok(Found::Row(row)) => assert!(!row.json.is_empty()),
                other => panic!("{other:?}"),
            }
        }
    }
}

pub fn run() {
    let mut catalogues = ROWS.map(Catalogue::new);
    println!("medians of {ROUNDS} rounds of {EVENTS} events and of {READS} reads, microseconds each");
    let [small, middle, large] = &catalogues;
    let reads = timing::medians(
        ROUNDS,
        READS,
        &mut [&mut || small.read(), &mut || middle.read(), &mut || large.read()],
    );
    let [small, middle, large] = &mut catalogues;
    let apply = |catalogue: &mut Catalogue| {
        let round = catalogue.rounds.pop().expect("a round");
        catalogue.door.apply(round);
    };
    let applied = timing::medians(
        ROUNDS,
        EVENTS,
        &mut [&mut || apply(small), &mut || apply(middle), &mut || apply(large)],
    );
    for (at, rows) in ROWS.into_iter().enumerate() {
        let times = |rates: &[f64]| (1e6 / rates[at], rates[0] / rates[at]);
        let ((read, read_ratio), (apply, apply_ratio)) = (times(&reads), times(&applied));
        println!(
            "{rows:>9} rows: read {read:>6.1} us {read_ratio:>5.2}x (target at most 1.5x), \
             apply {apply:>6.1} us {apply_ratio:>5.2}x"
        );
    }
    // What is still to be checkpointed would be measured with the next bench.
    std::thread::sleep(Duration::from_secs(1));
    catalogues
        .into_iter()
        .for_each(|catalogue| catalogue.door.close());
}

/// Loads the rows page by page, each made when it is wanted.
fn fill(door: &Door, fixture: &mut Fixture, rows: u64) {
    let object = || "Product2".to_owned();
    let run = door.begin_load(&object());
    for first in (0..rows).step_by(ROWS_PER_PAGE as usize) {
        let keys: Vec<u64> = (first..rows.min(first + ROWS_PER_PAGE)).collect();
        let csv: Bytes = fixture.page(&keys).into();
        let page = Command::Page(Page {
            object: object(),
            run,
            csv: Some(csv),
            packed: None,
            place: None,
        });
        let written = door.apply_one(page).written();
        written.expect("an outcome of a page").expect("a page");
    }
    door.apply_one(Command::FinishLoad {
        object: object(),
        run,
        rows: None,
        answer: None,
    });
}
