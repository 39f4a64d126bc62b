//! The log of commits: what the org committed and when, by its own clock.
//!
//! Who judges a mirror holds it against this log. A stamp says when a transaction began; the log says from when on
//! others could see what it wrote. Nothing is kept until somebody asks for it.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value as Json, json};

use super::super::clock::{self, Millis};
use super::super::schema::{Catalog, FIRST_OWN};
use super::records::{Record, Records};
use super::transaction::Touched;

/// A record that a transaction wrote.
struct Commit {
    number: u64,
    at: Millis,
    stamp: Millis,
    object: String,
    id: String,
    what: &'static str,
    /// The fields that have other values than before.
    values: Map<String, Json>,
}

impl Commit {
    fn as_json(&self) -> Json {
        json!({
            "number": self.number,
            "at": clock::format_datetime(self.at),
            "stamp": clock::format_datetime(self.stamp),
            "object": self.object,
            "id": self.id,
            "what": self.what,
            "values": self.values,
        })
    }
}

#[derive(Default)]
struct Inside {
    kept: VecDeque<Commit>,
    kept_max: usize,
    number: u64,
}

/// The newest commits.
#[derive(Default)]
pub struct Commits(Mutex<Inside>);

impl Commits {
    /// Keeps so many from now on.
    pub fn keep(&self, kept_max: usize) {
        let mut inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inside.kept_max = kept_max;
        while inside.kept.len() > kept_max {
            inside.kept.pop_front();
        }
    }

    /// Those after a number, the oldest first.
    pub fn after(&self, number: u64) -> Json {
        let inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let commits = inside.kept.iter().filter(|commit| commit.number > number);
        let commits: Vec<Json> = commits.map(Commit::as_json).collect();
        json!({ "commits": commits, "last": inside.number, "kept_max": inside.kept_max })
    }

    /// A transaction commits: each record once, as it stands now.
    pub(super) fn note(&self, catalog: &Catalog, records: &Records, touched: &[Touched], at: Millis) {
        let mut inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inside.kept_max == 0 {
            return;
        }
        let mut seen = HashSet::new();
        for touched in touched {
            let Some(object) = catalog.objects().get(touched.object) else {
                continue;
            };
            if !seen.insert((touched.object, touched.id)) {
                continue;
            }
            let (before, after) = (touched.before.as_ref(), records.get(touched.object, touched.id));
            let is_live = |record: Option<&Record>| record.is_some_and(|record| !record.deleted);
            let what = match (is_live(before), is_live(after)) {
                (false, true) if before.is_none() => "create",
                (false, true) => "undelete",
                (true, true) => "update",
                (true, false) => "delete",
                (false, false) => continue,
            };
            let fields = object.fields.iter().enumerate().skip(FIRST_OWN);
            let values = fields.filter_map(|(at, field)| {
                let values = [before, after].map(|record| record.and_then(|record| record.get(at)));
                let json = values[1].map_or(Json::Null, |value| value.to_json());
                (values[0] != values[1]).then(|| (field.name.clone(), json))
            });
            inside.number += 1;
            let commit = Commit {
                number: inside.number,
                at,
                stamp: after.map_or(at, Record::modstamp),
                object: object.name.clone(),
                id: touched.id.to_string(),
                what,
                values: values.collect(),
            };
            if inside.kept.len() == inside.kept_max {
                inside.kept.pop_front();
            }
            inside.kept.push_back(commit);
        }
    }
}
