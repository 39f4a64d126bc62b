//! A product by its id: in process, and over HTTP; against Redis and PostgreSQL that hold the same products.
//!
//! The peers run as processes of their own on Unix sockets in a temporary folder, with the protocol spoken by a few
//! lines here: `redis-server` and `postgres` as `benches/peers/databases.sh` installs them. A peer that is not on the
//! machine is left out, and said so.
//!
//! On idle cores a peer's answer waits for another core to wake, which takes longer than the read where the machine is
//! virtual. Under `taskset -c 0` both ends share a core, and what is compared is the work.

use std::time::{Duration, Instant};

use storesync::store::checkpoint;
use storesync::store::files::Files;
use storesync::store::reader::Reader;
use tokio_util::sync::CancellationToken;

use crate::http;
use crate::peers::{Peer, Postgres, Redis};
use crate::products::{COLUMNS, PRODUCTS, fill, id, sqlite};

const WINDOW: Duration = Duration::from_secs(2);
const WINDOWS: usize = 3;

pub fn run() {
    let dir = tempfile::tempdir().expect("a folder");
    // It stays open, as in the daemon: the last to close would take the log away.
    let _writer = fill(dir.path());
    // As in the daemon: what is in the log goes into the file, and readers are spared the system's lock.
    let (files, stop) = (dir.path().to_owned(), CancellationToken::new());
    let stopped = stop.clone();
    std::thread::spawn(move || checkpoint::run(&files, &Files::default(), &stopped, || {}));
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
