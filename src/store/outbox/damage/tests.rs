//! What a disk can do to a row, and what may not come of it.

use super::*;
use crate::store::outbox::desk::{Action, Done, Filter};
use crate::store::outbox::tests::{Shop, shop};
use serde_json::json;
use std::path::Path;

/// The body of the order HURT-1, and where its row has its kind and key.
const BODY: &str = r#"{"external_id":"HURT-1""#;
const ROW: &str = "orderHURT-1";

/// Flips a bit of a text.
fn flip(dir: &Path, text: &str, at: usize, bit: u8) {
    in_pages(dir, text, |found| found[at] ^= bit);
}

/// Flips a bit of the order's quantity, which stays a number.
fn flip_quantity(dir: &Path) {
    in_pages(dir, BODY, |found| {
        let before = r#""quantity":""#;
        let start = found
            .windows(before.len())
            .position(|window| window == before.as_bytes())
            .unwrap();
        found[start + before.len()] ^= 1;
    });
}

/// Damages what begins with a text in the pages of tables, as a disk does: the indexes stay as they are.
fn in_pages(dir: &Path, text: &str, damage: impl Fn(&mut [u8])) {
    const PAGE: usize = 4096;
    const LEAF_OF_A_TABLE: u8 = 0x0d;
    let path = dir.join("outbox.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let mut flipped = 0;
    for page in bytes.chunks_mut(PAGE).skip(1) {
        let found = page
            .windows(text.len())
            .position(|window| window == text.as_bytes());
        if let Some(start) = found.filter(|_| page[0] == LEAF_OF_A_TABLE) {
            damage(&mut page[start..]);
            flipped += 1;
        }
    }
    assert_eq!(flipped, 1, "{text} stands in one row");
    std::fs::write(path, bytes).unwrap();
}

fn sql(dir: &Path, statement: &str) {
    let connection = Connection::open(dir.join("outbox.db")).unwrap();
    connection
        .pragma_update(None, "ignore_check_constraints", true)
        .unwrap();
    assert_eq!(connection.execute(statement, []).unwrap(), 1, "{statement}");
}

/// What is done to the row of the order HURT-1, and the code that it then has.
type Damage = (&'static str, fn(&Path), &'static str);

const DAMAGES: [Damage; 10] = [
    (
        "a byte of the form of JSON",
        |dir| flip(dir, BODY, 0, 2),
        BODY_DAMAGED,
    ),
    ("a bit of a quantity", flip_quantity, BODY_DAMAGED),
    (
        "a bit of the key that is sent",
        |dir| flip(dir, BODY, 20, 1),
        BODY_DAMAGED,
    ),
    (
        "a byte that is no UTF-8",
        |dir| flip(dir, BODY, 20, 0x80),
        BODY_DAMAGED,
    ),
    ("a bit of the kind", |dir| flip(dir, ROW, 0, 1), ROW_UNREADABLE),
    (
        "a kind that is no UTF-8",
        |dir| flip(dir, ROW, 0, 0x80),
        ROW_UNREADABLE,
    ),
    ("a bit of the key", |dir| flip(dir, ROW, 7, 1), BODY_DAMAGED),
    (
        "a key that is no UTF-8",
        |dir| flip(dir, ROW, 7, 0x80),
        ROW_UNREADABLE,
    ),
    (
        "the body is gone",
        |dir| sql(dir, "delete from bodies where write_sequence = 1"),
        BODY_DAMAGED,
    ),
    (
        "a state of another version",
        |dir| sql(dir, "update writes set state = 'parked' where sequence = 1"),
        ROW_UNREADABLE,
    ),
];

#[tokio::test]
async fn a_damaged_row_is_set_aside_alone_and_nothing_waits_for_it() {
    for (what, damage, code) in DAMAGES {
        let shop = shop();
        shop.place("HURT-1", "one").await;
        shop.place("BEHIND-1", "one").await;
        shop.place("OTHER-1", "other").await;
        let dir = shop.crash();
        damage(dir.path());
        let shop = Shop::open(dir, 0);
        let mut claimed = shop.due(5_000).await;
        claimed.extend(shop.due(5_000).await);
        let mut keys: Vec<&str> = claimed.iter().map(|write| write.external_id.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            ["BEHIND-1", "OTHER-1"],
            "{what}: never sent, and nothing waits"
        );
        let listed = shop.outbox.list(&Filter::default(), 0, 10).unwrap();
        let hurt = listed.iter().find(|view| view.sequence == 1).unwrap();
        assert_eq!(hurt.state, WriteState::NeedsAttention, "{what}");
        let problem = hurt.problem.as_ref().unwrap();
        assert_eq!(problem.code, code, "{what}");
        assert!(problem.message.contains("check the disk"), "{what}: {problem:?}");
        assert!(shop.outbox.detail("#1").unwrap().found().is_some(), "{what}");
        let damaged: u64 = shop
            .outbox
            .standing()
            .unwrap()
            .iter()
            .map(|one| one.damaged)
            .sum();
        assert_eq!(damaged, 1, "{what}");
        let pending = shop.outbox.pending_of("one", "", 10).unwrap();
        assert!(
            !pending.is_empty(),
            "{what}: the customer's orders are still listed"
        );
    }
}

#[tokio::test]
async fn a_damaged_body_can_be_given_up_and_neither_edited_nor_sent() {
    let shop = shop();
    shop.place("HURT-1", "one").await;
    let dir = shop.crash();
    flip_quantity(dir.path());
    let shop = Shop::open(dir, 0);
    assert!(shop.due(5_000).await.is_empty());
    let reference = "HURT-1".to_owned();
    let edit = Action::Edit {
        reference: reference.clone(),
        patch: json!({"customer": {"email": "ana@example.com"}}),
    };
    let Done::Refused(sentence) = shop.deed(edit).await else {
        panic!("what is not known is not edited");
    };
    assert!(sentence.contains("is not what was accepted"), "{sentence}");
    shop.deed(Action::Retry {
        reference: reference.clone(),
    })
    .await;
    assert!(shop.due(9_000).await.is_empty(), "trying again does not send it");
    let discard = Action::Discard {
        reference,
        reason: "the disk".to_owned(),
    };
    assert!(matches!(shop.deed(discard).await, Done::Changed { count: 1, .. }));
}

#[tokio::test]
async fn an_edit_leaves_a_body_that_can_be_sent() {
    let shop = shop();
    shop.place("EDIT-1", "one").await;
    let edit = Action::Edit {
        reference: "EDIT-1".to_owned(),
        patch: json!({"customer": {"email": "ana@example.com"}}),
    };
    assert!(matches!(shop.deed(edit).await, Done::Changed { .. }));
    assert_eq!(shop.due(5_000).await.len(), 1);
}

#[tokio::test]
async fn what_was_sent_and_cannot_be_read_does_not_stop_the_rest() {
    let shop = shop();
    for key in ["HURT-1", "FINE-1"] {
        shop.place(key, key).await;
    }
    for claimed in shop.due(5_000).await {
        let salesforce_id = "801".to_owned();
        shop.settle(&claimed, crate::model::order::OrderState::Sent { salesforce_id })
            .await;
    }
    let dir = shop.crash();
    let shop = Shop::open(dir, 0);
    sql(
        shop.dir.path(),
        "update writes set kind = 'parcel' where sequence = 1",
    );
    let sent = shop.outbox.sent_after(0, 10).unwrap();
    assert_eq!(sent[0], Err(1));
    assert_eq!(sent[1].as_ref().unwrap().external_id, "FINE-1");
    shop.outbox.set_aside(vec![1], 6_000).await.unwrap();
    assert_eq!(shop.outbox.sent_after(0, 10).unwrap().len(), 1);
}
