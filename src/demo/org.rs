//! The org as an administrator would touch it: a few REST calls, apart from the daemon's own client, so that
//! what the tour finds does not rest on the code that it checks.

use anyhow::{Context, anyhow};
use serde_json::{Map, Value};

/// A logged-in administrator of the sandbox org.
#[derive(Clone)]
pub struct OrgClient {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl OrgClient {
    /// Logs in with the credentials that the sandbox printed.
    pub async fn log_in(env: &[(&'static str, String)]) -> anyhow::Result<Self> {
        let value = |key: &str| {
            let found = env
                .iter()
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value.clone());
            found.ok_or_else(|| anyhow!("the sandbox gave no {key}"))
        };
        let http = reqwest::Client::new();
        let form = [
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", value("SANDBOX_CLIENT_ID")?),
            ("client_secret", value("SANDBOX_CLIENT_SECRET")?),
        ];
        let url = format!("{}/services/oauth2/token", value("SANDBOX_HTTP")?);
        let answer: Value = http
            .post(url)
            .form(&form)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        let text = |key: &str| {
            answer[key]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("no {key} in the login"))
        };
        Ok(Self {
            http,
            base: text("instance_url")?,
            token: text("access_token")?,
        })
    }

    /// All rows of a query.
    pub async fn query(&self, soql: &str) -> anyhow::Result<Vec<Map<String, Value>>> {
        let mut rows = Vec::new();
        let mut request = self.http.get(self.url("query")).query(&[("q", soql)]);
        loop {
            let answer = request
                .bearer_auth(&self.token)
                .send()
                .await?
                .error_for_status()?;
            let mut page: Value = answer.json().await?;
            if let Value::Array(records) = page["records"].take() {
                rows.extend(records.into_iter().filter_map(|record| match record {
                    Value::Object(record) => Some(record),
                    _ => None,
                }));
            }
            match page["nextRecordsUrl"].as_str() {
                Some(next) => request = self.http.get(format!("{}{next}", self.base)),
                None => return Ok(rows),
            }
        }
    }

    /// Changes fields of one record.
    pub async fn update(&self, object: &str, id: &str, fields: &Value) -> anyhow::Result<()> {
        let url = self.url(&format!("sobjects/{object}/{id}"));
        self.http
            .patch(url)
            .bearer_auth(&self.token)
            .json(fields)
            .send()
            .await?
            .error_for_status()?;
        Ok(())
    }

    fn url(&self, resource: &str) -> String {
        format!("{}/services/data/v67.0/{resource}", self.base)
    }
}
