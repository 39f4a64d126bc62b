//! What an order comes to, held against the fields in which the org adds it up. Pure.
//!
//! Quantity and price may each fit into their fields, and their product into none: the org would refuse the order.

use super::Checked;
use crate::model::order::Decimal;
use crate::model::order::parse::Invalid;
use crate::model::write::Write;
use crate::outbound::record::Place;
use crate::outbound::shape::Writable;

/// Refuses the first item whose value the org cannot hold, and then an order whose total it cannot hold.
pub(super) fn check(checked: &Checked<'_>) -> Result<(), Invalid> {
    let Write::Order(order) = checked.write else {
        return Ok(());
    };
    let mut total = Some(Decimal::ZERO);
    for (index, line) in order.lines.iter().enumerate() {
        let value = line.quantity.times(line.unit_price);
        if let Some(refusal) = refusal(&checked.shape.item, "TotalPrice", value) {
            let path = checked.names.path(Place::Line(index), "quantity");
            return Err(Invalid::new(path, format!("times unit_price {refusal}")));
        }
        total = total
            .zip(value)
            .map(|(total, value)| [total, value].into_iter().sum());
    }
    match refusal(&checked.shape.order, "TotalAmount", total) {
        Some(refusal) => Err(Invalid::new(
            checked.names.lines(),
            format!("come to a total that {refusal}"),
        )),
        None => Ok(()),
    }
}

/// Why a field cannot hold an amount; `None` for one with more digits than are counted.
fn refusal(object: &Writable, field: &str, amount: Option<Decimal>) -> Option<String> {
    let limits = object.limits(field)?;
    let whole = limits.form.whole_digits()?;
    let fits = amount.is_some_and(|amount| amount.has_whole_digits(whole));
    (!fits).then(|| {
        let (object, name) = (&object.object, &limits.name);
        format!("is too large: {object}.{name} takes {whole} digits before the point")
    })
}
