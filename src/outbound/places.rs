//! Where the org has a place for what an order carries besides items, customer and addresses.
//!
//! A value has a place where the profile or the configuration names a field for it that the org lets its user set. What
//! has none is refused at the door with the key that names one: nothing that a storefront sends is silently dropped.

use std::sync::Arc;

use crate::model::order::parse::Invalid;
use crate::model::order::{self, Decimal, Order, Payment};
use crate::model::write::Entry;
use crate::outbound::gate::Known;
use crate::outbound::mapping::Mapping;

/// The places of one org.
#[derive(Clone)]
pub struct Places {
    mapping: Arc<Mapping>,
    known: Known,
}

impl Places {
    pub fn new(mapping: Arc<Mapping>, known: Known) -> Self {
        Self { mapping, known }
    }

    /// Whether a value of the mapping has a field that may be set, as far as the org is known.
    fn has(&self, name: &str) -> bool {
        let Some(field) = self.mapping.field(name) else {
            return false;
        };
        let kind = name.split('.').next().unwrap_or_default();
        let object = match kind {
            "order" => Some("Order"),
            "order_item" => Some("OrderItem"),
            kind => self.mapping.field(&format!("{kind}.object")),
        };
        let Some(object) = object else { return false };
        let Some(shape) = self.known.shape() else {
            return true;
        };
        shape
            .object(object)
            .is_ok_and(|object| object.createable(field).is_some())
    }

    /// Where shipping and discounts go that no product stands for.
    pub fn of_charges(&self) -> order::Places {
        order::Places {
            shipping_record: self.has("shipping.amount") && self.has("shipping.order"),
            shipping_location: self.has("shipping.location"),
            shipping_field: self.has("order.shipping"),
            discount_record: self.has("discount.amount") && self.has("discount.promotion"),
            discount_field: self.has("order.discount"),
            coupon_field: self.has("order.coupon"),
        }
    }

    /// Refuses what has no place.
    pub fn check(&self, order: &Order) -> Result<(), Invalid> {
        let no_field = |object: &str, name: &str| {
            format!(
                "has no place in this org: name a currency field of {object} for it as \"{name}\" under orders.map"
            )
        };
        // What is nothing needs no place.
        let is_some = |amount: Option<Decimal>| amount.is_some_and(|amount| amount != Decimal::ZERO);
        if is_some(order.tax) && !self.has("order.tax") {
            let message = format!(
                "{}, or give it of each item as items[0].tax",
                no_field("Order", "order.tax")
            );
            return Err(Invalid::new("tax", message));
        }
        for (index, item) in order.items.iter().enumerate() {
            for (member, given) in [("tax", is_some(item.tax)), ("discount", is_some(item.discount))] {
                let name = format!("order_item.{member}");
                if given && !self.has(&name) {
                    let message = no_field("OrderItem", &name);
                    return Err(Invalid::new(format!("items[{index}].{member}"), message));
                }
            }
        }
        let mut payments = order.payments.iter().enumerate();
        payments.try_for_each(|(index, payment)| {
            self.check_payment(payment, &format!("payments[{index}]"), index == 0)
        })
    }

    /// The same of any other write. Where its values go is told by the gate.
    pub fn check_entry(&self, entry: &Entry) -> Result<(), Invalid> {
        if !entry.answers.is_empty() && !self.has("form_answer.submission") {
            let message = "have no place in this org: name an object for answers as \"form_answer.object\", and its fields, under orders.map";
            return Err(Invalid::new("answers", message));
        }
        match &entry.payment {
            Some(payment) => self.check_payment(payment, "payment", true),
            None => Ok(()),
        }
    }

    /// `is_first`: the order has a field for one.
    fn check_payment(&self, payment: &Payment, path: &str, is_first: bool) -> Result<(), Invalid> {
        let has_records = self.has("payment.order");
        let given = [
            ("amount", payment.amount.is_some()),
            ("method", payment.method.is_some()),
            ("status", payment.status.is_some()),
            ("paid_at", payment.paid_at.is_some()),
        ];
        for (member, _) in given.iter().filter(|(_, given)| *given) {
            if !has_records {
                let message = "has no place in this org: name an object for payments as \"payment.object\", and its fields, under orders.map, or give the reference alone";
                return Err(Invalid::new(format!("{path}.{member}"), message));
            }
            if !self.has(&format!("payment.{member}")) {
                let message = format!(
                    "has no place in this org: name a field for it as \"payment.{member}\" under orders.map"
                );
                return Err(Invalid::new(format!("{path}.{member}"), message));
            }
        }
        let on_order = is_first && self.has("order.payment_reference");
        if !(on_order || has_records && self.has("payment.reference")) {
            let message = "has no place in this org: name an object for payments as \"payment.object\", and its fields, under orders.map";
            return Err(Invalid::new(path, message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Orders, Profile};
    use crate::model::order::parse;
    use crate::outbound::shape::Shape;
    use crate::salesforce::describe::{Describe, Field};
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    /// An org that lets its user set a tax of items and a note of orders.
    fn shape() -> Shape {
        let describe = |object: &str| Describe {
            name: object.to_owned(),
            label: object.to_owned(),
            key_prefix: None,
            queryable: true,
            createable: true,
            updateable: true,
            record_types: Vec::new(),
            fields: ["Key__c", "Note__c", "s_c__Tax_Amount__c"]
                .map(|name| Field {
                    name: name.to_owned(),
                    kind: "string".to_owned(),
                    length: 36,
                    external_id: name == "Key__c",
                    unique: name == "Key__c",
                    createable: true,
                    updateable: true,
                    nillable: true,
                    ..Field::default()
                })
                .into(),
        };
        let [order, account, contact, item] = ["Order", "Account", "Contact", "OrderItem"].map(describe);
        Shape::of(&order, &account, &contact, &item, Some("Key__c")).unwrap()
    }

    fn refused(profile: Profile, map: &str, described: bool, more: &Value) -> String {
        let map: BTreeMap<String, String> = map
            .split_once('=')
            .map(|(name, field)| (name.to_owned(), field.to_owned()))
            .into_iter()
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let known = Known::open(dir.path(), &Orders::default(), profile);
        if described {
            known.learn(&Arc::new(shape()));
        }
        let places = Places::new(Mapping::new(profile, &map).unwrap().into(), known);
        let mut posted = json!({"external_id": "A", "customer": {"last_name": "Lee"}, "items": [{"product_id": "p", "quantity": 1}]});
        for (name, value) in more.as_object().unwrap() {
            match name.strip_prefix("item.") {
                Some(name) => posted["items"][0][name] = value.clone(),
                None => posted[name] = value.clone(),
            }
        }
        let order = parse::order(&posted, None).unwrap();
        places
            .check(&order)
            .err()
            .map_or(String::new(), |invalid| invalid.field)
    }

    #[test]
    fn what_has_no_place_is_refused_and_what_has_one_is_not() {
        let (plain, sc) = (Profile::Standard, Profile::Storeconnect);
        let paid = json!({"payments": [{"reference": "r", "amount": "1"}]});
        let twice = json!({"payments": [{"reference": "r"}, {"reference": "s"}]});
        let (tax, line_tax) = (json!({"tax": "1"}), json!({"item.tax": "1"}));
        let saved = json!({"item.discount": "1"});
        for (profile, map, described, more, expected) in [
            (plain, "", false, &tax, "tax"),
            (
                plain,
                "",
                false,
                &json!({"tax": "0", "item.tax": "0.00", "item.discount": "0"}),
                "",
            ),
            (sc, "", false, &tax, "tax"),
            (plain, "order.tax=Tax__c", false, &tax, ""),
            (plain, "order.tax=Tax__c", true, &tax, "tax"),
            (plain, "order.tax=note__c", true, &tax, ""),
            (plain, "", false, &line_tax, "items[0].tax"),
            (sc, "", false, &line_tax, ""),
            (sc, "", true, &line_tax, ""),
            (sc, "", true, &saved, "items[0].discount"),
            (sc, "order_item.tax=", false, &line_tax, "items[0].tax"),
            (plain, "", false, &paid, "payments[0].amount"),
            (sc, "", false, &paid, ""),
            (plain, "", false, &twice, "payments[1]"),
            (sc, "", false, &twice, ""),
        ] {
            assert_eq!(
                refused(profile, map, described, more),
                expected,
                "{profile:?} {map} {more}"
            );
        }
    }
}
