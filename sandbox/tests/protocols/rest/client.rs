//! A sandbox served in this process, and a client that is logged in to it.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value as Json, json};
use storesync_sandbox::{self as sandbox, Options};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A served sandbox and a client that is logged in.
pub struct Client {
    pub http: reqwest::Client,
    pub base: String,
    pub token: String,
    pub env: Vec<(&'static str, String)>,
    pub stop: CancellationToken,
    pub server: JoinHandle<anyhow::Result<()>>,
}

pub const DATA: &str = "/services/data/v67.0";

impl Client {
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub async fn start_with(options: Options) -> Self {
        let running = sandbox::start(options).await.unwrap();
        let (base, env) = (running.http_url.clone(), running.env.clone());
        let mut http = reqwest::Client::builder().timeout(Duration::from_secs(20));
        if let Ok(pem) = std::fs::read(running.data_dir.join("ca.pem")) {
            http = http.tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()]);
        }
        let stop = CancellationToken::new();
        let server = tokio::spawn(running.run(stop.clone()));
        let http = http.build().unwrap();
        let mut client = Self {
            http,
            base,
            token: String::new(),
            env,
            stop,
            server,
        };
        let answer = client.login(&client.client_form()).await;
        client.token = answer["access_token"].as_str().unwrap().to_owned();
        client
    }

    pub async fn stop(self) {
        drop(self.http);
        self.stop.cancel();
        self.server.await.unwrap().unwrap();
    }

    pub fn env(&self, key: &str) -> String {
        self.env.iter().find(|(name, _)| *name == key).unwrap().1.clone()
    }

    pub fn client_form(&self) -> Vec<(&'static str, String)> {
        vec![
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", self.env("SANDBOX_CLIENT_ID")),
            ("client_secret", self.env("SANDBOX_CLIENT_SECRET")),
        ]
    }

    pub async fn login(&self, form: &[(&str, String)]) -> Json {
        let url = format!("{}/services/oauth2/token", self.base);
        self.http
            .post(url)
            .form(form)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("{DATA}/{path}")
        };
        self.http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.token)
    }

    pub async fn get(&self, path: &str) -> (u16, Json) {
        shown(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub async fn send(&self, method: Method, path: &str, body: Json) -> (u16, Json) {
        shown(self.request(method, path).json(&body).send().await.unwrap()).await
    }

    pub async fn post(&self, path: &str, body: Json) -> (u16, Json) {
        self.send(Method::POST, path, body).await
    }

    pub async fn query(&self, soql: &str) -> Json {
        let request = self.request(Method::GET, "query").query(&[("q", soql)]);
        let (status, json) = shown(request.send().await.unwrap()).await;
        assert_eq!(status, 200, "{soql}: {json}");
        json
    }

    pub async fn account(&self, name: &str) -> String {
        let (status, json) = self.post("sobjects/Account", json!({ "Name": name })).await;
        assert_eq!(status, 201, "{json}");
        json["id"].as_str().unwrap().to_owned()
    }

    /// A price book entry to order, with its price book and currency.
    pub async fn entry(&self) -> Json {
        let soql = "SELECT Id, Pricebook2Id, Product2Id, UnitPrice, CurrencyIsoCode FROM PricebookEntry \
                    WHERE IsActive = true AND Pricebook2.IsStandard = false LIMIT 1";
        self.query(soql).await["records"][0].clone()
    }

    pub async fn fault(&self, rule: Json) {
        let (status, json) = self.post("/sandbox/faults", rule).await;
        assert_eq!(status, 200, "{json}");
    }
}

pub async fn shown(response: Response) -> (u16, Json) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let json = if text.is_empty() {
        Json::Null
    } else {
        serde_json::from_str(&text).unwrap_or(Json::String(text))
    };
    (status, json)
}
