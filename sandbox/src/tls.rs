//! The sandbox's own certificate authority, and the listener that HTTP is served on.
//!
//! The authority lives as long as the process; `ca.pem` is what clients trust. [`Door`] accepts plain and TLS
//! connections alike and does handshakes side by side, so a client that never finishes one blocks nobody. Every
//! connection can be cut from inside a request ([`Cut`]): what is then written to it is thrown away.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::serve::Listener;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Longest time a client may take for its handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// A server certificate for this machine, and the authority that signed it.
pub struct Certificates {
    pub authority_pem: String,
    pub server_pem: String,
    pub server_key_pem: String,
    server_der: rustls::pki_types::CertificateDer<'static>,
    server_key_der: Vec<u8>,
}

impl Certificates {
    pub fn generate(address: IpAddr) -> Result<Self> {
        let mut authority = CertificateParams::default();
        authority
            .distinguished_name
            .push(DnType::CommonName, "storesync sandbox authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let authority_key = KeyPair::generate().context("make the authority's key")?;
        let authority = CertifiedIssuer::self_signed(authority, authority_key)
            .context("sign the authority's certificate")?;

        let mut server = CertificateParams::new(vec!["localhost".to_owned()]).context("name the server")?;
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        server.subject_alt_names.push(SanType::IpAddress(loopback));
        if address != loopback && !address.is_unspecified() {
            server.subject_alt_names.push(SanType::IpAddress(address));
        }
        server.distinguished_name.push(DnType::CommonName, "localhost");
        server.use_authority_key_identifier_extension = true;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server_key = KeyPair::generate().context("make the server's key")?;
        let server = server
            .signed_by(&server_key, &authority)
            .context("sign the server's certificate")?;
        Ok(Self {
            authority_pem: authority.pem(),
            server_pem: server.pem(),
            server_key_pem: server_key.serialize_pem(),
            server_der: server.der().clone(),
            server_key_der: server_key.serialize_der(),
        })
    }

    fn acceptor(&self) -> Result<TlsAcceptor> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.server_key_der.clone()));
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("choose TLS versions")?
            .with_no_client_auth()
            .with_single_cert(vec![self.server_der.clone()], key)
            .context("use the server's certificate")?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Ends a connection without an answer. Clones end the same one.
#[derive(Clone, Debug, Default)]
pub struct Cut(Arc<AtomicBool>);

impl Cut {
    /// From now on nothing is sent, and the connection closes with the answer that the caller then returns.
    pub fn cut(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_cut(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// A client's connection.
pub struct Connection {
    transport: Transport,
    cut: Cut,
}

impl Connection {
    pub fn cut(&self) -> Cut {
        self.cut.clone()
    }
}

/// The HTTP listener.
pub struct Door {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    handshakes: FuturesUnordered<BoxFuture<'static, io::Result<(Connection, SocketAddr)>>>,
}

impl Door {
    pub fn new(tcp: TcpListener, certificates: Option<&Certificates>) -> Result<Self> {
        let tls = certificates.map(Certificates::acceptor).transpose()?;
        Ok(Self {
            tcp,
            tls,
            handshakes: FuturesUnordered::new(),
        })
    }
}

impl Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            tokio::select! {
                accepted = Listener::accept(&mut self.tcp) => {
                    let (stream, peer) = accepted;
                    let Some(acceptor) = self.tls.clone() else {
                        return (Connection { transport: Transport::Plain(stream), cut: Cut::default() }, peer);
                    };
                    self.handshakes.push(Box::pin(async move {
                        let stream = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await??;
                        let transport = Transport::Tls(Box::new(stream));
                        Ok((Connection { transport, cut: Cut::default() }, peer))
                    }));
                }
                Some(done) = self.handshakes.next(), if !self.handshakes.is_empty() => match done {
                    Ok(connection) => return connection,
                    Err(error) => tracing::debug!("a TLS handshake failed: {error}"),
                },
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(task, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(task, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, task: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.cut.is_cut() {
            // The client is to see a reset, not an end.
            this.transport.socket().set_zero_linger()?;
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(task, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(task, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(task),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(task),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.cut.is_cut() {
            this.transport.socket().set_zero_linger()?;
            return Poll::Ready(Ok(()));
        }
        match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(task),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(task),
        }
    }
}
