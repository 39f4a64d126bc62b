//! Sockets: plain, TLS, or in the file system; bounded in number, and emptied in order when the daemon stops.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower_http::compression::Compression;
use tower_http::compression::predicate::{And, DefaultPredicate, Predicate as _, SizeAbove};

use crate::config::{self, ConfigError};
use crate::telemetry::pulse::Pulse;

/// Connections at a time, where the limit of open files leaves as many; the next wait in the system's queue.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Operators' connections at a time.
pub const ADMIN_CONNECTIONS_MAX: usize = 256;
/// Shorter answers fit into one packet as they are, and packing one costs more than making it.
const PACKED_BYTES_MIN: u16 = 1_024;
/// Open files that are not for storefronts' connections: the databases of each thread, the org, operators.
const FILES_KEPT: u64 = 512;
/// How long a client may take for a handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long it may take for a request's head, and stay silent between two.
const HEAD_MAX: Duration = Duration::from_secs(75);
/// How long the requests at hand may take once the daemon stops.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How long it may take until the next client is waited for.
const TURN_MAX: Duration = Duration::from_secs(10);
/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Where clients come in; cheap to clone. It is closed when the last clone is dropped.
#[derive(Clone)]
pub struct Listener(Arc<Inner>);

struct Inner {
    socket: Socket,
    tls: Option<TlsAcceptor>,
}

impl Drop for Inner {
    /// Whoever comes now is refused at once, and not kept waiting for a process that ends.
    fn drop(&mut self) {
        if let Socket::Unix(_, path) = &self.socket
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::warn!("the socket {} cannot be removed ({error})", path.display());
        }
    }
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Self::of(Socket::Tcp(socket), None)
    }
}

impl Listener {
    /// On a socket that is bound.
    pub fn new(socket: TcpListener, tls: Option<&config::Tls>) -> anyhow::Result<Self> {
        Ok(Self::of(Socket::Tcp(socket), tls.map(acceptor).transpose()?))
    }

    /// Binds what the configuration says.
    pub async fn bind(listen: &config::Listen, tls: Option<&config::Tls>) -> anyhow::Result<Self> {
        let socket = match listen {
            config::Listen::Tcp(address) => Socket::Tcp(TcpListener::bind(address).await?),
            config::Listen::Unix(path) => {
                // One that a killed process left behind; another that lives holds the lock of the state directory.
                if std::fs::symlink_metadata(path).is_ok_and(|found| is_socket(&found)) {
                    std::fs::remove_file(path)?;
                }
                Socket::Unix(UnixListener::bind(path)?, path.clone())
            }
        };
        let tls = tls.map(acceptor).transpose()?;
        Ok(Self::of(socket, tls))
    }

    fn of(socket: Socket, tls: Option<TlsAcceptor>) -> Self {
        Self(Arc::new(Inner { socket, tls }))
    }

    /// The address of a TCP listener.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.0.socket {
            Socket::Tcp(socket) => socket.local_addr().ok(),
            Socket::Unix(..) => None,
        }
    }

    /// For people: `http://127.0.0.1:8080`.
    pub fn address(&self) -> String {
        let scheme = if self.0.tls.is_some() { "https" } else { "http" };
        match &self.0.socket {
            Socket::Tcp(socket) => match socket.local_addr() {
                Ok(address) => format!("{scheme}://{address}"),
                Err(error) => format!("{scheme}, at an address that cannot be told ({error})"),
            },
            Socket::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }
}

fn is_socket(found: &std::fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_socket(&found.file_type())
}

fn acceptor(tls: &config::Tls) -> anyhow::Result<TlsAcceptor> {
    let unread = |path: &Path, error: pem::Error| {
        ConfigError(format!(
            "{} cannot be used ({error}): it has to be a PEM file that this user can read",
            path.display()
        ))
    };
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&tls.cert_file)
        .and_then(Iterator::collect)
        .map_err(|error| unread(&tls.cert_file, error))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key_file).map_err(|error| unread(&tls.key_file, error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| {
            ConfigError(format!(
                "the key {} and its certificate do not fit ({error}): give those that were made for each other",
                tls.key_file.display()
            ))
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// How many storefronts may be connected: a connection too many would take the file that a database needs.
pub fn seats() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let left = files.map_or(u64::MAX, |files| files.saturating_sub(FILES_KEPT).max(files / 2));
    usize::try_from(left).map_or(CONNECTIONS_MAX, |left| left.min(CONNECTIONS_MAX))
}

/// Serves until `stop`, so many connections at a time; then the requests at hand are answered, for a while.
pub async fn serve(
    listener: Listener,
    router: Router,
    seats: usize,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let packed = DefaultPredicate::new().and(SizeAbove::new(PACKED_BYTES_MIN));
    let service = Compression::new(router).compress_when(packed);
    let seats = Arc::new(Semaphore::new(seats));
    let mut connections = JoinSet::new();
    let pulse = Pulse::new(format!("serve {}", listener.address()));
    loop {
        // Clients come when they like; who has a seat keeps it for as long as its connection lasts.
        pulse.idle();
        let seat = tokio::select! {
            () = stop.cancelled() => break,
            seat = Arc::clone(&seats).acquire_owned() => seat?,
        };
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, seat, &service, &stop, &mut connections) => {
                if let Err(error) = accepted {
                    // Out of file descriptors, most likely: clients that leave give some back.
                    tracing::warn!("a connection could not be taken ({error})");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        pulse.quiet_for(TURN_MAX);
        crate::failpoint::stand("serve").await;
        // So that ended ones do not pile up.
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_MAX, drained).await.is_err() {
        tracing::warn!("some requests were cut off after {} s", DRAIN_MAX.as_secs());
    }
    Ok(())
}

/// The routes, with answers packed for those who take them so. Around all of them at once, which costs each less than
/// a layer of its own.
type Service = Compression<Router, And<DefaultPredicate, SizeAbove>>;

async fn accept(
    listener: &Listener,
    seat: OwnedSemaphorePermit,
    service: &Service,
    stop: &CancellationToken,
    connections: &mut JoinSet<()>,
) -> std::io::Result<()> {
    let (service, stop) = (service.clone(), stop.clone());
    match &listener.0.socket {
        Socket::Unix(socket, _) => {
            let (stream, _) = socket.accept().await?;
            connections.spawn(one(stream, service, stop, seat));
        }
        Socket::Tcp(socket) => {
            let (stream, _) = socket.accept().await?;
            stream.set_nodelay(true)?;
            match listener.0.tls.clone() {
                None => connections.spawn(one(stream, service, stop, seat)),
                Some(tls) => connections.spawn(async move {
                    match tokio::time::timeout(HANDSHAKE_MAX, tls.accept(stream)).await {
                        Ok(Ok(stream)) => one(stream, service, stop, seat).await,
                        Ok(Err(error)) => tracing::debug!("a handshake failed: {error}"),
                        Err(_) => tracing::debug!("a handshake took too long"),
                    }
                }),
            };
        }
    }
    Ok(())
}

/// A connection ends with an error whenever its client goes away, which is nothing to tell.
async fn one(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: Service,
    stop: CancellationToken,
    seat: OwnedSemaphorePermit,
) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .pipeline_flush(true);
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended: {error}");
    }
    drop(seat);
}
