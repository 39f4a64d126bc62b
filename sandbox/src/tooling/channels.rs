//! Channels of change events, what is selected for each, and the managed subscriptions, as rows.

use serde_json::{Value as Json, json};

use super::super::avro::event_name;
use super::super::http::App;
use super::super::org::Records;
use super::super::schema::Catalog;
use super::{Value, Writer, text};

const STANDARD: &str = "ChangeEvents";

pub(super) fn rows(catalog: &Catalog, app: &App) -> Records {
    let mut records = Records::new(catalog);
    let channels = channels(app);
    if let Some(mut writer) = Writer::new(catalog, "PlatformEventChannel", &app.org, &mut records) {
        for (name, _) in &channels {
            let metadata = json!({ "channelType": "data", "label": name, "urls": null });
            let mut row = named(name, &metadata);
            row.push(("ChannelType", text("data")));
            writer.row(&row);
        }
    }
    if let Some(mut writer) = Writer::new(catalog, "PlatformEventChannelMember", &app.org, &mut records) {
        for (channel, members) in &channels {
            for (event, enriched) in members {
                let member = format!("{channel}_{}", event.replace("__", "_"));
                let metadata = json!({
                    "enrichedFields": enriched.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
                    "eventChannel": channel, "filterExpression": null, "selectedEntity": event, "urls": null,
                });
                let mut row = named(&member, &metadata);
                row.extend([("EventChannel", text(channel)), ("SelectedEntity", text(event))]);
                writer.row(&row);
            }
        }
    }
    if let Some(mut writer) = Writer::new(catalog, "ManagedEventSubscription", &app.org, &mut records) {
        for subscription in app.hub.managed.list() {
            let name = subscription["DeveloperName"].as_str().unwrap_or_default();
            let mut metadata = subscription["Metadata"].clone();
            metadata["label"] = Json::from(name);
            writer.row(&named(name, &metadata));
        }
    }
    records
}

fn named<'n>(name: &str, metadata: &Json) -> Vec<(&'n str, Option<Value>)> {
    vec![
        ("DeveloperName", text(name)),
        ("MasterLabel", text(name)),
        ("Language", text("en_US")),
        ("ManageableState", text("unmanaged")),
        ("FullName", text(name)),
        ("Metadata", text(metadata.to_string())),
    ]
}

/// An event's name, and the fields that its channel enriches it with.
type Member = (String, Vec<String>);

/// The standard channel and those that were set up, each with what is selected for it.
fn channels(app: &App) -> Vec<(String, Vec<Member>)> {
    let objects = app.org.catalog().objects();
    let selected = objects.iter().filter(|object| app.org.is_selected(object.index));
    let standard = selected.map(|object| (event_name(&object.name), Vec::new()));
    let mut channels = vec![(STANDARD.to_owned(), standard.collect())];
    let listed = app.hub.channels.list(&app.org);
    for channel in listed["channels"].as_array().into_iter().flatten() {
        let members = channel["members"].as_array().into_iter().flatten().map(|member| {
            let enriched = member["enriched"].as_array().into_iter().flatten();
            let enriched = enriched.filter_map(Json::as_str).map(str::to_owned).collect();
            (
                event_name(member["object"].as_str().unwrap_or_default()),
                enriched,
            )
        });
        let name = channel["name"].as_str().unwrap_or_default().to_owned();
        channels.push((name, members.collect()));
    }
    channels
}
