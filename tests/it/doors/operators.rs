//! The operators' listener answers whatever happens beside it, and where there is room for nobody.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::host;
use crate::monitoring::metrics;
use crate::monitoring::moving::value_of;
use crate::world::{Daemon, Sandbox, a_store, eventually, order};

/// As many as the operators' listener has.
const PLACES: usize = 256;

fn ended(text: &str, reason: &str) -> f64 {
    let sample = format!("storesync_connections_ended_total{{listener=\"admin\",reason=\"{reason}\"}}");
    value_of(text, &sample)
}

/// A request on a connection of its own: its status and the whole answer.
async fn asked(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).await.unwrap();
    (told[9..12].parse().unwrap(), told)
}

#[tokio::test]
async fn operators_are_answered_while_all_else_stands_still() {
    let org = Sandbox::start(&["--products", "5"]).await;
    // One thread for all stages, which stops.
    let daemon = org
        .daemon_with(&[
            ("TOKIO_WORKER_THREADS", "1"),
            ("STORESYNC_FAILPOINT", "heart:3"),
            ("STORESYNC_BOUND_STILL_MILLIS", "3000"),
        ])
        .await;
    let admin = host(&daemon.admin).to_owned();
    assert_eq!(asked(&admin, "/livez").await.0, 200);
    eventually("the thread stops", async || {
        daemon
            .running
            .said()
            .contains("the failpoint heart")
            .then_some(())
    })
    .await;
    let silent = tokio::time::timeout(Duration::from_secs(1), daemon.get("/v1/stores")).await;
    assert!(silent.is_err(), "storefronts are served: {silent:?}");
    let (_, told) = eventually("it is said that they are not", async || {
        let answer = asked(&admin, "/livez").await;
        (answer.0 == 503).then_some(answer)
    })
    .await;
    assert!(told.contains("have stood still for"), "{told}");
    for path in ["/livez", "/readyz", "/login", "/status", "/metrics"] {
        let began = Instant::now();
        let (status, told) = asked(&admin, path).await;
        assert!([200, 503].contains(&status), "{path}: {told}");
        assert!(began.elapsed() < Duration::from_secs(2), "{path}");
    }
}

/// Logs in with a body that never ends, and so keeps a place.
async fn busy(address: &str) -> TcpStream {
    let request = format!(
        "POST /login HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ntoken="
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn probes_and_the_login_have_places_of_their_own() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let daemon = org.daemon().await;
    let admin = host(&daemon.admin).to_owned();
    let mut all = Vec::new();
    for _ in 0..PLACES {
        all.push(busy(&admin).await);
    }
    let all = std::sync::Mutex::new(all);
    eventually("there is room for nobody", async || {
        // One that was not read yet was idle, and made room for another.
        let next = busy(&admin).await;
        all.lock().unwrap().push(next);
        let (status, told) = asked(&admin, "/status").await;
        (status == 503 && told.contains("retry-after: ") && told.contains("all places")).then_some(())
    })
    .await;
    for path in ["/livez", "/login"] {
        let (status, told) = asked(&admin, path).await;
        assert_eq!(status, 200, "{path}: {told}");
        assert!(told.contains("connection: close"), "{told}");
    }
    assert!([200, 503].contains(&asked(&admin, "/readyz").await.0));
    // Whoever says nothing in a kept place has it for two seconds, and leaves it at once to whoever asks.
    let began = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(&admin).await.unwrap());
    }
    assert_eq!(asked(&admin, "/livez").await.0, 200);
    for stream in &mut silent {
        let mut told = Vec::new();
        let _closed = stream.read_to_end(&mut told).await;
    }
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    drop(all);
    let counted = eventually("there is room again", async || {
        let answer = reqwest::get(format!("{}/metrics", daemon.admin)).await.ok()?;
        (answer.status() == 200).then_some(())?;
        answer.text().await.ok()
    })
    .await;
    for reason in ["full", "kept", "evicted"] {
        assert!(ended(&counted, reason) > 0.5, "{reason}: {counted}");
    }
}

async fn open_files(daemon: &Daemon) -> usize {
    let files = format!("/proc/{}/fd", daemon.running.child.id());
    std::fs::read_dir(files).unwrap().count()
}

#[tokio::test]
async fn a_process_that_may_open_no_more_files_says_so_to_whoever_comes() {
    const FILES: usize = 200;
    let org = Sandbox::start(&["--products", "5"]).await;
    let daemon = org.daemon_after(&format!("ulimit -n {FILES}")).await;
    daemon.live().await;
    let before = open_files(&daemon).await;
    let mut clients = Vec::new();
    for _ in 0..2 * FILES {
        clients.push(TcpStream::connect(host(&daemon.admin)).await.unwrap());
    }
    let mut refused = 0;
    for client in &mut clients {
        let mut told = [0; 200];
        let heard = tokio::time::timeout(Duration::from_millis(20), client.read(&mut told)).await;
        let told = String::from_utf8_lossy(&told).into_owned();
        if matches!(heard, Ok(Ok(1..))) {
            assert!(
                told.starts_with("HTTP/1.1 503") && told.contains("Retry-After: "),
                "{told}"
            );
            refused += 1;
        }
    }
    assert!(refused > 0, "{before} files were open before");
    drop(clients);
    let text = eventually("all is well again", async || {
        (open_files(&daemon).await < before + 20).then_some(())?;
        let (status, _) = daemon.get("/v1/stores").await?;
        (status == 200).then_some(metrics(&daemon).await)
    })
    .await;
    assert!(ended(&text, "files") >= f64::from(refused), "{refused} of {text}");
    let said = daemon.running.said();
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("may open no more files"))
        .collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("1 connections were refused"), "{lines:?}");
    let ready: Value = reqwest::get(format!("{}/readyz", daemon.admin))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(ready["ready"], true, "{ready}");
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_not_ready_while_another_process_holds_their_file() {
    let org = Sandbox::start(&["--products", "8", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let admin = host(&daemon.admin).to_owned();
    assert_eq!(asked(&admin, "/readyz").await.0, 200);

    let holder = rusqlite::Connection::open(org.state().join("outbox.db")).unwrap();
    holder.execute_batch("begin immediate").unwrap();
    let posted = order("HELD-1", &currency, &[(&products[0], 1)]);
    let placed = daemon.place(&store, &posted);
    let told = async {
        let (_, told) = eventually("orders are told to stand still", async || {
            let answer = asked(&admin, "/readyz").await;
            (answer.0 == 503).then_some(answer)
        })
        .await;
        assert!(told.contains("the writer of orders does not answer"), "{told}");
        assert!(told.contains("\"reads\":{\"ready\":true"), "{told}");
        holder.execute_batch("rollback").unwrap();
    };
    let (placed, ()) = tokio::join!(placed, told);
    assert_eq!(placed.unwrap().0, 202);
    eventually("orders are ready again", async || {
        (asked(&admin, "/readyz").await.0 == 200).then_some(())
    })
    .await;
}
