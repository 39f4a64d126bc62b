//! A record's timeline: what touched it, and what each touch changed.
//!
//! Touches are put together in the order of the journal, by the rules of the door: an event that a later read
//! already holds changes nothing, and a read that began before the row was last touched counts only where its stamp
//! is newer.

use serde_json::Value as Json;

use crate::inbound::decode::patch;
use crate::journal::history::History;
use crate::journal::history::events::Said;
use crate::journal::history::touches::{Cause, Row, Touch, What, stamp_of};
use crate::model::clock::Millis;
use crate::model::row::Table;

/// A touch and what it changed.
#[derive(Clone, Debug)]
pub struct Moment {
    pub touch: Touch,
    pub changes: Vec<FieldChange>,
    /// Whether the record was there afterwards; `None` where that is not known.
    pub present: Option<bool>,
}

/// A field before and after a touch.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    pub field: String,
    /// `None` where it is not known.
    pub before: Option<Json>,
    pub after: Json,
}

/// The event or read after which a field first had a value.
#[derive(Clone, Debug)]
pub struct First {
    pub moment: Moment,
    /// How many touches were looked at.
    pub looked_at: usize,
}

impl History {
    /// What happened to a record, in the order in which it was learnt.
    pub fn timeline(&mut self, object: &str, id: &str) -> anyhow::Result<Vec<Moment>> {
        let table = self.table(object)?;
        let touches = self.touches(object, id, table.as_ref())?;
        let mut state = State::new(table.as_ref());
        let mut moments = Vec::with_capacity(touches.len());
        for touch in touches {
            let seen_before = state.row.is_some();
            let changes = state.apply(&touch);
            let shown = match touch.what {
                What::LoadBegun => false,
                What::LoadEnded => seen_before && state.row.is_none(),
                _ => true,
            };
            if shown {
                moments.push(Moment {
                    touch,
                    changes,
                    present: state.present(),
                });
            }
        }
        Ok(moments)
    }

    /// The first touch after which `field` had the value that `holds` wants.
    pub fn first_with(
        &mut self,
        object: &str,
        id: &str,
        field: &str,
        holds: impl Fn(&Json) -> bool,
    ) -> anyhow::Result<Option<First>> {
        let timeline = self.timeline(object, id)?;
        let found = timeline.into_iter().enumerate().find(|(_, moment)| {
            let change = moment
                .changes
                .iter()
                .find(|change| change.field.eq_ignore_ascii_case(field));
            change.is_some_and(|change| holds(&change.after))
        });
        Ok(found.map(|(place, moment)| First {
            moment,
            looked_at: place + 1,
        }))
    }

    /// Whether an event of a record set a field whose values are not kept.
    pub fn withholds(&mut self, object: &str, id: &str, field: &str) -> anyhow::Result<bool> {
        let timeline = self.timeline(object, id)?;
        let is_withheld = |moment: &Moment| match &moment.touch.cause {
            Cause::Event(event) => event.withholds(field),
            Cause::Read(_) => false,
        };
        Ok(timeline.iter().any(is_withheld))
    }

    /// What an event changed in a record that it names, each field with its value before.
    pub fn changes_of(&mut self, number: i64, object: &str, id: &str) -> anyhow::Result<Vec<FieldChange>> {
        let timeline = self.timeline(object, id)?;
        let found = timeline
            .into_iter()
            .find(|moment| matches!(&moment.touch.cause, Cause::Event(event) if event.kept.number == number));
        Ok(found.map(|moment| moment.changes).unwrap_or_default())
    }
}

/// A row being put together.
pub(super) struct State<'t> {
    table: Option<&'t Table>,
    pub row: Option<Row>,
    /// Whether the row, or that there is none, is known.
    known: bool,
    /// Every field is known.
    pub whole: bool,
    base: Millis,
    modified: Millis,
    /// The newest revision before the batch that last touched it.
    rev: i64,
    load: Option<Load>,
}

struct Load {
    rev: i64,
    saw_it: bool,
}

impl<'t> State<'t> {
    pub fn new(table: Option<&'t Table>) -> Self {
        Self {
            table,
            row: None,
            known: false,
            whole: false,
            base: 0,
            modified: 0,
            rev: -1,
            load: None,
        }
    }

    pub fn present(&self) -> Option<bool> {
        self.known.then_some(self.row.is_some())
    }

    /// Applies a touch as the door would have.
    pub fn apply(&mut self, touch: &Touch) -> Vec<FieldChange> {
        match &touch.what {
            What::LoadBegun => {
                self.load = Some(Load {
                    rev: touch.rev,
                    saw_it: false,
                });
                Vec::new()
            }
            What::LoadEnded => {
                let load = self.load.take();
                if load.is_some_and(|load| !load.saw_it && self.rev < load.rev) && self.row.is_some() {
                    self.set_gone(touch);
                }
                Vec::new()
            }
            What::Unsaid => Vec::new(),
            What::Whole(row) => {
                let read_rev = self.load_saw_it().unwrap_or(touch.read_rev);
                let is_newer = touch.at > self.modified || self.rev < read_rev;
                match self.row.is_none() || is_newer {
                    true => self.set_whole(row, touch),
                    false => Vec::new(),
                }
            }
            What::Gone => {
                let is_event = matches!(touch.cause, Cause::Event(_));
                let counts = match is_event {
                    true => touch.at >= self.base,
                    false => self.rev < touch.read_rev,
                };
                if counts || self.row.is_none() {
                    self.set_gone(touch);
                }
                Vec::new()
            }
            What::Part { said, makes } if touch.at >= self.base => self.set_part(said, *makes, touch),
            What::Part { .. } => Vec::new(),
        }
    }

    /// Where the feed stood when the load began that brings a row; `None` outside a load.
    fn load_saw_it(&mut self) -> Option<i64> {
        let load = self.load.as_mut()?;
        load.saw_it = true;
        Some(load.rev)
    }

    fn touched(&mut self, touch: &Touch) {
        self.known = true;
        self.modified = self.modified.max(touch.at);
        self.rev = touch.rev;
    }

    pub fn set_gone(&mut self, touch: &Touch) {
        self.row = None;
        self.whole = false;
        (self.base, self.modified) = (0, 0);
        self.touched(touch);
    }

    pub fn set_whole(&mut self, row: &Row, touch: &Touch) -> Vec<FieldChange> {
        let before = self.row.replace(row.clone());
        let changes = row
            .iter()
            .map(|(field, after)| FieldChange {
                field: field.clone(),
                before: before.as_ref().and_then(|before| before.get(field).cloned()),
                after: after.clone(),
            })
            .filter(|change| {
                change
                    .before
                    .as_ref()
                    .is_none_or(|before| !same(before, &change.after))
            })
            .collect();
        self.whole = true;
        self.base = self.base.max(touch.at);
        if matches!(touch.cause, Cause::Read(_)) && before.is_some() && Vec::is_empty(&changes) {
            self.known = true;
            return changes;
        }
        self.touched(touch);
        changes
    }

    pub fn set_part(&mut self, said: &Said, makes: bool, touch: &Touch) -> Vec<FieldChange> {
        let was_here = self.row.is_some();
        let mut row = self.row.take().unwrap_or_default();
        let mut changes = Vec::new();
        if makes && !was_here {
            self.whole = true;
            for column in self.table.iter().flat_map(|table| &table.columns) {
                row.insert(column.field.clone(), Json::Null);
            }
        }
        let mut set = |field: &str, after: Option<Json>, row: &mut Row| {
            let field = self.name_of(field);
            let before = row.get(&field).cloned();
            let after = after.unwrap_or(Json::Null);
            row.insert(field.clone(), after.clone());
            if before.as_ref().is_none_or(|before| !same(before, &after)) {
                let before = if was_here { before } else { None };
                changes.push(FieldChange { field, before, after });
            }
        };
        for said in &said.fields {
            let after = match (said.is_diff, said.value.as_str()) {
                (true, Some(difference)) => {
                    let old = row.get(&self.name_of(&said.field)).and_then(Json::as_str);
                    match patch(old.unwrap_or_default(), difference) {
                        Some(text) => Json::from(text),
                        // It is read again.
                        None => continue,
                    }
                }
                _ => said.value.clone(),
            };
            set(&said.field, Some(after), &mut row);
        }
        if makes && self.has("IsDeleted") {
            set("IsDeleted", Some(Json::from(false)), &mut row);
        }
        if self.has("SystemModstamp") {
            set("SystemModstamp", Some(stamp_of(said)), &mut row);
        }
        if said.name_parts
            && let Some(name) = self.name_from_parts(&row)
        {
            set("Name", Some(name), &mut row);
        }
        self.row = Some(row);
        self.touched(touch);
        changes
    }

    fn has(&self, field: &str) -> bool {
        self.table.is_some_and(|table| table.position(field).is_some())
    }

    /// As describe spells it.
    fn name_of(&self, field: &str) -> String {
        let column = self
            .table
            .and_then(|table| table.position(field).map(|at| &table.columns[at]));
        column.map_or_else(|| field.to_owned(), |column| column.field.clone())
    }

    /// A person's name, as the org puts it together.
    fn name_from_parts(&self, row: &Row) -> Option<Json> {
        if !self.has("Name") || !self.has("LastName") {
            return None;
        }
        if self.has("IsPersonAccount") && row.get("IsPersonAccount") != Some(&Json::from(true)) {
            return None;
        }
        let parts = ["FirstName", "MiddleName", "LastName", "Suffix"];
        let parts: Vec<&str> = parts.iter().filter_map(|part| row.get(*part)?.as_str()).collect();
        Some(match parts.is_empty() {
            true => Json::Null,
            false => Json::from(parts.join(" ")),
        })
    }
}

/// Numbers are the same by what they count.
pub fn same(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Number(one), Json::Number(other)) => one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}
