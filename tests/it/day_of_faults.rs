//! Whether the mirror tells the truth about its own freshness, judged by somebody who does not believe it.
//!
//! Hours pass by moved clocks while the org, the machine and the daemon suffer faults that a seed draws, and while
//! records change in ways that are easy to miss. At each look what storesync says is held against the org's own log of
//! commits: the oldest commit that a reader cannot see is the true lag. Promised is that
//!
//! - the stated lag is at least the true one, of each object and each route, in headers and in `/status`;
//! - nothing is called live whose true lag is above the limit that was stated for it;
//! - where nothing fails, answers are live at 99 of 100 looks;
//! - after a fault, objects are live again within their interval and 30 s.
//!
//! Clocks are moved by hand: a move is a time in which the machine was suspended, and takes no real time. What the daemon
//! only waits for (to look again, to try a failed round again) passes in real time, so after a fault time stands still until
//! the daemon has had its turn.
//!
//! By default two short lives; `STORESYNC_DAYS=3` lives through three days of 24 hours, `STORESYNC_DAYS=17..18` through
//! that of the seed 17, `STORESYNC_HOURS=2` shortens them, `STORESYNC_FAULT=login` has that fault alone, and
//! `STORESYNC_LOG=info` shows what the daemons say.

mod faults;
mod life;
mod truth;

use std::sync::Mutex;
use std::time::Instant;

use crate::day_of_faults::life::{Life, Told};

/// Of moved time, where nothing else is asked for.
const SHORT_MINUTES: i64 = 15;

/// Lives at a time: most of a life is waiting.
const LIVES: usize = 2;

/// The seeds of every run; others by hand.
const SHORT_SEEDS: [u64; 2] = [52, 53];

fn seeds() -> (Vec<u64>, i64) {
    let hours = std::env::var("STORESYNC_HOURS").ok();
    let hours: Option<i64> = hours.map(|hours| hours.parse().unwrap());
    match std::env::var("STORESYNC_DAYS") {
        Err(_) => {
            let minutes = hours.map_or(SHORT_MINUTES, |hours| hours * 60);
            (SHORT_SEEDS.to_vec(), minutes)
        }
        Ok(days) => {
            let first = fastrand::u64(..1 << 40);
            let seeds = match days.split_once("..") {
                Some((from, to)) => (from.parse().unwrap()..to.parse().unwrap()).collect(),
                None => (first..first + days.parse::<u64>().unwrap()).collect(),
            };
            (seeds, hours.unwrap_or(24) * 60)
        }
    }
}

#[test]
fn a_day_of_faults() {
    if let Ok(filter) = std::env::var("STORESYNC_LOG") {
        let said = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr);
        said.init();
    }
    let (seeds, minutes) = seeds();
    let began = Instant::now();
    let left = Mutex::new(seeds.iter().copied());
    let (told, failed) = (Mutex::new(Told::default()), Mutex::new(Vec::new()));
    let lives = || {
        while let Some(seed) = { left.lock().unwrap().next() } {
            let life = std::thread::spawn(move || {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                runtime.block_on(Life::live_through(seed, minutes))
            });
            match life.join() {
                Ok(life) => told.lock().unwrap().add(&life),
                Err(_) => {
                    let hours = (minutes + 59) / 60;
                    eprintln!(
                        "a life failed: STORESYNC_DAYS={seed}..{} STORESYNC_HOURS={hours}",
                        seed + 1
                    );
                    failed.lock().unwrap().push(seed);
                }
            }
        }
    };
    std::thread::scope(|scope| (0..LIVES).for_each(|_| drop(scope.spawn(lives))));
    let (told, failed) = (told.into_inner().unwrap(), failed.into_inner().unwrap());
    println!("{told}\n{} lives in {} s", seeds.len(), began.elapsed().as_secs());
    assert!(failed.is_empty(), "failed with the seeds {failed:?}");
    // A retry takes its real time, in which the moved clock may pass by minutes: only long lives have enough of calm.
    if std::env::var("STORESYNC_DAYS").is_ok() {
        told.is_good();
    }
}
