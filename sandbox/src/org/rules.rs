//! What administrators set up: validation rules, duplicate rules and flows.
//!
//! Conditions are written as in SOQL after WHERE, and are asked of the row as it was written; a refusal undoes it.
//! A flow's change is one more write of the transaction, so its record still has one event; a flow that runs later
//! is a transaction of the platform's own, which names no origin.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::super::schema::{Catalog, Object};
use super::super::soql::{Query, Scope};
use super::super::value::{RecordId, Value};
use super::error::{RecordError, RecordErrors};
use super::manner::Manner;
use super::records::Record;
use super::{Org, Origin, Transaction};
use crate::clock::Millis;

/// All rules of an org.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    pub validations: Vec<Validation>,
    pub growing: Vec<Growing>,
    pub duplicates: Vec<Duplicates>,
    pub flows: Vec<Flow>,
}

/// Refuses rows that fit a condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validation {
    pub object: String,
    pub when: String,
    pub message: String,
    /// Where the message is shown.
    #[serde(default)]
    pub field: Option<String>,
}

/// Refuses a value of a number field that is lower than the one before it: a validation rule with the formula
/// `AND(NOT(ISNEW()), Field < PRIORVALUE(Field))`, whose error is shown at the field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Growing {
    pub object: String,
    pub field: String,
    pub message: String,
}

/// Refuses rows that have the same values as another one in all of these fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Duplicates {
    pub object: String,
    pub name: String,
    pub fields: Vec<String>,
    /// Whether a request may overrule it.
    #[serde(default)]
    pub allow_save: bool,
}

/// Sets fields of rows that fit a condition, after they were saved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    pub object: String,
    #[serde(default)]
    pub when: Option<String>,
    pub set: Map<String, Json>,
    /// In a transaction of its own, after the commit.
    #[serde(default)]
    pub later: bool,
}

impl Rules {
    fn is_empty(&self) -> bool {
        self.validations.is_empty()
            && self.growing.is_empty()
            && self.duplicates.is_empty()
            && self.flows.is_empty()
    }

    /// Why these rules cannot be set up, as a sentence.
    pub fn check(&self, catalog: &Catalog, now: Millis) -> Result<(), String> {
        let conditions = self
            .validations
            .iter()
            .map(|rule| (&rule.object, Some(&rule.when)));
        let flows = self.flows.iter().map(|flow| (&flow.object, flow.when.as_ref()));
        for (object, when) in conditions.chain(flows) {
            known(catalog, object)?;
            if let Some(when) = when {
                condition(catalog, object, when, now)?;
            }
        }
        let fields = self
            .duplicates
            .iter()
            .map(|rule| (&rule.object, rule.fields.iter().collect::<Vec<_>>()));
        let set = self
            .flows
            .iter()
            .map(|flow| (&flow.object, flow.set.keys().collect()));
        let growing = self.growing.iter().map(|rule| (&rule.object, vec![&rule.field]));
        for (object, fields) in fields.chain(set).chain(growing) {
            let object = known(catalog, object)?;
            if let Some(missing) = fields.into_iter().find(|name| object.field(name).is_none()) {
                return Err(format!("{} has no field {missing}", object.name));
            }
        }
        Ok(())
    }
}

fn known<'a>(catalog: &'a Catalog, object: &str) -> Result<&'a Object, String> {
    catalog
        .object(object)
        .ok_or_else(|| format!("there is no object {object}"))
}

fn condition(catalog: &Catalog, object: &str, when: &str, now: Millis) -> Result<Query, String> {
    let text = format!("SELECT Id FROM {object} WHERE {when}");
    Query::compile(catalog, &text, now, false).map_err(|error| error.message)
}

impl Transaction<'_> {
    /// Asks the rules of a row that was just written; `before` is the row as it was.
    pub(super) fn apply_rules(
        &mut self,
        object: &Object,
        id: RecordId,
        before: Option<&Record>,
    ) -> Result<(), RecordErrors> {
        let settings = self.org.settings();
        let rules = &settings.rules;
        if rules.is_empty() || self.records.live(object.index, id).is_none() {
            return Ok(());
        }
        self.validate(rules, object, id, before)?;
        self.find_duplicates(rules, object, id)?;
        self.run_flows(rules, object, id)
    }

    fn fits(&self, object: &Object, id: RecordId, when: &str) -> Result<bool, RecordErrors> {
        let catalog = self.org.catalog();
        let query = condition(catalog, &object.name, when, self.org.clock().now());
        // It was read when it was set up; a field may have gone since.
        let query =
            query.map_err(|message| vec![RecordError::new("CANNOT_EXECUTE_FLOW_TRIGGER", message)])?;
        let scope = Scope {
            catalog,
            records: self.records,
        };
        let row = self.records.live(object.index, id);
        Ok(row.is_some_and(|row| query.accepts(&scope, row)))
    }

    fn validate(
        &self,
        rules: &Rules,
        object: &Object,
        id: RecordId,
        before: Option<&Record>,
    ) -> Result<(), RecordErrors> {
        let mut errors = Vec::new();
        let growing = rules.growing.iter();
        for rule in growing.filter(|rule| rule.object.eq_ignore_ascii_case(&object.name)) {
            let value = |row: Option<&Record>| row?.get(object.field(&rule.field)?)?.as_f64();
            let is_lower = |(now, prior)| now < prior;
            if value(self.records.live(object.index, id))
                .zip(value(before))
                .is_some_and(is_lower)
            {
                let error = RecordError::new("FIELD_CUSTOM_VALIDATION_EXCEPTION", rule.message.clone());
                errors.push(error.with_fields([&rule.field]));
            }
        }
        for rule in rules
            .validations
            .iter()
            .filter(|rule| rule.object.eq_ignore_ascii_case(&object.name))
        {
            if self.fits(object, id, &rule.when)? {
                let error = RecordError::new("FIELD_CUSTOM_VALIDATION_EXCEPTION", rule.message.clone());
                errors.push(error.with_fields(rule.field.as_slice()));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn find_duplicates(&self, rules: &Rules, object: &Object, id: RecordId) -> Result<(), RecordErrors> {
        let Some(row) = self.records.live(object.index, id) else {
            return Ok(());
        };
        for rule in rules
            .duplicates
            .iter()
            .filter(|rule| rule.object.eq_ignore_ascii_case(&object.name))
        {
            if rule.allow_save && self.duplicates_allowed {
                continue;
            }
            let fields: Vec<usize> = rule.fields.iter().filter_map(|name| object.field(name)).collect();
            if fields.is_empty() || fields.iter().any(|field| row.get(*field).is_none()) {
                continue;
            }
            let twins = self.records.all(object.index).filter(|other| {
                !other.deleted && other.id() != id && fields.iter().all(|field| alike(row, other, *field))
            });
            let twins: Vec<RecordId> = twins.map(Record::id).collect();
            if !twins.is_empty() {
                return Err(vec![detected(rule, object, &twins)]);
            }
        }
        Ok(())
    }

    fn run_flows(&mut self, rules: &Rules, object: &Object, id: RecordId) -> Result<(), RecordErrors> {
        if self.in_flow {
            return Ok(());
        }
        for flow in rules
            .flows
            .iter()
            .filter(|flow| flow.object.eq_ignore_ascii_case(&object.name))
        {
            if flow.later {
                if !self.later.contains(&(object.index, id)) {
                    self.later.push((object.index, id));
                }
            } else {
                self.run_flow(flow, object, id)?;
            }
        }
        Ok(())
    }

    fn run_flow(&mut self, flow: &Flow, object: &Object, id: RecordId) -> Result<(), RecordErrors> {
        let fits = flow
            .when
            .as_ref()
            .map_or(Ok(true), |when| self.fits(object, id, when))?;
        if !fits {
            return Ok(());
        }
        self.in_flow = true;
        let done = self.update(object.index, id, &flow.set);
        self.in_flow = false;
        done.map_err(|errors| {
            let wrap = |error: RecordError| {
                let text = format!(
                    "We can't save this record because a flow failed. {}: {}",
                    error.status_code, error.message
                );
                RecordError::new("CANNOT_EXECUTE_FLOW_TRIGGER", text)
            };
            errors.into_iter().map(wrap).collect()
        })
    }
}

fn alike(row: &Record, other: &Record, field: usize) -> bool {
    match (row.get(field), other.get(field)) {
        (Some(Value::Text(left)), Some(Value::Text(right))) => left.to_lowercase() == right.to_lowercase(),
        (left, right) => left == right,
    }
}

fn detected(rule: &Duplicates, object: &Object, twins: &[RecordId]) -> RecordError {
    const MESSAGE: &str =
        "You're creating a duplicate record. We recommend you use an existing record instead.";
    let records: Vec<Json> = twins
        .iter()
        .map(|id| {
            let url = format!("/services/data/v67.0/sobjects/{}/{id}", object.name);
            json!({
                "additionalInformation": [], "fieldDiffs": [], "matchConfidence": 100.0,
                "record": { "attributes": { "type": object.name, "url": url }, "Id": id.as_str() },
            })
        })
        .collect();
    let mut error = RecordError::new("DUPLICATES_DETECTED", MESSAGE);
    error.duplicates = Some(json!({
        "allowSave": rule.allow_save, "duplicateRule": rule.name, "duplicateRuleEntityType": object.name,
        "errorMessage": MESSAGE,
        "matchResults": [{
            "entityType": object.name, "errors": [], "matchEngine": "ExactMatchEngine", "matchRecords": records,
            "rule": rule.name, "size": twins.len(), "success": true,
        }],
    }));
    error
}

impl Org {
    /// Runs the flows that wait for a commit, each record's in a transaction of its own.
    pub(super) fn run_later(&self, later: Vec<(usize, RecordId)>) {
        for (object, id) in later {
            let settings = self.settings();
            let described = &self.catalog().objects()[object];
            let origin = Origin {
                client: String::new(),
                user: self.user_id(),
            };
            let flows = settings.rules.flows.iter();
            let flows = flows.filter(|flow| flow.later && flow.object.eq_ignore_ascii_case(&described.name));
            for flow in flows {
                let done: Result<(), RecordErrors> = self.transact(&origin, |transaction| {
                    transaction.set_manner(Manner {
                        internal: true,
                        ..Manner::default()
                    });
                    transaction.in_flow = true;
                    transaction.run_flow(flow, described, id)
                });
                if let Err(errors) = done {
                    // As on the platform, nobody who could be told is there any more.
                    tracing::warn!(
                        "a flow of {} failed for {id}: {}",
                        described.name,
                        errors[0].message
                    );
                }
            }
        }
    }
}
