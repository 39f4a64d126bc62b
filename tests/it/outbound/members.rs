//! Every member that the document declares of an order, a customer and what changes them: its value is in a record of the
//! org, or an answer names the member and says what to configure. Nothing is dropped without a word.

mod kinds;

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::configure;
use crate::world::{Daemon, Row, Sandbox, a_store, eventually, order};

/// It chooses the price book, and is no value of a record.
const CHOICES: [&str; 1] = ["membership"];

/// The members of a body as the document declares them: `items[].tax`.
fn declared(document: &Value, schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    let named = schema["$ref"].as_str();
    let schema = named.map_or(schema, |name| {
        document.pointer(name.trim_start_matches('#')).unwrap()
    });
    if schema["type"] == "array"
        && schema["items"]["$ref"].is_null()
        && schema["items"]["properties"].is_null()
    {
        found.insert(path.to_owned());
    } else if schema["type"] == "array" {
        declared(document, &schema["items"], &format!("{path}[]"), found);
    } else if let Some(properties) = schema["properties"].as_object() {
        for (name, schema) in properties {
            declared(
                document,
                schema,
                format!("{path}.{name}").trim_start_matches('.'),
                found,
            );
        }
    } else {
        found.insert(path.to_owned());
    }
}

/// The members that a body has, called as the document calls them.
fn sent(body: &Value, path: &str, found: &mut BTreeSet<String>) {
    match body {
        Value::Object(members) if !path.ends_with("fields") => {
            for (name, value) in members {
                sent(value, format!("{path}.{name}").trim_start_matches('.'), found);
            }
        }
        Value::Array(values) => values
            .iter()
            .for_each(|value| sent(value, &format!("{path}[]"), found)),
        _ => drop(found.insert(path.to_owned())),
    }
}

/// Takes out what a problem names: `items[0].tax`.
fn without(body: &mut Value, member: &str) {
    let pointer = format!("/{}", member.replace('[', ".").replace(']', "").replace('.', "/"));
    let (whole, last) = pointer.rsplit_once('/').unwrap();
    let taken = match body.pointer_mut(whole).unwrap() {
        Value::Object(members) => members.remove(last),
        Value::Array(values) => Some(values.remove(last.parse().unwrap())),
        other => panic!("{member} is in {other}"),
    };
    assert!(taken.is_some(), "{member} was named and not sent");
}

/// Where one member's value may be: any of these fields, `Object.Field`.
type Places = Vec<(&'static str, Value, &'static [&'static str])>;

/// One body, where it is sent, and where its values are looked for.
struct Case {
    method: Method,
    path: String,
    body: Value,
    places: Places,
}

/// A shop and the org behind it.
struct Shop<'w> {
    org: &'w Sandbox,
    daemon: &'w Daemon,
    /// `Object.Field` that the org has not.
    hidden: BTreeSet<String>,
    seen: BTreeSet<String>,
    sends: usize,
}

impl<'w> Shop<'w> {
    fn of(org: &'w Sandbox, daemon: &'w Daemon) -> Self {
        Self {
            org,
            daemon,
            hidden: BTreeSet::new(),
            seen: BTreeSet::new(),
            sends: 0,
        }
    }

    /// Sends a body, without what is named as having no place, until it is taken and in the org. Each member was named, or
    /// is there.
    async fn send(&mut self, case: Case, records: &[(&str, String)]) {
        let Case {
            method,
            path,
            mut body,
            places,
        } = case;
        let mut members = BTreeSet::new();
        sent(&body, "", &mut members);
        let mut named: Vec<String> = Vec::new();
        let told = loop {
            self.sends += 1;
            let key = format!("M-{}", self.sends);
            let (status, told) = self
                .daemon
                .send(method.clone(), &self.daemon.api, &path, Some(&key), &body)
                .await;
            if status == 202 {
                break told;
            }
            let (field, detail) = (told["field"].as_str(), told["detail"].as_str());
            let (Some(field), Some(detail)) = (field, detail) else {
                panic!("{path}: {told} {body}")
            };
            let helps = detail.contains("orders.") || detail.contains("leave it out");
            assert!(status == 422 && helps && named.len() < 60, "{path}: {told}");
            without(&mut body, field);
            named.push(field.replace(|c: char| c.is_ascii_digit(), ""));
        };
        let url = told["status_url"].as_str().unwrap();
        let told = self
            .daemon
            .until(url, &["sent", "confirmed", "needs_attention"])
            .await;
        assert_ne!(told["state"], "needs_attention", "{path}: {told} {body}");
        let there = self.there(&places, records).await;
        for member in &members {
            let is_named = named.iter().any(|name| {
                member
                    .strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            });
            let is_there = there.contains(member.as_str());
            assert!(
                is_named || is_there || CHOICES.contains(&member.as_str()),
                "{member} of {path} is in no record and was not named; {named:?} {body}"
            );
        }
        self.seen.extend(members);
    }

    /// The members whose values are in a record.
    async fn there(&self, places: &Places, records: &[(&str, String)]) -> BTreeSet<&'static str> {
        let mut there = BTreeSet::new();
        for (object, condition) in records {
            let of_object = |place: &str| place.strip_prefix(&format!("{object}.")).map(str::to_owned);
            let fields: BTreeSet<String> = places
                .iter()
                .flat_map(|(_, _, fields)| fields.iter().filter_map(|place| of_object(place)))
                .collect();
            if fields.is_empty() {
                continue;
            }
            let fields: Vec<String> = fields
                .into_iter()
                .filter(|field| !self.hidden.contains(&format!("{object}.{field}")))
                .collect();
            let rows = self
                .org
                .query(&format!(
                    "SELECT {} FROM {object} WHERE {condition}",
                    fields.join(", ")
                ))
                .await;
            for (member, value, fields) in places {
                let mut fields = fields.iter().filter_map(|place| of_object(place));
                if fields.any(|field| {
                    rows.iter()
                        .any(|row| row.get(&field).is_some_and(|there| same(there, value)))
                }) {
                    there.insert(*member);
                }
            }
        }
        there
    }
}

fn same(there: &Value, sent: &Value) -> bool {
    match (there, sent) {
        (Value::Number(there), Value::String(sent)) => sent.parse::<f64>().ok() == there.as_f64(),
        (Value::Number(there), Value::Number(sent)) => there.as_f64() == sent.as_f64(),
        (Value::String(there), Value::String(sent)) => {
            there == sent || there.starts_with(&sent[..sent.len() - 1]) && sent.ends_with('Z')
        }
        (there, sent) => there == sent,
    }
}

const SHIPPING: [&str; 5] = ["1 Long Lane", "Hobart", "Tasmania", "7000", "Australia"];
const BILLING: [&str; 5] = ["2 Short St", "Perth", "Western", "6000", "New Zealand"];

fn address(parts: [&str; 5]) -> Value {
    json!({"street": parts[0], "city": parts[1], "state": parts[2], "postal_code": parts[3], "country": parts[4]})
}

/// Where both addresses of an order are.
fn addresses(places: &mut Places) {
    let members: [(
        &'static str,
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
    ); 5] = [
        (
            "shipping_address.street",
            "billing_address.street",
            &["Order.ShippingStreet"],
            &["Order.BillingStreet"],
        ),
        (
            "shipping_address.city",
            "billing_address.city",
            &["Order.ShippingCity"],
            &["Order.BillingCity"],
        ),
        (
            "shipping_address.state",
            "billing_address.state",
            &["Order.ShippingState"],
            &["Order.BillingState"],
        ),
        (
            "shipping_address.postal_code",
            "billing_address.postal_code",
            &["Order.ShippingPostalCode"],
            &["Order.BillingPostalCode"],
        ),
        (
            "shipping_address.country",
            "billing_address.country",
            &["Order.ShippingCountry"],
            &["Order.BillingCountry"],
        ),
    ];
    for (at, (shipping, billing, to, from)) in members.into_iter().enumerate() {
        places.push((shipping, json!(SHIPPING[at]), to));
        places.push((billing, json!(BILLING[at]), from));
    }
}

/// What the org has that orders name.
struct Stock {
    store: String,
    currency: String,
    products: Vec<Row>,
    shipping: Row,
    discount: Row,
    promotion: Row,
    location: String,
    contact: String,
    day: String,
}

impl Stock {
    async fn of(org: &Sandbox, daemon: &Daemon) -> Self {
        let (store, currency, ids) = a_store(daemon).await;
        let book = org
            .query(&format!(
                "SELECT s_c__Pricebook_Id__c FROM s_c__Store__c WHERE Id = '{store}'"
            ))
            .await;
        let book = book[0]["s_c__Pricebook_Id__c"].as_str().unwrap().to_owned();
        let mut products = Vec::new();
        for id in &ids[..3] {
            let of =
                format!("Product2Id = '{id}' AND Pricebook2Id = '{book}' AND CurrencyIsoCode = '{currency}'");
            let mut rows = org
                .query(&format!(
                    "SELECT Id, Product2Id, Product2.ProductCode FROM PricebookEntry WHERE {of}"
                ))
                .await;
            products.push(rows.remove(0));
        }
        let promotion = org
            .query("SELECT Id, s_c__Coupon_Code__c FROM s_c__Promotion2__c WHERE s_c__Coupon_Code__c != null")
            .await
            .remove(0);
        let counter = org
            .query("SELECT s_c__Stock_Location_Id__c FROM s_c__Collection_Point__c")
            .await;
        let contact = org
            .some("Contact", "WHERE Email != null AND AccountId != null")
            .await;
        // Of the order that is made first, which has the store's own day.
        let first = order("DAY", &currency, &[(&ids[0], 1)]);
        super::accepted(daemon, &store, &first).await;
        let day = eventually("the order is in the org", async || {
            let rows = org
                .query("SELECT EffectiveDate FROM Order WHERE External_ID__c = 'DAY'")
                .await;
            rows.first()?["EffectiveDate"].as_str().map(str::to_owned)
        })
        .await;
        Self {
            store,
            currency,
            discount: products.pop().unwrap(),
            shipping: products.pop().unwrap(),
            products,
            promotion,
            location: counter[0]["s_c__Stock_Location_Id__c"]
                .as_str()
                .unwrap()
                .to_owned(),
            contact,
            day,
        }
    }
}

/// The name of a product: as a member and as a value.
fn names(entry: &Row) -> [(&'static str, Value); 3] {
    [
        ("product_id", entry["Product2Id"].clone()),
        ("product_code", entry["Product2"]["ProductCode"].clone()),
        ("pricebook_entry_id", entry["Id"].clone()),
    ]
}

/// The records of an order and of its customer.
fn of_order(key: &str, contact: &str) -> Vec<(&'static str, String)> {
    let of = |object: &'static str| {
        (
            object,
            format!("s_c__Order_Id__c IN (SELECT Id FROM Order WHERE External_ID__c = '{key}')"),
        )
    };
    vec![
        ("Order", format!("External_ID__c = '{key}'")),
        ("OrderItem", format!("Order.External_ID__c = '{key}'")),
        ("Contact", contact.to_owned()),
        ("Account", format!("External_ID__c = 'ACME-{key}'")),
        of("s_c__Shipment__c"),
        of("s_c__Promotion2_Usage__c"),
        of("s_c__Payment__c"),
    ]
}

/// An order with all members but those that name products and people in another way.
fn whole(stock: &Stock) -> Case {
    let key = "ALL";
    let body = json!({
        "external_id": key, "order_date": stock.day, "currency": stock.currency,
        "customer": {"external_id": "C-ALL", "email": "all@example.com", "first_name": "Alma", "last_name": "Allen",
            "phone": "+61 3 5550 0001", "company": "Allen Teas", "account_external_id": "ACME-ALL"},
        "shipping_address": address(SHIPPING), "billing_address": address(BILLING),
        "items": [{"product_id": stock.products[0]["Product2Id"], "quantity": 3, "unit_price": "21.07", "tax": "1.03",
            "discount": "0.31", "fields": {"Engraving__c": "For Ana"}}],
        "tax": "1.09", "shipping": {"amount": "9.95", "label": "By drone", "stock_location_id": stock.location},
        "discounts": [{"amount": "0.47", "label": "Spring", "promotion_id": stock.promotion["Id"],
            "coupon": stock.promotion["s_c__Coupon_Code__c"]}],
        "payments": [{"reference": "pi_all", "amount": "12.34", "method": "Stripe", "status": "paid",
            "paid_at": "2026-11-22T09:30:00Z"}],
        "fields": {"PoNumber": "PO-ALL"}
    });
    let mut places = of_the_order_and_its_customer(stock, key);
    places.extend(of_its_items(stock));
    places.extend(of_its_charges(stock));
    places.extend(of_its_payments());
    addresses(&mut places);
    Case {
        method: Method::POST,
        path: format!("/v1/stores/{}/orders", stock.store),
        body,
        places,
    }
}

fn of_the_order_and_its_customer(stock: &Stock, key: &str) -> Places {
    vec![
        ("external_id", json!(key), &["Order.External_ID__c"]),
        ("fields", json!("PO-ALL"), &["Order.PoNumber"]),
        ("tax", json!("1.09"), &["Order.Tax__c"]),
        ("order_date", json!(stock.day), &["Order.EffectiveDate"]),
        ("currency", json!(stock.currency), &["Order.CurrencyIsoCode"]),
        (
            "customer.external_id",
            json!("C-ALL"),
            &["Contact.External_ID__c"],
        ),
        ("customer.email", json!("all@example.com"), &["Contact.Email"]),
        ("customer.first_name", json!("Alma"), &["Contact.FirstName"]),
        ("customer.last_name", json!("Allen"), &["Contact.LastName"]),
        ("customer.phone", json!("+61 3 5550 0001"), &["Contact.Phone"]),
        ("customer.company", json!("Allen Teas"), &["Account.Name"]),
        (
            "customer.account_external_id",
            json!("ACME-ALL"),
            &["Account.External_ID__c"],
        ),
    ]
}

fn of_its_items(stock: &Stock) -> Places {
    vec![
        (
            "items[].product_id",
            stock.products[0]["Product2Id"].clone(),
            &["OrderItem.Product2Id"],
        ),
        ("items[].quantity", json!(3), &["OrderItem.Quantity"]),
        ("items[].unit_price", json!("21.07"), &["OrderItem.UnitPrice"]),
        (
            "items[].tax",
            json!("1.03"),
            &["OrderItem.s_c__Tax_Amount__c", "OrderItem.Tax__c"],
        ),
        (
            "items[].discount",
            json!("0.31"),
            &["OrderItem.s_c__Total_of_Discounts__c", "OrderItem.Saved__c"],
        ),
        ("items[].fields", json!("For Ana"), &["OrderItem.Engraving__c"]),
    ]
}

fn of_its_charges(stock: &Stock) -> Places {
    vec![
        (
            "shipping.amount",
            json!("9.95"),
            &[
                "s_c__Shipment__c.s_c__Charge__c",
                "Order.Freight__c",
                "OrderItem.UnitPrice",
            ],
        ),
        (
            "shipping.label",
            json!("By drone"),
            &[
                "s_c__Shipment__c.s_c__Provider_Service__c",
                "OrderItem.Description",
            ],
        ),
        (
            "shipping.stock_location_id",
            json!(stock.location),
            &["s_c__Shipment__c.s_c__Stock_Location_Id__c"],
        ),
        (
            "discounts[].amount",
            json!("0.47"),
            &["s_c__Promotion2_Usage__c.s_c__Total_Value__c", "Order.Saved__c"],
        ),
        ("discounts[].amount", json!("-0.47"), &["OrderItem.UnitPrice"]),
        ("discounts[].label", json!("Spring"), &["OrderItem.Description"]),
        (
            "discounts[].promotion_id",
            stock.promotion["Id"].clone(),
            &["s_c__Promotion2_Usage__c.s_c__Promotion2_Id__c"],
        ),
        // The promotion is the coupon's.
        (
            "discounts[].coupon",
            stock.promotion["Id"].clone(),
            &["s_c__Promotion2_Usage__c.s_c__Promotion2_Id__c"],
        ),
        (
            "discounts[].coupon",
            stock.promotion["s_c__Coupon_Code__c"].clone(),
            &["Order.Coupons__c"],
        ),
    ]
}

fn of_its_payments() -> Places {
    vec![
        (
            "payments[].reference",
            json!("pi_all"),
            &[
                "s_c__Payment__c.s_c__Transaction_Number__c",
                "Order.OrderReferenceNumber",
            ],
        ),
        (
            "payments[].amount",
            json!("12.34"),
            &["s_c__Payment__c.s_c__Amount__c"],
        ),
        (
            "payments[].method",
            json!("Stripe"),
            &["s_c__Payment__c.s_c__Method__c"],
        ),
        (
            "payments[].status",
            json!("paid"),
            &["s_c__Payment__c.s_c__Status__c"],
        ),
        (
            "payments[].paid_at",
            json!("2026-11-22T09:30:00Z"),
            &["s_c__Payment__c.s_c__Paid_At__c"],
        ),
    ]
}

/// Orders that name products in each of the ways, for a contact of the org.
fn naming(stock: &Stock) -> Vec<(String, Case)> {
    let mut cases = Vec::new();
    for at in 0..3 {
        let key = format!("WAY-{at}");
        let of = |entry: &Row| names(entry)[at].clone();
        let (item, shipping, discount) = (of(&stock.products[0]), of(&stock.shipping), of(&stock.discount));
        let mut body = json!({"external_id": key, "customer": {"salesforce_id": stock.contact},
            "items": [{"quantity": 1, "unit_price": "30"}], "shipping": {"amount": "1.11"}, "discounts": [{"amount": "0.22"}]});
        body["items"][0][item.0] = item.1;
        body["shipping"][shipping.0] = shipping.1;
        body["discounts"][0][discount.0] = discount.1;
        let member =
            |whole: &str| -> &'static str { Box::leak(format!("{whole}{}", item.0).into_boxed_str()) };
        let places: Places = vec![
            ("external_id", json!(key), &["Order.External_ID__c"]),
            (
                "customer.salesforce_id",
                json!(stock.contact),
                &["Order.BillToContactId"],
            ),
            ("items[].quantity", json!(1), &["OrderItem.Quantity"]),
            ("items[].unit_price", json!(30), &["OrderItem.UnitPrice"]),
            (
                member("items[]."),
                stock.products[0]["Product2Id"].clone(),
                &["OrderItem.Product2Id"],
            ),
            (
                "shipping.amount",
                json!("1.11"),
                &[
                    "s_c__Shipment__c.s_c__Charge__c",
                    "Order.Freight__c",
                    "OrderItem.UnitPrice",
                ],
            ),
            (
                member("shipping."),
                stock.shipping["Product2Id"].clone(),
                &["OrderItem.Product2Id"],
            ),
            ("discounts[].amount", json!("0.22"), &["Order.Saved__c"]),
            ("discounts[].amount", json!("-0.22"), &["OrderItem.UnitPrice"]),
            (
                member("discounts[]."),
                stock.discount["Product2Id"].clone(),
                &["OrderItem.Product2Id"],
            ),
        ];
        let path = format!("/v1/stores/{}/orders", stock.store);
        cases.push((
            key,
            Case {
                method: Method::POST,
                path,
                body,
                places,
            },
        ));
    }
    cases
}

/// An org with fields that a shop may set.
async fn an_org() -> Sandbox {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    for (object, name, kind) in [
        ("Order", "Tax__c", "Currency 16,2"),
        ("Order", "Freight__c", "Currency 16,2"),
        ("Order", "Saved__c", "Currency 16,2"),
        ("Order", "Coupons__c", "Text 80"),
        ("OrderItem", "Tax__c", "Currency 16,2"),
        ("OrderItem", "Saved__c", "Currency 16,2"),
        ("OrderItem", "Engraving__c", "Text 20"),
        ("Contact", "Nick__c", "Text 20"),
    ] {
        org.control(
            "schema",
            json!({"add": {"object": object, "name": name, "type": kind}}),
        )
        .await;
    }
    org
}

const FIELDS: &str =
    "fields = { \"*\" = [\"Order.PoNumber\", \"OrderItem.Engraving__c\", \"Contact.Nick__c\"] }";

async fn the_document(daemon: &Daemon) -> Value {
    daemon.get("/openapi.json").await.unwrap().1
}

fn of_schema(document: &Value, name: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let schema = &document["components"]["schemas"][name];
    assert!(schema["properties"].is_object(), "{name}");
    declared(document, schema, "", &mut all);
    all
}

/// All members of orders, by a configuration. The org has none of the hidden fields.
async fn orders_by(configuration: &str, hidden: &[(&str, &str)], stand_ins: bool) {
    let org = an_org().await;
    for (object, name) in hidden {
        org.control("schema", json!({"remove": {"object": object, "name": name}}))
            .await;
    }
    let gone = hidden.iter().map(|(object, name)| format!("{object}.{name}"));
    let plain = org.daemon().await;
    plain.live().await;
    let stock = Stock::of(&org, &plain).await;
    drop(plain);
    // What was seen for another configuration.
    std::fs::remove_file(org.state().join("objects.json")).unwrap();
    let code = |entry: &Row| entry["Product2"]["ProductCode"].as_str().unwrap().to_owned();
    let products = format!(
        "shipping_product = \"{}\"\ndiscount_product = \"{}\"",
        code(&stock.shipping),
        code(&stock.discount)
    );
    let products = if stand_ins { products.as_str() } else { "" };
    configure(&org, &format!("[orders]\n{configuration}\n{FIELDS}\n{products}"));
    let daemon = org.daemon().await;
    daemon.live().await;
    let seen = org.state().join("objects.json");
    eventually("the org's objects were seen", async || {
        seen.exists().then_some(())
    })
    .await;
    let mut shop = Shop::of(&org, &daemon);
    shop.hidden = gone.collect();
    shop.send(whole(&stock), &of_order("ALL", "External_ID__c = 'C-ALL'"))
        .await;
    for (key, case) in naming(&stock) {
        shop.send(case, &of_order(&key, &format!("Id = '{}'", stock.contact)))
            .await;
    }
    let all = of_schema(&the_document(&daemon).await, "NewOrder");
    let missing: Vec<_> = all
        .iter()
        .filter(|member| !shop.seen.contains(*member) && !CHOICES.contains(&member.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "declared, and sent by no case here: {missing:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_member_of_an_order_is_dropped_by_storeconnect_s_profile() {
    orders_by("", &[], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_member_of_an_order_is_dropped_where_products_stand_for_charges() {
    orders_by("", &[], true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_member_of_an_order_is_dropped_by_the_standard_profile() {
    orders_by("profile = \"standard\"", &[], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_member_of_an_order_is_dropped_where_the_order_has_fields_for_it() {
    let map = "profile = \"standard\"\nmap = { \"order.tax\" = \"Tax__c\", \"order.shipping\" = \"Freight__c\", \
        \"order.discount\" = \"Saved__c\", \"order.coupon\" = \"Coupons__c\", \"order_item.tax\" = \"Tax__c\", \
        \"order_item.discount\" = \"Saved__c\" }";
    orders_by(map, &[], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_member_of_an_order_is_dropped_that_the_org_or_the_configuration_takes_away() {
    let map = "map = { \"payment.method\" = \"\", \"payment.paid_at\" = \"\", \
        \"order_item.description\" = \"\", \"order_item.tax\" = \"\" }";
    let hidden = [
        ("s_c__Shipment__c", "s_c__Provider_Service__c"),
        ("s_c__Payment__c", "s_c__Status__c"),
    ];
    orders_by(map, &hidden, false).await;
}

/// Where the members of a customer are, in whom the key finds.
fn customer(path: String, method: Method, body: Value) -> Case {
    let value = |member: &str| {
        body.pointer(&format!("/{}", member.replace('.', "/")))
            .cloned()
            .unwrap_or_default()
    };
    let all: [(&'static str, &'static [&'static str]); 24] = [
        ("external_id", &["Contact.External_ID__c"]),
        ("salesforce_id", &["Contact.Id"]),
        ("email", &["Contact.Email"]),
        ("first_name", &["Contact.FirstName"]),
        ("last_name", &["Contact.LastName"]),
        ("phone", &["Contact.Phone"]),
        ("company", &["Account.Name"]),
        ("account_external_id", &["Account.External_ID__c"]),
        ("birthdate", &["Contact.Birthdate"]),
        ("title", &["Contact.Title"]),
        ("mobile_phone", &["Contact.MobilePhone"]),
        ("email_opt_out", &["Contact.HasOptedOutOfEmail"]),
        ("fields.Nick__c", &["Contact.Nick__c"]),
        (
            "shipping_address.street",
            &["Contact.MailingStreet", "Account.ShippingStreet"],
        ),
        (
            "shipping_address.city",
            &["Contact.MailingCity", "Account.ShippingCity"],
        ),
        (
            "shipping_address.state",
            &["Contact.MailingState", "Account.ShippingState"],
        ),
        (
            "shipping_address.postal_code",
            &["Contact.MailingPostalCode", "Account.ShippingPostalCode"],
        ),
        (
            "shipping_address.country",
            &["Contact.MailingCountry", "Account.ShippingCountry"],
        ),
        ("billing_address.street", &["Account.BillingStreet"]),
        ("billing_address.city", &["Account.BillingCity"]),
        ("billing_address.state", &["Account.BillingState"]),
        ("billing_address.postal_code", &["Account.BillingPostalCode"]),
        ("billing_address.country", &["Account.BillingCountry"]),
        ("company", &["Account.Name"]),
    ];
    let place = |(member, fields): (&'static str, _)| {
        (
            member.strip_suffix(".Nick__c").unwrap_or(member),
            value(member),
            fields,
        )
    };
    Case {
        method,
        path,
        places: all.into_iter().map(place).collect(),
        body,
    }
}

/// Declared members of a body that no case has sent.
fn missing(shop: &Shop<'_>, document: &Value, name: &str) -> Vec<String> {
    let all = of_schema(document, name).into_iter();
    all.filter(|member| !shop.seen.contains(member)).collect()
}

/// A daemon that has seen the org's objects.
async fn a_daemon(org: &Sandbox) -> Daemon {
    let daemon = org.daemon().await;
    daemon.live().await;
    let seen = org.state().join("objects.json");
    eventually("the org's objects were seen", async || {
        seen.exists().then_some(())
    })
    .await;
    daemon
}

fn all_of_a_person() -> Value {
    json!({"external_id": "P-1", "email": "p1@example.com", "first_name": "Pia", "last_name": "Pohl",
        "phone": "+61 3 5550 0002", "company": "Pohl Teas", "birthdate": "1990-02-03", "title": "Dr",
        "mobile_phone": "+61 4 5550 0003", "email_opt_out": true, "shipping_address": address(SHIPPING),
        "billing_address": address(BILLING), "fields": {"Nick__c": "Pi"}})
}

/// The records of a person and of their account.
fn of_person(key: &str, account: &str) -> [(&'static str, String); 2] {
    [
        ("Contact", format!("External_ID__c = '{key}'")),
        ("Account", format!("External_ID__c = '{account}'")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_member_of_a_customer_is_dropped() {
    let org = an_org().await;
    configure(&org, &format!("[orders]\n{FIELDS}"));
    let daemon = a_daemon(&org).await;
    let (store, ..) = a_store(&daemon).await;
    let customers = format!("/v1/stores/{store}/customers");
    let document = the_document(&daemon).await;
    let mut shop = Shop::of(&org, &daemon);
    let post = |body: Value| customer(customers.clone(), Method::POST, body);
    shop.send(post(all_of_a_person()), &of_person("P-1", "P-1")).await;
    // Whom the org has, and an account that is shared: addresses are the person's there.
    let contact = org
        .some("Contact", "WHERE Email != null AND AccountId != null")
        .await;
    let mut case =
        post(json!({"external_id": "P-2", "salesforce_id": contact, "mobile_phone": "+61 4 5550 0004"}));
    // Whom an id finds is not given the key.
    case.places.push(("external_id", json!(contact), &["Contact.Id"]));
    shop.send(case, &[("Contact", format!("Id = '{contact}'"))]).await;
    let shared = json!({"external_id": "P-3", "last_name": "Pint", "company": "Pint Ltd", "account_external_id": "ACME-P"});
    shop.send(post(shared), &of_person("P-3", "ACME-P")).await;
    assert_eq!(missing(&shop, &document, "NewCustomer"), [""; 0]);
}

/// Every member of a person, with another value.
fn change_of_a_person() -> Value {
    let mut change = all_of_a_person();
    change.as_object_mut().unwrap().shift_remove("external_id");
    for (member, value) in [
        ("email", "p1@example.net"),
        ("first_name", "Pina"),
        ("last_name", "Pohle"),
        ("company", "Pohle Teas"),
        ("phone", "+61 3 5550 0005"),
        ("birthdate", "1991-02-03"),
        ("title", "Prof"),
        ("mobile_phone", "+61 4 5550 0006"),
    ] {
        change[member] = json!(value);
    }
    change["email_opt_out"] = json!(false);
    change["shipping_address"] = address(BILLING);
    change["billing_address"] = address(SHIPPING);
    change["fields"] = json!({"Nick__c": "Po"});
    change
}

#[tokio::test(flavor = "multi_thread")]
async fn no_member_of_a_change_of_a_customer_is_dropped() {
    let org = an_org().await;
    configure(&org, &format!("[orders]\n{FIELDS}"));
    let daemon = a_daemon(&org).await;
    let (store, ..) = a_store(&daemon).await;
    let customers = format!("/v1/stores/{store}/customers");
    let document = the_document(&daemon).await;
    let mut shop = Shop::of(&org, &daemon);
    for (body, account) in [
        (all_of_a_person(), "P-1"),
        (
            json!({"external_id": "P-3", "last_name": "Pint", "account_external_id": "ACME-P"}),
            "ACME-P",
        ),
    ] {
        let key = body["external_id"].as_str().unwrap().to_owned();
        let case = customer(customers.clone(), Method::POST, body);
        shop.send(case, &of_person(&key, account)).await;
    }
    shop.seen.clear();
    let person = format!("{customers}/P-1");
    let change = customer(person.clone(), Method::PATCH, change_of_a_person());
    shop.send(change, &of_person("P-1", "P-1")).await;
    let renamed = customer(
        format!("{customers}/P-3"),
        Method::PATCH,
        json!({"account_external_id": "ACME-P", "company": "Pint Ltd"}),
    );
    shop.send(renamed, &of_person("P-3", "ACME-P")).await;
    assert_eq!(missing(&shop, &document, "CustomerChange"), [""; 0]);
    for member in ["external_id", "salesforce_id"] {
        let body = json!({ member: "003000000000001AAA", "phone": "+61 3 5550 0007" });
        let (status, told) = daemon
            .send(Method::PATCH, &daemon.api, &person, Some("K"), &body)
            .await;
        assert_eq!((status, &told["field"]), (422, &json!(member)), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_member_of_an_update_of_an_order_is_dropped() {
    let org = an_org().await;
    configure(
        &org,
        &format!("[orders]\nstatus = \"Activated\"\ncancelled_status = \"Completed\"\n{FIELDS}"),
    );
    let daemon = a_daemon(&org).await;
    let (store, currency, products) = a_store(&daemon).await;
    let mut shop = Shop::of(&org, &daemon);
    let mut placed = order("UP", &currency, &[(&products[0], 1)]);
    placed["customer"] = json!({"last_name": "Up"});
    super::accepted(&daemon, &store, &placed).await;
    for body in updates() {
        let updates = format!("/v1/stores/{store}/orders/UP/updates");
        shop.send(update(updates, body), &of_order("UP", "LastName = 'Up'"))
            .await;
    }
    let document = the_document(&daemon).await;
    assert_eq!(missing(&shop, &document, "OrderUpdate"), [""; 0]);
}

fn updates() -> [Value; 3] {
    [
        json!({"external_id": "UP-1", "payment": {"reference": "pi_up", "amount": "3.21", "method": "Stripe", "status": "paid",
            "paid_at": "2026-11-22T09:30:00Z"}, "fields": {"PoNumber": "PO-UP"}}),
        json!({"external_id": "UP-2", "shipping_address": address(SHIPPING), "billing_address": address(BILLING)}),
        json!({"external_id": "UP-3", "cancelled": {"reason": "Changed my mind"}}),
    ]
}

/// The key of an update is kept here, and is the payment's in the org.
fn update(path: String, body: Value) -> Case {
    let mut places: Places = vec![
        ("external_id", json!("UP"), &["Order.External_ID__c"]),
        (
            "payment.reference",
            json!("pi_up"),
            &["s_c__Payment__c.s_c__Transaction_Number__c"],
        ),
        (
            "payment.amount",
            json!("3.21"),
            &["s_c__Payment__c.s_c__Amount__c"],
        ),
        (
            "payment.method",
            json!("Stripe"),
            &["s_c__Payment__c.s_c__Method__c"],
        ),
        (
            "payment.status",
            json!("paid"),
            &["s_c__Payment__c.s_c__Status__c"],
        ),
        (
            "payment.paid_at",
            json!("2026-11-22T09:30:00Z"),
            &["s_c__Payment__c.s_c__Paid_At__c"],
        ),
        (
            "cancelled.reason",
            json!("Changed my mind"),
            &["Order.Description"],
        ),
        ("fields", json!("PO-UP"), &["Order.PoNumber"]),
    ];
    addresses(&mut places);
    Case {
        method: Method::POST,
        path,
        body,
        places,
    }
}
