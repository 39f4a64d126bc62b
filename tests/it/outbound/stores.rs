//! Stores do not touch each other's: keys are a store's own, an order is changed by its own store alone, a token that is
//! not for customers changes none, and a customer sees no colleague's orders.

use reqwest::Method;
use serde_json::{Value, json};

use super::{accepted, configure, eventually_has};
use crate::storefront::tokens::token;
use crate::world::{Daemon, Sandbox, order};

/// Two stores with the first product that both have, as `(id, product)`.
async fn two_stores(daemon: &Daemon) -> [(String, String); 2] {
    let (_, stores) = daemon.get("/v1/stores").await.unwrap();
    let mut found = Vec::new();
    for at in 0..2 {
        let store = stores["items"][at]["id"].as_str().unwrap().to_owned();
        let (_, page) = daemon
            .get(&format!("/v1/stores/{store}/products?limit=200"))
            .await
            .unwrap();
        let items = page["items"].as_array().unwrap();
        let priced = items.iter().find(|item| !item["price"].is_null()).unwrap();
        found.push((store, priced["id"].as_str().unwrap().to_owned()));
    }
    found.try_into().unwrap()
}

fn order_of(key: &str, product: &str, city: &str) -> Value {
    json!({"external_id": key, "customer": {"external_id": format!("C-{city}"), "last_name": "Lee"},
        "shipping_address": {"city": city}, "items": [{"product_id": product, "quantity": 1}]})
}

/// Waits until the org has a write; gives what is told of it.
async fn delivered(daemon: &Daemon, answer: &Value) -> Value {
    let url = answer["status_url"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"));
    let told = daemon.until(url, &["confirmed", "needs_attention"]).await;
    assert_eq!(told["state"], "confirmed", "{told}");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stores_may_use_one_key() {
    let org = Sandbox::start(&["--products", "12", "--stores", "2"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let [(eu, of_eu), (us, of_us)] = two_stores(&daemon).await;
    let (first, second) = (
        order_of("SHOP-2", &of_eu, "Paris"),
        order_of("shop-2", &of_us, "Boston"),
    );
    let (status, answer) = daemon.place(&eu, &first).await.unwrap();
    assert_eq!(status, 202, "{answer}");
    let first = delivered(&daemon, &answer).await;
    // The answer to the second is lost, so that it is looked up by its key.
    org.fault(json!({"path": "/composite", "method": "POST", "times": 1, "fault": "drop_after_commit"}))
        .await;
    let (status, answer) = daemon.place(&us, &second).await.unwrap();
    assert_eq!(status, 202, "{answer}");
    let told = delivered(&daemon, &answer).await;
    assert_eq!(
        (&first["external_id"], &first["org_key"], &told["external_id"]),
        (&json!("SHOP-2"), &json!("SHOP-2"), &json!("shop-2"))
    );
    assert_ne!(
        told["salesforce_id"], first["salesforce_id"],
        "another store's order is not its own"
    );
    // Sent again it is the same order, of its own store.
    assert_eq!(daemon.place(&us, &second).await.unwrap(), (202, answer.clone()));
    let url = answer["status_url"].as_str().unwrap();
    let update = json!({"external_id": "MOVE", "shipping_address": {"city": "Salem"}});
    let (status, answer) = daemon.post(&format!("{url}/updates"), &update).await;
    assert_eq!(status, 202, "{answer}");
    delivered(&daemon, &answer).await;
    let key = told["org_key"].as_str().unwrap().to_owned();
    let rows = org
        .query("SELECT Id, External_ID__c, s_c__Store_Id__c, ShippingCity FROM Order WHERE External_ID__c LIKE 'SHOP-2%' ORDER BY CreatedDate, Id")
        .await;
    let expected = [
        ("SHOP-2", &eu, "Paris", &first["salesforce_id"]),
        (key.as_str(), &us, "Salem", &told["salesforce_id"]),
    ];
    assert_eq!(rows.len(), expected.len(), "{rows:?}");
    for (row, (key, store, city, id)) in rows.iter().zip(expected) {
        assert_eq!(
            (
                &row["External_ID__c"],
                &row["s_c__Store_Id__c"],
                &row["ShippingCity"],
                &row["Id"]
            ),
            (&json!(key), &json!(store), &json!(city), id)
        );
    }
    // People are not given one for the other either.
    let (code, _, said) = org.verb(&["orders", "show", "SHOP-2"]).await;
    assert!(
        code == 1 && said.contains("by its number, #1 or #2"),
        "{code} {said}"
    );
    let (code, shown, _) = org.verb(&["orders", "show", &key]).await;
    assert!(
        code == 0 && shown.contains("Boston") && shown.contains(&us),
        "{shown}"
    );
    let (status, answer) = daemon
        .admin_post("/api/orders/SHOP-2/discard", &json!({"reason": "a test"}))
        .await;
    assert_eq!(status, 409, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stores_may_use_one_idempotency_key() {
    let org = Sandbox::start(&["--products", "12", "--stores", "2"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    for (store, product) in two_stores(&daemon).await {
        let mut own = order_of("", &product, "Rome");
        own.as_object_mut().unwrap().remove("external_id");
        let path = format!("/v1/stores/{store}/orders");
        let (status, answer) = daemon
            .send(Method::POST, &daemon.api, &path, Some("ONE-KEY"), &own)
            .await;
        assert_eq!(status, 202, "{answer}");
        delivered(&daemon, &answer).await;
    }
    // What another store used it for is no answer to an order that is refused.
    let [(eu, product), (us, _)] = two_stores(&daemon).await;
    let mut used = order_of("EU-9", &product, "Rome");
    let path = |store: &str| format!("/v1/stores/{store}/orders");
    let (status, answer) = daemon
        .send(Method::POST, &daemon.api, &path(&eu), Some("KEY-OF-EU"), &used)
        .await;
    assert_eq!(status, 202, "{answer}");
    used["external_id"] = json!("US-9");
    used["items"][0] = json!({"product_code": "NO-SUCH", "quantity": 1});
    let (status, answer) = daemon
        .send(Method::POST, &daemon.api, &path(&us), Some("KEY-OF-EU"), &used)
        .await;
    assert_eq!(
        (status, &answer["field"]),
        (422, &json!("items[0].product_code")),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_changed_by_its_own_store_alone() {
    let org = Sandbox::start(&["--products", "12", "--stores", "2"]).await;
    let stores = org
        .query("SELECT Id, s_c__Pricebook_Id__c FROM s_c__Store__c ORDER BY Id")
        .await;
    let text = |row: &crate::world::Row, field: &str| row[field].as_str().unwrap().to_owned();
    let of = |field: &str| [text(&stores[0], field), text(&stores[1], field)];
    let ([eu, us], [_, book]) = (of("Id"), of("s_c__Pricebook_Id__c"));
    let account = org.some("Account", "").await;
    let place = async |key: &str, store: Option<&str>, book: Option<&str>| {
        org.create("Order", json!({"External_ID__c": key, "AccountId": account, "Status": "Draft",
            "EffectiveDate": "2026-11-22", "ShippingCity": "Boston", "s_c__Store_Id__c": store, "Pricebook2Id": book}))
            .await
    };
    place("OF-US", Some(&us), None).await;
    place("BOOK-OF-US", None, Some(&book)).await;
    place("NOBODY-S", None, None).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let mut number = 0;
    let mut change = async |store: &str, key: &str| {
        number += 1;
        let update = json!({"external_id": format!("U-{number}"), "shipping_address": {"city": "Salem"}});
        let path = format!("/v1/stores/{store}/orders/{key}/updates");
        daemon.post(&path, &update).await.0
    };
    for (key, by_its_own) in [("OF-US", 202), ("BOOK-OF-US", 202), ("NOBODY-S", 404)] {
        assert_eq!(change(&eu, key).await, 404, "{key}");
        assert_eq!(change(&us, key).await, by_its_own, "{key}");
    }
    eventually_has(&org, 2, "Order WHERE ShippingCity = 'Salem'").await;
    // A book of two stores tells of neither whose the order is.
    org.update("s_c__Store__c", &eu, json!({"s_c__Pricebook_Id__c": book}))
        .await;
    crate::world::eventually("neither store changes it", async || {
        let both = [change(&us, "BOOK-OF-US").await, change(&eu, "BOOK-OF-US").await];
        (both == [404, 404]).then_some(())
    })
    .await;
}

const OF_CONTACT: &str = "SELECT Id, AccountId, LastName, FirstName, Email, Phone, MailingCity, Account.Name, Account.Phone, \
    Account.BillingCity, Account.ShippingCity, LastModifiedDate, Account.LastModifiedDate FROM Contact";

/// A request with a token: status and answer.
pub async fn send(
    daemon: &Daemon,
    token: &str,
    method: Method,
    path: &str,
    key: &str,
    body: &Value,
) -> (u16, Value) {
    let answer = reqwest::Client::new()
        .request(method, format!("{}{path}", daemon.api))
        .bearer_auth(token)
        .header("idempotency-key", key)
        .json(body)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::too_many_lines, reason = "one story, told in its order")]
async fn a_token_that_is_not_for_customers_changes_none() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    configure(
        &org,
        &format!(
            "{}\n{}\n{}",
            token("serve", "till", "orders = true"),
            token("serve", "reader", "customers = true"),
            token("serve", "desk", "orders = true\ncustomers = true")
        ),
    );
    let daemon = org.daemon().await;
    daemon.live().await;
    let store = org.some("s_c__Store__c", "").await;
    let contact = org.some("Contact", "WHERE External_ID__c = 'C-1'").await;
    let theirs = format!("{OF_CONTACT} WHERE Id = '{contact}'");
    let before = org.query(&theirs).await;
    let path = |rest: &str| format!("/v1/stores/{store}/{rest}");
    let other = json!({"external_id": "C-1", "email": "mallory@example.com", "first_name": "Mal", "last_name": "Lory",
        "phone": "666", "company": "Mallory Ltd"});
    let address = json!({"city": "Nowhere"});
    let mut profile = other.clone();
    profile["shipping_address"] = address.clone();
    let order = json!({"customer": other, "shipping_address": address,
        "items": [{"product_code": "SKU-1", "quantity": 1}]});
    let case = json!({"subject": "Help", "customer": other});
    let mut new = order.clone();
    new["customer"]["external_id"] = json!("C-NEW");
    let (status, answer) = send(
        &daemon,
        "till",
        Method::PATCH,
        &path("customers/C-1"),
        "P-1",
        &json!({"phone": "1"}),
    )
    .await;
    assert_eq!(status, 403, "{answer}");
    for (method, rest, body) in [
        (Method::POST, "customers", &other),
        (Method::PATCH, "customers/C-1", &json!({"phone": "1"})),
    ] {
        let (status, answer) = send(&daemon, "reader", method, &path(rest), "P-0", body).await;
        assert_eq!(status, 403, "one for customers alone writes nothing: {answer}");
    }
    let of_other = "customer.email customer.first_name customer.last_name customer.phone customer.company";
    let of_profile = "email first_name last_name phone company shipping_address";
    let mut made = Value::Null;
    for (rest, key, body, not_written) in [
        ("orders", "T-1", &order, of_other),
        ("customers", "T-2", &profile, of_profile),
        ("cases", "T-3", &case, of_other),
        ("orders", "T-4", &new, ""),
    ] {
        let (status, answer) = send(&daemon, "till", Method::POST, &path(rest), key, body).await;
        assert_eq!(status, 202, "{rest}: {answer}");
        let left_out = answer["not_written"].as_array().into_iter().flatten();
        let left_out: Vec<&str> = left_out.map(|one| one["field"].as_str().unwrap()).collect();
        assert_eq!(left_out.join(" "), not_written, "{rest}: {answer}");
        made.clone_from(&answer);
        let url = answer["status_url"].as_str().unwrap();
        crate::world::eventually(rest, async || {
            let (_, told) = send(&daemon, "till", Method::GET, url, key, &json!({})).await;
            assert_ne!(told["state"], "needs_attention", "{told}");
            ["sent", "confirmed"]
                .iter()
                .any(|state| told["state"] == *state)
                .then_some(())
        })
        .await;
    }
    assert_eq!(org.query(&theirs).await, before, "a token for orders alone");
    crate::world::eventually("the new customer is known", async || {
        let (url, none) = (path("customers/C-NEW"), json!({}));
        let (_, told) = send(&daemon, "desk", Method::GET, &url, "GET", &none).await;
        told["contact"].is_object().then_some(())
    })
    .await;
    let again = send(&daemon, "till", Method::POST, &path("orders"), "T-4", &new).await;
    assert_eq!(again, (202, made), "whom it made was not there before");
    let linked = "Order WHERE External_ID__c = 'T-1' AND ShippingCity = 'Nowhere' AND BillToContactId = ";
    assert_eq!(
        org.count(&format!("{linked}'{contact}'")).await,
        1,
        "it is their order all the same"
    );
    assert_eq!(
        org.count("Contact WHERE External_ID__c = 'C-NEW' AND Email = 'mallory@example.com'")
            .await,
        1
    );

    let (status, answer) = send(
        &daemon,
        "desk",
        Method::PATCH,
        &path("customers/C-1"),
        "P-2",
        &json!({"phone": "77"}),
    )
    .await;
    assert_eq!(status, 202, "{answer}");
    eventually_has(
        &org,
        1,
        &format!("Contact WHERE Id = '{contact}' AND Phone = '77'"),
    )
    .await;
    let (status, answer) = send(&daemon, "desk", Method::POST, &path("orders"), "T-5", &order).await;
    assert_eq!(status, 202, "{answer}");
    eventually_has(
        &org,
        1,
        &format!("Contact WHERE Id = '{contact}' AND LastName = 'Lory'"),
    )
    .await;
}

/// The keys of the orders that a customer is told of.
async fn orders_of(daemon: &Daemon, store: &str, customer: &str) -> Vec<String> {
    let (status, page) = daemon
        .get(&format!(
            "/v1/stores/{store}/customers/{customer}/orders?limit=100"
        ))
        .await
        .unwrap();
    assert_eq!(status, 200, "{page}");
    let keys = page["items"].as_array().unwrap().iter();
    let mut keys: Vec<String> = keys
        .map(|order| order["external_id"].as_str().unwrap().to_owned())
        .collect();
    keys.sort();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_sees_no_colleague_s_orders_unless_they_share() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let account = org
        .create("Account", json!({"Name": "Acme", "External_ID__c": "ACME"}))
        .await;
    let mut people = Vec::new();
    for name in ["Ada", "Bob"] {
        let fields = json!({"AccountId": account, "LastName": name, "External_ID__c": name});
        people.push(org.create("Contact", fields).await);
    }
    let fields = json!({"External_ID__c": "OF-ADA", "AccountId": account, "Status": "Draft", "EffectiveDate": "2026-11-22",
        "BillToContactId": people[0]});
    org.create("Order", fields).await;
    let case = json!({"Subject": "Of Ada", "AccountId": account, "ContactId": people[0]});
    org.create("Case", case).await;
    // Orders of this org do not tell whose they are.
    let hidden = json!({"object": "Order", "read_only": ["BillToContactId", "ShipToContactId"]});
    org.control("permissions", hidden).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let store = org.some("s_c__Store__c", "").await;
    for name in ["Ada", "Bob"] {
        let mut posted = order(&format!("BY-{}", name.to_uppercase()), "AUD", &[]);
        posted["items"] = json!([{"product_code": "SKU-1", "quantity": 1}]);
        posted["customer"] = json!({"external_id": name, "account_external_id": "ACME", "last_name": name});
        posted.as_object_mut().unwrap().remove("currency");
        accepted(&daemon, &store, &posted).await;
        daemon
            .until(
                &format!("/v1/stores/{store}/orders/BY-{}", name.to_uppercase()),
                &["confirmed"],
            )
            .await;
    }
    assert_eq!(
        org.count(&format!(
            "Order WHERE AccountId = '{account}' AND BillToContactId = null"
        ))
        .await,
        2
    );
    assert_eq!(orders_of(&daemon, &store, "Ada").await, ["BY-ADA", "OF-ADA"]);
    assert_eq!(orders_of(&daemon, &store, "Bob").await, ["BY-BOB"]);
    assert_eq!(
        orders_of(&daemon, &store, "ACME").await,
        ["BY-ADA", "BY-BOB", "OF-ADA"],
        "the account itself"
    );
    let cases = async |daemon: &Daemon| {
        let path = format!("/v1/stores/{store}/customers/Bob/cases");
        let (_, page) = daemon.get(&path).await.unwrap();
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(cases(&daemon).await, 0);
    drop(daemon);
    let text = std::fs::read_to_string(org.config()).unwrap();
    let sharing = text.replace("[serve]\n", "[serve]\naccount_history = true\n");
    std::fs::write(org.config(), sharing).unwrap();
    let daemon = org.daemon().await;
    daemon.live().await;
    assert_eq!(
        orders_of(&daemon, &store, "Bob").await,
        ["BY-ADA", "BY-BOB", "OF-ADA"]
    );
    assert_eq!(cases(&daemon).await, 1);
}
