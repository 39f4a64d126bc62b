//! From `kill -9` to reads being served again.
//!
//! The daemon is killed right after its first load, when its logs are as long as they get, and again while changes
//! arrive. The time runs from the kill to the first answer over HTTP, the start of the process included.
//! `STORESYNC_BENCH_PRODUCTS=1_000_000` sets the number of products. Target: 1 s with a million.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::world::{self, Sandbox};

const PRODUCTS: usize = 50_000;
const KILLS: usize = 5;
const EVENTS_PER_TRANSACTION: usize = 500;
const LOOK: Duration = Duration::from_millis(1);

pub fn run() {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(measure());
}

async fn measure() {
    let products = world::number("STORESYNC_BENCH_PRODUCTS", PRODUCTS);
    let org = Sandbox::start(products).await;
    let mut daemon = org.daemon(&[]);
    let rows = daemon.live().await;
    let some = org.products(EVENTS_PER_TRANSACTION).await;
    let mut times = Vec::with_capacity(KILLS);
    for kill in 0..KILLS {
        if kill > 0 {
            org.update_all(&some, &format!("before kill {kill}")).await;
        }
        let killed = Instant::now();
        daemon.process.kill();
        // Each listens on a port of its own; the address is told as soon as it is taken.
        daemon = org.daemon(&[]);
        let path = format!("{}/v1/objects/Product2/{}", daemon.api, some[kill]);
        while !reqwest::get(&path)
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            tokio::time::sleep(LOOK).await;
        }
        times.push(killed.elapsed());
    }
    let shown: Vec<String> = times
        .iter()
        .map(|time| format!("{:.2}", time.as_secs_f64()))
        .collect();
    println!(
        "{products} products, {rows} rows: serving again after {} s (target at most 1 s with a million)",
        shown.join(", ")
    );
    let reloaded = daemon.live().await;
    assert_eq!(reloaded, rows, "nothing had to be loaded again");
}
