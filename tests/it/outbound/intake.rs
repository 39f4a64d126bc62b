//! An order that cannot be meant is refused at once, and the refusal says what it is.

use serde_json::{Value, json};

use super::{accepted, configure, refused_field};
use crate::world::{Daemon, Sandbox, a_store, eventually, order};

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

/// The id of some record of an object.
async fn an_id(org: &Sandbox, object: &str) -> String {
    let rows = org.query(&format!("SELECT Id FROM {object} LIMIT 1")).await;
    rows[0]["Id"].as_str().unwrap().to_owned()
}

/// Waits until a daemon has seen what the org looks like.
async fn has_seen(org: &Sandbox) {
    let file = org.state().join("objects.json");
    let seen = async || file.exists().then_some(());
    eventually("the org's objects were seen", seen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_another_object_is_refused_at_once() {
    let org = Sandbox::start(&SMALL).await;
    configure(
        &org,
        "[orders]\nfields = { \"*\" = [\"Order.s_c__Collection_Point_Id__c\"] }",
    );
    let daemon = org.daemon().await;
    daemon.live().await;
    has_seen(&org).await;
    let (store, currency, products) = a_store(&daemon).await;
    let [account, contact, form] = ["Account", "Contact", "s_c__Form__c"];
    let [of_account, of_contact, of_form] = [
        an_id(&org, account).await,
        an_id(&org, contact).await,
        an_id(&org, form).await,
    ];
    for (pointer, value, found, expected) in [
        ("/items/0/product_id", &of_account, account, "Product2"),
        ("/customer/salesforce_id", &of_account, account, contact),
        ("/customer/salesforce_id", &of_form, form, contact),
        ("/membership", &of_account, account, "s_c__Membership__c"),
        (
            "/shipping/stock_location_id",
            &of_contact,
            contact,
            "s_c__Stock_Location__c",
        ),
        (
            "/shipping/stock_location_id",
            &of_form,
            form,
            "s_c__Stock_Location__c",
        ),
        (
            "/discounts/0/promotion_id",
            &of_contact,
            contact,
            "s_c__Promotion2__c",
        ),
        (
            "/fields/s_c__Collection_Point_Id__c",
            &of_form,
            form,
            "s_c__Collection_Point__c",
        ),
    ] {
        let mut posted = order("NO", &currency, &[(&products[0], 1)]);
        posted["customer"] = json!({"salesforce_id": of_contact});
        posted["membership"] = Value::Null;
        posted["fields"] = json!({"s_c__Collection_Point_Id__c": null});
        posted["shipping"] =
            json!({"amount": "1", "stock_location_id": an_id(&org, "s_c__Stock_Location__c").await});
        if pointer.starts_with("/discounts") {
            posted["discounts"] = json!([{"amount": "1", "promotion_id": null}]);
        }
        *posted.pointer_mut(pointer).unwrap() = json!(value);
        let member = pointer
            .trim_start_matches('/')
            .replace("/0", "[0]")
            .replace('/', ".");
        let told = format!("{member} is an id of {found}: give an id of {expected}");
        assert_eq!(refusal(&daemon, &store, &posted).await, (member, told));
    }
    let customer = json!({"external_id": "C-7", "last_name": "Bo"});
    for (path, mut body, member, value, found, expected) in [
        (
            "campaign-members",
            json!({"customer": customer}),
            "campaign_id",
            &of_account,
            account,
            "Campaign",
        ),
        (
            "assets",
            json!({"name": "Drill", "customer": customer}),
            "product_id",
            &of_form,
            form,
            "Product2",
        ),
        (
            "form-submissions",
            json!({"answers": [{"answer": "a"}]}),
            "form_id",
            &of_account,
            account,
            form,
        ),
    ] {
        body["external_id"] = json!("NO");
        body[member] = json!(value);
        let (status, problem) = daemon.post(&format!("/v1/stores/{store}/{path}"), &body).await;
        let told = format!("{member} is an id of {found}: give an id of {expected}");
        assert_eq!(
            (status, problem["detail"].as_str()),
            (422, Some(told.as_str())),
            "{problem}"
        );
    }
    // Nobody here knows whose ids these are.
    let unknown = json!({"external_id": "MAYBE", "campaign_id": "zzz000000000001AAA", "customer": customer});
    let (status, _) = daemon
        .post(&format!("/v1/stores/{store}/campaign-members"), &unknown)
        .await;
    assert_eq!(status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_may_have_15_characters() {
    let org = Sandbox::start(&SMALL).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    has_seen(&org).await;
    let (store, currency, products) = a_store(&daemon).await;
    let short = |id: &str| id[..15].to_owned();
    let mut posted = order("SHORT", &currency, &[(&short(&products[0]), 1)]);
    let contact = an_id(&org, "Contact").await;
    let location = an_id(&org, "s_c__Stock_Location__c").await;
    posted["customer"] = json!({"salesforce_id": short(&contact)});
    posted["membership"] = json!(short(&an_id(&org, "s_c__Membership__c").await));
    posted["shipping"] = json!({"amount": "1", "stock_location_id": short(&location)});
    accepted(&daemon, &store, &posted).await;
    let path = format!("/v1/stores/{store}/orders/SHORT");
    daemon.until(&path, &["sent", "confirmed"]).await;
    let there = format!(
        "OrderItem WHERE Order.External_ID__c = 'SHORT' AND Product2Id = '{}'",
        products[0]
    );
    assert_eq!(org.count(&there).await, 1);
    let there = format!("Order WHERE External_ID__c = 'SHORT' AND BillToContactId = '{contact}'");
    assert_eq!(org.count(&there).await, 1);
    // In either length it is the same order.
    posted["items"][0]["product_id"] = json!(products[0]);
    accepted(&daemon, &store, &posted).await;
}
