//! Aggregates: COUNT, SUM and their like, over all rows or by group.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value as Json, json};

use super::super::org::Record;
use super::super::value::Value;
use super::filter::{Pattern, Set, holds};
use super::tree::Function;
use super::{Op, Route, Scope, ordered};

/// What is told of a group.
#[derive(Clone)]
pub(super) enum Measure {
    /// A field that is grouped by.
    Key(Route),
    Aggregate(Function, Route),
}

/// A condition of HAVING.
pub(super) enum GroupTest {
    All(Vec<GroupTest>),
    Any(Vec<GroupTest>),
    Not(Box<GroupTest>),
    /// No value is null.
    Compare(Measure, Op, Option<Value>),
    Like(Measure, Pattern),
    OneOf(Measure, bool, Set),
}

pub(super) struct GroupOrder {
    pub measure: Measure,
    pub descending: bool,
    pub nulls_last: bool,
}

pub(super) struct Grouping {
    /// Selected or not, these make the groups.
    pub keys: Vec<Route>,
    /// Named as the answer names them.
    pub measures: Vec<(String, Measure)>,
    pub having: Option<GroupTest>,
    pub order: Vec<GroupOrder>,
    pub limit: Option<usize>,
    pub offset: usize,
}

type Group<'a> = Vec<&'a Record>;

impl Grouping {
    /// Groups appear in the order of their first row unless another is asked for. Without keys there is exactly one,
    /// rows or no rows.
    pub fn rows(&self, scope: &Scope<'_>, rows: &[&Record]) -> Vec<Json> {
        let mut groups: Vec<Group<'_>> = Vec::new();
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
        if let Some(test) = &self.having {
            groups.retain(|group| test.accepts(scope, group));
        }
        self.sort(scope, &mut groups);
        let wanted = groups
            .iter()
            .skip(self.offset)
            .take(self.limit.unwrap_or(usize::MAX));
        wanted.map(|group| self.row(scope, group)).collect()
    }

    fn key(&self, scope: &Scope<'_>, row: &Record) -> String {
        let parts = self
            .keys
            .iter()
            .map(|route| route.value(scope, row).map_or(Json::Null, Value::to_json));
        Json::Array(parts.collect()).to_string()
    }

    fn sort(&self, scope: &Scope<'_>, groups: &mut Vec<Group<'_>>) {
        if self.order.is_empty() {
            return;
        }
        let measured = |group: &Group<'_>| -> Vec<Option<Value>> {
            let measures = self.order.iter().map(|order| order.measure.value(scope, group));
            measures.collect()
        };
        let mut keyed: Vec<_> = groups.drain(..).map(|group| (measured(&group), group)).collect();
        keyed.sort_by(|(left, _), (right, _)| {
            let pairs = self.order.iter().zip(left.iter().zip(right));
            let orderings = pairs.map(|(order, (left, right))| {
                ordered(left.as_ref(), right.as_ref(), order.descending, order.nulls_last)
            });
            orderings.fold(Ordering::Equal, Ordering::then)
        });
        groups.extend(keyed.into_iter().map(|(_, group)| group));
    }

    fn row(&self, scope: &Scope<'_>, group: &[&Record]) -> Json {
        let mut json = Map::new();
        json.insert("attributes".to_owned(), json!({ "type": "AggregateResult" }));
        for (name, measure) in &self.measures {
            let value = measure.value(scope, group);
            json.insert(name.clone(), value.map_or(Json::Null, |value| value.to_json()));
        }
        Json::Object(json)
    }
}

impl Measure {
    fn value(&self, scope: &Scope<'_>, group: &[&Record]) -> Option<Value> {
        match self {
            Self::Key(route) => group.first().and_then(|row| route.value(scope, row)).cloned(),
            Self::Aggregate(function, route) => {
                let values: Vec<&Value> = group.iter().filter_map(|row| route.value(scope, row)).collect();
                aggregate(*function, &values)
            }
        }
    }
}

impl GroupTest {
    fn accepts(&self, scope: &Scope<'_>, group: &[&Record]) -> bool {
        match self {
            Self::All(tests) => tests.iter().all(|test| test.accepts(scope, group)),
            Self::Any(tests) => tests.iter().any(|test| test.accepts(scope, group)),
            Self::Not(test) => !test.accepts(scope, group),
            Self::Compare(measure, op, wanted) => match (measure.value(scope, group), wanted) {
                (Some(found), Some(wanted)) => holds(*op, found.compare(wanted)),
                (None, None) => *op == Op::Equal,
                _ => *op == Op::NotEqual,
            },
            Self::Like(measure, pattern) => measure
                .value(scope, group)
                .and_then(|value| value.as_str().map(|text| pattern.matches(text)))
                .unwrap_or(false),
            Self::OneOf(measure, negated, set) => {
                set.contains(measure.value(scope, group).as_ref()) != *negated
            }
        }
    }
}

/// Nulls are not counted; an aggregate of nothing is null, a count of nothing is 0.
fn aggregate(function: Function, values: &[&Value]) -> Option<Value> {
    let count = |count: usize| Some(Value::Integer(i64::try_from(count).unwrap_or(i64::MAX)));
    let sum = || values.iter().filter_map(|value| value.as_f64()).sum::<f64>();
    match function {
        Function::Count => count(values.len()),
        Function::CountDistinct => {
            let distinct: HashSet<String> = values
                .iter()
                .map(|value| value.to_json().to_string().to_lowercase())
                .collect();
            count(distinct.len())
        }
        Function::Sum if !values.is_empty() => Some(Value::Double(sum())),
        Function::Avg if !values.is_empty() => Some(Value::Double(sum() / values.len() as f64)),
        Function::Sum | Function::Avg => None,
        Function::Min => values
            .iter()
            .min_by(|left, right| left.compare(right))
            .map(|value| (*value).clone()),
        Function::Max => values
            .iter()
            .max_by(|left, right| left.compare(right))
            .map(|value| (*value).clone()),
    }
}
