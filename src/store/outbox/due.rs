//! When writes are due, and what becomes of that when the machine's clock is set.
//!
//! Due times are those of the clock, so that another process can read and set them. Promises that a clock which is
//! set, in either direction, delays no write beyond the wait it was given: while the process runs the step is known
//! and waits end as they were meant to; at a start a wait that an earlier clock began begins anew.

use rusqlite::{Connection, params};

use crate::model::clock::Millis;
use crate::store::outbox::{Outbox, OutboxError};

impl Outbox {
    /// The clock was set by so much and shows `now`: what waits waits no longer for it. Returns how many writes do.
    pub async fn clock_set(&self, step: Millis, now: Millis) -> Result<usize, OutboxError> {
        let moved = self
            .submit(move |connection| clock_set(connection, step, now))
            .await?;
        self.bell.notify_one();
        Ok(moved)
    }
}

/// A clock that was set ahead makes writes due early, which harms nothing.
fn clock_set(connection: &Connection, step: Millis, now: Millis) -> rusqlite::Result<usize> {
    if step >= 0 {
        return Ok(0);
    }
    connection
        .prepare_cached(
            "update writes set due_at = due_at + ?1, updated_at = min(updated_at, ?2)
             where state in ('queued', 'waiting') and due_at > ?2",
        )?
        .execute(params![step, now])
}

/// At a start: what was written by a clock that was ahead of this one.
pub(super) fn recover(connection: &Connection, now: Millis) -> rusqlite::Result<()> {
    connection
        .execute(
            "update writes set due_at = ?1 + max(due_at - updated_at, 0), updated_at = ?1
             where state in ('queued', 'waiting') and updated_at > ?1",
            [now],
        )
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::order::{OrderState, Problem};
    use crate::model::write::Kind;
    use crate::store::outbox::tests::{Shop, shop};

    const DAYS: Millis = 172_800_000;

    /// A shop whose order A waits for ten seconds, by a clock that is two days ahead.
    async fn waiting() -> Shop {
        let shop = shop();
        shop.place("A", "c").await;
        let claimed = shop.due(DAYS + 5_000).await.remove(0);
        let waiting = OrderState::Waiting {
            failures: 1,
            due_at: DAYS + 15_000,
            read_back: true,
            problem: Problem::new("SERVER_UNAVAILABLE", "a sentence"),
        };
        let exchange = crate::store::outbox::Exchange::default();
        let recorded = shop
            .outbox
            .record(&claimed, waiting, exchange, DAYS + 5_000)
            .await;
        assert!(recorded.unwrap());
        shop
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_delays_nothing() {
        let shop = waiting().await;
        assert_eq!(shop.outbox.clock_set(-DAYS, 7_000).await.unwrap(), 1);
        assert!(shop.due(14_999).await.is_empty(), "its wait is not over");
        assert_eq!(shop.due(15_000).await.len(), 1);
    }

    #[tokio::test]
    async fn a_clock_that_is_set_ahead_delays_nothing() {
        let shop = waiting().await;
        shop.outbox.clock_set(DAYS, 2 * DAYS + 7_000).await.unwrap();
        assert_eq!(shop.due(2 * DAYS + 15_000).await.len(), 1);
    }

    #[tokio::test]
    async fn what_a_clock_ahead_scheduled_waits_after_a_start_as_long_as_it_was_to() {
        let shop = waiting().await;
        let shop = Shop::open(shop.crash(), 7_000);
        assert!(shop.due(16_999).await.is_empty(), "its wait begins anew");
        assert_eq!(shop.due(17_000).await.len(), 1);
        let view = shop.outbox.write(Kind::Order, "A").unwrap().unwrap();
        assert_eq!(view.attempts, 2);
    }
}
