//! Customers across stores, their orders told once, and records that are opted out again.

use serde_json::{Value, json};

use crate::world::{Sandbox, eventually};

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "one story, told in its order")]
async fn a_customer_is_known_by_every_key_and_sees_each_order_once() {
    let sandbox = Sandbox::start(&["--products", "30", "--stores", "2"]).await;
    let contact = &sandbox
        .query("SELECT Id, AccountId, Email, s_c__sC_Id__c FROM Contact WHERE External_ID__c = 'C-1'")
        .await[0];
    let text = |field: &str| contact[field].as_str().unwrap().to_owned();
    // With what the org has of it already, two orders.
    let order = json!({"AccountId": text("AccountId"), "BillToContactId": text("Id"), "EffectiveDate": "2026-11-22",
        "Status": "Draft"});
    sandbox.create("Order", order).await;
    let daemon = sandbox.daemon().await;
    daemon.live().await;
    for key in [
        text("Id"),
        "C-1".to_owned(),
        text("Email").to_uppercase(),
        text("s_c__sC_Id__c"),
    ] {
        let (status, customer) = daemon
            .get(&format!("/v1/stores/northlight/customers/{key}"))
            .await
            .unwrap();
        assert_eq!(status, 200, "{key}: {customer}");
        assert_eq!(customer["contact"]["id"], contact["Id"], "{key}");
        assert_eq!(customer["account"]["id"], contact["AccountId"], "{key}");
    }
    assert_eq!(
        daemon
            .get("/v1/stores/northlight/customers/nobody@mail.example")
            .await
            .unwrap()
            .0,
        404
    );
    let contact = text("Id");
    let past = sandbox
        .count(&format!("Order WHERE BillToContactId = '{contact}'"))
        .await;
    assert_eq!(past, 2);
    let path = "/v1/stores/northlight/customers/C-1/orders?limit=100";
    let orders = |page: &Value, key: &str| {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|order| order["external_id"] == key)
            .cloned()
            .collect::<Vec<_>>()
    };
    let (_, page) = daemon.get(path).await.unwrap();
    assert_eq!(
        page["items"].as_array().unwrap().len() as u64,
        past,
        "the customer's own"
    );
    assert!(
        page["items"][0]["items"][0]["unit_price"]["amount"].is_string(),
        "{page}"
    );
    assert!(past >= 2, "{past}");
    // One that the org cannot take yet is there at once, and once when it comes back.
    sandbox
        .fault(json!({"path": "/composite", "except": "/sobjects/", "times": 3, "fault": {"status": 503}}))
        .await;
    let order = json!({"external_id": "WEB-77", "customer": {"external_id": "C-1", "email": text("Email"), "last_name": "Lee"},
        "items": [{"product_code": "SKU-1", "quantity": 1}]});
    let (status, answer) = daemon.place("harbour-pine", &order).await.unwrap();
    assert_eq!(status, 202, "{answer}");
    let (_, page) = daemon.get(path).await.unwrap();
    assert_eq!(orders(&page, "WEB-77").len(), 1, "{page}");
    let short = "/v1/stores/northlight/customers/C-1/orders?limit=1";
    let (_, page) = daemon.get(short).await.unwrap();
    assert_eq!(orders(&page, "WEB-77").len(), 1, "{page}");
    let next = page["next"].as_str().unwrap();
    let next = format!("{short}&cursor={}", next.replace(' ', "%20"));
    let (_, page) = daemon.get(&next).await.unwrap();
    assert_eq!(
        orders(&page, "WEB-77").len(),
        0,
        "on the first page alone: {page}"
    );
    eventually("the order is the org's", async || {
        let (_, page) = daemon.get(path).await?;
        let found = orders(&page, "WEB-77");
        assert_eq!(found.len(), 1, "{page}");
        (found[0]["state"] == "confirmed" && found[0]["id"].is_string()).then_some(())
    })
    .await;
    let (_, cases) = daemon
        .get("/v1/stores/northlight/customers/C-1/cases")
        .await
        .unwrap();
    let of_contact = sandbox
        .count(&format!("Case WHERE ContactId = '{contact}'"))
        .await;
    assert_eq!(cases["items"].as_array().unwrap().len() as u64, of_contact);
    let (_, trade) = daemon
        .get("/v1/stores/northlight/customers/TRADE-1")
        .await
        .unwrap();
    assert_eq!(
        trade["points"][0]["points"], 100,
        "activated points alone: {trade}"
    );
    // They are the account's, whoever of its contacts asks.
    for key in ["TRADE-1", "TRADE-1-buyer", "TRADE-1-viewer"] {
        let path = format!("/v1/stores/northlight/customers/{key}/points");
        let (_, points) = daemon.get(&path).await.unwrap();
        assert_eq!(points["items"].as_array().unwrap().len(), 3, "{key}: {points}");
    }
}

/// Gives accounts the field by which an org says which of them are mirrored.
pub async fn let_accounts_be_opted_in(sandbox: &Sandbox) {
    let field = json!({"add": {"object": "Account", "name": "StoreConnect_Sync__c", "type": "Picklist 255", "words": "",
        "picklist": ["enable_sync", "disable_sync"], "label": "StoreConnect Sync"}});
    sandbox.control("schema", field).await;
}

#[tokio::test]
async fn a_record_is_mirrored_while_the_org_opts_it_in() {
    let sandbox = Sandbox::start(&["--products", "8", "--stores", "1"]).await;
    let_accounts_be_opted_in(&sandbox).await;
    let id = sandbox.some("Account", "WHERE External_ID__c = 'C-1'").await;
    sandbox
        .update("Account", &id, json!({"StoreConnect_Sync__c": "enable_sync"}))
        .await;
    let daemon = sandbox.daemon().await;
    daemon.live().await;
    let there = async || {
        let (_, page) = daemon.get("/v1/objects/Account?limit=500&fields=id").await?;
        let rows = page["items"]
            .as_array()?
            .iter()
            .map(|row| row["id"].as_str().unwrap_or_default().to_owned());
        Some(rows.collect::<Vec<_>>())
    };
    assert_eq!(
        there().await.unwrap(),
        std::slice::from_ref(&id),
        "no account that was not opted in"
    );
    sandbox
        .update("Account", &id, json!({"StoreConnect_Sync__c": "disable_sync"}))
        .await;
    eventually("an account that is opted out is gone", async || {
        there().await.filter(Vec::is_empty)
    })
    .await;
    sandbox
        .update("Account", &id, json!({"StoreConnect_Sync__c": "enable_sync"}))
        .await;
    eventually("an account that is opted in again is back", async || {
        there().await.filter(|rows| *rows == [id.clone()])
    })
    .await;
}
