//! The daemon: builds the world, joins the stages, and says how it ended.
//!
//! Only this file spawns. The stages run in one set; the first to end, ends the rest, and its name stands in
//! the error. A first signal stops them in order: no new work, what is under way is finished within
//! `STOP_MAX`; a second signal cuts that short.
//!
//! Both listeners are served from the first moment on, whatever the org says: from the cache where there is one, else with
//! 503 and the cause. The org is asked again and again. A start ends for what a person must mend in the configuration, and
//! for files of the state that cannot be used; for a damaged cache or journal and for a full disk the stages alone end, and
//! begin anew (see `mend`).

mod exit;
mod health;
mod listeners;
mod mend;
mod orders;
mod prepare;
mod reload;
mod stages;
mod supervise;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::Exit;
use crate::config::{self, Config, ConfigError};
use crate::daemon::health::Watched;
use crate::daemon::mend::{Failed, Mender, SetAside};
use crate::inbound::allowance;
use crate::inbound::apply::Bells;
use crate::inbound::budget::Limits;
use crate::model::clock::Clock;
use crate::outbound::gate::Known;
use crate::salesforce::Org;
use crate::salesforce::pubsub::PubSub;
use crate::serve::{Health, Listener, Tokens};
use crate::store::cache::{self, Cache};
use crate::store::database::{self, StateLock};
use crate::store::files::Opened;
use crate::store::journal::{self, Journal};
use crate::store::note::CALLS;
use crate::store::outbox::{self, Outbox};
use crate::store::pairing;
use crate::store::reader::Reader;
use crate::store::scratch;
use crate::store::volume::{self, beside};

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
    /// All three databases, as they were opened.
    opened: Vec<Opened>,
    /// The files that this process has set aside.
    set_aside: Vec<SetAside>,
    /// How often in a row the disk was full.
    full_count: u32,
    process: Process,
    stop: CancellationToken,
}

/// What outlives the stages when they begin anew.
#[derive(Clone)]
struct Process {
    /// As it was loaded last.
    config: Arc<watch::Sender<Config>>,
    /// The service manager was told that the daemon is ready.
    is_ready: Arc<AtomicBool>,
}

/// Runs by a clock until `stop`, or until a stage ends in an error that cannot be mended here.
pub async fn run(
    config: Config,
    clock: Clock,
    listeners: Listeners,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let dir = config.state.dir.clone();
    let process = Process {
        config: Arc::new(watch::Sender::new(config)),
        is_ready: Arc::default(),
    };
    let mut lock = None;
    let mut mender = Mender::default();
    let mut listeners = Some(listeners);
    while let Some(kept) = listeners.clone() {
        let mut run = Box::pin(once(&process, &clock, kept, &mut lock, &mut mender, &stop));
        let ended = tokio::select! {
            // Told first, also where all stages have ended by the time anyone looks.
            biased;
            () = stop.cancelled() => {
                supervise::notify(&[NotifyState::Stopping]);
                // With the last of them the sockets are closed.
                listeners = None;
                (&mut run).await
            }
            ended = &mut run => ended,
        };
        drop(run);
        match ended {
            Ok(()) => break,
            Err(failed) if stop.is_cancelled() => return Err(failed.error),
            Err(failed) => mender.judge(&dir, failed).await?,
        }
    }
    Ok(())
}

/// Runs until `stop`, or until a stage ends.
async fn once(
    process: &Process,
    clock: &Clock,
    listeners: Listeners,
    lock: &mut Option<StateLock>,
    mender: &mut Mender,
    stop: &CancellationToken,
) -> Result<(), Failed> {
    let at_start = |error| Failed {
        error,
        is_at_start: true,
        is_running: false,
    };
    // Caught from here on: a reload that is asked for during the start is done after it.
    let hangup = signal(SignalKind::hangup()).map_err(|error| at_start(error.into()))?;
    let stop = stop.child_token();
    let Opening {
        world,
        mut cache,
        mut journal,
        writer,
    } = open(process, clock, lock, mender, &stop, &listeners.admin).map_err(at_start)?;
    let (org, dir) = (world.org.clone(), world.config.state.dir.clone());
    let files = world.outbox.files().clone();
    let shown = listeners::shown(&world).map_err(at_start)?;
    let mut stages = Stages::new();
    stages.spawn_blocking(move || {
        writer.run();
        ("outbox", Ok(()))
    });
    stages::supervise(&mut stages, &world, hangup);
    stages::serve(&mut stages, shown, listeners);
    let prepared = tokio::select! {
        prepared = prepare::when_reachable(&world, &mut cache, &mut journal) => prepared,
        first = stages.join_next() => match outcome(first) {
            Ok(Some(name)) if !stop.is_cancelled() => Err(too_early(name)),
            ended => ended.map(|_| None),
        },
    };
    let failed = match prepared {
        Ok(Some(plan)) => {
            stages::start(&mut stages, world, plan, cache, journal);
            None
        }
        // Stopped before the org came back, it ends like at any other time: what is under way is finished. The writer of
        // orders ends when nobody can hand it one any more.
        Ok(None) => {
            drop((world, cache, journal));
            None
        }
        Err(error) => {
            drop((world, cache, journal));
            Some(error)
        }
    };
    let ended = finish(stages, &stop, failed).await;
    mender.is_outbox_full = files.is_outbox_full();
    // Nobody calls any more.
    allowance::write_calls(&org, &dir);
    ended
}

/// Refuses a directory that has to be encrypted, and is neither seen nor stated to be.
fn require_encrypted(state: &config::State) -> Result<(), ConfigError> {
    if !state.require_encrypted || state.encryption.is_some() {
        return Ok(());
    }
    let Some(why) = volume::encryption(&state.dir).doubt() else {
        return Ok(());
    };
    Err(ConfigError(format!(
        "[state] require_encrypted is set, and {} is not seen to be encrypted ({why}): move it to an encrypted volume, or say \
         encryption = \"volume\" where the provider or the disk encrypts it",
        state.dir.display()
    )))
}

/// Tells what of a directory that has to be encrypted may lie elsewhere in plain.
fn tell_of_beside(state: &config::State) {
    if !state.require_encrypted {
        return;
    }
    if let Some(why) = beside::swap(None).doubt() {
        tracing::warn!(
            "what the daemon holds may be swapped out in plain ({why}): encrypt the swap or turn it off, or run the daemon with \
             MemorySwapMax=0, as its unit does"
        );
    }
    let (dir, told) = beside::spill(state.stated_dir());
    if let Some(why) = told.doubt() {
        tracing::warn!(
            "SQLite may write into {}, which is not seen to be encrypted ({why}): set SQLITE_TMPDIR to the path of [state] dir, as \
             the unit does",
            dir.display()
        );
    }
}

/// What a start begins with.
struct Opening {
    world: World,
    cache: Cache,
    journal: Journal,
    writer: outbox::Writer,
}

fn open(
    process: &Process,
    clock: &Clock,
    lock: &mut Option<StateLock>,
    mender: &mut Mender,
    stop: &CancellationToken,
    admin: &Listener,
) -> anyhow::Result<Opening> {
    let config = process.config.borrow().clone();
    let dir = config.state.dir.clone();
    let org = Org::new(&config.org, clock.clone())?;
    if let Some(calls) = CALLS.read(&dir) {
        org.recall(calls);
    }
    let pubsub = PubSub::new(&org)?;
    if lock.is_none() {
        *lock = Some(database::lock(&dir)?);
    }
    require_encrypted(&config.state)?;
    tell_of_beside(&config.state);
    // A process that was killed may have left what it had copied or opened.
    if let Err(error) = scratch::sweep(&dir) {
        tracing::warn!("what was left in {} cannot be removed ({error})", dir.display());
    }
    mender.mend(&dir, clock)?;
    let cache = Cache::open(&dir)?;
    cache.begin_life()?;
    let mut journal = Journal::open(&dir)?;
    journal.keep_rows(config.state.keep_rows);
    let (outbox, writer) = outbox::open(&dir, clock.now())?;
    if mender.full_count > 0 {
        outbox.files().tell_full(cache::KIND.file_name);
    }
    if mender.is_outbox_full {
        outbox.files().tell_full(outbox::KIND.file_name);
    }
    let of = |kind| Opened::of(&dir, kind).with_context(|| format!("{} cannot be looked at", dir.display()));
    let opened = vec![of(cache::KIND)?, of(journal::KIND)?, outbox.opened().clone()];
    pairing::note(&dir, &[cache::KIND, journal::KIND, outbox::KIND]);
    let reader = Reader::new(&dir);
    let known = Known::open(&dir, &config.orders, config.sync.profile);
    // Every user of this machine reaches an address of it; a socket in the file system has rights of its own.
    let token_dir = admin.local_addr().is_some().then_some(&*dir);
    let world = World {
        known,
        limits: Limits::new(&config.sync),
        tokens: Tokens::new(&config, token_dir, clock.now()),
        bells: Bells::new(cache.rev()),
        health: Arc::default(),
        opened,
        set_aside: mender.set_aside.clone(),
        full_count: mender.full_count,
        process: process.clone(),
        stop: stop.clone(),
        config,
        clock: clock.clone(),
        org,
        pubsub,
        reader,
        outbox,
    };
    Watched::of(&world).look()?;
    Ok(Opening {
        world,
        cache,
        journal,
        writer,
    })
}

/// Waits until a stage ends, by itself or because it is stopped; then for the rest. `failed` is why there is nothing to
/// wait for.
async fn finish(
    mut stages: Stages,
    stop: &CancellationToken,
    failed: Option<anyhow::Error>,
) -> Result<(), Failed> {
    let mut first_ended = None;
    let mut ended = match failed {
        Some(error) => Err(error),
        None => tokio::select! {
            () = stop.cancelled() => Ok(()),
            first = stages.join_next() => outcome(first).map(|name| first_ended = name),
        },
    };
    let first_ended = first_ended.filter(|_| !stop.is_cancelled());
    stop.cancel();
    let rest = async {
        while let Some(next) = stages.join_next().await {
            let next = outcome(Some(next)).map(drop);
            // The door's own error says more than that a stage found it closed and ended.
            if ended.is_ok() {
                ended = next;
            }
        }
    };
    let is_running = tokio::time::timeout(STOP_MAX, rest).await.is_err();
    if is_running {
        tracing::warn!(
            "not all stages ended within {} s; nothing is lost by it",
            STOP_MAX.as_secs()
        );
    }
    let ended = ended.and_then(|()| first_ended.map_or(Ok(()), |name| Err(too_early(name))));
    ended.map_err(|error| Failed {
        error,
        is_at_start: false,
        is_running,
    })
}

fn too_early(name: &str) -> anyhow::Error {
    anyhow!("the stage {name} ended by itself")
}

/// The name of a stage that ended without an error; before the stop, that is too early.
fn outcome(
    ended: Option<Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>>,
) -> anyhow::Result<Option<&'static str>> {
    match ended {
        Some(Ok((name, Err(error)))) => Err(error.context(format!("the stage {name} failed"))),
        Some(Ok((name, Ok(())))) => Ok(Some(name)),
        Some(Err(error)) => Err(anyhow!("a stage broke off ({error})")),
        None => Ok(None),
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
