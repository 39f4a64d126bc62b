//! Strangers at the listeners: pages of other sites, and clients that take without giving.

mod operators;
mod sockets;
mod streams;

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::monitoring::metrics;
use crate::monitoring::moving::value_of;
use crate::world::{Daemon, Sandbox, a_store, eventually, order, refused};

/// The part of an address that a Host header has.
fn host(base: &str) -> &str {
    base.trim_start_matches("http://")
}

/// The status of a request with further headers, and its answer.
async fn asked(method: Method, url: &str, headers: &[(&str, &str)], body: &str) -> (StatusCode, String) {
    let client = reqwest::Client::new();
    let mut request = client.request(method, url).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

#[tokio::test]
async fn a_page_of_another_site_reaches_no_listener() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let text = std::fs::read_to_string(org.config()).unwrap();
    let named = text
        .replace("[serve]", "[serve]\nhosts = [\"shop.internal\"]")
        .replace("[admin]", "[admin]\nhosts = [\"ops.internal:9000\"]");
    std::fs::write(org.config(), named).unwrap();
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let placed = order("WEB-1", &currency, &[(&products[0], 1)]);
    assert_eq!(daemon.place(&store, &placed).await.unwrap().0, 202);

    for (base, path, own) in [
        (&daemon.api, "/v1/stores", "shop.internal"),
        (&daemon.admin, "/status", "ops.internal:9000"),
        (&daemon.admin, "/login", "ops.internal:9000"),
    ] {
        let url = format!("{base}{path}");
        for (headers, status) in [
            (&[("host", "evil.test")][..], 421),
            (&[("host", own)], 200),
            (&[("host", host(base))], 200),
            (&[("x-forwarded-for", "192.0.2.1")], 403),
            (
                &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
                403,
            ),
        ] {
            let (found, told) = asked(Method::GET, &url, headers, "").await;
            assert_eq!(found, status, "{url} {headers:?}: {told}");
        }
    }
    let probe = format!("{}/readyz", daemon.admin);
    let (found, _) = asked(Method::GET, &probe, &[("host", "10.0.0.7:8081")], "").await;
    assert_eq!(found, 200, "a probe may ask by any name");

    let deed = format!("{}/api/orders/WEB-1/discard", daemon.admin);
    let body = r#"{"reason": "a page wanted it"}"#;
    let json = ("content-type", "application/json");
    for (headers, status) in [
        (&[("content-type", "text/plain")][..], 415),
        (&[json, ("origin", "http://evil.test")], 403),
        (&[json, ("origin", "null")], 403),
        (&[json, ("sec-fetch-site", "same-site")], 403),
        (&[json, ("host", "evil.test")], 421),
    ] {
        let (found, told) = asked(Method::POST, &deed, headers, body).await;
        assert_eq!(found, status, "{headers:?}: {told}");
    }
    let shown = daemon.admin_get("/api/orders/WEB-1").await;
    assert_ne!(shown["state"], "discarded", "{shown}");
    assert_eq!(shown["audit"], json!([]), "{shown}");
}

#[tokio::test]
async fn a_socket_that_is_handed_over_has_to_be_as_safe_as_one_that_is_bound() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let hand_over = |address: &str| {
        let plain = org.daemon_command(&[]);
        let script = format!(
            "import os,socket,sys\ns=socket.create_server(('{address}',0))\nos.dup2(s.fileno(),3); os.set_inheritable(3,True)\n\
             os.environ.update(LISTEN_FDS='1',LISTEN_PID=str(os.getpid()),LISTEN_FDNAMES='storefront')\n\
             os.execv(sys.argv[1],sys.argv[1:])"
        );
        let mut command = std::process::Command::new("python3");
        command
            .args(["-c", &script])
            .arg(plain.get_program())
            .args(plain.get_args());
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    };
    let (exit, said) = refused(hand_over("0.0.0.0"));
    assert_eq!(exit, Some(78), "{said}");
    assert!(said.contains("neither TLS nor tokens"), "{said}");
    let daemon = org.daemon_by(hand_over("127.0.0.1")).await;
    daemon.live().await;
}

/// What the daemon holds in memory, in bytes.
fn resident_bytes(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.running.child.id())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes * 1_024
}

#[tokio::test]
async fn answers_that_nobody_takes_are_not_kept() {
    const MEBIBYTE: u64 = 1024 * 1024;
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let address = host(&daemon.api).to_owned();
    let (_, document) = daemon.get("/openapi.json").await.unwrap();
    let size = document.to_string().len() as u64;
    let before = resident_bytes(&daemon);
    let request = format!("GET /openapi.json HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut greedy = TcpStream::connect(&address).await.unwrap();
    // As many as would fill half a gigabyte, as long as the daemon reads them.
    let many = usize::try_from(512 * MEBIBYTE / size).unwrap();
    let requests = request.as_bytes().repeat(many);
    let sending = greedy.write_all(&requests);
    let took_all = tokio::time::timeout(Duration::from_secs(5), sending)
        .await
        .is_ok();
    assert_eq!(daemon.get("/v1/stores").await.unwrap().0, 200);
    let grown = resident_bytes(&daemon).saturating_sub(before);
    assert!(
        grown < 64 * MEBIBYTE,
        "{} MiB more, all taken: {took_all}",
        grown / MEBIBYTE
    );
}

/// A frame of HTTP/2 that is about the connection.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, 0, 0, 0, 0, 0], payload].concat()
}

#[tokio::test]
async fn what_strangers_do_is_counted() {
    const ENDED: &str = "storesync_connections_ended_total{listener=\"storefront\",reason=\"noise\"}";
    const HELD: &str = "storesync_request_bytes_held";
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let address = host(&daemon.api).to_owned();
    let held = async || value_of(&metrics(&daemon).await, HELD);
    assert!(held().await.abs() < 0.5);
    let (store, ..) = a_store(&daemon).await;
    let head = format!(
        "POST /v1/stores/{store}/orders HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: 900000\r\n\r\n"
    );
    let mut unfinished = TcpStream::connect(&address).await.unwrap();
    let part = [head.into_bytes(), vec![b' '; 500_000]].concat();
    unfinished.write_all(&part).await.unwrap();
    eventually("what came of a body is counted", async || {
        (held().await > 499_999.0).then_some(())
    })
    .await;
    drop(unfinished);
    eventually("it is given back", async || (held().await < 0.5).then_some(())).await;

    let begins = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, &[])].concat();
    let mut noisy = TcpStream::connect(&address).await.unwrap();
    noisy.write_all(&begins).await.unwrap();
    let pings = frame(6, &[0; 8]).repeat(1_000);
    let (mut reads, mut writes) = noisy.split();
    let drained = async {
        let mut buffer = vec![0; 64 * 1024];
        while reads.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    };
    let flooding = async { while writes.write_all(&pings).await.is_ok() {} };
    tokio::select! {
        () = drained => {}
        () = flooding => {}
    }
    eventually("the flood is ended and counted", async || {
        (value_of(&metrics(&daemon).await, ENDED) > 0.5).then_some(())
    })
    .await;
    let said = daemon.running.said();
    assert!(!said.contains("h2") && !said.contains("WARN"), "{said}");
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    use crate::service::signal;
    use crate::storefront::tokens::token;
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let before = std::fs::read_to_string(org.config()).unwrap();
    let tokens = |names: &[&str]| {
        let all: String = names
            .iter()
            .map(|name| token("serve", name, "customers = true"))
            .collect();
        std::fs::write(org.config(), format!("{before}\n{all}")).unwrap();
    };
    tokens(&["old", "new"]);
    let daemon = org.daemon().await;
    let listen = async |name: &str| {
        let url = format!("{}/v1/changes", daemon.api);
        let request = reqwest::Client::new().get(url).bearer_auth(name);
        let mut answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.chunk().await.unwrap().unwrap();
        answer
    };
    let (mut old, mut new) = (listen("old").await, listen("new").await);
    tokens(&["new"]);
    signal(&daemon.running, "-HUP");
    // Whatever was on its way comes first.
    while old.chunk().await.unwrap().is_some() {}
    let heartbeat: Option<bytes::Bytes> = new.chunk().await.unwrap();
    assert!(heartbeat.is_some(), "the other one goes on");
}

#[tokio::test]
async fn a_method_that_somebody_makes_up_is_counted_under_one_name() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let daemon = org.daemon().await;
    for number in 0..50 {
        let method = Method::from_bytes(format!("ODD{number}").as_bytes()).unwrap();
        let json = [("content-type", "application/json")];
        asked(method, &format!("{}/v1/stores", daemon.api), &json, "").await;
    }
    let told: Value = json!(metrics(&daemon).await);
    let told = told.as_str().unwrap();
    assert!(
        !told.contains("ODD") && told.contains("method=\"other\""),
        "{told}"
    );
}

/// By bounds that make any queue full, and any read of many rows slow.
#[tokio::test]
async fn a_list_that_has_no_turn_or_takes_too_long_keeps_nothing_else_from_answering() {
    let org = Sandbox::start(&["--products", "60", "--stores", "1"]).await;
    for (bound, kind, retry) in [
        ("STORESYNC_BOUND_READS_WAITING", "too-busy", Some("1")),
        ("STORESYNC_BOUND_READ_MILLIS", "too-slow", None),
    ] {
        let daemon = org.daemon_with(&[(bound, "0")]).await;
        let product = org.some("Product2", "WHERE IsActive = true").await;
        let row = format!("{}/v1/objects/Product2/{product}", daemon.api);
        let list = format!("{}/v1/objects/Product2?limit=200&Family=Secret-7", daemon.api);
        let client = reqwest::Client::new();
        let answer = eventually("a list is refused", async || {
            let answer = client.get(&list).send().await.ok()?;
            let text = answer.headers().get("retry-after").cloned();
            let told: Value = answer.json().await.ok()?;
            let is_it = told["type"] == format!("urn:storesync:problem:{kind}");
            is_it.then_some((text, told))
        })
        .await;
        assert_eq!(answer.1["status"], 503);
        assert_eq!(answer.0.as_ref().map(|text| text.to_str().unwrap()), retry);
        eventually("a row is answered beside it", async || {
            (client.get(&row).send().await.ok()?.status() == 200).then_some(())
        })
        .await;
        let probe = format!("{}/livez", daemon.admin);
        assert_eq!(client.get(probe).send().await.unwrap().status(), 200);
        let is_slow = kind == "too-slow";
        if !is_slow {
            let sample = "storesync_reads_refused_total{reason=\"full\"}";
            assert!(value_of(&metrics(&daemon).await, sample) > 0.5);
        }
        let said = daemon.running.said();
        let told = said.matches("took too long and was given up").count();
        assert_eq!(told, usize::from(is_slow), "{said}");
        assert!(!said.contains("Secret-7"), "{said}");
    }
}

#[tokio::test]
async fn a_token_that_listens_often_keeps_no_other_from_listening() {
    use crate::storefront::tokens::{configure, token};
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let tokens = ["busy", "other"].map(|name| token("serve", name, ""));
    configure(&org, &tokens.concat());
    let daemon = org.daemon().await;
    daemon.live().await;
    let client = reqwest::Client::new();
    let url = format!("{}/v1/changes", daemon.api);
    let listen = async |name: &str| client.get(&url).bearer_auth(name).send().await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..64 {
        let stream = listen("busy").await;
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    let refused = listen("busy").await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let told: Value = refused.json().await.unwrap();
    assert!(
        told["detail"]
            .as_str()
            .unwrap()
            .contains("64 streams of this token"),
        "{told}"
    );
    assert_eq!(listen("other").await.status(), 200);
    streams.clear();
    eventually("one that is closed makes room", async || {
        (listen("busy").await.status() == 200).then_some(())
    })
    .await;
}
