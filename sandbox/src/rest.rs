//! The REST API: `/services/data` and all below it.
//!
//! Reads run under the org's read lock and writes as one transaction each; a composite request runs the same
//! functions over the one transaction it opened. That is what [`Access`] is for.

pub mod collections;
mod event_schema;
pub mod query;
pub mod rows;

use serde_json::{Value as Json, json};

use super::bulk::{self, ingest};
use super::http::App;
use super::http::answer::{Answer, Refusal, Reply};
use super::http::call::Call;
use super::org::{Origin, Records, Transaction};
use super::schema::Catalog;
use super::soql::Scope;
use super::{composite, tooling};

/// The oldest and newest versions answered; older ones are gone, newer ones not there yet.
const VERSION_MIN: u32 = 50;
const VERSION_MAX: u32 = 68;
/// Retired for good: answered 410.
const VERSION_RETIRED: u32 = 30;
/// Entries of a version's root.
const RESOURCES: [&str; 7] = [
    "sobjects",
    "query",
    "queryAll",
    "composite",
    "limits",
    "tooling",
    "jobs",
];

/// Who asks, and by which version.
pub struct Caller<'a> {
    pub app: &'a App,
    /// `67.0`
    pub version: &'a str,
    pub origin: Origin,
}

/// The rows a request works on.
pub enum Access<'a, 'org> {
    Read(&'a Records),
    Write(&'a mut Transaction<'org>),
}

impl<'org> Access<'_, 'org> {
    pub fn records(&self) -> &Records {
        match self {
            Self::Read(records) => records,
            Self::Write(transaction) => transaction.records(),
        }
    }

    /// The transaction of a writing method.
    pub fn write(&mut self) -> Result<&mut Transaction<'org>, Refusal> {
        match self {
            Self::Read(_) => Err(Refusal::method_not_allowed("GET")),
            Self::Write(transaction) => Ok(transaction),
        }
    }
}

impl Caller<'_> {
    /// The catalogue as the caller may see it.
    pub fn catalog(&self) -> &Catalog {
        self.app.org.catalog_of(self.origin.user)
    }

    pub fn scope<'a>(&'a self, access: &'a Access<'_, '_>) -> Scope<'a> {
        Scope {
            catalog: self.catalog(),
            records: access.records(),
        }
    }
}

pub fn answer(app: &App, call: &Call, rest: &[&str]) -> Answer {
    let [version, rest @ ..] = rest else {
        return Ok(Reply::ok(versions()));
    };
    let version = supported(version)?;
    let token = call
        .token()
        .filter(|token| app.login.sessions.is_valid(token))
        .ok_or_else(Refusal::session)?;
    app.usage.count(app.org.clock().now())?;
    let client = call.client().unwrap_or("storesync_sandbox").to_owned();
    let caller = Caller {
        app,
        version,
        origin: Origin {
            client,
            user: app
                .login
                .sessions
                .user(token)
                .unwrap_or_else(|| app.org.user_id()),
        },
    };
    match (call.method.as_str(), rest) {
        ("GET", []) => Ok(Reply::ok(resources(version))),
        (_, ["jobs", "query", rest @ ..]) => bulk::answer(&caller, call, rest),
        (_, ["jobs", "ingest", rest @ ..]) => ingest::answer(&caller, call, rest),
        ("POST", ["composite"]) => composite::composite(&caller, call),
        ("POST", ["composite", "graph"]) => composite::graph(&caller, call),
        ("POST", ["composite", "batch"]) => composite::batch::answer(&caller, call),
        ("POST", ["composite", "tree", object]) => composite::tree::answer(&caller, call, object),
        (_, rest) => single(&caller, call, rest),
    }
}

/// What may stand alone or be a part of a batch: a read, or a write in a transaction of its own.
pub fn single(caller: &Caller<'_>, call: &Call, rest: &[&str]) -> Answer {
    let org = &caller.app.org;
    match (call.method.as_str(), rest) {
        ("GET", ["limits"]) => Ok(Reply::ok(limits(caller.app))),
        ("GET", ["tooling", rest @ ..]) => tooling::answer(caller, call, rest),
        ("GET", ["event", "eventSchema", id]) => event_schema::by_id(caller, call, id),
        ("GET", ["sobjects", name, "eventSchema"]) => event_schema::by_name(caller, call, name),
        ("GET" | "HEAD", rest) => org.read(|records| part(caller, &mut Access::Read(records), call, rest)),
        (_, rest) => org.transact(&caller.origin, |transaction| {
            part(caller, &mut Access::Write(transaction), call, rest)
        }),
    }
}

/// What may stand alone or be a part of a composite request. `rest` is the path after the version.
pub fn part(caller: &Caller<'_>, access: &mut Access<'_, '_>, call: &Call, rest: &[&str]) -> Answer {
    if let Access::Write(transaction) = access {
        let header = call.header("sforce-duplicate-rule-header").unwrap_or_default();
        transaction.allow_duplicates(
            header
                .replace(' ', "")
                .to_ascii_lowercase()
                .contains("allowsave=true"),
        );
    }
    match rest {
        ["sobjects", rest @ ..] => rows::answer(caller, access, call, rest),
        ["query", rest @ ..] => query::answer(caller, access, call, rest, false),
        ["queryAll", rest @ ..] => query::answer(caller, access, call, rest, true),
        ["composite", "sobjects", rest @ ..] => collections::answer(caller, access, call, rest),
        _ => Err(Refusal::not_found()),
    }
}

/// `67.0` of `v67.0`, if the org speaks it.
pub fn supported(segment: &str) -> Result<&str, Refusal> {
    let version = segment.strip_prefix('v').ok_or_else(Refusal::not_found)?;
    let number = version
        .strip_suffix(".0")
        .and_then(|number| number.parse::<u32>().ok());
    match number {
        Some(VERSION_MIN..=VERSION_MAX) => Ok(version),
        Some(7..=VERSION_RETIRED) => Err(Refusal::new(
            410,
            "UNSUPPORTED_API_VERSION",
            "This API version is retired.",
        )),
        _ => Err(Refusal::not_found()),
    }
}

fn versions() -> Json {
    // Winter releases carry the next year's number.
    let season = |number: u32| ["Winter", "Spring", "Summer"][((number - VERSION_MIN) % 3) as usize];
    let year = |number: u32| 21 + (number - VERSION_MIN) / 3;
    let all = (VERSION_MIN..=VERSION_MAX).map(|number| {
        json!({
            "label": format!("{} '{}", season(number), year(number)),
            "url": format!("/services/data/v{number}.0"),
            "version": format!("{number}.0"),
        })
    });
    Json::Array(all.collect())
}

fn resources(version: &str) -> Json {
    let entries = RESOURCES.iter().map(|name| {
        (
            (*name).to_owned(),
            Json::from(format!("/services/data/v{version}/{name}")),
        )
    });
    Json::Object(entries.collect())
}

fn limits(app: &App) -> Json {
    let (used, max) = app.usage.now(app.org.clock().now());
    let jobs = u64::try_from(app.jobs.created()).unwrap_or(u64::MAX);
    let deliveries = &app.hub.deliveries;
    let limit = |max: u64, used: u64| json!({ "Max": max, "Remaining": max.saturating_sub(used) });
    json!({
        "DailyApiRequests": limit(max, used),
        "DailyBulkApiBatches": limit(15_000, 0),
        "DailyBulkV2QueryJobs": limit(10_000, jobs),
        "DailyBulkV2QueryFileStorageMB": limit(976_562, 0),
        "DailyDeliveredPlatformEvents": limit(deliveries.daily_max().unwrap_or(50_000), deliveries.delivered()),
        "DataStorageMB": limit(1_073, 0),
        "FileStorageMB": limit(1_073, 0),
        "HourlyPublishedPlatformEvents": limit(250_000, 0),
        "MonthlyPlatformEventsUsageEntitlement": limit(0, 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_the_versions_that_clients_come_with() {
        assert_eq!(supported("v67.0"), Ok("67.0"));
        assert_eq!(supported("v50.0"), Ok("50.0"));
        assert_eq!(supported("v30.0").map_err(|refusal| refusal.status), Err(410));
        assert_eq!(supported("v99.0").map_err(|refusal| refusal.status), Err(404));
        assert_eq!(supported("67.0").map_err(|refusal| refusal.status), Err(404));
        let all = versions();
        let label = |version: &str| {
            all.as_array()
                .unwrap()
                .iter()
                .find(|entry| entry["version"] == version)
                .unwrap()["label"]
                .clone()
        };
        assert_eq!(label("67.0"), "Summer '26");
        assert_eq!(label("66.0"), "Spring '26");
        assert_eq!(label("65.0"), "Winter '26");
        assert_eq!(label("50.0"), "Winter '21");
    }
}
