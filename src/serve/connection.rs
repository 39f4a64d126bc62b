//! One connection of a client: how long it may be silent, and how much of it may wait in memory.
//!
//! Promises that a client who sends nothing, sends too slowly or does not take its answers loses the connection after a
//! stated time, whatever protocol it speaks, and that what waits for it is bounded: bodies that are not complete by one
//! budget for all clients, answers that are not taken by a limit of the connection. The protocols' own libraries know the
//! time of an HTTP/1 head alone.
//!
//! Accepted: limits of time are looked at every few seconds, so that a connection may live that much longer.

mod limits;
mod proxies;
mod requests;
mod seats;
mod watched;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tower_http::compression::Compression;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate as _, SizeAbove};

use crate::config::Proxies;
use crate::serve::foreign::Facing;
use crate::telemetry::metrics;
use limits::Doing;
pub use limits::{Limits, Reason};
pub use proxies::Peer;
use requests::Requests;
pub use requests::{BODY_BYTES_MAX, LetIn, Receiving};
pub use seats::{Seat, Seats, Source};
use watched::Watched;

/// How often the limits of time are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How long a client may take to take the news that its connection ends.
const FAREWELL_MAX: Duration = Duration::from_secs(1);
/// Shorter answers fit into one packet as they are, and packing one costs more than making it.
const PACKED_BYTES_MIN: u16 = 1_024;
/// Most of a head, and what is read ahead of a request that waits for the answer before it.
const HEAD_BYTES_MAX: usize = 32 * 1024;
const HEADERS_MAX: usize = 100;
const REQUESTS_AT_A_TIME_MAX: u32 = 100;
/// Streams of changes on one connection.
pub const STREAMS_MAX: usize = 4;
/// What a client may send ahead of being read: of one stream, and of the connection.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// What of an answer waits in the protocol's own memory.
const SEND_BYTES_MAX: usize = 64 * 1024;
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// Streams that a client opened and reset before they were looked at, and that were reset for its errors.
const RESETS_PENDING_MAX: usize = 20;
const RESETS_OF_ERRORS_MAX: usize = 64;
/// A client that does not answer a ping is gone.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_ANSWER_MAX: Duration = Duration::from_secs(10);

/// A connection as its socket, its requests and whoever looks after it see it.
#[derive(Debug)]
pub struct Connection {
    doing: Mutex<Doing>,
    limits: Limits,
    /// Rung when less waits for the client, so that the next answer may be made.
    room: Notify,
    /// Rung when it is to end.
    ended: Notify,
    streams: Streams,
}

/// How many more streams of changes a connection may have; beside each of its requests.
#[derive(Clone, Debug)]
pub struct Streams(pub Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS_MAX)))
    }
}

impl Connection {
    fn new(limits: Limits, is_kept: bool) -> Arc<Self> {
        Arc::new(Self {
            doing: Mutex::new(Doing::new(Instant::now(), is_kept)),
            limits,
            room: Notify::new(),
            ended: Notify::new(),
            streams: Streams::default(),
        })
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it as soon as its task is woken.
    fn end(&self, reason: Reason) {
        self.doing().end(reason);
        self.ended.notify_one();
    }

    /// Waits for the handshake of TLS for as long as it may take; else says why it is to end.
    pub async fn shake<T>(&self, handshake: impl Future<Output = T>) -> Result<T, Reason> {
        self.doing().shakes();
        tokio::select! {
            shaken = handshake => {
                self.doing().shook(Instant::now());
                Ok(shaken)
            }
            reason = self.overdue() => Err(reason),
        }
    }

    /// Waits until it is to end, and says why.
    async fn overdue(&self) -> Reason {
        loop {
            let (due, reason) = self.doing().due(&self.limits);
            let now = Instant::now();
            if due.is_some_and(|due| due <= now) {
                return reason;
            }
            let next = due.map_or(now + LOOK, |due| due.min(now + LOOK));
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                () = self.ended.notified() => {}
            }
        }
    }
}

/// What is served to whom.
pub struct Served {
    pub router: Router,
    pub facing: Facing,
    /// Whether the configuration has no tokens for the listener, just now.
    pub is_open: Box<dyn Fn() -> bool + Send + Sync>,
    pub proxies: Proxies,
    pub receiving: Arc<Receiving>,
    /// The listener's name, for metrics.
    pub listener: &'static str,
    /// What is answered to a GET on a kept place.
    pub kept_paths: &'static [&'static str],
    pub stop: CancellationToken,
}

/// Serves a connection to its end.
pub async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: Arc<Connection>,
    served: Arc<Served>,
    peer: Peer,
) {
    let requests = Requests {
        peer,
        served: Arc::clone(&served),
        connection: Arc::clone(&connection),
    };
    // Pages hold what their forms carry beside what is asked for: their length would tell of both.
    let packed = DefaultPredicate::new()
        .and(SizeAbove::new(PACKED_BYTES_MIN))
        .and(NotForContentType::new("text/html"));
    let service = TowerToHyperService::new(Compression::new(requests).compress_when(packed));
    let stream = TokioIo::new(Watched::new(stream, Arc::clone(&connection)));
    let builder = protocols(&connection.limits);
    let serving = builder.serve_connection(stream, service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = served.stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
        reason = connection.overdue() => {
            metrics::CONNECTIONS_ENDED.count([served.listener, reason.name()]);
            serving.as_mut().graceful_shutdown();
            // One that takes nothing any more does not take this either.
            tokio::time::timeout(FAREWELL_MAX, serving).await.unwrap_or(Ok(()))
        }
    };
    // A connection ends with an error whenever its client goes away, which is nothing to tell.
    if let Err(error) = ended {
        tracing::debug!("a connection ended: {error}");
    }
}

/// The protocols with their limits: each is set in words, since the libraries' own are other ones in each version.
fn protocols(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_http1)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        // Else answers that are not taken are gathered without a limit.
        .pipeline_flush(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER_MAX)
        .max_concurrent_streams(REQUESTS_AT_A_TIME_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(RESETS_OF_ERRORS_MAX);
    builder
}

#[cfg(test)]
mod tests;
