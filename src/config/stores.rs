//! Stores that are not records of the org: price books that are shown as stores.

use serde::Deserialize;

use crate::config::ConfigError;

/// `[[sync.stores]]`: a price book as a store. Its products are those with an active price in the book.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BookStore {
    /// The price book's id, 18 characters; it is the store's id as well.
    pub pricebook_id: String,
    pub code: String,
    /// The code where none is given.
    pub name: Option<String>,
    pub domain: Option<String>,
    pub path: Option<String>,
    /// In an org of several currencies, the one whose prices are shown.
    pub currency: Option<String>,
    pub locale: Option<String>,
    pub timezone: Option<String>,
}

impl BookStore {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let id = &self.pricebook_id;
        if id.len() == 18 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(());
        }
        Err(ConfigError(format!(
            "[[sync.stores]] {} has no pricebook_id of 18 characters: take it from the price book's address in the org",
            self.code
        )))
    }
}
