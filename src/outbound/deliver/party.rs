//! Asks the org who a write is for.

use serde_json::{Map, Value, json};

use super::{Delivery, Trouble};
use crate::config::Customers;
use crate::model::clock::{Millis, parse_datetime};
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

/// Stamps are whole seconds, and the org's time is known to one.
const STAMP_MILLIS: Millis = 2_000;

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
        let is_change = write.kind() == Kind::Customer;
        match (&customer.account_external_id, &customer.external_id) {
            (Some(key), _) => {
                let (store, look) = (write.store_id(), asked.account_look(key));
                if let Some(look) = look {
                    self.named_account(store, &asked, (look, key), &mut party).await?;
                }
            }
            (None, _) if asked.are_persons => {}
            (None, Some(key)) if !is_known => {
                let store = write.store_id();
                self.own_account(store, &asked, key, &mut party).await?;
            }
            // A contact without an account gets one of its own with its first order, and that one with the next.
            (None, _) if is_known && !party.is_in_account && !is_change => {
                let person = party.person.clone().unwrap_or_default();
                self.hidden_account(&asked, &person, &mut party).await?;
            }
            (None, _) if is_known && is_change => self.changed_account(write, &asked, &mut party).await?,
            (None, _) => {}
        }
        self.exchange.record_ids.extend(party.ids().cloned());
        Ok(party)
    }

    /// The account that a write names: whether the person is in it or may join it, and whether it may be changed.
    async fn named_account(
        &mut self,
        store: &str,
        asked: &Asked<'_>,
        (look, key): (Look, &str),
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
                self.note_made(id, store, asked, &mut sold).await?;
                asked.joins(sold).map_err(Trouble::refused)?;
            }
            if is_changed {
                // It is the account of the person who has its key.
                let other = asked.colleague_look(id, party.person.as_deref(), Some(key));
                party.keeps_account_name = self.finds(asked, &other).await?;
            }
        }
        party.account = id.map(str::to_owned);
        party.is_own_account = false;
        party.is_account_kept = merged || sold.by_another;
        Ok(())
    }

    /// The account of somebody new: the one under the person's key, unless that is other people's or another store's.
    async fn own_account(
        &mut self,
        store: &str,
        asked: &Asked<'_>,
        key: &str,
        party: &mut Party,
    ) -> Result<(), Trouble> {
        let Some(look) = asked.account_look(key) else {
            return Ok(());
        };
        let (rows, merged) = self.rows_of(asked, look, Of::Account).await?;
        let Some(id) = rows.first().and_then(|row| row.get("Id")?.as_str()) else {
            return Ok(());
        };
        let is_others = self.finds(asked, &asked.colleague_look(id, None, None)).await?;
        let mut sold = self.sold(id, store).await?;
        self.note_made(id, store, asked, &mut sold).await?;
        if is_others || asked.joins(sold).is_err() {
            return self.hidden_account(asked, key, party).await;
        }
        party.account = Some(id.to_owned());
        party.is_own_account = !merged;
        party.is_account_kept = merged;
        Ok(())
    }

    /// The account of a person that has no key anybody could give.
    async fn hidden_account(
        &mut self,
        asked: &Asked<'_>,
        person: &str,
        party: &mut Party,
    ) -> Result<(), Trouble> {
        let key = asked.own_account_key(person);
        if let Some(look) = asked.account_look(&key) {
            let (rows, merged) = self.rows_of(asked, look, Of::Account).await?;
            party.account = rows
                .first()
                .and_then(|row| row.get("Id")?.as_str())
                .map(str::to_owned);
            party.is_own_account = !merged;
            party.is_account_kept = merged;
        }
        party.account_key = Some(key);
        Ok(())
    }

    /// What of the own account of a customer who is changed stays as it is: all of it where others are in it too, and its
    /// name where another store has sold to it.
    async fn changed_account(
        &mut self,
        write: &Write,
        asked: &Asked<'_>,
        party: &mut Party,
    ) -> Result<(), Trouble> {
        let (Some(account), true, false) = (&party.account, party.is_own_account, party.is_kept) else {
            return Ok(());
        };
        let others = asked.colleague_look(account, party.person.as_deref(), None);
        let is_renamed = asked.customer.company.is_some();
        let keeps_name = is_renamed && self.sold(account, write.store_id()).await?.by_another;
        party.is_own_account = !self.finds(asked, &others).await?;
        party.keeps_account_name = keeps_name;
        Ok(())
    }

    /// Whether a look for people finds any.
    async fn finds(&mut self, asked: &Asked<'_>, soql: &str) -> Result<bool, Trouble> {
        let page = self.org.query(soql, Scope::Live).await;
        let page = self.looked(&json!(soql), page, "")?;
        self.fits(&json!(soql), (&asked.shape.contact.object, &[]), &page.records)?;
        Ok(!page.records.is_empty())
    }

    /// Whether stores have sold to an account, by the orders that were placed here and, where they name their store, by the
    /// org's.
    async fn sold(&mut self, account: &str, store: &str) -> Result<Sold, Trouble> {
        let placed = self.outbox.sold(account, store);
        let (by_store, by_another) = placed.map_err(|error| unreadable(&error))?;
        let mut sold = Sold {
            by_store,
            by_another,
            ..Sold::default()
        };
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
            let page = self.looked(&json!(soql), page, "")?;
            self.fits(&json!(soql), ("Order", &[]), &page.records)?;
            *is_sold = !page.records.is_empty();
        }
        Ok(sold)
    }

    /// Notes whether an order of the store made an account: one that was accepted before the account was there.
    async fn note_made(
        &mut self,
        account: &str,
        store: &str,
        asked: &Asked<'_>,
        sold: &mut Sold,
    ) -> Result<(), Trouble> {
        if !asked.customer.is_protected || !sold.by_store {
            return Ok(());
        }
        let first = self.outbox.first_sale(account, store);
        let Some(first) = first.map_err(|error| unreadable(&error))? else {
            return Ok(());
        };
        let object = &asked.shape.account.object;
        let soql = format!(
            "SELECT Id, CreatedDate FROM {object} WHERE Id = {}",
            literal(account)
        );
        let page = self.org.query(&soql, Scope::Live).await;
        let page = self.looked(&json!(soql), page, "")?;
        self.fits(&json!(soql), (object, &[("Id", &[account])]), &page.records)?;
        let created = page
            .records
            .first()
            .and_then(|row| row.get("CreatedDate")?.as_str());
        let created_at = created.and_then(parse_datetime);
        sold.made_by_store = created_at.is_some_and(|at| self.org.as_org_time(first) < at + STAMP_MILLIS);
        Ok(())
    }

    /// What a look finds, and whether that is what a record was merged into that it meant. Where the recycle bin does not
    /// tell any more where a key leads, the outbox may.
    async fn rows_of(
        &mut self,
        asked: &Asked<'_>,
        look: Look,
        of: Of,
    ) -> Result<(Vec<Map<String, Value>>, bool), Trouble> {
        let object = match of {
            Of::Person => &asked.person_shape().object,
            Of::Account => &asked.shape.account.object,
        };
        let (mut rows, mut into) = present(self.page_of(object, &look).await?.records);
        if let (true, None, Some(key)) = (rows.is_empty(), &into, &look.key) {
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
            (rows, into) = present(self.page_of(object, &next).await?.records);
            merged = true;
        }
        Ok((rows, merged))
    }

    async fn page_of(&mut self, object: &str, look: &Look) -> Result<Page, Trouble> {
        let scope = if look.with_deleted {
            Scope::WithDeleted
        } else {
            Scope::Live
        };
        let page = self.org.query(&look.soql, scope).await;
        let page = self.looked(&json!(look.soql), page, "")?;
        let having = (look.field.as_str(), [look.value.as_str()]);
        self.fits(
            &json!(look.soql),
            (object, &[(having.0, &having.1)]),
            &page.records,
        )?;
        Ok(page)
    }
}
