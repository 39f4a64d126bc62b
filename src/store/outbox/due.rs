//! When writes are due, and what becomes of that when the machine's clock is set.
//!
//! Due times are those of the clock, so that another process can read and set them. Promises that a clock which is
//! set, in either direction, delays no write beyond the wait it was given: while the process runs the step is known
//! and waits end as they were meant to; at a start a wait that an earlier clock began begins anew. A write that is held
//! because its request may still arrive is never due sooner than it was to be.

use rusqlite::{Connection, params};

use crate::model::clock::Millis;
use crate::store::outbox::{ANSWER_AWAITED, Outbox, OutboxError};

impl Outbox {
    /// The clock was set by so much and shows `now`: what waits waits no longer for it, and what is held for so long
    /// at most (`hold_millis`) no shorter. Returns how many writes do.
    pub async fn clock_set(
        &self,
        step: Millis,
        now: Millis,
        hold_millis: Millis,
    ) -> Result<usize, OutboxError> {
        let moved = self
            .submit(move |connection| clock_set(connection, step, now, hold_millis))
            .await?;
        self.bell.notify_one();
        Ok(moved)
    }
}

/// A clock that was set ahead makes writes due early, which harms nothing but those that are held. Of one that was
/// set back it is not known which of these were held before it was: they begin anew.
fn clock_set(
    connection: &Connection,
    step: Millis,
    now: Millis,
    hold_millis: Millis,
) -> rusqlite::Result<usize> {
    let held = connection
        .prepare_cached(
            "update writes set due_at = min(due_at + max(?1, 0), ?2 + ?3), updated_at = min(updated_at, ?2)
             where state = 'waiting' and error_code = ?4",
        )?
        .execute(params![step, now, hold_millis, ANSWER_AWAITED])?;
    if step >= 0 {
        return Ok(held);
    }
    let moved = connection
        .prepare_cached(
            "update writes set due_at = due_at + ?1, updated_at = min(updated_at, ?2)
             where state in ('queued', 'waiting') and due_at > ?2 and error_code is not ?3",
        )?
        .execute(params![step, now, ANSWER_AWAITED])?;
    Ok(held + moved)
}

/// At a start: what was written by a clock that was ahead of this one, and what is held, of which it is not known how
/// long the process was away.
pub(super) fn recover(connection: &Connection, now: Millis) -> rusqlite::Result<()> {
    connection
        .execute(
            "update writes set due_at = ?1 + max(due_at - updated_at, 0), updated_at = ?1
             where state in ('queued', 'waiting') and (updated_at > ?1 or error_code = ?2)",
            params![now, ANSWER_AWAITED],
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

    const HOLD: Millis = 180_000;

    /// A shop whose order A waits for ten seconds under a code, by a clock that is two days ahead.
    async fn waiting(code: &str) -> Shop {
        let shop = shop();
        shop.place("A", "c").await;
        let claimed = shop.due(DAYS + 5_000).await.remove(0);
        let waiting = OrderState::Waiting {
            failures: 1,
            due_at: DAYS + 15_000,
            read_back: true,
            problem: Problem::new(code, "a sentence"),
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
        let shop = waiting("SERVER_UNAVAILABLE").await;
        assert_eq!(shop.outbox.clock_set(-DAYS, 7_000, HOLD).await.unwrap(), 1);
        assert!(shop.due(14_999).await.is_empty(), "its wait is not over");
        assert_eq!(shop.due(15_000).await.len(), 1);
    }

    #[tokio::test]
    async fn a_clock_that_is_set_ahead_delays_nothing() {
        let shop = waiting("SERVER_UNAVAILABLE").await;
        shop.outbox.clock_set(DAYS, 2 * DAYS + 7_000, HOLD).await.unwrap();
        assert_eq!(shop.due(2 * DAYS + 15_000).await.len(), 1);
    }

    #[tokio::test]
    async fn what_is_held_is_never_due_sooner_for_a_clock_that_is_set() {
        let shop = waiting(ANSWER_AWAITED).await;
        shop.outbox.clock_set(DAYS, 2 * DAYS + 7_000, HOLD).await.unwrap();
        assert!(shop.due(2 * DAYS + 14_999).await.is_empty());
        assert_eq!(shop.due(2 * DAYS + 15_000).await.len(), 1);
        let shop = waiting(ANSWER_AWAITED).await;
        shop.outbox.clock_set(-DAYS, 7_000, HOLD).await.unwrap();
        assert!(shop.due(7_000 + HOLD - 1).await.is_empty(), "it is held anew");
        assert_eq!(shop.due(7_000 + HOLD).await.len(), 1);
        let shop = waiting(ANSWER_AWAITED).await;
        let shop = Shop::open(shop.crash(), 9 * DAYS);
        assert!(
            shop.due(9 * DAYS + 9_999).await.is_empty(),
            "who knows how long it was away"
        );
        assert_eq!(shop.due(9 * DAYS + 10_000).await.len(), 1);
    }

    #[tokio::test]
    async fn what_a_clock_ahead_scheduled_waits_after_a_start_as_long_as_it_was_to() {
        let shop = waiting("SERVER_UNAVAILABLE").await;
        let shop = Shop::open(shop.crash(), 7_000);
        assert!(shop.due(16_999).await.is_empty(), "its wait begins anew");
        assert_eq!(shop.due(17_000).await.len(), 1);
        let view = shop.view(Kind::Order, "A");
        assert_eq!(view.attempts, 2);
    }
}
