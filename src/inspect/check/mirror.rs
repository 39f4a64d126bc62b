//! What is to be mirrored: channels, objects and fields, as this user sees them.

use serde_json::{Value, json};

use crate::config::{self, Config, ObjectRules};
use crate::inbound::budget::Limits;
use crate::inbound::mapping;
use crate::inbound::prepare::{Planned, own_members, plan_of};
use crate::inspect::check::reach::World;
use crate::inspect::check::{Area, Report};
use crate::model::clock::Millis;
use crate::model::row::ColumnKind;
use crate::model::schedule::{Counts, Way};
use crate::salesforce::Error;
use crate::salesforce::changed::{Span, whole_minute};
use crate::salesforce::describe::Describe;
use crate::salesforce::rest::Scope;
use crate::store::cache;
use crate::store::cache::fields::{self, Missing};
use crate::store::reader::Reader;
use crate::store::storefront::feed;

/// How much of the past is asked for when the org's lists of changes are tried, and of how many objects: more than the
/// five queries that a composite request may hold.
const LISTED_MILLIS: Millis = 600_000;
const LISTS_TRIED: usize = 6;

/// What a poll may take, besides its interval.
const POLL_MARGIN_SECONDS: i64 = 40;

/// Each channel: whether it is there and this user may read it. Gives the topics of own channels' members.
pub(super) async fn channels(report: &mut Report, world: &World, sync: &config::Sync) -> Vec<String> {
    for channel in &sync.channels {
        match world.pubsub.topic(channel).await {
            Ok(Some(topic)) if topic.can_subscribe => {
                report.ok(Area::Channels, channel, &format!("{} may read it", world.user));
            }
            Ok(Some(_)) => {
                report.fail(
                    Area::Channels,
                    channel,
                    &format!("{} may not read it", world.user),
                    "give the user View All on the objects that it carries, or View All Data",
                );
            }
            Ok(None) => {
                report.fail(
                    Area::Channels,
                    channel,
                    "the org has no such channel",
                    "select the objects in Setup > Change Data Capture, or put the name in [sync] channels right; meanwhile its objects are polled",
                );
            }
            Err(error) => {
                report.fail(
                    Area::Channels,
                    channel,
                    &error.to_string(),
                    "check again later; channels that are refused are polled",
                );
            }
        }
    }
    match own_members(&world.org, sync).await {
        Ok(members) => members,
        Err(error) => {
            report.warn(
                Area::Channels,
                "members",
                &format!("what the org's own channels carry cannot be asked ({error})"),
                "give the user View Setup and Configuration; without it those objects are polled as well",
            );
            Vec::new()
        }
    }
}

/// Each object of the profile and of the configuration, with its fields.
pub(super) async fn objects(report: &mut Report, world: &World, config: &Config, members: &[String]) {
    let missing = missing_fields(config);
    let mut mirrored = Vec::new();
    for name in mapping::objects(&config.sync) {
        match look(world, &config.sync, members, &name).await {
            Ok(Some((describe, planned))) => {
                object(report, &describe, &planned);
                rules(
                    report,
                    world,
                    &describe,
                    &planned,
                    &config.sync.rules(&describe.name),
                )
                .await;
                hidden(report, &describe, &missing);
                suspects(report, &describe, &planned);
                mirrored.push(planned);
            }
            Ok(None) => absent(report, &config.sync, &name),
            Err(error) => {
                report.fail(
                    Area::Objects,
                    &name,
                    &error.to_string(),
                    "check again; the daemon asks the same when it starts",
                );
            }
        }
    }
    polls(report, world, &config.sync, &mirrored).await;
}

/// How often the org is asked for changes, what that costs, and whether answers can be as current as is wanted.
async fn polls(report: &mut Report, world: &World, config: &config::Sync, mirrored: &[Planned]) {
    let usage = world.org.api_usage().filter(|_| config.poll_seconds >= 60);
    let Some(usage) = usage.filter(|_| !mirrored.is_empty()) else {
        return;
    };
    let refusal = refusal_of_lists(world, mirrored).await;
    let mut counts = Counts::default();
    for planned in mirrored {
        let urgency = feed::urgency(&planned.table.object);
        match refusal {
            None => counts.add(Way::Lists, urgency),
            Some(_) if planned.streamed => {}
            Some(_) => counts.add(Way::Queries, urgency),
        }
    }
    let plan = Limits::new(config).plan(usage.limit, counts, 0);
    let [page, checkout, other] = plan.intervals.seconds();
    let mut told = format!(
        "asked for each {page} s of what pages show, {checkout} s of what a checkout needs, {other} s of others: {} of {} API calls in 24 hours where nothing changes",
        plan.calls_daily, plan.budget_daily
    );
    if let Some(refusal) = &refusal {
        told.push_str(&format!(
            "; by queries, as the org does not list what changed ({refusal})"
        ));
    }
    let slowest = other.max(checkout).max(page) + POLL_MARGIN_SECONDS;
    // With as many calls as anybody may allow.
    let generous = config::Sync {
        api_calls_daily: Some(u32::MAX),
        ..config.clone()
    };
    let at_best = Limits::new(&generous)
        .plan(u64::MAX, counts, 0)
        .intervals
        .seconds();
    let at_best = at_best.into_iter().max().unwrap_or(slowest) + POLL_MARGIN_SECONDS;
    let line = match config.stale_after_seconds.map(i64::from) {
        Some(wanted) if wanted < slowest => report.warn(
            Area::Limits,
            "changes",
            &told,
            &match at_best <= wanted {
                true => format!("[sync] stale_after_seconds = {wanted} calls some of it stale all the time: set it to at least {slowest}, or api_calls_daily higher"),
                false => format!("[sync] stale_after_seconds = {wanted} calls some of it stale all the time, and no number of calls would be enough: set it to at least {at_best}"),
            },
        ),
        _ if refusal.is_some() => report.warn(
            Area::Limits,
            "changes",
            &told,
            "queries cost more calls, and so objects are asked less often: ask whoever runs the org why getUpdated and getDeleted are refused, or set [sync] api_calls_daily higher",
        ),
        _ if plan.calls_daily > plan.budget_daily => report.warn(
            Area::Limits,
            "changes",
            &told,
            "that is more than the budget, and no less can be asked: set [sync] api_calls_daily higher",
        ),
        _ => report.ok(Area::Limits, "changes", &told),
    };
    line.with("calls_daily", plan.calls_daily)
        .with("budget_daily", plan.budget_daily);
}

/// Why the org refuses lists of changes within a composite request, where it does.
async fn refusal_of_lists(world: &World, mirrored: &[Planned]) -> Option<String> {
    let end = whole_minute(world.org.org_time_at_least());
    let span = |planned: &Planned| Span {
        object: planned.table.object.clone(),
        start: end - LISTED_MILLIS,
        end,
    };
    let spans: Vec<Span> = mirrored.iter().take(LISTS_TRIED).map(span).collect();
    match world.org.changed(&spans).await {
        Ok(listed) => {
            let mut refused = listed.into_iter().map(Result::err);
            let first = refused.next().flatten()?;
            refused.all(|refusal| refusal.is_some()).then_some(first)
        }
        Err(error) => Some(error.to_string()),
    }
}

async fn look(
    world: &World,
    sync: &config::Sync,
    members: &[String],
    name: &str,
) -> Result<Option<(Describe, Planned)>, Error> {
    let Some(describe) = world.org.describe(name).await? else {
        return Ok(None);
    };
    if !describe.queryable {
        return Ok(None);
    }
    let planned = plan_of(&world.pubsub, sync, members, &describe).await?;
    Ok(Some((describe, planned)))
}

fn absent(report: &mut Report, sync: &config::Sync, name: &str) {
    let told = "the org has no such object, or hides it from this user";
    if sync
        .objects
        .iter()
        .any(|wanted| wanted.eq_ignore_ascii_case(name))
    {
        report.fail(
            Area::Objects,
            name,
            told,
            "put the name in [sync] objects right, or give the user Read and View All on it",
        );
    } else {
        report.warn(
            Area::Objects,
            name,
            told,
            "nothing, if the shops do not need it; else give the user Read and View All on it",
        );
    }
}

fn object(report: &mut Report, describe: &Describe, planned: &Planned) {
    let (name, count) = (&describe.name, planned.table.columns.len());
    let stamp = mapping::stamp_field(&planned.table);
    let kept_by = if planned.streamed {
        "by change events"
    } else {
        "by polling"
    };
    let line = match (planned.streamed, stamp) {
        (false, None) => report.warn(
            Area::Objects,
            name,
            &format!("{count} fields, and no stamp that tells what changed: it is read as a whole each time"),
            "select it for change data capture, or let the user see SystemModstamp",
        ),
        _ => report.ok(
            Area::Objects,
            name,
            &format!("{count} fields are readable, kept current {kept_by}"),
        ),
    };
    line.with("kept_by", if planned.streamed { "stream" } else { "poll" });
    line.with("fields", field_list(describe, planned));
}

fn field_list(describe: &Describe, planned: &Planned) -> Value {
    let columns = planned.table.columns.iter().map(|column| {
        let field = describe.field(&column.field);
        json!({
            "field": column.field,
            "kind": kind(column.kind),
            "external_id": field.is_some_and(|field| field.external_id),
            "unique": field.is_some_and(|field| field.unique),
            "formula": field.is_some_and(|field| field.calculated),
        })
    });
    columns.collect()
}

fn kind(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Text => "text",
        ColumnKind::Integer => "integer",
        ColumnKind::Real => "real",
        ColumnKind::Boolean => "boolean",
        ColumnKind::Date => "date",
        ColumnKind::DateTime => "datetime",
        ColumnKind::Time => "time",
    }
}

/// What the configuration says of single fields, and its condition on rows.
async fn rules(
    report: &mut Report,
    world: &World,
    describe: &Describe,
    planned: &Planned,
    rules: &ObjectRules,
) {
    for (key, names, verdict_is_fail) in [
        ("fields", &rules.fields, true),
        ("leave_out", &rules.leave_out, false),
    ] {
        for name in names.iter().filter(|name| describe.field(name).is_none()) {
            let subject = format!("{}.{name}", describe.name);
            let told = format!(
                "object.{}.{key} names it, and the org shows no such field to this user",
                describe.name
            );
            let remedy = "put the name right, or give the user Read on the field";
            if verdict_is_fail {
                report.fail(Area::Objects, &subject, &told, remedy);
            } else {
                report.warn(Area::Objects, &subject, &told, remedy);
            }
        }
    }
    for (name, reason) in mapping::not_left_out(describe, rules) {
        if describe.field(name).is_some() {
            let subject = format!("{}.{name}", describe.name);
            let told = format!("object.{}.leave_out names it, {reason}", describe.name);
            report.warn(Area::Objects, &subject, &told, "take it out of the list");
        }
    }
    let Some(filter) = &rules.filter else { return };
    let subject = format!("{} where", describe.name);
    match world
        .org
        .query(&format!("{} LIMIT 1", planned.query("Id", &[])), Scope::Live)
        .await
    {
        Ok(_) => report.ok(Area::Objects, &subject, filter),
        Err(error) => report.fail(
            Area::Objects,
            &subject,
            &format!("the org refuses the condition ({error})"),
            "put object.NAME.where right: it is a SOQL condition",
        ),
    };
}

/// Mirrored fields that may hold a secret, which everybody who reads the cache then reads.
fn suspects(report: &mut Report, describe: &Describe, planned: &Planned) {
    let mirrored = |name: &str| planned.table.position(name).is_some();
    for field in &describe.fields {
        if mirrored(&field.name) && mapping::is_suspect(field) {
            report.warn(
                Area::Objects,
                &format!("{}.{}", describe.name, field.name),
                "it is mirrored, and by its name or type it may hold a secret",
                &format!(
                    "add it to object.{}.leave_out, or take Read on it from the user, unless it holds none",
                    describe.name
                ),
            );
        }
    }
}

/// Fields that were mirrored once and are not shown any more.
fn hidden(report: &mut Report, describe: &Describe, missing: &[Missing]) {
    for missing in missing.iter().filter(|missing| missing.object == describe.name) {
        if describe.field(&missing.field).is_some() {
            continue;
        }
        report.warn(
            Area::Objects,
            &format!("{}.{}", describe.name, missing.field),
            "it was mirrored, and the org no longer shows it to this user: its values stand still",
            "give the user Read on the field again, or nothing where it was deleted",
        );
    }
}

fn missing_fields(config: &Config) -> Vec<Missing> {
    let dir = &config.state.dir;
    if !dir.join(cache::KIND.file_name).exists() {
        return Vec::new();
    }
    Reader::new(dir.as_path())
        .with(fields::missing)
        .unwrap_or_default()
}
