//! What readers cannot see yet, by the org's own log of commits.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use storesync::model::clock::{Millis, parse_datetime};

/// A commit that no reader was seen to have.
#[derive(Debug)]
struct Unseen {
    at: Millis,
    is_there: bool,
    values: Map<String, Value>,
}

/// Object and id.
pub type Record = (String, String);

#[derive(Default)]
pub struct Truth {
    last: u64,
    pub commits: u64,
    pub same_second: u64,
    unseen: BTreeMap<Record, Vec<Unseen>>,
    stamps: BTreeMap<Record, String>,
}

impl Truth {
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Takes what the org answers of its log. `is_watched` says of which commits readers are to see something.
    pub fn take(&mut self, log: &Value, is_watched: impl Fn(&str, &Map<String, Value>) -> bool) {
        for commit in log["commits"].as_array().unwrap() {
            let text = |key: &str| commit[key].as_str().unwrap().to_owned();
            let number = commit["number"].as_u64().unwrap();
            assert!(
                self.last == 0 || number == self.last + 1,
                "the log has lost commits"
            );
            self.last = number;
            let record = (text("object"), text("id"));
            let values = commit["values"].as_object().unwrap();
            if !is_watched(&record.0, values) {
                continue;
            }
            self.commits += 1;
            let stamp = text("stamp");
            self.same_second += u64::from(self.stamps.insert(record.clone(), stamp.clone()) == Some(stamp));
            let texts = values
                .iter()
                .filter(|(name, _)| ["Name", "Description"].contains(&name.as_str()));
            self.unseen.entry(record).or_default().push(Unseen {
                at: parse_datetime(&text("at")).unwrap(),
                is_there: text("what") != "delete",
                values: texts
                    .map(|(name, value)| (name.to_lowercase(), value.clone()))
                    .collect(),
            });
        }
    }

    pub fn records(&self) -> Vec<Record> {
        self.unseen.keys().cloned().collect()
    }

    /// A reader was shown this of a record; nothing where it is not there.
    pub fn shown(&mut self, record: &Record, row: Option<&Value>) {
        let Some(unseen) = self.unseen.get_mut(record) else {
            return;
        };
        let is_shown = |commit: &Unseen| match row {
            None => !commit.is_there,
            Some(row) => {
                let same = |(name, value): (&String, &Value)| row[name.as_str()] == *value;
                commit.is_there && commit.values.iter().all(same)
            }
        };
        if let Some(newest) = unseen.iter().rposition(is_shown) {
            unseen.drain(..=newest);
        }
        if unseen.is_empty() {
            self.unseen.remove(record);
        }
    }

    /// When the oldest commit of these objects was made that no reader has.
    pub fn oldest(&self, is_of: impl Fn(&str) -> bool) -> Option<Millis> {
        let of = self.unseen.iter().filter(|((object, _), _)| is_of(object));
        of.filter_map(|(_, unseen)| Some(unseen.first()?.at)).min()
    }
}
