//! The outbox: orders that were accepted, until the org has confirmed them.
//!
//! Promises that an order is on the disk before anyone is told that it was accepted, and that it is claimed
//! by one attempt at a time. One thread owns the writer ([`Writer::run`]); all others submit work to it and
//! wait. Whatever waits when it looks is done in one transaction with one fsync, so a hundred storefronts
//! that order at once share its cost; each piece of work has a savepoint, so that one which fails takes none
//! with it. Answers are given after the commit, never before.

mod queue;
mod read;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::model::clock::Millis;
use crate::store::database::{self, Kind, OpenError};
pub use queue::{Accepted, Claimed, NewOrder};
pub use read::{Attempt, OrderView, PendingOrder, SentOrder, counts_in};
pub use writer::Writer;

/// `outbox.db`
pub const KIND: Kind = Kind {
    file_name: "outbox.db",
    application_id: 0x5353_4F58,
    migrations: &[include_str!("migrations/outbox_0001.sql")],
    page_bytes: 4096,
    synchronous: "full",
    mode: 0o600,
};

/// Most work that waits for the writer; more waits at the door.
const WAITING_MAX: usize = 1_024;

/// Why the outbox could not do what it was asked. Nothing of it was done.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    #[error("the outbox cannot be written ({0}): check the space left on the disk of [state] dir")]
    Write(String),
    #[error("the outbox cannot be read: check the disk of [state] dir")]
    Read(#[from] rusqlite::Error),
    #[error("the outbox has been closed: storesync is stopping")]
    Closed,
}

/// A handle on the outbox; cheap to clone. The writer ends when the last one is dropped.
#[derive(Clone)]
pub struct Outbox {
    work: mpsc::Sender<writer::Work>,
    reader: Arc<Mutex<Connection>>,
    bell: Arc<Notify>,
}

/// Opens the outbox. What was being sent when the last process ended becomes due at once, to be looked up in
/// the org before it is sent again. The caller runs the [`Writer`] on a thread of its own.
pub fn open(dir: &Path, now: Millis) -> Result<(Outbox, Writer), OpenError> {
    let connection = database::open_writer(dir, KIND)?;
    let failed = |source| OpenError::Database {
        path: dir.join(KIND.file_name),
        source,
    };
    queue::recover(&connection, now).map_err(failed)?;
    let reader = database::open_reader(dir, KIND)?;
    let (work, waiting) = mpsc::channel(WAITING_MAX);
    let outbox = Outbox {
        work,
        reader: Arc::new(Mutex::new(reader)),
        bell: Arc::new(Notify::new()),
    };
    Ok((outbox, Writer::new(connection, waiting)))
}

impl Outbox {
    /// Rings when an order was accepted. One listener.
    pub fn bell(&self) -> Arc<Notify> {
        self.bell.clone()
    }

    /// Does `job` in the writer's next transaction and answers once that is on the disk.
    async fn submit<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, OutboxError> {
        let (sender, answer) = oneshot::channel();
        self.work
            .send(writer::work(job, sender))
            .await
            .map_err(|_| OutboxError::Closed)?;
        match answer.await {
            Ok(done) => done.map_err(OutboxError::Write),
            Err(_) if self.work.is_closed() => Err(OutboxError::Closed),
            // Its transaction failed before its turn came.
            Err(_) => Err(OutboxError::Write("the transaction failed".to_owned())),
        }
    }

    fn read<T>(&self, job: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, OutboxError> {
        // A poisoned lock means that a reader panicked; the connection itself is not harmed by that.
        let reader = self
            .reader
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(job(&reader)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::order::decimal::Decimal;
    use crate::model::order::{Customer, Fields, Line, OrderState, Placed, Problem};
    use std::path::PathBuf;
    use tempfile::TempDir;

    struct Shop {
        dir: TempDir,
        outbox: Outbox,
        writer: Option<std::thread::JoinHandle<()>>,
    }

    impl Shop {
        fn open(dir: TempDir, now: Millis) -> Self {
            let (outbox, writer) = open(dir.path(), now).unwrap();
            Self {
                dir,
                outbox,
                writer: Some(std::thread::spawn(move || writer.run())),
            }
        }

        /// Ends the process as a crash would: nothing is tidied up.
        fn crash(mut self) -> TempDir {
            drop(self.outbox);
            self.writer.take().unwrap().join().unwrap();
            self.dir
        }

        async fn place(&self, key: &str, customer: &str) -> Accepted {
            self.outbox
                .accept(new_order(key, customer, 1), 1_000)
                .await
                .unwrap()
        }
    }

    fn shop() -> Shop {
        Shop::open(tempfile::tempdir().unwrap(), 0)
    }

    fn new_order(key: &str, customer: &str, hash: u8) -> NewOrder {
        let line = Line {
            pricebook_entry_id: "01u".to_owned(),
            quantity: Decimal::parse("2").unwrap(),
            unit_price: Decimal::parse("19.90").unwrap(),
            fields: Fields::new(),
        };
        NewOrder {
            placed: Placed {
                external_id: key.to_owned(),
                store_id: "a00".to_owned(),
                pricebook_id: "01s".to_owned(),
                currency: None,
                effective_date: "2026-11-22".to_owned(),
                customer: Customer {
                    external_id: Some(customer.to_owned()),
                    ..Customer::default()
                },
                shipping_address: None,
                billing_address: None,
                lines: vec![line],
                fields: Fields::new(),
            },
            body_hash: [hash; 32],
            idempotency_key: None,
        }
    }

    fn keys(claimed: &[Claimed]) -> Vec<&str> {
        claimed.iter().map(|order| order.external_id.as_str()).collect()
    }

    #[tokio::test]
    async fn accepts_once_per_key() {
        let shop = shop();
        assert!(matches!(shop.place("A", "c").await, Accepted::New { .. }));
        assert!(matches!(
            shop.place("A", "c").await,
            Accepted::Replay {
                accepted_at: 1_000,
                ..
            }
        ));
        let other = shop.outbox.accept(new_order("a", "c", 2), 2_000).await.unwrap();
        assert!(
            matches!(other, Accepted::Conflict),
            "the org does not tell A from a"
        );
        let keyed = |key: &str, hash| NewOrder {
            idempotency_key: Some("I".to_owned()),
            ..new_order(key, "c", hash)
        };
        shop.outbox.accept(keyed("B", 3), 3_000).await.unwrap();
        let other = shop.outbox.accept(keyed("C", 4), 3_000).await.unwrap();
        assert!(
            matches!(other, Accepted::Conflict),
            "one idempotency key, two orders"
        );
        assert_eq!(shop.outbox.counts().unwrap(), [("queued".to_owned(), 2)]);
    }

    #[tokio::test]
    async fn many_at_once_all_arrive_and_survive() {
        let shop = shop();
        let accepts = (0..200).map(|n| shop.outbox.accept(new_order(&format!("K{n}"), "c", 1), 0));
        for accepted in futures_util::future::join_all(accepts).await {
            assert!(matches!(accepted.unwrap(), Accepted::New { .. }));
        }
        let again = Shop::open(shop.crash(), 0);
        assert_eq!(again.outbox.counts().unwrap(), [("queued".to_owned(), 200)]);
    }

    #[tokio::test]
    async fn one_customer_one_order_at_a_time() {
        let shop = shop();
        for (key, customer) in [("A1", "a"), ("A2", "a"), ("B1", "b"), ("A3", "A")] {
            shop.place(key, customer).await;
        }
        let first = shop.outbox.claim(5_000, 8).await.unwrap();
        assert_eq!(keys(&first), ["A1", "B1"]);
        assert!(shop.outbox.claim(5_000, 8).await.unwrap().is_empty());
        let sent = OrderState::Sent {
            salesforce_id: "801A".to_owned(),
        };
        assert!(shop.outbox.record(&first[0], sent, 6_000).await.unwrap());
        assert_eq!(keys(&shop.outbox.claim(6_000, 8).await.unwrap()), ["A2"]);
    }

    #[tokio::test]
    async fn waits_until_due_and_keeps_its_history() {
        let shop = shop();
        shop.place("A", "a").await;
        let claimed = shop.outbox.claim(1_000, 1).await.unwrap().remove(0);
        let waiting = OrderState::Waiting {
            failures: 1,
            due_at: 9_000,
            read_back: true,
            problem: Problem::new("UNABLE_TO_LOCK_ROW", "locked"),
        };
        assert!(
            shop.outbox
                .record(&claimed, waiting.clone(), 2_000)
                .await
                .unwrap()
        );
        assert!(
            !shop
                .outbox
                .record(&claimed, waiting.clone(), 2_000)
                .await
                .unwrap(),
            "the claim is spent"
        );
        assert_eq!(shop.outbox.next_due().unwrap(), Some(9_000));
        assert!(shop.outbox.claim(8_999, 1).await.unwrap().is_empty());
        let view = shop.outbox.order("a").unwrap().unwrap();
        assert_eq!((view.state.as_str(), view.attempts), ("waiting", 1));
        assert_eq!(view.problem.unwrap().code, "UNABLE_TO_LOCK_ROW");
        let again = shop.outbox.claim(9_000, 1).await.unwrap().remove(0);
        assert_eq!((again.attempt, again.failures, again.read_back), (2, 1, true));
        let history = shop.outbox.attempts("A").unwrap();
        assert_eq!(history.len(), 2);
        assert_eq!((history[0].ended_at, history[1].ended_at), (Some(2_000), None));
    }

    #[tokio::test]
    async fn an_order_caught_while_sending_is_looked_up_first() {
        let shop = shop();
        shop.place("A", "a").await;
        shop.outbox.claim(1_000, 1).await.unwrap();
        let shop = Shop::open(shop.crash(), 50_000);
        let view = shop.outbox.order("A").unwrap().unwrap();
        assert_eq!(view.state, "waiting");
        assert_eq!(view.problem.unwrap().code, "INTERRUPTED");
        let claimed = shop.outbox.claim(50_000, 1).await.unwrap().remove(0);
        assert!(claimed.read_back);
        assert_eq!(claimed.attempt, 2);
    }

    #[tokio::test]
    async fn confirms_what_was_sent() {
        let shop = shop();
        for (key, id) in [("A", "801A"), ("B", "801B")] {
            shop.place(key, key).await;
            let claimed = shop.outbox.claim(1_000, 1).await.unwrap().remove(0);
            let sent = OrderState::Sent {
                salesforce_id: id.to_owned(),
            };
            shop.outbox.record(&claimed, sent, 2_000).await.unwrap();
        }
        let sent = shop.outbox.sent_after(0, 10).unwrap();
        assert_eq!(
            sent.iter()
                .map(|order| order.salesforce_id.as_str())
                .collect::<Vec<_>>(),
            ["801A", "801B"]
        );
        assert_eq!(
            shop.outbox.confirm(vec![sent[0].sequence], 3_000).await.unwrap(),
            1
        );
        assert_eq!(
            shop.outbox.confirm(vec![sent[0].sequence], 3_000).await.unwrap(),
            0
        );
        let view = shop.outbox.order("A").unwrap().unwrap();
        assert_eq!(
            (view.state.as_str(), view.salesforce_id.as_deref()),
            ("confirmed", Some("801A"))
        );
    }

    #[tokio::test]
    async fn work_that_fails_takes_none_with_it() {
        let shop = shop();
        let broken = shop
            .outbox
            .submit(|connection| connection.execute("insert into orders default values", []));
        let (broken, accepted) = tokio::join!(broken, shop.outbox.accept(new_order("A", "a", 1), 0));
        assert!(matches!(broken, Err(OutboxError::Write(_))));
        assert!(matches!(accepted.unwrap(), Accepted::New { .. }));
    }

    #[tokio::test]
    async fn a_full_disk_refuses_and_loses_nothing() {
        let shop = shop();
        shop.place("A", "a").await;
        let limit = |pages: &'static str| {
            shop.outbox.submit(move |connection| {
                connection.query_row(&format!("pragma max_page_count = {pages}"), [], |row| {
                    row.get::<_, i64>(0)
                })
            })
        };
        limit("1").await.unwrap();
        let mut order = new_order("B", "b", 1);
        order.placed.lines = vec![order.placed.lines[0].clone(); 497];
        let refused = shop.outbox.accept(order.clone(), 0).await;
        assert!(matches!(refused, Err(OutboxError::Write(_))), "{refused:?}");
        limit("1000000").await.unwrap();
        assert!(matches!(
            shop.outbox.accept(order, 0).await.unwrap(),
            Accepted::New { .. }
        ));
        assert_eq!(shop.outbox.counts().unwrap(), [("queued".to_owned(), 2)]);
    }

    #[tokio::test]
    async fn only_the_owner_may_read_the_file() {
        let shop = shop();
        let path: PathBuf = shop.dir.path().join("outbox.db");
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}
