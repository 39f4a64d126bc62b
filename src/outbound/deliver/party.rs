//! Asks the org who a write is for.

use serde_json::{Map, Value, json};

use super::{Delivery, Trouble};
use crate::config::Customers;
use crate::model::order::Problem;
use crate::model::write::{Kind, Write};
use crate::outbound::compose::FOUND;
use crate::outbound::outcome::Verdict;
use crate::outbound::party::{Asked, Look, Party, Sold, present};
use crate::salesforce::rest::{Page, PartResult, Scope};
use crate::salesforce::soql::literal;
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
            self.account(write.store_id(), &asked, look, &mut party).await?;
        }
        self.exchange.record_ids.extend(party.ids().cloned());
        Ok(party)
    }

    /// The account that a write names, or the one under the key of somebody new: whether the person is in it or may join it,
    /// and whether it may be changed.
    async fn account(
        &mut self,
        store: &str,
        asked: &Asked<'_>,
        look: Look,
        party: &mut Party,
    ) -> Result<(), Trouble> {
        let (rows, merged) = self.rows_of(asked, look, Of::Account).await?;
        let id = rows.first().and_then(|row| row.get("Id")?.as_str());
        asked.stays(party, id).map_err(Trouble::refused)?;
        let mut sold = Sold::default();
        if let Some(id) = id {
            let is_changed = asked.customer.company.is_some() && !asked.customer.is_protected;
            if !party.is_in_account || is_changed {
                sold = self.sold(id, store).await?;
            }
            if !party.is_in_account {
                asked.joins(sold).map_err(Trouble::refused)?;
            }
        }
        party.account = id.map(str::to_owned);
        party.is_own_account = asked.customer.account_external_id.is_none() && !merged && !sold.by_another;
        party.is_account_kept = merged || sold.by_another;
        Ok(())
    }

    /// Whether stores have sold to an account, by the orders that were placed here and, where they name their store, by the
    /// org's.
    async fn sold(&mut self, account: &str, store: &str) -> Result<Sold, Trouble> {
        let placed = self.outbox.sold(account, store);
        let (by_store, by_another) = placed.map_err(|error| unreadable(&error))?;
        let mut sold = Sold { by_store, by_another };
        let field = self.composer.mapping.field("order.store");
        let Some(field) = field.and_then(|field| self.composer.shape.order.limits(field)) else {
            return Ok(sold);
        };
        let field = &field.name;
        for (condition, is_sold) in [
            (format!("{field} = {}", literal(store)), &mut sold.by_store),
            (
                format!("{field} != null AND {field} != {}", literal(store)),
                &mut sold.by_another,
            ),
        ] {
            if *is_sold {
                continue;
            }
            let soql = format!(
                "SELECT Id FROM Order WHERE AccountId = {} AND {condition} LIMIT 1",
                literal(account)
            );
            let page = self.org.query(&soql, Scope::Live).await;
            *is_sold = !self.looked(&json!(soql), page, "")?.records.is_empty();
        }
        Ok(sold)
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
