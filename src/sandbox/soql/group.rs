//! Aggregates: COUNT, SUM and their like, over all rows or by group.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value as Json, json};

use super::super::org::Record;
use super::super::value::Value;
use super::tree::Function;
use super::{Route, Scope};

/// One item of the select list of an aggregating query.
pub(super) enum Measure {
    /// A field that is grouped by.
    Key { name: String, route: Route },
    Aggregate {
        name: String,
        function: Function,
        route: Route,
    },
}

pub(super) struct Grouping {
    /// Selected or not, these make the groups.
    pub keys: Vec<Route>,
    pub measures: Vec<Measure>,
    pub limit: Option<usize>,
}

impl Grouping {
    /// Groups appear in the order of their first row. Without keys there is exactly one, rows or no rows.
    pub fn rows(&self, scope: &Scope<'_>, rows: &[&Record]) -> Vec<Json> {
        let mut groups: Vec<Vec<&Record>> = Vec::new();
        if self.keys.is_empty() {
            groups.push(rows.to_vec());
        } else {
            let mut known: HashMap<String, usize> = HashMap::new();
            for row in rows {
                let at = *known.entry(self.key(scope, row)).or_insert_with(|| {
                    groups.push(Vec::new());
                    groups.len() - 1
                });
                groups[at].push(row);
            }
        }
        groups.truncate(self.limit.unwrap_or(usize::MAX));
        groups.iter().map(|group| self.row(scope, group)).collect()
    }

    fn key(&self, scope: &Scope<'_>, row: &Record) -> String {
        let parts = self
            .keys
            .iter()
            .map(|route| route.value(scope, row).map_or(Json::Null, Value::to_json));
        Json::Array(parts.collect()).to_string()
    }

    fn row(&self, scope: &Scope<'_>, group: &[&Record]) -> Json {
        let mut json = Map::new();
        json.insert("attributes".to_owned(), json!({ "type": "AggregateResult" }));
        for measure in &self.measures {
            let (name, value) = match measure {
                Measure::Key { name, route } => {
                    let first = group.first().and_then(|row| route.value(scope, row));
                    (name, first.map_or(Json::Null, Value::to_json))
                }
                Measure::Aggregate {
                    name,
                    function,
                    route,
                } => {
                    let values: Vec<&Value> =
                        group.iter().filter_map(|row| route.value(scope, row)).collect();
                    (name, aggregate(*function, &values))
                }
            };
            json.insert(name.clone(), value);
        }
        Json::Object(json)
    }
}

/// Nulls are not counted; an aggregate of nothing is null, a count of nothing is 0.
fn aggregate(function: Function, values: &[&Value]) -> Json {
    let sum = || values.iter().filter_map(|value| value.as_f64()).sum::<f64>();
    let extreme = |value: Option<&&Value>| value.map_or(Json::Null, |value| value.to_json());
    match function {
        Function::Count => Json::from(values.len()),
        Function::CountDistinct => {
            let distinct: HashSet<String> = values
                .iter()
                .map(|value| value.to_json().to_string().to_lowercase())
                .collect();
            Json::from(distinct.len())
        }
        Function::Sum if !values.is_empty() => Json::from(sum()),
        Function::Avg if !values.is_empty() => Json::from(sum() / values.len() as f64),
        Function::Sum | Function::Avg => Json::Null,
        Function::Min => extreme(values.iter().min_by(|left, right| left.compare(right))),
        Function::Max => extreme(values.iter().max_by(|left, right| left.compare(right))),
    }
}
