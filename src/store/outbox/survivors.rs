//! Records that went into others: customers that were merged, and leads that became contacts.
//!
//! The org tells of it as long as the old record is in its recycle bin. What is kept here is the old key and the id of
//! the record that lives on, until that one is gone too.

use rusqlite::{Connection, OptionalExtension};

use crate::store::outbox::{Outbox, OutboxError};

/// Most merges that are followed, one after the other.
const MERGES_MAX: usize = 5;

/// A record that another took in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    pub object: String,
    pub record_id: String,
    /// What storefronts know it by, where they do.
    pub key: Option<String>,
    /// The record that lives on.
    pub survivor_id: String,
}

impl Outbox {
    /// The id of the record to which a key leads, or an id, whose own record was merged away.
    pub fn survivor(&self, object: &str, key: &str) -> Result<Option<String>, OutboxError> {
        self.read(|connection| survivor(connection, object, key))
    }

    /// Notes which records live on in others.
    pub async fn note_merged(&self, merged: Vec<Merged>) -> Result<(), OutboxError> {
        self.submit(move |connection| merged.iter().try_for_each(|merged| note(connection, merged)))
            .await
    }

    /// Has writes about leads be about the contacts that these became: pairs of lead and contact.
    pub async fn note_converted(&self, converted: Vec<(String, String)>) -> Result<(), OutboxError> {
        self.submit(move |connection| {
            converted.iter().try_for_each(|(lead_id, contact_id)| {
                connection
                    .prepare_cached(
                        "insert or ignore into persons (record_id, write_sequence)
                         select ?2, write_sequence from persons where record_id = ?1",
                    )?
                    .execute([lead_id, contact_id])?;
                connection
                    .prepare_cached("delete from persons where record_id = ?1")?
                    .execute([lead_id])
                    .map(drop)
            })
        })
        .await
    }
}

/// Merges are told of in any order: the last of them is where all lead.
fn note(connection: &Connection, merged: &Merged) -> rusqlite::Result<()> {
    let mut survivor_id = merged.survivor_id.clone();
    for _ in 0..MERGES_MAX {
        match survivor(connection, &merged.object, &survivor_id)? {
            Some(next) => survivor_id = next,
            None => break,
        }
    }
    connection
        .prepare_cached("update survivors set record_id = ?2 where record_id = ?1")?
        .execute([&merged.record_id, &survivor_id])?;
    let mut insert = connection
        .prepare_cached("insert or replace into survivors (object, key, record_id) values (?1, ?2, ?3)")?;
    for key in [Some(&merged.record_id), merged.key.as_ref()]
        .into_iter()
        .flatten()
    {
        insert.execute([&merged.object, key, &survivor_id])?;
    }
    Ok(())
}

fn survivor(connection: &Connection, object: &str, key: &str) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("select record_id from survivors where object = ?1 and key = ?2")?
        .query_row([object, key], |row| row.get(0))
        .optional()
}

/// Forgets which keys led to a record that is gone.
pub(super) fn forget(connection: &Connection, record_id: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("delete from survivors where record_id = ?1")?
        .execute([record_id])
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::outbox::tests::shop;

    fn merged(record_id: &str, survivor_id: &str) -> Merged {
        Merged {
            object: "Contact".to_owned(),
            record_id: record_id.to_owned(),
            key: Some(format!("key of {record_id}")),
            survivor_id: survivor_id.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_key_leads_to_the_last_in_whatever_order_merges_are_told_of() {
        let chain = [merged("A", "B"), merged("B", "C"), merged("C", "D")];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1], [2, 0, 1], [1, 2, 0]] {
            let shop = shop();
            for at in order {
                shop.outbox.note_merged(vec![chain[at].clone()]).await.unwrap();
                let gone = vec![chain[at].record_id.clone()];
                shop.outbox.erase(gone, Vec::new(), 1).await.unwrap();
            }
            for key in ["key of A", "KEY OF B", "key of C", "A", "B"] {
                let leads_to = shop.outbox.survivor("Contact", key).unwrap();
                assert_eq!(leads_to.as_deref(), Some("D"), "{key} {order:?}");
            }
            assert_eq!(shop.outbox.survivor("Account", "A").unwrap(), None);
            shop.outbox
                .erase(vec!["D".to_owned()], Vec::new(), 2)
                .await
                .unwrap();
            assert_eq!(
                shop.outbox.survivor("Contact", "A").unwrap(),
                None,
                "nobody lives on"
            );
        }
    }
}
