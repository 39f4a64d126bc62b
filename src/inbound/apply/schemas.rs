//! The schemas that events name: whose they are, which column each value is for, and what of an event may be kept.
//!
//! A schema is compiled once. What it is for follows the objects: one that is mirrored later, or shows other columns, is
//! mapped again.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::config::ObjectRules;
use crate::inbound::apply::{Mirrored, World};
use crate::inbound::command::Command;
use crate::inbound::decode::EventSchema;
use crate::inbound::redact::{self, Redaction};
use crate::model::change::RawEvent;

/// What is known of the schemas that events name.
#[derive(Default)]
pub(super) struct Schemas {
    pub by_id: HashMap<String, Known>,
}

#[derive(Clone)]
pub(super) enum Known {
    /// Of an object that is not mirrored, and may be later.
    Unmapped(Arc<EventSchema>, Option<Arc<Redaction>>),
    Mapped(Arc<Mapped>),
    Unusable {
        /// Why.
        reason: Arc<str>,
        /// Whose events it describes, as far as its name tells.
        entity: Option<Arc<str>>,
        /// Whether its events may be kept as they are.
        may_be_kept: bool,
    },
}

pub(super) struct Mapped {
    pub schema: Arc<EventSchema>,
    pub object: usize,
    /// The column of each leaf; `None` where it is not mirrored.
    pub columns: Vec<Option<usize>>,
    /// The leaf `LastModifiedDate`.
    pub last_modified: Option<usize>,
    /// The column `IsDeleted`, which no event carries.
    pub is_deleted: Option<usize>,
    /// Columns that the org computes, with their leaf where the event can have it.
    pub formulas: Vec<(usize, Option<usize>)>,
    pub redaction: Option<Redaction>,
}

impl Schemas {
    /// Compiles a schema once.
    pub(super) fn learn(
        &mut self,
        id: &str,
        json: &str,
        objects: &[Mirrored],
        by_name: &HashMap<String, usize>,
    ) {
        if self.by_id.contains_key(id) {
            return;
        }
        let known = match EventSchema::compile(json) {
            Err(error) => {
                let entity = redact::object_of(json);
                let object = entity.as_ref().and_then(|entity| by_name.get(entity));
                let rules = object.map(|object| objects[*object].rules.clone());
                Known::Unusable {
                    reason: error.to_string().into(),
                    may_be_kept: redact::may_be_kept(json, &rules.unwrap_or_default()),
                    entity: entity.map(Into::into),
                }
            }
            Ok(schema) => match by_name.get(schema.entity()) {
                None => {
                    let redaction = Redaction::of(&schema, &ObjectRules::default()).map(Arc::new);
                    Known::Unmapped(Arc::new(schema), redaction)
                }
                Some(&object) => {
                    Known::Mapped(Arc::new(Mapped::new(Arc::new(schema), object, &objects[object])))
                }
            },
        };
        self.by_id.insert(id.to_owned(), known);
    }

    /// The columns of an object have changed, or it was not mirrored before.
    pub(super) fn map_again(&mut self, object: usize, objects: &[Mirrored]) {
        let name = &objects[object].mirror.table.object;
        for known in self.by_id.values_mut() {
            let schema = match known {
                Known::Mapped(mapped) if mapped.object == object => &mapped.schema,
                Known::Unmapped(schema, _) if schema.entity() == name => schema,
                Known::Mapped(_) | Known::Unmapped(..) | Known::Unusable { .. } => continue,
            };
            *known = Known::Mapped(Arc::new(Mapped::new(
                Arc::clone(schema),
                object,
                &objects[object],
            )));
        }
    }
}

impl Known {
    /// What may be kept of an event, where that is not all of it.
    fn kept_of(&self, event: &RawEvent) -> Option<(Bytes, Vec<String>)> {
        match self {
            Self::Unmapped(schema, redaction) => redaction.as_ref()?.apply(schema, &event.payload),
            Self::Mapped(mapped) => mapped.redaction.as_ref()?.apply(&mapped.schema, &event.payload),
            Self::Unusable { may_be_kept, .. } => (!may_be_kept).then(redact::nothing),
        }
    }
}

impl Mapped {
    fn new(schema: Arc<EventSchema>, object: usize, mirrored: &Mirrored) -> Self {
        let table = &mirrored.mirror.table;
        let names: Vec<&str> = schema.fields().iter().map(AsRef::as_ref).collect();
        let columns: Vec<Option<usize>> = names.iter().map(|name| table.position(name)).collect();
        let leaf = |formula: &usize| columns.iter().position(|column| *column == Some(*formula));
        Self {
            formulas: mirrored
                .formulas
                .iter()
                .map(|formula| (*formula, leaf(formula)))
                .collect(),
            redaction: Redaction::of(&schema, &mirrored.rules),
            last_modified: names
                .iter()
                .position(|name| name.eq_ignore_ascii_case("LastModifiedDate")),
            is_deleted: table.position("IsDeleted"),
            columns,
            object,
            schema,
        }
    }
}

impl World {
    /// Takes out of events what may not be kept. Comes before anything of them is written down.
    pub(super) fn redact(&self, commands: &mut [Command]) {
        for command in commands {
            let Command::Events(response) = command else {
                continue;
            };
            let kept_of = |event: &RawEvent| self.schemas.by_id.get(&event.schema_id)?.kept_of(event);
            let kept: Vec<_> = response.events.iter().map(kept_of).collect();
            if kept.iter().all(Option::is_none) {
                continue;
            }
            let events = response.events.iter().zip(kept).map(|(event, kept)| {
                let event = event.clone();
                match kept {
                    Some((payload, redacted)) => RawEvent {
                        payload,
                        redacted,
                        ..event
                    },
                    None => event,
                }
            });
            response.events = events.collect();
        }
    }
}
