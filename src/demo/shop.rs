//! The daemon as a storefront sees it: its HTTP API and nothing else.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Map, Value};

/// A client of the daemon's HTTP API.
#[derive(Clone)]
pub struct Shop {
    http: reqwest::Client,
    api: String,
    admin: String,
}

/// A product as a store sells it.
#[derive(Clone, Debug)]
pub struct Product {
    pub id: String,
    pub name: String,
    pub code: String,
    /// Amount and currency, both as the API gives them.
    pub price: Option<(String, String)>,
    /// It can be ordered, in any number.
    pub is_free_to_order: bool,
    pub purchasable: bool,
}

impl Shop {
    pub fn new(api: SocketAddr, admin: SocketAddr) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .build()?;
        Ok(Self {
            http,
            api: format!("http://{api}"),
            admin: format!("http://{admin}"),
        })
    }

    /// The daemon's own account of itself; `None` while it does not answer.
    pub async fn status(&self) -> Option<Value> {
        let answer = self
            .http
            .get(format!("{}/status", self.admin))
            .send()
            .await
            .ok()?;
        answer.json().await.ok()
    }

    /// Whether the first load is under way, so that what is there is not all there is.
    pub async fn is_loading(&self) -> anyhow::Result<bool> {
        let answer = self.http.get(format!("{}/v1/stores", self.api)).send().await?;
        let state = answer.headers().get("storesync-state");
        Ok(state.is_some_and(|state| state == "initializing"))
    }

    pub async fn stores(&self) -> anyhow::Result<Vec<Value>> {
        self.list("/v1/stores").await
    }

    pub async fn products(&self, store: &str) -> anyhow::Result<Vec<Product>> {
        let items = self
            .list(&format!("/v1/stores/{store}/products?limit=200"))
            .await?;
        Ok(items.iter().map(product).collect())
    }

    pub async fn product(&self, store: &str, id: &str) -> anyhow::Result<Product> {
        Ok(product(
            &self.get(&format!("/v1/stores/{store}/products/{id}")).await?,
        ))
    }

    /// All rows of an object, as the cache holds them.
    pub async fn rows(&self, object: &str) -> anyhow::Result<Vec<Map<String, Value>>> {
        let mut rows = Vec::new();
        let mut cursor = String::new();
        loop {
            let mut page = self
                .get(&format!("/v1/objects/{object}?limit=200{cursor}"))
                .await?;
            if let Value::Array(items) = page["items"].take() {
                rows.extend(items.into_iter().filter_map(|item| match item {
                    Value::Object(row) => Some(row),
                    _ => None,
                }));
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(rows),
            }
        }
    }

    /// Places an order; gives the HTTP status and the body.
    pub async fn place(&self, store: &str, order: &Value) -> anyhow::Result<(u16, Value)> {
        let url = format!("{}/v1/stores/{store}/orders", self.api);
        let answer = self.http.post(url).json(order).send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await?))
    }

    /// The stream of what changes in a store.
    pub async fn changes(&self, store: &str) -> anyhow::Result<reqwest::Response> {
        let url = format!("{}/v1/changes?store={store}", self.api);
        // It has no end, so no time is set for it.
        let streaming = reqwest::Client::new();
        Ok(streaming.get(url).send().await?.error_for_status()?)
    }

    pub async fn order(&self, store: &str, external_id: &str) -> anyhow::Result<Value> {
        self.get(&format!("/v1/stores/{store}/orders/{external_id}"))
            .await
    }

    /// At most the first few pages: a page of a demo shows no more.
    async fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        match self.get(path).await?["items"].take() {
            Value::Array(items) => Ok(items),
            _ => bail!("{path} has no items"),
        }
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.http.get(format!("{}{path}", self.api)).send().await?;
        let status = answer.status();
        let body: Value = answer
            .json()
            .await
            .with_context(|| format!("{path} answered {status} without JSON"))?;
        if !status.is_success() {
            bail!(
                "{path} answered {status}: {}",
                body["detail"].as_str().unwrap_or("no detail")
            );
        }
        Ok(body)
    }
}

fn product(item: &Value) -> Product {
    let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
    let price = item["price"]["amount"]
        .as_str()
        .zip(item["price"]["currency"].as_str());
    Product {
        id: text("id"),
        name: text("name"),
        code: text("product_code"),
        price: price.map(|(amount, currency)| (amount.to_owned(), currency.to_owned())),
        is_free_to_order: item["purchasable"] == true
            && item["stock"].is_null()
            && item["order_quantity_max"].is_null(),
        purchasable: item["purchasable"] == true,
    }
}
