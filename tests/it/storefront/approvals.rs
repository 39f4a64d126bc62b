//! A restricted product is sold to an approved account in the number that it is approved for.

use serde_json::{Value, json};

use crate::world::{Sandbox, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_account_buys_as_many_as_it_is_approved_for() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let account = org
        .query("SELECT AccountId FROM Contact WHERE External_ID__c = 'C-3'")
        .await;
    let product = org.some("Product2", "WHERE ProductCode = 'LOCKED-0'").await;
    let approval = json!({"s_c__Account_Id__c": account[0]["AccountId"], "s_c__Product_Id__c": product,
        "s_c__Approved_Quantity__c": 4, "s_c__Purchased_Quantity__c": 1, "s_c__Unlimited__c": false});
    org.create("s_c__Permitted_Restricted_Product__c", approval).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    // Orders stay here.
    org.fault(json!({"path": "/composite", "method": "POST", "fault": {"status": 503}}))
        .await;
    let store = org.some("s_c__Store__c", "").await;
    let shown = async || {
        let path = format!("/v1/stores/{store}/products/LOCKED-0?customer=C-3");
        let (_, product) = daemon.get(&path).await?;
        Some((
            product["purchasable"].clone(),
            product["order_quantity_max"].clone(),
        ))
    };
    let order = async |key: &str, quantity: u32| {
        let posted = json!({"external_id": key, "customer": {"external_id": "C-3"},
            "items": [{"product_code": "LOCKED-0", "quantity": quantity}]});
        let (status, answer) = daemon.place(&store, &posted).await.unwrap();
        (status, answer["reason"].clone())
    };
    eventually("three are left", async || {
        (shown().await? == (json!(true), json!(3))).then_some(())
    })
    .await;
    assert_eq!(order("A-1", 4).await, (422, json!("quantity")));
    assert_eq!(order("A-2", 2).await, (202, Value::Null));
    assert_eq!(shown().await, Some((json!(true), json!(1))));
    assert_eq!(order("A-3", 2).await, (422, json!("quantity")));
    assert_eq!(order("A-4", 1).await, (202, Value::Null));
    assert_eq!(order("A-5", 1).await, (422, json!("restricted")));
    assert_eq!(shown().await.unwrap().0, json!(false));
}
