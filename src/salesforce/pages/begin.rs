//! Beginning queries: one by its own request, or several by one call.
//!
//! A composite request counts as one API call and takes five queries (Composite). Each of them has its own answer, and
//! goes on by itself where that has more pages.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Next, Page, Pages, Whole};
use crate::salesforce::client::without_query;
use crate::salesforce::rest::{PartResult, Scope};
use crate::salesforce::{Error, Org};

/// The org refuses addresses of more than 16 KiB, and proxies on the way those of more than 8.
const ADDRESS_BYTES_MAX: usize = 8_000;

/// Queries of one composite request.
pub const QUERIES_PER_CALL: usize = 5;

impl Org {
    /// Runs a SOQL query and gives its first page. One that is too long for an address travels in a body.
    pub async fn query(&self, soql: &str, scope: Scope) -> Result<Page, Error> {
        let path = self.query_path(soql, scope);
        if path.len() <= ADDRESS_BYTES_MAX {
            let page = self.next_page(&path).await?;
            return self.first(&path, page);
        }
        let mut pages = self.first_pages(&[path.as_str()]).await?;
        let page = pages.pop();
        page.unwrap_or_else(|| Err(self.unreadable(&path, "the composite has no part")))
    }

    /// Whether a query is short enough for an address.
    pub fn fits_address(&self, soql: &str, scope: Scope) -> bool {
        self.query_path(soql, scope).len() <= ADDRESS_BYTES_MAX
    }

    fn query_path(&self, soql: &str, scope: Scope) -> String {
        let resource = match scope {
            Scope::Live => "query",
            Scope::WithDeleted => "queryAll",
        };
        let soql = utf8_percent_encode(soql, NON_ALPHANUMERIC);
        format!("{}/{resource}?q={soql}", self.data_path())
    }

    /// Begins at most [`QUERIES_PER_CALL`] queries by one call, whose pages are then all to be read.
    pub async fn pages_of_each(
        &self,
        soqls: &[String],
        scope: Scope,
    ) -> Result<Vec<Result<Pages<'_>, Error>>, Error> {
        let paths: Vec<String> = soqls.iter().map(|soql| self.query_path(soql, scope)).collect();
        let asked: Vec<&str> = paths.iter().map(String::as_str).collect();
        let pages = self.first_pages(&asked).await?;
        let begun = paths.into_iter().zip(pages).map(|(path, page)| {
            page.map(|page| Pages {
                org: self,
                next: Next::Ready { path, page },
                whole: Whole::default(),
            })
        });
        Ok(begun.collect())
    }

    /// The first page of each query, by one composite request.
    async fn first_pages(&self, paths: &[&str]) -> Result<Vec<Result<Page, Error>>, Error> {
        let part = |(index, path)| {
            let reference = format!("query{index}");
            json!({"method": "GET", "url": path, "referenceId": reference})
        };
        let asked: Vec<Value> = paths.iter().enumerate().map(part).collect();
        let parts = self
            .composite(&json!({"allOrNone": false, "compositeRequest": asked}))
            .await?;
        if parts.len() != paths.len() {
            let path = format!("{}/composite", self.data_path());
            return Err(self.unreadable(&path, "it has not one part for each query"));
        }
        let page = |(path, part): (&&str, PartResult)| {
            let body = part.body.to_string();
            match part.status {
                200 => self.first(path, self.page(path, body.as_bytes())?),
                status => Err(Error::of_answer(without_query(path), status, body.as_bytes())),
            }
        };
        Ok(paths.iter().zip(parts).map(page).collect())
    }
}
