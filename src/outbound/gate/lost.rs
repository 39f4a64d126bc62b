//! What a storefront sent and no record of the org takes: refused with what to configure, and never dropped. Pure.

use super::Checked;
use crate::model::order::parse::Invalid;
use crate::model::write::Kind;
use crate::outbound::record::{self, Part, Place, Source};

/// Refuses the first member that no part of a write writes.
pub(super) fn check(checked: &Checked<'_>, parts: &[Part<'_>]) -> Result<(), Invalid> {
    let Some((record, field, source)) = record::lost(parts) else {
        return Ok(());
    };
    let object = &record.shape.object;
    let name = name(checked.write.kind(), source);
    let message = match (field, name) {
        (Some(field), name) => {
            let other = name.map_or(String::new(), |name| {
                format!(", or name another as \"{name}\" under orders.map")
            });
            format!(
                "has no place in this org: the user may not set {object}.{field}; give the user access to it{other}, or leave it out"
            )
        }
        (None, Some(name)) => format!(
            "has no place in this org: name a field of {object} for it as \"{name}\" under orders.map, or leave it out"
        ),
        (None, None) => format!("has no place in {object}: leave it out"),
    };
    Err(Invalid::new(
        checked.names.path(source.place, &source.member),
        message,
    ))
}

/// What the mapping calls a member, where it says where that goes.
fn name(kind: Kind, source: &Source) -> Option<String> {
    let member = &source.member;
    match source.place {
        Place::Write if member == "shipping.label" => Some(member.to_string()),
        Place::Values if kind == Kind::OrderUpdate => Some("order.reason".to_owned()),
        Place::Values => Some(format!("{}.{member}", kind.name())),
        Place::Payment(_) => Some(format!("payment.{member}")),
        Place::Answer(_) => Some(format!("form_answer.{member}")),
        Place::Line(_) => Some(format!("order_item.{member}")),
        _ => None,
    }
}
