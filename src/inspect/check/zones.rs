//! Whether the time zones of stores are known: an order's day, and what a promotion's day is, follow them.

use serde_json::Value;

use crate::config;
use crate::inspect::check::reach::World;
use crate::inspect::check::{Area, Report};
use crate::model::clock::is_known_zone;
use crate::salesforce::rest::Scope;

const REMEDY: &str = "give the store the IANA name of its time zone, such as Europe/Berlin; until then its days are those of UTC";

/// Stores of the org and of the configuration whose time zone this machine does not know. An org without stores has none.
pub(super) async fn stores(report: &mut Report, world: &World, sync: &config::Sync) {
    let mut zones: Vec<(String, String)> = sync
        .stores
        .iter()
        .filter_map(|store| Some((store.code.clone(), store.timezone.clone()?)))
        .collect();
    let soql =
        "SELECT Id, Name, s_c__Default_Timezone__c FROM s_c__Store__c WHERE s_c__Default_Timezone__c != null";
    if let Ok(page) = world.org.query(soql, Scope::Live).await {
        zones.extend(page.records.iter().filter_map(|row| {
            let text = |field: &str| row.get(field).and_then(Value::as_str).map(str::to_owned);
            Some((
                text("Name").or_else(|| text("Id"))?,
                text("s_c__Default_Timezone__c")?,
            ))
        }));
    }
    for (store, zone) in zones.iter().filter(|(_, zone)| !is_known_zone(zone)) {
        let told = format!("its time zone \"{zone}\" is not known to this machine");
        report.warn(Area::Objects, &format!("store {store}"), &told, REMEDY);
    }
}
