//! What a write calls its members: as it was posted, or as it is kept. Pure.

use crate::model::order::{Order, Placed};
use crate::model::write::Kind;
use crate::model::write::kinds;
use crate::outbound::record::Place;

/// The form of a write that a refusal speaks of.
#[derive(Clone, Debug)]
pub struct Names {
    kind: Kind,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Posted,
    /// Of an order the lines are its items, then shipping where a product stands for it, then discounts.
    PostedOrder {
        /// Of each item, whether it states a price.
        priced: Vec<bool>,
        has_shipping: bool,
    },
    Kept,
}

impl Names {
    pub fn posted(kind: Kind) -> Self {
        Self {
            kind,
            form: Form::Posted,
        }
    }

    pub fn posted_order(order: &Order) -> Self {
        Self {
            kind: Kind::Order,
            form: Form::PostedOrder {
                priced: order.items.iter().map(|item| item.unit_price.is_some()).collect(),
                has_shipping: order.shipping.is_some(),
            },
        }
    }

    /// The same of the order as it will be sent, where shipping and discounts may be no lines.
    pub fn with_lines_of(mut self, placed: &Placed) -> Self {
        if let Form::PostedOrder { priced, has_shipping } = &mut self.form {
            let discounts = placed.savings.iter().filter(|saving| saving.is_line).count();
            *has_shipping &= placed.lines.len() > priced.len() + discounts;
        }
        self
    }

    pub fn kept(kind: Kind) -> Self {
        Self {
            kind,
            form: Form::Kept,
        }
    }

    /// Whether a line is an item, and no charge or discount.
    pub fn is_item(&self, line: usize) -> bool {
        match &self.form {
            Form::PostedOrder { priced, .. } => line < priced.len(),
            Form::Posted | Form::Kept => true,
        }
    }

    /// Whether the price of a line is the price book's, and was not sent.
    pub fn is_book_price(&self, line: usize) -> bool {
        match &self.form {
            Form::PostedOrder { priced, .. } => priced.get(line) == Some(&false),
            Form::Posted | Form::Kept => false,
        }
    }

    /// What the list of the lines is called.
    pub fn lines(&self) -> &'static str {
        match &self.form {
            Form::PostedOrder { .. } => "items",
            Form::Posted | Form::Kept => "lines",
        }
    }

    /// `items[2].quantity`
    pub fn path(&self, place: Place, member: &str) -> String {
        let is_kept = matches!(self.form, Form::Kept);
        let spec = kinds::spec(self.kind);
        match place {
            Place::Write => member.to_owned(),
            Place::Fields => format!("fields.{member}"),
            Place::Values if is_kept => format!("values.{member}"),
            Place::Values if self.kind == Kind::OrderUpdate => format!("cancelled.{member}"),
            Place::Values => member.to_owned(),
            Place::Customer if self.kind == Kind::Customer && !is_kept => member.to_owned(),
            Place::Customer => format!("customer.{member}"),
            Place::Shipping if !is_kept && spec.is_some_and(|spec| spec.address.is_some()) => {
                format!("address.{member}")
            }
            Place::Shipping => format!("shipping_address.{member}"),
            Place::Billing => format!("billing_address.{member}"),
            Place::Payment(index) if self.kind == Kind::Order => format!("payments[{index}].{member}"),
            Place::Payment(_) => format!("payment.{member}"),
            Place::Answer(index) => format!("answers[{index}].{member}"),
            Place::Line(index) => self.line(index, member),
            Place::Discount(index) if is_kept => format!("savings[{index}].{member}"),
            Place::Discount(index) => format!("discounts[{index}].{member}"),
            Place::LineFields(index) => self.line(index, &format!("fields.{member}")),
        }
    }

    fn line(&self, line: usize, member: &str) -> String {
        let Form::PostedOrder { priced, has_shipping } = &self.form else {
            return format!("lines[{line}].{member}");
        };
        let Some(charge) = line.checked_sub(priced.len()) else {
            return format!("items[{line}].{member}");
        };
        let member = match member {
            "unit_price" => "amount",
            "description" => "label",
            member => member,
        };
        match charge.checked_sub(usize::from(*has_shipping)) {
            None => format!("shipping.{member}"),
            Some(discount) => format!("discounts[{discount}].{member}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::order::{Line, Saving};

    /// Of two items, the first at a price of its own, with shipping.
    fn an_order() -> Names {
        Names {
            kind: Kind::Order,
            form: Form::PostedOrder {
                priced: vec![true, false],
                has_shipping: true,
            },
        }
    }

    #[test]
    fn members_of_an_order_are_called_as_they_were_sent() {
        let order = an_order();
        for (place, member, expected) in [
            (Place::Write, "currency", "currency"),
            (Place::Customer, "email", "customer.email"),
            (Place::Shipping, "street", "shipping_address.street"),
            (Place::Line(1), "unit_price", "items[1].unit_price"),
            (Place::LineFields(1), "Gift__c", "items[1].fields.Gift__c"),
            (Place::Line(2), "unit_price", "shipping.amount"),
            (Place::Line(3), "description", "discounts[0].label"),
            (Place::Discount(1), "amount", "discounts[1].amount"),
            (Place::Payment(1), "reference", "payments[1].reference"),
        ] {
            assert_eq!(order.path(place, member), expected, "{place:?}");
        }
        assert!(order.is_item(1) && !order.is_item(2));
        let kept = Names::kept(Kind::Order);
        assert_eq!(kept.path(Place::Discount(0), "amount"), "savings[0].amount");
    }

    #[test]
    fn members_are_called_as_they_were_sent() {
        let posted = Names::posted;
        for (names, place, member, expected) in [
            (posted(Kind::Customer), Place::Customer, "phone", "phone"),
            (posted(Kind::Customer), Place::Values, "birthdate", "birthdate"),
            (posted(Kind::Case), Place::Customer, "phone", "customer.phone"),
            (posted(Kind::Lead), Place::Shipping, "city", "address.city"),
            (
                posted(Kind::OrderUpdate),
                Place::Values,
                "reason",
                "cancelled.reason",
            ),
            (
                posted(Kind::OrderUpdate),
                Place::Payment(0),
                "method",
                "payment.method",
            ),
            (
                posted(Kind::FormSubmission),
                Place::Answer(3),
                "answer",
                "answers[3].answer",
            ),
            (
                Names::kept(Kind::Order),
                Place::Line(2),
                "quantity",
                "lines[2].quantity",
            ),
            (
                Names::kept(Kind::Customer),
                Place::Customer,
                "phone",
                "customer.phone",
            ),
            (
                Names::kept(Kind::Lead),
                Place::Values,
                "company",
                "values.company",
            ),
            (
                Names::kept(Kind::Lead),
                Place::Shipping,
                "city",
                "shipping_address.city",
            ),
        ] {
            assert_eq!(names.path(place, member), expected, "{names:?} {place:?}");
        }
    }

    #[test]
    fn lines_are_items_then_what_products_stand_for() {
        let order = an_order();
        assert!(order.is_book_price(1) && !order.is_book_price(0) && !order.is_book_price(2));
        // Shipping that is a record of its own is no line.
        let saving = |is_line| Saving {
            is_line,
            ..Saving::default()
        };
        let in_records = Placed {
            lines: vec![Line::default(); 3],
            savings: vec![saving(true), saving(false)],
            ..Placed::default()
        };
        for (names, member) in [
            (order.clone(), "shipping.amount"),
            (order.with_lines_of(&in_records), "discounts[0].amount"),
        ] {
            assert_eq!(names.path(Place::Line(2), "unit_price"), member);
        }
    }
}
