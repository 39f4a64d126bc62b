//! What the journal kept under other rules, and may not keep under those of now.
//!
//! The door takes out of events what may not be kept before it writes them down ([`redact`]). What is older was written
//! by an older version, or before a field was left out: it is taken out here, once for each change of the rules. Events
//! and pages of rows lose the values of such fields, and keep their names: a replay finds null there, as it finds in what
//! came since. How far that is, is stored with each step.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;

use crate::config::{self, ObjectRules};
use crate::inbound::mapping;
use crate::inbound::redact::{self, Redaction};
use crate::journal::forget::Forget;
use crate::store::journal::forget::{REDACTED_BY, REDACTED_EVENT, REDACTED_PAGE, REDACTING_BY, Redacted};
use crate::store::journal::log::pack;

/// Events looked through in one transaction, of which most are of other objects.
const EVENTS_PER_STEP: i64 = 2_000;

/// Transactions in one look.
const STEPS_MAX: usize = 64;

/// An event's bytes, and the names of fields that are not in them any more.
type Kept = (Bytes, Vec<String>);

impl Forget {
    /// Goes through the journal where the rules are others than those it was gone through by; a few steps of it.
    pub(super) fn redact(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        let rules = fingerprint(&self.world.sync);
        if self.journal.mark(REDACTED_BY)? == rules {
            return Ok(());
        }
        if self.journal.mark(REDACTING_BY)? != rules {
            self.journal
                .set_marks(&[(REDACTING_BY, rules), (REDACTED_EVENT, 0), (REDACTED_PAGE, 0)])?;
            let left = self.journal.unredacted()?;
            if left > 0 {
                tracing::info!(
                    left,
                    "the configuration keeps less than it did: {left} events and pages of the journal are gone through, and values that may not be kept are taken out"
                );
            }
        }
        for _ in 0..STEPS_MAX {
            if stop.is_cancelled() {
                return Ok(());
            }
            if !self.redact_events()? && !self.redact_page()? {
                self.journal.set_marks(&[(REDACTED_BY, rules)])?;
                if self.history.journal.last_event()? > 0 {
                    tracing::info!(
                        "the journal holds no value any more that the configuration does not keep"
                    );
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// Some events; whether there may be more.
    fn redact_events(&mut self) -> anyhow::Result<bool> {
        let after = self.journal.mark(REDACTED_EVENT)?;
        let last = self.history.journal.last_event()?;
        if after >= last {
            return Ok(false);
        }
        let to = last.min(after + EVENTS_PER_STEP);
        let mut redacted = Vec::new();
        for id in self.history.journal.schema_ids()? {
            let Some(kept_of) = self.redaction_of(&id)? else {
                continue;
            };
            let ids = std::slice::from_ref(&id);
            for event in self.history.journal.events_written_by(ids, after + 1, to)? {
                let Some((payload, fields)) = kept_of(&event.payload) else {
                    continue;
                };
                let before = event.redacted.into_iter();
                let before = before.filter(|name| !fields.contains(name));
                redacted.push(Redacted {
                    number: event.number,
                    payload: payload.to_vec(),
                    fields: before.chain(fields.iter().cloned()).collect(),
                });
            }
        }
        self.empties_logs |= !redacted.is_empty();
        self.journal.redact_events(&redacted, (REDACTED_EVENT, to))?;
        Ok(true)
    }

    /// What is kept of the events of a schema, each `None` where that is all of it; `None` where that goes for all.
    fn redaction_of(&mut self, id: &str) -> anyhow::Result<Option<impl Fn(&[u8]) -> Option<Kept> + use<>>> {
        let schema = self.history.schema(id)?;
        let json = self.history.journal.schema(id)?.unwrap_or_default();
        let object = match &schema {
            Some(schema) => schema.entity().to_owned(),
            None => redact::object_of(&json).unwrap_or_default(),
        };
        let rules = self.world.sync.rules(&object);
        let redaction = schema.as_ref().and_then(|schema| Redaction::of(schema, &rules));
        let is_kept = match &schema {
            Some(_) => redaction.is_none(),
            None => redact::may_be_kept(&json, &rules),
        };
        Ok(
            (!is_kept).then_some(move |payload: &[u8]| match (&schema, &redaction) {
                (Some(schema), Some(redaction)) => redaction.apply(schema, payload),
                _ => Some(redact::nothing()),
            }),
        )
    }

    /// One page of rows; whether there may be more.
    fn redact_page(&mut self) -> anyhow::Result<bool> {
        let after = self.journal.mark(REDACTED_PAGE)?;
        let Some(page) = self.history.journal.pages(after + 1, 1)?.pop() else {
            return Ok(false);
        };
        let rules = self.world.sync.rules(&page.object);
        let body = match page.unpack() {
            Ok(body) => body,
            Err(damaged) => {
                tracing::warn!(%damaged, "{damaged}: what it holds cannot be read, and stays until its age takes it");
                Vec::new()
            }
        };
        let rewritten = without(&rules, &page.object, &body)?;
        self.empties_logs |= rewritten.is_some();
        let packed = rewritten.map(|body| pack(&body));
        self.journal
            .redact_page(page.number, packed.as_deref(), REDACTED_PAGE)?;
        Ok(true)
    }
}

/// Tells rules from other rules.
fn fingerprint(sync: &config::Sync) -> i64 {
    let mut text = mapping::never_kept();
    for (object, rules) in &sync.object {
        let names = [&rules.fields, &rules.leave_out].map(|names| names.join(","));
        text.push_str(&format!("\n{object}:{}:{}", names[0], names[1]).to_lowercase());
    }
    let hash = digest(&SHA256, text.as_bytes());
    let first = hash.as_ref().first_chunk::<8>().copied().unwrap_or_default();
    // Zero is that of a journal that was never gone through.
    (i64::from_le_bytes(first) & i64::MAX).max(1)
}

/// A page of rows without what may not be kept; `None` where it holds nothing of it.
fn without(rules: &ObjectRules, object: &str, page: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
    let may_be_kept = |field: &str| mapping::may_be_kept(rules, object, field);
    match page.first() {
        None => Ok(None),
        Some(b'[') => {
            let mut rows: Vec<Json> = serde_json::from_slice(page)?;
            let mut found = false;
            for row in &mut rows {
                // Records read again have their number in the ledger and their id before the row.
                let row = match row {
                    Json::Array(parts) => parts.get_mut(2).and_then(Json::as_object_mut),
                    row => row.as_object_mut(),
                };
                let Some(row) = row else { continue };
                for (field, value) in row.iter_mut() {
                    if field != "attributes" && !value.is_null() && !may_be_kept(field) {
                        *value = Json::Null;
                        found = true;
                    }
                }
            }
            Ok(found.then(|| serde_json::to_vec(&rows)).transpose()?)
        }
        Some(_) => without_columns(page, may_be_kept),
    }
}

/// Of CSV with a header.
fn without_columns(page: &[u8], may_be_kept: impl Fn(&str) -> bool) -> anyhow::Result<Option<Vec<u8>>> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(page);
    let header = reader.headers()?.clone();
    let kept: Vec<bool> = header.iter().map(may_be_kept).collect();
    if !kept.contains(&false) {
        return Ok(None);
    }
    let mut writer = csv::WriterBuilder::new()
        .flexible(true)
        .from_writer(Vec::with_capacity(page.len()));
    writer.write_record(&header)?;
    let (mut record, mut found) = (csv::StringRecord::new(), false);
    while reader.read_record(&mut record)? {
        let fields = record.iter().zip(&kept).map(|(text, kept)| {
            found |= !kept && !text.is_empty();
            if *kept { text } else { "" }
        });
        writer.write_record(fields)?;
    }
    Ok(match found {
        true => Some(writer.into_inner()?),
        false => None,
    })
}
