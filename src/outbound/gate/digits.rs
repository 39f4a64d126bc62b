//! How many digits amounts may have as long as the org's fields are not known: those of the order's currency. Pure.

use super::Names;
use crate::model::order::decimal::{Decimal, minor_digits};
use crate::model::order::parse::Invalid;
use crate::model::write::Write;
use crate::outbound::limits::too_fine;
use crate::outbound::record::Place;

/// Refuses an amount that was sent with more digits than the currency has. Of a write without a currency nothing is known.
pub(super) fn check(write: &Write, names: &Names) -> Result<(), Invalid> {
    let Write::Order(order) = write else { return Ok(()) };
    let Some(currency) = &order.currency else {
        return Ok(());
    };
    let mut amounts: Vec<(Place, &str, Decimal)> = Vec::new();
    let mut add = |place, member, amount: Option<Decimal>| {
        amounts.extend(amount.map(|amount| (place, member, amount)));
    };
    for (index, line) in order.lines.iter().enumerate() {
        let stated = Some(line.unit_price).filter(|_| !names.is_book_price(index));
        add(Place::Line(index), "unit_price", stated);
        add(Place::Line(index), "tax", line.tax);
        add(Place::Line(index), "discount", line.discount);
    }
    add(Place::Write, "tax", order.tax);
    let shipment = order.shipment.as_ref();
    add(
        Place::Write,
        "shipping.amount",
        shipment.map(|shipment| shipment.amount),
    );
    for (index, saving) in order.savings.iter().enumerate() {
        add(Place::Discount(index), "amount", Some(saving.amount));
    }
    for (index, payment) in order.payments.iter().enumerate() {
        add(Place::Payment(index), "amount", payment.amount);
    }
    let digits = minor_digits(currency);
    for (place, member, amount) in amounts {
        if let Some(refusal) = too_fine(amount.scale(), digits, currency) {
            return Err(Invalid::new(names.path(place, member), refusal));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::order::{Line, Payment, Placed, Saving, Shipment};

    fn amount(text: &str) -> Option<Decimal> {
        Decimal::parse(text)
    }

    type Change = fn(&mut Placed, Decimal);

    fn refused(currency: &str, change: impl FnOnce(&mut Placed)) -> String {
        let mut order = Placed {
            currency: Some(currency.to_owned()),
            lines: vec![Line::default()],
            ..Placed::default()
        };
        change(&mut order);
        let names = Names::kept(crate::model::write::Kind::Order);
        let checked = check(&Write::Order(order), &names);
        checked.err().map_or(String::new(), |invalid| {
            format!("{} {}", invalid.field, invalid.message)
        })
    }

    #[test]
    fn an_amount_has_the_digits_of_its_currency() {
        let price =
            |text: &'static str| move |order: &mut Placed| order.lines[0].unit_price = amount(text).unwrap();
        assert_eq!(refused("AUD", price("1.25")), "");
        assert_eq!(
            refused("AUD", price("1.255")),
            "lines[0].unit_price has 3 digits after the point: AUD takes 2"
        );
        assert_eq!(refused("KWD", price("1.255")), "");
        assert_eq!(
            refused("JPY", price("1.5")),
            "lines[0].unit_price has 1 digit after the point: JPY takes none"
        );
        let fine = || amount("0.001");
        let members: [(Change, &str); 6] = [
            (|order, fine| order.lines[0].tax = Some(fine), "lines[0].tax"),
            (
                |order, fine| order.lines[0].discount = Some(fine),
                "lines[0].discount",
            ),
            (|order, fine| order.tax = Some(fine), "tax"),
            (
                |order, fine| {
                    order.shipment = Some(Shipment {
                        amount: fine,
                        ..Shipment::default()
                    });
                },
                "shipping.amount",
            ),
            (
                |order, fine| {
                    order.savings = vec![Saving {
                        amount: fine,
                        ..Saving::default()
                    }];
                },
                "savings[0].amount",
            ),
            (
                |order, fine| {
                    order.payments = vec![Payment {
                        reference: "r".to_owned(),
                        amount: Some(fine),
                        method: None,
                        status: None,
                        paid_at: None,
                    }];
                },
                "payments[0].amount",
            ),
        ];
        for (change, member) in members {
            let told = refused("AUD", |order| change(order, fine().unwrap()));
            assert_eq!(
                told,
                format!("{member} has 3 digits after the point: AUD takes 2")
            );
        }
    }
}
