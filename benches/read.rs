//! A product by its id: in process, and over HTTP; against Redis and PostgreSQL that hold the same products.
//!
//! The peers run as processes of their own on Unix sockets in a temporary folder, with the protocol spoken by a few
//! lines here: `redis-server` and `postgres` as `benches/peers/databases.sh` installs them. A peer that is not on the
//! machine is left out, and said so.

use std::path::Path;
use std::time::{Duration, Instant};

use storesync::model::row::{Column, ColumnKind, Table};
use storesync::store::cache::Cache;
use storesync::store::checkpoint;
use storesync::store::reader::Reader;
use storesync::store::storefront::{self, Found, objects};
use tokio_util::sync::CancellationToken;

use crate::http;
use crate::peers::{Postgres, Redis};

pub const PRODUCTS: usize = 100_000;
const COLUMNS: usize = 48;
const WINDOW: Duration = Duration::from_secs(2);
const WINDOWS: usize = 3;

/// The id of the nth product.
pub fn id(at: usize) -> String {
    format!("01t{at:012}AAA")
}

pub fn run() {
    let dir = tempfile::tempdir().expect("a folder");
    // It stays open, as in the daemon: the last to close would take the log away.
    let _writer = fill(dir.path());
    // As in the daemon: what is in the log goes into the file, and readers are spared the system's lock.
    let (files, stop) = (dir.path().to_owned(), CancellationToken::new());
    let stopped = stop.clone();
    std::thread::spawn(move || checkpoint::run(&files, &stopped, || {}));
    let reader = Reader::new(dir.path());
    let example = sqlite(&reader, &id(7));
    println!(
        "  {PRODUCTS} products of {COLUMNS} columns, {} bytes of JSON each",
        example.len()
    );
    let redis = Redis::start(|at| sqlite(&reader, &id(at)));
    let postgres = Postgres::start();
    let mut sqlite_rate = 0.0;
    for _ in 0..WINDOWS {
        let rate = measure("SQLite, row to JSON, in process", |at| {
            sqlite(&reader, &id(at)).len()
        });
        sqlite_rate = f64::max(sqlite_rate, rate);
        for (name, target, peer) in [
            ("Redis", 2.0, redis.as_ref().map(|peer| peer as &dyn Peer)),
            ("PostgreSQL", 6.0, postgres.as_ref().map(|peer| peer as &dyn Peer)),
        ] {
            match peer.map(Peer::connect) {
                Some(mut get) => {
                    let of_peer = measure(&format!("{name}, over a Unix socket"), &mut get);
                    println!("    {:.1} times {name} (target {target:.1})", rate / of_peer);
                }
                None => println!("  {name} is not on this machine: run benches/peers/databases.sh"),
            }
        }
    }
    println!("  best: {sqlite_rate:.0} reads/s (target 80000)");
    http::run(dir.path(), &stop, redis.as_ref(), postgres.as_ref());
}

/// A database that the same products are read from.
pub trait Peer {
    /// A connection: reads the nth product and gives the bytes it got.
    fn connect(&self) -> Box<dyn FnMut(usize) -> usize>;
}

/// A row as the daemon reads it.
pub fn sqlite(reader: &Reader, id: &str) -> Vec<u8> {
    match reader.with(|cache| objects::row(cache, "Product2", id)) {
        Ok(Found::Row(row)) => row.json,
        other => panic!("{other:?}"),
    }
}

/// Reads at random for a window; reads per second.
fn measure(name: &str, mut read: impl FnMut(usize) -> usize) -> f64 {
    let (began, mut reads, mut bytes) = (Instant::now(), 0_u32, 0);
    while began.elapsed() < WINDOW {
        for _ in 0..64 {
            bytes += read(fastrand::usize(..PRODUCTS));
        }
        reads += 64;
    }
    assert!(bytes > 0);
    let rate = f64::from(reads) / began.elapsed().as_secs_f64();
    println!("  {name}: {rate:.0} reads/s");
    rate
}

/// Most are text; some are numbers, flags and nothing, as in an org.
pub fn columns() -> Vec<Column> {
    let column = |at: usize| Column {
        field: format!("Field_{at}__c"),
        name: format!("field_{at}__c"),
        kind: match at % 8 {
            5 => ColumnKind::Real,
            6 => ColumnKind::Boolean,
            _ => ColumnKind::Text,
        },
    };
    (0..COLUMNS).map(column).collect()
}

/// What the nth column holds, in SQL.
pub fn value(at: usize) -> String {
    match at % 8 {
        5 => format!("{at}.95"),
        6 => "1".to_owned(),
        7 => "null".to_owned(),
        _ => format!("'the value of {at}'"),
    }
}

/// The same kinds in PostgreSQL.
pub fn postgres_type(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Real => "double precision",
        ColumnKind::Boolean => "smallint",
        _ => "text",
    }
}

fn fill(dir: &Path) -> Cache {
    let table = Table {
        object: "Product2".to_owned(),
        name: "product2".to_owned(),
        columns: columns(),
    };
    let mut cache = Cache::open(dir).expect("a cache");
    cache.ensure_object(&table, true, 0).expect("a table");
    let values: Vec<String> = (0..COLUMNS).map(value).collect();
    let sql = format!(
        "with recursive n (at) as (select 0 union all select at + 1 from n where at + 1 < {PRODUCTS}) \
         insert into product2 select printf('01t%012dAAA', at), at + 1, null, 0, {} from n",
        values.join(", ")
    );
    cache.connection().execute_batch(&sql).expect("products");
    storefront::prepare(cache.connection(), &[]).expect("views");
    cache
}
