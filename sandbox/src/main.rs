//! The sandbox as a program of its own, so that its tests need no daemon. Ends at SIGINT or SIGTERM.

use anyhow::Context as _;
use clap::Parser;
use storesync_sandbox::command::{self, Args};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// A local org that speaks Salesforce's protocols
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_env("STORESYNC_LOG").unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        .init();
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let signalled = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(
        async {
            let ended = command::run(cli.args, stop.clone()).await;
            stop.cancel();
            ended
        },
        async {
            tokio::select! {
                () = signalled => {}
                () = stop.cancelled() => {}
            }
        }
    );
    ended
}
