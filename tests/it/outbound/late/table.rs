//! Every kind of write, held on its way for 10, 60 and 150 seconds and then let through, with a later write of the same
//! lane and a merchant's edits between: the org ends with what was meant last, and no edit is undone.

use serde_json::{Value, json};
use storesync::model::order::{Address, Customer, Decimal, Line, Payment, Placed};
use storesync::model::state::WriteState;
use storesync::model::write::{Answer, Entry, Kind, Write};

use super::super::pusher::{Pusher, manual};
use super::{HOLD_MILLIS, a_merchant_sets, a_price, an_org_with, hold, let_through, make_order};
use crate::world::{Sandbox, eventually};

/// What a request does that arrives a second time.
#[derive(Clone, Copy, PartialEq)]
enum Again {
    /// It makes a record under a key, so that it is sent again at once and the late one is refused.
    Fails,
    /// It sets values, so that it and its lane wait for it.
    Overwrites,
}

/// Values that a record has in the end, or that a merchant gives it: object, key and fields.
type Values = (&'static str, String, Value);

struct Case {
    name: &'static str,
    again: Again,
    first: Write,
    second: Write,
    /// Requests of the first write before the one that is held.
    skip: u32,
    /// What a merchant sets before the held request arrives, and after it.
    before: Vec<Values>,
    after: Vec<Values>,
    last: Vec<Values>,
}

/// What the org has before anything is written: ids that writes name.
struct Ids {
    price: String,
    pricebook: String,
    campaign: String,
    form: String,
    product: String,
}

impl Ids {
    async fn of(org: &Sandbox) -> Self {
        let (price, pricebook) = a_price(org).await;
        Self {
            price,
            pricebook,
            campaign: org.create("Campaign", json!({"Name": "News"})).await,
            form: org.some("s_c__Form__c", "").await,
            product: org.some("Product2", "WHERE IsActive = true").await,
        }
    }
}

/// The keys of one case's customer and order.
struct Keys {
    customer: String,
    order: String,
    own: String,
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn person(keys: &Keys, phone: &str, first_name: Option<&str>) -> Customer {
    Customer {
        external_id: Some(keys.customer.clone()),
        first_name: first_name.map(str::to_owned),
        last_name: text("Lee"),
        phone: text(phone),
        ..Customer::default()
    }
}

fn address(street: Option<&str>, city: &str) -> Option<Address> {
    Some(Address {
        street: street.map(str::to_owned),
        city: text(city),
        ..Address::default()
    })
}

/// The org's only one.
const STORE: &str = "a00Sb0000000001IAA";

fn entry(kind: Kind, key: String, fill: impl FnOnce(&mut Entry)) -> Write {
    let mut entry = Entry {
        external_id: key,
        store_id: STORE.to_owned(),
        ..Entry::default()
    };
    fill(&mut entry);
    Write::Entry(kind, entry)
}

fn update(keys: &Keys, suffix: &str, fill: impl FnOnce(&mut Entry)) -> Write {
    entry(Kind::OrderUpdate, format!("{}/{suffix}", keys.own), |entry| {
        entry.order = Some(keys.order.clone());
        fill(entry);
    })
}

fn cancel(keys: &Keys, suffix: &str) -> Write {
    update(keys, suffix, |entry| {
        entry.values.insert("cancelled".to_owned(), json!(true));
    })
}

fn phone_of(keys: &Keys, suffix: &str, phone: &str, first_name: Option<&str>) -> Write {
    entry(Kind::Customer, format!("{}/{suffix}", keys.own), |entry| {
        entry.customer = Some(person(keys, phone, first_name));
    })
}

fn order(ids: &Ids, keys: &Keys, lines: usize) -> Write {
    let line = Line {
        pricebook_entry_id: ids.price.clone(),
        quantity: Decimal::ONE,
        unit_price: Decimal::parse("5").unwrap(),
        ..Line::default()
    };
    Write::Order(Placed {
        external_id: keys.order.clone(),
        store_id: STORE.to_owned(),
        pricebook_id: ids.pricebook.clone(),
        effective_date: "2026-11-22".to_owned(),
        customer: person(keys, "+61 1", text("Mia").as_deref()),
        shipping_address: address(Some("1 High St"), "Hobart"),
        lines: vec![line; lines],
        ..Placed::default()
    })
}

/// A kind that makes a record for a customer: the customer's phone is changed by it and by the write after it.
fn for_a_customer(
    name: &'static str,
    kind: Kind,
    keys: &Keys,
    (object, field, merchant): (&'static str, &'static str, Value),
    fill: impl FnOnce(&mut Entry),
) -> Case {
    let own = || keys.own.clone();
    let edits = vec![
        (object, own(), json!({ field: merchant })),
        ("Contact", keys.customer.clone(), json!({"FirstName": "Dr Mia"})),
    ];
    let mut last = edits.clone();
    last.push(("Contact", keys.customer.clone(), json!({"Phone": "+61 2"})));
    Case {
        name,
        again: Again::Fails,
        first: entry(kind, own(), |entry| {
            entry.customer = Some(person(keys, "+61 1", Some("Mia")));
            fill(entry);
        }),
        second: phone_of(keys, "2", "+61 2", None),
        skip: 0,
        before: edits,
        after: Vec::new(),
        last,
    }
}

fn an_order(ids: &Ids, whole: &Keys) -> Case {
    let edits = vec![
        (
            "Order",
            whole.order.clone(),
            json!({"ShippingStreet": "2 Low St"}),
        ),
        ("Contact", whole.customer.clone(), json!({"Phone": "+61 9"})),
    ];
    let mut last = edits.clone();
    last.push(("Order", whole.order.clone(), json!({"ShippingCity": "Sydney"})));
    Case {
        name: "order",
        again: Again::Fails,
        first: order(ids, whole, 2),
        second: update(whole, "2", |entry| {
            entry.shipping_address = address(None, "Sydney")
        }),
        skip: 0,
        before: edits,
        after: Vec::new(),
        last,
    }
}

fn a_lead(lead_keys: &Keys) -> Case {
    let lead_edit = vec![("Lead", lead_keys.own.clone(), json!({"City": "Darwin"}))];
    Case {
        name: "lead",
        again: Again::Fails,
        first: entry(Kind::Lead, lead_keys.own.clone(), |entry| {
            entry.values.insert("last_name".to_owned(), json!("Lee"));
            entry.shipping_address = address(None, "Hobart");
        }),
        second: phone_of(lead_keys, "2", "+61 2", None),
        skip: 0,
        before: lead_edit.clone(),
        after: Vec::new(),
        last: lead_edit,
    }
}

/// A payment that is a row of its own.
fn a_payment(keys: &Keys) -> Case {
    let first = payment(keys, "1", "pi_1");
    let edits = vec![(
        "s_c__Payment__c",
        first.external_id().to_owned(),
        json!({"s_c__Status__c": "Failed"}),
    )];
    let mut last = edits.clone();
    last.push(("Order", keys.order.clone(), json!({"ShippingCity": "Sydney"})));
    Case {
        name: "payment row",
        again: Again::Fails,
        first,
        second: city(keys, "2", None, "Sydney"),
        skip: 0,
        before: edits,
        after: Vec::new(),
        last,
    }
}

/// The kinds that make records under keys.
fn keyed(ids: &Ids, keys: impl Fn(&str) -> Keys) -> Vec<Case> {
    let set = |entry: &mut Entry, values: &[(&str, &str)]| {
        for (name, value) in values {
            entry.values.insert((*name).to_owned(), json!(value));
        }
    };
    vec![
        an_order(ids, &keys("order")),
        a_lead(&keys("lead")),
        a_payment(&keys("row")),
        for_a_customer(
            "case",
            Kind::Case,
            &keys("case"),
            ("Case", "Subject", json!("Lost")),
            |entry| {
                set(entry, &[("subject", "Late")]);
            },
        ),
        for_a_customer(
            "campaign member",
            Kind::CampaignMember,
            &keys("member"),
            ("CampaignMember", "Status", json!("Responded")),
            |entry| set(entry, &[("campaign_id", &ids.campaign), ("status", "Sent")]),
        ),
        for_a_customer(
            "asset",
            Kind::Asset,
            &keys("asset"),
            ("Asset", "SerialNumber", json!("7")),
            |entry| {
                set(
                    entry,
                    &[
                        ("name", "Drill"),
                        ("product_id", &ids.product),
                        ("serial_number", "1"),
                    ],
                )
            },
        ),
        for_a_customer(
            "form submission",
            Kind::FormSubmission,
            &keys("form"),
            ("s_c__Form_Submission__c", "Name", json!("Seen")),
            |entry| {
                set(entry, &[("form_id", &ids.form)]);
                entry.answers = vec![Answer {
                    question_id: None,
                    question: text("Why?"),
                    answer: "so".to_owned(),
                }];
            },
        ),
    ]
}

/// Writes that change an order; a merchant sets `before` and `after`.
fn on_order(
    name: &'static str,
    keys: &Keys,
    (first, second): (Write, Write),
    [before, after, mut last]: [Value; 3],
) -> Case {
    let key = || keys.order.clone();
    for edit in [&before, &after] {
        for (field, value) in edit.as_object().unwrap() {
            last[field] = value.clone();
        }
    }
    let edits = |edit: Value| match edit.as_object().is_none_or(serde_json::Map::is_empty) {
        true => Vec::new(),
        false => vec![("Order", key(), edit)],
    };
    Case {
        name,
        again: Again::Overwrites,
        first,
        second,
        skip: 0,
        before: edits(before),
        after: edits(after),
        last: vec![("Order", key(), last)],
    }
}

/// Two changes of a customer's phone; a merchant has other ideas of the first name.
fn on_contact(name: &'static str, keys: &Keys, is_there: bool) -> Case {
    let edit = |fields: Value| vec![("Contact", keys.customer.clone(), fields)];
    let mut last = json!({"Phone": "+61 2", "FirstName": "Dr Mia"});
    let mut before = Vec::new();
    if is_there {
        before = edit(json!({"Title": "Prof"}));
        last["Title"] = json!("Prof");
    }
    Case {
        name,
        again: Again::Overwrites,
        first: phone_of(keys, "1", "+61 1", Some("Mia")),
        second: phone_of(keys, "2", "+61 2", None),
        skip: 0,
        before,
        after: edit(json!({"FirstName": "Dr Mia"})),
        last: edit(last),
    }
}

fn payment(keys: &Keys, suffix: &str, reference: &str) -> Write {
    update(keys, suffix, |entry| {
        entry.payment = Some(Payment {
            reference: reference.to_owned(),
            amount: None,
            method: None,
            status: None,
            paid_at: None,
        });
    })
}

fn city(keys: &Keys, suffix: &str, street: Option<&str>, city: &str) -> Write {
    update(keys, suffix, |entry| {
        entry.shipping_address = address(street, city)
    })
}

/// The kinds that set values.
fn overwriting(ids: &Ids, keys: impl Fn(&str) -> Keys) -> Vec<Case> {
    let gift = || json!({"Description": "gift"});
    let (to, of, paid, long) = (keys("address"), keys("cancel"), keys("payment"), keys("status"));
    let status = Case {
        skip: 1,
        ..on_order(
            "status",
            &long,
            (order(ids, &long, 30), cancel(&long, "2")),
            [json!({"PoNumber": "7"}), gift(), json!({"Status": "Completed"})],
        )
    };
    vec![
        on_order(
            "address",
            &to,
            (
                city(&to, "1", Some("1 High St"), "Hobart"),
                city(&to, "2", None, "Sydney"),
            ),
            [
                gift(),
                json!({"ShippingStreet": "2 Low St"}),
                json!({"ShippingCity": "Sydney"}),
            ],
        ),
        on_order(
            "cancellation",
            &of,
            (cancel(&of, "1"), city(&of, "2", None, "Sydney")),
            [
                gift(),
                json!({"Status": "Draft"}),
                json!({"ShippingCity": "Sydney"}),
            ],
        ),
        on_order(
            "payment",
            &paid,
            (payment(&paid, "1", "pi_1"), payment(&paid, "2", "pi_2")),
            [gift(), json!({}), json!({"OrderReferenceNumber": "pi_2"})],
        ),
        status,
        on_contact("customer", &keys("known"), true),
        on_contact("new customer", &keys("new"), false),
    ]
}

/// The records that a case's writes are about, as the org has them before.
async fn prepare(org: &Sandbox, case: &Case, keys: &Keys) {
    if !matches!(case.name, "order" | "status") {
        make_order(org, &keys.order).await;
    }
    if !matches!(case.name, "new customer" | "lead") {
        let fields = json!({"Name": "Lee", "External_ID__c": keys.customer});
        let account = org.create("Account", fields).await;
        let fields =
            json!({"AccountId": account, "External_ID__c": keys.customer, "LastName": "Lee", "Phone": "0"});
        org.create("Contact", fields).await;
    }
}

/// The key field of an object.
fn key_field(object: &str) -> &'static str {
    if object.starts_with("s_c__") {
        "s_c__sC_Id__c"
    } else {
        "External_ID__c"
    }
}

async fn sets(org: &Sandbox, edits: &[Values]) {
    for (object, key, fields) in edits {
        a_merchant_sets(org, object, key_field(object), key, fields).await;
    }
}

async fn has(org: &Sandbox, case: &Case, seconds: i64) {
    for (object, key, fields) in &case.last {
        let names: Vec<&str> = fields.as_object().unwrap().keys().map(String::as_str).collect();
        let soql = format!(
            "SELECT {} FROM {object} WHERE {} = '{key}'",
            names.join(", "),
            key_field(object)
        );
        let rows = org.query(&soql).await;
        assert_eq!(rows.len(), 1, "{} after {seconds} s: {object} {key}", case.name);
        assert_eq!(
            json!(rows[0]),
            *fields,
            "{} after {seconds} s: {object} {key}",
            case.name
        );
    }
}

/// Waits until a request is held at the org.
async fn is_held(org: &Sandbox) {
    let url = format!("{}/sandbox/faults", org.env["SANDBOX_HTTP"]);
    eventually("a request is held", async || {
        let told: Value = org.http.get(&url).send().await.ok()?.json().await.ok()?;
        (told["pending"] == 1).then_some(())
    })
    .await;
}

async fn is_held_and_let_through(org: &Sandbox, shop: &Pusher, case: &Case, seconds: i64) {
    hold(org, case.skip).await;
    shop.accept(case.first.clone()).await;
    is_held(org).await;
    if case.again == Again::Fails {
        shop.until(&case.first, WriteState::Sent, None).await;
        shop.accept(case.second.clone()).await;
        shop.until(&case.second, WriteState::Sent, None).await;
        sets(org, &case.before).await;
        shop.pass(org, seconds * 1_000).await;
        let_through(org).await;
    } else {
        shop.until(&case.first, WriteState::Waiting, Some("ANSWER_AWAITED"))
            .await;
        shop.accept(case.second.clone()).await;
        sets(org, &case.before).await;
        shop.pass(org, seconds * 1_000).await;
        assert_eq!(shop.view(&case.second).state, WriteState::Queued, "{}", case.name);
        let_through(org).await;
        sets(org, &case.after).await;
        shop.pass(org, HOLD_MILLIS - seconds * 1_000).await;
        shop.until(&case.second, WriteState::Sent, None).await;
    }
    has(org, case, seconds).await;
}

/// How many cases are tried.
async fn all_kinds(org: &Sandbox, seconds: i64, make: impl Fn(&Ids, &dyn Fn(&str) -> Keys) -> Vec<Case>) {
    let ids = Ids::of(org).await;
    let keys = |name: &str| Keys {
        customer: format!("C-{name}"),
        order: format!("O-{name}"),
        own: format!("W-{name}"),
    };
    let cases = make(&ids, &keys);
    let shop = Pusher::start(org, manual());
    for case in &cases {
        let name = case.first.external_id().trim_start_matches(['W', 'O', '-']);
        let name = name.split('/').next().unwrap();
        prepare(org, case, &keys(name)).await;
        is_held_and_let_through(org, &shop, case, seconds).await;
    }
    let kinds = cases.len();
    println!("{kinds} kinds of write were held for {seconds} s");
    shop.end().await;
}

macro_rules! table {
    ($settings:expr; $($name:ident: $make:ident $seconds:literal,)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let org = an_org_with($settings).await;
            all_kinds(&org, $seconds, |ids, keys| $make(ids, keys)).await;
        }
    )*};
}

table! {
    "profile = \"storeconnect\"";
    what_makes_records_is_not_made_twice_after_10_s: keyed 10,
    what_makes_records_is_not_made_twice_after_60_s: keyed 60,
    what_makes_records_is_not_made_twice_after_150_s: keyed 150,
}

table! {
    "profile = \"standard\"";
    what_sets_values_does_not_undo_later_ones_after_10_s: overwriting 10,
    what_sets_values_does_not_undo_later_ones_after_60_s: overwriting 60,
    what_sets_values_does_not_undo_later_ones_after_150_s: overwriting 150,
}
