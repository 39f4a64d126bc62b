//! What a person's edit of a kept write is held against: what intake asks of a storefront, at the time of the edit.
//!
//! What was wrong before and is left as it was is not the edit's. Which store a field is allowed to is told by names that
//! are not kept with a write, so that a field counts as allowed where any store may set it.

use serde_json::Value;

use super::{Gate, Names, books};
use crate::model::clock::Millis;
use crate::model::order::parse::Invalid;
use crate::model::order::{Fields, day};
use crate::model::write::edit::{self, Change};
use crate::model::write::{Kind, Write, kinds};
use crate::store::outbox::desk::{Detail, Done};

impl Gate {
    /// Refuses an edit that intake or the org would refuse; everything else of it is the desk's to judge.
    pub fn refused_edit(&self, detail: &Detail, patch: &Value, now: Millis) -> Option<Done> {
        let kind = detail.view.kind?;
        let invalid = self.check_edit(kind, &detail.body, patch, now).err()?;
        Some(Done::Refused(format!("{} {}", invalid.field, invalid.message)))
    }

    fn check_edit(&self, kind: Kind, body: &Value, patch: &Value, now: Millis) -> Result<(), Invalid> {
        let body = body.to_string();
        let Ok((after, changes)) = edit::edit(kind, &body, patch) else {
            return Ok(());
        };
        let before = Write::from_json(kind, &body).ok();
        check_day(before.as_ref(), &after, now)?;
        self.check_own_fields(before.as_ref(), &after)?;
        books::check(self.known.dir(), before.as_ref(), &after)?;
        let stores = [Some(after.store_id().to_owned())];
        let check = |write: &Write| {
            let stores: Vec<Option<&str>> = stores.iter().map(Option::as_deref).collect();
            self.check(write, (Names::kept(kind), false), &stores)
        };
        let Err(invalid) = check(&after) else {
            return Ok(());
        };
        let is_touched = |change: &Change| {
            change.path.starts_with(&invalid.field) || invalid.field.starts_with(&change.path)
        };
        let was = before.map(|before| check(&before));
        if !changes.iter().any(is_touched) && was == Some(Err(invalid.clone())) {
            return Ok(());
        }
        Err(invalid)
    }

    fn check_own_fields(&self, before: Option<&Write>, after: &Write) -> Result<(), Invalid> {
        let kept: Vec<Own<'_>> = before.map(own_fields).unwrap_or_default();
        for (path, object, fields) in own_fields(after) {
            let kept = kept
                .iter()
                .find(|(at, _, _)| *at == path)
                .map(|(_, _, fields)| *fields);
            let is_new = |(field, value): &(&String, &Value)| {
                kept.and_then(|fields| fields.get(field.as_str())) != Some(*value)
            };
            let mut new = fields.iter().filter(is_new);
            if let Some((field, _)) = new.find(|(field, _)| !self.may_any_set(object, field)) {
                let message = format!(
                    "is not a field that a store may set: allow {object}.{field} under orders.fields"
                );
                return Err(Invalid::new(format!("{path}.{field}"), message));
            }
        }
        Ok(())
    }
}

/// The path of a set of own fields, the object that it is of, and the set.
type Own<'w> = (String, &'static str, &'w Fields);

fn own_fields(write: &Write) -> Vec<Own<'_>> {
    let own = |object, fields| ("fields".to_owned(), object, fields);
    match write {
        Write::Order(order) => {
            let lines = order.lines.iter().enumerate();
            let lines =
                lines.map(|(index, line)| (format!("lines[{index}].fields"), "OrderItem", &line.fields));
            std::iter::once(own("Order", &order.fields))
                .chain(lines)
                .collect()
        }
        Write::Entry(kind, entry) => {
            let object = kinds::spec(*kind).map_or("Order", |spec| spec.object);
            vec![own(object, &entry.fields)]
        }
    }
}

/// A day that is given now is one that a storefront could give now.
fn check_day(before: Option<&Write>, after: &Write, now: Millis) -> Result<(), Invalid> {
    let day = |write: &Write| match write {
        Write::Order(order) => Some(order.effective_date.clone()),
        Write::Entry(..) => None,
    };
    match day(after) {
        Some(sent) if before.and_then(day).as_ref() != Some(&sent) => {
            let of_order = day::of_order(now, None, Some(&sent));
            of_order
                .map(drop)
                .map_err(|invalid| Invalid::new("effective_date", invalid.message))
        }
        _ => Ok(()),
    }
}
