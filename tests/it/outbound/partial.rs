//! Only what was sent is written: random parts of customers and orders, and the org's records compared, field by field,
//! with a model of what may have become of them.

use std::collections::BTreeMap;

use fastrand::Rng;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{accepted, configure};
use crate::process::DATA_PATH;
use crate::world::{Daemon, Sandbox, a_store, order};

const OBJECTS: [&str; 2] = ["Account", "Contact"];

/// Records by id: everything of them that a write can change.
type Records = BTreeMap<String, Map<String, Value>>;

/// The org's accounts and contacts.
struct Org {
    sandbox: Sandbox,
    /// The fields of each object that can be written.
    fields: BTreeMap<&'static str, String>,
}

impl Org {
    async fn of(sandbox: Sandbox) -> Self {
        let mut fields = BTreeMap::new();
        for object in OBJECTS {
            let request = |base: &str, token: &str| {
                let url = format!("{base}{DATA_PATH}/sobjects/{object}/describe");
                sandbox.http.get(url).bearer_auth(token)
            };
            let describe: Value = sandbox.send(request).await.json().await.unwrap();
            let all = describe["fields"].as_array().unwrap().iter();
            let names = all.filter(|field| field["updateable"] == true || field["createable"] == true);
            let names: Vec<&str> = names.map(|field| field["name"].as_str().unwrap()).collect();
            fields.insert(object, names.join(", "));
        }
        Self { sandbox, fields }
    }

    async fn records(&self) -> Records {
        let mut records = Records::new();
        for (object, fields) in &self.fields {
            let soql = format!("SELECT Id, {fields} FROM {object}");
            for row in self.sandbox.query(&soql).await {
                let row: Map<String, Value> = row.into_iter().collect();
                records.insert(row["Id"].as_str().unwrap().to_owned(), row);
            }
        }
        records
    }

    async fn contact(&self, account: &str, key: Option<&str>, email: &str) -> String {
        let fields = json!({"AccountId": account, "External_ID__c": key, "FirstName": "Mia", "LastName": "O'Brien",
            "Email": email, "Phone": "1", "MailingCity": "Perth", "Birthdate": "1990-02-01"});
        self.sandbox.create("Contact", fields).await
    }

    async fn account(&self, key: Option<&str>, name: &str) -> String {
        let fields = json!({"External_ID__c": key, "Name": name, "Phone": "2", "BillingCity": "Rome", "ShippingCity": "Oslo"});
        self.sandbox.create("Account", fields).await
    }
}

/// Sets a field where something was sent.
fn put(record: &mut Map<String, Value>, field: &str, sent: &Value) {
    if !sent.is_null() {
        record[field] = sent.clone();
    }
}

fn is(value: &Value, text: &Value) -> bool {
    let lower = |value: &Value| value.as_str().map(str::to_lowercase);
    lower(value).is_some() && lower(value) == lower(text)
}

/// Whom a write is for, by what it says of a customer: the contact, and whether it may be changed.
fn meant(records: &Records, sent: &Value, path: Option<&str>) -> Option<(String, bool)> {
    let contacts = |field: &str, value: &Value| {
        let contacts = records.iter().filter(|(id, _)| id.starts_with("003"));
        let found = contacts.filter(|(_, record)| is(&record[field], value));
        found.map(|(id, _)| id.clone()).collect::<Vec<_>>()
    };
    if let Some(path) = path {
        let path = json!(path);
        let fields = ["Id", "External_ID__c", "Email"];
        let mut found = fields.iter().map(|field| contacts(field, &path));
        return found
            .find(|ids| !ids.is_empty())
            .map(|ids| (ids[0].clone(), true));
    }
    for (member, field) in [("salesforce_id", "Id"), ("external_id", "External_ID__c")] {
        if !sent[member].is_null() {
            return contacts(field, &sent[member]).pop().map(|id| (id, true));
        }
    }
    match contacts("Email", &sent["email"]).as_slice() {
        [one] => Some((one.clone(), false)),
        _ => None,
    }
}

/// What an order makes of its customer.
fn expect_of_order(records: &mut Records, contact: &str, sent: &Value) {
    let record = records.get_mut(contact).unwrap();
    for (member, field) in [
        ("first_name", "FirstName"),
        ("last_name", "LastName"),
        ("email", "Email"),
        ("phone", "Phone"),
    ] {
        put(record, field, &sent[member]);
    }
}

/// What the write makes of the records. `addresses` are shipping and billing.
fn expect(records: &mut Records, contact: &str, sent: &Value, addresses: [&Value; 2]) {
    let record = records.get_mut(contact).unwrap();
    for (member, field) in [
        ("first_name", "FirstName"),
        ("last_name", "LastName"),
        ("email", "Email"),
        ("phone", "Phone"),
        ("birthdate", "Birthdate"),
    ] {
        put(record, field, &sent[member]);
    }
    let [shipping, billing] = addresses.map(|address| &address["city"]);
    put(record, "MailingCity", shipping);
    let key = record["External_ID__c"].clone();
    let account = record["AccountId"].as_str().unwrap().to_owned();
    let account = records.get_mut(&account).unwrap();
    // The account that is his alone; a company's is not one person's to change.
    if is(&account["External_ID__c"], &key) {
        put(account, "Name", &sent["company"]);
        put(account, "Phone", &sent["phone"]);
        put(account, "ShippingCity", shipping);
        put(account, "BillingCity", billing);
    }
}

/// Some of the members of a customer, each with a value of this write alone.
fn some_members(random: &mut Rng, number: usize, birthdate: bool) -> Map<String, Value> {
    let values = [
        ("first_name", format!("First{number}")),
        ("last_name", format!("Last{number}")),
        ("email", format!("mail{}@example.com", random.u8(..6))),
        ("phone", format!("+61 400 {number:06}")),
        ("company", format!("Company {number}")),
        ("birthdate", format!("19{:02}-03-04", 40 + number % 60)),
    ];
    let mut sent = Map::new();
    for (member, value) in values {
        if random.bool() && (birthdate || member != "birthdate") {
            sent.insert(member.to_owned(), value.into());
        }
    }
    sent
}

fn some_address(random: &mut Rng, number: usize) -> Value {
    if random.bool() {
        return Value::Null;
    }
    json!({"city": format!("City{number}{}", random.uppercase())})
}

/// What differs, but for records that there were not.
fn differences(expected: &Records, found: &Records) -> Vec<String> {
    let mut differences = Vec::new();
    for (id, record) in expected {
        for (field, value) in record {
            let now = found.get(id).map_or(&Value::Null, |record| &record[field]);
            if now != value {
                differences.push(format!("{id} {field}: {value} was expected, {now} is there"));
            }
        }
    }
    differences
}

/// One write, as it is posted: method, address, key and body; and what it says of the customer and the addresses.
struct Write {
    method: Method,
    path: String,
    body: Value,
    named: Option<String>,
    sent: Value,
    addresses: [Value; 2],
}

fn write(random: &mut Rng, number: usize, store: &str, product: &str, people: &[Vec<String>]) -> Write {
    let names = &people[random.usize(..people.len())];
    let [key, id] = [&names[0], &names[1]];
    let addresses = [some_address(random, number), some_address(random, number)];
    let [shipping, billing] = &addresses;
    let kind = random.u8(..3);
    let mut sent = some_members(random, number, kind != 0);
    let mut named = None;
    let (method, path, body) = match kind {
        0 => {
            match random.u8(..4) {
                0 => sent.insert("salesforce_id".to_owned(), json!(id)),
                1 => sent.insert(
                    "email".to_owned(),
                    json!(format!("mail{}@example.com", random.u8(..8))),
                ),
                2 => sent.insert("external_id".to_owned(), json!(format!("NEW-{number}"))),
                _ if key.is_empty() => sent.insert("salesforce_id".to_owned(), json!(id)),
                _ => sent.insert("external_id".to_owned(), json!(key.to_lowercase())),
            };
            let order = json!({"external_id": format!("PART-{number}"), "customer": sent, "shipping_address": shipping,
                "billing_address": billing, "items": [{"product_id": product, "quantity": 1}]});
            (Method::POST, "orders".to_owned(), order)
        }
        1 if !key.is_empty() => {
            sent.insert("external_id".to_owned(), json!(key));
            (Method::POST, "customers".to_owned(), Value::Null)
        }
        _ => {
            let name = names[random.usize(..names.len())].clone();
            let name = if name.is_empty() { id.clone() } else { name };
            named = Some(name.clone());
            (Method::PATCH, format!("customers/{name}"), Value::Null)
        }
    };
    let body = if body.is_null() {
        let mut body = sent.clone();
        body.insert("shipping_address".to_owned(), shipping.clone());
        body.insert("billing_address".to_owned(), billing.clone());
        body.into()
    } else {
        body
    };
    Write {
        method,
        path: format!("/v1/stores/{store}/{path}"),
        body,
        named,
        sent: sent.into(),
        addresses,
    }
}

/// Posts a write and waits until the org has it.
async fn delivered(daemon: &Daemon, write: &Write, number: usize) {
    let key = format!("W-{number}");
    let (status, answer) = daemon
        .send(
            write.method.clone(),
            &daemon.api,
            &write.path,
            Some(&key),
            &write.body,
        )
        .await;
    assert_eq!(status, 202, "{} {}: {answer}", write.path, write.body);
    let url = answer["status_url"].as_str().unwrap();
    let told = daemon.until(url, &["sent", "confirmed", "needs_attention"]).await;
    assert_ne!(
        told["state"], "needs_attention",
        "{} {}: {told}",
        write.path, write.body
    );
}

async fn only_what_was_sent_is_written(seed: u64) {
    let org = Org::of(Sandbox::start(&["--products", "12", "--stores", "1"]).await).await;
    let own = org.account(Some("P-1"), "Mia O'Brien").await;
    let company = org.account(Some("ACME"), "Acme").await;
    let old = org.account(None, "Somebody's").await;
    let mut people = Vec::new();
    for (account, key, email) in [
        (&own, Some("P-1"), "p1@example.com"),
        (&company, Some("B-1"), "mail1@example.com"),
        (&company, None, "mail2@example.com"),
        (&old, Some("B-2"), "mail2@example.com"),
    ] {
        let id = org.contact(account, key, email).await;
        people.push(vec![key.unwrap_or_default().to_owned(), id]);
    }
    // His alone are his key, his id and his address.
    org.sandbox
        .update("Contact", &people[0][1], json!({"Email": "only@example.com"}))
        .await;
    let daemon = org.sandbox.daemon().await;
    daemon.live().await;
    let (store, _, products) = a_store(&daemon).await;
    let mut random = Rng::with_seed(seed);
    let mut expected = org.records().await;
    for number in 0..30 {
        let write = write(&mut random, number, &store, &products[0], &people);
        let meant = meant(&expected, &write.sent, write.named.as_deref());
        delivered(&daemon, &write, number).await;
        if let Some((contact, true)) = &meant {
            let [shipping, billing] = &write.addresses;
            // The addresses of an order are the order's, and the account is not an order's to change.
            match write.path.ends_with("orders") {
                true => expect_of_order(&mut expected, contact, &write.sent),
                false => expect(&mut expected, contact, &write.sent, [shipping, billing]),
            }
        }
        let found = org.records().await;
        let different = differences(&expected, &found);
        assert!(
            different.is_empty(),
            "seed {seed}, {} {}: {different:#?}",
            write.path,
            write.body
        );
        let new: Vec<&String> = found.keys().filter(|id| !expected.contains_key(*id)).collect();
        assert_eq!(
            new.len(),
            if meant.is_some() { 0 } else { 2 },
            "{} {}: {new:?}",
            write.path,
            write.body
        );
        if write.path.ends_with("orders") {
            let of_order = format!("Order WHERE External_ID__c = 'PART-{number}' AND BillToContactId = ");
            let contact = meant.map_or_else(|| new[1].clone(), |(contact, _)| contact);
            assert_eq!(
                org.sandbox.count(&format!("{of_order}'{contact}'")).await,
                1,
                "{}",
                write.body
            );
        }
        expected = found;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_parts_of_customers_change_nothing_else() {
    only_what_was_sent_is_written(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_nobody_makes_nobody() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    configure(&org, "[orders]\nmatch_guests = \"never\"");
    let account = org.create("Account", json!({"Name": "Two"})).await;
    for _ in 0..2 {
        let fields = json!({"AccountId": account, "LastName": "Two", "Email": "two@example.com"});
        org.create("Contact", fields).await;
    }
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let count = async || [org.count("Contact").await, org.count("Account").await];
    let before = count().await;
    for (number, (name, code)) in [
        ("C-404", "CUSTOMER_NOT_FOUND"),
        ("003000000000404AAA", "CUSTOMER_NOT_FOUND"),
        ("nobody@example.com", "CUSTOMER_NOT_FOUND"),
        ("two@example.com", "CUSTOMER_NOT_UNIQUE"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/v1/stores/{store}/customers/{name}");
        let key = format!("CHANGE-{number}");
        let change = json!({"phone": "1"});
        let (status, answer) = daemon
            .send(Method::PATCH, &daemon.api, &path, Some(&key), &change)
            .await;
        assert_eq!(status, 202, "{name}: {answer}");
        let url = answer["status_url"].as_str().unwrap();
        let told = daemon.until(url, &["sent", "confirmed", "needs_attention"]).await;
        assert_eq!(
            (&told["state"], &told["error"]["code"]),
            (&json!("needs_attention"), &json!(code)),
            "{name}"
        );
    }
    assert_eq!(count().await, before);
    // A guest is somebody new, though exactly one has the address.
    let one = json!({"AccountId": account, "LastName": "One", "Email": "one@example.com"});
    org.create("Contact", one).await;
    let mut guest = order("GUEST-1", &currency, &[(&products[0], 1)]);
    guest["customer"] = json!({"email": "one@example.com", "last_name": "One"});
    accepted(&daemon, &store, &guest).await;
    let path = format!("/v1/stores/{store}/orders/GUEST-1");
    daemon.until(&path, &["sent", "confirmed"]).await;
    assert_eq!(org.count("Contact WHERE Email = 'one@example.com'").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_any_text_that_the_org_holds() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, _, products) = a_store(&daemon).await;
    let mut found = Vec::new();
    let keys = [
        "2026/11 No. 7.xml",
        "50% + 1 ?#&=",
        "O'Neil \\ Söhne",
        "a..b/../c",
    ];
    for key in keys {
        let customer = format!("{key} ana@example.com");
        let order = json!({"external_id": key, "customer": {"external_id": customer, "last_name": "Lee"},
            "items": [{"product_id": products[0], "quantity": 1}]});
        // The answer is lost, so that it is looked up by its key.
        org.fault(json!({"path": "/composite", "method": "POST", "times": 1, "fault": "drop_after_commit"}))
            .await;
        let (status, answer) = daemon.post(&format!("/v1/stores/{store}/orders"), &order).await;
        assert_eq!(status, 202, "{key}: {answer}");
        let url = answer["status_url"].as_str().unwrap().to_owned();
        let told = daemon
            .until(&url, &["sent", "confirmed", "needs_attention"])
            .await;
        assert_eq!(told["external_id"], key);
        assert_ne!(told["state"], "needs_attention", "{told}");
        let update = json!({"external_id": format!("{key} address"), "shipping_address": {"city": "Hobart"}});
        let (status, answer) = daemon.post(&format!("{url}/updates"), &update).await;
        assert_eq!(status, 202, "{key}: {answer}");
        let told = daemon
            .until(
                answer["status_url"].as_str().unwrap(),
                &["sent", "confirmed", "needs_attention"],
            )
            .await;
        assert_ne!(told["state"], "needs_attention", "{told}");
        found.push((key.to_owned(), customer));
    }
    let orders = org
        .query("SELECT External_ID__c, ShippingCity, BillToContact.External_ID__c FROM Order WHERE ShippingCity = 'Hobart' ORDER BY CreatedDate, Id")
        .await;
    let theirs: Vec<(String, String)> = orders
        .iter()
        .filter(|order| keys.iter().any(|key| order["External_ID__c"] == *key))
        .map(|order| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (
                text(&order["External_ID__c"]),
                text(&order["BillToContact"]["External_ID__c"]),
            )
        })
        .collect();
    assert_eq!(theirs.len(), found.len());
    assert!(found.iter().all(|one| theirs.contains(one)), "{theirs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_company_that_is_not_written_is_told_of_in_the_answer() {
    let org = Org::of(Sandbox::start(&["--products", "12", "--stores", "1"]).await).await;
    let own = org.account(Some("P-1"), "Mia O'Brien").await;
    let company = org.account(Some("ACME"), "Acme").await;
    org.contact(&own, Some("P-1"), "p1@example.com").await;
    org.contact(&company, Some("B-1"), "b1@example.com").await;
    let daemon = org.sandbox.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let base = format!("/v1/stores/{store}");
    let mut placed = order("WEB-B", &currency, &[(&products[0], 1)]);
    placed["customer"] = json!({"external_id": "B-1", "company": "Other Ltd"});
    let change = |key: &str| {
        (
            Method::PATCH,
            format!("{base}/customers/{key}"),
            json!({"company": "Other Ltd"}),
        )
    };
    let posted = json!({"external_id": "B-1", "company": "Other Ltd"});
    // The account is P-1's own, and another person renames it as little as P-1 renames a company.
    let joins =
        json!({"external_id": "N-9", "last_name": "Next", "account_external_id": "P-1", "company": "Taken"});
    for (number, ((method, path, body), member)) in [
        (change("B-1"), Some("company")),
        (
            (Method::POST, format!("{base}/customers"), posted),
            Some("company"),
        ),
        (
            (Method::POST, format!("{base}/orders"), placed),
            Some("customer.company"),
        ),
        (change("P-1"), None),
        (
            (Method::POST, format!("{base}/customers"), joins),
            Some("company"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let key = (method == Method::PATCH).then(|| format!("N-{number}"));
        let (status, answer) = daemon
            .send(method, &daemon.api, &path, key.as_deref(), &body)
            .await;
        assert_eq!(status, 202, "{answer}");
        let told = &answer["not_written"][0];
        assert_eq!(told["field"].as_str(), member, "{path}: {answer}");
        let why = told["why"].as_str().unwrap_or_default();
        let expected = match member {
            Some("company") => "account_external_id",
            Some(_) => "an order changes none",
            None => "",
        };
        assert!(why.contains(expected), "{answer}");
        let url = answer["status_url"].as_str().unwrap();
        daemon.until(url, &["sent", "confirmed"]).await;
    }
    let names = |name: &str| format!("Account WHERE Name = '{name}'");
    assert_eq!(org.sandbox.count(&names("Acme")).await, 1);
    assert_eq!(
        org.sandbox.count(&names("Other Ltd")).await,
        1,
        "their own is renamed"
    );
    assert_eq!(org.sandbox.count(&names("Taken")).await, 0);
}
