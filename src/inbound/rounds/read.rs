//! Bringing the records that lists name into the cache, and finding those that no event brought.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::TRANSACTION_MILLIS;
use crate::inbound::Wires;
use crate::inbound::apply::cells;
use crate::inbound::command::{Command, Source};
use crate::inbound::mapping::stamp_field;
use crate::inbound::poll::{Brought, changed_since};
use crate::inbound::prepare::Planned;
use crate::model::clock::{Millis, Moment, format_datetime};
use crate::salesforce::changed::{Lists, Span};
use crate::salesforce::rest::Scope;
use crate::salesforce::soql::literal;
use crate::store::cache::compare::{self, Window};
use crate::store::cache::objects;

/// More records than this are read by their stamps.
const IDS_MAX: usize = 500;

/// Brings the records of the lists into the cache; the newest stamp among them.
pub(super) async fn read(
    wires: &Wires,
    planned: &Planned,
    span: &Span,
    lists: Lists,
) -> anyhow::Result<Option<Millis>> {
    let Some(stamp) = stamp_field(&planned.table) else {
        return Ok(None);
    };
    let source = |read_rev| Source::Poll {
        read_rev,
        watermark: None,
        proved: None,
    };
    let read_rev = *wires.bells.rev.borrow();
    let brought = match lists.updated.len() {
        0 => Brought::default(),
        few if few <= IDS_MAX => {
            let condition = id_is_one_of(&lists.updated);
            changed_since(wires, planned, stamp, &condition, source).await?
        }
        _ => {
            let condition = format!("{stamp} >= {}", format_datetime(span.start));
            changed_since(wires, planned, stamp, &condition, source).await?
        }
    };
    for ids in lists.deleted.chunks(IDS_MAX) {
        let rows = gone(wires, planned, ids).await?;
        wires
            .apply
            .write(Command::rows(
                planned.table.object.clone(),
                source(read_rev),
                rows,
            ))
            .await?
            .map_err(anyhow::Error::msg)?;
    }
    Ok(brought.newest)
}

/// Rows that say that these records are gone, but for those that were restored since.
async fn gone(
    wires: &Wires,
    planned: &Planned,
    deleted: &[String],
) -> anyhow::Result<Vec<Map<String, Value>>> {
    let soql = format!(
        "SELECT Id FROM {} WHERE {}",
        planned.table.object,
        id_is_one_of(deleted)
    );
    let mut restored = HashSet::new();
    let mut pages = wires.org.pages(soql, Scope::Live);
    while let Some(page) = pages.next().await? {
        let rows = page.into_rows();
        let ids = rows.iter().filter_map(|row| row.get("Id")?.as_str());
        restored.extend(ids.map(str::to_owned));
    }
    let gone = deleted.iter().filter(|id| !restored.contains(*id));
    let row = |id: &String| {
        Map::from_iter([
            ("Id".to_owned(), Value::from(id.as_str())),
            ("IsDeleted".to_owned(), Value::from(true)),
        ])
    };
    Ok(gone.map(row).collect())
}

/// Those records of the lists that the cache has otherwise, or not.
pub(super) async fn missing(
    wires: &Wires,
    planned: &Planned,
    span: &Span,
    lists: &Lists,
) -> anyhow::Result<HashSet<String>> {
    let Some(stamp) = stamp_field(&planned.table) else {
        return Ok(HashSet::new());
    };
    let window = Window {
        from: Some(span.start - TRANSACTION_MILLIS),
        to: None,
    };
    let here: HashMap<String, Option<Millis>> = wires
        .reader
        .with(|connection| compare::stamps(connection, &planned.table, stamp, &window))?
        .into_iter()
        .collect();
    let mut missing: HashSet<String> = lists
        .deleted
        .iter()
        .filter(|id| here.contains_key(*id))
        .cloned()
        .collect();
    for ids in lists.updated.chunks(IDS_MAX) {
        let condition = id_is_one_of(ids);
        let soql = planned.query(&format!("Id, {stamp}"), &[&condition]);
        let mut pages = wires.org.pages(soql, Scope::Live);
        while let Some(page) = pages.next().await? {
            for row in page.into_rows() {
                let text = |field: &str| row.get(field).and_then(Value::as_str);
                let Some(id) = text("Id") else { continue };
                let theirs = text(stamp).and_then(cells::stamp);
                if here.get(id).copied().flatten() < theirs {
                    missing.insert(id.to_owned());
                }
            }
        }
    }
    Ok(missing)
}

fn id_is_one_of(ids: &[String]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| literal(id)).collect();
    format!("Id IN ({})", ids.join(", "))
}

/// What the lists tell is in the cache up to `proved`.
pub(super) async fn prove(
    wires: &Wires,
    planned: &Planned,
    newest: Option<Millis>,
    proved: Moment,
) -> anyhow::Result<()> {
    let object = &planned.table.object;
    let state = wires
        .reader
        .with(|connection| objects::object(connection, object))?;
    let watermark = state.and_then(|state| state.watermark).max(newest);
    let source = Source::Poll {
        read_rev: *wires.bells.rev.borrow(),
        watermark: Some(watermark.unwrap_or(0)),
        proved: Some(proved),
    };
    wires
        .apply
        .write(Command::rows(object.clone(), source, Vec::new()))
        .await?
        .map_err(anyhow::Error::msg)?;
    Ok(())
}
