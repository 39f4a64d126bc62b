//! Requests that were done and whose answer was lost, in an org where merchants and other programs work as storesync's
//! own user: what they did meanwhile stays.

use serde_json::{Value, json};
use storesync::model::state::WriteState;
use storesync::model::write::Write;

use super::super::pusher::{Pusher, manual};
use super::{HOLD_MILLIS, an_org, change, city, customer, make_order};
use crate::world::Sandbox;

/// A write, what is changed of its record once it is there, and what follows it.
struct Lost {
    object: &'static str,
    key: &'static str,
    first: Write,
    edit: Value,
    second: Write,
    last: Value,
}

async fn is_settled(org: &Sandbox, lost: Lost) {
    let shop = Pusher::start(org, manual());
    let rule = json!({"path": "/composite", "method": "POST", "except": "/sobjects/", "times": 1, "fault": "drop_after_commit"});
    org.fault(rule).await;
    shop.accept(lost.first.clone()).await;
    shop.until(&lost.first, WriteState::Waiting, Some("ANSWER_AWAITED"))
        .await;
    shop.accept(lost.second.clone()).await;
    shop.pass(org, HOLD_MILLIS / 2).await;
    let id = org
        .some(lost.object, &format!("WHERE External_ID__c = '{}'", lost.key))
        .await;
    org.update(lost.object, &id, lost.edit).await;
    shop.pass(org, HOLD_MILLIS / 2).await;
    shop.until(&lost.first, WriteState::Sent, None).await;
    shop.until(&lost.second, WriteState::Sent, None).await;
    let fields: Vec<&str> = lost
        .last
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let (fields, object, key) = (fields.join(", "), lost.object, lost.key);
    let soql = format!("SELECT {fields} FROM {object} WHERE External_ID__c = '{key}'");
    assert_eq!(json!(org.query(&soql).await.remove(0)), lost.last, "{object}");
    shop.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_change_was_done_keeps_what_was_made_of_it_since() {
    let org = an_org().await;
    make_order(&org, "WEB-1").await;
    let lost = Lost {
        object: "Order",
        key: "WEB-1",
        first: change("A-1", |entry| entry.shipping_address = city("Hobart")),
        edit: json!({"ShippingCity": "Darwin"}),
        second: change("A-02", |entry| entry.billing_address = city("Sydney")),
        last: json!({"ShippingCity": "Darwin", "BillingCity": "Sydney"}),
    };
    is_settled(&org, lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_whose_change_was_done_keeps_what_was_made_of_it_since() {
    let org = an_org().await;
    let phone = |key, phone| customer(key, phone);
    let mut second = phone("C-7/02", "");
    if let Write::Entry(_, entry) = &mut second {
        let customer = entry.customer.as_mut().unwrap();
        (customer.phone, customer.first_name) = (None, Some("Mia".to_owned()));
    }
    let lost = Lost {
        object: "Contact",
        key: "C-7",
        first: phone("C-7/1", "+61 1"),
        edit: json!({"Phone": "+61 9"}),
        second,
        last: json!({"Phone": "+61 9", "FirstName": "Mia"}),
    };
    is_settled(&org, lost).await;
}
