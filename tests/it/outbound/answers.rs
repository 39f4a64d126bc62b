//! What an answer says is held against what was asked, what a sending leaves out is told, and what the org would refuse of
//! own fields is refused at once.

use reqwest::Method;
use serde_json::{Value, json};

use super::{accepted, configure};
use crate::world::{Sandbox, a_store, eventually, order};

/// Ids with the right check letters of records that no org has.
const ORDER: &str = "801Sb00000099zzIAA";
const ITEM: &str = "802Sb00000099zzIAA";
const ACCOUNT: &str = "001Sb00000099zzIAA";
const CONTACT: &str = "003Sb00000099zzIAA";

async fn no_more_faults(org: &Sandbox) {
    let url = format!("{}/sandbox/faults", org.env["SANDBOX_HTTP"]);
    org.http.delete(url).send().await.unwrap();
}

fn part(reference: &str, id: &str) -> Value {
    json!({"body": {"id": id, "success": true, "errors": []}, "httpHeaders": {}, "httpStatusCode": 201, "referenceId": format!("{reference}*")})
}

/// What a proxy gives that keeps answers, or mixes up those of one connection: all of it fits but whose it is.
#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_another_order_is_none() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let placed = async |key: &str| {
        accepted(&daemon, &store, &order(key, &currency, &[(&products[0], 1)])).await;
        let path = format!("/v1/stores/{store}/orders/{key}");
        let told = daemon.until(&path, &["confirmed", "needs_attention"]).await;
        assert_eq!(told["state"], "confirmed", "{key}: {told}");
        told["salesforce_id"].as_str().unwrap().to_owned()
    };
    let first = placed("FIRST").await;
    let soql = "SELECT AccountId, BillToContactId, (SELECT Id FROM OrderItems) FROM Order WHERE External_ID__c = 'FIRST'";
    let row = org.query(soql).await.remove(0);
    let item = &row["OrderItems"]["records"][0]["Id"];
    let ids = [&row["AccountId"], &row["BillToContactId"], &json!(first), item];
    let names = ["account", "contact", "record", "item0"];
    let parts = names.iter().zip(ids).map(|(name, id)| {
        let mut part = part(name, id.as_str().unwrap());
        part["referenceId"] = json!(format!("{name}_00000000000000ab"));
        part
    });
    let body = json!({"compositeResponse": parts.collect::<Vec<_>>()}).to_string();
    org.fault(
        json!({"path": "/composite", "except": "/sobjects/", "method": "POST", "times": 1,
        "fault": {"status": 200, "body": body}}),
    )
    .await;
    let second = placed("SECOND").await;
    assert_ne!(second, first);
    let soql = "SELECT Id FROM Order WHERE External_ID__c = 'SECOND'";
    assert_eq!(org.query(soql).await[0]["Id"], json!(second));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_ids_do_not_fit_is_none() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let answers = [
        ("KIND", [ACCOUNT, CONTACT, ACCOUNT, ITEM].to_vec()),
        ("SWAPPED", [ACCOUNT, CONTACT, ITEM, ORDER].to_vec()),
        ("SHORT", [ACCOUNT, CONTACT, ORDER].to_vec()),
        ("LETTERS", [ACCOUNT, CONTACT, "801Sb00000099zzIAB", ITEM].to_vec()),
    ];
    for (key, ids) in &answers {
        let names = ["account", "contact", "record", "item0"];
        let parts: Vec<Value> = names.iter().zip(ids).map(|(name, id)| part(name, id)).collect();
        let body = json!({"compositeResponse": parts}).to_string();
        org.fault(
            json!({"path": "/composite", "except": "/sobjects/", "method": "POST", "times": 1,
            "fault": {"status": 200, "body": body}}),
        )
        .await;
        accepted(&daemon, &store, &order(key, &currency, &[(&products[0], 1)])).await;
        let path = format!("/v1/stores/{store}/orders/{key}");
        let told = daemon.until(&path, &["confirmed", "needs_attention"]).await;
        assert_eq!(told["state"], "confirmed", "{key}: {told}");
        let id = told["salesforce_id"].as_str().unwrap();
        assert!(id.starts_with("801") && id != ORDER, "{key}: {told}");
    }
    assert_eq!(
        org.count("Order WHERE BillToContact.Email = 'ana@example.com'")
            .await,
        answers.len() as u64
    );
    let outbox = rusqlite::Connection::open(org.state().join("outbox.db")).unwrap();
    let made_up = "select count(*) from persons where record_id like '%99zzIA%'";
    let noted: i64 = outbox.query_row(made_up, [], |row| row.get(0)).unwrap();
    assert_eq!(noted, 0, "no id of such an answer is noted");
    let spent = "select sum(failures) from writes";
    let spent: i64 = outbox.query_row(spent, [], |row| row.get(0)).unwrap();
    assert_eq!(spent, 0, "no attempt is spent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_nobody_else_whatever_a_look_up_says() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let row = |id: &str, email: &str| json!({"Id": id, "Email": email, "External_ID__c": null, "AccountId": null, "Account": null});
    let address = "guest@example.com";
    for (number, row) in [
        row(ACCOUNT, address),
        row("zzz", address),
        row(CONTACT, "other@example.com"),
    ]
    .into_iter()
    .enumerate()
    {
        let body = json!({"totalSize": 1, "done": true, "records": [row]}).to_string();
        org.fault(
            json!({"path": "Email", "method": "GET", "times": 1, "fault": {"status": 200, "body": body}}),
        )
        .await;
        let key = format!("GUEST-{number}");
        let mut posted = order(&key, &currency, &[(&products[0], 1)]);
        posted["customer"] = json!({"email": address, "last_name": "Guest"});
        accepted(&daemon, &store, &posted).await;
        let path = format!("/v1/stores/{store}/orders/{key}");
        let told = daemon.until(&path, &["confirmed", "needs_attention"]).await;
        assert_eq!(told["state"], "confirmed", "{told}");
    }
    let theirs = org
        .count(&format!("Order WHERE BillToContact.Email = '{address}'"))
        .await;
    assert_eq!(theirs, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sending_leaves_out_is_told() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let account = org
        .create("Account", json!({"Name": "Own", "External_ID__c": "OW-1"}))
        .await;
    let contact = |key: &str| json!({"AccountId": account, "External_ID__c": key, "LastName": key});
    org.create("Contact", contact("OW-1")).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, ..) = a_store(&daemon).await;
    // The org is not asked before the account is shared.
    org.fault(json!({"path": "/query", "method": "GET", "fault": {"status": 503}}))
        .await;
    let body = json!({"company": "Renamed", "phone": "5", "billing_address": {"city": "X"}});
    let path = format!("/v1/stores/{store}/customers/OW-1");
    let (status, answer) = daemon
        .send(Method::PATCH, &daemon.api, &path, Some("N-1"), &body)
        .await;
    assert_eq!((status, &answer["not_written"]), (202, &Value::Null), "{answer}");
    org.create("Contact", contact("OW-2")).await;
    no_more_faults(&org).await;
    let told = daemon
        .until(answer["status_url"].as_str().unwrap(), &["sent", "confirmed"])
        .await;
    let left_out = |told: &Value| -> Vec<String> {
        let all = told["not_written"].as_array().unwrap().iter();
        all.map(|one| one["field"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(left_out(&told), ["company", "billing_address"], "{told}");
    assert_eq!(org.count("Account WHERE Name = 'Own'").await, 1);
    assert_eq!(org.count("Contact WHERE Phone = '5'").await, 1);
    let (_, shown, _) = org.verb(&["orders", "show", "N-1", "--json"]).await;
    assert_eq!(
        left_out(&serde_json::from_str(&shown).unwrap()).len(),
        2,
        "{shown}"
    );
    let (_, shown, _) = org.verb(&["orders", "show", "N-1"]).await;
    assert!(shown.contains("not written: company: the account"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn own_fields_have_one_spelling_and_the_type_of_the_org_s() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    configure(
        &org,
        "[orders]\nfields = { \"*\" = [\"Order.Description\", \"OrderItem.Description\"] }",
    );
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let plain = |key: &str| order(key, &currency, &[(&products[0], 1)]);
    let both = json!({"Description": "A", "description": "b"});
    let long = "x".repeat(4_001);
    for (at, (pointer, value, field, says)) in [
        ("/fields", both.clone(), "fields", "Description and description"),
        ("/items/0/fields", both, "items[0].fields", "one field of the org"),
        (
            "/fields",
            json!({"Description": true}),
            "fields.Description",
            "must be text",
        ),
        (
            "/items/0/fields",
            json!({"Description": false}),
            "items[0].fields.Description",
            "must be text",
        ),
        (
            "/external_id",
            json!(" lead1 "),
            "external_id",
            "begin or end with a blank",
        ),
        (
            "/customer/external_id",
            json!("\u{a0}lead1"),
            "customer.external_id",
            "begin or end with a blank",
        ),
        (
            "/payments",
            json!([{"reference": "R", "paid_at": "1500-11-30T10:00:00Z"}]),
            "payments[0].paid_at",
            "1700-01-01",
        ),
        (
            "/fields",
            json!({"Description": long}),
            "fields.Description",
            "storesync takes no more",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut posted = plain(&format!("OWN-{at}"));
        if pointer == "/items/0/fields" {
            posted["items"][0]["fields"] = value;
        } else if pointer == "/payments" {
            posted["payments"] = value;
        } else {
            *posted.pointer_mut(pointer).unwrap() = value;
        }
        let (status, answer) = daemon.place(&store, &posted).await.unwrap();
        assert_eq!((status, answer["field"].as_str()), (422, Some(field)), "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains(says), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_has_one_spelling_and_members_that_are_there() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    configure(&org, "[orders]\nfields = { \"*\" = [\"Order.Description\"] }");
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    org.fault(
        json!({"path": "/composite", "except": "/sobjects/", "method": "POST", "fault": {"status": 503}}),
    )
    .await;
    let mut posted = order("OWN-EDIT", &currency, &[(&products[0], 1)]);
    posted["fields"] = json!({"Description": "A"});
    accepted(&daemon, &store, &posted).await;
    for (set, says) in [
        ("fields.description=x", "Description and description"),
        ("lines[5].quantity=1", "lines has no member 5"),
    ] {
        let said = eventually("it is not being sent", async || {
            let (_, _, said) = org.verb(&["orders", "edit", "OWN-EDIT", "--set", set]).await;
            (!said.contains("that is sending")).then_some(said)
        })
        .await;
        assert!(said.contains(says), "{set}: {said}");
    }
}

/// Answers with the id of another record in place of the first that begins like it; all else is as the org says.
async fn another_id(org: &Sandbox, id: &str) {
    let prefix = &id[..3];
    let replace = [
        format!("\"id\":\"{prefix}"),
        format!("\"id\":\"{id}\",\"was\":\"{prefix}"),
    ];
    org.fault(
        json!({"path": "/composite", "except": "/sobjects/", "method": "POST", "times": 1, "fault": {"edit": {"replace": replace}}}),
    )
    .await;
}

async fn id_in_org(org: &Sandbox, object: &str, key: &str) -> Value {
    let soql = format!("SELECT Id FROM {object} WHERE External_ID__c = '{key}'");
    org.query(&soql).await[0]["Id"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_confirmed_by_its_own_record_alone() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    configure(&org, "[orders]\necho_seconds = 1");
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let lead = |key: &str| json!({"external_id": key, "last_name": key, "email": format!("{key}@example.com"), "company": "Own"});
    let (_, first) = daemon
        .post(&format!("/v1/stores/{store}/leads"), &lead("LEAD-1"))
        .await;
    daemon
        .until(first["status_url"].as_str().unwrap(), &["confirmed"])
        .await;
    accepted(&daemon, &store, &order("OWN-1", &currency, &[(&products[0], 1)])).await;
    let path = |key: &str| format!("/v1/stores/{store}/orders/{key}");
    daemon.until(&path("OWN-1"), &["confirmed"]).await;

    // The id of a record that is there, of one that is nowhere, and of a lead.
    let theirs = id_in_org(&org, "Order", "OWN-1").await;
    for (key, id) in [("OWN-2", theirs.as_str().unwrap()), ("OWN-3", ORDER)] {
        another_id(&org, id).await;
        accepted(&daemon, &store, &order(key, &currency, &[(&products[0], 1)])).await;
        let told = daemon.until(&path(key), &["confirmed", "needs_attention"]).await;
        assert_eq!(told["state"], "confirmed", "{told}");
        assert_eq!(
            told["salesforce_id"],
            id_in_org(&org, "Order", key).await,
            "{told}"
        );
    }
    let theirs = id_in_org(&org, "Lead", "LEAD-1").await;
    another_id(&org, theirs.as_str().unwrap()).await;
    let (_, second) = daemon
        .post(&format!("/v1/stores/{store}/leads"), &lead("LEAD-2"))
        .await;
    let told = daemon
        .until(second["status_url"].as_str().unwrap(), &["confirmed"])
        .await;
    let own = id_in_org(&org, "Lead", "LEAD-2").await;
    assert_eq!(told["salesforce_id"], own, "{told}");
    let outbox = rusqlite::Connection::open(org.state().join("outbox.db")).unwrap();
    let of_lead = "select group_concat(record_id) from persons join writes on sequence = write_sequence where external_id = 'LEAD-2'";
    let persons: String = outbox.query_row(of_lead, [], |row| row.get(0)).unwrap();
    assert_eq!(json!(persons), own, "erased with its own lead alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_there_before_was_not_made_now() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let old = org.some("Contact", "").await;
    another_id(&org, &old).await;
    accepted(&daemon, &store, &order("NEW-1", &currency, &[(&products[0], 1)])).await;
    let path = format!("/v1/stores/{store}/orders/NEW-1");
    let told = daemon.until(&path, &["confirmed", "needs_attention"]).await;
    assert_eq!(told["state"], "confirmed", "{told}");
    let outbox = rusqlite::Connection::open(org.state().join("outbox.db")).unwrap();
    let noted = "select count(*) from persons where record_id = ?1";
    let noted: i64 = outbox.query_row(noted, [&old], |row| row.get(0)).unwrap();
    assert_eq!(noted, 0, "the order is not erased with somebody else");
    assert_eq!(org.count("Order WHERE External_ID__c = 'NEW-1'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_answer_without_all_items_parks_no_order() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    org.fault(
        json!({"path": "/composite", "except": "/sobjects/", "method": "POST", "times": 1, "fault": "drop_after_commit"}),
    )
    .await;
    let short = json!({"rows": 1, "members": {"totalSize": 1}});
    org.fault(json!({"path": "OrderItem", "method": "GET", "times": 1, "fault": {"edit": short}}))
        .await;
    let lines = [(products[0].as_str(), 1), (products[1].as_str(), 2)];
    accepted(&daemon, &store, &order("SHORT-1", &currency, &lines)).await;
    let path = format!("/v1/stores/{store}/orders/SHORT-1");
    let told = daemon.until(&path, &["confirmed", "needs_attention"]).await;
    assert_eq!(told["state"], "confirmed", "{told}");
    let url = format!("{}/sandbox/faults", org.env["SANDBOX_HTTP"]);
    let rules = org.http.get(url).send().await.unwrap().text().await.unwrap();
    assert_eq!(
        rules.matches("\"struck\":1").count(),
        2,
        "the short answer was given: {rules}"
    );
}
