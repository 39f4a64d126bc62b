//! Each kind of write, from its request to its record.

use reqwest::Method;
use serde_json::{Value, json};

use super::{accepted, configure, eventually_has, refused_field};
use crate::world::Daemon;
use crate::world::{Sandbox, a_store, order};

/// One write of each kind, by the last part of its address.
fn bodies(campaign: &str, form: &str, question: &str, product: &str) -> [(&'static str, Value); 6] {
    let customer = json!({"external_id": "C-77", "email": "bo@example.com", "last_name": "Bo", "phone": "+61 400 000 000",
        "birthdate": "1990-02-01", "shipping_address": {"city": "Hobart"}});
    let named = json!({"external_id": "C-77"});
    [
        ("customers", customer),
        (
            "cases",
            json!({"external_id": "K-1", "subject": "Late", "description": "where is it", "customer": named, "fields": {"Reason": "Delivery", "Origin": "Phone"}}),
        ),
        (
            "leads",
            json!({"external_id": "L-1", "last_name": "Newcomer", "email": "new@example.com", "address": {"city": "Perth"}}),
        ),
        (
            "campaign-members",
            json!({"external_id": "M-1", "campaign_id": campaign, "customer": named}),
        ),
        (
            "assets",
            json!({"external_id": "A-1", "name": "Drill", "product_id": product, "price": "19.90", "customer": named}),
        ),
        (
            "form-submissions",
            json!({"external_id": "F-1", "form_id": form, "order_external_id": "WEB-K", "customer": named,
                "answers": [{"question_id": question, "question": "Why?", "answer": ["a", "b"]}, {"answer": 7}]}),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_write_arrives_once() {
    let org = Sandbox::start(&[]).await;
    configure(
        &org,
        "[orders]\nfields = { \"*\" = [\"Case.Reason\", \"Case.Origin\"] }\necho_seconds = 1",
    );
    let campaign = org.create("Campaign", json!({"Name": "News"})).await;
    let form = org.some("s_c__Form__c", "").await;
    let question = org.some("s_c__Form_Question__c", "").await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    accepted(&daemon, &store, &order("WEB-K", &currency, &[(&products[0], 1)])).await;
    for (path, body) in bodies(&campaign, &form, &question, &products[0]) {
        let (status, answer) = daemon.post(&format!("/v1/stores/{store}/{path}"), &body).await;
        assert_eq!(status, 202, "{path}: {answer}");
        let (again, same) = daemon.post(&format!("/v1/stores/{store}/{path}"), &body).await;
        assert_eq!(
            (again, &same),
            (202, &answer),
            "the same answer to the same write"
        );
        let url = answer["status_url"].as_str().unwrap();
        daemon.until(url, &["confirmed"]).await;
    }
    for from in [
        "Contact WHERE External_ID__c = 'C-77' AND LastName = 'Bo' AND Birthdate = 1990-02-01",
        "Case WHERE External_ID__c = 'K-1' AND Contact.External_ID__c = 'C-77' AND Origin = 'Phone' AND Reason = 'Delivery'",
        "Lead WHERE External_ID__c = 'L-1' AND City = 'Perth' AND Company = 'Newcomer' AND LeadSource = 'Web'",
        "CampaignMember WHERE Contact.External_ID__c = 'C-77'",
        "Asset WHERE External_ID__c = 'A-1' AND Account.External_ID__c = 'C-77' AND Price = 19.9",
        "s_c__Form_Submission__c WHERE s_c__sC_Id__c = 'F-1' AND s_c__Order_Id__r.External_ID__c = 'WEB-K'",
    ] {
        assert_eq!(org.count(from).await, 1, "{from}");
    }
    assert_eq!(
        org.count("s_c__Form_Answer__c WHERE s_c__Form_Submission_Id__r.s_c__sC_Id__c = 'F-1'")
            .await,
        2
    );

    let url = format!("/v1/stores/{store}/customers/C-77");
    let change = json!({"email": "bo@new.example", "last_name": "Bo"});
    let (status, problem) = daemon.send(Method::PATCH, &daemon.api, &url, None, &change).await;
    assert_eq!((status, &problem["field"]), (422, &json!("Idempotency-Key")));
    let (status, answer) = daemon
        .send(Method::PATCH, &daemon.api, &url, Some("E-1"), &change)
        .await;
    assert_eq!(status, 202, "{answer}");
    eventually_has(
        &org,
        1,
        "Contact WHERE External_ID__c = 'C-77' AND Email = 'bo@new.example'",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_has_shipping_discounts_and_payments_and_is_activated() {
    let org = Sandbox::start(&[]).await;
    let rows = org
        .query("SELECT Id, ProductCode FROM Product2 WHERE ProductCode != null AND IsActive = true")
        .await;
    let daemon = org
        .daemon_with(&[("STORESYNC__ORDERS__PROFILE", "standard")])
        .await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let code = |id: &str| {
        let row = rows.iter().find(|row| row["Id"] == id).unwrap();
        row["ProductCode"].as_str().unwrap().to_owned()
    };
    let mut posted = order("WEB-S", &currency, &[(&products[0], 2)]);
    posted["shipping"] = json!({"amount": "9.95", "label": "Express"});
    assert_eq!(refused_field(&daemon, &store, &posted).await, "shipping");
    drop(daemon);
    configure(
        &org,
        &format!(
            "[orders]\nshipping_product = \"{}\"\ndiscount_product = \"{}\"\nstatus = \"Activated\"\nprices = \"book\"
             fields = {{ \"{store}\" = [\"Order.PoNumber\"] }}\ncancelled_status = \"Completed\"",
            code(&products[1]),
            code(&products[2])
        ),
    );
    let daemon = org.daemon().await;
    daemon.live().await;
    posted["discounts"] = json!([{"amount": "5", "label": "SPRING"}]);
    posted["payments"] = json!([{"reference": "pi_1", "amount": "20.00", "method": "card", "paid_at": "2026-11-22T09:30:00Z"}]);
    posted["fields"] = json!({"PoNumber": "PO-9", "Description": "not allowed"});
    assert_eq!(
        refused_field(&daemon, &store, &posted).await,
        "fields.Description"
    );
    posted["fields"] = json!({"PoNumber": "PO-9"});
    posted["items"][0]["unit_price"] = json!("0.01");
    assert_eq!(
        refused_field(&daemon, &store, &posted).await,
        "items[0].unit_price"
    );
    posted["items"][0].as_object_mut().unwrap().remove("unit_price");
    accepted(&daemon, &store, &posted).await;
    daemon
        .until(
            &format!("/v1/stores/{store}/orders/WEB-S"),
            &["sent", "confirmed"],
        )
        .await;
    assert_eq!(
        org.count("Order WHERE External_ID__c = 'WEB-S' AND Status = 'Activated' AND PoNumber = 'PO-9'")
            .await,
        1
    );
    let lines = org
        .query("SELECT UnitPrice, Description FROM OrderItem WHERE Order.External_ID__c = 'WEB-S' AND Description != null ORDER BY UnitPrice")
        .await;
    let lines: Vec<(Option<f64>, &Value)> = lines
        .iter()
        .map(|line| (line["UnitPrice"].as_f64(), &line["Description"]))
        .collect();
    assert_eq!(
        lines,
        [(Some(-5.0), &json!("SPRING")), (Some(9.95), &json!("Express"))]
    );
    let payment = "s_c__Payment__c WHERE s_c__Order_Id__r.External_ID__c = 'WEB-S' AND s_c__Amount__c = 20";
    assert_eq!(org.count(payment).await, 1);

    updates_reach_it(&org, &daemon, &store).await;
}

/// What happens to an order later.
async fn updates_reach_it(org: &Sandbox, daemon: &Daemon, store: &str) {
    let updates = format!("/v1/stores/{store}/orders/WEB-S/updates");
    for (key, body) in [
        ("U-1", json!({"payment": {"reference": "pi_2", "amount": "4.95"}})),
        ("U-2", json!({"shipping_address": {"city": "Launceston"}})),
        ("U-3", json!({"cancelled": {"reason": "changed my mind"}})),
    ] {
        let (status, answer) = daemon
            .send(Method::POST, &daemon.api, &updates, Some(key), &body)
            .await;
        assert_eq!(status, 202, "{answer}");
        daemon
            .until(answer["status_url"].as_str().unwrap(), &["sent", "confirmed"])
            .await;
    }
    let changed =
        "Order WHERE External_ID__c = 'WEB-S' AND Status = 'Completed' AND ShippingCity = 'Launceston'";
    assert_eq!(org.count(changed).await, 1);
    assert_eq!(
        org.count("s_c__Payment__c WHERE s_c__Order_Id__r.External_ID__c = 'WEB-S'")
            .await,
        2
    );
    // One that the org has no more is not made again by what was to happen to it.
    let order = org.some("Order", "WHERE External_ID__c = 'WEB-S'").await;
    org.update("Order", &order, json!({"Status": "Draft"})).await;
    org.delete("Order", &order).await;
    let late = json!({"external_id": "U-5", "shipping_address": {"city": "Perth"}});
    let (status, answer) = daemon.post(&updates, &late).await;
    assert_eq!(status, 202, "{answer}");
    daemon
        .until(answer["status_url"].as_str().unwrap(), &["needs_attention"])
        .await;
    assert_eq!(org.count("Order WHERE External_ID__c = 'WEB-S'").await, 0);
    let (status, _) = daemon
        .post(
            &format!("/v1/stores/{store}/orders/NO-SUCH/updates"),
            &json!({"external_id": "U-4", "cancelled": {}}),
        )
        .await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_never_sent_before_its_order() {
    let org = Sandbox::start(&[]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let rule = json!({"object": "Order", "when": "ShippingCity = 'Nowhere'", "message": "no", "field": "ShippingCity"});
    org.control("rules", json!({"validations": [rule]})).await;
    let mut posted = order("WEB-U", &currency, &[(&products[0], 1)]);
    posted["shipping_address"]["city"] = json!("Nowhere");
    accepted(&daemon, &store, &posted).await;
    let path = format!("/v1/stores/{store}/orders/WEB-U");
    daemon.until(&path, &["needs_attention"]).await;
    let update = json!({"external_id": "U-1", "shipping_address": {"city": "Launceston"}});
    let (status, answer) = daemon.post(&format!("{path}/updates"), &update).await;
    assert_eq!(status, 202, "{answer}");
    let url = answer["status_url"].as_str().unwrap();
    let waiting = daemon.until(url, &["queued"]).await;
    assert_eq!(
        (&waiting["waits_for"], &waiting["attempts"]),
        (&json!("WEB-U"), &json!(0))
    );
    let (status, _) = daemon.admin_post("/api/orders/WEB-U/retry", &json!({})).await;
    assert_eq!(status, 200);
    // It is refused once more.
    daemon.until(&path, &["needs_attention"]).await;
    org.control("rules", json!({"validations": []})).await;
    daemon.admin_post("/api/orders/WEB-U/retry", &json!({})).await;
    daemon.until(url, &["sent", "confirmed"]).await;
    assert_eq!(
        org.count("Order WHERE External_ID__c = 'WEB-U' AND ShippingCity = 'Launceston'")
            .await,
        1
    );
}
