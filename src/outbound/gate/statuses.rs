//! The status that a cancelled order gets, held against those that the org has.

use super::Checked;
use crate::model::order::parse::Invalid;
use crate::model::write::{Kind, Write};
use crate::outbound::limits::Form;
use crate::outbound::record::Place;

/// Refuses to cancel an order where the org does not have the configured status: it would refuse the change.
pub(super) fn check(checked: &Checked<'_>) -> Result<(), Invalid> {
    let Write::Entry(Kind::OrderUpdate, entry) = checked.write else {
        return Ok(());
    };
    let status = &checked.gate.policy.cancelled_status;
    let known = checked.shape.order.limits("Status").map(|limits| &limits.form);
    let Some(Form::Choice { values, .. }) = known else {
        return Ok(());
    };
    let is_cancelled = entry.values.contains_key("cancelled");
    if !is_cancelled || values.is_empty() || values.iter().any(|value| value == status) {
        return Ok(());
    }
    let message = format!(
        "cannot be written: the org has no order status {status}; add it to Order.Status, or name one that is there as orders.cancelled_status"
    );
    Err(Invalid::new(
        checked.names.path(Place::Write, "cancelled"),
        message,
    ))
}
