//! Conditions over a row, and where to look for the rows that can meet them.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashSet;

use super::super::org::Record;
use super::super::value::{RecordId, Value};
use super::{Op, Query, Route, Scope};

/// A condition bound to the catalogue.
#[derive(Clone)]
pub(super) enum Test {
    All(Vec<Test>),
    Any(Vec<Test>),
    Not(Box<Test>),
    IsNull(Route),
    Compare {
        route: Route,
        op: Op,
        value: Value,
    },
    /// A date literal: the span from (inclusive) and to (exclusive), compared as a whole.
    Span {
        route: Route,
        op: Op,
        from: i64,
        to: i64,
    },
    Like {
        route: Route,
        pattern: Pattern,
    },
    OneOf {
        route: Route,
        negated: bool,
        set: Set,
    },
    /// A set that another query finds when this one runs.
    OneOfQuery {
        route: Route,
        negated: bool,
        query: std::sync::Arc<Query>,
    },
    /// A multi-select picklist holds all values of one of the lists.
    Includes {
        route: Route,
        negated: bool,
        lists: Vec<Vec<String>>,
    },
}

/// The right side of IN.
#[derive(Clone, Default)]
pub(super) struct Set {
    ids: HashSet<RecordId>,
    /// In lower case.
    texts: HashSet<String>,
    others: Vec<Value>,
    null: bool,
}

impl Set {
    pub fn insert(&mut self, value: Option<Value>) {
        match value {
            None => self.null = true,
            Some(Value::Id(id)) => {
                self.ids.insert(id);
            }
            Some(Value::Text(text)) => {
                self.texts.insert(text.to_lowercase());
            }
            Some(other) => self.others.push(other),
        }
    }

    pub fn contains(&self, value: Option<&Value>) -> bool {
        match value {
            None => self.null,
            Some(Value::Id(id)) => self.ids.contains(id),
            Some(Value::Text(text)) => self.texts.contains(&text.to_lowercase()),
            Some(other) => self
                .others
                .iter()
                .any(|candidate| candidate.compare(other) == Ordering::Equal),
        }
    }
}

impl Test {
    pub fn accepts(&self, scope: &Scope<'_>, record: &Record) -> bool {
        match self {
            Self::All(tests) => tests.iter().all(|test| test.accepts(scope, record)),
            Self::Any(tests) => tests.iter().any(|test| test.accepts(scope, record)),
            Self::Not(test) => !test.accepts(scope, record),
            Self::IsNull(route) => route.value(scope, record).is_none(),
            Self::Compare { route, op, value } => match route.value(scope, record) {
                // A null differs from every value, and is neither more nor less than any.
                None => *op == Op::NotEqual,
                Some(found) => match (op, found, value) {
                    // The usual case of a scan, without finding out which of two unequal texts is less.
                    (Op::Equal, Value::Text(found), Value::Text(value)) if found.is_ascii() => {
                        found.eq_ignore_ascii_case(value)
                    }
                    _ => holds(*op, found.compare(value)),
                },
            },
            Self::Span { route, op, from, to } => match route.value(scope, record).and_then(millis) {
                None => *op == Op::NotEqual,
                Some(at) if at < *from => holds(*op, Ordering::Less),
                Some(at) if at >= *to => holds(*op, Ordering::Greater),
                Some(_) => holds(*op, Ordering::Equal),
            },
            Self::Like { route, pattern } => route
                .value(scope, record)
                .and_then(Value::as_str)
                .is_some_and(|text| pattern.matches(text)),
            Self::OneOf { route, negated, set } => set.contains(route.value(scope, record)) != *negated,
            // Replaced by `resolved` before any row is looked at.
            Self::OneOfQuery { .. } => false,
            Self::Includes {
                route,
                negated,
                lists,
            } => {
                let held = route
                    .value(scope, record)
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let holds = |wanted: &String| held.split(';').any(|value| value.eq_ignore_ascii_case(wanted));
                lists.iter().any(|list| list.iter().all(holds)) != *negated
            }
        }
    }

    /// This test with every inner query run.
    pub fn resolved(&self, scope: &Scope<'_>) -> Cow<'_, Self> {
        if !self.has_query() {
            return Cow::Borrowed(self);
        }
        let each = |tests: &[Self]| {
            tests
                .iter()
                .map(|test| test.resolved(scope).into_owned())
                .collect()
        };
        Cow::Owned(match self {
            Self::All(tests) => Self::All(each(tests)),
            Self::Any(tests) => Self::Any(each(tests)),
            Self::Not(test) => Self::Not(Box::new(test.resolved(scope).into_owned())),
            Self::OneOfQuery {
                route,
                negated,
                query,
            } => {
                let mut set = Set::default();
                for row in query.rows(scope) {
                    query.cells(scope, row, |value| set.insert(value.cloned()));
                }
                Self::OneOf {
                    route: route.clone(),
                    negated: *negated,
                    set,
                }
            }
            other => other.clone(),
        })
    }

    fn has_query(&self) -> bool {
        match self {
            Self::All(tests) | Self::Any(tests) => tests.iter().any(Self::has_query),
            Self::Not(test) => test.has_query(),
            Self::OneOfQuery { .. } => true,
            _ => false,
        }
    }
}

pub(super) fn holds(op: Op, ordering: Ordering) -> bool {
    match op {
        Op::Equal | Op::Like => ordering == Ordering::Equal,
        Op::NotEqual => ordering != Ordering::Equal,
        Op::Less => ordering == Ordering::Less,
        Op::AtMost => ordering != Ordering::Greater,
        Op::Greater => ordering == Ordering::Greater,
        Op::AtLeast => ordering != Ordering::Less,
    }
}

fn millis(value: &Value) -> Option<i64> {
    match value {
        Value::Date(millis) | Value::DateTime(millis) => Some(*millis),
        _ => None,
    }
}

/// The right side of LIKE: `%` any characters, `_` one, backslash before either for itself.
#[derive(Clone)]
pub(super) struct Pattern(Vec<Piece>);

#[derive(Clone, Copy, PartialEq)]
enum Piece {
    Character(char),
    One,
    Any,
}

impl Pattern {
    pub fn new(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut characters = text.chars().flat_map(char::to_lowercase);
        while let Some(character) = characters.next() {
            pieces.push(match character {
                '%' => Piece::Any,
                '_' => Piece::One,
                '\\' => Piece::Character(characters.next().unwrap_or('\\')),
                other => Piece::Character(other),
            });
        }
        Self(pieces)
    }

    pub fn matches(&self, text: &str) -> bool {
        if text.is_ascii() {
            let bytes = text.as_bytes();
            return self.fits(bytes.len(), |at| char::from(bytes[at].to_ascii_lowercase()));
        }
        let text: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
        self.fits(text.len(), |at| text[at])
    }

    /// Greedy with one place to go back to, so the time is bounded by the product of the lengths.
    fn fits(&self, length: usize, character: impl Fn(usize) -> char) -> bool {
        let (mut at, mut piece) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while at < length {
            match self.0.get(piece) {
                Some(Piece::Any) => {
                    retry = Some((at, piece));
                    piece += 1;
                }
                Some(Piece::One) => (at, piece) = (at + 1, piece + 1),
                Some(Piece::Character(wanted)) if *wanted == character(at) => {
                    (at, piece) = (at + 1, piece + 1);
                }
                _ => match retry {
                    Some((from, any)) => {
                        retry = Some((from + 1, any));
                        (at, piece) = (from + 1, any + 1);
                    }
                    None => return false,
                },
            }
        }
        self.0[piece..].iter().all(|piece| *piece == Piece::Any)
    }
}

/// Where the rows of a query can be, found from the conditions that every row must meet.
pub(super) enum Source {
    Scan,
    Ids(Vec<RecordId>),
    /// By a unique or external id field.
    External {
        field: usize,
        values: Vec<String>,
        deleted_too: bool,
    },
    /// Live rows whose lookup points at one record.
    Children {
        field: usize,
        parent: RecordId,
    },
}

impl Source {
    pub fn of(test: &Test, object: &super::super::schema::Object, deleted_too: bool) -> Self {
        let required = match test {
            Test::All(tests) => tests.as_slice(),
            other => std::slice::from_ref(other),
        };
        let indexed = |field: usize| {
            let field = &object.fields[field];
            field.external_id || field.unique
        };
        for test in required {
            match test {
                Test::Compare {
                    route,
                    op: Op::Equal,
                    value,
                } if route.hops.is_empty() => match value {
                    Value::Id(id) if route.field == super::super::schema::ID => return Self::Ids(vec![*id]),
                    Value::Id(parent) if !deleted_too => {
                        return Self::Children {
                            field: route.field,
                            parent: *parent,
                        };
                    }
                    Value::Text(text) if indexed(route.field) => {
                        return Self::External {
                            field: route.field,
                            values: vec![text.to_string()],
                            deleted_too,
                        };
                    }
                    _ => {}
                },
                Test::OneOf {
                    route,
                    negated: false,
                    set,
                } if route.hops.is_empty() && !set.null => {
                    if route.field == super::super::schema::ID {
                        let mut ids: Vec<RecordId> = set.ids.iter().copied().collect();
                        ids.sort_unstable();
                        return Self::Ids(ids);
                    }
                    if indexed(route.field) && set.others.is_empty() && set.ids.is_empty() {
                        return Self::External {
                            field: route.field,
                            values: set.texts.iter().cloned().collect(),
                            deleted_too,
                        };
                    }
                }
                _ => {}
            }
        }
        Self::Scan
    }

    /// Rows that may match, in id order; none where every row may.
    pub fn candidates<'a>(&self, scope: &Scope<'a>, object: usize) -> Option<Vec<&'a Record>> {
        let prefix = scope.catalog.objects()[object].key_prefix;
        let mut ids = match self {
            Self::Scan => return None,
            Self::Ids(ids) => ids.iter().copied().filter(|id| id.prefix() == prefix).collect(),
            Self::External {
                field,
                values,
                deleted_too,
            } => {
                let rows_of = |value: &String| scope.records.with_key(object, *field, value, *deleted_too);
                values.iter().flat_map(rows_of).collect::<Vec<_>>()
            }
            Self::Children { field, parent } => scope.records.children(object, *field, *parent),
        };
        ids.sort_unstable();
        ids.dedup();
        Some(
            ids.into_iter()
                .filter_map(|id| scope.records.get(object, id))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_ignores_case_and_knows_wildcards() {
        for (pattern, text, expected) in [
            ("Acme%", "acme corp", true),
            ("%corp", "Acme Corp", true),
            ("%c%o%", "Acme Corp", true),
            ("A_me", "acme", true),
            ("A_me", "acmme", false),
            ("acme", "acme ", false),
            (r"100\%", "100%", true),
            (r"100\%", "1000", false),
            ("%", "", true),
            ("_", "", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), expected, "{pattern} {text}");
        }
    }
}
