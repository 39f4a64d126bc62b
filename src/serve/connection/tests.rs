//! Clients that are silent, slow, greedy or many, over real sockets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config;
use crate::serve::listen::{self, Door, Listener};

const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
/// No limit of a test is reached by itself.
const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(100);
const PATIENT: Limits = Limits {
    first_byte: LONG,
    head: LONG,
    idle_http1: LONG,
    idle_http2: LONG,
    stall: LONG,
    handshake: LONG,
    kept: LONG,
};

/// A listener of its own name, whose answers are so large.
struct Shop {
    address: SocketAddr,
    listener: &'static str,
    receiving: Arc<Receiving>,
    calls: Arc<AtomicUsize>,
    /// Rung to let answers of `/wait` go.
    release: Arc<Notify>,
}

impl Shop {
    async fn open(listener: &'static str, limits: Limits, most: usize, answer_bytes: usize) -> Self {
        Self::behind(listener, limits, most, answer_bytes, None).await
    }

    async fn behind(
        listener: &'static str,
        limits: Limits,
        most: usize,
        answer_bytes: usize,
        tls: Option<&config::Tls>,
    ) -> Self {
        let (calls, release) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let answer = Bytes::from(vec![b'x'; answer_bytes]);
        let waiting = Arc::clone(&release);
        let counted = Arc::clone(&calls);
        let router = Router::new()
            .route(
                "/",
                get(move || async move {
                    counted.fetch_add(1, Ordering::Relaxed);
                    answer
                }),
            )
            .route("/kept", get(async || "kept"))
            .route("/wait", get(async move || waiting.notified().await))
            .route("/length", post(async |body: Bytes| body.len().to_string()));
        let receiving = Arc::new(Receiving::of(64 * 1024, 48 * 1024));
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let served = Served {
            router,
            facing: Facing {
                has_named_sockets: true,
                ..Facing::default()
            },
            is_open: Box::new(|| true),
            proxies: Proxies::default(),
            receiving: Arc::clone(&receiving),
            listener,
            kept_paths: &["/kept"],
            stop: CancellationToken::new(),
        };
        tokio::spawn(listen::serve(Door {
            listener: Listener::new(socket.into_std().unwrap(), tls).unwrap(),
            seats: Seats::new(listener, most, most, limits),
            served: Arc::new(served),
        }));
        Self {
            address,
            listener,
            receiving,
            calls,
            release,
        }
    }

    async fn sends(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// How many connections were ended for a reason.
    fn ended(&self, reason: &str) -> usize {
        let mut text = String::new();
        metrics::render(&mut text);
        let sample = format!(
            "storesync_connections_ended_total{{listener=\"{}\",reason=\"{reason}\"}} ",
            self.listener
        );
        let line = text.lines().find_map(|line| line.strip_prefix(&sample));
        line.map_or(0, |count| count.parse().unwrap())
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}");
}

/// All that comes until the connection is closed.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    // A connection that is cut off is closed too.
    let _read = stream.read_to_end(&mut all).await;
    all
}

/// One answer to a request without a body; the connection stays open.
async fn answer(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    while !all.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        all.push(byte[0]);
    }
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn silence_of_each_kind_ends_a_connection() {
    for (listener, limits, sent, reason) in [
        (
            "silent",
            Limits {
                first_byte: SHORT,
                ..PATIENT
            },
            &b""[..],
            "silent",
        ),
        (
            "half",
            Limits {
                head: SHORT,
                ..PATIENT
            },
            b"GET / HT",
            "head",
        ),
        (
            "preface",
            Limits {
                idle_http2: SHORT,
                ..PATIENT
            },
            HTTP2,
            "idle",
        ),
    ] {
        let shop = Shop::open(listener, limits, 4, 0).await;
        rest(shop.sends(sent).await).await;
        assert_eq!(shop.ended(reason), 1, "{listener}");
    }
}

#[tokio::test]
async fn a_connection_may_rest_between_two_requests_and_not_for_ever() {
    let limits = Limits {
        idle_http1: SHORT,
        head: SHORT / 10,
        ..PATIENT
    };
    let shop = Shop::open("rests", limits, 4, 0).await;
    let mut stream = shop.sends(GET).await;
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
    assert_eq!(rest(stream).await, b"");
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Asks for `/` on so many streams, with a window of nothing for each answer.
fn without_a_window(streams: u8) -> Vec<u8> {
    let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    // GET, http, `/`, and the authority `x`.
    let head = [0x82, 0x86, 0x84, 0x41, 1, b'x'];
    let requests = (0..streams).flat_map(|number| frame(1, 5, 2 * number + 1, &head));
    HTTP2.iter().copied().chain(settings).chain(requests).collect()
}

#[tokio::test]
async fn whoever_takes_no_answer_is_let_go() {
    let limits = Limits {
        stall: SHORT,
        ..PATIENT
    };
    for (listener, sent) in [("unread", GET.to_vec()), ("window", without_a_window(1))] {
        let shop = Shop::open(listener, limits, 4, 64 * 1024 * 1024).await;
        let stream = shop.sends(&sent).await;
        eventually("it is ended", || shop.ended("stalled") == 1).await;
        drop(stream);
    }
}

#[tokio::test]
async fn answers_are_not_made_ahead_of_being_taken() {
    const ANSWER: usize = 256 * 1024;
    let limits = Limits {
        stall: SHORT * 5,
        ..PATIENT
    };
    for (listener, sent) in [("pipeline", GET.repeat(100)), ("streams", without_a_window(100))] {
        let shop = Shop::open(listener, limits, 4, ANSWER).await;
        let stream = shop.sends(&sent).await;
        eventually("it is ended", || shop.ended("stalled") == 1).await;
        drop(stream);
        // What the sockets hold of the first is given away; a limit of the connection holds the rest.
        let calls = shop.calls.load(Ordering::Relaxed);
        assert!((1..60).contains(&calls), "{listener}: {calls} answers were made");
    }
}

#[tokio::test]
async fn whoever_pings_much_is_heard_slowly() {
    let shop = Shop::open("pings", PATIENT, 4, 0).await;
    let ping = frame(6, 0, 0, &[0; 8]);
    let asks = without_a_window(1);
    for (many, is_slow) in [(3_000, false), (12_000, true)] {
        let calls = shop.calls.load(Ordering::Relaxed);
        let began = Instant::now();
        let start = asks.len() - 15;
        let sent = [&asks[..start], &ping.repeat(many), &asks[start..]].concat();
        let mut stream = shop.sends(b"").await;
        let (mut reads, mut writes) = stream.split();
        let mut buffer = vec![0; 64 * 1024];
        let answered = eventually("it is answered", || shop.calls.load(Ordering::Relaxed) > calls);
        let reading = async { while reads.read(&mut buffer).await.is_ok_and(|read| read > 0) {} };
        let sending = async {
            writes.write_all(&sent).await.unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = answered => {}
            () = reading => panic!("it was closed"),
            () = sending => {}
        }
        // 204 KB: 8 KiB in each 50 ms, but for the first 64 KiB.
        assert_eq!(
            began.elapsed() > Duration::from_millis(600),
            is_slow,
            "{many}: {:?}",
            began.elapsed()
        );
    }
}

/// The head of a body, and the first part of it.
fn part(length: usize, sent: usize) -> Vec<u8> {
    let head = format!("POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), &vec![b' '; sent]].concat()
}

#[tokio::test]
async fn bodies_that_do_not_end_are_held_against_one_budget() {
    let shop = Shop::open("bodies", PATIENT, 8, 0).await;
    let mut slow = shop.sends(&part(40_000, 30_000)).await;
    eventually("it is held", || shop.receiving.held_bytes() == 30_000).await;
    let mut other = shop.sends(&part(40_000, 40_000)).await;
    let told = answer(&mut other).await;
    assert!(
        told.starts_with("HTTP/1.1 503") && told.contains("retry-after: "),
        "{told}"
    );
    slow.write_all(&vec![b' '; 10_000]).await.unwrap();
    assert!(answer(&mut slow).await.starts_with("HTTP/1.1 200"));
    eventually("all is given back", || shop.receiving.held_bytes() == 0).await;
    let leaving = shop.sends(&part(40_000, 30_000)).await;
    eventually("it is held", || shop.receiving.held_bytes() == 30_000).await;
    drop(leaving);
    eventually("it is given back", || shop.receiving.held_bytes() == 0).await;
}

#[tokio::test]
async fn a_body_is_refused_by_its_head() {
    let shop = Shop::open("heads", PATIENT, 8, 0).await;
    for (headers, status) in [
        ("Content-Length: 2000000\r\nExpect: 100-continue", "413"),
        ("Content-Length: 5\r\nContent-Encoding: gzip", "415"),
        ("Host: y\r\nContent-Length: 0", "400"),
    ] {
        let request = format!("POST /length HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n");
        let mut stream = shop.sends(request.as_bytes()).await;
        let told = answer(&mut stream).await;
        assert!(
            told.starts_with(&format!("HTTP/1.1 {status}")),
            "{headers}: {told}"
        );
    }
}

#[tokio::test]
async fn a_listener_that_is_full_lets_the_idle_go_and_refuses_where_nobody_is() {
    const WAIT: &[u8] = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n";
    let shop = Shop::open("full", PATIENT, 2, 0).await;
    let mut idle = shop.sends(GET).await;
    answer(&mut idle).await;
    let mut first = shop.sends(GET).await;
    answer(&mut first).await;
    let mut third = shop.sends(GET).await;
    assert!(answer(&mut third).await.starts_with("HTTP/1.1 200"));
    assert_eq!(
        rest(idle).await,
        b"",
        "the one that was idle for longest has gone"
    );
    for stream in [&mut first, &mut third] {
        stream.write_all(WAIT).await.unwrap();
    }
    let told = async |sent: &[u8]| String::from_utf8(rest(shop.sends(sent).await).await).unwrap();
    let refused = async |sent| {
        let told = told(sent).await;
        told.starts_with("HTTP/1.1 503")
            && told.contains("retry-after: ")
            && told.contains("connection: close")
    };
    // Both wait for their answers once a further client is refused.
    for _ in 0..1_000 {
        if refused(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await {
            break;
        }
    }
    assert!(refused(GET).await && shop.ended("full") > 0);
    assert!(refused(b"POST /kept HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await);
    let kept = told(b"GET /kept HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(
        kept.starts_with("HTTP/1.1 200") && kept.contains("connection: close"),
        "{kept}"
    );
    shop.release.notify_waiters();
}

#[tokio::test]
async fn a_handshake_that_does_not_end_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = config::Tls {
        cert_file: dir.path().join("web.pem"),
        key_file: dir.path().join("web.key"),
    };
    std::fs::write(&tls.cert_file, made.cert.pem()).unwrap();
    std::fs::write(&tls.key_file, made.signing_key.serialize_pem()).unwrap();
    let limits = Limits {
        handshake: SHORT,
        ..PATIENT
    };
    let shop = Shop::behind("shakes", limits, 4, 0, Some(&tls)).await;
    // A hello that says how long it is, and no more.
    assert_eq!(rest(shop.sends(&[22, 3, 1, 2, 0, 1]).await).await, b"");
    assert_eq!(shop.ended("handshake"), 1);
    // One that is idle in its handshake makes room at once.
    let shop = Shop::behind("shaken", PATIENT, 1, 0, Some(&tls)).await;
    let first = shop.sends(&[22, 3, 1, 2, 0, 1]).await;
    eventually("it has its place", || shop.ended("evicted") == 0).await;
    let _second = shop.sends(&[22, 3, 1]).await;
    assert_eq!(rest(first).await, b"");
    assert_eq!(shop.ended("evicted"), 1);
}
