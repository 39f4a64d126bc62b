//! Memory of the daemon while it loads a whole catalogue, small and large, each against an org of its own.
//!
//! Both are processes, as users run them; what is printed is the daemon's peak of resident memory, from the kernel.
//! Target: a million products take at most 1.5 times what ten thousand take, and under 100 MB.

use std::io::Read;
use std::path::Path;
use std::process::Child;
use std::time::Instant;

use tokio::runtime::Runtime;

use crate::world::Sandbox;

const PRODUCTS: [usize; 2] = [10_000, 1_000_000];

pub fn run() {
    let runtime = Runtime::new().expect("a runtime");
    let peaks = PRODUCTS.map(|products| runtime.block_on(load(products)));
    println!(
        "peak at {} products: {:.2}x the peak at {} (target at most 1.5x)",
        PRODUCTS[1],
        peaks[1] as f64 / peaks[0] as f64,
        PRODUCTS[0]
    );
}

/// Loads an org of so many products; gives the daemon's peak in kB.
async fn load(products: usize) -> u64 {
    let org = Sandbox::start(products).await;
    let started = Instant::now();
    let daemon = org.daemon(&[]);
    let rows = daemon.live().await;
    let seconds = started.elapsed().as_secs_f64();
    let peak = peak(&daemon.process.0);
    println!(
        "{products:>9} products: {rows} rows loaded in {seconds:.1} s ({:.0}/s), daemon's peak {:.1} MB; \
         the org was seeded in {:.1} s, its peak is {:.0} MB",
        rows as f64 / seconds,
        peak as f64 / 1_000.0,
        org.seeded.as_secs_f64(),
        self::peak(&org.process.0) as f64 / 1_000.0,
    );
    peak
}

/// Peak of resident memory in kB.
fn peak(process: &Child) -> u64 {
    let mut status = String::new();
    std::fs::File::open(Path::new("/proc").join(process.id().to_string()).join("status"))
        .and_then(|mut file| file.read_to_string(&mut status))
        .expect("Linux tells of a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("a peak")
}
