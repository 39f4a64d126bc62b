//! What keeps the demo alive: prices that change in the org, and orders that come in from the web.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::demo::org::OrgClient;
use crate::demo::shop::Shop;

/// Every tenth change brings an order with it.
const CHANGE_EVERY: Duration = Duration::from_secs(1);

/// Goes on until `stop`. Failures are shown and tried again: the org or the daemon may just be starting.
pub async fn run(org: &OrgClient, shop: &Shop, stop: CancellationToken) -> anyhow::Result<()> {
    let mut changes: u64 = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(CHANGE_EVERY) => {}
        }
        changes += 1;
        if let Err(error) = change(org, shop, changes).await {
            tracing::info!("the demo's shoppers wait: {error:#}");
        }
    }
}

async fn change(org: &OrgClient, shop: &Shop, number: u64) -> anyhow::Result<()> {
    let stores = shop.stores().await?;
    let Some(store) = fastrand::choice(&stores).and_then(|store| store["id"].as_str()) else {
        anyhow::bail!("no store is loaded yet");
    };
    let products = shop.products(store).await?;
    let priced: Vec<_> = products
        .iter()
        .filter(|product| product.price.is_some())
        .collect();
    let Some(product) = fastrand::choice(priced) else {
        anyhow::bail!("no product has a price yet");
    };
    let Some((amount, currency)) = &product.price else {
        return Ok(());
    };
    let entry = entry_of(org, &stores, store, &product.id, currency).await?;
    let price = f64::from(fastrand::u32(500..50_000)) / 100.0;
    org.update("PricebookEntry", &entry, &json!({"UnitPrice": price}))
        .await?;
    println!(
        "the org changed {} from {amount} to {price:.2} {currency}",
        product.name
    );
    let free: Vec<_> = products
        .iter()
        .filter(|product| product.is_free_to_order)
        .collect();
    if let (true, Some(product)) = (number.is_multiple_of(10), fastrand::choice(free)) {
        let order = sample_order(
            &format!("DEMO-{:016X}", fastrand::u64(..)),
            currency,
            &[(&product.id, 1)],
        );
        let (status, answer) = shop.place(store, &order).await?;
        println!(
            "a shopper ordered {}: {status}, {}",
            product.name, answer["state"]
        );
    }
    Ok(())
}

/// The entry of a product in its store's price book.
pub async fn entry_of(
    org: &OrgClient,
    stores: &[Value],
    store: &str,
    product_id: &str,
    currency: &str,
) -> anyhow::Result<String> {
    let book = stores
        .iter()
        .find(|candidate| candidate["id"] == store)
        .and_then(|found| found["pricebook_id"].as_str());
    let book = book.ok_or_else(|| anyhow::anyhow!("the store has no price book"))?;
    let soql = format!(
        "SELECT Id FROM PricebookEntry WHERE Pricebook2Id = '{book}' AND Product2Id = '{product_id}' \
         AND CurrencyIsoCode = '{currency}' AND IsActive = true"
    );
    let rows = org.query(&soql).await?;
    let id = rows.first().and_then(|row| row["Id"].as_str());
    id.map(str::to_owned)
        .ok_or_else(|| anyhow::anyhow!("the product has no entry in the price book"))
}

/// An order of a guest, at the prices of the store.
pub fn sample_order(external_id: &str, currency: &str, items: &[(&str, u32)]) -> Value {
    let items: Vec<Value> = items
        .iter()
        .map(|(product_id, quantity)| json!({"product_id": product_id, "quantity": quantity}))
        .collect();
    json!({
        "external_id": external_id,
        "currency": currency,
        "customer": {
            "external_id": format!("C-{external_id}"),
            "email": format!("{}@example.com", external_id.to_lowercase()),
            "first_name": "Ana", "last_name": "Lee"
        },
        "shipping_address": {
            "street": "1 High St", "city": "Hobart", "state": "TAS", "postal_code": "7000", "country": "AU"
        },
        "items": items,
        "fields": {},
    })
}
