//! SOQL over the org's rows: text in, rows out.
//!
//! Three steps: `parse` makes a tree of the text, [`Query::compile`] binds its names to the catalogue, and the
//! query then runs over [`Records`] under whichever lock the caller holds. A query by id or external id looks
//! rows up; any other one scans its object once. Rows come in id order where no order is asked for, so a scan
//! with a limit ends as soon as it has enough.

mod bind;
mod condition;
mod cursor;
mod dates;
mod filter;
mod group;
mod having;
mod parse;
mod select;
mod token;
mod tree;

use std::cmp::Ordering;

use serde_json::Value as Json;

use self::filter::{Source, Test};
use self::group::Grouping;
use self::select::{Children, Column, Shape};
use super::org::{Record, Records};
use super::schema::{Catalog, FieldKind, Object};
use super::value::Value;
use crate::clock::Millis;

/// The text is not SOQL; the sentence says where.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

/// How a field is compared with a literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Like,
}

/// Why a query cannot run: an `errorCode` and its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryError {
    pub code: &'static str,
    pub message: String,
}

impl From<Malformed> for QueryError {
    fn from(malformed: Malformed) -> Self {
        Self {
            code: "MALFORMED_QUERY",
            message: malformed.0,
        }
    }
}

/// What a query looks at: the catalogue and the rows, under a lock that the caller holds.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub catalog: &'a Catalog,
    pub records: &'a Records,
}

/// A field by way of lookups.
#[derive(Clone, Debug)]
struct Route {
    hops: Vec<Hop>,
    field: usize,
    kind: FieldKind,
}

/// One lookup on the way: its field, and the object that the rest of the way was bound to.
#[derive(Clone, Copy, Debug)]
struct Hop {
    field: usize,
    object: usize,
}

static FALSE: Value = Value::Boolean(false);

impl Route {
    fn value<'a>(&self, scope: &Scope<'a>, record: &'a Record) -> Option<&'a Value> {
        let mut record = record;
        for hop in &self.hops {
            record = hop.follow(scope, record)?;
        }
        let value = record.get(self.field);
        // A checkbox is never null.
        if value.is_none() && self.kind == FieldKind::Boolean {
            Some(&FALSE)
        } else {
            value
        }
    }
}

impl Hop {
    /// The row pointed at; none where the lookup is empty or points at another of its possible objects.
    fn follow<'a>(&self, scope: &Scope<'a>, record: &'a Record) -> Option<&'a Record> {
        let id = record.get(self.field)?.as_id()?;
        let object = &scope.catalog.objects()[self.object];
        if object.key_prefix != id.prefix() {
            return None;
        }
        scope.records.get(self.object, id)
    }
}

/// Nulls have their own place, whichever way the values go.
fn ordered(left: Option<&Value>, right: Option<&Value>, descending: bool, nulls_last: bool) -> Ordering {
    match (left, right) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) if nulls_last => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) if nulls_last => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(left), Some(right)) if descending => right.compare(left),
        (Some(left), Some(right)) => left.compare(right),
    }
}

/// The lookups from a formula to the field that it shows; of any other field, none and itself.
fn formula_way(catalog: &Catalog, object: &Object, field: usize) -> (Vec<Hop>, usize) {
    let Some((last, lookups)) = object.fields[field].path.split_last() else {
        return (Vec::new(), field);
    };
    let mut object = object;
    let mut hops = Vec::with_capacity(lookups.len());
    for lookup in lookups {
        let Some(target) = catalog.target(&object.fields[*lookup]) else {
            return (Vec::new(), field);
        };
        hops.push(Hop {
            field: *lookup,
            object: target.index,
        });
        object = target;
    }
    (hops, *last)
}

struct Order {
    route: Route,
    descending: bool,
    nulls_last: bool,
}

/// What a query answers with.
enum Output {
    /// `COUNT()`: a number and no rows.
    Count,
    Groups(Grouping),
    Rows {
        shape: Shape,
        columns: Vec<Column>,
        children: Vec<Children>,
    },
}

/// A query bound to the catalogue.
pub struct Query {
    object: usize,
    output: Output,
    test: Test,
    source: Source,
    order: Vec<Order>,
    limit: Option<usize>,
    offset: usize,
    deleted_too: bool,
}

impl Query {
    /// Reads and binds `text`. `deleted_too` is queryAll's.
    pub fn compile(
        catalog: &Catalog,
        text: &str,
        now: Millis,
        deleted_too: bool,
    ) -> Result<Self, QueryError> {
        let statement = parse::parse(text)?;
        bind::bind(catalog, text, now, &statement, deleted_too)
    }

    /// Whether a row fits the condition.
    pub fn accepts(&self, scope: &Scope<'_>, record: &Record) -> bool {
        self.test.resolved(scope).accepts(scope, record)
    }

    /// The position of the object in FROM.
    pub fn object(&self) -> usize {
        self.object
    }

    /// The matching rows, in order, within limit and offset.
    pub fn rows<'a>(&self, scope: &Scope<'a>) -> Vec<&'a Record> {
        let enough = self
            .limit
            .map_or(usize::MAX, |limit| limit.saturating_add(self.offset));
        let mut rows = self.first_rows(scope, enough);
        rows.drain(..self.offset.min(rows.len()));
        rows
    }

    fn first_rows<'a>(&self, scope: &Scope<'a>, enough: usize) -> Vec<&'a Record> {
        let test = self.test.resolved(scope);
        let test = test.as_ref();
        let accepts =
            |record: &&'a Record| (self.deleted_too || !record.deleted) && test.accepts(scope, record);
        let mut rows: Vec<&'a Record> = match self.source.candidates(scope, self.object) {
            Some(candidates) => candidates.into_iter().filter(accepts).collect(),
            None if self.order.is_empty() => scope
                .records
                .all(self.object)
                .filter(accepts)
                .take(enough)
                .collect(),
            None => scope.records.all(self.object).filter(accepts).collect(),
        };
        if !self.order.is_empty() {
            let compare = |left: &&Record, right: &&Record| self.compare(scope, left, right);
            if enough > 0 && enough < rows.len() {
                rows.select_nth_unstable_by(enough - 1, compare);
                rows.truncate(enough);
            }
            rows.sort_unstable_by(compare);
        }
        rows.truncate(enough);
        rows
    }

    /// By the ORDER BY, then by id, so that every order is total.
    fn compare<'a>(&self, scope: &Scope<'a>, left: &'a Record, right: &'a Record) -> Ordering {
        for order in &self.order {
            let (left, right) = (order.route.value(scope, left), order.route.value(scope, right));
            let ordering = ordered(left, right, order.descending, order.nulls_last);
            if ordering != Ordering::Equal {
                return ordering;
            }
        }
        left.id().cmp(&right.id())
    }

    /// True for `COUNT()`, which is answered by a number alone.
    pub fn is_count(&self) -> bool {
        matches!(self.output, Output::Count)
    }

    /// The answer's rows where the query groups or aggregates; none for a query of records.
    pub fn groups(&self, scope: &Scope<'_>, rows: &[&Record]) -> Option<Vec<Json>> {
        match &self.output {
            Output::Groups(grouping) => Some(grouping.rows(scope, rows)),
            Output::Count | Output::Rows { .. } => None,
        }
    }

    /// Records in the form of the REST API; `version` (`67.0`) is for the addresses in them.
    pub fn records(&self, scope: &Scope<'_>, rows: &[&Record], version: &str) -> Vec<Json> {
        let Output::Rows { shape, children, .. } = &self.output else {
            return Vec::new();
        };
        let families: Vec<_> = children
            .iter()
            .map(|children| children.family(scope, rows))
            .collect();
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let mut json = shape.record(scope, row, version);
            for (children, family) in children.iter().zip(&families) {
                json.insert(
                    children.name().to_owned(),
                    children.list(scope, family, row, version),
                );
            }
            records.push(Json::Object(json));
        }
        records
    }

    /// Why this query cannot be a bulk job, which takes plain fields only.
    pub fn bulk_refusal(&self) -> Option<&'static str> {
        match &self.output {
            Output::Count | Output::Groups(_) => Some("Aggregate Relationships not supported in Bulk Query"),
            Output::Rows { children, .. } if !children.is_empty() => {
                Some("Nested queries are not supported in Bulk Query")
            }
            Output::Rows { columns, .. } if columns.iter().any(Column::is_compound) => {
                Some("Selecting compound data not supported in Bulk Query")
            }
            Output::Rows { .. } => None,
        }
    }

    /// The names of the columns of a bulk result.
    pub fn header(&self) -> Vec<&str> {
        self.columns().iter().map(Column::name).collect()
    }

    /// Hands each column's value of one row to `take`, in the order of [`Query::header`].
    pub fn cells<'a>(&self, scope: &Scope<'a>, row: &'a Record, mut take: impl FnMut(Option<&'a Value>)) {
        for column in self.columns() {
            take(column.value(scope, row));
        }
    }

    fn columns(&self) -> &[Column] {
        match &self.output {
            Output::Rows { columns, .. } => columns,
            Output::Count | Output::Groups(_) => &[],
        }
    }
}

/// One record with these fields, in the form of the REST API.
pub fn record_json(
    scope: &Scope<'_>,
    object: &Object,
    record: &Record,
    fields: &[usize],
    version: &str,
) -> Json {
    let mut shape = Shape::new(object.index);
    for field in fields {
        shape.add(scope.catalog, &[], *field);
    }
    Json::Object(shape.record(scope, record, version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::org::{DEFAULT_ENTITIES, Org, OrgOptions, Origin};

    /// An org with four accounts of one industry: A (10), b (30), C (no revenue), D (20, deleted).
    fn org() -> Org {
        let selected_entities = DEFAULT_ENTITIES.map(str::to_owned).to_vec();
        let options = OrgOptions {
            seed: 1,
            products: 3,
            stores: 1,
            clock: Clock::System,
            selected_entities,
        };
        let org = Org::new(options).unwrap();
        let origin = Origin {
            client: "test".to_owned(),
            user: org.user_id(),
        };
        let account = org.catalog().object("Account").unwrap().index;
        for (name, revenue) in [("A", Some(10)), ("b", Some(30)), ("C", None), ("D", Some(20))] {
            let mut body =
                serde_json::json!({ "Name": name, "Site": "soql", "External_ID__c": format!("S-{name}") });
            body["AnnualRevenue"] = serde_json::json!(revenue);
            let created = org.transact(&origin, |transaction| {
                let id = transaction.create(account, body.as_object().unwrap())?;
                if name == "D" {
                    transaction.delete(account, id)
                } else {
                    Ok(())
                }
            });
            created.unwrap();
        }
        org
    }

    fn names(org: &Org, rest: &str, deleted_too: bool) -> String {
        let text = format!("SELECT Name FROM Account WHERE Site = 'soql' {rest}");
        named(org, &text, deleted_too)
    }

    fn named(org: &Org, text: &str, deleted_too: bool) -> String {
        let query = Query::compile(org.catalog(), text, org.clock().now(), deleted_too).unwrap();
        org.read(|records| {
            let scope = Scope {
                catalog: org.catalog(),
                records,
            };
            let rows = query.records(&scope, &query.rows(&scope), "67.0");
            rows.iter().filter_map(|row| row["Name"].as_str()).collect()
        })
    }

    #[test]
    fn filters_and_orders() {
        let org = org();
        for (rest, expected) in [
            ("", "AbC"),
            ("AND AnnualRevenue = null", "C"),
            ("AND AnnualRevenue != 10", "bC"),
            ("AND AnnualRevenue < 30", "A"),
            ("AND (NOT AnnualRevenue >= 20)", "AC"),
            ("AND Name IN ('a', 'B')", "Ab"),
            ("AND Name NOT IN ('a')", "bC"),
            ("AND (Name = 'a' OR Name LIKE '_') AND Name > 'a'", "bC"),
            ("AND External_ID__c = 's-c'", "C"),
            ("AND External_ID__c IN ('S-A', 'S-D')", "A"),
            ("AND IsDeleted = false AND CreatedDate = LAST_N_DAYS:1", "AbC"),
            ("ORDER BY Name DESC", "CbA"),
            ("ORDER BY AnnualRevenue", "CAb"),
            ("ORDER BY AnnualRevenue DESC NULLS LAST", "bAC"),
            ("ORDER BY AnnualRevenue NULLS LAST LIMIT 1 OFFSET 1", "b"),
            ("ORDER BY Id DESC LIMIT 2", "Cb"),
            ("ORDER BY Id LIMIT 1", "A"),
            ("LIMIT 1 OFFSET 5", ""),
        ] {
            assert_eq!(names(&org, rest, false), expected, "{rest}");
        }
        assert_eq!(names(&org, "ORDER BY SystemModstamp, Id", true), "AbCD");
        assert_eq!(names(&org, "AND IsDeleted = true", true), "D");
        assert_eq!(names(&org, "AND External_ID__c = 'S-D' ALL ROWS", false), "D");
    }

    #[test]
    fn a_list_of_includes_is_held_whole_and_one_list_is_enough() {
        let org = org();
        let origin = Origin {
            client: "test".to_owned(),
            user: org.user_id(),
        };
        let product = org.catalog().object("Product2").unwrap().index;
        for (name, methods) in [
            ("A", "standard"),
            ("B", "express;standard"),
            ("C", "express;pickup"),
        ] {
            let body =
                serde_json::json!({ "Name": name, "Family": "soql", "s_c__Shipping_Methods__c": methods });
            let body = body.as_object().unwrap();
            org.transact(&origin, |transaction| transaction.create(product, body))
                .unwrap();
        }
        for (condition, expected) in [
            ("INCLUDES ('standard')", "AB"),
            ("INCLUDES ('standard;express')", "B"),
            ("INCLUDES ('standard;express', 'pickup')", "BC"),
            ("EXCLUDES ('standard;express')", "AC"),
            ("EXCLUDES ('standard', 'pickup')", ""),
        ] {
            let text = format!(
                "SELECT Name FROM Product2 WHERE Family = 'soql' AND s_c__Shipping_Methods__c {condition} ORDER BY Name"
            );
            assert_eq!(named(&org, &text, false), expected, "{condition}");
        }
    }
}
