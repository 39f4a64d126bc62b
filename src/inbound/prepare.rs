//! What is mirrored, and how each object is kept current, found out from the org.
//!
//! Nothing is changed in the org. Tables are made or extended here, before any stage runs. An object that the
//! org does not have, or hides, is left out and named in the log.

use std::collections::HashSet;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};

use crate::config;
use crate::inbound::apply::record;
use crate::inbound::command::Schema;
use crate::inbound::mapping;
use crate::model::change::ReplayId;
use crate::model::clock::Millis;
use crate::model::row::Table;
use crate::salesforce::describe::Describe;
use crate::salesforce::pubsub::PubSub;
use crate::salesforce::setup::region;
use crate::salesforce::{Error, Org};
use crate::store::cache::fields::Evolved;
use crate::store::cache::repairs::{Entry, Kind, reason};
use crate::store::cache::{Batch, Cache, State, cursors, objects};
use crate::store::journal::Journal;

/// Questions asked of the org at a time.
const QUESTIONS_MAX: usize = 8;

/// The channel that carries the changes of all objects selected in the org.
const ALL_CHANGES: &str = "/data/ChangeEvents";

/// How the names of channels end that an administrator made.
const OWN_CHANNEL: &str = "__chn";

/// What the status says of an object that the org hides.
pub(super) const HIDDEN: &str = "the org no longer shows it to this user: its rows stay as they were";

/// What the stages work on.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub objects: Vec<Planned>,
    pub channels: Vec<Channel>,
    /// Schemas that apply knows already.
    pub schema_ids: HashSet<String>,
}

/// A mirrored object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    pub table: Table,
    pub streamed: bool,
    /// Whether a channel of the org's own carries its changes, as far as the org tells.
    pub in_own_channel: bool,
    /// A SOQL condition: rows that do not meet it are not mirrored.
    pub filter: Option<String>,
    /// Fields that the configuration leaves out.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// The only fields that the configuration wants, beside those that mirroring needs; all where none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listed: Vec<String>,
    /// Fields that the org computes, by describe's names.
    pub formulas: Vec<String>,
    /// How often it is read again as a whole.
    pub reread_hours: Option<u32>,
}

impl From<Table> for Planned {
    /// All rows, by change events.
    fn from(table: Table) -> Self {
        Self {
            table,
            streamed: true,
            in_own_channel: false,
            filter: None,
            left_out: Vec::new(),
            listed: Vec::new(),
            formulas: Vec::new(),
            reread_hours: None,
        }
    }
}

/// A channel to subscribe to.
#[derive(Clone, Debug)]
pub struct Channel {
    pub topic: String,
    pub resume_after: Option<ReplayId>,
}

impl Planned {
    /// Whether the changes of a channel are its own: by the channel's name, or, of one of the org's own, by what the
    /// org tells of it. Asked anew each time, because that changes while the daemon runs.
    pub(super) fn is_carried_by(&self, channel: &str) -> bool {
        let by_name = || carries(channel, &mapping::topic(&self.table.object));
        self.streamed && (by_name() || (self.in_own_channel && channel.ends_with(OWN_CHANNEL)))
    }

    /// `Id` and the fields of all columns.
    pub(super) fn fields(&self) -> Vec<String> {
        let fields = self.table.columns.iter().map(|column| column.field.clone());
        std::iter::once("Id".to_owned()).chain(fields).collect()
    }

    /// A query of all mirrored fields of the rows that meet these conditions and the object's own.
    pub(super) fn select(&self, conditions: &[&str]) -> String {
        self.query(&self.fields().join(", "), conditions)
    }

    /// A query of anything of the rows that are mirrored and meet these conditions.
    pub fn query(&self, what: &str, conditions: &[&str]) -> String {
        let filter = self.filter.as_ref().map(|filter| format!("({filter})"));
        let all: Vec<&str> = conditions.iter().copied().chain(filter.as_deref()).collect();
        let condition = match all.as_slice() {
            [] => String::new(),
            all => format!(" WHERE {}", all.join(" AND ")),
        };
        format!("SELECT {what} FROM {}{condition}", self.table.object)
    }
}

/// What the org said when the daemon started: with the cache as it was, all that decides what it becomes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    pub org_id: String,
    pub instance_url: String,
    /// Journals of versions before do not have it.
    #[serde(default)]
    pub instance_name: Option<String>,
    /// The objects to mirror, whether the org has them or not.
    pub names: Vec<String>,
    pub objects: Vec<Planned>,
    pub channels: Vec<String>,
}

/// Of objects that the user may not see as of such that are not there.
#[derive(Debug, thiserror::Error)]
#[error(
    "the org has none of the objects to mirror: check [sync] profile and objects, and the user's permissions"
)]
pub struct NothingToMirror;

/// An org whose data are not where they have to be.
#[derive(Debug, thiserror::Error)]
#[error(
    "the org is on {instance} and [org] region is {wanted}: use the org that is there, or change the key"
)]
pub struct OtherRegion {
    instance: String,
    wanted: String,
}

/// The instance that the org is on, where it has to be.
async fn instance(org: &Org, wanted: Option<&str>) -> anyhow::Result<Option<String>> {
    let found = org
        .instance_name()
        .await
        .context("the org's instance cannot be asked for")?;
    match (&found, wanted) {
        (Some(instance), Some(wanted)) if !region(instance).eq_ignore_ascii_case(wanted) => {
            let (instance, wanted) = (format!("the instance {instance}"), wanted.to_owned());
            Err(OtherRegion { instance, wanted }.into())
        }
        (None, Some(wanted)) => {
            let instance = "an instance that it does not show to this user".to_owned();
            let wanted = wanted.to_owned();
            Err(OtherRegion { instance, wanted }.into())
        }
        _ => Ok(found),
    }
}

/// Binds the cache to the org, makes the tables and decides how each object is kept current. What the org said is
/// written down in the journal first.
pub async fn prepare(
    org: &Org,
    pubsub: &PubSub,
    cache: &mut Cache,
    journal: &mut Journal,
    (config, region): (&config::Sync, Option<&str>),
    now: Millis,
) -> anyhow::Result<Plan> {
    let session = org.session().await?;
    cache.claim_org(&session.org_id)?;
    let instance_name = instance(org, region).await?;
    let names = mapping::objects(config);
    let members = own_members(org, config).await?;
    let looked: Vec<Option<Planned>> = stream::iter(&names)
        .map(|name| look_first(org, pubsub, config, &members, name))
        .buffered(QUESTIONS_MAX)
        .try_collect()
        .await
        .context("the org's objects cannot be described")?;
    let mut objects = Vec::new();
    for (name, planned) in names.iter().zip(looked) {
        match planned {
            Some(planned) => objects.push(planned),
            None => {
                tracing::info!(object = %name, "{name} is left out: the org has no such object for this user")
            }
        }
    }
    anyhow::ensure!(!objects.is_empty(), NothingToMirror);
    let found = Found {
        org_id: session.org_id.clone(),
        instance_url: session.instance_url.clone(),
        instance_name,
        names,
        objects,
        channels: config.channels.clone(),
    };
    let schemas: Vec<Schema> = journal.schemas()?.into_iter().map(Schema::from).collect();
    let number = record::start(journal, cache, &found, now)?;
    let channels = establish(cache, &found, &schemas, number, now)?;
    let objects = found.objects;
    let streamed = objects.iter().filter(|planned| planned.streamed).count();
    tracing::info!(
        objects = objects.len(),
        streamed,
        "{} objects are mirrored: {streamed} by change events, {} by polling",
        objects.len(),
        objects.len() - streamed
    );
    let schema_ids = schemas.into_iter().map(|schema| schema.id).collect();
    Ok(Plan {
        objects,
        channels,
        schema_ids,
    })
}

/// Applies a start: brings the cache in line with what the org said, in one transaction. `number` is the batch of the
/// journal that says it. A replay does it again.
pub(crate) fn establish(
    cache: &mut Cache,
    found: &Found,
    schemas: &[Schema],
    number: i64,
    now: Millis,
) -> anyhow::Result<Vec<Channel>> {
    let mut batch = cache.batch()?;
    batch.is_batch(number);
    batch.claim_org(&found.org_id)?;
    if let Some(before) = batch.claim_instance(&found.instance_url, now)? {
        tracing::warn!(
            "the org answers from {} and no longer from {before}: every object will be compared with it",
            found.instance_url
        );
    }
    follow_rules(&mut batch, &found.objects, now)?;
    take_up(&mut batch, &found.objects, now)?;
    let hidden = hidden(&mut batch, &found.names, &found.objects)?;
    let shown = found.objects.iter().map(|planned| planned.table.object.as_str());
    let kept: Vec<&str> = shown.chain(hidden.iter().map(String::as_str)).collect();
    for gone in batch.forget_objects_except(&kept)? {
        tracing::warn!(object = %gone, "{gone} is no longer mirrored; its table stays as it is");
    }
    let channels = channels(&mut batch, found, now)?;
    for schema in schemas {
        batch.keep_schema(&schema.id, &schema.json)?;
    }
    batch.note_instance_name(found.instance_name.as_deref())?;
    batch.commit()?;
    Ok(channels)
}

/// Makes the tables of objects, and notes that these and no others are mirrored.
fn take_up(batch: &mut Batch<'_>, objects: &[Planned], now: Millis) -> anyhow::Result<()> {
    batch.forget_planned()?;
    for planned in objects {
        let object = &planned.table.object;
        let (_, evolved) = batch.ensure_object(&planned.table, planned.streamed, now)?;
        tell(object, &evolved);
        batch.plan(object, &serde_json::to_string(planned)?)?;
    }
    Ok(())
}

/// Makes a cache mirror these objects without an org, for an apply stage that is driven by hand.
pub fn mirror(cache: &mut Cache, objects: &[Planned], now: Millis) -> anyhow::Result<()> {
    let mut batch = cache.batch()?;
    take_up(&mut batch, objects, now)?;
    batch.commit()?;
    Ok(())
}

/// What the configuration leaves out goes, and what was read by another condition is read again.
fn follow_rules(batch: &mut Batch<'_>, objects: &[Planned], now: Millis) -> anyhow::Result<()> {
    for planned in objects {
        let object = &planned.table.object;
        tell_left_out(object, &batch.leave_out(&planned.table, &planned.left_out)?);
        let has_changed = batch.note_condition(object, planned.filter.as_deref())?;
        if has_changed && batch.read_by_condition(object, now)? {
            let reason = reason::CONDITION_CHANGED;
            tracing::warn!(%object, "{object} will be read again as a whole: {reason}");
        }
    }
    Ok(())
}

/// Says in the log which fields the cache no longer has.
pub(super) fn tell_left_out(object: &str, left_out: &[String]) {
    if !left_out.is_empty() {
        let fields = left_out.join(", ");
        tracing::info!(%object, "{object} has no more {fields} in the cache: the configuration leaves it out");
    }
}

/// Objects that are to be mirrored and once were, and that the org does not show now: their rows stay, and the
/// status says why they stand still.
fn hidden(batch: &mut Batch<'_>, names: &[String], shown: &[Planned]) -> anyhow::Result<Vec<String>> {
    let is_shown = |object: &str| shown.iter().any(|planned| planned.table.object == object);
    let wanted = |object: &str| names.iter().any(|name| name.eq_ignore_ascii_case(object));
    let hidden: Vec<String> = objects::objects(batch.connection())?
        .into_iter()
        .filter(|state| matches!(state.state, State::Live | State::Reload))
        .map(|state| state.object)
        .filter(|object| wanted(object) && !is_shown(object))
        .collect();
    for object in &hidden {
        batch.set_object_problem(object, Some(HIDDEN))?;
    }
    Ok(hidden)
}

/// Says in the log how an object's fields have changed.
pub(super) fn tell(object: &str, evolved: &Evolved) {
    if !evolved.missing.is_empty() {
        tracing::warn!(%object, "{object} has changed: {evolved}; what was read of them stays");
    } else if !evolved.is_empty() {
        tracing::info!(%object, "{object} has changed: {evolved}");
    }
}

/// The topics of the objects that channels of the org's own carry. Where the org does not tell, there are none
/// here: those objects are polled then, besides what their events bring.
pub async fn own_members(org: &Org, config: &config::Sync) -> Result<Vec<String>, Error> {
    let mut topics = Vec::new();
    for channel in config
        .channels
        .iter()
        .filter(|channel| channel.ends_with(OWN_CHANNEL))
    {
        let name = channel.strip_prefix("/data/").unwrap_or(channel);
        match org.channel_members(name).await {
            Ok(members) => topics.extend(members.iter().map(|event| format!("/data/{event}"))),
            Err(Error::Refused { .. }) => {
                tracing::warn!(%channel, "the org does not tell what {channel} carries: its objects are polled as well");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(topics)
}

/// What the org says of one object; `None` where it has no such object for this user.
pub async fn look(
    org: &Org,
    pubsub: &PubSub,
    config: &config::Sync,
    own_members: &[String],
    name: &str,
) -> Result<Option<Planned>, Error> {
    match org.describe(name).await?.filter(|describe| describe.queryable) {
        Some(describe) => plan_of(pubsub, config, own_members, &describe).await.map(Some),
        None => Ok(None),
    }
}

/// As [`look`], and tells of rules that cannot be followed.
async fn look_first(
    org: &Org,
    pubsub: &PubSub,
    config: &config::Sync,
    own_members: &[String],
    name: &str,
) -> Result<Option<Planned>, Error> {
    let Some(describe) = org.describe(name).await?.filter(|describe| describe.queryable) else {
        return Ok(None);
    };
    for (field, reason) in mapping::not_left_out(&describe, &config.rules(&describe.name)) {
        let object = &describe.name;
        tracing::warn!(%object, %field, "leave_out of {object} names {field}, {reason}: take it out of the list");
    }
    plan_of(pubsub, config, own_members, &describe).await.map(Some)
}

/// How a described object is mirrored, and whether its changes can be subscribed to.
pub async fn plan_of(
    pubsub: &PubSub,
    config: &config::Sync,
    own_members: &[String],
    describe: &Describe,
) -> Result<Planned, Error> {
    let mut planned = planned(config, describe);
    let topic = mapping::topic(&planned.table.object);
    let covered = config.channels.iter().any(|channel| carries(channel, &topic));
    planned.in_own_channel = own_members.contains(&topic);
    planned.streamed = planned.in_own_channel
        || (covered
            && pubsub
                .topic(&topic)
                .await?
                .is_some_and(|topic| topic.can_subscribe));
    Ok(planned)
}

/// As [`look`], without asking whether it publishes change events.
pub async fn look_at_fields(org: &Org, config: &config::Sync, name: &str) -> Result<Option<Planned>, Error> {
    let describe = org.describe(name).await?.filter(|describe| describe.queryable);
    Ok(describe.map(|describe| planned(config, &describe)))
}

fn planned(config: &config::Sync, describe: &Describe) -> Planned {
    let rules = config.rules(&describe.name);
    let table = mapping::table(describe, &rules);
    Planned {
        streamed: false,
        in_own_channel: false,
        filter: mapping::filter(config.profile, describe, rules.filter.clone()),
        left_out: mapping::left_out(describe, &rules),
        listed: rules.fields,
        formulas: mapping::formulas(describe, &table),
        reread_hours: rules.reread_hours,
        table,
    }
}

/// By its name; what a channel of the org's own carries, only the org can tell.
fn carries(channel: &str, topic: &str) -> bool {
    channel == ALL_CHANGES || channel == topic
}

/// The channels that carry anything mirrored. One whose position was never stored, though objects that it carries
/// are loaded, has them read again: what changed before is not known.
fn channels(batch: &mut Batch<'_>, found: &Found, now: Millis) -> anyhow::Result<Vec<Channel>> {
    let mut channels = Vec::new();
    for topic in &found.channels {
        let carried = found
            .objects
            .iter()
            .filter(|planned| planned.is_carried_by(topic));
        let carried: Vec<String> = carried.map(|planned| planned.table.object.clone()).collect();
        if carried.is_empty() && !topic.ends_with(OWN_CHANNEL) {
            tracing::warn!(%topic, "{topic} is not subscribed to: no mirrored object is selected for it in the org");
            continue;
        }
        let cursor = cursors::cursor(batch.connection(), topic)?;
        if cursor.is_none() {
            read_again(batch, topic, &carried, now)?;
        }
        let resume_after = cursor.map(|cursor| cursor.resume_after);
        channels.push(Channel {
            topic: topic.clone(),
            resume_after,
        });
    }
    Ok(channels)
}

fn read_again(batch: &mut Batch<'_>, topic: &str, objects: &[String], now: Millis) -> anyhow::Result<()> {
    let reason = format!("the position on {topic} was never stored");
    for object in objects {
        if batch.mark_reload(object)? {
            batch.open_repair(&Entry::object(Kind::Reload, object, &reason), now)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::row::{Column, ColumnKind};

    #[test]
    fn asks_for_what_is_mirrored_and_no_more() {
        let column = Column {
            field: "Name".to_owned(),
            name: "name".to_owned(),
            kind: ColumnKind::Text,
        };
        let table = Table {
            object: "Account".to_owned(),
            name: "account".to_owned(),
            columns: vec![column],
        };
        let mut planned = Planned::from(table);
        assert_eq!(planned.select(&[]), "SELECT Id, Name FROM Account");
        planned.filter = Some("A = 1 OR B = 2".to_owned());
        assert_eq!(
            planned.query("COUNT()", &["Id > 'x'"]),
            "SELECT COUNT() FROM Account WHERE Id > 'x' AND (A = 1 OR B = 2)"
        );
    }

    #[test]
    fn a_channel_carries_what_its_name_says() {
        let cases = [
            ("/data/ChangeEvents", "/data/AccountChangeEvent", true),
            ("/data/AccountChangeEvent", "/data/AccountChangeEvent", true),
            ("/data/AccountChangeEvent", "/data/OrderChangeEvent", false),
            ("/data/Shop__chn", "/data/OrderChangeEvent", false),
        ];
        for (channel, topic, expected) in cases {
            assert_eq!(carries(channel, topic), expected, "{channel} {topic}");
        }
    }
}
