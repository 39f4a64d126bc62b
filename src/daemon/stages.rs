//! Which stages there are, and what each is given.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config};
use crate::daemon::health::{self, Watched};
use crate::daemon::listeners::Listeners;
use crate::daemon::{Stages, World, orders, reload, supervise};
use crate::failpoint;
use crate::inbound::apply;
use crate::inbound::budget::Limits;
use crate::inbound::{self, Plan, Wires};
use crate::journal::forget as forget_persons;
use crate::model::calls::Purpose;
use crate::model::clock::Clock;
use crate::outbound::{confirm, forget, push};
use crate::salesforce::Org;
use crate::salesforce::pubsub::PubSub;
use crate::serve;
use crate::store::cache::{self, Cache};
use crate::store::files::Files;
use crate::store::journal::{self, Journal};
use crate::store::{checkpoint, damage, outbox, priority};
use crate::telemetry::pulse::{Heart, Pulse};
use crate::telemetry::traces;

/// How long moving what a log holds may take, on a slow disk.
const CHECKPOINT_MAX: Duration = Duration::from_secs(60);

/// How often the threads of the stages say that they turn.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How often a login that was refused is looked at.
const LOGIN_INTERVAL: Duration = Duration::from_secs(1);

/// Starts what the service manager is told by, and what it asks for.
pub(super) fn supervise(stages: &mut Stages, world: &World, hangup: Signal) {
    let seen = supervise::World {
        reader: world.reader.clone(),
        outbox: world.outbox.clone(),
        health: world.health.subscribe(),
        clock: world.clock.clone(),
        is_ready: Arc::clone(&world.process.is_ready),
    };
    spawn(stages, "supervise", supervise::run(seen, world.stop.clone()));
    let reached = reload::World {
        config: Arc::clone(&world.process.config),
        org: world.org.clone(),
        pubsub: world.pubsub.clone(),
        limits: world.limits.clone(),
        tokens: world.tokens.clone(),
        outbox: world.outbox.clone(),
        clock: world.clock.clone(),
        schemas: world.bells.schemas.clone(),
    };
    spawn(stages, "reload", reload::run(reached, hangup, world.stop.clone()));
    spawn(stages, "health", health::watch(Watched::of(world)));
    spawn(stages, "login", keep_login(world.org.clone(), world.stop.clone()));
    let (dir, stop) = (world.config.state.dir.clone(), world.stop.clone());
    spawn(stages, "damage", look_for_damage(dir, stop));
    let (org, dir) = (world.org.clone(), world.config.state.dir.clone());
    let allowance = inbound::allowance::run(org, dir, world.stop.clone());
    spawn(stages, "allowance", allowance);
    if let Some(url) = world.config.log.otlp_url.clone() {
        spawn(stages, "traces", traces::run(url, world.stop.clone()));
    }
}

pub(super) fn serve(stages: &mut Stages, shown: serve::World, listeners: Listeners) {
    let (storefront, admin) = (listeners.storefront, listeners.admin);
    tracing::info!("storefronts are served on {}", storefront.address());
    tracing::info!("operators are served on {}", admin.address());
    let (heart, stop) = (shown.heart.clone(), shown.stop.clone());
    spawn(stages, "heart", beat(heart, stop));
    spawn(stages, "serve", serve::run(storefront, shown.clone()));
    // Whatever happens to the threads of all others, operators are answered.
    stages.spawn_blocking(move || ("admin", serve::run_admin(admin, &shown)));
}

/// Says again and again that the threads of the stages turn.
async fn beat(heart: Heart, stop: CancellationToken) -> anyhow::Result<()> {
    while !stop.is_cancelled() {
        heart.beat();
        failpoint::reach("heart");
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(HEARTBEAT) => {}
        }
    }
    Ok(())
}

/// Looks through the databases once, the outbox first, on a thread that yields to all others. What it finds is noted, and
/// seen there by who watches the files.
async fn look_for_damage(dir: PathBuf, stop: CancellationToken) -> anyhow::Result<()> {
    let stopped = stop.clone();
    let look = move || -> anyhow::Result<()> {
        priority::yield_to_readers();
        for kind in [outbox::KIND, journal::KIND, cache::KIND] {
            match damage::look(&dir, kind, || stopped.is_cancelled())? {
                Some(cause) => damage::note(&dir, kind.file_name, &cause),
                None if stopped.is_cancelled() => {}
                None => damage::forget(&dir, kind.file_name)?,
            }
        }
        Ok(())
    };
    // A thread of its own, which ends: that of a pool would yield for ever.
    let looked = move || std::thread::scope(|scope| scope.spawn(look).join());
    match tokio::task::spawn_blocking(looked).await? {
        Ok(Err(error)) => tracing::warn!("the databases could not be looked through for damage: {error:#}"),
        Ok(Ok(())) => {}
        Err(_) => anyhow::bail!("the look for damage broke off"),
    }
    stop.cancelled().await;
    Ok(())
}

/// While no login succeeds, tries one as soon as one may be tried: when its wait is over, or its secrets have changed.
async fn keep_login(org: Org, stop: CancellationToken) -> anyhow::Result<()> {
    let mut login = org.watch_login();
    let keep = async {
        while login.wait_for(Option::is_some).await.is_ok() {
            tokio::time::sleep(LOGIN_INTERVAL).await;
            org.recover().await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = keep => stop.cancelled().await,
    }
    org.close();
    Ok(())
}

/// Starts what takes orders to the org, and what follows them there.
fn send(stages: &mut Stages, world: &World) {
    let confirm = confirm::World {
        org: world.org.for_purpose(Purpose::Orders),
        config: world.config.orders.clone(),
        outbox: world.outbox.clone(),
        reader: world.reader.clone(),
        revisions: world.bells.rev.subscribe(),
        known: world.known.clone(),
        clock: world.clock.clone(),
    };
    let confirm_stop = world.stop.clone();
    spawn(stages, "confirm", async move {
        Ok(confirm::run(confirm, confirm_stop).await?)
    });
    let forget = forget::World {
        org: world.org.for_purpose(Purpose::Orders),
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
        org: world.org.for_purpose(Purpose::Orders),
        outbox: world.outbox.clone(),
        reader: world.reader.clone(),
        config: world.config.orders.clone(),
        profile: world.config.sync.profile,
        clock: world.clock.clone(),
        known: world.known.clone(),
        problem: watch::Sender::new(None),
    };
    spawn(
        stages,
        "push",
        orders::deliver(push, Arc::clone(&world.health), world.stop.clone()),
    );
}

/// Starts what talks to the org, and the one door behind it.
pub(super) fn start(stages: &mut Stages, world: World, plan: Plan, cache: Cache, journal: Journal) {
    send(stages, &world);
    let files = world.outbox.files().clone();
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
    let (queue, requests) = apply::queue();
    let (door_clock, door_bells) = (clock.clone(), bells.clone());
    stages.spawn_blocking(move || {
        let applied = apply::run(cache, journal, requests, &door_clock, &door_bells);
        ("apply", applied)
    });
    tend(stages, &config, &clock, &files, &stop);

    let wires = Wires {
        org,
        clock,
        reader,
        planned: watch::Sender::new(plan.objects.into()),
        apply: queue,
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
fn tend(stages: &mut Stages, config: &Config, clock: &Clock, files: &Files, stop: &CancellationToken) {
    let (dir, checkpoints, files) = (config.state.dir.clone(), stop.clone(), files.clone());
    stages.spawn_blocking(move || {
        let pulse = Pulse::new("checkpoint");
        let turned = || pulse.quiet_for(CHECKPOINT_MAX);
        ("checkpoint", checkpoint::run(&dir, &files, &checkpoints, turned))
    });
    let forgetting = forget_persons::World {
        dir: config.state.dir.clone(),
        sync: config.sync.clone(),
        keep: forget_persons::keep(&config.state),
        clock: clock.clone(),
    };
    let stop = stop.clone();
    stages.spawn_blocking(move || ("forget", forget_persons::run(forgetting, &stop)));
}

/// Starts what brings the org's changes to the door.
fn follow(
    stages: &mut Stages,
    wires: &Wires,
    pubsub: &PubSub,
    channels: Vec<inbound::prepare::Channel>,
    schema_ids: &HashSet<String>,
    config: config::Sync,
    limits: &Limits,
) {
    let snapshot = inbound::snapshot::run(wires.clone(), limits.clone());
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
