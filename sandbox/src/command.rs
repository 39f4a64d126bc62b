//! The command line of a sandbox, for its own program and for `storesync sandbox`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::{Options, start};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where REST, Bulk and OAuth listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDR")]
    pub http: SocketAddr,
    /// Where the Pub/Sub API listens; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7443", value_name = "ADDR")]
    pub grpc: SocketAddr,
    /// Serve both over TLS, with a certificate authority made for this run
    #[arg(long)]
    pub tls: bool,
    /// Where the org is kept, and sandbox.env, config.toml and the keys are written. Started again with the same folder,
    /// it goes on where it ended; without one it ends with the process
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A scenario to run over the org, in TOML: merchants' edits, price campaigns, imports, stock, customers, orders
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,
    /// A plan of faults to start with: JSON of the form that POST /sandbox/faults takes
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
    /// How long a subscription that is owed no event may stay open
    #[arg(long, default_value_t = 60_000, value_name = "MILLISECONDS")]
    pub idle_ms: u64,
    #[command(flatten)]
    pub size: Size,
}

/// What the sandbox org is filled with.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Size {
    /// The same seed gives the same org
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Products of the catalogue
    #[arg(long, default_value_t = 60, value_name = "N")]
    pub products: usize,
    /// Storefronts of the org
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub stores: usize,
    /// How long a subscription may be silent before the org sends an empty response
    #[arg(long, default_value_t = 2_000, value_name = "MILLISECONDS")]
    pub keepalive_ms: u64,
}

/// Runs a sandbox until `stop`. Once it can be reached, it prints in one line of JSON how.
pub async fn run(args: Args, stop: CancellationToken) -> anyhow::Result<()> {
    let running = start(Options {
        http: args.http,
        grpc: args.grpc,
        tls: args.tls,
        data: args.data,
        script: args.script,
        faults: args.faults,
        idle: Duration::from_millis(args.idle_ms),
        seed: args.size.seed,
        products: args.size.products,
        stores: args.size.stores,
        keepalive: Duration::from_millis(args.size.keepalive_ms),
        ..Options::default()
    })
    .await?;
    let env: Map<String, Value> = running
        .env
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.as_str().into()))
        .collect();
    println!("{}", Value::Object(env));
    running.run(stop).await
}
