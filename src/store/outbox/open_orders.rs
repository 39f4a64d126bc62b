//! The orders of a customer that are not yet, or not surely, among those mirrored: what makes a storefront see its
//! own orders at once.
//!
//! A list of a customer's orders is the mirrored ones, and before them those of [`Outbox::customer_orders`] whose
//! `salesforce_id` and `external_id` are not among the mirrored: so an order stands there once before, while and
//! after its echo arrives.

use rusqlite::{Connection, params};
use serde_json::{Value, json};

use crate::model::clock::format_datetime;
use crate::model::order::{Decimal, Placed};
use crate::store::outbox::read::{VIEW, View, view};
use crate::store::outbox::{Outbox, OutboxError};

/// Most orders given at once.
const ORDERS_MAX: u32 = 200;

/// An accepted order with what was ordered.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenOrder {
    pub view: View,
    pub placed: Placed,
}

impl OpenOrder {
    /// What the order comes to, by its own lines.
    pub fn total(&self) -> Option<String> {
        let lines = self.placed.lines.iter();
        let total = lines
            .map(|line| line.unit_price.times(line.quantity))
            .sum::<Option<Decimal>>()?;
        Some(total.as_amount(self.placed.currency.as_deref().unwrap_or_default()))
    }

    /// As lists of a customer's orders show it.
    pub fn json(&self) -> Value {
        json!({
            "external_id": self.view.external_id,
            "salesforce_id": self.view.salesforce_id,
            "store_id": self.view.store_id,
            "state": self.view.state,
            "currency": self.placed.currency,
            "total": self.total(),
            "items": self.placed.lines.len(),
            "accepted_at": format_datetime(self.view.accepted_at),
        })
    }
}

impl Outbox {
    /// The newest orders of a customer, by the customer's key, but for those that were given up.
    pub fn customer_orders(&self, customer: &str) -> Result<Vec<OpenOrder>, OutboxError> {
        self.read(|connection| customer_orders(connection, customer))
    }
}

fn customer_orders(connection: &Connection, customer: &str) -> rusqlite::Result<Vec<OpenOrder>> {
    let mut orders = connection.prepare_cached(&format!(
        "select {VIEW}, w.body from writes w
         where w.customer = ?1 and w.kind = 'order' and w.state <> 'discarded' order by w.sequence desc limit ?2"
    ))?;
    let read = orders.query_map(params![customer, ORDERS_MAX], |row| {
        let body: String = row.get(14)?;
        Ok((view(row)?, body))
    })?;
    let mut found = Vec::new();
    for order in read {
        let (view, body) = order?;
        // One that a newer version wrote is left out here and told of where it is sent.
        if let Ok(placed) = serde_json::from_str(&body) {
            found.push(OpenOrder { view, placed });
        }
    }
    Ok(found)
}
