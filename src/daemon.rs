//! The daemon: builds the world, joins the stages, and says how it ended.
//!
//! Only this file spawns. The stages run in one set; the first to end, ends the rest, and its name stands in
//! the error. A first signal stops them in order: no new work, what is under way is finished within
//! `STOP_MAX`; a second signal cuts that short.
//!
//! Reads and order intake begin as soon as there is a cache, and go on while the org is away. Only a first
//! start, with nothing to serve, needs the org at once and ends where it cannot be had.

mod exit;
mod listeners;
mod reload;
mod supervise;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::Exit;
use crate::config::{self, Config};
use crate::inbound::apply::{self, Bells};
use crate::inbound::budget::Limits;
use crate::inbound::{self, Plan, Wires};
use crate::model::clock::Clock;
use crate::model::freshness::Truth;
use crate::model::retry::Policy;
use crate::outbound::gate::Known;
use crate::outbound::{confirm, forget, push};
use crate::salesforce::Org;
use crate::salesforce::pubsub::PubSub;
use crate::serve::{self, Freshness, Health, Tokens};
use crate::store::cache::{Cache, cursors, proofs};
use crate::store::checkpoint;
use crate::store::database;
use crate::store::journal::Journal;
use crate::store::outbox::{self, Outbox};
use crate::store::reader::Reader;
use crate::store::storefront::{self, BookStore};
use crate::telemetry::pulse::Pulse;
use crate::telemetry::traces;

/// How long the stages may take to end.
const STOP_MAX: Duration = Duration::from_secs(20);
/// How long moving what a log holds may take, on a slow disk.
const CHECKPOINT_MAX: Duration = Duration::from_secs(60);
/// How often the health that readers are told is looked at.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
/// Between attempts to reach an org that is away when the daemon starts.
const AWAY: Policy = Policy {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(60),
};

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
    supervise(&mut stages, &world, hangup);
    let first_start = world.reader.with(storefront::object_states)?.is_empty();
    if first_start {
        let plan = prepare(&world, &mut cache, &mut journal).await?;
        serve(&mut stages, &world, listeners);
        start(&mut stages, world, plan, cache, journal);
    } else {
        serve(&mut stages, &world, listeners);
        // Stopped before the org came back, it ends like at any other time: what is under way is finished.
        if let Some(plan) = prepare_when_reachable(&world, &mut cache, &mut journal).await? {
            start(&mut stages, world, plan, cache, journal);
        }
    }
    finish(stages, &stop).await
}

/// Asks the org what there is to mirror, and makes the tables and their indexes.
async fn prepare(world: &World, cache: &mut Cache, journal: &mut Journal) -> anyhow::Result<Plan> {
    let (sync, now) = (&world.config.sync, world.clock.now());
    let plan = inbound::prepare(&world.org, &world.pubsub, cache, journal, sync, now).await?;
    let stores: Vec<BookStore> = sync.stores.iter().map(book_store).collect();
    storefront::prepare(cache.connection(), &stores).context("make the storefront's views")?;
    for (object, field) in storefront::gaps(cache.connection())? {
        match field {
            Some(field) => tracing::debug!("{object} has no {field}: where stores show it, it is empty"),
            None => tracing::debug!("{object} is not mirrored: what stores show of it is empty"),
        }
    }
    Ok(plan)
}

fn book_store(store: &config::BookStore) -> BookStore {
    BookStore {
        pricebook_id: store.pricebook_id.clone(),
        code: store.code.clone(),
        name: store.name.clone().unwrap_or_else(|| store.code.clone()),
        domain: store.domain.clone(),
        path: store.path.clone(),
        currency: store.currency.clone(),
        locale: store.locale.clone(),
        timezone: store.timezone.clone(),
    }
}

/// As [`prepare`], for as long as the org is away; `None` when stopped meanwhile.
async fn prepare_when_reachable(
    world: &World,
    cache: &mut Cache,
    journal: &mut Journal,
) -> anyhow::Result<Option<Plan>> {
    let mut attempt = 0;
    loop {
        let error = tokio::select! {
            () = world.stop.cancelled() => return Ok(None),
            plan = prepare(world, cache, journal) => match plan {
                Ok(plan) => return Ok(Some(plan)),
                Err(error) => error,
            },
        };
        if exit_of(&error) != Exit::Unavailable {
            return Err(error);
        }
        attempt += 1;
        tracing::warn!("{error:#}; what is cached is served meanwhile");
        tokio::select! {
            () = world.stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(AWAY.delay(attempt)) => {}
        }
    }
}

/// Starts what the service manager is told by, and what it asks for.
fn supervise(stages: &mut Stages, world: &World, hangup: Signal) {
    let seen = supervise::World {
        reader: world.reader.clone(),
        outbox: world.outbox.clone(),
        health: world.health.subscribe(),
        clock: world.clock.clone(),
    };
    spawn(stages, "supervise", supervise::run(seen, world.stop.clone()));
    let reached = reload::World {
        config: world.config.clone(),
        org: world.org.clone(),
        limits: world.limits.clone(),
        tokens: world.tokens.clone(),
    };
    spawn(stages, "reload", reload::run(reached, hangup, world.stop.clone()));
    spawn(stages, "health", watch_health(Watched::of(world)));
    let (org, dir) = (world.org.clone(), world.config.state.dir.clone());
    let allowance = inbound::allowance::run(org, dir, world.stop.clone());
    spawn(stages, "allowance", allowance);
    if let Some(url) = world.config.log.otlp_url.clone() {
        spawn(stages, "traces", traces::run(url, world.stop.clone()));
    }
}

fn serve(stages: &mut Stages, world: &World, listeners: Listeners) {
    let shown = listeners::shown(world);
    let (storefront, admin) = (listeners.storefront, listeners.admin);
    tracing::info!("storefronts are served on {}", storefront.address());
    tracing::info!("operators are served on {}", admin.address());
    spawn(stages, "serve", serve::run(storefront, shown.clone()));
    spawn(stages, "admin", serve::run_admin(admin, shown));
}

/// Starts what takes orders to the org, and what follows them there.
fn send(stages: &mut Stages, world: &World) {
    let confirm = confirm::World {
        org: world.org.clone(),
        config: world.config.orders.clone(),
        outbox: world.outbox.clone(),
        reader: world.reader.clone(),
        revisions: world.bells.rev.subscribe(),
        clock: world.clock.clone(),
    };
    let confirm_stop = world.stop.clone();
    spawn(stages, "confirm", async move {
        Ok(confirm::run(confirm, confirm_stop).await?)
    });
    let forget = forget::World {
        org: world.org.clone(),
        outbox: world.outbox.clone(),
        reader: world.reader.clone(),
        revisions: world.bells.rev.subscribe(),
        config: world.config.orders.clone(),
        clock: world.clock.clone(),
    };
    let forget_stop = world.stop.clone();
    spawn(stages, "forget", async move {
        Ok(forget::run(forget, forget_stop).await?)
    });
    let push = push::World {
        org: world.org.clone(),
        outbox: world.outbox.clone(),
        config: world.config.orders.clone(),
        profile: world.config.sync.profile,
        clock: world.clock.clone(),
        known: world.known.clone(),
        problem: watch::Sender::new(None),
    };
    spawn(
        stages,
        "push",
        orders(push, Arc::clone(&world.health), world.stop.clone()),
    );
}

/// Starts what talks to the org, and the one door behind it.
fn start(stages: &mut Stages, world: World, plan: Plan, cache: Cache, journal: Journal) {
    send(stages, &world);
    let World {
        config,
        clock,
        org,
        pubsub,
        reader,
        bells,
        limits,
        stop,
        ..
    } = world;
    let (work, queue) = mpsc::channel(apply::QUEUE_MAX);
    let (planned, door_clock, door_bells) = (plan.objects.clone(), clock.clone(), bells.clone());
    stages.spawn_blocking(move || {
        let applied = apply::run(cache, journal, &planned, queue, &door_clock, &door_bells);
        ("apply", applied)
    });
    tend(stages, &config, &clock, &stop);

    let wires = Wires {
        org,
        clock,
        reader,
        planned: watch::Sender::new(plan.objects.into()),
        work,
        positions: watch::Sender::new(0),
        bells,
        keep_rows: config.state.keep_rows,
        stop,
    };
    follow(
        stages,
        &wires,
        &pubsub,
        plan.channels,
        &plan.schema_ids,
        config.sync,
        &limits,
    );
}

/// Starts what looks after the files, beside those who write them.
fn tend(stages: &mut Stages, config: &Config, clock: &Clock, stop: &CancellationToken) {
    let (dir, checkpoints) = (config.state.dir.clone(), stop.clone());
    stages.spawn_blocking(move || {
        let pulse = Pulse::new("checkpoint");
        let turned = || pulse.quiet_for(CHECKPOINT_MAX);
        ("checkpoint", checkpoint::run(&dir, &checkpoints, turned))
    });
    let forget = inbound::forget::World {
        dir: config.state.dir.clone(),
        sync: config.sync.clone(),
        keep: inbound::forget::keep(&config.state),
        clock: clock.clone(),
    };
    let stop = stop.clone();
    stages.spawn_blocking(move || ("forget", inbound::forget::run(forget, &stop)));
}

/// Starts what brings the org's changes to the door.
fn follow(
    stages: &mut Stages,
    wires: &Wires,
    pubsub: &PubSub,
    channels: Vec<inbound::prepare::Channel>,
    schema_ids: &std::collections::HashSet<String>,
    config: config::Sync,
    limits: &Limits,
) {
    let snapshot = inbound::snapshot::run(wires.clone(), channels.len(), limits.clone());
    spawn(stages, "snapshot", snapshot);
    let poll = inbound::poll::run(wires.clone(), limits.clone());
    spawn(stages, "poll", poll);
    spawn(stages, "progress", inbound::progress::run(wires.clone()));
    spawn(stages, "repair", inbound::repair::run(wires.clone()));
    spawn(stages, "catch_up", inbound::catch_up::run(wires.clone()));
    let verify = inbound::verify::run(wires.clone(), limits.clone());
    spawn(stages, "verify", verify);
    let evolve = inbound::evolve::run(wires.clone(), pubsub.clone(), config);
    spawn(stages, "evolve", evolve);
    for channel in channels {
        let stream = inbound::subscribe::run(wires.clone(), pubsub.clone(), channel, schema_ids.clone());
        spawn(stages, "subscribe", stream);
    }
}

fn spawn(
    stages: &mut Stages,
    name: &'static str,
    stage: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) {
    stages.spawn(async move { (name, stage.await) });
}

/// Delivers orders. An org that is not set up for them is mirrored all the same: orders are kept, and health
/// says why they wait.
async fn orders(
    world: push::World,
    health: Arc<watch::Sender<Health>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut problem = world.problem.subscribe();
    let told = async {
        while problem.changed().await.is_ok() {
            let sentence = problem.borrow_and_update().clone();
            health.send_modify(|health| health.orders_problem = sentence);
        }
    };
    let pushed = tokio::select! {
        pushed = push::run(world, stop.clone()) => pushed,
        () = told => Ok(()),
    };
    match pushed {
        Err(push::PushError::Misfit(sentence)) => {
            tracing::error!("orders are kept and not sent: {sentence}");
            health.send_modify(|health| health.orders_problem = Some(sentence));
            stop.cancelled().await;
            Ok(())
        }
        ended => Ok(ended?),
    }
}

/// What the health is made of.
struct Watched {
    reader: Reader,
    clock: Clock,
    limits: Limits,
    topics: Vec<String>,
    health: Arc<watch::Sender<Health>>,
    stop: CancellationToken,
}

impl Watched {
    fn of(world: &World) -> Self {
        Self {
            reader: world.reader.clone(),
            clock: world.clock.clone(),
            limits: world.limits.clone(),
            topics: world.config.sync.channels.clone(),
            health: Arc::clone(&world.health),
            stop: world.stop.clone(),
        }
    }

    fn look(&self) -> anyhow::Result<()> {
        let now = self.clock.moment();
        let known = self
            .reader
            .with(|cache| proofs::known(cache, &self.topics, now))?;
        let heard = self.reader.with(cursors::cursors)?;
        // A channel that is no longer followed may have left its position.
        let followed = heard.iter().filter(|cursor| self.topics.contains(&cursor.topic));
        let window_left = followed.map(|cursor| cursor.replay_window_left(now.wall)).min();
        let freshness = Freshness::new(Truth::new(&known, &self.limits.freshness(), now));
        self.health.send_modify(|health| {
            health.freshness = freshness;
            health.replay_window_left_millis = window_left;
        });
        Ok(())
    }
}

/// Keeps what readers are told of the cache's freshness, from the first moment on.
async fn watch_health(watched: Watched) -> anyhow::Result<()> {
    while !watched.stop.is_cancelled() {
        watched.look()?;
        tokio::select! {
            () = watched.stop.cancelled() => {}
            () = tokio::time::sleep(HEALTH_INTERVAL) => {}
        }
    }
    Ok(())
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
