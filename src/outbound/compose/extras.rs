//! What an order has besides items and payments: its shipment, and the use of promotions.
//!
//! These are records of their own where the mapping has objects for them, else fields of the order. They are made with the
//! order, all or none.

use serde_json::json;

use super::{Composer, RECORD};
use crate::model::order::{Decimal, Placed, Problem};
use crate::outbound::record::{Part, Place, Record, derived_key};

impl<'a> Composer<'a> {
    /// Sets what the order itself has fields for.
    pub(super) fn totals(&self, order: &Placed, record: &mut Record<'_>) -> Result<(), Problem> {
        let map = |name: &str| self.mapping.field(name);
        record
            .amount(map("order.tax"), order.tax)?
            .sent_as(Place::Write, "tax");
        if map("shipping.object").is_none() {
            let amount = order.shipment.as_ref().map(|shipment| shipment.amount);
            record
                .amount(map("order.shipping"), amount)?
                .sent_as(Place::Write, "shipping.amount");
        }
        let own = order.savings.iter().enumerate();
        let own = own.filter(|(_, saving)| !saving.is_line && saving.promotion_id.is_none());
        let saved: Vec<(usize, Decimal)> = own.map(|(index, saving)| (index, saving.amount)).collect();
        // The one with the most digits after the point stands for all: their sum has no more.
        if let Some((finest, _)) = saved.iter().max_by_key(|(_, amount)| amount.scale()) {
            let sum = saved.iter().map(|(_, amount)| *amount).sum();
            record
                .amount(map("order.discount"), Some(sum))?
                .sent_as(Place::Discount(*finest), "amount");
        }
        let coupons: Vec<&str> = order
            .savings
            .iter()
            .filter_map(|saving| saving.coupon.as_deref())
            .collect();
        let coupons = (!coupons.is_empty()).then(|| coupons.join(", "));
        record.insist(map("order.coupon"), coupons)?;
        Ok(())
    }

    /// The records of shipment and promotions.
    pub(super) fn extras(&self, order: &Placed) -> Result<Vec<Part<'a>>, Problem> {
        let mut parts: Vec<Part<'a>> = self.shipment(order)?.into_iter().collect();
        for (index, saving) in order.savings.iter().enumerate() {
            let (Some(object), Some(promotion)) =
                (self.mapping.field("discount.object"), &saving.promotion_id)
            else {
                continue;
            };
            let map = |name: &str| self.mapping.field(name);
            let suffix = format!("saving{}", index + 1);
            let mut record = self.extra(object, order, &suffix, "discount.order")?;
            record.insist(map("discount.promotion"), Some(promotion.clone()))?;
            record
                .amount(map("discount.amount"), Some(saving.amount))?
                .sent_as(Place::Discount(index), "amount");
            record
                .place(map("discount.account"), Some(self.account_id()))
                .place(
                    map("discount.contact"),
                    self.are_contacts().then(|| self.contact_id()),
                );
            parts.push(Part::of("POST", &self.url(record.shape), &suffix, record));
        }
        Ok(parts)
    }

    fn shipment(&self, order: &Placed) -> Result<Option<Part<'a>>, Problem> {
        let map = |name: &str| self.mapping.field(name);
        let (Some(object), Some(shipment)) = (map("shipping.object"), &order.shipment) else {
            return Ok(None);
        };
        let mut record = self.extra(object, order, "shipment", "shipping.order")?;
        record
            .insist(map("shipping.amount"), Some(shipment.amount.to_json_number()))?
            .sent_as(Place::Write, "shipping.amount")
            .insist(map("shipping.location"), shipment.stock_location_id.clone())?
            .sent_as(Place::Write, "shipping.stock_location_id")
            .place(map("shipping.label"), shipment.label.clone())
            .sent_as(Place::Write, "shipping.label");
        let url = self.url(record.shape);
        Ok(Some(Part::of("POST", &url, "shipment", record)))
    }

    /// A record that belongs to the order, under a key of its own where its object has one.
    fn extra(&self, object: &str, order: &Placed, suffix: &str, lookup: &str) -> Result<Record<'a>, Problem> {
        let shape = self.shape.object(object)?;
        let mut record = Record::new(shape);
        if let Some((field, key)) = derived_key(shape, &order.external_id, suffix) {
            record.require(&field, key);
        }
        record.insist(
            self.mapping.field(lookup),
            Some(json!(format!("@{{{RECORD}.id}}"))),
        )?;
        record.set("CurrencyIsoCode", order.currency.clone());
        Ok(record)
    }
}
