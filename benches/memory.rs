//! Memory of the daemon while it loads a whole catalogue, small and large, each against an org of its own.
//!
//! Both are processes, as users run them; what is printed is the daemon's peak of resident memory, from the kernel.
//! Target: a million products take at most 1.5 times what ten thousand take, and under 100 MB.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::Runtime;

const PRODUCTS: [u32; 2] = [10_000, 1_000_000];

/// Longer than the first load takes on a slow machine.
const LOAD_MAX: Duration = Duration::from_secs(1_800);

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
async fn load(products: u32) -> u64 {
    let dir = tempfile::tempdir().expect("a folder");
    let started = Instant::now();
    let mut org = Process::start(
        storesync()
            .args(["sandbox", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"])
            .args(["--products", &products.to_string(), "--data"])
            .arg(dir.path())
            .stdout(Stdio::piped()),
    );
    let mut ready = BufReader::new(org.0.stdout.take().expect("its output"));
    ready
        .read_line(&mut String::new())
        .expect("the line that says it is ready");
    let seeded = started.elapsed();

    let started = Instant::now();
    let mut daemon = Process::start(
        storesync()
            .arg("run")
            .arg("--config")
            .arg(dir.path().join("config.toml"))
            .env("STORESYNC__SERVE__LISTEN", "127.0.0.1:0")
            .env("STORESYNC__ADMIN__LISTEN", "127.0.0.1:0")
            .stderr(Stdio::piped()),
    );
    let admin = address(&mut daemon);
    let rows = live(&admin).await;
    let seconds = started.elapsed().as_secs_f64();
    let peak = peak(&daemon.0);
    println!(
        "{products:>9} products: {rows} rows loaded in {seconds:.1} s ({:.0}/s), daemon's peak {:.1} MB; \
         the org was seeded in {:.1} s, its peak is {:.0} MB",
        rows as f64 / seconds,
        peak as f64 / 1_000.0,
        seeded.as_secs_f64(),
        self::peak(&org.0) as f64 / 1_000.0,
    );
    peak
}

fn storesync() -> Command {
    Command::new(env!("CARGO_BIN_EXE_storesync"))
}

/// Ends with the bench, however that ends.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("storesync starts"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the daemon says that operators are served.
fn address(daemon: &mut Process) -> String {
    let mut lines = BufReader::new(daemon.0.stderr.take().expect("its words")).lines();
    let line = lines
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.contains("operators are served on"))
        .expect("the daemon says where it listens");
    // Read to the end, so that the pipe never fills.
    std::thread::spawn(move || lines.for_each(drop));
    let url = line.split_whitespace().find(|word| word.starts_with("http://"));
    url.expect("an address").to_owned()
}

/// Waits until everything is loaded; gives the number of rows.
async fn live(admin: &str) -> u64 {
    let started = Instant::now();
    while started.elapsed() < LOAD_MAX {
        let answer = reqwest::get(format!("{admin}/status"))
            .await
            .expect("the daemon answers");
        let status: Value = answer.json().await.expect("JSON");
        let objects = status["objects"].as_array().expect("objects");
        if !objects.is_empty() && objects.iter().all(|object| object["state"] == "live") {
            return objects.iter().filter_map(|object| object["rows"].as_u64()).sum();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("not loaded within {} s", LOAD_MAX.as_secs());
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
