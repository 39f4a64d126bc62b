//! Changes with a number, in an org whose validation rule refuses a number that is lower than the one before it.

use serde_json::{Value, json};
use storesync::model::state::WriteState;
use storesync::model::write::Write;
use storesync::store::outbox::desk::{Action, Deed, Done};

use super::super::pusher::{Pusher, manual};
use super::{
    HOLD_MILLIS, a_merchant_sets, an_org, an_org_with, cancel, change, city, customer, hold, let_through,
    long_order, make_order,
};
use crate::world::{Sandbox, eventually};

const FIELD: &str = "Storesync_Version__c";

/// An org with the field and the rule on all objects that changes are about, and the key that names the field.
async fn an_org_with_the_rule() -> Sandbox {
    let org = an_org_with(&format!("version_field = \"{FIELD}\"")).await;
    let objects = ["Order", "Account", "Contact"];
    for object in objects {
        let field = json!({"object": object, "name": FIELD, "type": "Double 18,0"});
        org.control("schema", json!({ "add": field })).await;
    }
    let rule =
        |object: &&str| json!({"object": object, "field": FIELD, "message": "A later change is there."});
    let rules: Vec<Value> = objects.iter().map(rule).collect();
    org.control("rules", json!({ "growing": rules })).await;
    org
}

fn to_city(key: &str, name: &str) -> Write {
    change(key, |entry| entry.shipping_address = city(name))
}

/// Where the order is to be sent to, as the org has it.
async fn shipping_city(org: &Sandbox) -> Value {
    let soql = "SELECT ShippingCity FROM Order WHERE External_ID__c = 'WEB-1'";
    org.query(soql).await.remove(0)["ShippingCity"].take()
}

/// Waits for a write while the clock stands still.
async fn is_sent(shop: &Pusher, write: &Write) {
    eventually("it is sent", async || {
        (shop.view(write).state == WriteState::Sent).then_some(())
    })
    .await;
}

/// A request that is held for so long that it was sent again, and `after` came.
async fn arrives_late(org: &Sandbox, after: impl AsyncFnOnce(&Pusher)) -> Value {
    make_order(org, "WEB-1").await;
    let shop = Pusher::start(org, manual());
    let first = to_city("A-1", "Hobart");
    hold(org, 0).await;
    shop.accept(first.clone()).await;
    shop.until(&first, WriteState::Waiting, Some("ANSWER_AWAITED"))
        .await;
    shop.pass(org, HOLD_MILLIS).await;
    shop.until(&first, WriteState::Sent, None).await;
    after(&shop).await;
    let_through(org).await;
    shop.end().await;
    shipping_city(org).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_arrives_after_a_later_one_is_refused_by_the_org() {
    let later = async |shop: &Pusher| {
        let second = to_city("A-2", "Sydney");
        shop.accept(second.clone()).await;
        shop.until(&second, WriteState::Sent, None).await;
    };
    let org = an_org_with_the_rule().await;
    assert_eq!(arrives_late(&org, later).await, "Sydney");
    // Nothing of it is there without the field.
    let org = an_org().await;
    assert_eq!(arrives_late(&org, later).await, "Hobart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_sent_again_does_not_undo_what_a_merchant_did_since() {
    let org = an_org_with_the_rule().await;
    let edit = json!({"ShippingCity": "Darwin"});
    let edited = async |_: &Pusher| a_merchant_sets(&org, "Order", "External_ID__c", "WEB-1", &edit).await;
    assert_eq!(arrives_late(&org, edited).await, "Darwin");
}

async fn phone(org: &Sandbox) -> Value {
    let soql = "SELECT Phone FROM Contact WHERE External_ID__c = 'C-7'";
    org.query(soql).await.remove(0)["Phone"].take()
}

/// Two names of one person make two lanes, so that the later change may be there first.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_org_refuses_as_older_is_told_as_overtaken_and_can_be_sent_as_a_new_one() {
    let org = an_org_with_the_rule().await;
    let id = org.some("Contact", "WHERE External_ID__c = 'C-7'").await;
    let shop = Pusher::start(&org, manual());
    org.fault(json!({"object": "Contact", "times": 1, "fault": "row_lock"}))
        .await;
    let (first, mut second) = (customer("C-7/1", "+61 1"), customer("C-7/02", "+61 2"));
    if let Write::Entry(_, entry) = &mut second {
        let customer = entry.customer.as_mut().unwrap();
        (customer.external_id, customer.salesforce_id) = (None, Some(id));
    }
    shop.accept(first.clone()).await;
    eventually("the first waits", async || {
        (shop.view(&first).state == WriteState::Waiting).then_some(())
    })
    .await;
    shop.accept(second.clone()).await;
    is_sent(&shop, &second).await;
    let next = customer("C-7/003", "+61 3");
    shop.accept(next.clone()).await;
    shop.until(&first, WriteState::Discarded, Some("OVERTAKEN")).await;
    shop.until(&next, WriteState::Sent, None).await;
    assert_eq!(phone(&org).await, "+61 3");

    let reference = "customer:C-7/1".to_owned();
    for action in [
        Action::Reopen {
            reference: reference.clone(),
        },
        Action::Retry { reference },
    ] {
        let done = shop
            .outbox
            .deed(Deed::new("kim", action), shop.clock.now())
            .await
            .unwrap();
        assert!(matches!(done, Done::Changed { .. }), "{done:?}");
    }
    shop.until(&first, WriteState::Sent, None).await;
    assert_eq!(phone(&org).await, "+61 1");
    shop.end().await;
}

/// The org takes no other value along with a status.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_has_a_number_and_its_status_goes_with_a_higher_one() {
    let org = an_org_with_the_rule().await;
    let shop = Pusher::start(&org, manual());
    let mut numbers = vec![0.0];
    for (write, status) in [
        (long_order(&org).await, "Activated"),
        (cancel("X-1"), "Completed"),
    ] {
        shop.accept(write.clone()).await;
        shop.until(&write, WriteState::Sent, None).await;
        let soql = format!("SELECT Status, {FIELD} FROM Order WHERE External_ID__c = 'WEB-1'");
        let row = org.query(&soql).await.remove(0);
        assert_eq!(row["Status"], status, "{row:?}");
        numbers.push(row[FIELD].as_f64().unwrap());
    }
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    assert_eq!(org.count(&format!("Contact WHERE {FIELD} != null")).await, 1);
    shop.end().await;
}
