//! The day of an order, as the org has it.

use serde_json::{Value, json};

use super::{accepted, refused_field};
use crate::world::{Sandbox, a_store, eventually, order};

async fn effective_date(org: &Sandbox, key: &str) -> String {
    let soql = format!("SELECT EffectiveDate FROM Order WHERE External_ID__c = '{key}'");
    eventually("the order is in the org", async || {
        let rows = org.query(&soql).await;
        rows.first()?["EffectiveDate"].as_str().map(str::to_owned)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_dated_by_its_store_s_calendar() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let mut days = Vec::new();
    // 26 hours apart: wherever it is what time, these two have different days.
    for (key, zone) in [("DAY-W", "Etc/GMT+12"), ("DAY-E", "Pacific/Kiritimati")] {
        org.update("s_c__Store__c", &store, json!({"s_c__Default_Timezone__c": zone}))
            .await;
        eventually("the store has moved", async || {
            let (_, shown) = daemon.get(&format!("/v1/stores/{store}")).await?;
            shown.to_string().contains(zone).then_some(())
        })
        .await;
        accepted(&daemon, &store, &order(key, &currency, &[(&products[0], 1)])).await;
        days.push(effective_date(&org, key).await);
    }
    assert!(days[0] < days[1], "{days:?}");
    // A day that the storefront sends is taken as it is, unless it is far away.
    let mut sent = order("DAY-S", &currency, &[(&products[0], 1)]);
    sent["order_date"] = Value::String(days[0].clone());
    accepted(&daemon, &store, &sent).await;
    assert_eq!(effective_date(&org, "DAY-S").await, days[0]);
    sent["external_id"] = json!("DAY-F");
    sent["order_date"] = json!("2020-01-01");
    assert_eq!(refused_field(&daemon, &store, &sent).await, "order_date");
}
