//! The storefront's own fields that the org does not let its user set, or that storesync sets itself: refused with the
//! name of the member. Pure.
//!
//! Composing a write says that one of its fields cannot be set, and not which: each is tried alone.

use super::Checked;
use crate::model::order::parse::Invalid;
use crate::model::order::{Fields, Line, Placed};
use crate::model::write::{Entry, Write};
use crate::outbound::party::Party;
use crate::outbound::record::{FIELD_NOT_WRITABLE, FIELD_RESERVED, Place};

/// Names the field for which a write cannot be composed. `parties` are all whom it may be for: a field that may be set for
/// one of them is the org's to judge.
pub(super) fn check(checked: &Checked<'_>, parties: &[Party]) -> Result<(), Invalid> {
    let bare = bare(checked.write);
    for (place, line, fields) in all(checked.write) {
        let without = alone(&bare, line, Fields::default());
        for (field, value) in fields {
            let one = Fields::from_iter([(field.clone(), value.clone())]);
            let with = alone(&bare, line, one);
            let refused = |party: &Party| {
                let problem = checked.parts_of(&with, party).err()?;
                checked.parts_of(&without, party).is_ok().then_some(problem.code)
            };
            let codes: Option<Vec<String>> = parties.iter().map(refused).collect();
            let message = match codes
                .as_deref()
                .and_then(|codes| codes.first())
                .map(String::as_str)
            {
                Some(FIELD_NOT_WRITABLE) => {
                    "is no field that the org lets its user set: give the user access to it in the org, or leave it out"
                }
                Some(FIELD_RESERVED) => "is set by storesync itself: leave it out",
                _ => continue,
            };
            return Err(Invalid::new(checked.names.path(place, field), message));
        }
    }
    Ok(())
}

/// Every set of own fields, with the line that has it.
fn all(write: &Write) -> Vec<(Place, Option<&Line>, &Fields)> {
    match write {
        Write::Order(order) => {
            let lines = order.lines.iter().enumerate();
            let lines = lines.map(|(index, line)| (Place::LineFields(index), Some(line), &line.fields));
            let own = (Place::Fields, None, &order.fields);
            std::iter::once(own).chain(lines).collect()
        }
        Write::Entry(_, entry) => vec![(Place::Fields, None, &entry.fields)],
    }
}

/// The write without lines and own fields.
fn bare(write: &Write) -> Write {
    match write {
        Write::Order(order) => Write::Order(Placed {
            lines: Vec::new(),
            fields: Fields::default(),
            ..order.clone()
        }),
        Write::Entry(kind, entry) => Write::Entry(
            *kind,
            Entry {
                fields: Fields::default(),
                ..entry.clone()
            },
        ),
    }
}

/// The write with these own fields and no others: of a line where one is given.
fn alone(bare: &Write, line: Option<&Line>, fields: Fields) -> Write {
    let mut write = bare.clone();
    match (&mut write, line) {
        (Write::Order(order), Some(line)) => order.lines.push(Line {
            fields,
            ..line.clone()
        }),
        (Write::Order(order), None) => order.fields = fields,
        (Write::Entry(_, entry), _) => entry.fields = fields,
    }
    write
}
