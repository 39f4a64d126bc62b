//! An order that cannot be meant is refused at once, and the refusal says what it is.

use reqwest::Method;
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

/// Where the configuration designates no product, none may be named.
async fn none_is_named(daemon: &Daemon, store: &str, with: impl Fn(&str, &str, &Value) -> Value) {
    for (member, path, key) in [
        ("shipping", "shipping.product_id", "orders.shipping_product"),
        ("discounts", "discounts[0].product_id", "orders.discount_product"),
    ] {
        let posted = with(
            "NONE",
            member,
            &json!({"amount": "1", "product_id": "01t000000000001AAA"}),
        );
        let (field, told) = refusal(daemon, store, &posted).await;
        assert_eq!(field, path);
        assert!(told.contains(key), "{told}");
    }
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
    none_is_named(&daemon, &store, with).await;
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
}

#[tokio::test(flavor = "multi_thread")]
async fn discounts_take_off_no_more_than_there_is() {
    let org = Sandbox::start(&SMALL).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let mut above = order("ABOVE", &currency, &[(&products[0], 1)]);
    above["discounts"] = json!([{"amount": "100000"}]);
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

const FORM: &str = "s_c__Form__c";

/// Pointer, id, the object that it is of, and the one that is wanted.
fn wrong_ids<'a>(
    of_account: &'a str,
    of_contact: &'a str,
    of_form: &'a str,
) -> Vec<(&'static str, &'a str, &'static str, &'static str)> {
    vec![
        ("/items/0/product_id", of_account, "Account", "Product2"),
        ("/customer/salesforce_id", of_account, "Account", "Contact"),
        ("/customer/salesforce_id", of_form, FORM, "Contact"),
        ("/membership", of_account, "Account", "s_c__Membership__c"),
        (
            "/shipping/stock_location_id",
            of_contact,
            "Contact",
            "s_c__Stock_Location__c",
        ),
        (
            "/shipping/stock_location_id",
            of_form,
            FORM,
            "s_c__Stock_Location__c",
        ),
        (
            "/discounts/0/promotion_id",
            of_contact,
            "Contact",
            "s_c__Promotion2__c",
        ),
        (
            "/fields/s_c__Collection_Point_Id__c",
            of_form,
            FORM,
            "s_c__Collection_Point__c",
        ),
    ]
}

/// Writes besides orders with an id of another object, and one with an id that nobody here knows.
async fn other_writes(daemon: &Daemon, store: &str, of_account: &str, of_form: &str) {
    let customer = json!({"external_id": "C-7", "last_name": "Bo"});
    for (path, mut body, member, value, found, expected) in [
        (
            "campaign-members",
            json!({"customer": customer}),
            "campaign_id",
            of_account,
            "Account",
            "Campaign",
        ),
        (
            "assets",
            json!({"name": "Drill", "customer": customer}),
            "product_id",
            of_form,
            FORM,
            "Product2",
        ),
        (
            "form-submissions",
            json!({"answers": [{"answer": "a"}]}),
            "form_id",
            of_account,
            "Account",
            FORM,
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
    let [of_account, of_contact, of_form] = [
        an_id(&org, "Account").await,
        an_id(&org, "Contact").await,
        an_id(&org, FORM).await,
    ];
    for (pointer, value, found, expected) in wrong_ids(&of_account, &of_contact, &of_form) {
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
    other_writes(&daemon, &store, &of_account, &of_form).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn no_number_is_rounded() {
    let org = Sandbox::start(&SMALL).await;
    let map = "map = { \"order.tax\" = \"Tax__c\", \"order.discount\" = \"Saved__c\" }";
    for (object, name) in [("Order", "Tax__c"), ("Order", "Saved__c"), ("Order", "Worth__c")] {
        let field = json!({"object": object, "name": name, "type": "Currency 16,2"});
        org.control("schema", json!({ "add": field })).await;
    }
    configure(
        &org,
        &format!("[orders]\nfields = {{ \"*\" = [\"Order.Worth__c\"] }}\n{map}"),
    );
    let daemon = org.daemon().await;
    daemon.live().await;
    has_seen(&org).await;
    let (store, currency, products) = a_store(&daemon).await;
    for (pointer, value) in [
        ("/items/0/unit_price", json!("19.905")),
        ("/items/0/tax", json!("1.005")),
        ("/items/0/discount", json!("0.005")),
        ("/tax", json!("1.005")),
        ("/shipping/amount", json!("9.955")),
        ("/discounts/0/amount", json!("0.005")),
        ("/payments/0/amount", json!("40.005")),
        ("/fields/Worth__c", json!(1.005)),
    ] {
        let mut posted = order("FINE", &currency, &[(&products[0], 1)]);
        posted["shipping"] = json!({"amount": "1"});
        posted["discounts"] = json!([{"amount": "1"}]);
        posted["payments"] = json!([{"reference": "r", "amount": "1"}]);
        for (pointer, member) in [
            ("", "tax"),
            ("/items/0", "unit_price"),
            ("/items/0", "tax"),
            ("/items/0", "discount"),
        ] {
            posted.pointer_mut(pointer).unwrap()[member] = json!("10");
        }
        posted["fields"] = json!({"Worth__c": 1});
        *posted.pointer_mut(pointer).unwrap() = value;
        let member = pointer
            .trim_start_matches('/')
            .replace("/0", "[0]")
            .replace('/', ".");
        let told = format!("{member} has 3 digits after the point: the org takes 2");
        assert_eq!(refusal(&daemon, &store, &posted).await, (member, told));
    }
    let many =
        json!({"external_id": "A", "name": "Drill", "price": "1.005", "customer": {"external_id": "C-7"}});
    let (status, problem) = daemon.post(&format!("/v1/stores/{store}/assets"), &many).await;
    assert_eq!((status, &problem["field"]), (422, &json!("price")), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_of_nothing_needs_no_place() {
    let org = Sandbox::start(&SMALL).await;
    let daemon = org
        .daemon_with(&[("STORESYNC__ORDERS__PROFILE", "standard")])
        .await;
    daemon.live().await;
    has_seen(&org).await;
    let (store, currency, products) = a_store(&daemon).await;
    let mut posted = order("FREE", &currency, &[(&products[0], 1)]);
    posted["tax"] = json!("0");
    posted["items"][0]["tax"] = json!("0.00");
    posted["items"][0]["discount"] = json!("0");
    posted["shipping"] = json!({"amount": "0"});
    posted["discounts"] = json!([{"amount": "0.00"}]);
    accepted(&daemon, &store, &posted).await;
    let path = format!("/v1/stores/{store}/orders/FREE");
    let told = daemon
        .until(&path, &["sent", "confirmed", "needs_attention"])
        .await;
    assert_ne!(told["state"], "needs_attention", "{told}");
    assert_eq!(
        org.count("OrderItem WHERE Order.External_ID__c = 'FREE'").await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_written_of_a_person_refuses_no_order() {
    let org = Sandbox::start(&SMALL).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    has_seen(&org).await;
    let (store, currency, products) = a_store(&daemon).await;
    let rows = org
        .query("SELECT Id, Email, FirstName FROM Contact WHERE Email != null")
        .await;
    let one =
        |row: &crate::world::Row| rows.iter().filter(|other| other["Email"] == row["Email"]).count() == 1;
    let known = rows.iter().find(|row| one(row)).unwrap();
    let mut posted = order("KNOWN", &currency, &[(&products[0], 1)]);
    posted["shipping_address"] = Value::Null;
    posted["customer"] = json!({"email": known["Email"], "first_name": "x".repeat(41)});
    accepted(&daemon, &store, &posted).await;
    let path = format!("/v1/stores/{store}/orders/KNOWN");
    daemon.until(&path, &["sent", "confirmed"]).await;
    let id = known["Id"].as_str().unwrap();
    let there = format!("Order WHERE External_ID__c = 'KNOWN' AND BillToContactId = '{id}'");
    assert_eq!(org.count(&there).await, 1);
    // So does a case; a new person is made of what was sent.
    let mut case = json!({"external_id": "K-1", "subject": "Late", "customer": posted["customer"]});
    let cases = format!("/v1/stores/{store}/cases");
    assert_eq!(daemon.post(&cases, &case).await.0, 202);
    case["customer"]["email"] = json!("new@example.com");
    case["external_id"] = json!("K-2");
    let (status, problem) = daemon.post(&cases, &case).await;
    assert_eq!(
        (status, &problem["field"]),
        (422, &json!("customer.first_name")),
        "{problem}"
    );
    posted["external_id"] = json!("NEW");
    posted["customer"]["email"] = json!("new@example.com");
    assert_eq!(
        refused_field(&daemon, &store, &posted).await,
        "customer.first_name"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_key_is_told_by_the_name_that_it_came_under() {
    let org = Sandbox::start(&SMALL).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let path = format!("/v1/stores/{store}/orders");
    let post = async |header: Option<&str>, posted: &Value| {
        let (status, answer) = daemon
            .send(Method::POST, &daemon.api, &path, header, posted)
            .await;
        let told = answer["detail"].as_str().unwrap_or_default().to_owned();
        (status, answer["field"].as_str().map(str::to_owned), told)
    };
    let other = |key: &str| order(key, &currency, &[(&products[0], 2)]);
    let first = order("BODY-1", &currency, &[(&products[0], 1)]);
    assert_eq!(post(Some("HEADER-1"), &first).await.0, 202);
    let (status, field, told) = post(Some("HEADER-1"), &other("BODY-2")).await;
    assert_eq!(
        (status, field.as_deref()),
        (409, Some("Idempotency-Key")),
        "{told}"
    );
    assert!(told.contains("HEADER-1") && !told.contains("BODY-2"), "{told}");
    let (status, field, told) = post(Some("HEADER-2"), &other("BODY-1")).await;
    assert_eq!((status, field.as_deref()), (409, Some("external_id")), "{told}");
    assert!(told.contains("BODY-1"), "{told}");
    // The header stands for a key that the body has not.
    let mut nameless = other("NONE");
    nameless.as_object_mut().unwrap().remove("external_id");
    assert_eq!(post(Some("HEADER-3"), &nameless).await.0, 202);
    nameless["items"][0]["quantity"] = json!(3);
    let (status, field, _) = post(Some("HEADER-3"), &nameless).await;
    assert_eq!((status, field.as_deref()), (409, Some("Idempotency-Key")));

    daemon
        .until(&format!("{path}/BODY-1"), &["sent", "confirmed"])
        .await;
    // What the log says of an order tells whose it is.
    let said = daemon.running.said();
    let line = said
        .lines()
        .find(|line| line.contains("order BODY-1 is in the org"))
        .unwrap();
    assert!(
        line.contains(&format!("store={store}")) && line.contains("org_key=BODY-1"),
        "{line}"
    );
    // People name it by the number that the list has.
    let (_, listed, _) = org.verb(&["orders", "list", "--state", "any"]).await;
    let number = listed.lines().find(|line| line.contains("BODY-1")).unwrap();
    let number = number.split_whitespace().next().unwrap();
    for reference in [number, number.trim_start_matches('#')] {
        let (code, shown, said) = org.verb(&["orders", "show", reference]).await;
        assert!(
            code == 0 && shown.contains("BODY-1"),
            "{reference}: {code} {shown} {said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_names_what_it_changes() {
    let org = Sandbox::start(&SMALL).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    accepted(&daemon, &store, &order("WEB-1", &currency, &[(&products[0], 1)])).await;
    let nothing = "the body names nothing to change";
    let empty = "cannot be emptied: leave it out, or give a value";
    for (method, path, body, told) in [
        (Method::PATCH, "customers/C-WEB-1", json!({}), nothing.to_owned()),
        (
            Method::PATCH,
            "customers/C-WEB-1",
            json!({"shipping_address": {}}),
            nothing.to_owned(),
        ),
        (
            Method::PATCH,
            "customers/C-WEB-1",
            json!({"phone": "1", "last_name": null}),
            format!("last_name {empty}"),
        ),
        (
            Method::PATCH,
            "customers/C-WEB-1",
            json!({"phone": "1", "email": " "}),
            format!("email {empty}"),
        ),
        (
            Method::PATCH,
            "customers/C-WEB-1",
            Value::Null,
            "the body must be an object".to_owned(),
        ),
        (
            Method::POST,
            "orders/WEB-1/updates",
            json!({"shipping_address": {}}),
            nothing.to_owned(),
        ),
    ] {
        let path = format!("/v1/stores/{store}/{path}");
        let (status, problem) = daemon.send(method, &daemon.api, &path, Some("E-1"), &body).await;
        assert_eq!(
            (status, problem["detail"].as_str()),
            (422, Some(told.as_str())),
            "{body}: {problem}"
        );
    }
}
