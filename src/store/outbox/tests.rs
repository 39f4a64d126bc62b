//! The outbox over real files.

use super::*;
use crate::model::order::decimal::Decimal;
use crate::model::order::{Customer, Line, OrderState, Placed, Problem};
use crate::model::state::WriteState;
use crate::model::write::{Entry, Kind, Write};
use crate::store::outbox::desk::{Action, Deed, Done, Filter};
use std::path::PathBuf;
use tempfile::TempDir;

pub(super) struct Shop {
    pub(super) dir: TempDir,
    pub(super) outbox: Outbox,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Shop {
    pub(super) fn open(dir: TempDir, now: Millis) -> Self {
        let (outbox, writer) = open(dir.path(), now).unwrap();
        Self {
            dir,
            outbox,
            writer: Some(std::thread::spawn(move || writer.run())),
        }
    }

    /// Ends the process as a crash would: nothing is tidied up.
    pub(super) fn crash(mut self) -> TempDir {
        drop(self.outbox);
        self.writer.take().unwrap().join().unwrap();
        self.dir
    }

    pub(super) fn view(&self, kind: Kind, external_id: &str) -> View {
        let key = StoreKey {
            kind,
            store_id: "a00",
            external_id,
        };
        self.outbox.write(key).unwrap().unwrap()
    }

    pub(super) async fn place(&self, key: &str, customer: &str) -> Accepted {
        self.outbox
            .accept(new_order(key, customer, 1), 1_000)
            .await
            .unwrap()
    }
}

pub(super) fn shop() -> Shop {
    Shop::open(tempfile::tempdir().unwrap(), 0)
}

pub(super) fn new_order(key: &str, customer: &str, hash: u8) -> NewWrite {
    let line = Line {
        pricebook_entry_id: "01u".to_owned(),
        quantity: Decimal::parse("2").unwrap(),
        unit_price: Decimal::parse("19.90").unwrap(),
        ..Line::default()
    };
    NewWrite {
        write: Write::Order(Placed {
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
            ..Placed::default()
        }),
        body_hash: [hash; 32],
        idempotency_key: None,
        limits: Vec::new(),
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
        matches!(other, Accepted::Conflict { by_header: false }),
        "the org does not tell A from a"
    );
    let keyed = |key: &str, hash| NewWrite {
        idempotency_key: Some("I".to_owned()),
        ..new_order(key, "c", hash)
    };
    shop.outbox.accept(keyed("B", 3), 3_000).await.unwrap();
    let other = shop.outbox.accept(keyed("C", 4), 3_000).await.unwrap();
    assert!(
        matches!(other, Accepted::Conflict { by_header: true }),
        "one idempotency key, two orders"
    );
    assert_eq!(shop.outbox.counts().unwrap(), [(WriteState::Queued, 2)]);
}

/// As [`new_order`], of another store.
fn of_another_store(key: &str, customer: &str, hash: u8) -> NewWrite {
    let mut new = new_order(key, customer, hash);
    if let Write::Order(order) = &mut new.write {
        order.store_id = "b00".to_owned();
    }
    new
}

#[tokio::test]
async fn a_key_is_a_store_s_own_and_the_org_tells_the_two_apart() {
    let shop = shop();
    let keyed = |new: NewWrite| NewWrite {
        idempotency_key: Some("I".to_owned()),
        ..new
    };
    shop.outbox
        .accept(keyed(new_order("A", "c", 1)), 1_000)
        .await
        .unwrap();
    for (hash, expected) in [
        (2, Accepted::New { accepted_at: 2_000 }),
        (2, Accepted::Replay { accepted_at: 2_000 }),
        (1, Accepted::Conflict { by_header: false }),
    ] {
        let new = keyed(of_another_store("a", "d", hash));
        assert_eq!(shop.outbox.accept(new, 2_000).await.unwrap(), expected);
    }
    // What another store's key is marked with is nobody else's to take.
    let marked = org_key::marked("b00", "A");
    shop.outbox
        .accept(new_order(&marked, "e", 3), 3_000)
        .await
        .unwrap();
    let claimed = shop.due(3_000).await;
    let under = |write: &Claimed| write.org_key.clone().unwrap_or_else(|| write.external_id.clone());
    let mut keys: Vec<String> = claimed.iter().map(|write| under(write).to_lowercase()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!((claimed.len(), keys.len()), (3, 3), "{keys:?}");
    assert!(
        keys.contains(&"a".to_owned()) && keys.contains(&marked.to_lowercase()),
        "{keys:?}"
    );
    let told = shop.outbox.detail("A").unwrap();
    assert!(
        matches!(&told, desk::Sought::Several(sentence) if sentence.contains("#1 or #2")),
        "{told:?}"
    );
    let reference = "order:a".to_owned();
    let deed = Deed::new("ana", Action::Retry { reference });
    assert!(matches!(
        shop.outbox.deed(deed, 4_000).await.unwrap(),
        Done::Refused(_)
    ));
}

#[tokio::test]
async fn work_that_fails_takes_no_other_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (outbox, writer) = open(dir.path(), 0).unwrap();
    // All of it waits when the writer begins, so that it is one batch.
    let fails = |connection: &Connection| {
        connection.execute("update writes set email = 'half'", [])?;
        connection.execute("insert into nowhere values (1)", [])
    };
    let began = std::thread::spawn({
        let outbox = outbox.clone();
        move || {
            while outbox.work.capacity() > WAITING_MAX - 3 {
                std::thread::yield_now();
            }
            drop(outbox);
            writer.run();
        }
    });
    let (before, failed, after) = tokio::join!(
        outbox.accept(new_order("A", "c", 1), 1_000),
        outbox.submit(fails),
        outbox.accept(new_order("B", "c", 1), 1_000),
    );
    let new = |accepted| matches!(accepted, Ok(Accepted::New { accepted_at: 1_000 }));
    assert!(new(before) && new(after), "the orders around it are accepted");
    assert!(failed.unwrap_err().to_string().contains("nowhere"));
    assert_eq!(outbox.counts().unwrap(), [(WriteState::Queued, 2)]);
    let half = outbox.read(|connection| {
        let query = "select count(*) from writes where email = 'half'";
        connection.query_row(query, [], |row| row.get::<_, i64>(0))
    });
    assert_eq!(half.unwrap(), 0, "what it did before it failed is undone");
    drop(outbox);
    began.join().unwrap();
}

#[tokio::test]
async fn a_commit_survives_a_power_cut() {
    let shop = shop();
    let durable = shop.outbox.submit(|connection| {
        let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        // 2 is FULL: the log is synced before a commit is done.
        Ok((number("synchronous")?, number("secure_delete")?))
    });
    assert_eq!(durable.await.unwrap(), (2, 1));
}

#[tokio::test]
async fn many_at_once_all_arrive_and_survive() {
    let shop = shop();
    let accepts = (0..200).map(|n| shop.outbox.accept(new_order(&format!("K{n}"), "c", 1), 0));
    for accepted in futures_util::future::join_all(accepts).await {
        assert!(matches!(accepted.unwrap(), Accepted::New { .. }));
    }
    let again = Shop::open(shop.crash(), 0);
    assert_eq!(again.outbox.counts().unwrap(), [(WriteState::Queued, 200)]);
}

#[tokio::test]
async fn one_customer_one_order_at_a_time() {
    let shop = shop();
    for (key, customer) in [("A1", "a"), ("A2", "a"), ("B1", "b"), ("A3", "A")] {
        shop.place(key, customer).await;
    }
    let first = shop.outbox.claim(5_000, 8, false).await.unwrap();
    assert_eq!(keys(&first), ["A1", "B1"]);
    assert!(shop.outbox.claim(5_000, 8, false).await.unwrap().is_empty());
    let sent = OrderState::Sent {
        salesforce_id: "801A".to_owned(),
    };
    assert!(
        shop.outbox
            .record(&first[0], sent, Exchange::default(), 6_000)
            .await
            .unwrap()
    );
    assert_eq!(keys(&shop.outbox.claim(6_000, 8, false).await.unwrap()), ["A2"]);
}

#[tokio::test]
async fn waits_until_due_and_keeps_its_history() {
    let shop = shop();
    shop.place("A", "a").await;
    let claimed = shop.outbox.claim(1_000, 1, false).await.unwrap().remove(0);
    let waiting = OrderState::Waiting {
        failures: 1,
        due_at: 9_000,
        read_back: true,
        problem: Problem::new("UNABLE_TO_LOCK_ROW", "locked"),
    };
    assert!(
        shop.outbox
            .record(&claimed, waiting.clone(), Exchange::default(), 2_000)
            .await
            .unwrap()
    );
    assert!(
        !shop
            .outbox
            .record(&claimed, waiting.clone(), Exchange::default(), 2_000)
            .await
            .unwrap(),
        "the claim is spent"
    );
    assert_eq!(shop.outbox.next_due().unwrap(), Some(9_000));
    assert!(shop.outbox.claim(8_999, 1, false).await.unwrap().is_empty());
    let view = shop.view(Kind::Order, "a");
    assert_eq!((view.state.name(), view.attempts), ("waiting", 1));
    assert_eq!(view.problem.unwrap().code, "UNABLE_TO_LOCK_ROW");
    let again = shop.outbox.claim(9_000, 1, false).await.unwrap().remove(0);
    assert_eq!((again.attempt, again.failures, again.read_back), (2, 1, true));
    let history = shop.outbox.attempts(view.sequence).unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!((history[0].ended_at, history[1].ended_at), (Some(2_000), None));
}

#[tokio::test]
async fn an_order_caught_while_sending_is_looked_up_first() {
    let shop = shop();
    shop.place("A", "a").await;
    shop.outbox.claim(1_000, 1, false).await.unwrap();
    let shop = Shop::open(shop.crash(), 50_000);
    let view = shop.view(Kind::Order, "A");
    assert_eq!(view.state, WriteState::Waiting);
    assert_eq!(view.problem.unwrap().code, "INTERRUPTED");
    let claimed = shop.outbox.claim(50_000, 1, false).await.unwrap().remove(0);
    assert!(claimed.read_back);
    assert_eq!(claimed.attempt, 2);
}

#[tokio::test]
async fn confirms_what_was_sent() {
    let shop = shop();
    for (key, id) in [("A", "801A"), ("B", "801B")] {
        shop.place(key, key).await;
        let claimed = shop.outbox.claim(1_000, 1, false).await.unwrap().remove(0);
        let sent = OrderState::Sent {
            salesforce_id: id.to_owned(),
        };
        shop.outbox
            .record(&claimed, sent, Exchange::default(), 2_000)
            .await
            .unwrap();
    }
    let sent = shop.outbox.sent_after(0, 10).unwrap();
    let sent: Vec<_> = sent.into_iter().map(Result::unwrap).collect();
    assert_eq!(
        sent.iter()
            .map(|write| write.salesforce_id.as_str())
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
    let view = shop.view(Kind::Order, "A");
    assert_eq!(
        (view.state.name(), view.salesforce_id.as_deref()),
        ("confirmed", Some("801A"))
    );
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
    if let Write::Order(placed) = &mut order.write {
        placed.lines = vec![placed.lines[0].clone(); 497];
    }
    let refused = shop.outbox.accept(order.clone(), 0).await;
    assert!(matches!(refused, Err(OutboxError::Write(_))), "{refused:?}");
    limit("1000000").await.unwrap();
    assert!(matches!(
        shop.outbox.accept(order, 0).await.unwrap(),
        Accepted::New { .. }
    ));
    assert_eq!(shop.outbox.counts().unwrap(), [(WriteState::Queued, 2)]);
}

#[tokio::test]
async fn only_the_owner_may_read_the_file() {
    let shop = shop();
    let path: PathBuf = shop.dir.path().join("outbox.db");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

/// A case of a customer's.
fn case(key: &str, customer: &str) -> NewWrite {
    let entry = Entry {
        external_id: key.to_owned(),
        store_id: "a00".to_owned(),
        customer: Some(Customer {
            external_id: Some(customer.to_owned()),
            ..Customer::default()
        }),
        ..Entry::default()
    };
    NewWrite {
        write: Write::Entry(Kind::Case, entry),
        body_hash: [1; 32],
        idempotency_key: None,
        limits: Vec::new(),
    }
}

pub(super) fn update(key: &str, order: &str) -> NewWrite {
    let entry = Entry {
        external_id: key.to_owned(),
        store_id: "a00".to_owned(),
        order: Some(order.to_owned()),
        ..Entry::default()
    };
    NewWrite {
        write: Write::Entry(Kind::OrderUpdate, entry),
        body_hash: [1; 32],
        idempotency_key: None,
        limits: Vec::new(),
    }
}

impl Shop {
    pub(super) async fn settle(&self, claimed: &Claimed, state: OrderState) {
        let recorded = self
            .outbox
            .record(claimed, state, Exchange::default(), 2_000)
            .await;
        assert!(recorded.unwrap());
    }

    pub(super) async fn deed(&self, action: Action) -> Done {
        let actor = "kim".to_owned();
        self.outbox.deed(Deed::new(actor, action), 3_000).await.unwrap()
    }

    pub(super) async fn due(&self, now: Millis) -> Vec<Claimed> {
        self.outbox.claim(now, 8, false).await.unwrap()
    }
}

pub(super) fn parked() -> OrderState {
    OrderState::NeedsAttention {
        problem: Problem::new("REQUIRED_FIELD_MISSING", "a sentence"),
    }
}

/// After so many failures, not due for long.
fn waiting(failures: u32) -> OrderState {
    OrderState::Waiting {
        failures,
        due_at: 90_000,
        read_back: false,
        problem: Problem::new("UNABLE_TO_LOCK_ROW", "locked"),
    }
}

#[tokio::test]
async fn a_lane_goes_in_sequence_and_passes_over_what_is_parked() {
    let shop = shop();
    for key in ["A1", "A2", "A3"] {
        shop.place(key, "a").await;
    }
    let first = shop.due(1_000).await;
    let waiting = OrderState::Waiting {
        failures: 1,
        due_at: 9_000,
        read_back: false,
        problem: Problem::new("UNABLE_TO_LOCK_ROW", "locked"),
    };
    shop.settle(&first[0], waiting).await;
    assert!(shop.due(8_000).await.is_empty(), "A2 does not overtake A1");
    let first = shop.due(9_000).await;
    assert_eq!(keys(&first), ["A1"]);
    shop.settle(&first[0], parked()).await;
    assert_eq!(
        keys(&shop.due(9_000).await),
        ["A2"],
        "nobody waits for a refused one"
    );
}

#[tokio::test]
async fn orders_go_before_other_writes_and_alone_when_the_allowance_is_short() {
    let shop = shop();
    shop.outbox.accept(case("K1", "k"), 1).await.unwrap();
    shop.place("A1", "a").await;
    assert_eq!(keys(&shop.outbox.claim(9_000, 1, false).await.unwrap()), ["A1"]);
    assert!(shop.outbox.claim(9_000, 8, true).await.unwrap().is_empty());
    assert_eq!(keys(&shop.due(9_000).await), ["K1"]);
}

#[tokio::test]
async fn what_changes_an_order_waits_for_it_and_nobody_waits_for_that() {
    let shop = shop();
    shop.place("A1", "a").await;
    shop.outbox.accept(update("U1", "A1"), 1_001).await.unwrap();
    shop.place("A2", "a").await;
    let first = shop.due(2_000).await;
    assert_eq!(keys(&first), ["A1"]);
    shop.settle(&first[0], parked()).await;
    assert_eq!(
        keys(&shop.due(2_000).await),
        ["A2"],
        "past the update of the parked order"
    );
    let view = shop.view(Kind::OrderUpdate, "U1");
    assert_eq!(
        (view.state.name(), view.waits_for.as_deref()),
        ("queued", Some("A1"))
    );
    let retry = |reference: &str| Action::Retry {
        reference: reference.to_owned(),
    };
    assert!(matches!(
        shop.deed(retry("A1")).await,
        Done::Changed { count: 1, .. }
    ));
    assert!(shop.due(9_000).await.is_empty(), "A2 is on its way");
}

#[tokio::test]
async fn deeds_keep_history_and_say_who_did_what() {
    let shop = shop();
    shop.place("A1", "a").await;
    shop.outbox.accept(update("U1", "A1"), 1_001).await.unwrap();
    let claimed = shop.due(2_000).await.remove(0);
    shop.settle(&claimed, parked()).await;
    let reference = "A1".to_owned();
    let patch = serde_json::json!({"customer": {"email": "ana@example.com"}});
    let edit = Action::Edit {
        reference: reference.clone(),
        patch,
    };
    let Done::Changed { changes, .. } = shop.deed(edit).await else {
        panic!("an order that needs attention can be edited");
    };
    assert_eq!(changes[0].path, "customer.email");
    let discard = Action::Discard {
        reference: reference.clone(),
        reason: "called".to_owned(),
    };
    shop.deed(discard.clone()).await;
    let child = shop.view(Kind::OrderUpdate, "U1");
    assert_eq!(child.problem.unwrap().code, "ORDER_DISCARDED");
    assert!(
        matches!(shop.deed(discard).await, Done::Refused(_)),
        "it is discarded already"
    );
    shop.deed(Action::Reopen {
        reference: reference.clone(),
    })
    .await;
    let all = Action::RetryAll {
        filter: Filter {
            code: Some("REQUIRED_FIELD_MISSING".to_owned()),
            ..Filter::default()
        },
        per_second: 2,
    };
    assert!(matches!(shop.deed(all).await, Done::Changed { count: 1, .. }));
    let detail = shop.outbox.detail("A1").unwrap().found().unwrap();
    assert_eq!(detail.view.state, WriteState::Queued);
    assert_eq!(detail.body["customer"]["email"], "ana@example.com");
    let deeds: Vec<&str> = detail.audit.iter().map(|deed| deed.action.as_str()).collect();
    assert_eq!(deeds, ["edit", "discard", "reopen", "retry"]);
    assert!(detail.audit.iter().all(|deed| deed.actor == "kim"));
    assert_eq!(detail.attempts.len(), 1, "history stays");
    assert_eq!(
        shop.deed(Action::Reopen {
            reference: "nobody".to_owned()
        })
        .await,
        Done::NoSuchWrite
    );
}

#[tokio::test]
async fn a_retry_by_hand_counts_failures_anew() {
    let shop = shop();
    shop.place("A1", "a").await;
    let claimed = shop.due(2_000).await.remove(0);
    shop.settle(&claimed, waiting(4)).await;
    let reference = "A1".to_owned();
    shop.deed(Action::Retry { reference }).await;
    let again = shop.due(3_000).await.remove(0);
    assert_eq!((again.attempt, again.failures), (2, 0));
}

#[tokio::test]
async fn an_update_that_waits_is_parked_when_its_order_is_discarded() {
    let shop = shop();
    shop.place("A1", "a").await;
    shop.outbox.accept(update("U1", "A1"), 1_001).await.unwrap();
    let order = shop.due(2_000).await.remove(0);
    let sent = OrderState::Sent {
        salesforce_id: "801A".to_owned(),
    };
    shop.settle(&order, sent).await;
    let change = shop.due(2_000).await.remove(0);
    shop.settle(&change, waiting(1)).await;
    let gone = Problem::new("NOT_IN_ORG", "deleted");
    assert!(shop.outbox.lost(order.sequence, gone, 2_500).await.unwrap());
    let discard = Action::Discard {
        reference: "A1".to_owned(),
        reason: "called".to_owned(),
    };
    assert!(matches!(shop.deed(discard).await, Done::Changed { .. }));
    let parked = shop.view(Kind::OrderUpdate, "U1");
    assert_eq!(parked.state, WriteState::NeedsAttention);
    assert_eq!(parked.problem.unwrap().code, "ORDER_DISCARDED");
    assert!(shop.due(90_000).await.is_empty(), "it is not sent");
}

#[tokio::test]
async fn a_filter_takes_from_one_time_on_and_up_to_another() {
    let shop = shop();
    for (key, at) in [("A", 1_000), ("B", 2_000), ("C", 3_000)] {
        shop.outbox.accept(new_order(key, key, 1), at).await.unwrap();
    }
    for (since, until, expected) in [
        (None, None, "A B C"),
        (Some(2_000), None, "B C"),
        (Some(2_001), None, "C"),
        (None, Some(2_000), "A"),
        (None, Some(2_001), "A B"),
        (Some(2_000), Some(3_000), "B"),
    ] {
        let filter = Filter {
            since,
            until,
            ..Filter::default()
        };
        let views = shop.outbox.list(&filter, 0, 10).unwrap();
        let keys: Vec<&str> = views.iter().map(|view| view.external_id.as_str()).collect();
        assert_eq!(keys.join(" "), expected, "{since:?} {until:?}");
    }
}

#[tokio::test]
async fn a_retry_of_many_is_spread() {
    let shop = shop();
    for key in ["A", "B", "C"] {
        shop.place(key, key).await;
    }
    for claimed in shop.due(1_000).await {
        shop.settle(&claimed, parked()).await;
    }
    shop.deed(Action::RetryAll {
        filter: Filter::default(),
        per_second: 2,
    })
    .await;
    assert_eq!(keys(&shop.due(3_000).await), ["A"]);
    assert_eq!(keys(&shop.due(3_500).await), ["B"]);
    assert_eq!(keys(&shop.due(4_000).await), ["C"]);
}

#[tokio::test]
async fn numbers_grow_in_the_order_of_a_lane_whatever_the_clock_does_and_with_what_a_person_sends_again() {
    let shop = shop();
    for (key, now) in [("A", 9_000), ("B", 1_000), ("C", 1_000), ("D", 20_000)] {
        shop.outbox.accept(new_order(key, "c", 1), now).await.unwrap();
    }
    let mut sent = Vec::new();
    let first = shop.due(20_000).await.remove(0);
    shop.settle(&first, parked()).await;
    sent.push(first.version);
    let second = shop.due(20_000).await.remove(0);
    sent.push(second.version);
    let retry = Action::Retry {
        reference: "A".to_owned(),
    };
    shop.deed(retry).await;
    let gone = || OrderState::Sent {
        salesforce_id: "801".to_owned(),
    };
    shop.settle(&second, gone()).await;
    for key in ["A", "C", "D"] {
        let claimed = shop.due(20_000).await.remove(0);
        assert_eq!(claimed.external_id, key);
        shop.settle(&claimed, gone()).await;
        sent.push(claimed.version);
    }
    assert_eq!(sent[..2], [9_000, 9_001]);
    assert!(sent.is_sorted_by(|one, next| one < next), "{sent:?}");
    assert!(sent[2] > 20_000, "above all that was given: {sent:?}");
    shop.outbox.accept(new_order("E", "e", 1), 1_000).await.unwrap();
    let last = shop.due(20_000).await.remove(0);
    assert!(last.version > sent[4], "{} {sent:?}", last.version);
}

#[tokio::test]
async fn a_customer_s_orders_are_seen_before_they_are_sent() {
    let shop = shop();
    shop.place("A1", "Ana").await;
    shop.place("B1", "bob").await;
    let mut guest = new_order("G1", "x", 1);
    if let Write::Order(order) = &mut guest.write {
        order.customer.external_id = None;
        order.customer.email = Some("Ana@Example.com".to_owned());
    }
    shop.outbox.accept(guest, 1_000).await.unwrap();
    let by_mail = shop
        .outbox
        .pending_of("ana@example.com", "ana@example.com", 10)
        .unwrap();
    assert_eq!(by_mail[0].external_id, "G1");
    // Those of a company are in the company's lane.
    let mut for_company = new_order("A2", "ANA", 2);
    if let Write::Order(order) = &mut for_company.write {
        order.customer.account_external_id = Some("acme".to_owned());
    }
    shop.outbox.accept(for_company, 1_001).await.unwrap();
    // And one whose own key is the same is not hers.
    let mut other = new_order("ana", "x", 3);
    if let Write::Order(order) = &mut other.write {
        order.customer.external_id = None;
    }
    shop.outbox.accept(other, 1_002).await.unwrap();
    let orders = shop.outbox.pending_of("ana", "ana", 10).unwrap();
    let orders: Vec<_> = orders
        .iter()
        .map(|order| (&order.external_id[..], order.state.name()))
        .collect();
    assert_eq!(orders, [("A2", "queued"), ("A1", "queued")]);
}

#[tokio::test]
async fn orders_of_the_first_version_are_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let old = of_schema(dir.path(), 1);
    old.execute_batch(
        "insert into orders (external_id, body_hash, store_id, lane, body, state, due_at, accepted_at, updated_at)
             values ('A1', zeroblob(32), 'a00', 'c', '{\"customer\":{\"external_id\":\"C\"}}', 'queued', 5, 5, 5),
                    ('A2', zeroblob(32), 'a00', 'c', '{\"customer\":{\"external_id\":\"C\"}}', 'queued', 6, 6, 6);
         insert into orders (external_id, body_hash, store_id, lane, body, state, attempt, salesforce_id, accepted_at, updated_at)
             values ('A0', zeroblob(32), 'a00', 'c', '{}', 'sent', 1, '801', 4, 4);
         insert into attempts (order_sequence, attempt, began_at, ended_at, state) values (3, 1, 4, 5, 'sent');",
    )
    .unwrap();
    drop(old);
    let shop = Shop::open(dir, 0);
    assert_eq!(keys(&shop.due(9_000).await), ["A1"]);
    assert_eq!(shop.outbox.attempts(3).unwrap().len(), 1);
    let view = shop.view(Kind::Order, "A2");
    assert_eq!(
        (view.state.name(), view.customer.as_deref()),
        ("queued", Some("C"))
    );
}

#[test]
fn a_row_is_checked_without_a_table_made_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let connection = database::open_writer(dir.path(), KIND).unwrap();
    let insert = |kind: &str, state: &str| {
        format!(
            "insert into writes (kind, external_id, body_hash, store_id, lane, priority, state, attempt, due_at, salesforce_id,
                 error_code, error_message, accepted_at, updated_at)
             values ('{kind}', '{kind}-{state}', zeroblob(32), 'a00', 'l', 0, '{state}', 1,
                 iif('{state}' in ('queued', 'waiting'), 1, null), iif('{state}' in ('sent', 'confirmed'), '801', null),
                 iif('{state}' in ('needs_attention', 'discarded'), 'X', null),
                 iif('{state}' in ('needs_attention', 'discarded'), 'x', null), 1, 1)"
        )
    };
    for kind in Kind::ALL.map(Kind::name) {
        for state in [
            "queued",
            "sending",
            "waiting",
            "sent",
            "confirmed",
            "needs_attention",
            "discarded",
        ] {
            connection.execute(&insert(kind, state), []).unwrap();
        }
    }
    for (kind, state) in [("orders", "queued"), ("order", "lost"), ("", "sent")] {
        let refused = connection.execute(&insert(kind, state), []).unwrap_err();
        assert!(
            refused.to_string().starts_with("CHECK constraint failed"),
            "{refused}"
        );
    }
    let tables = |connection: &Connection| {
        let mut steps = connection
            .prepare("explain insert into writes (kind, external_id) values ('order', 'A')")
            .unwrap();
        let steps = steps.query_map([], |row| row.get::<_, String>(1)).unwrap();
        steps
            .filter(|step| step.as_deref() == Ok("OpenEphemeral"))
            .count()
    };
    let old = tempfile::tempdir().unwrap();
    assert!(tables(&of_schema(old.path(), 3)) > 0);
    assert_eq!(tables(&connection), 0);
    let sound: String = connection
        .query_row("pragma integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
}

/// The outbox as a version with so many migrations made it.
fn of_schema(dir: &Path, schema: usize) -> Connection {
    let kind = database::Kind {
        migrations: &KIND.migrations[..schema],
        ..KIND
    };
    database::open_writer(dir, kind).unwrap()
}

#[tokio::test]
async fn what_was_accepted_is_kept_where_the_log_was_removed() {
    let shop = shop();
    let path = shop.dir.path().join("outbox.db");
    // Another program that has the file open keeps SQLite from moving the log by itself at the end.
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let other = Connection::open_with_flags(&path, flags).unwrap();
    let count = "select count(*) from writes";
    other.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap();
    shop.place("WEB-1", "C-1").await;
    std::fs::remove_file(shop.dir.path().join("outbox.db-wal")).unwrap();
    let dir = shop.crash();
    drop(other);
    for ending in ["-wal", "-shm"] {
        drop(std::fs::remove_file(
            dir.path().join(format!("outbox.db{ending}")),
        ));
    }
    let shop = Shop::open(dir, 2_000);
    assert_eq!(shop.view(Kind::Order, "WEB-1").external_id, "WEB-1");
}
