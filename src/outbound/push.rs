//! Sends what the outbox holds.
//!
//! It may send a write twice; it cannot make it twice, because the org refuses the second under the same key. It
//! races with nobody: the outbox hands out a write to one claim at a time, and one write of an account at a
//! time. A crash between sending and writing down the outcome leaves the write `sending`, and the next start
//! looks it up. The queue is the table, the bell only saves waiting: a bell that is missed, because the change
//! was another process's, costs two seconds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::{self, Profile};
use crate::model::clock::{Clock, Millis, Steps};
use crate::model::order::{OrderState, Outcome};
use crate::model::write::kinds::SPECS;
use crate::outbound::compose::Composer;
use crate::outbound::deliver::{self, Sources};
use crate::outbound::gate::Known;
use crate::outbound::mapping::Mapping;
use crate::outbound::outcome;
use crate::outbound::party::Party;
use crate::outbound::schedule::{self, Circuit, Tried};
use crate::outbound::shape::{Shape, ShapeError};
use crate::salesforce::Org;
use crate::store::outbox::{Claimed, Exchange, Outbox, OutboxError};
use crate::store::reader::Reader;
use crate::telemetry::metrics;
use crate::telemetry::pulse::Pulse;
use crate::telemetry::traces::Span;

/// Longest wait without a look at the table.
const IDLE_MAX: Duration = Duration::from_secs(2);
/// Longest time for the calls that one write takes.
const ANSWERS_MAX: Duration = Duration::from_secs(400);
/// How long what is on its way may take once storesync is stopping.
const DRAIN_MAX: Duration = Duration::from_secs(15);
/// How long nothing is claimed once the outbox could not be written.
const UNWRITABLE_MILLIS: Millis = 1_000;
/// How old what is known of the org's objects gets, and how old it has to be to be asked for again at a hint.
const SHAPE_AGE_MAX: Millis = 600_000;
const SHAPE_AGE_MIN: Millis = 2_000;
/// The same where a storefront was refused something by it: that may happen at every request.
const SHAPE_AGE_DOUBTED: Millis = 60_000;
/// How long an org that is not set up for orders is left alone.
const MISFIT_REST: Duration = Duration::from_secs(30);

/// What push works with.
pub struct World {
    pub org: Org,
    pub outbox: Outbox,
    pub reader: Reader,
    pub config: config::Orders,
    /// That of `[sync]`.
    pub profile: Profile,
    pub clock: Clock,
    /// Is told what the org's objects look like.
    pub known: Known,
    /// Why nothing is sent, for health.
    pub problem: watch::Sender<Option<String>>,
}

/// Why push ends before it is stopped.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The configuration cannot be meant.
    #[error("{0}")]
    Misfit(String),
    #[error("orders cannot be sent")]
    Outbox(#[from] OutboxError),
}

/// The org's objects, as they were at a time; by the clock that is not set.
struct Seen {
    shape: Arc<Shape>,
    at: Millis,
}

/// What the deliveries under way share.
struct Shared<'a> {
    world: &'a World,
    mapping: Mapping,
    circuit: Mutex<Circuit>,
}

impl Shared<'_> {
    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends writes until it is stopped.
pub async fn run(world: World, stop: CancellationToken) -> Result<(), PushError> {
    let profile = world.config.profile.unwrap_or(world.profile);
    let mapping = Mapping::new(profile, &world.config.map).map_err(PushError::Misfit)?;
    let shared = Shared {
        world: &world,
        mapping,
        circuit: Mutex::new(Circuit::default()),
    };
    let Some(mut seen) = first_shape(&shared, &stop).await else {
        return Ok(());
    };
    let bell = world.outbox.bell();
    let pulse = Pulse::new("push");
    let mut under_way = FuturesUnordered::new();
    let mut steps = Steps::new(world.clock.now(), world.clock.steady());
    let mut login = world.org.watch_login();
    loop {
        let (now, steady) = (world.clock.now(), world.clock.steady());
        let age_max = if world.known.is_doubted() {
            SHAPE_AGE_DOUBTED
        } else {
            SHAPE_AGE_MAX
        };
        if steady - seen.at > age_max {
            renew(&shared, &mut seen, &stop).await;
        }
        if let Some(step) = steps.look(now, steady) {
            reschedule(&shared, &mut steps, step, now).await?;
        }
        let free = shared.circuit().lanes().saturating_sub(under_way.len());
        if free > 0 && shared.circuit().is_closed(steady) {
            for claimed in claim(&shared, now, free).await? {
                under_way.push(deliver(&shared, Arc::clone(&seen.shape), claimed));
            }
        }
        let idle = idle(&shared)?;
        // With all lanes taken it turns when one is free again: a look-up and a delivery at most.
        pulse.quiet_for(IDLE_MAX + ANSWERS_MAX);
        crate::failpoint::stand("push").await;
        tokio::select! {
            Some(delivered) = under_way.next(), if !under_way.is_empty() => {
                let delivered: Outcome = delivered?;
                shared.circuit().learn(&delivered, world.clock.steady());
                tell_health(&world, &delivered);
                if is_outdated(&delivered) && world.clock.steady() - seen.at > SHAPE_AGE_MIN {
                    renew(&shared, &mut seen, &stop).await;
                }
            }
            Ok(()) = login.changed() => if login.borrow().is_none() {
                shared.circuit().try_now();
            },
            () = bell.notified() => {}
            () = sleep(idle) => {}
            () = stop.cancelled() => break,
        }
    }
    drain(under_way).await
}

/// The clock was set: what waits is judged anew, before anything is claimed by the new time.
async fn reschedule(
    shared: &Shared<'_>,
    steps: &mut Steps,
    step: Millis,
    now: Millis,
) -> Result<(), OutboxError> {
    let hold_millis = i64::try_from(schedule::hold().as_millis()).unwrap_or(i64::MAX);
    match shared.world.outbox.clock_set(step, now, hold_millis).await {
        Ok(moved) => {
            steps.took(step);
            tracing::warn!(
                step_millis = step,
                moved,
                "the clock was set by {step} ms: due times are judged anew"
            );
            Ok(())
        }
        Err(OutboxError::Write(_)) => {
            let steady = shared.world.clock.steady();
            shared.circuit().hold(steady + UNWRITABLE_MILLIS);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Claims what is due. While the outbox cannot be written nothing is sent, and nothing is lost.
async fn claim(shared: &Shared<'_>, now: Millis, most: usize) -> Result<Vec<Claimed>, OutboxError> {
    let world = shared.world;
    let reserve = world.config.api_reserve_percent;
    let steady = world.clock.steady();
    let orders_only = shared
        .circuit()
        .orders_only(world.org.api_usage(), reserve, steady);
    match world.outbox.claim(now, most, orders_only).await {
        Err(OutboxError::Write(_)) => {
            shared.circuit().hold(steady + UNWRITABLE_MILLIS);
            Ok(Vec::new())
        }
        claimed => claimed,
    }
}

/// Waits for what is on its way. What does not end in time is looked up at the next start.
async fn drain(
    mut under_way: impl StreamExt<Item = Result<Outcome, OutboxError>> + Unpin,
) -> Result<(), PushError> {
    let all = async {
        while let Some(delivered) = under_way.next().await {
            delivered?;
        }
        Ok(())
    };
    timeout(DRAIN_MAX, all).await.unwrap_or_else(|_| {
        let seconds = DRAIN_MAX.as_secs();
        tracing::warn!("writes under way were not answered within {seconds} s: the next start looks them up");
        Ok(())
    })
}

/// How long there is nothing to do unless something happens.
fn idle(shared: &Shared<'_>) -> Result<Duration, OutboxError> {
    let clock = &shared.world.clock;
    let left = match shared.circuit().until() - clock.steady() {
        left if left > 0 => Some(left),
        _ => shared.world.outbox.next_due()?.map(|due_at| due_at - clock.now()),
    };
    let wait = left.map_or(IDLE_MAX, |left| {
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    });
    // At least a moment, so that what is due and cannot be claimed yet does not make a busy loop.
    Ok(wait.clamp(Duration::from_millis(5), IDLE_MAX))
}

fn is_outdated(delivered: &Outcome) -> bool {
    match delivered {
        Outcome::Retry { problem, .. } | Outcome::Paused { problem, .. } | Outcome::Refused { problem } => {
            outcome::is_outdated_shape(&problem.code)
        }
        Outcome::Sent { .. } | Outcome::Overtaken { .. } => false,
    }
}

/// Tells health why orders wait, for as long as the org answers none of them.
fn tell_health(world: &World, delivered: &Outcome) {
    let problem = match delivered {
        Outcome::Paused { problem, .. } => {
            Some(format!("orders wait ({}): {}", problem.code, problem.message))
        }
        Outcome::Sent { .. } | Outcome::Refused { .. } | Outcome::Overtaken { .. } => None,
        Outcome::Retry { .. } => return,
    };
    say(world, problem);
}

fn say(world: &World, problem: Option<String>) {
    world.problem.send_if_modified(|told| {
        let is_new = *told != problem;
        *told = problem;
        is_new
    });
}

async fn load(shared: &Shared<'_>) -> Result<Shape, ShapeError> {
    let mut others: Vec<&str> = SPECS.iter().map(|spec| spec.object).collect();
    let mapped = [
        "payment.object",
        "shipping.object",
        "discount.object",
        "form_answer.object",
    ];
    others.extend(mapped.iter().filter_map(|name| shared.mapping.field(name)));
    others.retain(|object| *object != "Contact");
    let world = shared.world;
    let field = world.config.external_id_field.as_deref();
    Box::pin(Shape::load(&world.org, field, &others)).await
}

/// Learns the org's objects, however long it is out of reach or not set up. `None` when it is stopped first.
async fn first_shape(shared: &Shared<'_>, stop: &CancellationToken) -> Option<Seen> {
    for attempt in 1_u32.. {
        let loaded = tokio::select! {
            loaded = load(shared) => loaded,
            () = stop.cancelled() => return None,
        };
        let wait = match loaded {
            Ok(shape) => {
                say(shared.world, None);
                let shape = Arc::new(shape);
                shared.world.known.learn(&shape);
                return Some(Seen {
                    shape,
                    at: shared.world.clock.steady(),
                });
            }
            Err(ShapeError::Misfit(sentence)) => {
                tracing::error!("orders are kept and not sent: {sentence}");
                say(shared.world, Some(sentence));
                MISFIT_REST
            }
            Err(ShapeError::Org(error)) => {
                if attempt == 1 {
                    tracing::warn!(%error, "orders wait: the org's objects cannot be described");
                }
                let sentence = format!("orders wait: the org's objects cannot be described: {error}");
                say(shared.world, Some(sentence));
                schedule::soon(attempt)
            }
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = stop.cancelled() => return None,
        }
    }
    None
}

/// Learns the org's objects again. What was known stays in use where that fails.
async fn renew(shared: &Shared<'_>, seen: &mut Seen, stop: &CancellationToken) {
    seen.at = shared.world.clock.steady();
    let loaded = tokio::select! {
        loaded = load(shared) => loaded,
        () = stop.cancelled() => return,
    };
    match loaded {
        Ok(shape) => {
            seen.shape = Arc::new(shape);
            shared.world.known.learn(&seen.shape);
        }
        Err(error) => tracing::warn!(%error, "the org's objects cannot be described again"),
    }
}

/// Takes one write as far as it goes and writes down how far that was.
async fn deliver(shared: &Shared<'_>, shape: Arc<Shape>, claimed: Claimed) -> Result<Outcome, OutboxError> {
    let world = shared.world;
    let data_path = world.org.data_path();
    let composer = Composer {
        shape: &shape,
        mapping: &shared.mapping,
        party: &Party::default(),
        customers: world.config.customers,
        guests: world.config.match_guests,
        duplicates: world.config.duplicates,
        status: world.config.status.as_deref(),
        cancelled_status: &world.config.cancelled_status,
        version_field: world.config.version_field.as_deref(),
        data_path: &data_path,
    };
    let begun_at = world.clock.now();
    let sources = Sources {
        org: &world.org,
        outbox: &world.outbox,
        reader: &world.reader,
    };
    let (delivered, exchange) = deliver::deliver(sources, composer, &claimed).await;
    let outcome = match delivered {
        Ok(salesforce_id) => Outcome::Sent { salesforce_id },
        Err(trouble) => {
            let tried = Tried {
                sequence: claimed.sequence,
                attempt: claimed.attempt,
                failures: claimed.failures,
            };
            shared.circuit().outcome(&tried, trouble.verdict, trouble.looking)
        }
    };
    tell(&claimed, &outcome, begun_at, world.clock.now());
    let sending = OrderState::Sending {
        attempt: claimed.attempt,
        failures: claimed.failures,
    };
    let state = sending.after(outcome.clone(), world.clock.now());
    let (kind, key, name) = (claimed.kind.name(), &claimed.external_id, state.state().name());
    let (store, org_key) = (&claimed.store_id, claimed.org_key.as_ref().unwrap_or(key));
    match &outcome {
        Outcome::Sent { salesforce_id } => {
            tracing::info!(kind, %key, %store, %org_key, %salesforce_id, attempt = claimed.attempt, "{kind} {key} is in the org");
        }
        Outcome::Overtaken { .. } => {
            tracing::info!(kind, %key, %store, %org_key, attempt = claimed.attempt, "{kind} {key} is not sent: the org has a later change");
        }
        Outcome::Retry { problem, .. } | Outcome::Paused { problem, .. } | Outcome::Refused { problem } => {
            let code = &problem.code;
            tracing::warn!(kind, %key, %store, %org_key, %code, attempt = claimed.attempt, state = name, "{kind} {key} is not sent: {code}");
        }
    }
    write_down(world, &claimed, state, exchange).await?;
    Ok(outcome)
}

fn tell(claimed: &Claimed, outcome: &Outcome, begun_at: Millis, ended_at: Millis) {
    let (name, problem) = match outcome {
        Outcome::Sent { .. } => ("sent", None),
        Outcome::Overtaken { .. } => ("overtaken", None),
        Outcome::Retry { problem, .. } => ("retry", Some(problem)),
        Outcome::Paused { problem, .. } => ("paused", Some(problem)),
        Outcome::Refused { problem } => ("refused", Some(problem)),
    };
    let code = problem.map(|problem| problem.code.as_str());
    metrics::ORDERS_PUSHED.count([name, code.unwrap_or_default()]);
    let time = Duration::from_millis(u64::try_from(ended_at - begun_at).unwrap_or(0));
    metrics::ORDER_PUSH_DURATION.observe([name], time);
    Span::tell(|| {
        Span::of_order(&claimed.external_id, "send", claimed.attempt, begun_at, ended_at)
            .with("attempt", &claimed.attempt)
            .with("outcome", &name)
            .failed(code)
    });
}

/// The outcome must not be lost while the disk is full: it is tried until it is written.
async fn write_down(
    world: &World,
    claimed: &Claimed,
    state: OrderState,
    exchange: Exchange,
) -> Result<(), OutboxError> {
    let mut failures = 0;
    loop {
        let recorded = world
            .outbox
            .record(claimed, state.clone(), exchange.clone(), world.clock.now())
            .await;
        match recorded {
            Ok(true) => return Ok(()),
            Ok(false) => {
                let (key, store) = (&claimed.external_id, &claimed.store_id);
                let org_key = claimed.org_key.as_ref().unwrap_or(key);
                tracing::error!(%key, %store, %org_key, "the outcome of {key} was not written: its claim had ended");
                return Ok(());
            }
            Err(OutboxError::Write(_)) => {
                failures += 1;
                sleep(schedule::soon(failures)).await;
            }
            Err(error) => return Err(error),
        }
    }
}
