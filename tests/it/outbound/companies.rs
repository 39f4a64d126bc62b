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
        // The key of an account is no way to it for somebody new.
        (
            "desk",
            "U-3",
            json!({"external_id": "ACME", "last_name": "Mallory", "company": "Mallory"}),
        ),
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
    assert_eq!(org.count("Account WHERE Name LIKE 'Mallory%'").await, 0);
    assert_eq!(org.count(&format!("Contact WHERE AccountId = '{acme}'")).await, 2);

    // Who is in the company orders for it in any store; a company that nobody sold to takes people of a customers' token.
    assert_eq!(place("till", &us, "U-8", person("A-1", "ACME")).await, "done");
    assert_eq!(place("till", &us, "U-9", person("N-1", "NEW-CO")).await, theirs);
    assert_eq!(place("desk", &us, "U-10", person("N-1", "NEW-CO")).await, "done");
}
