//! What goes, what stays, and that what goes is in no file any more.

use super::*;
use crate::model::order::{Address, OrderState};
use crate::model::write::{Kind, Write};
use crate::store::outbox::desk::{Action, Done};
use crate::store::outbox::tests::{Shop, new_order, shop, update};
use crate::store::outbox::{Accepted, Exchange, NewWrite};

const MAIL: &str = "quetzal@private.example";
const STREET: &str = "77 Hidden Hollow";
const CONTACT: &str = "003000000000001AAA";
const ACCOUNT: &str = "001000000000001AAA";

fn order_of(customer: &str, key: &str) -> NewWrite {
    let mut new = new_order(key, customer, 1);
    if let Write::Order(order) = &mut new.write {
        order.customer.email = Some(MAIL.to_owned());
        // Longer than a page: what overflows is overwritten too.
        let line = order.lines[0].clone();
        order.lines = vec![line; 100];
    }
    new
}

impl Shop {
    /// Accepts an order and has it confirmed at a time.
    async fn finished(&self, customer: &str, key: &str, at: Millis) {
        self.outbox.accept(order_of(customer, key), at).await.unwrap();
        self.sent(at).await;
        self.confirmed(key, at).await;
    }

    /// Everything that is due gets into the org.
    async fn sent(&self, at: Millis) {
        for claimed in self.due(at).await {
            let state = OrderState::Sent {
                salesforce_id: "801000000000001AAA".to_owned(),
            };
            let exchange = Exchange {
                request: Some(format!("{{\"to\": \"{MAIL}\"}}")),
                response: Some(format!("{{\"of\": \"{MAIL}\"}}")),
                record_ids: [ACCOUNT, CONTACT, "801000000000001AAA"].map(str::to_owned).into(),
                ..Exchange::default()
            };
            assert!(self.outbox.record(&claimed, state, exchange, at).await.unwrap());
        }
    }

    async fn confirmed(&self, key: &str, at: Millis) {
        let sequence = self.view(Kind::Order, key).sequence;
        assert_eq!(self.outbox.confirm(vec![sequence], at).await.unwrap(), 1);
    }

    fn is_emptied(&self, key: &str) -> bool {
        let detail = self.outbox.detail(key).unwrap().found().unwrap();
        let emptied = detail.view.emptied_at.is_some();
        assert_eq!(detail.body.is_null(), emptied);
        assert!(
            detail
                .attempts
                .iter()
                .all(|attempt| attempt.request.is_none() == emptied)
        );
        emptied
    }

    /// How often a text stands in the outbox's files.
    fn in_files(&self, text: &str) -> usize {
        let files = std::fs::read_dir(self.dir.path()).unwrap();
        let bytes = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
        bytes
            .map(|bytes| {
                bytes
                    .windows(text.len())
                    .filter(|window| *window == text.as_bytes())
                    .count()
            })
            .sum()
    }
}

const ALL: Bounds = Bounds {
    finished_before: Millis::MIN,
    bytes_max: u64::MAX,
};

#[tokio::test]
async fn what_is_old_goes_and_its_key_and_outcome_stay() {
    let shop = shop();
    shop.finished("a", "OLD", 1_000).await;
    // Accepted long ago and finished only now.
    shop.outbox.accept(order_of("d", "LATE"), 1_000).await.unwrap();
    shop.sent(8_000).await;
    shop.confirmed("LATE", 8_000).await;
    shop.finished("b", "NEW", 9_000).await;
    let open = order_of("c", "OPEN");
    shop.outbox.accept(open, 1_000).await.unwrap();
    let bounds = Bounds {
        finished_before: 5_000,
        ..ALL
    };
    assert_eq!(shop.outbox.trim(bounds, 10_000).await.unwrap(), 1);
    assert!(shop.is_emptied("OLD") && !shop.is_emptied("NEW"));
    assert!(!shop.is_emptied("LATE"), "its age begins when it is finished");
    assert!(
        shop.outbox
            .detail("OPEN")
            .unwrap()
            .found()
            .unwrap()
            .view
            .emptied_at
            .is_none()
    );
    let view = shop.view(Kind::Order, "OLD");
    assert_eq!(
        (view.state.name(), view.salesforce_id.is_some()),
        ("confirmed", true)
    );
    let again = shop.outbox.accept(order_of("a", "OLD"), 11_000).await.unwrap();
    assert_eq!(again, Accepted::Replay { accepted_at: 1_000 });
    let other = shop
        .outbox
        .accept(new_order("OLD", "a", 2), 11_000)
        .await
        .unwrap();
    assert_eq!(other, Accepted::Conflict { by_header: false });
    assert_eq!(shop.outbox.trim(bounds, 10_000).await.unwrap(), 0, "once");
}

#[tokio::test]
async fn a_file_that_is_too_large_loses_its_oldest() {
    let shop = shop();
    for number in 0..300 {
        shop.finished("a", &format!("K{number:03}"), 1_000 + number).await;
    }
    let half = shop.outbox.read(bytes_used).unwrap() / 2;
    let bounds = Bounds {
        bytes_max: half,
        ..ALL
    };
    let emptied = shop.outbox.trim(bounds, 10_000).await.unwrap();
    assert!((100..250).contains(&emptied), "{emptied} of 300");
    assert!(shop.is_emptied("K000") && !shop.is_emptied("K299"));
    assert!(shop.outbox.read(bytes_used).unwrap() <= half);
}

#[tokio::test]
async fn a_person_is_erased_from_all_that_is_finished_and_from_the_rest_once_it_is() {
    let shop = shop();
    shop.finished("Ana", "WEB-1", 1_000).await;
    shop.outbox.accept(update("U-1", "WEB-1"), 1_500).await.unwrap();
    shop.sent(1_500).await;
    shop.outbox.accept(order_of("ana", "WEB-2"), 2_000).await.unwrap();
    assert!(shop.in_files(MAIL) > 0);
    let erased = shop
        .outbox
        .erase(vec![CONTACT.to_owned()], Vec::new(), 3_000)
        .await
        .unwrap();
    assert_eq!(erased, 3, "both orders and what became of the first");
    assert!(shop.is_emptied("WEB-1"));
    let view = shop.view(Kind::Order, "WEB-1");
    assert_eq!((view.state.name(), view.customer), ("confirmed", None));
    let open = shop.outbox.detail("WEB-2").unwrap().found().unwrap();
    assert!(!open.body.is_null(), "what is not sent yet is sent");
    shop.sent(4_000).await;
    assert_eq!(shop.outbox.trim(ALL, 4_000).await.unwrap(), 0);
    shop.outbox
        .accept(new_order("WEB-3", "bob", 1), 4_000)
        .await
        .unwrap();
    shop.confirmed("WEB-2", 5_000).await;
    let update = shop.view(Kind::OrderUpdate, "U-1");
    shop.outbox.confirm(vec![update.sequence], 5_000).await.unwrap();
    assert_eq!(shop.outbox.trim(ALL, 5_000).await.unwrap(), 2);
    assert_eq!(shop.in_files(MAIL), 0, "nothing of the person is in any file");
    assert_eq!(shop.view(Kind::Order, "WEB-3").customer.as_deref(), Some("bob"));
}

#[tokio::test]
async fn what_is_left_beside_rows_goes_too() {
    let shop = shop();
    shop.finished("Ana", "WEB-1", 1_000).await;
    // As SQLite leaves it of a row that moved to another page.
    let other = Connection::open(shop.dir.path().join("outbox.db")).unwrap();
    let leave = format!(
        "pragma secure_delete = off; insert into exchanges values (1, 99, '{STREET}', null);
        delete from exchanges where attempt = 99; pragma wal_checkpoint(truncate)"
    );
    other.execute_batch(&leave).unwrap();
    drop(other);
    assert!(shop.in_files(STREET) > 0);
    let contact = vec![CONTACT.to_owned()];
    shop.outbox.erase(contact, Vec::new(), 3_000).await.unwrap();
    shop.outbox.trim(ALL, 4_000).await.unwrap();
    assert_eq!(shop.in_files(STREET), 0);
}

#[tokio::test]
async fn what_was_given_up_and_emptied_is_not_taken_up_again() {
    let shop = shop();
    shop.outbox.accept(order_of("a", "GONE"), 1_000).await.unwrap();
    let edit = Action::Edit {
        reference: "GONE".to_owned(),
        patch: serde_json::json!({"customer": {"phone": "0400 777 777"}}),
    };
    assert!(matches!(shop.deed(edit).await, Done::Changed { .. }));
    let discard = Action::Discard {
        reference: "GONE".to_owned(),
        reason: "the shopper called".to_owned(),
    };
    assert!(matches!(shop.deed(discard).await, Done::Changed { .. }));
    let erased = shop.outbox.erase(Vec::new(), vec!["A".to_owned()], 4_000).await;
    assert_eq!(erased.unwrap(), 1);
    let reopen = Action::Reopen {
        reference: "GONE".to_owned(),
    };
    assert!(matches!(shop.deed(reopen).await, Done::Refused(_)));
    let detail = shop.outbox.detail("GONE").unwrap().found().unwrap();
    assert_eq!(detail.view.state.name(), "discarded");
    assert_eq!(detail.audit[0].changes[0].path, "customer.phone");
    for text in [MAIL, "0400 777 777", "the shopper called"] {
        assert_eq!(shop.in_files(text), 0, "{text}");
    }
}

#[tokio::test]
async fn an_update_that_never_reached_the_org_is_erased_with_its_order() {
    let shop = shop();
    shop.finished("Ana", "WEB-1", 1_000).await;
    // It names no person: only its order tells whose street it is.
    let mut moved = update("U-1", "WEB-1");
    if let Write::Entry(_, entry) = &mut moved.write {
        entry.shipping_address = Some(Address {
            street: Some(STREET.to_owned()),
            ..Address::default()
        });
    }
    shop.outbox.accept(moved, 1_500).await.unwrap();
    let discard = Action::Discard {
        reference: "order_update:U-1".to_owned(),
        reason: "the shopper called".to_owned(),
    };
    assert!(matches!(shop.deed(discard).await, Done::Changed { .. }));
    assert!(shop.in_files(STREET) > 0);
    let erased = shop.outbox.erase(vec![CONTACT.to_owned()], Vec::new(), 4_000);
    assert_eq!(erased.await.unwrap(), 2, "the order and its update");
    for text in [MAIL, STREET, "the shopper called"] {
        assert_eq!(shop.in_files(text), 0, "{text}");
    }
}

#[tokio::test]
async fn an_account_that_is_gone_takes_nothing_of_a_contact_who_is_there() {
    let shop = shop();
    shop.finished("a", "THEIRS", 1_000).await;
    let erase = async |id: &str| shop.outbox.erase(vec![id.to_owned()], Vec::new(), 2_000).await;
    // The account may be one that an answer told wrongly, and is not asked for again.
    assert_eq!(erase(ACCOUNT).await.unwrap(), 0);
    assert!(!shop.is_emptied("THEIRS"));
    let left = shop.outbox.persons_after("", 10).unwrap();
    assert_eq!(left, [CONTACT]);
    assert_eq!(erase(CONTACT).await.unwrap(), 1);
    assert!(shop.is_emptied("THEIRS"));
}
