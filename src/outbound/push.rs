//! Sends what the outbox holds.
//!
//! It may send an order twice; it cannot make it twice, because the org refuses the second under the same
//! key. It races with nobody: the outbox hands out an order to one claim at a time, and one order of a
//! customer at a time. A crash between sending and writing down the outcome leaves the order `sending`, and
//! the next start looks it up. The queue is the table, the bell only saves waiting: a bell that is missed
//! costs at most half a minute.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::model::clock::{Clock, Millis};
use crate::model::order::{OrderState, Outcome, Placed, Problem};
use crate::model::retry::Policy;
use crate::outbound::compose::{self, Request};
use crate::outbound::outcome::{self, Verdict};
use crate::outbound::read_back::{self, Found};
use crate::outbound::shape::{Key, Shape, ShapeError};
use crate::salesforce::rest::Scope;
use crate::salesforce::{Error, Org};
use crate::store::outbox::{Claimed, Outbox, OutboxError};
use crate::telemetry::metrics;
use crate::telemetry::pulse::Pulse;
use crate::telemetry::traces::Span;

/// Most orders on their way at once, each of another customer.
const LANES_MAX: usize = 8;
/// Longest wait without a look at the table.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Longest time for the calls that one order takes.
const ANSWERS_MAX: Duration = Duration::from_secs(400);
/// How long what is on its way may take once storesync is stopping.
const DRAIN_MAX: Duration = Duration::from_secs(15);

/// How long nothing is claimed once the outbox could not be written.
const UNWRITABLE_MILLIS: Millis = 1_000;

const SOON: Policy = Policy {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(60),
};
const LATER: Policy = Policy {
    first: Duration::from_secs(15),
    longest: Duration::from_secs(1_800),
};
const PAUSE: Policy = Policy {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(60),
};

/// What push works with.
pub struct World {
    pub org: Org,
    pub outbox: Outbox,
    /// `orders.external_id_field` of the configuration.
    pub key_field: Option<String>,
    pub clock: Clock,
}

/// Why push ends before it is stopped.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The org is not set up for orders.
    #[error("{0}")]
    Misfit(String),
    #[error("orders cannot be sent")]
    Outbox(#[from] OutboxError),
}

/// Sends orders until it is stopped.
pub async fn run(world: World, stop: CancellationToken) -> Result<(), PushError> {
    let Some(shape) = shape(&world, &stop).await? else {
        return Ok(());
    };
    let bell = world.outbox.bell();
    let pulse = Pulse::new("push");
    let mut pause = Pause::default();
    let mut under_way = FuturesUnordered::new();
    loop {
        let now = world.clock.now();
        let free = LANES_MAX - under_way.len();
        if free > 0 && pause.is_over(now) {
            for claimed in claim(&world, now, free, &mut pause).await? {
                under_way.push(deliver(&world, &shape, claimed, pause.count));
            }
        }
        let idle = idle(&world, &pause)?;
        // With all lanes taken it turns when one is free again: a look-up and a delivery at most.
        pulse.quiet_for(IDLE_MAX + ANSWERS_MAX);
        tokio::select! {
            Some(delivered) = under_way.next(), if !under_way.is_empty() => {
                pause.learn(&delivered?, world.clock.now());
            }
            () = bell.notified(), if under_way.len() < LANES_MAX => {}
            () = sleep(idle), if under_way.len() < LANES_MAX => {}
            () = stop.cancelled() => break,
        }
    }
    drain(under_way).await
}

/// Claims what is due. While the outbox cannot be written nothing is sent, and nothing is lost.
async fn claim(
    world: &World,
    now: Millis,
    most: usize,
    pause: &mut Pause,
) -> Result<Vec<Claimed>, OutboxError> {
    match world.outbox.claim(now, most).await {
        Err(OutboxError::Write(_)) => {
            pause.until = now + UNWRITABLE_MILLIS;
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
    timeout(DRAIN_MAX, all).await.unwrap_or(Ok(()))
}

/// How long there is nothing to do unless something happens.
fn idle(world: &World, pause: &Pause) -> Result<Duration, OutboxError> {
    let now = world.clock.now();
    let next = match pause.until {
        until if until > now => Some(until),
        _ => world.outbox.next_due()?,
    };
    // At least a moment, so that a clock that stands still cannot make a busy loop.
    let wait = next.map_or(IDLE_MAX, |at| {
        Duration::from_millis(u64::try_from(at - now).unwrap_or(0))
    });
    Ok(wait.clamp(Duration::from_millis(5), IDLE_MAX))
}

/// Trouble of the whole org, as one delivery after the other reports it.
#[derive(Default)]
struct Pause {
    until: Millis,
    /// Pauses since an order last got through.
    count: u32,
}

impl Pause {
    fn is_over(&self, now: Millis) -> bool {
        now >= self.until
    }

    fn learn(&mut self, delivered: &Outcome, now: Millis) {
        match delivered {
            Outcome::Paused { problem, wait, .. } => {
                if self.is_over(now) {
                    self.count += 1;
                    tracing::warn!(code = %problem.code, wait_seconds = wait.as_secs(), "sending orders pauses: {}", problem.code);
                }
                let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                self.until = self.until.max(now.saturating_add(wait));
            }
            Outcome::Sent { .. } => self.count = 0,
            Outcome::Retry { .. } | Outcome::Refused { .. } => {}
        }
    }
}

/// Learns the org's shape, however long it is out of reach. `None` when it is stopped first.
async fn shape(world: &World, stop: &CancellationToken) -> Result<Option<Shape>, PushError> {
    for attempt in 1_u32.. {
        let loaded = tokio::select! {
            loaded = Shape::load(&world.org, world.key_field.as_deref()) => loaded,
            () = stop.cancelled() => return Ok(None),
        };
        match loaded {
            Ok(shape) => return Ok(Some(shape)),
            Err(ShapeError::Misfit(sentence)) => return Err(PushError::Misfit(sentence)),
            Err(ShapeError::Org(error)) => {
                let wait = PAUSE.delay(attempt);
                tracing::warn!(%error, wait_seconds = wait.as_secs(), "orders wait: the org's order objects cannot be described");
                tokio::select! {
                    () = sleep(wait) => {}
                    () = stop.cancelled() => return Ok(None),
                }
            }
        }
    }
    Ok(None)
}

/// Takes one order as far as it goes and writes down how far that was.
async fn deliver(
    world: &World,
    shape: &Shape,
    claimed: Claimed,
    pauses: u32,
) -> Result<Outcome, OutboxError> {
    let begun_at = world.clock.now();
    let outcome = attempt(world, shape, &claimed, pauses).await;
    tell(&claimed, &outcome, begun_at, world.clock.now());
    let sending = OrderState::Sending {
        attempt: claimed.attempt,
        failures: claimed.failures,
    };
    let state = sending.after(outcome.clone(), world.clock.now());
    let (key, name) = (&claimed.external_id, state.name());
    match &outcome {
        Outcome::Sent { salesforce_id } => {
            tracing::info!(order = %key, %salesforce_id, attempt = claimed.attempt, "order {key} is in the org");
        }
        Outcome::Retry { problem, .. } | Outcome::Paused { problem, .. } | Outcome::Refused { problem } => {
            let code = &problem.code;
            tracing::warn!(order = %key, %code, attempt = claimed.attempt, state = name, "order {key} is not sent: {code}");
        }
    }
    write_down(world, &claimed, state).await?;
    Ok(outcome)
}

fn tell(claimed: &Claimed, outcome: &Outcome, begun_at: Millis, ended_at: Millis) {
    let (name, problem) = match outcome {
        Outcome::Sent { .. } => ("sent", None),
        Outcome::Retry { problem, .. } => ("retry", Some(problem)),
        Outcome::Paused { problem, .. } => ("paused", Some(problem)),
        Outcome::Refused { problem } => ("refused", Some(problem)),
    };
    let code = problem.map(|problem| problem.code.as_str());
    metrics::ORDERS_PUSHED.count([name, code.unwrap_or_default()]);
    let time = Duration::from_millis(u64::try_from(ended_at - begun_at).unwrap_or(0));
    metrics::ORDER_PUSH_DURATION.observe([name], time);
    Span::of_order(&claimed.external_id, "send", claimed.attempt, begun_at, ended_at)
        .with("attempt", &claimed.attempt)
        .with("outcome", &name)
        .failed(code)
        .tell();
}

/// The outcome must not be lost while the disk is full: it is tried until it is written.
async fn write_down(world: &World, claimed: &Claimed, state: OrderState) -> Result<(), OutboxError> {
    let mut failures = 0;
    loop {
        match world
            .outbox
            .record(claimed, state.clone(), world.clock.now())
            .await
        {
            Ok(true) => return Ok(()),
            Ok(false) => {
                let key = &claimed.external_id;
                tracing::error!(order = %key, "the outcome of order {key} was not written: its claim had ended");
                return Ok(());
            }
            Err(OutboxError::Write(_)) => {
                failures += 1;
                sleep(SOON.delay(failures)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn attempt(world: &World, shape: &Shape, claimed: &Claimed, pauses: u32) -> Outcome {
    let placed: Placed = match serde_json::from_str(&claimed.body) {
        Ok(placed) => placed,
        Err(_) => {
            let message = "the stored order cannot be read: a newer storesync may have written it; install that version again";
            return Outcome::Refused {
                problem: Problem::new("ORDER_UNREADABLE", message),
            };
        }
    };
    let Some(key) = &shape.order.key_field else {
        let message = "the org's Order has no key field: set orders.external_id_field";
        return Outcome::Refused {
            problem: Problem::new("NO_KEY_FIELD", message),
        };
    };
    if claimed.read_back {
        match look_up(&world.org, &placed, key).await {
            Ok(Some(Found::Same { salesforce_id })) => return Outcome::Sent { salesforce_id },
            Ok(Some(Found::Differs { problem })) => return Outcome::Refused { problem },
            Ok(None) => {}
            Err(error) => {
                return outcome(
                    outcome::of_error(&error, &key.field),
                    claimed.failures,
                    pauses,
                    true,
                );
            }
        }
    }
    let verdict = send(&world.org, &placed, shape, key).await;
    outcome(verdict, claimed.failures, pauses, false)
}

async fn send(org: &Org, placed: &Placed, shape: &Shape, key: &Key) -> Verdict {
    let results = match compose::compose(placed, shape, &org.data_path()) {
        Ok(Request::Composite(body)) => org.composite(&body).await,
        Ok(Request::Graph(parts)) => org.graph(&parts).await,
        Err(problem) => return Verdict::NeedsAttention { problem },
    };
    match results {
        Ok(results) => outcome::of_results(&results, &key.field),
        Err(error) => outcome::of_error(&error, &key.field),
    }
}

/// What the org has under the order's key, if anything.
async fn look_up(org: &Org, placed: &Placed, key: &Key) -> Result<Option<Found>, Error> {
    let record = org
        .by_external_id("Order", &key.field, &placed.external_id, &["Id"])
        .await?;
    let Some(id) = record
        .as_ref()
        .and_then(|record| record.get("Id"))
        .and_then(Value::as_str)
    else {
        return Ok(None);
    };
    let fields = read_back::ITEM_FIELDS.join(", ");
    let mut page = org
        .query(
            &format!("SELECT {fields} FROM OrderItem WHERE OrderId = '{id}'"),
            Scope::Live,
        )
        .await?;
    let mut items = page.records;
    while let Some(next) = page.next {
        page = org.next_page(&next).await?;
        items.append(&mut page.records);
    }
    Ok(Some(read_back::compare(placed, id, &items)))
}

/// Adds the waits to a verdict. `looking` tells that the verdict is on the look-up: nothing was sent, and the
/// look-up is still to be done.
fn outcome(verdict: Verdict, failures: u32, pauses: u32, looking: bool) -> Outcome {
    let retry = |problem, policy: Policy, attempts_max: Option<u32>, read_back| Outcome::Retry {
        problem,
        wait: policy.delay(failures + 1),
        // While looking, giving up would leave unknown whether the org has the order.
        attempts_max: attempts_max.filter(|_| !looking),
        read_back,
    };
    match verdict {
        Verdict::Sent { salesforce_id } => Outcome::Sent { salesforce_id },
        Verdict::RetrySoon {
            problem,
            attempts_max,
        } => retry(problem, SOON, attempts_max, looking),
        Verdict::RetryLater {
            problem,
            attempts_max,
        } => retry(problem, LATER, attempts_max, looking),
        Verdict::ReadBack {
            problem,
            attempts_max,
        } => retry(problem, SOON, attempts_max, true),
        Verdict::PauseLane { problem } => Outcome::Paused {
            problem,
            wait: PAUSE.delay(pauses + 1),
            read_back: looking,
        },
        Verdict::NeedsAttention { problem } => Outcome::Refused { problem },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Problem {
        Problem::new("CODE", "a sentence")
    }

    #[test]
    fn a_look_up_that_fails_is_repeated() {
        for verdict in [
            Verdict::RetrySoon {
                problem: problem(),
                attempts_max: Some(1),
            },
            Verdict::RetryLater {
                problem: problem(),
                attempts_max: Some(1),
            },
            Verdict::ReadBack {
                problem: problem(),
                attempts_max: Some(1),
            },
        ] {
            let outcome = outcome(verdict, 0, 0, true);
            assert!(matches!(
                outcome,
                Outcome::Retry {
                    read_back: true,
                    attempts_max: None,
                    ..
                }
            ));
        }
        let paused = outcome(Verdict::PauseLane { problem: problem() }, 0, 0, true);
        assert!(matches!(paused, Outcome::Paused { read_back: true, .. }));
    }

    #[test]
    fn what_was_surely_not_written_is_sent_again_as_it_is() {
        let soon = outcome(
            Verdict::RetrySoon {
                problem: problem(),
                attempts_max: None,
            },
            3,
            0,
            false,
        );
        assert!(matches!(soon, Outcome::Retry { read_back: false, .. }));
        let unclear = outcome(
            Verdict::ReadBack {
                problem: problem(),
                attempts_max: None,
            },
            0,
            0,
            false,
        );
        assert!(matches!(unclear, Outcome::Retry { read_back: true, .. }));
    }

    #[test]
    fn orders_that_fail_together_make_one_pause() {
        let mut pause = Pause::default();
        let paused = |seconds| Outcome::Paused {
            problem: problem(),
            wait: Duration::from_secs(seconds),
            read_back: false,
        };
        pause.learn(&paused(2), 1_000);
        pause.learn(&paused(1), 1_100);
        assert_eq!((pause.count, pause.until), (1, 3_000));
        assert!(!pause.is_over(2_999));
        pause.learn(&paused(4), 3_000);
        assert_eq!((pause.count, pause.until), (2, 7_000));
        pause.learn(
            &Outcome::Sent {
                salesforce_id: String::new(),
            },
            7_000,
        );
        assert_eq!(pause.count, 0);
    }
}
