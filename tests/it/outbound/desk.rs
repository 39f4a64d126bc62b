//! What people do with writes that could not be delivered, on the command line and over the admin API.

use serde_json::{Value, json};

use super::{accepted, eventually_has};
use crate::world::{Daemon, Sandbox, a_store, order};

/// Orders under these keys are refused by a validation rule until their PO number is set.
pub async fn a_rule(org: &Sandbox) {
    let rule = json!({"validations": [{"object": "Order", "when": "ShippingCity = 'Nowhere'", "message": "No such city.", "field": "ShippingCity"}]});
    org.control("rules", rule).await;
}

fn nowhere(key: &str, currency: &str, product: &str) -> Value {
    let mut posted = order(key, currency, &[(product, 1)]);
    posted["shipping_address"]["city"] = json!("Nowhere");
    posted
}

/// An org with so many orders, BAD-1 and on, that it has refused; and the daemon and the store's id.
pub async fn refused_orders(count: usize) -> (Sandbox, Daemon, String) {
    let org = Sandbox::start(&[]).await;
    a_rule(&org).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    for number in 1..=count {
        let key = format!("BAD-{number}");
        accepted(&daemon, &store, &nowhere(&key, &currency, &products[0])).await;
        daemon
            .until(&format!("/v1/stores/{store}/orders/{key}"), &["needs_attention"])
            .await;
    }
    (org, daemon, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_order_is_shown_edited_and_sent_beside_the_running_daemon() {
    let (org, daemon, store) = refused_orders(1).await;
    let (code, listed, _) = org
        .verb(&[
            "orders",
            "list",
            "--code",
            "FIELD_CUSTOM_VALIDATION_EXCEPTION",
            "--json",
        ])
        .await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((code, listed["items"].as_array().unwrap().len()), (0, 1));
    let (_, shown, _) = org.verb(&["orders", "show", "BAD-1", "--json"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let attempt = &shown["history"][0];
    assert_eq!(attempt["error"]["code"], "FIELD_CUSTOM_VALIDATION_EXCEPTION");
    assert_eq!(attempt["request"][2]["body"]["ShippingCity"], "Nowhere");
    assert_eq!(attempt["response"][2]["body"][0]["message"], "No such city.");

    let (code, edited, said) = org
        .verb(&["orders", "edit", "BAD-1", "--set", "shipping_address.city=Hobart"])
        .await;
    assert_eq!(code, 0, "{said}");
    assert!(
        edited.contains("shipping_address.city: \"Nowhere\" -> \"Hobart\""),
        "{edited}"
    );
    let (code, _, said) = org
        .verb(&["orders", "edit", "BAD-1", "--set", "external_id=OTHER"])
        .await;
    assert!(
        code == 1 && said.contains("external_id cannot be changed"),
        "{said}"
    );
    // Who is told: whoever became another user by sudo, else the user, as far as the system tells.
    let sudo = [("SUDO_USER", "kim"), ("USER", "root"), ("LOGNAME", "root")];
    let plain = [("USER", "lou"), ("LOGNAME", "lee")];
    let city = |city: &str| format!("shipping_address.city={city}");
    for (variables, city) in [(&sudo[..], city("Burnie")), (&plain, city("Hobart"))] {
        let edit = ["orders", "edit", "BAD-1", "--set", &city];
        let (code, _, said) = org.verb_with(variables, &edit).await;
        assert_eq!(code, 0, "{said}");
    }
    let (code, _, said) = org.verb(&["orders", "retry", "BAD-1"]).await;
    assert_eq!(code, 0, "{said}");
    daemon
        .until(
            &format!("/v1/stores/{store}/orders/BAD-1"),
            &["sent", "confirmed"],
        )
        .await;
    let (_, shown, _) = org.verb(&["orders", "show", "BAD-1"]).await;
    assert!(
        shown.contains("edit by kim (command line)")
            && shown.contains("edit by lou (command line)")
            && shown.contains("retry by "),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_given_up_taken_up_again_and_retried_together() {
    let (org, daemon, store) = refused_orders(4).await;
    let (code, ..) = org
        .verb(&["orders", "discard", "BAD-2", "--reason", "the shopper called"])
        .await;
    assert_eq!(code, 0);
    let discarded = daemon
        .until(&format!("/v1/stores/{store}/orders/BAD-2"), &["discarded"])
        .await;
    assert_eq!(
        discarded["error"]["code"], "FIELD_CUSTOM_VALIDATION_EXCEPTION",
        "what was wrong stays"
    );
    let shown: Value =
        serde_json::from_str(&org.verb(&["orders", "show", "BAD-2", "--json"]).await.1).unwrap();
    let number = shown["number"].to_string();
    let (code, _, said) = org.verb(&["orders", "reopen", &number]).await;
    assert_eq!(code, 0, "{said}");
    let edit = ["orders", "edit", &number, "--set", "customer.last_name=Ng"];
    let (code, _, said) = org.verb(&edit).await;
    assert_eq!(code, 0, "{said}");
    let again = json!({"reason": "the shopper called again"});
    for (deed, body) in [("discard", &again), ("reopen", &json!({}))] {
        let (status, answer) = daemon
            .admin_post(&format!("/api/orders/{number}/{deed}"), body)
            .await;
        assert_eq!(status, 200, "{deed}: {answer}");
    }
    let (code, _, said) = org.verb(&["orders", "retry"]).await;
    assert!(code == 64 && said.contains("--all"), "{said}");
    let (code, _, said) = org.verb(&["orders", "show", "NOBODY"]).await;
    assert!(code == 1 && said.contains("NOBODY"), "{said}");

    org.control("rules", json!({})).await;
    let (code, told, _) = org
        .verb(&["orders", "retry", "--text", "bad-", "--per-second", "50"])
        .await;
    assert_eq!((code, told.trim()), (0, "4 writes changed"));
    eventually_has(&org, 4, "Order WHERE External_ID__c LIKE 'BAD-%'").await;
    let (_, exported, _) = org.verb(&["orders", "export", "--kind", "order"]).await;
    let exported: Vec<Value> = exported
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(exported.len(), 4);
    assert_eq!(exported[1]["audit"].as_array().unwrap().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_does_the_same() {
    let (_org, daemon, store) = refused_orders(2).await;
    let page = daemon
        .admin_get("/api/orders?state=needs_attention&limit=1")
        .await;
    assert_eq!(page["items"][0]["external_id"], "BAD-1");
    let next = page["next"].as_i64().unwrap();
    let page = daemon
        .admin_get(&format!("/api/orders?state=needs_attention&cursor={next}"))
        .await;
    assert_eq!(
        (page["items"].as_array().unwrap().len(), &page["next"]),
        (1, &Value::Null)
    );
    assert_eq!(daemon.admin_get("/api/orders?kind=nonsense").await["status"], 400);
    let (_, told) = daemon.get(&format!("/v1/stores/{store}")).await.unwrap();
    for key in [&told["id"], &told["code"]] {
        let key = key.as_str().unwrap();
        let page = daemon.admin_get(&format!("/api/orders?store={key}")).await;
        assert_eq!(page["items"].as_array().unwrap().len(), 2, "{key}: {page}");
    }
    assert_eq!(daemon.admin_get("/api/orders?store=nowhere").await["status"], 400);

    let edit = json!({"actor": "kim", "patch": {"shipping_address": {"city": "Hobart"}}});
    let (status, edited) = daemon.admin_post("/api/orders/BAD-1/edit", &edit).await;
    assert_eq!(status, 200);
    assert_eq!(
        edited["changes"],
        json!([{"path": "shipping_address.city", "from": "Nowhere", "to": "Hobart"}])
    );
    let (status, problem) = daemon
        .admin_post(
            "/api/orders/BAD-1/edit",
            &json!({"patch": {"customer": {"phone": "4111 1111 1111 1111"}}}),
        )
        .await;
    assert_eq!(status, 409, "{problem}");
    let all = json!({"actor": "kim", "per_second": 100, "filter": {"state": "needs_attention"}});
    assert_eq!(
        daemon.admin_post("/api/orders/retry", &all).await,
        (200, json!({"changed": 2, "changes": []}))
    );
    daemon
        .until(
            &format!("/v1/stores/{store}/orders/BAD-1"),
            &["sent", "confirmed"],
        )
        .await;
    is_given_up_and_taken_up(&daemon, &store).await;
}

async fn is_given_up_and_taken_up(daemon: &Daemon, store: &str) {
    let second = format!("/v1/stores/{store}/orders/BAD-2");
    crate::world::eventually("BAD-2 is refused again", async || {
        let (_, told) = daemon.get(&second).await?;
        (told["state"] == "needs_attention" && told["attempts"] == 2).then_some(())
    })
    .await;
    assert_eq!(
        daemon
            .admin_post("/api/orders/BAD-2/discard", &json!({"actor": "kim"}))
            .await
            .0,
        400
    );
    let reason = json!({"actor": "kim", "reason": "called"});
    assert_eq!(
        daemon.admin_post("/api/orders/BAD-2/discard", &reason).await.0,
        200
    );
    assert_eq!(
        daemon.admin_post("/api/orders/BAD-2/retry", &json!({})).await.0,
        409
    );
    assert_eq!(
        daemon.admin_post("/api/orders/BAD-2/reopen", &json!({})).await.0,
        200
    );
    assert_eq!(
        daemon.admin_post("/api/orders/NOBODY/retry", &json!({})).await.0,
        404
    );
    let shown = daemon.admin_get("/api/orders/BAD-2").await;
    let deeds: Vec<&Value> = shown["audit"]
        .as_array()
        .unwrap()
        .iter()
        .map(|deed| &deed["action"])
        .collect();
    assert_eq!(deeds, ["retry", "discard", "reopen"]);
    let exported = daemon.admin_get("/api/orders/export?kind=order").await;
    assert_eq!(exported.as_str().unwrap().lines().count(), 2);
    let exported = daemon.admin_get("/api/orders/export?text=BAD-2").await;
    assert_eq!(exported["external_id"], "BAD-2", "one line: {exported}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_read_through_the_door_of_storefronts() {
    let (org, daemon, _) = refused_orders(1).await;
    let many = "has more digits than a number keeps: send at most 15";
    let twice = "stands twice in the body: send it once";
    let in_file = |name: &str, text: &str| {
        let path = org.state().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let inexact = in_file("inexact.json", r#"{"fields": {"Wide__c": 9007199254740993}}"#);
    let double = in_file("double.json", r#"{"customer": {"phone": "1", "phone": "2"}}"#);
    for (how, value, told) in [
        ("--set", "tax=9007199254740993", format!("tax {many}")),
        (
            "--set",
            r#"customer={"phone": "1", "phone": "2"}"#,
            format!("customer: phone {twice}"),
        ),
        ("--patch", &inexact, format!("fields.Wide__c {many}")),
        ("--patch", &double, format!("customer.phone {twice}")),
    ] {
        let (code, _, said) = org.verb(&["orders", "edit", "BAD-1", how, value]).await;
        assert!(code == 64 && said.contains(&told), "{value}: {code} {said}");
    }
    let edit = |body: &'static str| {
        let address = format!("{}/api/orders/BAD-1/edit", daemon.admin);
        let request = daemon
            .operator()
            .post(address)
            .header("content-type", "application/json")
            .body(body);
        async move { request.send().await.unwrap() }
    };
    let answer = edit(r#"{"patch": {"tax": 19.900000000000000001}}"#).await;
    assert_eq!(answer.status(), 422);
    let told = answer.text().await.unwrap();
    assert!(told.contains(many), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::too_many_lines, reason = "one story, told in its order")]
async fn an_edit_is_taken_as_far_as_intake_would_take_it() {
    let (org, daemon, _) = refused_orders(1).await;
    let other_book = org.some("Pricebook2", "where IsStandard = true").await;
    let entry = "where Pricebook2.IsStandard = true";
    let other_entry = org.some("PricebookEntry", entry).await;
    let long = "x".repeat(81);
    for (path, value, told) in [
        (
            "effective_date",
            "2020-01-01",
            "effective_date must be at most 30 days",
        ),
        (
            "effective_date",
            "2031-01-01",
            "effective_date must be at most 30 days",
        ),
        ("pricebook_id", &other_book, "pricebook_id cannot be changed"),
        ("currency", "XTS", "currency cannot be changed"),
        (
            "fields.Status",
            "Activated",
            "fields.Status is not a field that a store may set",
        ),
        (
            "lines[0].fields.Description",
            "x",
            "fields.Description is not a field",
        ),
        (
            "customer.last_name",
            &long,
            "customer.last_name has 81 characters",
        ),
        (
            "shipping_address.city",
            &long,
            "shipping_address.city has 81 characters",
        ),
        (
            "customer.email",
            "a@localhost",
            "customer.email is not an email address",
        ),
        ("lines[0].quantity", "0", "lines[0].quantity must be"),
        ("lines[0].quantity", "1.005", "lines[0].quantity must be"),
        ("lines[0].quantity", "1234567890123456", "no order any more"),
        (
            "lines[0].unit_price",
            "-5",
            "lines[0].unit_price must be a decimal",
        ),
        (
            "lines[0].pricebook_entry_id",
            &other_entry,
            "lines[0].pricebook_entry_id is not of the order's price book",
        ),
        (
            "lines[0].pricebook_entry_id",
            "01u000000000000AAA",
            "lines[0].pricebook_entry_id is no price book entry",
        ),
        ("lines[9].quantity", "1", "lines has no member 9"),
    ] {
        let set = format!("{path}={value}");
        let (code, _, said) = org.verb(&["orders", "edit", "BAD-1", "--set", &set]).await;
        assert!(code == 1 && said.contains(told), "{set}: {code} {said}");
        let mut patch = json!({});
        storesync::model::write::edit::set(&mut patch, path, json!(value)).unwrap();
        let edit = json!({"actor": "kim", "patch": patch});
        let (status, answer) = daemon.admin_post("/api/orders/BAD-1/edit", &edit).await;
        assert!(
            status == 409 && answer.to_string().contains(told),
            "{patch}: {status} {answer}"
        );
    }
    // Whatever day it is in the store, it is another one.
    let days_ago = storesync::model::clock::Clock::System.now() - 3 * 86_400_000;
    let day = storesync::model::clock::local(days_ago, None).date;
    let day = format!("effective_date={day}");
    for (set, told) in [
        ("lines[0].quantity=3", "lines[0].quantity: \"1\" -> \"3\""),
        ("lines.0.quantity=2", "lines[0].quantity: \"3\" -> \"2\""),
        ("lines[0].unit_price=19.90", "-> \"19.9\""),
        ("customer.last_name=Ng", "-> \"Ng\""),
        (&day, "effective_date: "),
    ] {
        let (code, edited, said) = org.verb(&["orders", "edit", "BAD-1", "--set", set]).await;
        assert!(code == 0 && edited.contains(told), "{set}: {edited} {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_map_says_whom_the_org_is_asked_for() {
    let by_key = "1. external_id: the record with this key in Crm_Key__c";
    let by_id = "2. salesforce_id: the record with this id";
    let by_email = "3. email, of a guest who gives neither: the one record with the address, where exactly one has it (orders.match_guests = \"email\")";
    let never = "3. email: never (orders.match_guests = \"never\")";
    let new = "4. else: a new record";
    for (guests, customers, third, kind) in [
        ("email", "contacts", by_email, "a contact"),
        ("never", "persons", never, "a person account"),
    ] {
        let org = Sandbox::start(&["--products", "1", "--stores", "1"]).await;
        let text = format!(
            "[orders]\nmatch_guests = \"{guests}\"\ncustomers = \"{customers}\"\nexternal_id_field = \"Crm_Key__c\""
        );
        super::configure(&org, &text);
        let (code, told, said) = org.verb(&["orders", "map"]).await;
        assert_eq!(code, 0, "{said}");
        for line in [kind, by_key, by_id, third, new] {
            assert!(told.contains(line), "{line}: {told}");
        }
    }
}
