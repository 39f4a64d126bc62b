//! What a write calls its members: as it was posted, or as it is kept. Pure.

use crate::model::order::Order;
use crate::model::write::Kind;
use crate::model::write::kinds;
use crate::outbound::record::Place;

/// The form of a write that a refusal speaks of.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    kind: Kind,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Posted,
    /// Of an order the lines are its items, then shipping where it has any, then discounts.
    PostedOrder {
        items: usize,
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
                items: order.items.len(),
                has_shipping: order.shipping.is_some(),
            },
        }
    }

    pub fn kept(kind: Kind) -> Self {
        Self {
            kind,
            form: Form::Kept,
        }
    }

    /// Whether a line is an item, and no charge or discount.
    pub fn is_item(&self, line: usize) -> bool {
        match self.form {
            Form::PostedOrder { items, .. } => line < items,
            Form::Posted | Form::Kept => true,
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
            Place::LineFields(index) => self.line(index, &format!("fields.{member}")),
        }
    }

    fn line(&self, line: usize, member: &str) -> String {
        let Form::PostedOrder { items, has_shipping } = self.form else {
            return format!("lines[{line}].{member}");
        };
        let Some(charge) = line.checked_sub(items) else {
            return format!("items[{line}].{member}");
        };
        let member = match member {
            "unit_price" => "amount",
            "description" => "label",
            member => member,
        };
        match charge.checked_sub(usize::from(has_shipping)) {
            None => format!("shipping.{member}"),
            Some(discount) => format!("discounts[{discount}].{member}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_called_as_they_were_sent() {
        let order = Names {
            kind: Kind::Order,
            form: Form::PostedOrder {
                items: 2,
                has_shipping: true,
            },
        };
        let posted = Names::posted;
        for (names, place, member, expected) in [
            (order, Place::Write, "currency", "currency"),
            (order, Place::Customer, "email", "customer.email"),
            (order, Place::Shipping, "street", "shipping_address.street"),
            (order, Place::Line(1), "unit_price", "items[1].unit_price"),
            (order, Place::LineFields(1), "Gift__c", "items[1].fields.Gift__c"),
            (order, Place::Line(2), "unit_price", "shipping.amount"),
            (order, Place::Line(3), "description", "discounts[0].label"),
            (order, Place::Payment(1), "reference", "payments[1].reference"),
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
        assert!(order.is_item(1) && !order.is_item(2));
    }
}
