//! The orders of a customer that the org has not confirmed: what makes a storefront see its own orders at once.
//!
//! A list of a customer's orders is the mirrored ones, and before them those of [`Outbox::pending_of`] that are not
//! mirrored under their id or key: so an order stands there once before, while and after its echo arrives.

use rusqlite::params;

use crate::model::clock::Millis;
use crate::model::state::WriteState;
use crate::store::outbox::damage::{self, shown};
use crate::store::outbox::{Outbox, OutboxError};

/// Finds the writes of the customer `?1`: most are in the lane of that key.
pub(super) const OF_CUSTOMER: &str =
    "select sequence from writes indexed by writes_lane where lane = lower(?1) and customer = ?1
     union
     select sequence from writes indexed by writes_customer where customer <> lane and customer = ?1";

/// An order that the org has not confirmed, as its customer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingOrder {
    pub external_id: String,
    /// Under which the org has it, or will.
    pub org_key: String,
    pub store_id: String,
    pub state: WriteState,
    pub salesforce_id: Option<String>,
    pub currency: Option<String>,
    pub accepted_at: Millis,
}

impl Outbox {
    /// The org's ids of orders that were placed for a person, by the id of the person's record: the next few after one.
    pub fn orders_of(&self, record_id: &str, after: &str, most: usize) -> Result<Vec<String>, OutboxError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1);
        self.read(|connection| {
            connection
                .prepare_cached(
                    "select salesforce_id from persons join writes on sequence = write_sequence
                     where record_id = ?1 and kind = 'order' and salesforce_id > ?2 order by salesforce_id limit ?3",
                )?
                .query_map(params![record_id, after, most], |row| row.get(0))?
                .collect()
        })
    }

    /// Whether a store, and whether another one, has sent orders for an account, by the id of the account's record.
    pub fn sold(&self, account_id: &str, store_id: &str) -> Result<(bool, bool), OutboxError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "select coalesce(max(store_id = ?2), 0), coalesce(max(store_id <> ?2), 0)
                     from persons join writes on sequence = write_sequence
                     where record_id = ?1 and kind = 'order' and state in ('sent', 'confirmed')",
                )?
                .query_row(params![account_id, store_id], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
        })
    }

    /// When the first order of a store was accepted that is about an account and is in the org.
    pub fn first_sale(&self, account_id: &str, store_id: &str) -> Result<Option<Millis>, OutboxError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "select min(accepted_at) from persons join writes on sequence = write_sequence
                     where record_id = ?1 and store_id = ?2 and kind = 'order' and state in ('sent', 'confirmed')",
                )?
                .query_row([account_id, store_id], |row| row.get(0))
        })
    }

    /// A customer's orders that are open, by the customer's key or e-mail, whatever their case; the newest first, at
    /// most `most`.
    pub fn pending_of(&self, key: &str, email: &str, most: u32) -> Result<Vec<PendingOrder>, OutboxError> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!(
                    "with theirs as (
                         {OF_CUSTOMER}
                         union
                         select sequence from writes indexed by writes_email where email = ?2
                     )
                     select external_id, store_id, state, salesforce_id, iif(json_valid(body), body ->> '$.currency', null), accepted_at,
                         coalesce(org_key, external_id)
                     from theirs join writes using (sequence) left join bodies on write_sequence = sequence
                     where kind = 'order' and state in ('queued', 'sending', 'waiting', 'sent', 'needs_attention')
                     order by sequence desc limit ?3",
                ))?
                .query_map(params![key, email, most], |row| {
                    Ok(PendingOrder {
                        external_id: shown(row, 0)?.unwrap_or_default(),
                        store_id: shown(row, 1)?.unwrap_or_default(),
                        state: damage::state(row, 2)?,
                        salesforce_id: shown(row, 3)?,
                        currency: shown(row, 4)?,
                        accepted_at: row.get(5)?,
                        org_key: shown(row, 6)?.unwrap_or_default(),
                    })
                })?
                .collect()
        })
    }
}
