//! Tax, discounts, coupons, payments and shipping of an order: each in its place in the org, or refused with the key that
//! names one.

use serde_json::{Value, json};

use super::{accepted, configure, refused_field};
use crate::world::{Daemon, Row, Sandbox, a_store, eventually, order};

const SMALL: [&str; 4] = ["--products", "12", "--stores", "1"];

/// Waits until an order is in the org.
async fn arrived(daemon: &Daemon, store: &str, key: &str) {
    let path = format!("/v1/stores/{store}/orders/{key}");
    let told = daemon
        .until(&path, &["sent", "confirmed", "needs_attention"])
        .await;
    assert_ne!(told["state"], "needs_attention", "{told}");
}

/// The only row of an object that belongs to the order.
async fn one(org: &Sandbox, fields: &str, from: &str) -> Row {
    let rows = org.query(&format!("SELECT {fields} FROM {from}")).await;
    assert_eq!(rows.len(), 1, "{from}");
    rows.into_iter().next().unwrap()
}

fn values(row: &Row, fields: &[&str]) -> Vec<Value> {
    fields.iter().map(|field| row[*field].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn storeconnect_has_a_place_for_each_part_of_an_order() {
    let org = Sandbox::start(&SMALL).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let promotion = one(
        &org,
        "Id, s_c__Coupon_Code__c",
        "s_c__Promotion2__c WHERE s_c__Coupon_Code__c != null",
    )
    .await;
    let coupon = promotion["s_c__Coupon_Code__c"].as_str().unwrap().to_lowercase();
    let counter = one(&org, "s_c__Stock_Location_Id__c", "s_c__Collection_Point__c").await;
    let mut posted = order("PLACE-1", &currency, &[(&products[0], 2), (&products[1], 1)]);
    posted["items"][0]["tax"] = json!("1.82");
    posted["items"][0]["discount"] = json!("2.5");
    posted["items"][1]["tax"] = json!("0.45");
    posted["shipping"] = json!({"amount": "9.95", "label": "Express delivery"});
    posted["discounts"] = json!([{"amount": "5", "coupon": coupon}]);
    posted["payments"] = json!([{"reference": "pi_1", "amount": "40.00", "method": "Stripe", "status": "paid",
        "paid_at": "2026-11-22T09:30:00Z"}]);
    accepted(&daemon, &store, &posted).await;
    arrived(&daemon, &store, "PLACE-1").await;
    lines_stand(&org, &products).await;
    let location = &counter["s_c__Stock_Location_Id__c"];
    records_stand(&org, &currency, &promotion["Id"], location).await;

    let mut unknown = order("PLACE-2", &currency, &[(&products[0], 1)]);
    unknown["discounts"] = json!([{"amount": "5", "coupon": "NO-SUCH"}]);
    assert_eq!(
        refused_field(&daemon, &store, &unknown).await,
        "discounts[0].coupon"
    );
}

/// Tax and discount of each item of PLACE-1.
async fn lines_stand(org: &Sandbox, products: &[String]) {
    let soql = "SELECT Product2Id, s_c__Tax_Amount__c, s_c__Total_of_Discounts__c FROM OrderItem WHERE Order.External_ID__c = 'PLACE-1' ORDER BY Quantity DESC";
    let lines = org.query(soql).await;
    let lines: Vec<_> = lines
        .iter()
        .map(|line| {
            values(
                line,
                &["Product2Id", "s_c__Tax_Amount__c", "s_c__Total_of_Discounts__c"],
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            vec![json!(products[0]), json!(1.82), json!(2.5)],
            vec![json!(products[1]), json!(0.45), Value::Null]
        ]
    );
}

/// Shipment, promotion and payment of PLACE-1.
async fn records_stand(org: &Sandbox, currency: &str, promotion: &Value, location: &Value) {
    let placed = one(
        org,
        "Id, AccountId, BillToContactId",
        "Order WHERE External_ID__c = 'PLACE-1'",
    )
    .await;
    let id = placed["Id"].as_str().unwrap();
    let of_order = |object: &str| format!("{object} WHERE s_c__Order_Id__c = '{id}'");
    let shipment = [
        "s_c__Charge__c",
        "s_c__Provider_Service__c",
        "s_c__Stock_Location_Id__c",
        "CurrencyIsoCode",
    ];
    let there = one(org, &shipment.join(", "), &of_order("s_c__Shipment__c")).await;
    assert_eq!(
        values(&there, &shipment),
        [
            json!(9.95),
            json!("Express delivery"),
            location.clone(),
            json!(currency)
        ]
    );
    let usage = [
        "s_c__Promotion2_Id__c",
        "s_c__Total_Value__c",
        "s_c__Account_Id__c",
        "s_c__Contact_Id__c",
        "CurrencyIsoCode",
    ];
    let there = one(org, &usage.join(", "), &of_order("s_c__Promotion2_Usage__c")).await;
    let persons = values(&placed, &["AccountId", "BillToContactId"]);
    assert_eq!(
        values(&there, &usage),
        [
            promotion.clone(),
            json!(5.0),
            persons[0].clone(),
            persons[1].clone(),
            json!(currency)
        ]
    );
    let payment = [
        "s_c__Transaction_Number__c",
        "s_c__Amount__c",
        "s_c__Method__c",
        "s_c__Status__c",
        "s_c__Paid_At__c",
        "CurrencyIsoCode",
    ];
    let there = one(org, &payment.join(", "), &of_order("s_c__Payment__c")).await;
    assert_eq!(
        values(&there, &payment),
        [
            json!("pi_1"),
            json!(40.0),
            json!("Stripe"),
            json!("paid"),
            json!("2026-11-22T09:30:00.000+0000"),
            json!(currency)
        ]
    );
}

/// What each part is refused with where the org has no place for it: the field, and the key that names one.
async fn refusals(daemon: &Daemon, store: &str, posted: &Value) {
    for (pointer, member, value, field, key) in [
        ("", "tax", json!("3.10"), "tax", "\"order.tax\""),
        (
            "/items/0",
            "tax",
            json!("1"),
            "items[0].tax",
            "\"order_item.tax\"",
        ),
        (
            "/items/0",
            "discount",
            json!("1"),
            "items[0].discount",
            "\"order_item.discount\"",
        ),
        (
            "",
            "shipping",
            json!({"amount": "9.95"}),
            "shipping",
            "orders.shipping_product",
        ),
        (
            "",
            "discounts",
            json!([{"amount": "5"}]),
            "discounts[0]",
            "orders.discount_product",
        ),
        (
            "",
            "discounts",
            json!([{"amount": "5", "coupon": "X"}]),
            "discounts[0].coupon",
            "\"order.coupon\"",
        ),
        (
            "",
            "payments",
            json!([{"reference": "r", "amount": "1"}]),
            "payments[0].amount",
            "\"payment.object\"",
        ),
        (
            "",
            "payments",
            json!([{"reference": "r"}, {"reference": "s"}]),
            "payments[1]",
            "\"payment.object\"",
        ),
    ] {
        let mut posted = posted.clone();
        posted.pointer_mut(pointer).unwrap()[member] = value;
        let (status, problem) = daemon.place(store, &posted).await.unwrap();
        assert_eq!((status, &problem["field"]), (422, &json!(field)), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(key), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_org_has_the_places_that_the_configuration_names() {
    let org = Sandbox::start(&SMALL).await;
    for (object, name, kind) in [
        ("Order", "Tax__c", "Currency 16,2"),
        ("Order", "Freight__c", "Currency 16,2"),
        ("Order", "Saved__c", "Currency 16,2"),
        ("Order", "Coupons__c", "Text 80"),
        ("OrderItem", "Tax__c", "Currency 16,2"),
        ("OrderItem", "Saved__c", "Currency 16,2"),
    ] {
        org.control(
            "schema",
            json!({"add": {"object": object, "name": name, "type": kind}}),
        )
        .await;
    }
    let plain = org
        .daemon_with(&[("STORESYNC__ORDERS__PROFILE", "standard")])
        .await;
    plain.live().await;
    let (store, currency, products) = a_store(&plain).await;
    let mut posted = order("PLAIN-1", &currency, &[(&products[0], 2)]);
    refusals(&plain, &store, &posted).await;
    drop(plain);
    configure(
        &org,
        "[orders]\nprofile = \"standard\"\nmap = { \"order.tax\" = \"Tax__c\", \"order.shipping\" = \"Freight__c\", \
         \"order.discount\" = \"Saved__c\", \"order.coupon\" = \"Coupons__c\", \"order_item.tax\" = \"Tax__c\", \
         \"order_item.discount\" = \"Saved__c\" }",
    );
    let daemon = org.daemon().await;
    daemon.live().await;
    posted["tax"] = json!("3.10");
    posted["items"][0]["tax"] = json!("3.1");
    posted["items"][0]["discount"] = json!("0.5");
    posted["shipping"] = json!({"amount": "9.95"});
    posted["discounts"] = json!([{"amount": "5", "coupon": "SPRING"}, {"amount": "1.25", "coupon": "NEW"}]);
    posted["payments"] = json!([{"reference": "pi_7"}]);
    accepted(&daemon, &store, &posted).await;
    arrived(&daemon, &store, "PLAIN-1").await;
    let fields = [
        "Tax__c",
        "Freight__c",
        "Saved__c",
        "Coupons__c",
        "OrderReferenceNumber",
    ];
    let there = one(&org, &fields.join(", "), "Order WHERE External_ID__c = 'PLAIN-1'").await;
    assert_eq!(
        values(&there, &fields),
        [
            json!(3.1),
            json!(9.95),
            json!(6.25),
            json!("SPRING, NEW"),
            json!("pi_7")
        ]
    );
    let line = one(
        &org,
        "Tax__c, Saved__c",
        "OrderItem WHERE Order.External_ID__c = 'PLAIN-1'",
    )
    .await;
    assert_eq!(values(&line, &["Tax__c", "Saved__c"]), [json!(3.1), json!(0.5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_the_user_may_not_set_is_no_place() {
    let org = Sandbox::start(&SMALL).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    drop(daemon);
    org.control(
        "permissions",
        json!({"object": "OrderItem", "read_only": ["s_c__Tax_Amount__c"]}),
    )
    .await;
    let daemon = org.daemon().await;
    let posted = |number: u32| {
        let mut posted = order(&format!("SET-{number}"), &currency, &[(&products[0], 1)]);
        posted["items"][0]["tax"] = json!("1");
        posted
    };
    // Until the org is described, the profile alone says where a place is: such an order waits for a person.
    let mut number = 0;
    let field = eventually("the org is described", async || {
        number += 1;
        let (status, problem) = daemon.place(&store, &posted(number)).await?;
        (status == 422).then(|| problem["field"].clone())
    })
    .await;
    assert_eq!(field, json!("items[0].tax"));
    for earlier in 1..number {
        let path = format!("/v1/stores/{store}/orders/SET-{earlier}");
        let (status, _) = daemon.get(&path).await.unwrap();
        if status == 200 {
            let told = daemon.until(&path, &["needs_attention"]).await;
            assert_eq!(told["error"]["code"], "FIELD_NOT_WRITABLE", "{told}");
        }
    }
}
