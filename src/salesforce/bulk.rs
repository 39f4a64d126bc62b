//! Bulk API 2.0 queries.
use crate::salesforce::{Error, Org};
/// A query job that has completed.
#[derive(Debug)]
pub struct Job { pub id: String, pub rows: u64 }
/// One page of results: CSV with a header row.
#[derive(Debug)]
pub struct CsvPage { pub csv: bytes::Bytes, pub rows: u64, pub next: Option<String> }
impl Org {
    /// Starts a query over live rows and waits until its results are ready.
    pub async fn bulk_query(&self, _soql: &str) -> Result<Job, Error> { unimplemented!() }
    /// A page from `locator` on (from the beginning where it is `None`), of at most `rows_max` rows.
    pub async fn bulk_page(&self, _job: &Job, _locator: Option<&str>, _rows_max: u32) -> Result<CsvPage, Error> { unimplemented!() }
    /// Tells the org that the results are no longer needed.
    pub async fn bulk_delete(&self, _job: &Job) -> Result<(), Error> { unimplemented!() }
}
