//! Closes an order when it comes back as a change of the org's.
//!
//! An order that is `sent` and whose id is in the cache has gone all the way round. Nothing depends on it
//! being seen at once: the rows stay what they are, so a look that comes late finds the same.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::model::clock::Clock;
use crate::store::outbox::{Outbox, OutboxError, SentOrder};
use crate::store::reader::Reader;
use crate::store::storefront;
use crate::telemetry::traces::Span;

/// Most orders looked up at once.
const PAGE_ROWS: u32 = 256;
/// Looks even if no change was told of.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Shortest time between two looks, so that a flood of changes does not become a flood of looks.
const REST: Duration = Duration::from_millis(100);

/// What confirm works with.
pub struct World {
    pub outbox: Outbox,
    pub reader: Reader,
    /// The cache's newest revision.
    pub revisions: watch::Receiver<i64>,
    pub clock: Clock,
}

/// Confirms orders until it is stopped.
pub async fn run(mut world: World, stop: CancellationToken) -> Result<(), OutboxError> {
    // Ends when the one who tells of changes has ended; the slow timer then goes on alone.
    let mut told = true;
    loop {
        look(&world).await?;
        let woken = async {
            sleep(REST).await;
            tokio::select! {
                changed = world.revisions.changed(), if told => changed.is_ok(),
                () = sleep(IDLE_MAX) => told,
            }
        };
        told = tokio::select! {
            still = woken => still,
            () = stop.cancelled() => return Ok(()),
        };
    }
}

/// Goes through all orders that wait for it.
async fn look(world: &World) -> Result<(), OutboxError> {
    let mut after = 0;
    loop {
        let sent = world.outbox.sent_after(after, PAGE_ROWS)?;
        let Some(last) = sent.last() else { return Ok(()) };
        after = last.sequence;
        let ids: Vec<&str> = sent.iter().map(|order| order.salesforce_id.as_str()).collect();
        let arrived = match world
            .reader
            .with(|connection| storefront::orders_present(connection, &ids))
        {
            Ok(arrived) => arrived,
            Err(error) => {
                tracing::warn!(%error, "sent orders cannot be confirmed: the cache cannot be read");
                return Ok(());
            }
        };
        let arrived: Vec<&SentOrder> = sent
            .iter()
            .zip(arrived)
            .filter_map(|(order, arrived)| arrived.then_some(order))
            .collect();
        let sequences: Vec<i64> = arrived.iter().map(|order| order.sequence).collect();
        if !sequences.is_empty() {
            match world.outbox.confirm(sequences, world.clock.now()).await {
                Ok(confirmed) => {
                    tracing::debug!(confirmed, "orders came back from the org");
                    for order in arrived {
                        Span::order(&order.external_id, order.accepted_at, world.clock.now()).tell();
                    }
                }
                // The writer has told of it; they are found again.
                Err(OutboxError::Write(_)) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
