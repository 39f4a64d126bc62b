//! A local org that speaks Salesforce's own protocols.
//!
//! A client cannot tell it from a real one by what travels: logins, REST, composite, Bulk 2.0 and Pub/Sub answer in
//! the platform's forms, errors included. It shares nothing with the daemon but the generated wire interface, so that
//! neither can hide the other's mistakes.
//!
//! - [`schema`], [`value`]: what objects and fields there are, and what a field may hold.
//! - [`org`]: the rows and the rules; every write is a transaction. [`seed`] fills a new org.
//! - [`avro`], [`bus`], [`pubsub`]: what a commit publishes, the event log, and the gRPC service over it.
//! - `http`: the one door for requests, behind it `rest`, `composite`, `bulk`, `describe`, and `soql` below them.
//! - [`oauth`]: logins and sessions, shared by both listeners. [`tls`]: the listener, and its certificates.
//! - [`faults`]: misbehaviour on request. `script`: scenarios of what people do to an org.
//!
//! - `persist`, `keep`: what of it is on disk. [`clock`]: the org's time. [`command`]: its command line.
//!
//! The org lives in memory. Where it is given a folder, it comes back from there after the process has ended.

pub mod avro;
mod bulk;
pub mod bus;
pub mod clock;
pub mod command;
mod composite;
mod describe;
pub mod faults;
mod files;
mod http;
mod keep;
pub mod oauth;
pub mod org;
mod persist;
pub mod pubsub;
mod rest;
pub mod schema;
mod script;
pub mod seed;
mod soql;
pub mod tls;
mod tooling;
pub mod value;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};

use self::faults::Plan;
use self::files::Announcement;
use self::http::App;
use self::oauth::{Credentials, Login, Sessions};
use self::org::{Org, OrgOptions};
use self::script::Script;
use self::tls::{Certificates, Door};
use crate::clock::Clock;

/// How long open connections may take to end once the sandbox is told to stop.
const STOP_MAX: Duration = Duration::from_secs(2);

/// How a sandbox is started.
#[derive(Clone, Debug)]
pub struct Options {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub tls: bool,
    /// Where its files go and the org is kept; without it, its files go to a temporary folder, and the org ends with
    /// the process.
    pub data: Option<PathBuf>,
    pub seed: u64,
    pub products: usize,
    pub stores: usize,
    /// How long a quiet subscription waits for a keep-alive.
    pub keepalive: Duration,
    /// How long a subscription that is owed nothing may stay open.
    pub idle: Duration,
    /// A fault plan to start with.
    pub faults: Option<PathBuf>,
    /// Objects selected for change data capture.
    pub entities: Vec<String>,
    /// A scenario to run, see `script`.
    pub script: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            http: any,
            grpc: any,
            tls: false,
            data: None,
            seed: 1,
            products: 60,
            stores: 3,
            keepalive: Duration::from_secs(60),
            idle: pubsub::Timings::default().idle,
            faults: None,
            entities: org::DEFAULT_ENTITIES.map(str::to_owned).to_vec(),
            script: None,
        }
    }
}

/// A sandbox with its ports bound and its files written; [`Running::run`] serves it.
pub struct Running {
    /// The lines of `sandbox.env`.
    pub env: Vec<(&'static str, String)>,
    pub data_dir: PathBuf,
    pub http_url: String,
    /// For whoever watches the org from inside the process.
    pub org: Org,
    app: Arc<App>,
    door: Door,
    grpc: TcpListener,
    certificates: Option<Certificates>,
    script: Option<Script>,
    _temporary: Option<tempfile::TempDir>,
}

/// Binds both ports, seeds the org, and writes its files.
pub async fn start(options: Options) -> Result<Running> {
    // What is wrong with it is said before anything is made.
    let script = options.script.as_deref().map(Script::read).transpose()?;
    let http = bind(options.http, "--http").await?;
    let grpc = bind(options.grpc, "--grpc").await?;
    let certificates = if options.tls {
        Some(Certificates::generate(options.http.ip())?)
    } else {
        None
    };
    let scheme = if options.tls { "https" } else { "http" };
    let http_url = format!(
        "{scheme}://{}",
        reachable(http.local_addr().context("read the HTTP port")?)
    );
    let grpc_address = reachable(grpc.local_addr().context("read the gRPC port")?).to_string();
    let org = open_org(&options).await?;
    if let Some(path) = &options.faults {
        org.faults().add(read_plan(path)?);
    }
    let sessions = Sessions::new(org.clock().clone(), org.id());
    let timings = pubsub::Timings {
        keepalive: options.keepalive,
        idle: options.idle,
        ..pubsub::Timings::default()
    };
    let hub = pubsub::Hub::new(org.clone(), sessions.clone(), timings);
    let credentials = match &options.data {
        Some(dir) => keep::credentials(dir)?,
        None => Credentials::generate()?,
    };
    let login = Login::new(credentials, sessions, org.user_id(), http_url.clone());
    let (data_dir, temporary) = folder(options.data)?;
    let announcement = Announcement {
        http_url: &http_url,
        grpc: &grpc_address,
        credentials: &login.credentials,
        certificates: certificates.as_ref(),
        organization: org.id(),
        keepalive: options.keepalive,
    };
    let env = files::write(&data_dir, &announcement)?;
    let door = Door::new(http, certificates.as_ref())?;
    let app = Arc::new(App::new(org.clone(), login, hub)?);
    Ok(Running {
        env,
        data_dir,
        http_url,
        org,
        app,
        door,
        grpc,
        certificates,
        script,
        _temporary: temporary,
    })
}

/// The org of the folder, or a new one.
async fn open_org(options: &Options) -> Result<Org> {
    let org_options = OrgOptions {
        seed: options.seed,
        products: options.products,
        stores: options.stores,
        clock: Clock::Shifted(Arc::default()),
        selected_entities: options.entities.clone(),
    };
    let kept = options.data.clone();
    // Seeding a large org takes seconds of computing.
    let made = tokio::task::spawn_blocking(move || match kept {
        Some(dir) => persist::open(org_options, &dir),
        None => Org::new(org_options),
    });
    made.await.context("seed the org")?
}

/// The folder for the sandbox's files, and what removes it at the end where it is a temporary one.
fn folder(wanted: Option<PathBuf>) -> Result<(PathBuf, Option<tempfile::TempDir>)> {
    if let Some(dir) = wanted {
        return Ok((std::path::absolute(&dir).unwrap_or(dir), None));
    }
    let dir = tempfile::Builder::new().prefix("storesync-sandbox-").tempdir();
    let dir = dir.context("make a temporary folder for the sandbox's files")?;
    Ok((dir.path().to_owned(), Some(dir)))
}

async fn bind(address: SocketAddr, option: &str) -> Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| {
        format!(
            "the sandbox cannot listen on {address}: stop what uses it, or give another address with {option} (port 0 takes any free one)"
        )
    })
}

fn read_plan(path: &Path) -> Result<Plan> {
    let shown = path.display();
    let text = std::fs::read(path).with_context(|| format!("read the fault plan {shown}"))?;
    let json =
        serde_json::from_slice(&text).with_context(|| format!("read the JSON of the fault plan {shown}"))?;
    Plan::read(json).map_err(|reason| anyhow!("the fault plan {shown} cannot be used: {reason}"))
}

/// An address that clients on this machine can connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())
    } else {
        address
    }
}

impl Running {
    /// The value of a key of `sandbox.env`.
    pub fn env(&self, key: &str) -> Option<&str> {
        self.env
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.as_str())
    }

    /// Serves both listeners until `stop`, then gives open connections a moment to end.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        let mut servers: JoinSet<Result<()>> = JoinSet::new();
        let service = pubsub::Service::new(Arc::clone(&self.app.hub)).into_server();
        let mut server = Server::builder();
        if let Some(certificates) = &self.certificates {
            let identity = Identity::from_pem(&certificates.server_pem, &certificates.server_key_pem);
            let tls = ServerTlsConfig::new().identity(identity);
            server = server.tls_config(tls).context("set up TLS for gRPC")?;
        }
        let incoming = TcpIncoming::from(self.grpc).with_nodelay(Some(true));
        let stopped = stop.clone();
        servers.spawn(async move {
            let serving = server.add_service(service);
            serving
                .serve_with_incoming_shutdown(incoming, stopped.cancelled_owned())
                .await
                .context("serve gRPC")
        });
        let org = self.org.clone();
        let serving = http::serve::run(self.door, self.app, stop.clone());
        servers.spawn(async move { serving.await.context("serve HTTP") });
        let script = self.script;
        let scenario = async {
            if let Some(script) = script {
                script.run(org.clone(), stop.clone()).await?;
            }
            // The org goes on when its scenario is over.
            std::future::pending::<Result<()>>().await
        };
        // A server that ends by itself ends the sandbox.
        let ended = tokio::select! {
            ended = servers.join_next() => ended,
            () = org.until_broken() => bail!(
                "the sandbox's log cannot be written, so it stopped: make room on the disk and start it again"
            ),
            failed = scenario => return failed.context("run the script"),
            () = stop.cancelled() => None,
        };
        if let Some(ended) = ended {
            ended.context("a server of the sandbox failed")??;
        }
        let rest = async { while servers.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_MAX, rest).await.is_err() {
            servers.shutdown().await;
        }
        Ok(())
    }
}
