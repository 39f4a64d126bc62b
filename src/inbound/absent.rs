//! Asking the org about rows that a read did not find: are they deleted, or was the read incomplete?

use std::collections::HashSet;

use crate::inbound::prepare::Planned;
use crate::model::brake::Answer;
use crate::salesforce::rest::Scope;
use crate::salesforce::{Error, Org};

/// Rows that the org is asked about: of more than these, so many at random.
pub(super) const ASKED_MAX: usize = 2_000;

/// Ids in one query.
const IDS_MAX: usize = 300;

/// What the org said about each row.
#[derive(Debug, Default)]
pub(super) struct Said {
    asked: usize,
    /// It still has them.
    pub live: HashSet<String>,
    /// They are deleted, or do not meet the object's condition any more.
    pub gone: HashSet<String>,
}

impl Said {
    pub fn answer(&self) -> Answer {
        Answer {
            asked: self.asked as u64,
            live: self.live.len() as u64,
            gone: self.gone.len() as u64,
        }
    }
}

/// Asks about rows by their ids. Those that the org does not know are in neither list.
pub(super) async fn ask(org: &Org, planned: &Planned, ids: &[String]) -> Result<Said, Error> {
    let whole = Planned {
        filter: None,
        ..planned.clone()
    };
    let mut said = Said {
        asked: ids.len(),
        ..Said::default()
    };
    for ids in ids.chunks(IDS_MAX) {
        let list: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
        let condition = format!("Id IN ({})", list.join(","));
        let query = whole.query("Id, IsDeleted", &[&condition]);
        let mut known = read(org, query, Scope::WithDeleted).await?;
        if planned.filter.is_some() {
            let query = planned.query("Id, IsDeleted", &[&condition]);
            let met = read(org, query, Scope::Live).await?;
            for (id, deleted) in &mut known {
                *deleted |= !met.iter().any(|(of, _)| of == id);
            }
        }
        for (id, deleted) in known {
            match deleted {
                true => said.gone.insert(id),
                false => said.live.insert(id),
            };
        }
    }
    Ok(said)
}

/// The rows that are there, and whether each is deleted.
async fn read(org: &Org, soql: String, scope: Scope) -> Result<Vec<(String, bool)>, Error> {
    let mut pages = org.pages(soql, scope);
    let mut known = Vec::new();
    while let Some(page) = pages.next().await? {
        known.extend(page.records.iter().filter_map(|row| {
            let id = row.get("Id")?.as_str()?;
            Some((id.to_owned(), row.get("IsDeleted")?.as_bool()?))
        }));
    }
    Ok(known)
}
