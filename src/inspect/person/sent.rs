//! What storefronts have sent of persons themselves: the outbox's writes of customers and leads, with the records that they
//! made. The mirror need not have those: leads are left out of it by the profile.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::model::id;
use crate::store::subject::rows::Database;

/// Kinds of writes that are of a person, and of nobody besides.
const KINDS: [&str; 2] = ["customer", "lead"];

/// A write of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub number: i64,
    /// In small letters, as addresses and keys of persons are compared. That of a customer's write is the write's alone.
    pub key: Option<String>,
    pub email: Option<String>,
    /// The contact or the lead; an account may be of others too.
    pub record: Option<String>,
}

/// All of them that an outbox has.
pub fn sent(outbox: &Database) -> anyhow::Result<Vec<Sent>> {
    let mut found = BTreeMap::new();
    outbox.each_of("writes", |table, row| {
        let text = |name: &str| table.text(&row, name);
        let is_of_person = text("kind").is_some_and(|kind| KINDS.contains(&kind));
        let number = table.integer(&row, "sequence").filter(|_| is_of_person);
        if let Some(number) = number {
            let key = match text("kind") {
                Some("lead") => text("external_id"),
                _ => text("customer"),
            };
            let is_person = |id: &&str| matches!(id::standard_object(id), Some("Contact" | "Lead"));
            let sent = Sent {
                number,
                key: key.map(str::to_lowercase),
                email: text("email").map(str::to_lowercase),
                record: text("salesforce_id").filter(is_person).map(id::long),
            };
            found.insert(number, sent);
        }
    })?;
    outbox.each_of("bodies", |table, row| {
        let number = table.integer(&row, "write_sequence").unwrap_or_default();
        if let Some(sent) = found.get_mut(&number) {
            let email = table.text(&row, "body").and_then(email);
            sent.email = email.or(sent.email.take());
        }
    })?;
    Ok(found.into_values().collect())
}

/// The address that a body has of the person.
fn email(body: &str) -> Option<String> {
    let body: Json = serde_json::from_str(body).ok()?;
    let of = |member: &str| body[member]["email"].as_str();
    let email = of("values").or_else(|| of("customer"))?;
    email.contains('@').then(|| email.trim().to_lowercase())
}
