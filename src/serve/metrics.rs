//! `/metrics`: what is counted, and how things stand when it is asked, in the text format of Prometheus.
//!
//! Gauges are read from the files as readers see them, in one transaction; the names are a contract: they are added
//! to, never renamed.

use std::path::Path;
use std::time::Instant;

use axum::extract::{self, MatchedPath, Request};
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::model::clock::{Millis, Moment};
use crate::model::freshness::State;
use crate::model::state::WriteState;
use crate::model::trouble::{self, FileKind, Hindrances};
use crate::serve::World;
use crate::serve::problem::Problem;
use crate::store::cache::cursors::Cursor;
use crate::store::cache::objects::{ObjectState as ObjectStanding, State as ObjectState};
use crate::store::cache::repairs::{self, Closed, Kind};
use crate::store::holders::Log;
use crate::store::note::ALLOWANCE;
use crate::store::standing::Standing;
use crate::store::{cache, holders, journal, outbox};
use crate::telemetry::metrics::{self, describe, sample};

/// `text/plain; version=0.0.4` is what every collector reads.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Methods that are counted by their names.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Everything, for a collector.
pub async fn metrics(extract::State(world): extract::State<World>) -> Result<Response, Problem> {
    let (health, moment) = (world.health.borrow().clone(), world.clock.moment());
    let now = moment.wall;
    let (mut standing, closed) = world
        .reader
        .with(|connection| Ok((Standing::read(connection)?, repairs::closed(connection)?)))?;
    standing.truth = health.freshness.truth().clone();
    standing.follow_only(&world.topics);
    standing.orders = world.intake.standing()?;
    standing.allowance = ALLOWANCE.read(&world.dir);
    standing.logs = holders::logs(&world.dir);
    standing.journal = journal::forget::standing_in(&world.dir).map_err(anyhow::Error::from)?;
    let mut out = String::with_capacity(16 * 1024);
    let help = "Bytes of request bodies that are being received";
    let receiving = world.receiving.held_bytes();
    single(&mut out, "storesync_request_bytes_held", help, receiving as f64);
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    let help = "The program that runs";
    gauge(&mut out, "storesync_build_info", help, [(version, 1.0)]);
    let state = health.standing().state(moment);
    let states = State::ALL.map(|of| (vec![("state", of.name().to_owned())], flag(of == state)));
    let help = "1 for what storefronts are answered from: no complete cache, a current one, an old one";
    gauge(&mut out, "storesync_serving", help, states);
    let help = "How old an answer may be at most, by the object that is oldest";
    let lag = health.standing().lag_seconds(moment);
    let lag = lag.map(|seconds| (Vec::new(), seconds as f64));
    gauge(&mut out, "storesync_lag_seconds", help, lag);
    let trouble = health.hindrances.trouble.as_ref().map(|trouble| trouble.kind);
    let kinds = trouble::Kind::ALL.map(|kind| {
        (
            vec![("cause", kind.name().to_owned())],
            flag(trouble == Some(kind)),
        )
    });
    let help = "1 where it keeps everything from the org";
    gauge(&mut out, "storesync_org_trouble", help, kinds);
    file_trouble(&mut out, &health.hindrances);
    objects(&mut out, &standing, moment);
    channels(&mut out, &standing, now);
    ledger(&mut out, &standing, &closed, now);
    orders(&mut out, &standing, now);
    audit(&mut out, &world);
    allowances(&mut out, &standing);
    erasures(&mut out, &standing, now);
    files(&mut out, &world.dir);
    logs(&mut out, &standing);
    metrics::render(&mut out);
    Ok(([(CONTENT_TYPE, FORMAT)], out).into_response())
}

type Labels = Vec<(&'static str, String)>;

fn gauge(out: &mut String, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, f64)>) {
    describe(out, name, help, "gauge");
    for (labels, value) in samples {
        let labels: Vec<(&str, &str)> = labels.iter().map(|(name, text)| (*name, text.as_str())).collect();
        sample(out, name, &labels, value);
    }
}

/// One value, without labels.
fn single(out: &mut String, name: &str, help: &str, value: f64) {
    gauge(out, name, help, [(Vec::new(), value)]);
}

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn file_trouble(out: &mut String, hindrances: &Hindrances) {
    let kinds = FileKind::ALL.map(|kind| {
        let files = hindrances.files.iter();
        let count = files.filter(|trouble| trouble.kind == kind).count();
        (vec![("cause", kind.name().to_owned())], count as f64)
    });
    let help = "Files of the state directory with which something is the matter";
    gauge(out, "storesync_file_trouble", help, kinds);
}

fn objects(out: &mut String, standing: &Standing, moment: Moment) {
    states(out, standing);
    let told = |value: &dyn Fn(&ObjectStanding) -> Option<f64>| -> Vec<(Labels, f64)> {
        let objects = standing.objects.iter();
        let told = objects.filter_map(|object| Some((&object.object, value(object)?)));
        told.map(|(object, value)| (vec![("object", object.clone())], value))
            .collect()
    };
    let rows = told(&|object| Some(object.rows as f64));
    gauge(out, "storesync_object_rows", "Rows mirrored", rows);
    let events = told(&|object| Some(object.last_event_at? as f64 / 1_000.0));
    let help = "Commit of the newest event applied";
    gauge(out, "storesync_object_last_event_timestamp_seconds", help, events);
    let drift = told(&|object| Some(object.drift? as f64));
    let help = "Rows that differed from the org when last compared";
    gauge(out, "storesync_drift_rows", help, drift);
    let lag = told(&|object| Some(standing.truth.object(&object.object)?.lag_seconds(moment)? as f64));
    let help = "How old what is here may be at most";
    gauge(out, "storesync_object_lag_seconds", help, lag);
    let removals = standing.removals.iter();
    let removals = removals.map(|waiting| (vec![("object", waiting.object.clone())], waiting.rows as f64));
    let help = "Rows that were not found in the org, and stay until a person decides";
    gauge(out, "storesync_removal_rows_waiting", help, removals);
    let loads = standing.loads.iter().filter_map(|load| {
        let total = load.place.as_ref()?.total.max(1);
        let ratio = (load.rows as f64 / total as f64).min(1.0);
        Some((vec![("object", load.object.clone())], ratio))
    });
    let help = "How far a load is, 0 to 1";
    gauge(out, "storesync_snapshot_progress_ratio", help, loads);
}

fn states(out: &mut String, standing: &Standing) {
    let all = [
        ObjectState::Waiting,
        ObjectState::Loading,
        ObjectState::Live,
        ObjectState::Reload,
    ];
    let each = standing
        .objects
        .iter()
        .flat_map(|object| all.map(|state| (object, state)));
    let samples = each.map(|(object, state)| {
        let kept_by = if object.streamed { "stream" } else { "poll" };
        let labels = vec![
            ("object", object.object.clone()),
            ("state", state.as_str().to_owned()),
            ("kept_by", kept_by.to_owned()),
        ];
        (labels, flag(object.state == state))
    });
    let help = "1 for the state that an object is in";
    gauge(out, "storesync_object_state", help, samples);
}

fn channels(out: &mut String, standing: &Standing, now: Millis) {
    let told = |value: &dyn Fn(&Cursor) -> f64| -> Vec<(Labels, f64)> {
        let cursors = standing.cursors.iter();
        let told = cursors.map(|cursor| (vec![("topic", cursor.topic.clone())], value(cursor)));
        told.collect()
    };
    let heard = told(&|cursor| cursor.heard_at as f64 / 1_000.0);
    let help = "When the org last said anything";
    gauge(
        out,
        "storesync_stream_last_message_timestamp_seconds",
        help,
        heard,
    );
    let age = told(&|cursor| (now - cursor.position_at).max(0) as f64 / 1_000.0);
    let help = "Age of the stored position";
    gauge(out, "storesync_cursor_age_seconds", help, age);
    let left = told(&|cursor| cursor.replay_window_left(now) as f64 / 1_000.0);
    let help = "Until the org forgets the stored position";
    gauge(out, "storesync_replay_window_remaining_seconds", help, left);
    let stands = |topic: &str| standing.problems.iter().any(|(of, ..)| of == topic);
    let problem = told(&|cursor| flag(stands(&cursor.topic)));
    let help = "1 where something stands in a channel's way";
    gauge(out, "storesync_stream_problem", help, problem);
}

fn ledger(out: &mut String, standing: &Standing, closed: &[Closed], now: Millis) {
    let open = |kind: Kind| standing.open_counts.iter().find(|(of, ..)| *of == kind);
    let counts = Kind::ALL.into_iter().map(|kind| {
        let count = open(kind).map_or(0, |(_, count, _)| *count);
        (vec![("kind", kind.as_str().to_owned())], count as f64)
    });
    gauge(out, "storesync_gap_open", "Repairs to be done", counts);
    let oldest = standing.open_counts.iter().map(|(kind, _, opened_at)| {
        let seconds = (now - opened_at).max(0) as f64 / 1_000.0;
        (vec![("kind", kind.as_str().to_owned())], seconds)
    });
    let help = "Age of the oldest repair to be done";
    gauge(out, "storesync_gap_oldest_seconds", help, oldest);
    let name = "storesync_repair_duration_seconds";
    let help = "From finding a difference until it was repaired, of the repairs in the ledger";
    describe(out, name, help, "summary");
    for closed in closed {
        let labels = [("kind", closed.kind.as_str())];
        let (seconds, count) = (closed.millis as f64 / 1_000.0, closed.count as f64);
        sample(out, &format!("{name}_sum"), &labels, seconds);
        sample(out, &format!("{name}_count"), &labels, count);
    }
}

fn orders(out: &mut String, standing: &Standing, now: Millis) {
    let count = |state: WriteState| {
        let found = standing.orders.iter().find(|orders| orders.state == state);
        found.map_or(0, |orders| orders.count) as f64
    };
    let states = WriteState::ALL.map(|state| (vec![("state", state.name().to_owned())], count(state)));
    gauge(out, "storesync_orders", "Orders in the outbox", states);
    let pending = || standing.orders.iter().filter(|orders| orders.state.is_pending());
    let number: u64 = pending().map(|orders| orders.count).sum();
    let help = "Orders that the org does not have yet";
    single(out, "storesync_orders_pending", help, number as f64);
    let oldest = pending().map(|orders| orders.oldest_at).min();
    let waited = oldest.map_or(0, |oldest| (now - oldest).max(0)) as f64 / 1_000.0;
    let help = "How long the oldest of them has waited";
    single(out, "storesync_order_oldest_pending_seconds", help, waited);
    let help = "Orders that a person has to look at";
    single(
        out,
        "storesync_dlq_depth",
        help,
        count(WriteState::NeedsAttention),
    );
}

fn audit(out: &mut String, world: &World) {
    let Ok(head) = world.intake.outbox().audit_head() else {
        return;
    };
    let help = "The number of the last entry of the audit";
    single(out, "storesync_audit_seq", help, head.seq as f64);
    let help = "The first 12 hexadecimal digits of the hash of the last of them, as a number";
    single(out, "storesync_audit_head", help, head.number());
}

fn allowances(out: &mut String, standing: &Standing) {
    let Some(allowance) = standing.allowance else {
        return;
    };
    let (limit, used) = (allowance.api.limit, allowance.api.used);
    let help = "API requests that the org allows in 24 hours";
    single(out, "storesync_sf_api_limit", help, limit as f64);
    let (help, left) = ("API requests left in 24 hours", limit.saturating_sub(used));
    single(out, "storesync_sf_api_limit_remaining", help, left as f64);
    if let Some(deliveries) = allowance.deliveries {
        let help = "Share of the event deliveries of 24 hours";
        single(
            out,
            "storesync_event_delivery_used_ratio",
            help,
            deliveries.ratio(),
        );
    }
}

fn erasures(out: &mut String, standing: &Standing, now: Millis) {
    let Some(journal) = standing.journal else { return };
    let help = "Records that are gone and whose values the journal still holds";
    single(out, "storesync_erasures_pending", help, journal.pending as f64);
    let oldest = journal.oldest_at.map_or(0, |oldest| (now - oldest).max(0));
    let help = "How long the oldest of them has waited";
    single(
        out,
        "storesync_erasure_oldest_seconds",
        help,
        oldest as f64 / 1_000.0,
    );
    let help = "Records whose values were taken out of the journal, since it was made";
    describe(out, "storesync_erased_records_total", help, "counter");
    sample(out, "storesync_erased_records_total", &[], journal.erased as f64);
}

fn logs(out: &mut String, standing: &Standing) {
    let told = |value: &dyn Fn(&Log) -> usize| -> Vec<(Labels, f64)> {
        let logs = standing.logs.iter();
        logs.map(|log| (vec![("db", log.db.to_owned())], value(log) as f64))
            .collect()
    };
    let bytes = told(&|log| usize::try_from(log.bytes).unwrap_or(usize::MAX));
    gauge(
        out,
        "storesync_log_size_bytes",
        "Size of a write-ahead log",
        bytes,
    );
    let holders = told(&|log| log.holders.len());
    let help = "Processes that read a database just now, and hold its write-ahead log";
    gauge(out, "storesync_log_holders", help, holders);
}

fn files(out: &mut String, dir: &Path) {
    let size = |name: &str| std::fs::metadata(dir.join(name)).map_or(0, |file| file.len());
    let kinds = [
        ("cache", cache::KIND),
        ("journal", journal::KIND),
        ("outbox", outbox::KIND),
    ];
    let sizes = kinds.map(|(name, kind)| {
        let bytes = size(kind.file_name) + size(&format!("{}-wal", kind.file_name));
        (vec![("db", name.to_owned())], bytes as f64)
    });
    let help = "Size of a database, its write-ahead log included";
    gauge(out, "storesync_db_size_bytes", help, sizes);
    if let Ok(disk) = rustix::fs::statvfs(dir) {
        let left = disk.f_bavail.saturating_mul(disk.f_frsize);
        let help = "What is left where the databases are";
        single(out, "storesync_disk_free_bytes", help, left as f64);
    }
}

/// Counts a request by its route, never by its address: that may hold keys.
pub async fn count(listener: &'static str, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let answer = next.run(request).await;
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    counted(listener, &method, route, &answer, started);
    answer
}

/// Counts an answer.
pub fn counted(listener: &'static str, method: &Method, route: &str, answer: &Response, started: Instant) {
    // A client may make up as many methods as it likes.
    let method = match METHODS.contains(&method.as_str()) {
        true => method.as_str(),
        false => "other",
    };
    metrics::HTTP_REQUESTS.count([listener, method, route, answer.status().as_str()]);
    metrics::HTTP_DURATION.observe([listener], started.elapsed());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::cache::Cache;
    use crate::store::outbox::InState;

    /// 2026-11-22T09:30:00.000Z
    const NOW: Millis = 1_795_339_800_000;

    fn standing() -> Standing {
        let dir = tempfile::tempdir().unwrap();
        Standing::read(Cache::open(dir.path()).unwrap().connection()).unwrap()
    }

    #[test]
    fn open_repairs_are_counted_and_the_oldest_tells_its_age() {
        let standing = Standing {
            open_counts: vec![
                (Kind::Record, 7, NOW - 90_000),
                (Kind::Parked, 2, NOW - 3_600_000),
            ],
            ..standing()
        };
        let mut out = String::new();
        ledger(&mut out, &standing, &[], NOW);
        for line in [
            "storesync_gap_open{kind=\"record\"} 7",
            "storesync_gap_open{kind=\"reload\"} 0",
            "storesync_gap_open{kind=\"parked\"} 2",
            "storesync_gap_oldest_seconds{kind=\"record\"} 90",
            "storesync_gap_oldest_seconds{kind=\"parked\"} 3600",
        ] {
            assert!(out.lines().any(|told| told == line), "{line} in\n{out}");
        }
    }

    #[test]
    fn orders_are_counted_by_state_and_by_who_has_to_act() {
        let in_state = |state, count, oldest_at| InState {
            state,
            count,
            oldest_at,
            damaged: 0,
        };
        let standing = Standing {
            orders: vec![
                in_state(WriteState::Confirmed, 40, NOW - 9_000_000),
                in_state(WriteState::NeedsAttention, 3, NOW - 8_000_000),
                in_state(WriteState::Queued, 2, NOW - 1_000),
                in_state(WriteState::Waiting, 1, NOW - 30_000),
            ],
            ..standing()
        };
        let mut out = String::new();
        orders(&mut out, &standing, NOW);
        for line in [
            "storesync_orders{state=\"confirmed\"} 40",
            "storesync_orders{state=\"sent\"} 0",
            "storesync_orders_pending 3",
            "storesync_order_oldest_pending_seconds 30",
            "storesync_dlq_depth 3",
        ] {
            assert!(out.lines().any(|told| told == line), "{line} in\n{out}");
        }
    }
}
