//! The Tooling API, as far as clients ask it what the org has: definitions of objects and fields, channels of change
//! events and what is selected for them, managed subscriptions.
//!
//! These are objects of a catalogue of their own, asked by the same query language. Their rows are written down at
//! each question, for what the org has and what is selected may change at any time.

mod channels;

use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value as Json, json};

use super::describe;
use super::http::answer::{Answer, Refusal, Reply};
use super::http::call::Call;
use super::org::records::{Shared, Slot};
use super::org::{Org, Record, Records, record_types};
use super::rest::Caller;
use super::schema::{Catalog, Field, FieldKind, Object};
use super::soql::{Query, QueryError, Scope};
use super::value::{RecordId, Value};

/// Definitions are given in one batch or not at all.
const ROWS_MAX: usize = 2_000;
/// Objects that the REST API's query knows as well.
const DEFINITIONS: [&str; 2] = ["EntityDefinition", "FieldDefinition"];

/// The tooling objects.
pub struct Tooling {
    catalog: Catalog,
}

impl Tooling {
    pub fn load() -> Result<Self> {
        Ok(Self {
            catalog: Catalog::read(include_str!("tooling.json"))?,
        })
    }
}

/// `rest` is the path after `tooling`.
pub fn answer(caller: &Caller<'_>, call: &Call, rest: &[&str]) -> Answer {
    let catalog = &caller.app.tooling.catalog;
    let version = format!("{}/tooling", caller.version);
    match rest {
        ["query"] => {
            let text = call
                .parameter("q")
                .ok_or_else(|| Refusal::new(400, "MALFORMED_QUERY", "a query string has to be specified"))?;
            let query = Query::compile(catalog, text, caller.app.org.clock().now(), false)?;
            run(caller, &query)
        }
        ["sobjects"] => Ok(Reply::ok(describe::global(catalog, &version))),
        ["sobjects", name, "describe"] => {
            let object = catalog.object(name).ok_or_else(Refusal::not_found)?;
            let types = Json::Array(vec![record_types::master(true)]);
            Ok(Reply::ok(describe::object(catalog, object, types, &version)))
        }
        _ => Err(Refusal::not_found()),
    }
}

/// The answer of the REST API's query where it asks for a definition; none where it does not.
pub fn definitions(caller: &Caller<'_>, text: &str) -> Option<Answer> {
    let catalog = &caller.app.tooling.catalog;
    let query = Query::compile(catalog, text, caller.app.org.clock().now(), false);
    match query {
        Ok(query) if DEFINITIONS.contains(&catalog.objects()[query.object()].name.as_str()) => {
            Some(run(caller, &query))
        }
        Err(QueryError {
            code: "INVALID_FIELD",
            message,
        }) => Some(Err(Refusal::new(400, "INVALID_FIELD", message))),
        _ => None,
    }
}

fn run(caller: &Caller<'_>, query: &Query) -> Answer {
    let tooling = &caller.app.tooling;
    let object = &tooling.catalog.objects()[query.object()];
    let org = &caller.app.org;
    let records = if DEFINITIONS.contains(&object.name.as_str()) {
        define(&tooling.catalog, org)
    } else {
        channels::rows(&tooling.catalog, caller.app)
    };
    show(caller, query, &records)
}

fn show(caller: &Caller<'_>, query: &Query, records: &Records) -> Answer {
    let catalog = &caller.app.tooling.catalog;
    let object = &catalog.objects()[query.object()];
    let scope = Scope { catalog, records };
    let rows = query.rows(&scope);
    let (total, mut shown) = if query.is_count() {
        (rows.len(), Vec::new())
    } else if let Some(groups) = query.groups(&scope, &rows) {
        (groups.len(), groups)
    } else if rows.len() > ROWS_MAX {
        let message = format!(
            "{} does not support queryMore(), use LIMIT to restrict the results to a single batch",
            object.name
        );
        return Err(Refusal::new(400, "EXCEEDED_ID_LIMIT", message));
    } else {
        (
            rows.len(),
            query.records(&scope, &rows, &format!("{}/tooling", caller.version)),
        )
    };
    for row in &mut shown {
        unfold_metadata(row);
    }
    Ok(Reply::ok(json!({
        "size": shown.len(), "totalSize": total, "done": true, "queryLocator": null,
        "entityTypeName": object.name, "records": shown,
    })))
}

/// Metadata is stored as the text of what it is answered as.
fn unfold_metadata(row: &mut Json) {
    let unfolded = row["Metadata"]
        .as_str()
        .and_then(|text| serde_json::from_str::<Json>(text).ok());
    if let Some(unfolded) = unfolded {
        row["Metadata"] = unfolded;
    }
}

/// Puts rows of one object into tables.
struct Writer<'a> {
    object: &'a Object,
    shared: Arc<Shared>,
    records: &'a mut Records,
}

impl<'a> Writer<'a> {
    fn new(catalog: &'a Catalog, name: &str, org: &Org, records: &'a mut Records) -> Option<Self> {
        let object = catalog.object(name)?;
        // Definitions are as old as the org's own row.
        let organization = org.catalog().object("Organization")?.index;
        let created = org.read(|rows| {
            rows.get(organization, org.id())?
                .get(super::schema::CREATED_DATE)
                .cloned()
        })?;
        let user = Value::Id(org.user_id());
        let shared = Shared {
            modstamp: created.clone(),
            created: created.clone(),
            created_by: user.clone(),
            modified: created,
            modified_by: user,
            values: Arc::clone(&object.unset),
            layout: Arc::from([]),
        };
        Some(Self {
            object,
            shared: Arc::new(shared),
            records,
        })
    }

    fn row(&mut self, values: &[(&str, Option<Value>)]) -> RecordId {
        let id = self.records.next_id(self.object.index);
        let slots = values.iter().filter_map(|(name, value)| {
            let slot: Slot = (u16::try_from(self.object.field(name)?).ok()?, value.clone()?);
            Some(slot)
        });
        let record = Record::new(id, Arc::clone(&self.shared), slots.collect());
        self.records.put(self.object.index, record);
        id
    }
}

fn text(text: impl AsRef<str>) -> Option<Value> {
    let text = text.as_ref();
    (!text.is_empty()).then(|| Value::text(text))
}

fn flag(flag: bool) -> Option<Value> {
    flag.then_some(Value::Boolean(true))
}

/// `s_c__Store__c`: its namespace and its name alone.
fn name_parts(name: &str) -> (&str, &str) {
    let stem = name
        .strip_suffix("__c")
        .or_else(|| name.strip_suffix("__s"))
        .unwrap_or(name);
    stem.split_once("__").unwrap_or(("", stem))
}

fn define(catalog: &Catalog, org: &Org) -> Records {
    let mut records = Records::new(catalog);
    let mut entities = Vec::new();
    if let Some(mut writer) = Writer::new(catalog, "EntityDefinition", org, &mut records) {
        for object in org.catalog().objects() {
            let (namespace, stem) = name_parts(&object.name);
            entities.push(writer.row(&[
                ("DurableId", text(&object.name)),
                ("QualifiedApiName", text(&object.name)),
                ("DeveloperName", text(stem)),
                ("NamespacePrefix", text(namespace)),
                ("Label", text(&object.label)),
                ("MasterLabel", text(&object.label)),
                ("PluralLabel", text(&object.label_plural)),
                ("KeyPrefix", text(String::from_utf8_lossy(&object.key_prefix))),
                ("IsCustomizable", flag(object.createable)),
                ("IsQueryable", flag(true)),
                ("IsReplicateable", flag(true)),
                ("IsRetrieveable", flag(true)),
                ("IsSearchable", flag(true)),
                ("IsTriggerable", flag(object.createable)),
            ]));
        }
    }
    if let Some(mut writer) = Writer::new(catalog, "FieldDefinition", org, &mut records) {
        for (object, entity) in org.catalog().objects().iter().zip(entities) {
            for field in &object.fields {
                define_field(&mut writer, object, entity, field);
            }
        }
    }
    records
}

fn define_field(writer: &mut Writer<'_>, object: &Object, entity: RecordId, field: &Field) {
    let (namespace, stem) = name_parts(&field.name);
    let number = |number: u32| (number > 0).then_some(Value::Integer(i64::from(number)));
    writer.row(&[
        ("DurableId", text(format!("{}.{}", object.name, field.name))),
        ("QualifiedApiName", text(&field.name)),
        ("DeveloperName", text(stem)),
        ("NamespacePrefix", text(namespace)),
        ("EntityDefinitionId", Some(Value::Id(entity))),
        ("Label", text(&field.label)),
        ("MasterLabel", text(&field.label)),
        ("DataType", text(data_type(field))),
        ("ValueTypeId", text(describe::type_name(field))),
        (
            "Length",
            Some(Value::Integer(i64::try_from(field.length).unwrap_or_default())),
        ),
        ("Precision", number(field.precision)),
        ("Scale", number(field.scale)),
        (
            "RelationshipName",
            field.relationship_name.as_ref().and_then(text),
        ),
        ("IsCalculated", flag(field.calculated)),
        ("IsCompound", flag(field.kind.is_compound())),
        ("IsIndexed", flag(field.id_lookup || field.unique)),
        ("IsNameField", flag(field.name_field)),
        ("IsNillable", flag(field.nillable)),
    ]);
}

/// A field's type as the setup pages write it: `Text(80)`, `Number(16, 2)`, `Lookup(Account)`.
fn data_type(field: &Field) -> String {
    let digits = || {
        format!(
            "({}, {})",
            field.precision.saturating_sub(field.scale),
            field.scale
        )
    };
    let base = match field.kind {
        FieldKind::Id => "Lookup()".to_owned(),
        FieldKind::Text => format!("Text({})", field.length),
        FieldKind::LongText => format!("Long Text Area({})", field.length),
        FieldKind::Boolean => "Checkbox".to_owned(),
        FieldKind::Integer => "Number(9, 0)".to_owned(),
        FieldKind::Double => format!("Number{}", digits()),
        FieldKind::Currency => format!("Currency{}", digits()),
        FieldKind::Percent => format!("Percent{}", digits()),
        FieldKind::Date => "Date".to_owned(),
        FieldKind::DateTime => "Date/Time".to_owned(),
        FieldKind::Time => "Time".to_owned(),
        FieldKind::Email => "Email".to_owned(),
        FieldKind::Phone => "Phone".to_owned(),
        FieldKind::Url => format!("URL({})", field.length),
        FieldKind::Picklist => "Picklist".to_owned(),
        FieldKind::MultiPicklist => "Picklist (Multi-Select)".to_owned(),
        FieldKind::Reference if field.cascade_delete => {
            format!("Master-Detail({})", field.reference_to.join(","))
        }
        FieldKind::Reference => format!("Lookup({})", field.reference_to.join(",")),
        FieldKind::Address => "Address".to_owned(),
        FieldKind::Location => "Geolocation".to_owned(),
        FieldKind::PersonName => "Name".to_owned(),
    };
    match (field.external_id, field.unique) {
        (true, true) => format!("{base} (External ID) (Unique Case Insensitive)"),
        (true, false) => format!("{base} (External ID)"),
        (false, true) => format!("{base} (Unique Case Insensitive)"),
        (false, false) => base,
    }
}
