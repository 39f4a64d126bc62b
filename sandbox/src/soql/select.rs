//! The select list: what of each row is answered, as JSON for queries and as columns for bulk jobs.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

use super::super::org::Record;
use super::super::schema::{Catalog, FieldKind, Object};
use super::super::value::{RecordId, Value};
use super::{Hop, Query, Route, Scope, formula_way};

/// A selected field by its path, for bulk results: `Account.Name`.
pub(super) struct Column {
    name: String,
    route: Route,
}

impl Column {
    pub fn new(name: String, route: Route) -> Self {
        Self { name, route }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A name made of parts is one text everywhere; addresses and locations have no text.
    pub fn is_compound(&self) -> bool {
        matches!(self.route.kind, FieldKind::Address | FieldKind::Location)
    }

    pub fn value<'a>(&self, scope: &Scope<'a>, record: &'a Record) -> Option<&'a Value> {
        self.route.value(scope, record)
    }
}

/// The selected fields of one object, those of its parents nested as the answer nests them.
pub(super) struct Shape {
    object: usize,
    items: Vec<Item>,
}

enum Item {
    Field {
        name: String,
        /// On the way to what a formula shows.
        hops: Vec<Hop>,
        field: usize,
        boolean: bool,
    },
    Compound {
        name: String,
        members: Vec<(String, usize)>,
    },
    Parent {
        name: String,
        hop: Hop,
        shape: Shape,
    },
}

impl Shape {
    pub fn new(object: usize) -> Self {
        Self {
            object,
            items: Vec::new(),
        }
    }

    /// Adds a field by its hops; `names` are the relationship names of the hops.
    pub fn add(&mut self, catalog: &Catalog, hops: &[(Hop, String)], field: usize) {
        let Some(((hop, name), rest)) = hops.split_first() else {
            return self.add_field(catalog, field);
        };
        let known = self
            .items
            .iter()
            .position(|item| matches!(item, Item::Parent { name: n, .. } if n == name));
        let at = known.unwrap_or_else(|| {
            self.items.push(Item::Parent {
                name: name.clone(),
                hop: *hop,
                shape: Self::new(hop.object),
            });
            self.items.len() - 1
        });
        if let Item::Parent { shape, .. } = &mut self.items[at] {
            shape.add(catalog, rest, field);
        }
    }

    fn add_field(&mut self, catalog: &Catalog, position: usize) {
        let object = &catalog.objects()[self.object];
        let field = &object.fields[position];
        let name = field.name.clone();
        if !matches!(field.kind, FieldKind::Address | FieldKind::Location) {
            let boolean = field.kind == FieldKind::Boolean;
            let (hops, field) = formula_way(catalog, object, position);
            self.items.push(Item::Field {
                name,
                hops,
                field,
                boolean,
            });
            return;
        }
        let stem = name.trim_end_matches("__c").trim_end_matches("Address");
        let members = object.members(&field.name).map(|(at, member)| {
            let part = member
                .name
                .trim_end_matches("__c")
                .strip_prefix(stem)
                .unwrap_or(&member.name);
            (lower_first(part.trim_matches('_')), at)
        });
        let members = members.collect();
        self.items.push(Item::Compound { name, members });
    }

    pub fn record(&self, scope: &Scope<'_>, record: &Record, version: &str) -> Map<String, Json> {
        let object = &scope.catalog.objects()[self.object];
        let mut json = Map::with_capacity(self.items.len() + 1);
        json.insert("attributes".to_owned(), attributes(object, record.id(), version));
        for item in &self.items {
            match item {
                Item::Field {
                    name,
                    hops,
                    field,
                    boolean,
                } => {
                    let null = if *boolean { Json::from(false) } else { Json::Null };
                    let shown = hops.iter().try_fold(record, |row, hop| hop.follow(scope, row));
                    let value = shown.and_then(|row| row.get(*field));
                    json.insert(name.clone(), value.map_or(null, Value::to_json));
                }
                Item::Compound { name, members } => {
                    json.insert(name.clone(), compound(record, members));
                }
                Item::Parent { name, hop, shape } => {
                    let parent = hop.follow(scope, record);
                    let parent = parent.map(|parent| Json::Object(shape.record(scope, parent, version)));
                    json.insert(name.clone(), parent.unwrap_or(Json::Null));
                }
            }
        }
        json
    }
}

/// `{"type", "url"}`, which every record in an answer begins with.
pub fn attributes(object: &Object, id: RecordId, version: &str) -> Json {
    json!({ "type": object.name, "url": format!("/services/data/v{version}/sobjects/{}/{id}", object.name) })
}

/// Null where all members are.
fn compound(record: &Record, members: &[(String, usize)]) -> Json {
    if members.iter().all(|(_, field)| record.get(*field).is_none()) {
        return Json::Null;
    }
    let mut json = Map::new();
    for (name, field) in members {
        json.insert(
            name.clone(),
            record.get(*field).map_or(Json::Null, Value::to_json),
        );
    }
    Json::Object(json)
}

fn lower_first(name: &str) -> String {
    let mut characters = name.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}

/// A sub-select: the rows of another object that point back.
pub(super) struct Children {
    name: String,
    field: usize,
    query: Query,
}

impl Children {
    /// `field` is the child's lookup. A limit is applied for each parent by itself, not to the whole.
    pub fn new(name: String, field: usize, query: Query) -> Self {
        Self { name, field, query }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The children of all of a page's rows, found in one pass over the child object.
    pub fn family<'a>(&self, scope: &Scope<'a>, parents: &[&Record]) -> HashMap<RecordId, Vec<&'a Record>> {
        let mut family: HashMap<RecordId, Vec<&'a Record>> =
            parents.iter().map(|parent| (parent.id(), Vec::new())).collect();
        for child in self.query.first_rows(scope, usize::MAX) {
            let parent = child.get(self.field).and_then(Value::as_id);
            if let Some(children) = parent.and_then(|parent| family.get_mut(&parent)) {
                children.push(child);
            }
        }
        family
    }

    pub fn list(
        &self,
        scope: &Scope<'_>,
        family: &HashMap<RecordId, Vec<&Record>>,
        parent: &Record,
        version: &str,
    ) -> Json {
        let children = family.get(&parent.id()).map(Vec::as_slice).unwrap_or_default();
        let from = self.query.offset.min(children.len());
        let to = self
            .query
            .limit
            .map_or(children.len(), |limit| children.len().min(from + limit));
        let children = &children[from..to];
        if children.is_empty() {
            return Json::Null;
        }
        let records = self.query.records(scope, children, version);
        json!({ "totalSize": records.len(), "done": true, "records": records })
    }
}
