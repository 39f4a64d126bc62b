//! An order that cannot be meant is refused at once, and the refusal says what it is.

use serde_json::{Value, json};

use super::{accepted, configure, refused_field};
use crate::world::{Daemon, Sandbox, a_store, order};

const SMALL: [&str; 4] = ["--products", "12", "--stores", "1"];

/// Posts an order that has to be refused: the member that is named, and the whole sentence.
async fn refusal(daemon: &Daemon, store: &str, posted: &Value) -> (String, String) {
    let (status, problem) = daemon.place(store, posted).await.unwrap();
    assert_eq!(status, 422, "{posted}: {problem}");
    let text = |member: &str| problem[member].as_str().unwrap().to_owned();
    (text("field"), text("detail"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_names_no_product_but_the_one_that_stands_for_it() {
    let org = Sandbox::start(&SMALL).await;
    let rows = org
        .query("SELECT Id, ProductCode FROM Product2 WHERE ProductCode != null AND IsActive = true")
        .await;
    let code = |id: &str| {
        let row = rows.iter().find(|row| row["Id"] == id).unwrap();
        row["ProductCode"].as_str().unwrap().to_owned()
    };
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let with = |key: &str, member: &str, charge: &Value| {
        let mut posted = order(key, &currency, &[(&products[0], 1)]);
        posted[member] = if member == "discounts" {
            json!([charge])
        } else {
            charge.clone()
        };
        posted
    };
    for (member, path, key) in [
        ("shipping", "shipping.product_id", "orders.shipping_product"),
        ("discounts", "discounts[0].product_id", "orders.discount_product"),
    ] {
        let posted = with("NONE", member, &json!({"amount": "1", "product_id": products[0]}));
        let (field, told) = refusal(&daemon, &store, &posted).await;
        assert_eq!(field, path);
        assert!(told.contains(key), "{told}");
    }
    drop(daemon);
    let designated = [&products[1], &products[2]];
    configure(
        &org,
        &format!(
            "[orders]\nshipping_product = \"{}\"\ndiscount_product = \"{}\"",
            code(designated[0]),
            code(designated[1])
        ),
    );
    let daemon = org.daemon().await;
    daemon.live().await;
    let entry = |product: &str| {
        let soql = format!(
            "SELECT Id FROM PricebookEntry WHERE Product2Id = '{product}' AND CurrencyIsoCode = '{currency}' \
             AND Pricebook2Id IN (SELECT s_c__Pricebook_Id__c FROM s_c__Store__c)"
        );
        let org = &org;
        async move {
            let rows = org.query(&soql).await;
            rows[0]["Id"].as_str().unwrap().to_owned()
        }
    };
    for (member, path, own) in [
        ("shipping", "shipping", designated[0]),
        ("discounts", "discounts[0]", designated[1]),
    ] {
        let other = &products[3];
        for (name, wrong, right) in [
            ("product_id", other.clone(), own.clone()),
            ("product_code", code(other), code(own)),
            ("pricebook_entry_id", entry(other).await, entry(own).await),
        ] {
            let posted = with("WRONG", member, &json!({"amount": "1", name: wrong}));
            let (field, told) = refusal(&daemon, &store, &posted).await;
            assert_eq!(field, format!("{path}.{name}"));
            assert!(told.contains("is not the product that stands for"), "{told}");
            let posted = with(
                &format!("RIGHT-{member}-{name}"),
                member,
                &json!({"amount": "1", name: right}),
            );
            accepted(&daemon, &store, &posted).await;
        }
    }
    let mut above = with("ABOVE", "discounts", &json!({"amount": "100000"}));
    assert_eq!(
        refused_field(&daemon, &store, &above).await,
        "discounts[0].amount"
    );
    above["discounts"] = Value::Null;
    above["items"][0]["discount"] = json!("100000");
    assert_eq!(refused_field(&daemon, &store, &above).await, "items[0].discount");
}
