//! The daemon: builds the world, joins the stages, and says how it ended.
//!
//! Only this file spawns. The stages run in one set; the first to end, ends the rest, and its name stands in
//! the error. A first signal stops them in order: no new work, what is under way is finished within
//! `STOP_MAX`; a second signal cuts that short.
//!
//! Both listeners are served from the first moment on, whatever the org says: from the cache where there is one, else with
//! 503 and the cause. The org is asked again and again. A start ends for what a person must mend in the configuration, and
//! for the files of the state.

mod exit;
mod health;
mod listeners;
mod orders;
mod prepare;
mod reload;
mod stages;
mod supervise;

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::Exit;
use crate::config::Config;
use crate::daemon::health::Watched;
use crate::inbound::apply::Bells;
use crate::inbound::budget::Limits;
use crate::model::clock::Clock;
use crate::outbound::gate::Known;
use crate::salesforce::Org;
use crate::salesforce::pubsub::PubSub;
use crate::serve::{Health, Tokens};
use crate::store::cache::Cache;
use crate::store::database;
use crate::store::journal::Journal;
use crate::store::outbox::{self, Outbox};
use crate::store::reader::Reader;

/// How long the stages may take to end.
const STOP_MAX: Duration = Duration::from_secs(20);

pub use exit::exit_of;
pub use listeners::Listeners;

type Stages = JoinSet<(&'static str, anyhow::Result<()>)>;

/// What the stages are built from.
struct World {
    config: Config,
    clock: Clock,
    org: Org,
    pubsub: PubSub,
    reader: Reader,
    outbox: Outbox,
    known: Known,
    bells: Bells,
    limits: Limits,
    tokens: Tokens,
    health: Arc<watch::Sender<Health>>,
    stop: CancellationToken,
}

/// Runs by a clock until `stop`, or until a stage ends in an error.
pub async fn run(
    config: Config,
    clock: Clock,
    listeners: Listeners,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    // Caught from here on: a reload that is asked for during the start is done after it.
    let hangup = signal(SignalKind::hangup())?;
    let dir = config.state.dir.clone();
    let org = Org::new(&config.org, clock.clone())?;
    let pubsub = PubSub::new(&org)?;
    let _lock = database::lock(&dir)?;
    let mut cache = Cache::open(&dir)?;
    cache.begin_life()?;
    let mut journal = Journal::open(&dir)?;
    journal.keep_rows(config.state.keep_rows);
    let (outbox, writer) = outbox::open(&dir, clock.now())?;
    let reader = Reader::new(&dir);
    let known = Known::open(&dir, &config.orders, config.sync.profile);
    let world = World {
        known,
        limits: Limits::new(&config.sync),
        tokens: Tokens::new(&config),
        bells: Bells::new(cache.rev()),
        health: Arc::default(),
        stop: stop.child_token(),
        config,
        clock,
        org,
        pubsub,
        reader,
        outbox,
    };
    Watched::of(&world).look()?;
    let mut stages = Stages::new();
    stages.spawn_blocking(move || {
        writer.run();
        ("outbox", Ok(()))
    });
    stages::supervise(&mut stages, &world, hangup);
    stages::serve(&mut stages, &world, listeners);
    // Stopped before the org came back, it ends like at any other time: what is under way is finished.
    match prepare::when_reachable(&world, &mut cache, &mut journal).await {
        Ok(Some(plan)) => stages::start(&mut stages, world, plan, cache, journal),
        // The writer of orders ends when nobody can hand it one any more.
        Ok(None) => drop(world),
        Err(error) => return Err(error),
    }
    finish(stages, &stop).await
}

/// Waits for the stop, or for the first stage to end; then for the rest.
async fn finish(mut stages: Stages, stop: &CancellationToken) -> anyhow::Result<()> {
    let mut ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        first = stages.join_next() => outcome(first, !stop.is_cancelled()),
    };
    stop.cancel();
    let rest = async {
        while let Some(next) = stages.join_next().await {
            let next = outcome(Some(next), false);
            // The door's own error says more than that of a stage which found it closed.
            if ended.is_ok() {
                ended = next;
            }
        }
    };
    if tokio::time::timeout(STOP_MAX, rest).await.is_err() {
        tracing::warn!(
            "not all stages ended within {} s; nothing is lost by it",
            STOP_MAX.as_secs()
        );
    }
    ended
}

/// What a stage's end means; before the stop, each end is one too early.
fn outcome(
    ended: Option<Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>>,
    early: bool,
) -> anyhow::Result<()> {
    match ended {
        Some(Ok((name, Err(error)))) => Err(error.context(format!("the stage {name} failed"))),
        Some(Ok((name, Ok(())))) if early => Err(anyhow!("the stage {name} ended by itself")),
        Some(Err(error)) => Err(anyhow!("a stage broke off ({error})")),
        _ => Ok(()),
    }
}

/// Cancelled by the first SIGTERM or SIGINT; the second ends the process at once.
pub fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = stop.clone();
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if token.is_cancelled() {
                std::process::exit(Exit::Temporary as i32);
            }
            token.cancel();
        }
    });
    Ok(stop)
}
