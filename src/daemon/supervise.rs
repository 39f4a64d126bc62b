//! What the service manager is told: ready, how far, alive, stopping.
//!
//! READY is said once the cache can be served: at once where there is one from before, else after the first load.
//! Until then each step forward asks for more time to start, so that a large org does not make a start fail and a
//! standstill does. The watchdog is fed only while every stage keeps the time it gave itself (see
//! [`crate::telemetry::pulse`]) and the writer of orders answers; a daemon that only looks alive is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::model::clock::{Clock, Moment};
use crate::model::freshness;
use crate::serve::Health;
use crate::store::cache::objects::State;
use crate::store::outbox::Outbox;
use crate::store::reader::Reader;
use crate::store::standing::Standing;
use crate::telemetry::pulse;

/// How often it looks, where the watchdog does not want it more often.
const LOOK: Duration = Duration::from_secs(1);

/// Given for the start once more with each step forward.
const MORE_TIME: Duration = Duration::from_secs(180);

/// What is looked at.
pub(super) struct World {
    pub(super) reader: Reader,
    pub(super) outbox: Outbox,
    pub(super) health: watch::Receiver<Health>,
    pub(super) clock: Clock,
    pub(super) is_ready: Arc<AtomicBool>,
}

/// Tells systemd how things are until it is stopped; without systemd it only looks.
pub(super) async fn run(world: World, stop: CancellationToken) -> anyhow::Result<()> {
    // A third of the time that systemd waits: it asks for half at most.
    let look = sd_notify::watchdog_enabled().map_or(LOOK, |longest| (longest / 3).min(LOOK));
    let mut told = Told {
        ready: world.is_ready.load(Ordering::Relaxed),
        ..Told::default()
    };
    while !stop.is_cancelled() {
        let started = Instant::now();
        told.tell(&world)?;
        if let Some(trouble) = trouble(&world.outbox, look).await {
            tracing::error!("{trouble}: the watchdog is not fed");
        } else if told.ready {
            notify(&[NotifyState::Watchdog]);
        }
        let left = look.saturating_sub(started.elapsed());
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(left) => {}
        }
    }
    Ok(())
}

/// What stands still, as a sentence.
async fn trouble(outbox: &Outbox, longest: Duration) -> Option<String> {
    if let Some((stage, over)) = pulse::standing_still() {
        let seconds = over.as_secs();
        return Some(format!(
            "the stage {stage} should have come back {seconds} s ago and has not"
        ));
    }
    match timeout(longest, outbox.probe()).await {
        Ok(_) => None,
        Err(_) => Some(format!("the writer of orders has not answered for {longest:?}")),
    }
}

/// What was told last.
#[derive(Default)]
struct Told {
    ready: bool,
    status: String,
    progress: u64,
    /// When it was last said that the start waits for the org.
    extended_at: Option<Instant>,
}

impl Told {
    /// A start that waits for the org is no standstill: it is told of in time, and again.
    fn waits_for_org(&mut self, health: &Health) -> bool {
        let waits = health.hindrances.of_all().is_some();
        let is_due = self.extended_at.is_none_or(|at| at.elapsed() > MORE_TIME / 3);
        if waits && is_due {
            self.extended_at = Some(Instant::now());
        }
        waits && is_due
    }

    fn tell(&mut self, world: &World) -> anyhow::Result<()> {
        let standing = world.reader.with(Standing::read)?;
        let health = world.health.borrow().clone();
        let (status, progress) = (
            status(&standing, &health, world.clock.moment()),
            progress(&standing),
        );
        if !self.ready && is_servable(&standing, &health, world.clock.moment()) {
            self.ready = true;
            world.is_ready.store(true, Ordering::Relaxed);
            tracing::info!("ready: {status}");
            notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
        } else if !self.ready && (progress != self.progress || self.waits_for_org(&health)) {
            let more = u32::try_from(MORE_TIME.as_micros()).unwrap_or(u32::MAX);
            notify(&[NotifyState::ExtendTimeoutUsec(more), NotifyState::Status(&status)]);
        } else if status != self.status {
            notify(&[NotifyState::Status(&status)]);
        }
        (self.status, self.progress) = (status, progress);
        Ok(())
    }
}

/// Every object has been loaded once, and what changed meanwhile was read.
fn is_servable(standing: &Standing, health: &Health, now: Moment) -> bool {
    !standing.objects.is_empty() && health.standing().state(now) != freshness::State::Initializing
}

/// Grows with everything that gets on during a start.
fn progress(standing: &Standing) -> u64 {
    let objects = standing.objects.iter();
    objects
        .map(|object| 1 + object.rows.unsigned_abs() + u64::from(object.state == State::Live))
        .sum()
}

/// One line for `systemctl status`.
fn status(standing: &Standing, health: &Health, now: Moment) -> String {
    let count = standing.objects.len();
    let live = standing
        .objects
        .iter()
        .filter(|object| matches!(object.state, State::Live | State::Reload))
        .count();
    if count == 0 {
        return match health.hindrances.of_all() {
            Some(cause) => format!("the org cannot be asked what there is to mirror: {cause}"),
            None => "asking the org what there is to mirror".to_owned(),
        };
    }
    if live < count {
        let loads = standing.loads.iter().map(|load| match &load.place {
            Some(place) => format!("{} {}%", load.object, load.rows * 100 / place.total.max(1)),
            None => load.object.clone(),
        });
        let loads: Vec<String> = loads.collect();
        return format!(
            "loading {}; {live} of {count} objects are loaded",
            loads.join(", ")
        );
    }
    let pending: u64 = standing
        .orders
        .iter()
        .filter(|orders| orders.state.is_pending())
        .map(|orders| orders.count)
        .sum();
    let fresh = health.standing();
    let mut status = match (fresh.state(now), fresh.found_cause(), fresh.lag_seconds(now)) {
        (freshness::State::Live, ..) => format!("live: {count} objects"),
        (_, Some(cause), _) => format!("serving what is cached: {cause}"),
        (_, None, Some(lag)) => format!("serving what is cached, up to {} min old", lag / 60),
        (_, None, None) => format!("reading what changed during the load of {count} objects"),
    };
    let repairs: u64 = standing.open_counts.iter().map(|(_, count, _)| count).sum();
    for (number, what) in [(repairs, "open repairs"), (pending, "orders to be sent")] {
        if number > 0 {
            status.push_str(&format!(", {number} {what}"));
        }
    }
    status
}

/// Without systemd there is none to tell.
pub(super) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("systemd could not be told how the daemon is ({error})");
    }
}
