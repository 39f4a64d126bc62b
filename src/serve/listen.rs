//! Sockets: plain, TLS, or in the file system; bounded in number, and emptied in order when the daemon stops.

mod path;

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::config::{self, ConfigError};
use crate::serve::connection::{self, Limits, Peer, Reason, Seat, Seats, Served, Source};
use crate::serve::foreign::Facing;
use crate::serve::listen::path::Bound;
use crate::telemetry::pulse::Pulse;
use crate::telemetry::seldom::Seldom;

/// Connections at a time, where the limit of open files leaves as many.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Operators' connections at a time, and those of one address.
const ADMIN_CONNECTIONS_MAX: usize = 256;
const ADMIN_CONNECTIONS_OF_ONE_MAX: usize = 32;
/// Storefronts' connections of one address, and what part of all they may be.
const CONNECTIONS_OF_ONE_MAX: usize = 1_024;
const CONNECTIONS_OF_ONE_IN: usize = 4;
/// Open files that are not for storefronts' connections: the databases of each thread, the org, operators.
const FILES_KEPT: u64 = 512;
/// How long the requests at hand may take once the daemon stops.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How long is waited for another client, and for a file, where none may be opened.
const OUT_OF_FILES_PAUSE: Duration = Duration::from_millis(100);
/// How long it may take until the next client is waited for.
const TURN_MAX: Duration = Duration::from_secs(10);
/// What a client is told for whom there is no place.
const NO_SEAT: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Where clients come in; cheap to clone. It is closed when the last clone is dropped.
#[derive(Clone)]
pub struct Listener(Arc<Inner>);

struct Inner {
    socket: Socket,
    tls: Option<TlsAcceptor>,
}

/// Of no runtime: whoever serves it takes it into its own.
enum Socket {
    Tcp(std::net::TcpListener),
    Unix(Bound),
}

impl TryFrom<TcpListener> for Listener {
    type Error = io::Error;

    fn try_from(socket: TcpListener) -> io::Result<Self> {
        Ok(Self::of(Socket::Tcp(socket.into_std()?), None))
    }
}

impl Listener {
    /// On a socket that is bound.
    pub fn new(socket: std::net::TcpListener, tls: Option<&config::Tls>) -> anyhow::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self::of(Socket::Tcp(socket), tls.map(acceptor).transpose()?))
    }

    /// Binds what the configuration says.
    pub async fn bind(listen: &config::Listen, tls: Option<&config::Tls>) -> anyhow::Result<Self> {
        let socket = match listen {
            config::Listen::Tcp(address) => Socket::Tcp(TcpListener::bind(address).await?.into_std()?),
            config::Listen::Unix(path) => Socket::Unix(Bound::bind(path).await?),
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
            Socket::Unix(_) => None,
        }
    }

    /// As pages see it: `section` is that of the configuration, `hosts` further names.
    pub fn facing(&self, section: &'static str, hosts: Vec<String>, has_named_sockets: bool) -> Facing {
        Facing {
            scheme: if self.0.tls.is_some() { "https" } else { "http" },
            section,
            address: self.local_addr(),
            has_named_sockets,
            hosts,
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
            Socket::Unix(bound) => format!("unix:{}", bound.path.display()),
        }
    }
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

/// The storefronts' places.
pub fn storefront_seats() -> Seats {
    let seats = seats();
    let of_one = CONNECTIONS_OF_ONE_MAX.min(seats / CONNECTIONS_OF_ONE_IN);
    Seats::new("storefront", seats, of_one, Limits::default())
}

/// The operators' places.
pub fn admin_seats() -> Seats {
    let of_one = ADMIN_CONNECTIONS_OF_ONE_MAX;
    Seats::new("admin", ADMIN_CONNECTIONS_MAX, of_one, Limits::default())
}

/// How many storefronts may be connected: a connection too many would take the file that a database needs.
pub fn seats() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let left = files.map_or(u64::MAX, |files| files.saturating_sub(FILES_KEPT).max(files / 2));
    usize::try_from(left).map_or(CONNECTIONS_MAX, |left| left.min(CONNECTIONS_MAX))
}

/// Who is served at a listener, and with what.
pub struct Door {
    pub listener: Listener,
    pub seats: Seats,
    pub served: Arc<Served>,
}

/// Serves until it is told to stop; then the requests at hand are answered, for a while.
pub async fn serve(door: Door) -> anyhow::Result<()> {
    let stop = door.served.stop.clone();
    let incoming = Incoming::of(&door.listener.0.socket)?;
    let mut spare = Spare::open();
    let mut connections = JoinSet::new();
    let pulse = Pulse::new(format!("serve {}", door.listener.address()));
    loop {
        // Clients come when they like; who has a seat keeps it for as long as its connection lasts.
        pulse.idle();
        tokio::select! {
            () = stop.cancelled() => break,
            came = incoming.next() => match came {
                Ok(client) => take(&door, client, &mut connections),
                Err(error) if is_out_of_files(&error) => {
                    pulse.quiet_for(TURN_MAX);
                    spare.refuse(&incoming, &door, &error).await;
                }
                // The client has gone again.
                Err(error) => tracing::debug!("a connection could not be taken ({error})"),
            }
        }
        pulse.quiet_for(TURN_MAX);
        crate::failpoint::stand("serve").await;
        // So that ended ones do not pile up.
        while connections.try_join_next().is_some() {}
    }
    drop((door, incoming));
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_MAX, drained).await.is_err() {
        tracing::warn!("some requests were cut off after {} s", DRAIN_MAX.as_secs());
    }
    Ok(())
}

/// A socket in the runtime that serves it.
enum Incoming {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Client {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Incoming {
    fn of(socket: &Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket.try_clone()?)?),
            Socket::Unix(bound) => Self::Unix(UnixListener::from_std(bound.socket.try_clone()?)?),
        })
    }

    async fn next(&self) -> io::Result<Client> {
        match self {
            Self::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Client::Tcp(stream, peer))
            }
            Self::Unix(socket) => socket.accept().await.map(|(stream, _)| Client::Unix(stream)),
        }
    }
}

impl Client {
    /// Says that there is no place, as far as that can be said at once, and closes.
    fn refuse(self, has_tls: bool) {
        match self {
            Self::Tcp(..) if has_tls => {}
            Self::Tcp(stream, _) => drop(stream.try_write(NO_SEAT)),
            Self::Unix(stream) => drop(stream.try_write(NO_SEAT)),
        }
    }
}

/// A file that is closed for a client to be taken and refused, where this process may open no more: one that waits in the
/// kernel would hear nothing.
struct Spare(Option<File>);

impl Spare {
    fn open() -> Self {
        Self(File::open("/dev/null").ok())
    }

    async fn refuse(&mut self, incoming: &Incoming, door: &Door, error: &io::Error) {
        static TOLD: Seldom = Seldom::untold();
        door.seats.count(Reason::Files);
        if let Some(count) = TOLD.happened() {
            tracing::warn!(
                count,
                "{count} connections were refused, because this process may open no more files ({error}): raise LimitNOFILE"
            );
        }
        door.seats.make_room();
        drop(self.0.take());
        // Another may have taken the file meanwhile.
        let taken = tokio::time::timeout(OUT_OF_FILES_PAUSE, incoming.next()).await;
        if let Ok(Ok(client)) = taken {
            client.refuse(door.listener.0.tls.is_some());
        } else {
            tokio::time::sleep(OUT_OF_FILES_PAUSE).await;
        }
        *self = Self::open();
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    let number = Errno::from_io_error(error);
    matches!(
        number,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

/// Gives a client its place, or refuses it.
fn take(door: &Door, client: Client, connections: &mut JoinSet<()>) {
    let served = Arc::clone(&door.served);
    let peer = match &client {
        Client::Tcp(_, peer) => Some(peer.ip()),
        Client::Unix(_) => None,
    };
    // A proxy brings as many clients as it likes.
    let source = match peer {
        Some(peer) if !served.proxies.are_named(Some(peer)) => Source::from(peer),
        _ => Source::Here,
    };
    let tls = door.listener.0.tls.clone();
    let Some(seat) = door.seats.take(source) else {
        return client.refuse(tls.is_some());
    };
    let seats = door.seats.clone();
    match (client, tls) {
        (Client::Unix(stream), _) => drop(connections.spawn(seated(stream, seat, served, None))),
        (Client::Tcp(stream, _), None) => drop(connections.spawn(seated(stream, seat, served, peer))),
        (Client::Tcp(stream, _), Some(tls)) => drop(connections.spawn(async move {
            match seat.connection.shake(tls.accept(stream)).await {
                Ok(Ok(stream)) => seated(stream, seat, served, peer).await,
                Ok(Err(error)) => tracing::debug!("a handshake failed: {error}"),
                Err(reason) => seats.count(reason),
            }
        })),
    }
}

/// Keeps the seat until the connection has ended.
async fn seated(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    seat: Seat,
    served: Arc<Served>,
    peer: Peer,
) {
    connection::serve(stream, Arc::clone(&seat.connection), served, peer).await;
}
