//! A shopper for a simulated life: places orders whatever happens, and in the end each is in the org once.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::json;

use super::items;
use crate::privacy::{MAIL, NAME};
use crate::world::{Daemon, Sandbox, eventually};

/// The object that shoppers need besides the standard profile's. A store without a catalogue shows nothing.
pub const STORES: (&str, &str) = ("STORESYNC__SYNC__OBJECTS", "s_c__Store__c");
pub const UNSHOWN: (&str, &str) = ("STORESYNC__ORDERS__RULES__HIDDEN", "take");

/// What a shopper ordered.
#[derive(Default)]
pub struct Shopper {
    store: String,
    /// Products with prices in the store's book.
    products: Vec<String>,
    placed: BTreeMap<String, Vec<(String, f64, f64)>>,
}

impl Shopper {
    pub async fn enter(org: &Sandbox) -> Self {
        let stores = org
            .query("SELECT Id, s_c__Pricebook_Id__c, s_c__Currency__c FROM s_c__Store__c WHERE s_c__Pricebook_Id__c != null LIMIT 1")
            .await;
        let text = |field: &str| stores[0][field].as_str().unwrap();
        let (book, currency) = (text("s_c__Pricebook_Id__c"), text("s_c__Currency__c"));
        let soql = format!(
            "SELECT Product2Id FROM PricebookEntry WHERE Pricebook2Id = '{book}' AND CurrencyIsoCode = '{currency}' AND IsActive = true \
             AND s_c__Restricted__c = false AND s_c__Hide_Price__c = false AND s_c__Bundle_Only__c = false \
             AND s_c__Order_Quantity_Maximum__c = null AND Product2.s_c__Is_Master__c = false \
             AND Product2.s_c__Available_On__c = null AND Product2.s_c__Discontinue_On__c = null ORDER BY Id"
        );
        let entries = org.query(&soql).await;
        Self {
            store: text("Id").to_owned(),
            products: entries
                .iter()
                .map(|entry| entry["Product2Id"].as_str().unwrap().to_owned())
                .collect(),
            placed: BTreeMap::new(),
        }
    }

    /// Places an order, while the org may misbehave; gives what was done, for a diary.
    pub async fn order(&mut self, random: &mut Rng, org: &Sandbox, daemon: &Daemon, step: usize) -> String {
        let key = format!("SIM-{step}");
        if random.bool() {
            let faults = [
                json!({"status": 503}),
                json!("drop_before"),
                json!("drop_after_commit"),
                json!("drop_mid_body"),
            ];
            let fault = &faults[random.usize(..faults.len())];
            let rule =
                json!({"path": "/composite", "method": "POST", "times": random.u32(1..3), "fault": fault});
            org.fault(rule).await;
        }
        let most = [1, 3, 40][random.usize(..3)];
        let lines = random.usize(1..=most);
        let lines: Vec<(String, f64, f64)> = (0..lines)
            .map(|line| {
                let product = self.products[random.usize(..self.products.len())].clone();
                (product, f64::from(random.u32(1..9)), line as f64 + 0.25)
            })
            .collect();
        let posted: Vec<_> = lines
            .iter()
            .map(|(product, quantity, price)| json!({"product_id": product, "quantity": quantity, "unit_price": price.to_string()}))
            .collect();
        let customer =
            json!({"external_id": format!("SIM-C-{}", random.u32(..3)), "last_name": NAME, "email": MAIL});
        let order = json!({"external_id": key, "customer": customer, "items": posted});
        // A shopper who is not answered presses the button again.
        eventually("the order is accepted", async || {
            let (status, answer) = daemon.place(&self.store, &order).await?;
            assert!(matches!(status, 202 | 503), "{status} {answer}");
            (status == 202).then_some(())
        })
        .await;
        self.placed.insert(key.clone(), lines);
        format!("order {key}")
    }

    /// Every order that was placed is in the org, once and as it was placed.
    pub async fn has_all(&mut self, org: &Sandbox, daemon: &Daemon, diary: &str) {
        for (key, lines) in &mut self.placed {
            let path = format!("/v1/stores/{}/orders/{key}", self.store);
            let told = daemon
                .until(&path, &["sent", "confirmed", "needs_attention"])
                .await;
            assert_ne!(told["state"], "needs_attention", "{told}\n{diary}");
            lines.sort_by(|one, other| one.partial_cmp(other).unwrap());
            assert_eq!(&items(org, key).await, lines, "{key}\n{diary}");
        }
        let count = self.placed.len() as u64;
        assert_eq!(
            org.count("Order WHERE External_ID__c LIKE 'SIM-%'").await,
            count,
            "{diary}"
        );
    }
}
