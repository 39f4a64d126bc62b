//! Thousands who listen at once: each hears of every change, or is told to begin anew, and the daemon stays small.
//!
//! How many is told by `STORESYNC_LISTENERS`; without it there are fewer, for the sake of everyday's tests.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{Daemon, PATIENCE, Running, Sandbox};

/// One who listens, with as little of a client as that takes: the test has to hold as many as the daemon.
struct Listener {
    socket: TcpStream,
    text: Vec<u8>,
    heard: BTreeSet<String>,
    reset: bool,
}

impl Listener {
    async fn open(daemon: &Daemon) -> Self {
        let address = daemon.api.trim_start_matches("http://");
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /v1/changes?store=harbour-pine HTTP/1.1\r\nhost: {address}\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let (text, heard) = (Vec::new(), BTreeSet::new());
        let mut listener = Self {
            socket,
            text,
            heard,
            reset: false,
        };
        listener.until("ready").await;
        listener
    }

    /// Reads until the words are in an event.
    async fn until(&mut self, words: &str) {
        loop {
            while let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
                let event = String::from_utf8_lossy(&self.text[..end]).into_owned();
                self.text.drain(..end + 2);
                self.reset |= event.contains("event: reset");
                if event.contains("event: change") {
                    let name = event.split("\"rev\":").nth(1).unwrap();
                    self.heard.insert(name.split(',').next().unwrap().to_owned());
                }
                if event.contains(words) {
                    return;
                }
            }
            let read = tokio::time::timeout(PATIENCE, self.socket.read_buf(&mut self.text)).await;
            assert_ne!(read.expect("an event").unwrap(), 0, "the stream has ended");
        }
    }
}

/// The store's own change is the last.
async fn to_the_last(mut listener: Listener) -> Listener {
    listener.until("s_c__Store__c").await;
    listener
}

/// Resident memory in kB, now and at its highest.
fn resident(running: &Running) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().split_whitespace().next().unwrap().parse().unwrap()
    };
    (of("VmRSS:"), of("VmHWM:"))
}

#[tokio::test]
async fn many_listeners_hear_of_every_change() {
    const CHANGES: usize = 150;
    let listeners = std::env::var("STORESYNC_LISTENERS").map_or(400, |text| text.parse().unwrap());
    let sandbox = Sandbox::start(&["--products", "8", "--stores", "1"]).await;
    // The soft limit of open files is too low for that, as it is on many machines: the daemon raises its own.
    let daemon = sandbox.daemon_after("ulimit -Sn 256").await;
    daemon.live().await;
    let id = sandbox.some("Product2", "WHERE ProductCode = 'SKU-1'").await;
    let (alone, _) = resident(&daemon.running);
    let mut all = Vec::with_capacity(listeners);
    for _ in 0..listeners {
        all.push(Listener::open(&daemon).await);
    }
    let (seated, _) = resident(&daemon.running);
    // Half of them do not read while all of it happens: what they miss waits in the feed, not in the daemon.
    let idle = all.split_off(listeners / 2);
    let began = Instant::now();
    let hearing: Vec<_> = all
        .into_iter()
        .map(|listener| tokio::spawn(to_the_last(listener)))
        .collect();
    for at in 0..CHANGES {
        let name = format!("{} {at}", "a longer name ".repeat(8));
        sandbox.update("Product2", &id, json!({"Name": name})).await;
    }
    let store = sandbox.some("s_c__Store__c", "").await;
    sandbox
        .update("s_c__Store__c", &store, json!({"s_c__Cache_Version__c": "2"}))
        .await;
    let mut heard = Vec::new();
    for listener in hearing {
        heard.push(listener.await.unwrap());
    }
    let told = began.elapsed();
    for listener in idle {
        heard.push(to_the_last(listener).await);
    }
    let (_, peak) = resident(&daemon.running);
    println!(
        "{listeners} listeners, {CHANGES} changes each: {alone} kB before, {seated} kB with all, {peak} kB at most, \
         {:.1} kB a listener; the half that reads had all of it after {:.1} s",
        (peak - alone) as f64 / listeners as f64,
        told.as_secs_f64()
    );
    let most = heard.iter().map(|listener| listener.heard.len()).max().unwrap();
    for listener in &heard {
        assert!(
            listener.reset || listener.heard.len() == most,
            "{} of {most}",
            listener.heard.len()
        );
    }
    assert!(
        peak - alone < 16_384 + 64 * listeners as u64,
        "{alone} kB, then {peak} kB"
    );
    // The daemon stops in time though streams are open.
    let mut daemon = daemon;
    let began = Instant::now();
    daemon.running.stop();
    assert!(began.elapsed() < Duration::from_secs(15));
}
