//! What storefronts send, on its way to the org and in it.

mod answers;
mod cards;
mod companies;
mod days;
pub mod desk;
mod duplicates;
mod edges;
mod forget;
mod gate;
mod intake;
mod kinds;
mod labels;
mod late;
mod members;
mod merged;
mod numbers;
mod partial;
mod places;
mod proxies;
mod pusher;
mod random_parts;
pub mod shopper;
mod stores;
mod volume;

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Daemon, PATIENCE, Sandbox, eventually};

/// Appends to the daemon's configuration; the sandbox writes it without [orders].
pub fn configure(org: &Sandbox, text: &str) {
    let path = org.config();
    let before = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, format!("{before}\n{text}\n")).unwrap();
}

impl Daemon {
    /// Any request with a JSON body: status and answer.
    pub async fn send(
        &self,
        method: Method,
        base: &str,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> (u16, Value) {
        let mut request = self
            .operator()
            .request(method, format!("{base}{path}"))
            .json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(Method::POST, &self.api, path, None, body).await
    }

    pub async fn admin_post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(Method::POST, &self.admin, path, None, body).await
    }

    pub async fn admin_get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.admin);
        let answer = self.operator().get(url).send().await.unwrap();
        let text = answer.text().await.unwrap();
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    }

    /// Waits until a write is in one of the states; gives it as it then stands.
    pub async fn until(&self, path: &str, states: &[&str]) -> Value {
        let mut last = Value::Null;
        let started = std::time::Instant::now();
        loop {
            if let Some((_, told)) = self.get(path).await {
                if states.iter().any(|state| told["state"] == *state) {
                    return told;
                }
                last = told;
            }
            assert!(started.elapsed() < PATIENCE, "{path} is not {states:?}: {last}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

/// Places an order that has to be accepted.
pub async fn accepted(daemon: &Daemon, store: &str, order: &Value) {
    let answer = daemon.place(store, order).await;
    assert!(matches!(answer, Some((202, _))), "{answer:?}");
}

/// What the org has of an order: `(product, quantity, price)` of each item, sorted.
pub async fn items(org: &Sandbox, key: &str) -> Vec<(String, f64, f64)> {
    let soql =
        format!("SELECT Product2Id, Quantity, UnitPrice FROM OrderItem WHERE Order.External_ID__c = '{key}'");
    let mut items: Vec<_> = org
        .query(&soql)
        .await
        .iter()
        .map(|item| {
            (
                item["Product2Id"].as_str().unwrap().to_owned(),
                item["Quantity"].as_f64().unwrap(),
                item["UnitPrice"].as_f64().unwrap(),
            )
        })
        .collect();
    items.sort_by(|one, other| one.partial_cmp(other).unwrap());
    items
}

/// An order of a guest for so many items: one of each product in turn, each at its own price.
pub fn long_order(key: &str, currency: &str, products: &[String], count: usize) -> Value {
    let items: Vec<Value> = (0..count)
        .map(|at| json!({"product_id": products[at % products.len()], "quantity": at % 7 + 1, "unit_price": format!("{}.25", at + 1)}))
        .collect();
    json!({"external_id": key, "currency": currency, "customer": {"email": "ana@example.com"}, "items": items})
}

/// The items of [`long_order`] as [`items`] gives them.
pub fn long_items(products: &[String], count: usize) -> Vec<(String, f64, f64)> {
    let mut items: Vec<_> = (0..count)
        .map(|at| {
            (
                products[at % products.len()].clone(),
                (at % 7 + 1) as f64,
                at as f64 + 1.25,
            )
        })
        .collect();
    items.sort_by(|one, other| one.partial_cmp(other).unwrap());
    items
}

/// Takes the keys off order items, as in an org that has no field for them.
pub async fn without_item_keys(org: &Sandbox) {
    for name in ["External_ID__c", "s_c__sC_Id__c"] {
        org.control("schema", json!({"remove": {"object": "OrderItem", "name": name}}))
            .await;
    }
}

/// Waits until the org has so many records that meet a condition.
pub async fn eventually_has(org: &Sandbox, count: u64, from: &str) {
    eventually(from, async || (org.count(from).await == count).then_some(())).await;
}

/// A problem that names a field, once the daemon has noticed that its cache is loaded.
pub async fn refused_field(daemon: &Daemon, store: &str, order: &Value) -> String {
    eventually("the order is refused for a field", async || {
        let (status, problem) = daemon.place(store, order).await?;
        assert!(matches!(status, 422 | 503), "{status} {problem}");
        problem["field"].as_str().map(str::to_owned)
    })
    .await
}
