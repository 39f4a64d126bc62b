//! What becomes of writes whose records the org has no more.
//!
//! A record that is gone was deleted, or went into another: a lead that was converted lives on in a contact, and of
//! customers that were merged one lives on. The org's recycle bin tells which. Writes about a converted lead are kept
//! and go with the contact from then on; all others are erased, and of who was merged away it is kept where the key
//! leads now.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::config;
use crate::model::clock::Millis;
use crate::outbound::shape::Writable;
use crate::salesforce::rest::Scope;
use crate::salesforce::soql::literal;
use crate::salesforce::{Error, Org};
use crate::store::outbox::{Merged, Outbox, OutboxError, person_object};

/// Most records that the recycle bin is asked for at once.
const IDS_MAX: usize = 500;

/// Most merges that are learned at once: the org tells of so many in one answer.
const MERGES_MAX: usize = 2_000;

/// One record that went into another, that into a third, and so on.
const MERGES_FOLLOWED_MAX: usize = 8;

/// Settles what is about records that are gone.
pub struct Gone<'a> {
    pub org: &'a Org,
    pub outbox: &'a Outbox,
    pub config: &'a config::Orders,
}

/// The key fields of the objects that were asked for, so that they are described once.
#[derive(Debug, Default)]
pub struct Keys(HashMap<String, Option<String>>);

impl Gone<'_> {
    /// Erases what is about records that are gone, unless they live on elsewhere; `false` where that cannot be done
    /// just now.
    pub async fn settle(
        &self,
        keys: &mut Keys,
        object: &str,
        ids: &[String],
        now: Millis,
    ) -> Result<bool, OutboxError> {
        for ids in ids.chunks(IDS_MAX) {
            let moved = match self.moved(keys, object, ids).await {
                Ok(moved) => moved,
                Err(error) => {
                    tracing::warn!(%error, "what became of {object} records that are gone cannot be asked for");
                    return Ok(false);
                }
            };
            let done = if object == "Lead" {
                self.converted(moved).await? && self.erase(ids.to_vec(), now).await?
            } else {
                self.note_merged(moved).await? && self.erase(ids.to_vec(), now).await?
            };
            if !done {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Notes the newest merges of an object that the org's recycle bin tells of; `false` where that cannot be done just now.
    pub async fn learn_merges(&self, keys: &mut Keys, object: &str) -> Result<bool, OutboxError> {
        match self.merges(keys, object).await {
            Ok(merged) => self.note_merged(merged).await,
            Err(error) => {
                tracing::warn!(%error, "which {object} records were merged cannot be asked for");
                Ok(false)
            }
        }
    }

    async fn merges(&self, keys: &mut Keys, object: &str) -> Result<Vec<Merged>, Error> {
        let key = self.key_of(keys, object).await?;
        let fields = key.as_ref().map(|key| format!(", {key}")).unwrap_or_default();
        let soql = format!(
            "SELECT Id, MasterRecordId{fields} FROM {object} \
             WHERE IsDeleted = true AND MasterRecordId != null ORDER BY SystemModstamp DESC LIMIT {MERGES_MAX}"
        );
        let rows = match self.org.query(&soql, Scope::WithDeleted).await {
            Ok(page) => page.records,
            Err(error) if error.is_hidden() => Vec::new(),
            Err(error) => return Err(error),
        };
        let merged = rows
            .iter()
            .filter_map(|row| merged(row, object, "MasterRecordId", key.as_deref()));
        Ok(merged.collect())
    }

    /// Which of the records went into others. Where the org does not tell, none did.
    async fn moved(&self, keys: &mut Keys, object: &str, ids: &[String]) -> Result<Vec<Merged>, Error> {
        let (into, key) = match object {
            "Lead" => ("ConvertedContactId", None),
            _ => ("MasterRecordId", self.key_of(keys, object).await?),
        };
        let fields = key.as_ref().map(|key| format!(", {key}")).unwrap_or_default();
        let asked = ids;
        let ids: Vec<String> = ids.iter().map(|id| literal(id)).collect();
        let soql = format!(
            "SELECT Id, {into}{fields} FROM {object} WHERE {into} != null AND Id IN ({})",
            ids.join(", ")
        );
        let rows = match self.org.query(&soql, Scope::WithDeleted).await {
            Ok(page) => page.records,
            Err(error) if error.is_hidden() => Vec::new(),
            Err(error) => return Err(error),
        };
        let moved = rows
            .iter()
            .filter_map(|row| merged(row, object, into, key.as_deref()))
            .filter(|moved| asked.contains(&moved.record_id));
        let mut moved: Vec<Merged> = moved.collect();
        self.follow(object, into, &mut moved).await?;
        Ok(moved)
    }

    /// Who lives on may have gone into another since, and that may be known already: then nothing tells of it again.
    async fn follow(&self, object: &str, into: &str, moved: &mut [Merged]) -> Result<(), Error> {
        for _ in 0..MERGES_FOLLOWED_MAX {
            if moved.is_empty() {
                return Ok(());
            }
            let ids: Vec<String> = moved.iter().map(|moved| literal(&moved.survivor_id)).collect();
            let soql = format!(
                "SELECT Id, {into} FROM {object} WHERE {into} != null AND Id IN ({})",
                ids.join(", ")
            );
            let rows = match self.org.query(&soql, Scope::WithDeleted).await {
                Ok(page) => page.records,
                Err(error) if error.is_hidden() => Vec::new(),
                Err(error) => return Err(error),
            };
            let next: HashMap<String, String> = rows
                .iter()
                .filter_map(|row| Some((text(row, "Id")?, text(row, into)?)))
                .collect();
            if next.is_empty() {
                return Ok(());
            }
            for moved in moved.iter_mut() {
                if let Some(next) = next.get(&moved.survivor_id) {
                    moved.survivor_id.clone_from(next);
                }
            }
        }
        Ok(())
    }

    async fn key_of(&self, keys: &mut Keys, object: &str) -> Result<Option<String>, Error> {
        if let Some(known) = keys.0.get(object) {
            return Ok(known.clone());
        }
        let described = self.org.describe(object).await?;
        let shape = described.map(|object| Writable::of(&object, self.config.external_id_field.as_deref()));
        let key = shape.and_then(|shape| shape.key_field).map(|key| key.field);
        keys.0.insert(object.to_owned(), key.clone());
        Ok(key)
    }

    async fn note_merged(&self, merged: Vec<Merged>) -> Result<bool, OutboxError> {
        match merged.is_empty() {
            true => Ok(true),
            false => written(self.outbox.note_merged(merged).await),
        }
    }

    /// Has writes about leads be about the contacts that these became.
    pub async fn converted(&self, converted: Vec<Merged>) -> Result<bool, OutboxError> {
        if converted.is_empty() {
            return Ok(true);
        }
        let converted = converted
            .into_iter()
            .map(|lead| (lead.record_id, lead.survivor_id));
        written(self.outbox.note_converted(converted.collect()).await)
    }

    /// Erases what is about records; `false` where the outbox cannot be written just now.
    async fn erase(&self, ids: Vec<String>, now: Millis) -> Result<bool, OutboxError> {
        told(self.outbox.erase(ids, Vec::new(), now).await)
    }

    /// Erases what was sent of records that are no persons'; `false` where the outbox cannot be written just now.
    pub async fn erase_records(&self, ids: Vec<String>, now: Millis) -> Result<bool, OutboxError> {
        if ids.is_empty() {
            return Ok(true);
        }
        told(self.outbox.erase_records(ids, now).await)
    }

    /// Erases single writes; `false` where the outbox cannot be written just now.
    pub async fn erase_writes(&self, sequences: Vec<i64>, now: Millis) -> Result<bool, OutboxError> {
        told(self.outbox.erase_writes(sequences, now).await)
    }
}

fn merged(row: &Map<String, Value>, object: &str, into: &str, key: Option<&str>) -> Option<Merged> {
    let survivor_id = text(row, into)?;
    let living = if object == "Lead" { "Contact" } else { object };
    Some(Merged {
        object: object.to_owned(),
        record_id: text(row, "Id")?,
        key: key.and_then(|key| text(row, key)),
        // An id of anything else is no answer.
        survivor_id: Some(survivor_id).filter(|id| person_object(id) == Some(living))?,
    })
}

fn text(row: &Map<String, Value>, field: &str) -> Option<String> {
    row.get(field).and_then(Value::as_str).map(str::to_owned)
}

fn written(result: Result<(), OutboxError>) -> Result<bool, OutboxError> {
    match result {
        Ok(()) => Ok(true),
        Err(OutboxError::Write(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn told(erased: Result<usize, OutboxError>) -> Result<bool, OutboxError> {
    match erased {
        Ok(0) => Ok(true),
        Ok(erased) => {
            tracing::info!(
                erased,
                "{erased} writes are erased whose persons or records were deleted in the org"
            );
            Ok(true)
        }
        Err(OutboxError::Write(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
