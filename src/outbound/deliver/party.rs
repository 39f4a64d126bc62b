//! Asks the org who a write is for.

use serde_json::{Map, Value, json};

use super::{Delivery, Trouble};
use crate::config::Customers;
use crate::model::order::Problem;
use crate::model::write::{Kind, Write};
use crate::outbound::compose::FOUND;
use crate::outbound::outcome::Verdict;
use crate::outbound::party::{Asked, Look, Party, present};
use crate::salesforce::rest::{Page, PartResult, Scope};
use crate::store::outbox::OutboxError;

/// Most merges that are followed, one after the other.
const MERGES_MAX: usize = 5;

/// What a look is for.
#[derive(Clone, Copy, Debug)]
enum Of {
    Person,
    Account,
}

fn unreadable(error: &OutboxError) -> Trouble {
    let problem = Problem::new("OUTBOX_UNREADABLE", error.to_string());
    Trouble {
        verdict: Verdict::Unanswered { problem },
        looking: true,
    }
}

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
            let (rows, merged) = self.rows_of(&asked, look.clone(), Of::Person).await?;
            found = asked
                .found(&look, &rows)
                .map_err(Trouble::refused)?
                .map(|party| Party {
                    // Who changes a customer means the one who lives on.
                    is_kept: party.is_kept || merged && write.kind() != Kind::Customer,
                    ..party
                });
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
        if let Some(look) = account_key.and_then(|key| asked.account_look(key)) {
            let (rows, merged) = self.rows_of(&asked, look, Of::Account).await?;
            let id = rows.first().and_then(|row| row.get("Id"));
            party.account = id.and_then(|id| id.as_str()).map(str::to_owned);
            party.is_own_account = customer.account_external_id.is_none() && !merged;
            party.is_account_kept = merged;
        }
        self.exchange.record_ids.extend(party.ids().cloned());
        Ok(party)
    }

    /// What a look finds, and whether that is what a record was merged into that it meant. Where the recycle bin does not
    /// tell any more where a key leads, the outbox may.
    async fn rows_of(
        &mut self,
        asked: &Asked<'_>,
        look: Look,
        of: Of,
    ) -> Result<(Vec<Map<String, Value>>, bool), Trouble> {
        let (mut rows, mut into) = present(self.page_of(&look).await?.records);
        if let (true, None, Some(key)) = (rows.is_empty(), &into, &look.key) {
            let object = match of {
                Of::Person => &asked.person_shape().object,
                Of::Account => &asked.shape.account.object,
            };
            into = self
                .outbox
                .survivor(object, key)
                .map_err(|error| unreadable(&error))?;
        }
        let mut merged = false;
        for _ in 0..MERGES_MAX {
            let Some(id) = into else { break };
            let next = match of {
                Of::Person => asked.survivor_look(&id),
                Of::Account => asked.surviving_account_look(&id),
            };
            (rows, into) = present(self.page_of(&next).await?.records);
            merged = true;
        }
        Ok((rows, merged))
    }

    async fn page_of(&mut self, look: &Look) -> Result<Page, Trouble> {
        let scope = if look.with_deleted {
            Scope::WithDeleted
        } else {
            Scope::Live
        };
        let page = self.org.query(&look.soql, scope).await;
        self.looked(&json!(look.soql), page, "")
    }
}
