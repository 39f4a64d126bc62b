//! What is mirrored, and how each object is kept current, found out from the org.
//!
//! Nothing is changed in the org. Tables are made or extended here, before any stage runs. An object that the
//! org does not have, or hides, is left out and named in the log.

use std::collections::HashSet;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::config;
use crate::inbound::mapping;
use crate::model::change::ReplayId;
use crate::model::row::Table;
use crate::salesforce::pubsub::PubSub;
use crate::salesforce::{Error, Org};
use crate::store::cache::{Cache, cursors};
use crate::store::journal::Journal;

/// Questions asked of the org at a time.
const QUESTIONS_MAX: usize = 8;

/// The channel that carries the changes of all objects selected in the org.
const ALL_CHANGES: &str = "/data/ChangeEvents";

/// What the stages work on.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub objects: Vec<Planned>,
    pub channels: Vec<Channel>,
    /// Schemas that apply knows already.
    pub schema_ids: HashSet<String>,
}

/// A mirrored object.
#[derive(Clone, Debug)]
pub struct Planned {
    pub table: Table,
    pub streamed: bool,
}

/// A channel to subscribe to.
#[derive(Clone, Debug)]
pub struct Channel {
    pub topic: String,
    pub resume_after: Option<ReplayId>,
    /// The mirrored objects whose changes it carries.
    pub objects: Vec<String>,
}

impl Plan {
    /// The tables, for apply.
    pub fn tables(&self) -> Vec<Table> {
        self.objects.iter().map(|planned| planned.table.clone()).collect()
    }
}

impl Planned {
    /// `Id` and the fields of all columns.
    pub(super) fn fields(&self) -> Vec<String> {
        let fields = self.table.columns.iter().map(|column| column.field.clone());
        std::iter::once("Id".to_owned()).chain(fields).collect()
    }

    /// A query of all mirrored fields.
    pub(super) fn select(&self) -> String {
        format!("SELECT {} FROM {}", self.fields().join(", "), self.table.object)
    }
}

/// Binds the cache to the org, makes the tables and decides how each object is kept current.
pub async fn prepare(
    org: &Org,
    pubsub: &PubSub,
    cache: &mut Cache,
    journal: &Journal,
    config: &config::Sync,
) -> anyhow::Result<Plan> {
    let session = org.session().await?;
    cache.claim_org(&session.org_id)?;
    let names = mapping::objects(config);
    let found: Vec<Option<Planned>> = stream::iter(&names)
        .map(|name| look(org, pubsub, config, name))
        .buffered(QUESTIONS_MAX)
        .try_collect()
        .await
        .context("the org's objects cannot be described")?;
    let mut objects = Vec::new();
    for (name, planned) in names.iter().zip(found) {
        match planned {
            Some(planned) => objects.push(planned),
            None => {
                tracing::info!(object = %name, "{name} is left out: the org has no such object for this user")
            }
        }
    }
    anyhow::ensure!(
        !objects.is_empty(),
        "the org has none of the objects to mirror: check [sync] profile and objects, and the user's permissions"
    );
    for planned in &objects {
        cache.ensure_object(&planned.table, planned.streamed)?;
    }
    let kept: Vec<&str> = objects
        .iter()
        .map(|planned| planned.table.object.as_str())
        .collect();
    for gone in cache.forget_objects_except(&kept)? {
        tracing::warn!(object = %gone, "{gone} is no longer mirrored; its table stays as it is");
    }
    let channels = channels(cache, config, &objects)?;
    let streamed = objects.iter().filter(|planned| planned.streamed).count();
    tracing::info!(
        objects = objects.len(),
        streamed,
        "{} objects are mirrored: {streamed} by change events, {} by polling",
        objects.len(),
        objects.len() - streamed
    );
    let schema_ids = journal.schemas()?.into_iter().map(|(id, _)| id).collect();
    Ok(Plan {
        objects,
        channels,
        schema_ids,
    })
}

async fn look(
    org: &Org,
    pubsub: &PubSub,
    config: &config::Sync,
    name: &str,
) -> Result<Option<Planned>, Error> {
    let Some(describe) = org.describe(name).await?.filter(|describe| describe.queryable) else {
        return Ok(None);
    };
    let topic = mapping::topic(&describe.name);
    let covered = config.channels.iter().any(|channel| carries(channel, &topic));
    let streamed = covered
        && pubsub
            .topic(&topic)
            .await?
            .is_some_and(|topic| topic.can_subscribe);
    Ok(Some(Planned {
        table: mapping::table(&describe),
        streamed,
    }))
}

fn carries(channel: &str, topic: &str) -> bool {
    channel == ALL_CHANGES || channel == topic
}

fn channels(cache: &Cache, config: &config::Sync, objects: &[Planned]) -> anyhow::Result<Vec<Channel>> {
    let mut channels = Vec::new();
    for topic in &config.channels {
        let streamed = objects.iter().filter(|planned| planned.streamed);
        let carried = streamed.map(|planned| &planned.table.object);
        let objects: Vec<String> = carried
            .filter(|object| carries(topic, &mapping::topic(object)))
            .cloned()
            .collect();
        if objects.is_empty() {
            tracing::warn!(%topic, "{topic} is not subscribed to: no mirrored object is selected for it in the org");
            continue;
        }
        let cursor = cursors::cursor(cache.connection(), topic)?;
        let resume_after = cursor.map(|cursor| cursor.resume_after);
        channels.push(Channel {
            topic: topic.clone(),
            resume_after,
            objects,
        });
    }
    Ok(channels)
}
