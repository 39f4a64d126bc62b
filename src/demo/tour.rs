//! The scripted tour: load, change, order, compare; then a report that says whether it all held.
//!
//! Waits are for states, with limits that only a fault reaches. What is compared at the end is the org's own
//! answer with what a storefront is given, value by value.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use crate::cli::{DemoArgs, Exit};
use crate::demo::activity::{entry_of, sample_order};
use crate::demo::org::OrgClient;
use crate::demo::report::Report;
use crate::demo::shop::Shop;
use crate::model::clock::{format_datetime, parse_datetime};

const LOAD_LIMIT: Duration = Duration::from_secs(300);
const SEEN_LIMIT: Duration = Duration::from_secs(10);
const ORDERS_LIMIT: Duration = Duration::from_secs(60);
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// Runs the tour and prints its report.
pub async fn run(args: &DemoArgs, org: &OrgClient, shop: &Shop) -> anyhow::Result<Exit> {
    let mut report = Report {
        visible_millis_max: args.visible_within_ms,
        ..Report::default()
    };
    let objects = loaded(shop, &mut report).await?;
    println!(
        "loaded {} rows of {} objects",
        report.rows_loaded, report.objects_loaded
    );
    change_prices(args.changes, org, shop, &mut report).await?;
    println!("changed {} prices", args.changes);
    let placed = place_orders(args.orders, shop, &mut report).await?;
    println!("placed {} orders, each twice", placed.len());
    find_orders(&placed, org, &mut report).await?;
    compare(&objects, org, shop, &mut report).await?;
    println!("\n{report}");
    let broken = report.broken();
    for sentence in &broken {
        println!("NOT AS EXPECTED: {sentence}");
    }
    println!(
        "{}",
        if broken.is_empty() {
            "every expectation held"
        } else {
            "the tour failed"
        }
    );
    Ok(if broken.is_empty() { Exit::Ok } else { Exit::Failed })
}

/// Waits until every object is live; gives their names.
async fn loaded(shop: &Shop, report: &mut Report) -> anyhow::Result<Vec<String>> {
    let started = Instant::now();
    loop {
        let status = shop.status().await.unwrap_or_default();
        let objects = status["objects"].as_array().cloned().unwrap_or_default();
        // Complete once what changed during the loads was read too: orders are taken from then on.
        let is_complete = status["state"] != "initializing";
        if is_complete && !objects.is_empty() && objects.iter().all(|object| object["state"] == "live") {
            report.objects_loaded = objects.len() as u64;
            report.rows_loaded = objects.iter().filter_map(|object| object["rows"].as_u64()).sum();
            let name = |object: &Value| object["object"].as_str().map(str::to_owned);
            return Ok(objects.iter().filter_map(name).collect());
        }
        if started.elapsed() > LOAD_LIMIT {
            bail!(
                "the first load did not end within {} s: {status}",
                LOAD_LIMIT.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn change_prices(
    count: usize,
    org: &OrgClient,
    shop: &Shop,
    report: &mut Report,
) -> anyhow::Result<()> {
    let stores = shop.stores().await?;
    for number in 0..count {
        let store = stores[number % stores.len()]["id"]
            .as_str()
            .context("a store has no id")?;
        let products = shop.products(store).await?;
        let priced: Vec<_> = products
            .iter()
            .filter(|product| product.price.is_some())
            .collect();
        let product = priced
            .get(number % priced.len().max(1))
            .context("the store sells nothing")?;
        let currency = product.price.as_ref().map_or("", |(_, currency)| currency);
        let entry = entry_of(org, &stores, store, &product.id, currency).await?;
        let price = format!("{}.{:02}", 1_000 + number, number % 100);
        let amount: f64 = price.parse()?;
        org.update(
            "PricebookEntry",
            &entry,
            &json!({"UnitPrice": amount, "s_c__Sale_Price__c": null}),
        )
        .await?;
        let answered = Instant::now();
        if seen(shop, store, &product.id, &price, answered).await? {
            report
                .visible_millis
                .push(answered.elapsed().as_secs_f64() * 1_000.0);
        } else {
            report.changes_unseen += 1;
        }
    }
    Ok(())
}

/// Asks until a storefront is given the price.
async fn seen(shop: &Shop, store: &str, product: &str, price: &str, since: Instant) -> anyhow::Result<bool> {
    while since.elapsed() < SEEN_LIMIT {
        let product = shop.product(store, product).await?;
        if product.price.is_some_and(|(amount, _)| amount == price) {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(false)
}

/// An order that was placed: its key, and how many of which product.
type Placed = BTreeMap<String, BTreeMap<String, u32>>;

/// Places each order twice, as a shopper does who presses the button again.
async fn place_orders(count: usize, shop: &Shop, report: &mut Report) -> anyhow::Result<Placed> {
    let stores = shop.stores().await?;
    let mut placed = Placed::new();
    let mut where_placed = Vec::new();
    for number in 0..count {
        let store = stores[number % stores.len()]["id"]
            .as_str()
            .context("a store has no id")?
            .to_owned();
        let products = shop.products(&store).await?;
        let priced: Vec<_> = products
            .iter()
            .filter(|product| product.is_free_to_order)
            .collect();
        let lines: Vec<(&str, u32)> = (0..=number % 3)
            .map(|line| {
                (
                    priced[(number + line) % priced.len()].id.as_str(),
                    line as u32 + 1,
                )
            })
            .collect();
        let currency = priced[0].price.as_ref().map_or("", |(_, currency)| currency);
        let key = format!("TOUR-{number:04}-{:08X}", fastrand::u32(..));
        let order = sample_order(&key, currency, &lines);
        for _ in 0..2 {
            let (status, answer) = shop.place(&store, &order).await?;
            if status != 202 {
                bail!("the order {key} was answered {status}: {}", answer["detail"]);
            }
        }
        placed.insert(
            key.clone(),
            lines
                .iter()
                .map(|&(id, quantity)| (id.to_owned(), quantity))
                .collect(),
        );
        where_placed.push((store, key));
    }
    report.orders_placed = placed.len() as u64;
    let started = Instant::now();
    for (store, key) in where_placed {
        loop {
            let order = shop.order(&store, &key).await?;
            if order["state"] == "confirmed" {
                report.orders_confirmed += 1;
                break;
            }
            if started.elapsed() > ORDERS_LIMIT {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(placed)
}

/// Counts what became of the orders, by the org's own account.
async fn find_orders(placed: &Placed, org: &OrgClient, report: &mut Report) -> anyhow::Result<()> {
    for (key, items) in placed {
        let orders = org
            .query(&format!("SELECT Id FROM Order WHERE External_ID__c = '{key}'"))
            .await?;
        report.orders_in_org += u64::from(!orders.is_empty());
        report.duplicates += orders.len().saturating_sub(1) as u64;
        let Some(id) = orders.first().and_then(|order| order["Id"].as_str()) else {
            continue;
        };
        let found = org
            .query(&format!(
                "SELECT Product2Id, Quantity FROM OrderItem WHERE OrderId = '{id}'"
            ))
            .await?;
        let mut in_org: Vec<(String, f64)> = found
            .iter()
            .map(|item| {
                (
                    item["Product2Id"].as_str().unwrap_or_default().to_owned(),
                    item["Quantity"].as_f64().unwrap_or_default(),
                )
            })
            .collect();
        let mut expected: Vec<(String, f64)> = items
            .iter()
            .map(|(id, quantity)| (id.clone(), f64::from(*quantity)))
            .collect();
        in_org.sort_by(|a, b| a.0.cmp(&b.0));
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        report.orders_altered += u64::from(in_org != expected);
    }
    Ok(())
}

/// Compares every row, until nothing differs or the time for objects that are polled has passed.
async fn compare(
    objects: &[String],
    org: &OrgClient,
    shop: &Shop,
    report: &mut Report,
) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        (report.drift, report.rows_compared) = (0, 0);
        for object in objects {
            let (drift, rows) = compare_object(object, org, shop)
                .await
                .with_context(|| format!("compare {object}"))?;
            report.drift += drift;
            report.rows_compared += rows;
        }
        if report.drift == 0 || started.elapsed() > SETTLE_LIMIT {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// How many rows of an object differ, of how many.
async fn compare_object(object: &str, org: &OrgClient, shop: &Shop) -> anyhow::Result<(u64, u64)> {
    let cached: BTreeMap<String, Map<String, Value>> = by_id(shop.rows(object).await?, "id");
    let columns: BTreeSet<&String> = cached
        .values()
        .flat_map(Map::keys)
        .filter(|column| !column.starts_with('_'))
        .collect();
    let select = if columns.is_empty() {
        "Id".to_owned()
    } else {
        columns
            .iter()
            .map(|column| column.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let rows = org.query(&format!("SELECT {select} FROM {object}")).await?;
    let in_org = by_id(rows.into_iter().map(lower_keys).collect(), "id");
    let ids: BTreeSet<&String> = cached.keys().chain(in_org.keys()).collect();
    let differs = |id: &&&String| match (cached.get(**id), in_org.get(**id)) {
        (Some(cached), Some(in_org)) => columns.iter().any(|column| {
            !same(
                cached.get(*column).unwrap_or(&Value::Null),
                in_org.get(*column).unwrap_or(&Value::Null),
            )
        }),
        _ => true,
    };
    let drift = ids.iter().filter(differs).count() as u64;
    Ok((drift, ids.len() as u64))
}

fn by_id(rows: Vec<Map<String, Value>>, key: &str) -> BTreeMap<String, Map<String, Value>> {
    rows.into_iter()
        .filter_map(|row| Some((row.get(key)?.as_str()?.to_owned(), row)))
        .collect()
}

fn lower_keys(row: Map<String, Value>) -> Map<String, Value> {
    row.into_iter()
        .map(|(key, value)| (key.to_ascii_lowercase(), value))
        .collect()
}

/// Whether a cached value is what the org says, given that SQLite has no booleans and that REST writes the
/// offset of a datetime otherwise.
fn same(cached: &Value, in_org: &Value) -> bool {
    match (cached, in_org) {
        (Value::Number(cached), Value::Bool(in_org)) => cached.as_i64() == Some(i64::from(*in_org)),
        (Value::Number(cached), Value::Number(in_org)) => cached.as_f64() == in_org.as_f64(),
        (Value::String(cached), Value::String(in_org)) if cached != in_org => {
            parse_datetime(in_org).is_some_and(|instant| format_datetime(instant) == *cached)
        }
        (cached, in_org) => cached == in_org,
    }
}
