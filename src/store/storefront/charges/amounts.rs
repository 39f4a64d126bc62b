//! Discounts take off no more than what they discount. Pure.

use crate::model::order::parse::Invalid;
use crate::model::order::{Decimal, Line, Order};
use crate::store::storefront::stores::Store;

/// Refuses a discount of an item above the item, and discounts of the order above the order. `items` are the lines of the
/// items, in their order. Amounts that are too large to be multiplied are the org's to judge.
pub(super) fn check(order: &Order, items: &[Line], store: &Store) -> Result<(), Invalid> {
    let currency = order.currency.as_deref().or(store.currency.as_deref());
    let shown = |amount: Decimal| amount.as_amount(currency.unwrap_or_default());
    // Prices that include tax include what a discount takes of it.
    let tax = |tax: Option<Decimal>| tax.filter(|_| !store.tax_inclusive).unwrap_or_default();
    let mut total = sum([
        tax(order.tax),
        order
            .shipping
            .as_ref()
            .map(|charge| charge.amount)
            .unwrap_or_default(),
    ]);
    for (index, line) in items.iter().enumerate() {
        let Some(price) = line.quantity.times(line.unit_price) else {
            return Ok(());
        };
        let price = sum([price, tax(line.tax)]);
        let discount = line.discount.unwrap_or_default();
        if discount > price {
            let message = format!("takes off more than the item comes to, which is {}", shown(price));
            return Err(Invalid::new(format!("items[{index}].discount"), message));
        }
        total = sum([total, price, discount.negated()]);
    }
    let mut taken = Decimal::ZERO;
    for (index, discount) in order.discounts.iter().enumerate() {
        taken = sum([taken, discount.amount]);
        if taken > total {
            let message = format!(
                "takes off more than the order comes to: the discounts come to {} and the order to {}",
                shown(taken),
                shown(total)
            );
            return Err(Invalid::new(format!("discounts[{index}].amount"), message));
        }
    }
    Ok(())
}

fn sum<const N: usize>(amounts: [Decimal; N]) -> Decimal {
    amounts.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::order::parse;
    use serde_json::{Value, json};

    /// An order for two of an item at 10 each: the member that is refused and what is said of it.
    fn refused(more: &Value, tax_inclusive: bool) -> String {
        let mut posted = json!({"external_id": "A", "currency": "AUD", "customer": {"last_name": "Lee"},
            "items": [{"product_id": "p", "quantity": 2}]});
        for (name, value) in more.as_object().unwrap() {
            match name.strip_prefix("item.") {
                Some(name) => posted["items"][0][name] = value.clone(),
                None => posted[name] = value.clone(),
            }
        }
        let order = parse::order(&posted, None).unwrap();
        let item = &order.items[0];
        let line = Line {
            quantity: item.quantity,
            unit_price: Decimal::parse("10").unwrap(),
            tax: item.tax,
            discount: item.discount,
            ..Line::default()
        };
        let store = Store {
            tax_inclusive,
            ..Store::default()
        };
        let checked = check(&order, &[line], &store);
        checked.err().map_or(String::new(), |invalid| {
            format!("{} {}", invalid.field, invalid.message)
        })
    }

    #[test]
    fn a_discount_takes_off_no_more_than_what_it_discounts() {
        let of_order = |discounts: &str, order: &str, index: usize| {
            format!(
                "discounts[{index}].amount takes off more than the order comes to: the discounts come to {discounts} and the order to {order}"
            )
        };
        let of_item = |price: &str| {
            format!("items[0].discount takes off more than the item comes to, which is {price}")
        };
        for (more, tax_inclusive, expected) in [
            (json!({"discounts": [{"amount": "20"}]}), false, String::new()),
            (
                json!({"discounts": [{"amount": "20.01"}]}),
                false,
                of_order("20.01", "20.00", 0),
            ),
            (
                json!({"discounts": [{"amount": "15"}, {"amount": "6"}]}),
                false,
                of_order("21.00", "20.00", 1),
            ),
            // What is free of charge to send, too.
            (
                json!({"discounts": [{"amount": "25"}], "shipping": {"amount": "5"}}),
                false,
                String::new(),
            ),
            (
                json!({"discounts": [{"amount": "26"}], "shipping": {"amount": "5"}}),
                false,
                of_order("26.00", "25.00", 0),
            ),
            (
                json!({"discounts": [{"amount": "22"}], "tax": "2"}),
                false,
                String::new(),
            ),
            (
                json!({"discounts": [{"amount": "22"}], "item.tax": "2"}),
                false,
                String::new(),
            ),
            (
                json!({"discounts": [{"amount": "22"}], "tax": "2"}),
                true,
                of_order("22.00", "20.00", 0),
            ),
            (json!({"item.discount": "20"}), false, String::new()),
            (json!({"item.discount": "20.5"}), false, of_item("20.00")),
            (
                json!({"item.discount": "5", "discounts": [{"amount": "16"}]}),
                false,
                of_order("16.00", "15.00", 0),
            ),
        ] {
            assert_eq!(refused(&more, tax_inclusive), expected, "{more}");
        }
    }
}
