//! Binds a parsed query's names to the catalogue.
//!
//! What the catalogue does not have is INVALID_FIELD or INVALID_TYPE, with the platform's message, which quotes
//! the query with a mark under the place.

use super::super::schema::{Catalog, ID, Object};
use super::filter::{Source, Test};
use super::select::{Children, Column, Shape};
use super::tree::{FieldSet, Path, Select, Statement};
use super::{Hop, Order, Output, Query, QueryError, Route, formula_way};
use crate::clock::Millis;

/// Lookups between the object and a field: the platform's own limit.
const HOPS_MAX: usize = 5;
/// The platform skips no more rows than this.
const OFFSET_MAX: usize = 2_000;
/// `FIELDS(ALL)` asks for a limit of at most this.
const FIELDS_ROWS_MAX: usize = 200;

pub(super) fn bind(
    catalog: &Catalog,
    text: &str,
    now: Millis,
    statement: &Statement,
    deleted_too: bool,
) -> Result<Query, QueryError> {
    let object = catalog
        .object(&statement.from)
        .ok_or_else(|| unknown_object(text, &statement.from))?;
    Binder {
        catalog,
        text,
        now,
        deleted_too: deleted_too || statement.all_rows,
        object,
        statement,
    }
    .query()
}

/// A statement and what it is bound to.
pub(super) struct Binder<'a> {
    pub catalog: &'a Catalog,
    pub text: &'a str,
    pub now: Millis,
    pub deleted_too: bool,
    object: &'a Object,
    pub statement: &'a Statement,
}

/// A field found by its path: how to get there, and the names of the way as describe writes them.
pub(super) struct Found {
    pub route: Route,
    hops: Vec<(Hop, String)>,
    field: usize,
    pub name: String,
}

impl<'a> Binder<'a> {
    fn query(&self) -> Result<Query, QueryError> {
        let test = match &self.statement.filter {
            Some(condition) => self.test(condition)?,
            None => Test::All(Vec::new()),
        };
        let grouped = !self.statement.group.is_empty()
            || self
                .statement
                .select
                .iter()
                .any(|item| matches!(item, Select::Aggregate { .. }));
        if !grouped && self.statement.having.is_some() {
            return Err(malformed("HAVING needs a GROUP BY"));
        }
        if self.statement.offset > OFFSET_MAX {
            return Err(QueryError {
                code: "NUMBER_OUTSIDE_VALID_RANGE",
                message: format!("Maximum SOQL offset allowed is {OFFSET_MAX}"),
            });
        }
        let output = if grouped { self.aggregates()? } else { self.rows()? };
        // Groups are sorted, skipped and limited as groups, not by the rows that make them.
        let of_groups = matches!(output, Output::Groups(_));
        Ok(Query {
            object: self.object.index,
            source: Source::of(&test, self.object, self.deleted_too),
            test,
            order: if of_groups { Vec::new() } else { self.order()? },
            limit: self.statement.limit.filter(|_| !of_groups),
            offset: if of_groups { 0 } else { self.statement.offset },
            output,
            deleted_too: self.deleted_too,
        })
    }

    fn order(&self) -> Result<Vec<Order>, QueryError> {
        let order = self.statement.order.iter().map(|order| {
            let route = self.find(&order.path)?.route;
            Ok(Order {
                route,
                descending: order.descending,
                nulls_last: order.nulls_last,
            })
        });
        let mut order = order.collect::<Result<Vec<_>, QueryError>>()?;
        let is_id = |order: &Order| order.route.hops.is_empty() && order.route.field == ID;
        if let Some(at) = order.iter().position(is_id) {
            // Ids are unique, so nothing after one matters; and rows are found in id order.
            order.truncate(at + 1);
            if at == 0 && !order[0].descending {
                order.clear();
            }
        }
        Ok(order)
    }

    pub fn find(&self, path: &Path) -> Result<Found, QueryError> {
        let prefixed = path.len() > 1
            && (path[0].eq_ignore_ascii_case(&self.object.name)
                || self
                    .statement
                    .alias
                    .as_ref()
                    .is_some_and(|alias| alias.eq_ignore_ascii_case(&path[0])))
            && self.object.relationship(&path[0]).is_none();
        let path = if prefixed { &path[1..] } else { &path[..] };
        let Some((last, lookups)) = path.split_last() else {
            return Err(self.unknown_field(self.object, ""));
        };
        if lookups.len() > HOPS_MAX {
            return Err(self.unknown_field(self.object, &path.join(".")));
        }
        let mut owner = self.object;
        let mut hops = Vec::new();
        for (at, name) in lookups.iter().enumerate() {
            let next = lookups.get(at + 1).unwrap_or(last);
            let (hop, relationship) = self.hop(owner, name, next, at + 1 == lookups.len())?;
            owner = &self.catalog.objects()[hop.object];
            hops.push((hop, relationship));
        }
        let field = owner.field(last).ok_or_else(|| self.unknown_field(owner, last))?;
        let mut names: Vec<&str> = hops.iter().map(|(_, name)| name.as_str()).collect();
        names.push(&owner.fields[field].name);
        let name = names.join(".");
        let route = self.route(hops.iter().map(|(hop, _)| *hop).collect(), owner, field);
        Ok(Found {
            route,
            hops,
            field,
            name,
        })
    }

    /// The way to a field; to a formula it goes on to the field that it shows.
    fn route(&self, mut hops: Vec<Hop>, owner: &Object, field: usize) -> Route {
        let kind = owner.fields[field].kind;
        let (more, field) = formula_way(self.catalog, owner, field);
        hops.extend(more);
        Route { hops, field, kind }
    }

    /// Of a lookup's possible objects, the first that has what comes next.
    fn hop(&self, owner: &Object, name: &str, next: &str, last: bool) -> Result<(Hop, String), QueryError> {
        let unknown = || self.unknown_relationship(name);
        let position = owner.relationship(name).ok_or_else(unknown)?;
        let field = &owner.fields[position];
        let targets = field
            .reference_to
            .iter()
            .filter_map(|target| self.catalog.object(target));
        let has_next = |target: &&Object| {
            if last {
                target.field(next).is_some()
            } else {
                target.relationship(next).is_some()
            }
        };
        let mut targets = targets.collect::<Vec<_>>();
        let chosen = targets.iter().position(has_next).unwrap_or(0);
        if targets.is_empty() {
            return Err(unknown());
        }
        let target = targets.swap_remove(chosen);
        let relationship = field.relationship_name.clone().unwrap_or_default();
        Ok((
            Hop {
                field: position,
                object: target.index,
            },
            relationship,
        ))
    }

    fn rows(&self) -> Result<Output, QueryError> {
        let mut shape = Shape::new(self.object.index);
        let (mut columns, mut children) = (Vec::new(), Vec::new());
        for item in &self.statement.select {
            match item {
                Select::Field { path, .. } => {
                    let found = self.find(path)?;
                    shape.add(self.catalog, &found.hops, found.field);
                    columns.push(Column::new(found.name, found.route));
                }
                Select::Fields(set) => {
                    for (position, field) in self.field_set(*set)? {
                        shape.add(self.catalog, &[], position);
                        let route = self.route(Vec::new(), self.object, position);
                        columns.push(Column::new(field.name.clone(), route));
                    }
                }
                Select::Children(statement) => children.push(self.children(statement)?),
                Select::Aggregate { .. } => {}
            }
        }
        Ok(Output::Rows {
            shape,
            columns,
            children,
        })
    }

    fn field_set(
        &self,
        set: FieldSet,
    ) -> Result<impl Iterator<Item = (usize, &'a super::super::schema::Field)>, QueryError> {
        if set != FieldSet::Standard && self.statement.limit.is_none_or(|limit| limit > FIELDS_ROWS_MAX) {
            return Err(malformed(
                "The SOQL FIELDS function must have a LIMIT of at most 200",
            ));
        }
        let object = self.object;
        Ok(object.visible().filter(move |(_, field)| match set {
            FieldSet::All => true,
            FieldSet::Standard => !field.custom,
            FieldSet::Custom => field.custom,
        }))
    }

    fn children(&self, statement: &Statement) -> Result<Children, QueryError> {
        let wanted = &statement.from;
        let child = self.catalog.child(self.object, wanted);
        let (object, field) = child.ok_or_else(|| self.unknown_relationship(wanted))?;
        let name = object.fields[field]
            .child_relationship
            .clone()
            .unwrap_or_default();
        let binder = Binder {
            object,
            statement,
            ..*self
        };
        let query = binder.query()?;
        if !matches!(&query.output, Output::Rows { .. }) {
            return Err(malformed("aggregates are not supported in a sub-select"));
        }
        Ok(Children::new(name, field, query))
    }

    fn unknown_field(&self, owner: &Object, name: &str) -> QueryError {
        let message = format!(
            "{}No such column '{name}' on entity '{}'. If you are attempting to use a custom field, be sure to append \
             the '__c' after the custom field name. Please reference your WSDL or the describe call for the \
             appropriate names.",
            self.place(name),
            owner.name
        );
        QueryError {
            code: "INVALID_FIELD",
            message,
        }
    }

    fn unknown_relationship(&self, name: &str) -> QueryError {
        let message = format!(
            "{}Didn't understand relationship '{name}' in field path. If you are attempting to use a custom \
             relationship, be sure to append the '__r' after the custom relationship name. Please reference your \
             WSDL or the describe call for the appropriate names.",
            self.place(name)
        );
        QueryError {
            code: "INVALID_FIELD",
            message,
        }
    }

    pub fn place(&self, word: &str) -> String {
        place(self.text, word)
    }
}

pub(super) fn same_path(left: &Path, right: &Path) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(l, r)| l.eq_ignore_ascii_case(r))
}

pub(super) fn malformed(message: &str) -> QueryError {
    QueryError {
        code: "MALFORMED_QUERY",
        message: message.to_owned(),
    }
}

fn unknown_object(text: &str, name: &str) -> QueryError {
    let message = format!(
        "{}sObject type '{name}' is not supported. If you are attempting to use a custom object, be sure to append the \
         '__c' after the entity name. Please reference your WSDL or the describe call for the appropriate names.",
        place(text, name)
    );
    QueryError {
        code: "INVALID_TYPE",
        message,
    }
}

/// How much of the query is quoted on either side of the place.
const QUOTED_BEFORE: usize = 25;
const QUOTED_AFTER: usize = 35;

/// The query around `word`, with a mark below it: the platform's opening of a message about a name.
fn place(text: &str, word: &str) -> String {
    let at = text.find(word).unwrap_or(0);
    let column = text[..at].chars().count() + 1;
    let line: String = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .collect();
    let from = column.saturating_sub(QUOTED_BEFORE + 1);
    let quoted: String = line
        .chars()
        .skip(from)
        .take(QUOTED_BEFORE + QUOTED_AFTER)
        .collect();
    let mark = " ".repeat(column - 1 - from);
    format!("\n{quoted}\n{mark}^\nERROR at Row:1:Column:{column}\n")
}
