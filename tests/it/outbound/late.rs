//! Requests that arrive after their answer was given up: what the org ends with is what was meant last, and nothing that
//! a merchant did meanwhile is undone.

mod lost;
mod table;
mod versions;

use serde_json::{Value, json};
use storesync::model::clock::Clock;
use storesync::model::order::{Address, Customer, Decimal, Line, Placed};
use storesync::model::state::WriteState;
use storesync::model::write::{Entry, Kind, Write};
use storesync::salesforce::login::Taken;

use super::configure;
use super::pusher::{Pusher, manual};
use crate::world::{Sandbox, eventually};

/// Nothing is on its way any more after so long.
const HOLD_MILLIS: i64 = 180_000;

/// A write to be held on its way, one after it, what both are about, and what a merchant sets meanwhile.
struct Story {
    first: Write,
    second: Write,
    /// Requests of the first write that are let through before the one that is held.
    skip: u32,
    object: &'static str,
    key: &'static str,
    merchant: Value,
    /// What the record has in the end.
    last: Value,
}

fn change(key: &str, fill: impl FnOnce(&mut Entry)) -> Write {
    let mut entry = Entry {
        external_id: key.to_owned(),
        order: Some("WEB-1".to_owned()),
        ..Entry::default()
    };
    fill(&mut entry);
    Write::Entry(Kind::OrderUpdate, entry)
}

fn city(city: &str) -> Option<Address> {
    Some(Address {
        city: Some(city.to_owned()),
        ..Address::default()
    })
}

fn customer(key: &str, phone: &str) -> Write {
    let customer = Customer {
        external_id: Some("C-7".to_owned()),
        last_name: Some("Lee".to_owned()),
        phone: Some(phone.to_owned()),
        ..Customer::default()
    };
    let entry = Entry {
        external_id: key.to_owned(),
        customer: Some(customer),
        ..Entry::default()
    };
    Write::Entry(Kind::Customer, entry)
}

fn cancel(key: &str) -> Write {
    change(key, |entry| {
        entry.values.insert("cancelled".to_owned(), json!(true));
    })
}

/// A price of the org's: its id and its price book's.
async fn a_price(org: &Sandbox) -> (String, String) {
    let soql = "SELECT Id, Pricebook2Id FROM PricebookEntry WHERE IsActive = true AND Product2.IsActive = true LIMIT 1";
    let entry = org.query(soql).await.remove(0);
    let text = |field: &str| entry[field].as_str().unwrap().to_owned();
    (text("Id"), text("Pricebook2Id"))
}

/// An order that takes more than one request, so that its status is one of its own.
async fn long_order(org: &Sandbox) -> Write {
    let (price, pricebook) = a_price(org).await;
    let line = Line {
        pricebook_entry_id: price,
        quantity: Decimal::parse("1").unwrap(),
        unit_price: Decimal::parse("5").unwrap(),
        ..Line::default()
    };
    Write::Order(Placed {
        external_id: "WEB-1".to_owned(),
        store_id: org.some("s_c__Store__c", "").await,
        pricebook_id: pricebook,
        currency: None,
        effective_date: "2026-11-22".to_owned(),
        customer: Customer {
            last_name: Some("Lee".to_owned()),
            ..Customer::default()
        },
        shipping_address: None,
        billing_address: None,
        lines: vec![line; 30],
        ..Placed::default()
    })
}

async fn an_org() -> Sandbox {
    an_org_with("").await
}

/// `settings` are further ones of orders.
async fn an_org_with(settings: &str) -> Sandbox {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let statuses = "status = \"Activated\"\ncancelled_status = \"Completed\"";
    configure(&org, &format!("[orders]\n{statuses}\n{settings}"));
    org
}

/// The order that changes are about, made by the org itself.
async fn make_order(org: &Sandbox, key: &str) {
    let (price, pricebook) = a_price(org).await;
    let account = org.some("Account", "").await;
    let order = json!({"AccountId": account, "EffectiveDate": "2026-01-01", "Status": "Draft", "Pricebook2Id": pricebook,
        "External_ID__c": key});
    let id = org.create("Order", order).await;
    let item = json!({"OrderId": id, "PricebookEntryId": price, "Quantity": 1, "UnitPrice": 5});
    org.create("OrderItem", item).await;
}

/// Holds the next request of a write at the org, until the faults are taken away.
async fn hold(org: &Sandbox, skip: u32) {
    let rule = json!({"path": "/composite", "method": "POST", "except": "/sobjects/", "skip": skip, "times": 1,
        "fault": {"commit_after_ms": 600_000}});
    org.fault(rule).await;
}

/// Lets what is held through, and waits until it is done.
async fn let_through(org: &Sandbox) {
    let url = format!("{}/sandbox/faults", org.env["SANDBOX_HTTP"]);
    org.http.delete(&url).send().await.unwrap();
    eventually("what was held has arrived", async || {
        let told: Value = org.http.get(&url).send().await.ok()?.json().await.ok()?;
        (told["pending"] == 0).then_some(())
    })
    .await;
}

/// Another user than storesync's sets fields of a record.
async fn a_merchant_sets(org: &Sandbox, object: &str, field: &str, key: &str, fields: &Value) {
    let user = org
        .control("users", json!({"username": "merchant@shop.example"}))
        .await;
    let id = org.some(object, &format!("WHERE {field} = '{key}'")).await;
    let request = org
        .http
        .patch(org.url(&format!("sobjects/{object}/{id}")))
        .bearer_auth(user["access_token"].as_str().unwrap());
    let answer = request.json(fields).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 204);
}

/// Waits until a write of another lane is sent: whatever could be sent before it, was.
async fn others_are_sent(shop: &Pusher, key: &str) {
    let other = change(key, |entry| {
        entry.order = Some("WEB-2".to_owned());
        entry.billing_address = city("Perth");
    });
    shop.accept(other.clone()).await;
    shop.until(&other, WriteState::Sent, None).await;
}

async fn is_not_overtaken(org: &Sandbox, story: Story) {
    make_order(org, "WEB-2").await;
    let shop = Pusher::start(org, manual());
    hold(org, story.skip).await;
    shop.accept(story.first.clone()).await;
    shop.until(&story.first, WriteState::Waiting, Some("ANSWER_AWAITED"))
        .await;
    shop.accept(story.second.clone()).await;
    shop.pass(org, HOLD_MILLIS / 2).await;
    others_are_sent(&shop, "OTHER-1").await;
    assert_eq!(shop.view(&story.first).state, WriteState::Waiting);
    assert_eq!(
        shop.view(&story.second).state,
        WriteState::Queued,
        "nothing of the lane goes meanwhile"
    );
    let_through(org).await;
    a_merchant_sets(org, story.object, "External_ID__c", story.key, &story.merchant).await;
    shop.pass(org, HOLD_MILLIS / 2).await;
    shop.until(&story.second, WriteState::Sent, None).await;
    let_through(org).await;
    let fields: Vec<&str> = story
        .last
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let soql = format!(
        "SELECT {} FROM {} WHERE External_ID__c = '{}'",
        fields.join(", "),
        story.object,
        story.key
    );
    let record = org.query(&soql).await.remove(0);
    assert_eq!(json!(record), story.last);
    shop.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_arrives_late_does_not_undo_a_later_one() {
    let org = an_org().await;
    make_order(&org, "WEB-1").await;
    let address = |key, name| change(key, |entry| entry.shipping_address = city(name));
    let story = Story {
        first: address("A-1", "Hobart"),
        second: address("A-2", "Sydney"),
        skip: 0,
        object: "Order",
        key: "WEB-1",
        merchant: json!({"Description": "gift"}),
        last: json!({"ShippingCity": "Sydney", "Description": "gift"}),
    };
    is_not_overtaken(&org, story).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_that_arrives_late_does_not_undo_what_a_merchant_made_of_it() {
    let org = an_org().await;
    make_order(&org, "WEB-1").await;
    let story = Story {
        first: cancel("X-1"),
        second: change("A-2", |entry| entry.shipping_address = city("Sydney")),
        skip: 0,
        object: "Order",
        key: "WEB-1",
        merchant: json!({"Status": "Draft"}),
        last: json!({"Status": "Draft", "ShippingCity": "Sydney"}),
    };
    is_not_overtaken(&org, story).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_profile_that_arrives_late_does_not_undo_a_later_one() {
    let org = an_org().await;
    let story = Story {
        first: customer("C-7/1", "+61 1"),
        second: customer("C-7/2", "+61 2"),
        skip: 0,
        object: "Contact",
        key: "C-7",
        merchant: json!({"Title": "Dr"}),
        last: json!({"Phone": "+61 2", "Title": "Dr"}),
    };
    is_not_overtaken(&org, story).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_arrives_late_does_not_undo_a_cancellation() {
    let org = an_org().await;
    let story = Story {
        first: long_order(&org).await,
        second: cancel("X-1"),
        skip: 1,
        object: "Order",
        key: "WEB-1",
        merchant: json!({"Description": "gift"}),
        last: json!({"Status": "Completed", "Description": "gift"}),
    };
    is_not_overtaken(&org, story).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_arrived_is_sent_again_and_what_a_merchant_changed_is_a_person_s_matter() {
    let org = an_org().await;
    make_order(&org, "WEB-1").await;
    let lost = json!({"path": "/composite", "method": "POST", "except": "/sobjects/", "times": 1, "fault": "drop_before"});
    let address = |key, name| change(key, |entry| entry.shipping_address = city(name));
    let shop = Pusher::start(&org, manual());
    let first = address("A-1", "Hobart");
    org.fault(lost.clone()).await;
    shop.accept(first.clone()).await;
    shop.until(&first, WriteState::Waiting, Some("ANSWER_AWAITED"))
        .await;
    shop.pass(&org, HOLD_MILLIS).await;
    shop.until(&first, WriteState::Sent, None).await;
    assert_eq!(
        org.count("Order WHERE External_ID__c = 'WEB-1' AND ShippingCity = 'Hobart'")
            .await,
        1
    );

    let second = address("A-2", "Sydney");
    org.fault(lost).await;
    shop.accept(second.clone()).await;
    shop.until(&second, WriteState::Waiting, Some("ANSWER_AWAITED"))
        .await;
    a_merchant_sets(
        &org,
        "Order",
        "External_ID__c",
        "WEB-1",
        &json!({"ShippingCity": "Darwin"}),
    )
    .await;
    shop.pass(&org, HOLD_MILLIS).await;
    shop.until(&second, WriteState::NeedsAttention, Some("CHANGED_MEANWHILE"))
        .await;
    assert_eq!(
        org.count("Order WHERE External_ID__c = 'WEB-1' AND ShippingCity = 'Darwin'")
            .await,
        1
    );
    shop.end().await;
}

/// A machine whose clock is two days ahead for a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_holds_no_order_up() {
    const DAYS: i64 = 172_800_000;
    let org = an_org().await;
    make_order(&org, "WEB-1").await;
    let shop = Pusher::start(&org, Clock::Moved(std::sync::Arc::default()));
    let address = |key, name| change(key, |entry| entry.shipping_address = city(name));
    let (first, second) = (address("A-1", "Hobart"), address("A-2", "Sydney"));
    shop.set_clock(DAYS);
    org.fault(json!({"path": "/composite", "method": "POST", "fault": "limit_exceeded"}))
        .await;
    shop.accept(first.clone()).await;
    shop.until(&first, WriteState::Waiting, Some("REQUEST_LIMIT_EXCEEDED"))
        .await;
    shop.set_clock(-DAYS);
    let_through(&org).await;
    shop.accept(second.clone()).await;
    for write in [&first, &second] {
        shop.until(write, WriteState::Sent, None).await;
    }
    shop.end().await;
}

/// By a clock that stands still: no wait ends.
#[tokio::test(flavor = "multi_thread")]
async fn what_waited_for_a_login_goes_at_once_when_one_is_accepted() {
    let org = an_org().await;
    make_order(&org, "WEB-1").await;
    let shop = Pusher::start(&org, manual());
    let address = |key, name| change(key, |entry| entry.shipping_address = city(name));
    let (first, second) = (address("A-1", "Hobart"), address("A-2", "Sydney"));
    shop.accept(first.clone()).await;
    shop.until(&first, WriteState::Sent, None).await;
    let refusal = json!({"status": 400, "body": "{\"error\":\"invalid_client\",\"error_description\":\"invalid client credentials\"}"});
    org.fault(json!({"path": "/oauth2/token", "fault": refusal}))
        .await;
    org.end_sessions().await;
    shop.accept(second.clone()).await;
    shop.until(&second, WriteState::Waiting, Some("LOGIN_REFUSED"))
        .await;
    org.no_faults().await;
    assert_eq!(shop.org.take_secrets().await.unwrap(), Taken::New);
    shop.org.limits().await.unwrap();
    eventually("the write is in the org", async || {
        (shop.view(&second).state == WriteState::Sent).then_some(())
    })
    .await;
    shop.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_on_its_way_when_the_process_ended_is_held() {
    let org = an_org().await;
    make_order(&org, "WEB-1").await;
    let address = change("A-1", |entry| entry.shipping_address = city("Hobart"));
    for (first, set) in [
        (
            address,
            "Order WHERE External_ID__c = 'WEB-1' AND ShippingCity = 'Hobart'",
        ),
        (
            customer("P-1", "77"),
            "Contact WHERE External_ID__c = 'C-7' AND Phone = '77'",
        ),
    ] {
        let shop = Pusher::start(&org, manual());
        let answered_late = json!({"path": "/composite", "method": "POST", "except": "/sobjects/", "fault": {"delay_ms": 600_000}});
        org.fault(answered_late).await;
        shop.accept(first.clone()).await;
        eventually("it is done, and the answer is on its way", async || {
            (org.count(set).await == 1).then_some(())
        })
        .await;
        let shop = shop.killed(&org).await;
        org.no_faults().await;
        eventually("it is held", async || {
            shop.set_clock(20);
            let view = shop.view(&first);
            assert_ne!(view.state, WriteState::Sent);
            view.problem?.message.contains("INTERRUPTED").then_some(())
        })
        .await;
        shop.pass(&org, HOLD_MILLIS).await;
        shop.until(&first, WriteState::Sent, None).await;
        assert_eq!(org.count(set).await, 1, "{set}");
        shop.end().await;
    }
}
