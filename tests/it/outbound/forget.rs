//! What is kept of orders that are done, and for how long: a person who is deleted in the org is in no file of the
//! outbox any more, and an order that is emptied is still known.

use serde_json::{Value, json};

use super::{accepted, configure};
use crate::world::{Daemon, Sandbox, a_store, eventually, order};

const MAIL: &str = "quetzal@private.example";
const REASON: &str = "Mx Quetzal called from abroad";
const STREET: &str = "77 Hidden Hollow";

fn order_of(key: &str, customer: &Value, currency: &str, product: &str) -> Value {
    let mut posted = order(key, currency, &[(product, 1)]);
    posted["customer"] = customer.clone();
    posted["shipping_address"]["street"] = json!(STREET);
    posted
}

async fn confirmed(daemon: &Daemon, store: &str, posted: &Value) {
    accepted(daemon, store, posted).await;
    let key = posted["external_id"].as_str().unwrap();
    daemon
        .until(&format!("/v1/stores/{store}/orders/{key}"), &["confirmed"])
        .await;
}

/// The names of the outbox's files that hold a text.
fn files_with(org: &Sandbox, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(org.state()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).unwrap_or_default();
        if name.starts_with("outbox.db") && bytes.windows(text.len()).any(|window| window == text.as_bytes())
        {
            found.push(name);
        }
    }
    found
}

async fn is_emptied(daemon: &Daemon, reference: &str) -> Value {
    eventually("the write is emptied", async || {
        let shown = daemon.admin_get(&format!("/api/orders/{reference}")).await;
        (!shown["emptied_at"].is_null()).then_some(shown)
    })
    .await
}

/// Has the org refuse an order, and somebody give it up for a reason that tells of the person.
async fn is_given_up(org: &Sandbox, daemon: &Daemon, store: &str, mut posted: Value) {
    let rule = json!({"object": "Order", "when": "ShippingCity = 'Nowhere'", "message": "No such city."});
    org.control("rules", json!({ "validations": [rule] })).await;
    posted["shipping_address"]["city"] = json!("Nowhere");
    accepted(daemon, store, &posted).await;
    let path = format!("/v1/stores/{store}/orders/Q-2");
    daemon.until(&path, &["needs_attention"]).await;
    let discard = json!({"actor": format!("for {MAIL}"), "reason": REASON});
    let (status, answer) = daemon.admin_post("/api/orders/Q-2/discard", &discard).await;
    assert_eq!(status, 200, "{answer}");
    let (code, held, said) = org.verb(&["person", MAIL, "--json"]).await;
    assert_eq!(code, 0, "{said}");
    let held: Value = serde_json::from_str(&held).unwrap();
    let names = json!(["outbox.db", "audit_names"]);
    let is_listed = |of: &Value| json!([of["file"], of["table"]]) == names;
    assert!(held["held"].as_array().unwrap().iter().any(is_listed), "{held}");
}

/// What was done is told still, and nothing of the person.
async fn is_given_up_without_a_reason(org: &Sandbox, daemon: &Daemon) {
    let shown = is_emptied(daemon, "Q-2").await;
    assert_eq!(
        (&shown["state"], &shown["body"], &shown["customer"]),
        (&json!("discarded"), &Value::Null, &Value::Null)
    );
    let deeds = shown["audit"].as_array().unwrap().iter();
    let deeds = deeds.map(|deed| (&deed["action"], &deed["reason"], &deed["on_behalf_of"]));
    let deeds: Vec<_> = deeds.collect();
    assert_eq!(
        deeds,
        [(&json!("discard"), &Value::Null, &Value::Null)],
        "{shown}"
    );
    let (code, told, said) = org.verb(&["audit", "verify"]).await;
    assert_eq!(code, 0, "{said}");
    let erased = "1 of them with their details erased and 1 with whom they named";
    assert!(told.contains(erased), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_is_deleted_is_erased_from_orders_and_whatever_else_was_sent() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let person = json!({"external_id": "C-Q", "email": MAIL, "last_name": "Quetzal"});
    let first = order_of("Q-1", &person, &currency, &products[0]);
    confirmed(&daemon, &store, &first).await;
    let guest = json!({"email": "guest@private.example", "last_name": "Guest"});
    confirmed(&daemon, &store, &order_of("G-1", &guest, &currency, &products[0])).await;
    // Whose case it is, its record alone tells.
    let account = org.some("Account", "WHERE External_ID__c = 'C-Q'").await;
    let other = json!({"AccountId": account, "LastName": "Other", "External_ID__c": "C-OTHER"});
    let other = org.create("Contact", other).await;
    let case = json!({"external_id": "K-Q", "subject": STREET, "customer": {"external_id": "C-OTHER", "account_external_id": "C-Q"}});
    let (status, answer) = daemon.post(&format!("/v1/stores/{store}/cases"), &case).await;
    assert_eq!(status, 202, "{answer}");
    daemon
        .until(answer["status_url"].as_str().unwrap(), &["confirmed"])
        .await;
    let update = json!({"external_id": "U-Q", "shipping_address": {"street": STREET}});
    let (status, answer) = daemon
        .post(&format!("/v1/stores/{store}/orders/Q-1/updates"), &update)
        .await;
    assert_eq!(status, 202, "{answer}");
    daemon
        .until(answer["status_url"].as_str().unwrap(), &["confirmed"])
        .await;
    let given_up = order_of("Q-2", &person, &currency, &products[0]);
    is_given_up(&org, &daemon, &store, given_up).await;
    for text in [MAIL, REASON] {
        assert!(!files_with(&org, text).is_empty());
    }

    let contact = org.some("Contact", "WHERE External_ID__c = 'C-Q'").await;
    org.delete("Contact", &contact).await;
    org.delete("Contact", &other).await;
    for reference in ["Q-1", "case:K-Q", "order_update:U-Q"] {
        let shown = is_emptied(&daemon, reference).await;
        assert_eq!(
            (&shown["state"], &shown["body"]),
            (&json!("confirmed"), &Value::Null)
        );
        assert_eq!(shown["customer"], Value::Null);
    }
    is_given_up_without_a_reason(&org, &daemon).await;
    for text in [MAIL, REASON] {
        eventually("nothing is left of the person", async || {
            files_with(&org, text).is_empty().then_some(())
        })
        .await;
    }
    assert!(
        !files_with(&org, "guest@private.example").is_empty(),
        "others are as they were"
    );
    let (status, _) = daemon.place(&store, &first).await.unwrap();
    assert_eq!(status, 202, "the same order is known still");

    // One who is deleted while nobody looks, and whom no event tells of any more.
    daemon.running.kill();
    let contact = org.some("Contact", "WHERE LastName = 'Guest'").await;
    org.delete("Contact", &contact).await;
    for end in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(org.state().join(format!("cache.db{end}"))));
    }
    daemon = org.daemon().await;
    is_emptied(&daemon, "G-1").await;
    for text in ["guest@private.example", STREET] {
        eventually("nothing is left of anyone", async || {
            files_with(&org, text).is_empty().then_some(())
        })
        .await;
    }
}

/// Whose an order is that was found again, because its answer was lost, its record in the org alone tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_of_an_order_whose_answer_was_lost_is_erased_from_it() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    // A guest is nobody whom the org has, so that nobody is looked for when the order is.
    configure(&org, "[orders]\nmatch_guests = \"never\"");
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let lost = json!({"path": "/composite", "except": "/sobjects/", "method": "POST", "times": 1, "fault": "drop_after_commit"});
    org.fault(lost).await;
    let guest = json!({"email": MAIL, "last_name": "Quetzal"});
    confirmed(&daemon, &store, &order_of("L-1", &guest, &currency, &products[0])).await;
    assert_eq!(org.count("Order WHERE External_ID__c = 'L-1'").await, 1);
    assert!(!files_with(&org, MAIL).is_empty());
    let contact = org.some("Contact", "WHERE LastName = 'Quetzal'").await;
    org.delete("Contact", &contact).await;
    let shown = is_emptied(&daemon, "L-1").await;
    assert_eq!(shown["body"], Value::Null, "{shown}");
    eventually("nothing is left of the person", async || {
        files_with(&org, MAIL).is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_is_emptied_and_its_key_and_outcome_stay() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let person = json!({"external_id": "C-Q", "email": MAIL, "last_name": "Quetzal"});
    let posted = order_of("Q-1", &person, &currency, &products[0]);
    confirmed(&daemon, &store, &posted).await;
    drop(daemon);
    configure(&org, "[orders]\nhistory_days = 0");
    let daemon = org.daemon().await;
    let shown = is_emptied(&daemon, "Q-1").await;
    assert_eq!(
        (&shown["state"], &shown["customer"]),
        (&json!("confirmed"), &json!("C-Q"))
    );
    assert!(shown["salesforce_id"].as_str().unwrap().starts_with("801"));
    eventually("nothing is left of the order", async || {
        files_with(&org, MAIL).is_empty().then_some(())
    })
    .await;
    let (code, shown, _) = org.verb(&["orders", "show", "Q-1"]).await;
    assert!(code == 0 && shown.contains("what it held was dropped"), "{shown}");
    assert_eq!(daemon.place(&store, &posted).await.unwrap().0, 202);
    let mut other = posted.clone();
    other["items"][0]["quantity"] = json!(2);
    assert_eq!(daemon.place(&store, &other).await.unwrap().0, 409);
    assert_eq!(org.count("Order WHERE External_ID__c = 'Q-1'").await, 1);
}

/// Sends a lead; gives the address that tells of it.
async fn lead(daemon: &Daemon, store: &str, key: &str) -> String {
    let body = json!({"external_id": key, "last_name": "Quetzal", "email": format!("{key}@private.example")});
    let (status, answer) = daemon.post(&format!("/v1/stores/{store}/leads"), &body).await;
    assert_eq!(status, 202, "{answer}");
    answer["status_url"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::too_many_lines, reason = "one story, told in its order")]
async fn what_no_change_tells_of_is_asked_for_and_erased() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let keys = ["gone", "silent", "converted", "there"];
    for key in keys {
        let url = lead(&daemon, &store, key).await;
        daemon.until(&url, &["sent"]).await;
    }
    let form = org.some("s_c__Form__c", "").await;
    let case =
        json!({"external_id": "K-1", "subject": "help@private.example", "customer": {"external_id": "C-1"}});
    let submission = json!({"external_id": "F-1", "form_id": form,
        "answers": [{"question": "Mail?", "answer": "form@private.example"}]});
    let mut silent_form = submission.clone();
    silent_form["external_id"] = json!("F-0");
    for (path, body) in [
        ("cases", &case),
        ("form-submissions", &silent_form),
        ("form-submissions", &submission),
    ] {
        let (status, answer) = daemon.post(&format!("/v1/stores/{store}/{path}"), body).await;
        assert_eq!(status, 202, "{answer}");
        let url = answer["status_url"].as_str().unwrap();
        let told = daemon.until(url, &["sent", "confirmed", "needs_attention"]).await;
        assert_ne!(told["state"], "needs_attention", "{told}");
    }
    let person = json!({"external_id": "C-Q", "email": MAIL, "last_name": "Quetzal"});
    confirmed(
        &daemon,
        &store,
        &order_of("Q-1", &person, &currency, &products[0]),
    )
    .await;
    let ids =
        async |object: &str, key: &str| org.some(object, &format!("WHERE External_ID__c = '{key}'")).await;
    let (gone, silent, became) = (
        ids("Lead", "gone").await,
        ids("Lead", "silent").await,
        ids("Lead", "converted").await,
    );

    // Some are deleted before they were confirmed: nobody is asked to make them again. Without a schedule no more is found.
    org.delete("Lead", &silent).await;
    let of_form = org
        .some("s_c__Form_Submission__c", "WHERE s_c__sC_Id__c = 'F-0'")
        .await;
    org.delete("s_c__Form_Submission__c", &of_form).await;
    daemon.running.kill();
    configure(&org, "[orders]\necho_seconds = 0\nerasure_hours = 0");
    daemon = org.daemon().await;
    for reference in ["lead:silent", "form_submission:F-0"] {
        let shown = is_emptied(&daemon, reference).await;
        assert_eq!(
            (&shown["state"], &shown["error"]),
            (&json!("confirmed"), &Value::Null)
        );
    }
    for key in ["gone", "converted", "there"] {
        daemon
            .until(&format!("/v1/stores/{store}/writes/lead/{key}"), &["confirmed"])
            .await;
    }
    org.delete("Lead", &gone).await;
    let contact = ids("Contact", "C-Q").await;
    eventually("the cache has the contact", async || {
        let (status, _) = daemon
            .get(&format!("/v1/stores/{store}/customers/{contact}"))
            .await?;
        (status == 200).then_some(())
    })
    .await;
    org.delete("Contact", &contact).await;
    is_emptied(&daemon, "Q-1").await;
    assert!(
        !files_with(&org, "gone@private.example").is_empty(),
        "no change tells of it"
    );

    // A lead that became a contact is no deleted one, though nothing is left of it as a lead.
    let converted = org.control("convert", json!({"lead": became})).await;
    org.delete("Lead", &became).await;
    org.delete("Case", &ids("Case", "K-1").await).await;
    org.delete(
        "s_c__Form_Submission__c",
        &org.some("s_c__Form_Submission__c", "WHERE s_c__sC_Id__c = 'F-1'")
            .await,
    )
    .await;
    daemon.running.kill();
    let text = std::fs::read_to_string(org.config()).unwrap();
    std::fs::write(
        org.config(),
        text.replace("erasure_hours = 0", "erasure_hours = 24"),
    )
    .unwrap();
    daemon = org.daemon().await;
    for (reference, text) in [
        ("lead:gone", "gone@private.example"),
        ("case:K-1", "help@private.example"),
        ("form_submission:F-1", "form@private.example"),
    ] {
        is_emptied(&daemon, reference).await;
        eventually(text, async || files_with(&org, text).is_empty().then_some(())).await;
    }
    for key in ["converted", "there"] {
        assert!(
            !files_with(&org, &format!("{key}@private.example")).is_empty(),
            "{key} is a person still"
        );
    }
    let metrics = daemon.admin_get("/metrics").await;
    let asked = "storesync_erasure_lookups_total{object=\"Lead\"} 1";
    assert!(metrics.as_str().unwrap().contains(asked), "{metrics}");
    org.delete("Contact", converted["contact"].as_str().unwrap())
        .await;
    is_emptied(&daemon, "lead:converted").await;
    eventually("the contact that the lead became is gone", async || {
        files_with(&org, "converted@private.example")
            .is_empty()
            .then_some(())
    })
    .await;
    assert!(!files_with(&org, "there@private.example").is_empty());
}
