//! Asks the org who a write is for.

use serde_json::json;

use super::{Delivery, Trouble};
use crate::config::Customers;
use crate::model::write::Write;
use crate::outbound::compose::FOUND;
use crate::outbound::party::{Asked, Party};
use crate::salesforce::rest::{Page, PartResult, Scope};

/// The id of the order that a request asked for before it changed it.
pub(super) fn id_asked_for(results: &[PartResult]) -> Option<String> {
    let found = results
        .iter()
        .find(|part| part.reference.as_deref() == Some(FOUND))?;
    let id = found.body.pointer("/records/0/Id")?.as_str()?;
    Some(id.to_owned())
}

impl Delivery<'_> {
    /// The records of the write's person that the org has. What is found may be gone when the write arrives; then the
    /// org refuses the write, and it is looked for again.
    pub(super) async fn party(&mut self, write: &Write) -> Result<Party, Trouble> {
        let Some(customer) = write.customer() else {
            return Ok(Party::default());
        };
        let composer = self.composer;
        let asked = Asked {
            shape: composer.shape,
            customer,
            named: write.named(),
            are_persons: composer.customers == Customers::Persons && customer.account_external_id.is_none(),
            guests: composer.guests,
        };
        let mut found = None;
        for look in asked.looks() {
            let page = self.page_of(&look.soql).await?;
            found = asked.found(&look, &page.records).map_err(Trouble::refused)?;
            if found.is_some() {
                break;
            }
        }
        if let (None, Some(problem)) = (&found, asked.missing()) {
            return Err(Trouble::refused(problem));
        }
        let is_known = found.is_some();
        let mut party = found.unwrap_or_default();
        let account_key = match (&customer.account_external_id, &customer.external_id) {
            (Some(key), _) => Some(key),
            (None, key) if !is_known && !asked.are_persons => key.as_ref(),
            (None, _) => None,
        };
        if let Some(soql) = account_key.and_then(|key| asked.account_look(key)) {
            let page = self.page_of(&soql).await?;
            let id = page.records.first().and_then(|row| row.get("Id"));
            party.account = id.and_then(|id| id.as_str()).map(str::to_owned);
            party.is_own_account = customer.account_external_id.is_none();
        }
        self.exchange.record_ids.extend(party.ids().cloned());
        Ok(party)
    }

    async fn page_of(&mut self, soql: &str) -> Result<Page, Trouble> {
        let page = self.org.query(soql, Scope::Live).await;
        self.looked(&json!(soql), page, "")
    }
}
