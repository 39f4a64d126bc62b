//! Stores do not touch each other's companies: none is renamed or billed by a store that has not sold to it, and a contact
//! stays in its company. What a store's own business customers order is taken.

use reqwest::Method;
use serde_json::{Value, json};

use super::configure;
use super::stores::send;
use crate::storefront::tokens::token;
use crate::world::{Daemon, Sandbox};

/// What became of a write: its state, or the code of its problem.
async fn outcome(
    daemon: &Daemon,
    token: &str,
    (method, path, key, body): (Method, &str, &str, Value),
) -> String {
    let (status, answer) = send(daemon, token, method, path, key, &body).await;
    if status != 202 {
        return format!("{status} {}", answer["field"].as_str().unwrap_or_default());
    }
    let url = answer["status_url"].as_str().unwrap().to_owned();
    crate::world::eventually(key, async || {
        let (_, told) = send(daemon, token, Method::GET, &url, key, &json!({})).await;
        let state = told["state"].as_str()?.to_owned();
        match state.as_str() {
            "needs_attention" => Some(told["error"]["code"].as_str()?.to_owned()),
            "sent" | "confirmed" => Some("done".to_owned()),
            _ => None,
        }
    })
    .await
}

/// Two stores with a product of each, as `(id, product)`.
async fn two_stores(daemon: &Daemon) -> [(String, String); 2] {
    let get = async |path: &str| {
        send(daemon, "desk", Method::GET, path, "GET", &Value::Null)
            .await
            .1
    };
    let stores = get("/v1/stores").await;
    let mut found = Vec::new();
    for at in 0..2 {
        let store = stores["items"][at]["id"].as_str().unwrap().to_owned();
        let page = get(&format!("/v1/stores/{store}/products?limit=200")).await;
        let items = page["items"].as_array().unwrap();
        let priced = items.iter().find(|item| !item["price"].is_null()).unwrap();
        found.push((store, priced["id"].as_str().unwrap().to_owned()));
    }
    found.try_into().unwrap()
}

fn order(product: &str, customer: &Value) -> Value {
    json!({"customer": customer, "items": [{"product_id": product, "quantity": 1}]})
}

async fn account_of(org: &Sandbox, contact: &str) -> (String, String) {
    let soql = format!("SELECT AccountId, Account.Name FROM Contact WHERE External_ID__c = '{contact}'");
    let row = org.query(&soql).await.remove(0);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&row["AccountId"]), text(&row["Account"]["Name"]))
}

/// What the org has of a contact, with its account.
async fn person(org: &Sandbox, condition: &str) -> Vec<Value> {
    let soql = format!(
        "SELECT Id, LastName, Email, MailingCity, MailingState, External_ID__c, AccountId, Account.Name, Account.Phone, \
         Account.BillingCity FROM Contact WHERE {condition}"
    );
    let rows = org.query(&soql).await;
    rows.into_iter()
        .map(|row| Value::Object(row.into_iter().collect()))
        .collect()
}

/// Two stores, and a caller who may change customers.
async fn desk() -> (Sandbox, Daemon, [(String, String); 2]) {
    let org = Sandbox::start(&["--products", "12", "--stores", "2"]).await;
    configure(&org, &token("serve", "desk", "orders = true\ncustomers = true"));
    let daemon = org.daemon().await;
    daemon.live().await;
    let stores = two_stores(&daemon).await;
    (org, daemon, stores)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_has_no_key_that_somebody_else_may_have() {
    let (org, daemon, [(eu, of_eu), (us, _)]) = desk().await;
    let write = async |store: &str, rest: &str, key: &str, body: Value| {
        let path = format!("/v1/stores/{store}/{rest}");
        outcome(&daemon, "desk", (Method::POST, &path, key, body)).await
    };
    let guest = |name: &str| {
        order(
            &of_eu,
            &json!({"email": format!("{name}@guest.example"), "last_name": name}),
        )
    };
    let member = |key: &str, name: &str| json!({"external_id": key, "last_name": name, "email": format!("{name}@m.example")});
    // An order's number becomes a customer's, in the same store and in another.
    for (number, store) in [("5002", &eu), ("5003", &us)] {
        assert_eq!(write(&eu, "orders", number, guest("Ida")).await, "done");
        let before = person(&org, "LastName = 'Ida'").await;
        assert_eq!(
            write(store, "customers", number, member(number, "Jack")).await,
            "done"
        );
        assert_eq!(person(&org, "LastName = 'Ida'").await, before, "{number}");
        let jack = person(&org, &format!("External_ID__c = '{number}'"))
            .await
            .remove(0);
        assert_eq!(jack["LastName"], "Jack");
        assert!(before.iter().all(|ida| ida["AccountId"] != jack["AccountId"]));
        org.call(
            Method::DELETE,
            &format!("sobjects/Contact/{}", before[0]["Id"].as_str().unwrap()),
            &Value::Null,
        )
        .await;
    }
    // A customer's number becomes an order's, and the number of a case.
    assert_eq!(write(&us, "customers", "K", member("6001", "Kim")).await, "done");
    let kim = person(&org, "LastName = 'Kim'").await;
    assert_eq!(write(&eu, "orders", "6001", guest("Lou")).await, "done");
    let case = json!({"subject": "Late", "customer": {"email": "lou@other.example", "last_name": "Lea"}});
    assert_eq!(write(&eu, "cases", "6001", case).await, "done");
    assert_eq!(person(&org, "LastName = 'Kim'").await, kim);
    assert_eq!(person(&org, "LastName IN ('Lou', 'Lea')").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_changes_no_address_and_no_account_of_a_customer() {
    let (org, daemon, [(eu, of_eu), (us, of_us)]) = desk().await;
    let path = |store: &str, rest: &str| format!("/v1/stores/{store}/{rest}");
    let member = json!({"external_id": "C-90", "last_name": "Home", "company": "Home Ltd", "phone": "1",
        "shipping_address": {"city": "Reno", "state": "NV", "country": "US"}});
    let made = (Method::POST, &*path(&eu, "customers"), "M-1", member);
    assert_eq!(outcome(&daemon, "desk", made).await, "done");
    let before = person(&org, "External_ID__c = 'C-90'").await;
    for (key, store, product) in [("G-1", &eu, &of_eu), ("G-2", &us, &of_us)] {
        let mut gift = order(
            product,
            &json!({"external_id": "C-90", "phone": "1", "company": "Gift Ltd"}),
        );
        gift["shipping_address"] = json!({"city": "London", "country": "GB"});
        gift["billing_address"] = json!({"city": "Leeds", "country": "GB"});
        let placed = (Method::POST, &*path(store, "orders"), key, gift);
        assert_eq!(outcome(&daemon, "desk", placed).await, "done");
        assert_eq!(person(&org, "External_ID__c = 'C-90'").await, before, "{key}");
        let orders = format!(
            "Order WHERE External_ID__c = '{key}' AND ShippingCity = 'London' AND ShippingState = null"
        );
        assert_eq!(org.count(&orders).await, 1);
    }
    // The account is the customer's own, and two stores have sold to it: each may change the person, and none the name.
    let changed = json!({"company": "Evil", "phone": "2", "billing_address": {"city": "Bonn"}});
    let change = (Method::PATCH, &*path(&us, "customers/C-90"), "P-1", changed);
    assert_eq!(outcome(&daemon, "desk", change).await, "done");
    let now = person(&org, "External_ID__c = 'C-90'").await.remove(0);
    let account = &now["Account"];
    assert_eq!(
        (&account["Name"], &account["Phone"], &account["BillingCity"]),
        (&json!("Home Ltd"), &json!("2"), &json!("Bonn"))
    );
    // Once a colleague is in it, it is no one person's to change.
    let colleague = json!({"external_id": "C-91", "last_name": "Next", "account_external_id": "C-90", "company": "Taken"});
    let joined = (Method::POST, &*path(&eu, "customers"), "M-2", colleague);
    assert_eq!(outcome(&daemon, "desk", joined).await, "done");
    let change = (
        Method::PATCH,
        &*path(&eu, "customers/C-90"),
        "P-2",
        json!({"phone": "3", "first_name": "Ann"}),
    );
    assert_eq!(outcome(&daemon, "desk", change).await, "done");
    let now = person(&org, "External_ID__c = 'C-90'").await.remove(0);
    assert_eq!(
        (&now["Account"]["Name"], &now["Account"]["Phone"]),
        (&json!("Home Ltd"), &json!("2"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_without_a_key_or_an_account_gets_one_and_not_one_for_each_order() {
    let (org, daemon, [(eu, of_eu), _]) = desk().await;
    let contact = org
        .create(
            "Contact",
            json!({"LastName": "Alone", "Email": "alone@example.com"}),
        )
        .await;
    let orders = format!("/v1/stores/{eu}/orders");
    for key in ["N-1", "N-2", "N-3"] {
        let customer = json!({"salesforce_id": contact, "external_id": "KEY-1"});
        let placed = (Method::POST, &*orders, key, order(&of_eu, &customer));
        assert_eq!(outcome(&daemon, "desk", placed).await, "done");
    }
    let by_key = (
        Method::POST,
        &*orders,
        "N-4",
        order(&of_eu, &json!({"external_id": "KEY-1"})),
    );
    assert_eq!(outcome(&daemon, "desk", by_key).await, "done");
    let found = person(&org, "Email = 'alone@example.com'").await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (&found[0]["Id"], &found[0]["External_ID__c"]),
        (&json!(contact), &json!("KEY-1"))
    );
    let account = found[0]["AccountId"].as_str().unwrap();
    for key in ["N-1", "N-2", "N-3", "N-4"] {
        let orders = format!("Order WHERE External_ID__c = '{key}' AND AccountId = '{account}'");
        assert_eq!(org.count(&orders).await, 1, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::too_many_lines, reason = "one story, told in its order")]
async fn a_company_is_of_the_stores_that_have_sold_to_it() {
    let org = Sandbox::start(&["--products", "12", "--stores", "2"]).await;
    org.create("Account", json!({"Name": "Nobody's", "External_ID__c": "NEW-CO"}))
        .await;
    let tokens = [
        token("serve", "till", "orders = true"),
        token("serve", "desk", "orders = true\ncustomers = true"),
    ];
    configure(&org, &tokens.join("\n"));
    let daemon = org.daemon().await;
    daemon.live().await;
    let [(eu, of_eu), (us, of_us)] = two_stores(&daemon).await;
    let path = |store: &str, rest: &str| format!("/v1/stores/{store}/{rest}");
    let person = |key: &str, account: &str| json!({"external_id": key, "last_name": key, "account_external_id": account});
    let named = |key: &str, account: &str, company: &str| {
        let mut customer = person(key, account);
        customer["company"] = json!(company);
        customer
    };
    let place = async |token: &str, store: &str, key: &str, customer: Value| {
        let product = if store == eu { &of_eu } else { &of_us };
        let placed = (
            Method::POST,
            &*path(store, "orders"),
            key,
            order(product, &customer),
        );
        outcome(&daemon, token, placed).await
    };
    let change = async |store: &str, key: &str, customer: &str, body: Value| {
        let changed = (
            Method::PATCH,
            &*path(store, &format!("customers/{customer}")),
            key,
            body,
        );
        outcome(&daemon, "desk", changed).await
    };
    // The first order of a company makes it; colleagues may follow, by either token.
    assert_eq!(
        place("till", &eu, "E-1", named("A-1", "ACME", "Acme")).await,
        "done"
    );
    assert_eq!(place("till", &eu, "E-2", person("A-2", "ACME")).await, "done");
    let (acme, _) = account_of(&org, "A-1").await;
    assert_eq!(account_of(&org, "A-2").await.0, acme);
    // It is renamed by the store that sold to it.
    let renamed = json!({"account_external_id": "ACME", "company": "Acme Ltd"});
    assert_eq!(change(&eu, "P-1", "A-1", renamed).await, "done");
    assert_eq!(
        account_of(&org, "A-1").await,
        (acme.clone(), "Acme Ltd".to_owned())
    );

    // The other store neither bills it, nor adds to it, nor renames it.
    let theirs = "ACCOUNT_OF_ANOTHER_STORE";
    for (token, key, customer) in [
        ("till", "U-1", named("M-1", "ACME", "Mallory")),
        ("desk", "U-2", named("M-2", "ACME", "Mallory")),
    ] {
        assert_eq!(place(token, &us, key, customer).await, theirs, "{key}");
    }
    let posted = (
        Method::POST,
        &*path(&us, "customers"),
        "U-4",
        named("M-3", "ACME", "Mallory"),
    );
    assert_eq!(outcome(&daemon, "desk", posted).await, theirs);
    // The key of an account is no way to it for somebody new, who gets an account of his own.
    let same_key = json!({"external_id": "ACME", "last_name": "Mallory"});
    assert_eq!(place("desk", &us, "U-3", same_key).await, "done");
    assert_ne!(account_of(&org, "ACME").await.0, acme);
    let own = json!({"company": "Mallory's own", "phone": "666"});
    assert_eq!(change(&us, "P-2", "ACME", own).await, "done");
    assert_eq!(account_of(&org, "ACME").await.1, "Mallory's own");
    assert_eq!(account_of(&org, "A-1").await.1, "Acme Ltd");
    let renamed = json!({"account_external_id": "ACME", "company": "Mallory"});
    let changes = path(&us, "customers/A-1");
    let (status, told) = send(&daemon, "desk", Method::PATCH, &changes, "U-5", &renamed).await;
    assert_eq!(
        (status, &told["not_written"][0]["field"]),
        (202, &json!("company")),
        "{told}"
    );
    assert_eq!(change(&us, "U-5", "A-1", renamed).await, "done");
    // Nobody leaves a company for another one, nor for a new one.
    let own = account_of(&org, "C-1").await;
    for (key, account) in [("U-6", "ACME"), ("U-7", "MALLORY")] {
        let moved = change(&us, key, "C-1", json!({"account_external_id": account})).await;
        assert_eq!(moved, "CUSTOMER_OF_ANOTHER_ACCOUNT", "{account}");
    }
    assert_eq!(account_of(&org, "C-1").await, own);
    assert_eq!(org.count("Account WHERE External_ID__c = 'MALLORY'").await, 0);
    assert_eq!(org.count("Account WHERE Name = 'Mallory'").await, 0);
    assert_eq!(org.count(&format!("Contact WHERE AccountId = '{acme}'")).await, 2);

    // Who is in the company orders for it in any store; a company that nobody sold to takes people of a customers' token.
    assert_eq!(place("till", &us, "U-8", person("A-1", "ACME")).await, "done");
    assert_eq!(place("till", &us, "U-9", person("N-1", "NEW-CO")).await, theirs);
    assert_eq!(place("desk", &us, "U-10", person("N-1", "NEW-CO")).await, "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_under_a_guessed_key_opens_nobody_s_account() {
    let org = Sandbox::start(&["--products", "12", "--stores", "2"]).await;
    let tokens = [
        token("serve", "till", "orders = true"),
        token("serve", "desk", "orders = true\ncustomers = true"),
    ];
    configure(&org, &tokens.join("\n"));
    let daemon = org.daemon().await;
    daemon.live().await;
    let [(eu, _), (us, of_us)] = two_stores(&daemon).await;
    let vic = json!({"external_id": "VIC", "last_name": "Vic", "phone": "1"});
    let path = |store: &str, rest: &str| format!("/v1/stores/{store}/{rest}");
    let made = (Method::POST, &*path(&eu, "customers"), "V-1", vic);
    assert_eq!(outcome(&daemon, "desk", made).await, "done");
    // The stamps of the org are whole seconds.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    let place = async |key: &str, customer: Value| {
        let placed = (Method::POST, &*path(&us, "orders"), key, order(&of_us, &customer));
        outcome(&daemon, "till", placed).await
    };
    assert_eq!(place("G-1", json!({"external_id": "VIC"})).await, "done");
    let eve = json!({"external_id": "EVE", "last_name": "Eve", "account_external_id": "VIC"});
    assert_eq!(place("G-2", eve).await, "ACCOUNT_OF_ANOTHER_STORE");
    assert_eq!(org.count("Contact WHERE Account.External_ID__c = 'VIC'").await, 1);
}
