//! Whether changes of polled objects arrive by the org's own lists of them, for few calls, and whether what is said to be
//! current is.
//!
//! The org's clock and the daemon's are moved together, minute by minute: a minute of the test is a minute of both.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use storesync::model::clock::{Clock, Millis};

use crate::freshness::Inside;
use crate::outbound::accepted;
use crate::world::{Sandbox, a_store, eventually, order};

const MINUTE: Millis = 60_000;

const MEDIA: &str = "s_c__Media__c";
/// Of a stream that says nothing nobody can know before the lists are compared.
const STREAMED: &str = "Product2";
const BOOK: &str = "Pricebook2";

/// Queries settle for so long before they prove anything.
const SETTLED_SECONDS: i64 = 30;

/// After so long the minute of any change is over.
const STEP: Millis = 66_000;

struct World {
    org: Sandbox,
    daemon: Inside,
}

impl World {
    async fn start() -> Self {
        Self::of(5_000_000).await
    }

    /// An org that allows so many calls within 24 hours.
    async fn of(daily_requests: u64) -> Self {
        let org = Sandbox::start(&["--products", "10", "--stores", "1"]).await;
        org.control("limits", json!({"daily_requests": daily_requests}))
            .await;
        // What the org was made with is long ago.
        org.control("clock", json!({"advance_ms": 40 * MINUTE})).await;
        let daemon = Inside::start_with(&org, Clock::Slept, |sync| sync.poll_seconds = 60).await;
        let world = Self { org, daemon };
        eventually("everything is live", async || {
            let ready = world.daemon.asked("/readyz").await;
            (ready["reads"]["state"] == "live").then_some(())
        })
        .await;
        world
    }

    /// Moves both clocks and waits for the round that is due then.
    async fn pass(&self, millis: Millis) {
        let before = self.proved().await.unwrap();
        self.sleep(millis).await;
        eventually("a round is over", async || {
            (self.proved().await? > before + 30_000).then_some(())
        })
        .await;
    }

    /// Moves both clocks.
    async fn sleep(&self, millis: Millis) {
        self.org.control("clock", json!({"advance_ms": millis})).await;
        self.daemon.ahead.fetch_add(millis, Ordering::SeqCst);
    }

    /// Waits until pages are as current as they are planned to be.
    async fn is_current(&self, page_seconds: i64) {
        eventually("pages are as current as planned", async || {
            let age = self.daemon.now() - self.proved().await?;
            (age <= (page_seconds + 20) * 1_000).then_some(())
        })
        .await;
    }

    /// How often objects of pages are to be asked.
    async fn page_seconds(&self) -> i64 {
        let polls = self.daemon.asked("/status").await["polls"].clone();
        polls["interval_seconds"]["page"].as_i64().unwrap()
    }

    /// Up to when an object of pages is proved, to a second or so.
    async fn proved(&self) -> Option<Millis> {
        let now = self.daemon.now();
        let status = self.daemon.asked("/status").await;
        let objects = status["objects"].as_array()?.clone();
        let media = objects.iter().find(|object| object["object"] == MEDIA)?;
        Some(now - media["lag_seconds"].as_i64()? * 1_000)
    }

    /// How many requests the first rule of the org's faults was for.
    async fn met(&self) -> u64 {
        let url = format!("{}/sandbox/faults", self.org.env["SANDBOX_HTTP"]);
        let told: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        told["rules"][0]["met"].as_u64().unwrap()
    }

    /// Lets minutes pass until the answer holds what was asked for. As long as it does not, it says that it is as old as
    /// the change, or older.
    async fn until(&self, what: &str, object: &str, id: &str, is_seen: impl Fn(&Value) -> bool) {
        let changed_at = self.daemon.now();
        for _ in 0..30 {
            self.sleep(STEP).await;
            self.is_current(self.page_seconds().await + SETTLED_SECONDS).await;
            let asked = self.daemon.now();
            let said = self.daemon.look(object, id).await.unwrap();
            if is_seen(&said.row) {
                return;
            }
            let age = asked - changed_at;
            let is_old = said.lag_seconds.is_some_and(|lag| lag * 1_000 >= age);
            assert!(
                is_old || object == STREAMED,
                "{what}: {age} ms old, and said {said:?}"
            );
        }
        panic!("{what}: not seen within half an hour");
    }
}

/// How many calls the org counted.
pub async fn calls_counted(org: &Sandbox) -> u64 {
    let url = format!("{}/sandbox/limits", org.env["SANDBOX_HTTP"]);
    let told: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    told["used"].as_u64().unwrap()
}

fn record(object: &str, fields: &Value) -> Value {
    let mut record = json!({"attributes": {"type": object}});
    record
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_change_arrives_by_the_lists() {
    let world = World::start().await;
    let org = &world.org;
    let media = org.some(MEDIA, "").await;
    let named = |name: &'static str| move |row: &Value| row["name"] == name;

    org.control(
        "changes",
        json!({"update": [record(MEDIA, &json!({"Id": media, "Name": "updated"}))]}),
    )
    .await;
    world.until("an update", MEDIA, &media, named("updated")).await;

    let book = org.create(BOOK, json!({"Name": "created"})).await;
    world.until("a new record", BOOK, &book, named("created")).await;

    // A transaction began before the changes of another, each of which a list names, and commits eight minutes later with
    // the stamps of its start.
    org.control("transaction", json!({"open": true})).await;
    for minute in 0..8 {
        let name = format!("while it lasts {minute}");
        let update = record(BOOK, &json!({"Id": book, "Name": name}));
        org.control("changes", json!({"update": [update]})).await;
        world.sleep(MINUTE).await;
        eventually(&name, async || {
            let said = world.daemon.look(BOOK, &book).await?;
            (said.row["name"] == name.as_str()).then_some(())
        })
        .await;
    }
    let late = record(MEDIA, &json!({"Id": media, "Name": "late"}));
    org.control("changes", json!({"update": [late], "began_ms_ago": 8 * MINUTE}))
        .await;
    org.control("transaction", json!({"open": false})).await;
    world.until("a late commit", MEDIA, &media, named("late")).await;

    let is_gone = |row: &Value| row["status"] == 404;
    org.control("changes", json!({"delete": [book]})).await;
    world.until("a deletion", BOOK, &book, is_gone).await;
    org.control("changes", json!({"undelete": [book]})).await;
    world
        .until("a restored record", BOOK, &book, |row| {
            row["name"] == "while it lasts 7"
        })
        .await;
    // A list may name a record as deleted that was restored since.
    let all_the_same = json!({"members": {"deletedRecords": [{"id": media, "deletedDate": "2026-01-01T00:00:00.000+0000"}]}});
    let rule = json!({"path": format!("{MEDIA}/deleted"), "fault": {"edit": all_the_same}});
    org.fault(rule).await;
    let later = org.create(BOOK, json!({"Name": "later"})).await;
    world.until("what came later", BOOK, &later, named("later")).await;
    world.sleep(2 * MINUTE).await;
    let latest = record(BOOK, &json!({"Id": later, "Name": "latest"}));
    org.control("changes", json!({"update": [latest]})).await;
    world
        .until("the round after it", BOOK, &later, named("latest"))
        .await;
    world
        .until("the record is there", MEDIA, &media, named("late"))
        .await;
    assert!(world.met().await > 0, "it was named");
    world.daemon.end().await;
}

/// As a machine whose clocks stood still and do not know it: the org's time is ahead of what the last login leads to.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_stood_still_learns_the_org_s_time_by_another_login() {
    let world = World::start().await;
    let org = &world.org;
    let media = org.some(MEDIA, "").await;
    for (minutes, name) in [(10, "ten minutes"), (300, "five hours")] {
        org.control("clock", json!({"advance_ms": minutes * MINUTE}))
            .await;
        let update = record(MEDIA, &json!({"Id": media, "Name": name}));
        org.control("changes", json!({"update": [update]})).await;
        world.until(name, MEDIA, &media, |row| row["name"] == name).await;
    }
    world.daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_whose_time_is_behind_the_org_s_own_stamps_does_not_end_the_lists_early() {
    let world = World::start().await;
    let org = &world.org;
    let media = org.some(MEDIA, "").await;
    let rename = async |name: &str| {
        let update = record(MEDIA, &json!({"Id": media, "Name": name}));
        org.control("changes", json!({"update": [update]})).await;
    };
    rename("before").await;
    world
        .until("a change", MEDIA, &media, |row| row["name"] == "before")
        .await;
    let an_hour_ago = world.daemon.now() + 40 * MINUTE - 60 * MINUTE;
    org.fault(json!([
        {"path": "/oauth2/token", "fault": {"edit": {"members": {"issued_at": an_hour_ago.to_string()}}}},
        {"path": "/services/data", "times": 1, "fault": "expire_sessions"},
    ]))
    .await;
    world.sleep(STEP).await;
    eventually("a login", async || {
        let url = format!("{}/sandbox/faults", org.env["SANDBOX_HTTP"]);
        let told: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        (told["rules"][0]["struck"].as_u64()? > 0).then_some(())
    })
    .await;
    for _ in 0..2 {
        world.sleep(STEP).await;
        world.is_current(60 + SETTLED_SECONDS).await;
    }
    rename("after").await;
    world
        .until("a change after such a login", MEDIA, &media, |row| {
            row["name"] == "after"
        })
        .await;
    world.daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_never_stands_still_is_as_old_as_is_said() {
    let world = World::start().await;
    let media = world.org.some(MEDIA, "").await;
    world.pass(STEP).await;
    // What the org had when, the oldest first.
    let mut names: Vec<(Millis, String)> = Vec::new();
    let mut newest_seen = 0;
    for number in 0..24 {
        let name = format!("name {number}");
        let update = record(MEDIA, &json!({"Id": media, "Name": name}));
        world.org.control("changes", json!({"update": [update]})).await;
        names.push((world.daemon.now(), name));
        world.sleep(20_000).await;
        world.is_current(60).await;
        let asked = world.daemon.now();
        let said = world.daemon.look(MEDIA, &media).await.unwrap();
        let seen = names
            .iter()
            .position(|(_, name)| said.row["name"] == name.as_str());
        let unseen = seen.map_or(0, |seen| seen + 1);
        newest_seen = newest_seen.max(unseen);
        if let Some((at, _)) = names.get(unseen) {
            let age = asked - at;
            assert!(
                said.lag_seconds.is_some_and(|lag| lag * 1_000 >= age),
                "a change of {age} ms ago is not seen, and said {said:?}"
            );
        }
    }
    assert!(newest_seen > 15, "{newest_seen} of 24 were seen");
    world.daemon.end().await;
}

/// Moves time by thirds of a minute for a quarter of an hour in which nothing happens, and looks at answers after each.
async fn a_quarter_of_an_hour(world: &World, store: &str, page: i64) -> (u64, Vec<i64>, Vec<i64>) {
    let before = calls_counted(&world.org).await;
    let (mut products, mut taxes) = (Vec::new(), Vec::new());
    for _ in 0..45 {
        world.sleep(20_000).await;
        world.is_current(page).await;
        for (path, lags) in [("products", &mut products), ("taxes", &mut taxes)] {
            let url = format!("{}/v1/stores/{store}/{path}", world.daemon.api);
            let answer = reqwest::get(url).await.unwrap();
            let lag = answer.headers()["storesync-lag-seconds"].to_str().unwrap();
            lags.push(lag.parse().unwrap());
        }
    }
    products.sort_unstable();
    taxes.sort_unstable();
    (calls_counted(&world.org).await - before, products, taxes)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_org_costs_what_is_projected() {
    // A Developer Edition, an Enterprise Edition: 5 % of the allowance, and 2,500 at least.
    for (allowed, budget) in [(15_000_u64, 2_500), (100_000, 5_000)] {
        let world = World::of(allowed).await;
        let store = world.org.some("s_c__Store__c", "").await;
        // Everything was asked once.
        for _ in 0..16 {
            world.sleep(STEP).await;
            world.is_current(300).await;
        }
        let polls = world.daemon.asked("/status").await["polls"].clone();
        let page = polls["interval_seconds"]["page"].as_i64().unwrap();
        let (calls, products, taxes) = a_quarter_of_an_hour(&world, &store, page).await;
        let (p50, p99) = (products[22], products[44]);
        println!(
            "{allowed} calls allowed: {} a day, {} projected; products {p50} s old in the median, {p99} s at most, taxes {} and {}",
            calls * 96,
            polls["calls_daily"],
            taxes[22],
            taxes[44],
        );
        assert_eq!(polls["budget_daily"], budget);
        // A quarter of an hour has whole rounds: one more, or the first of another kind, may fall into it.
        let projected = polls["calls_daily"].as_u64().unwrap();
        assert!(calls <= projected / 96 + 8, "{calls} {polls}");
        assert!(polls["calls_daily"].as_u64().unwrap() <= budget, "{polls}");
        world.daemon.end().await;
    }
}

/// How changes are asked for.
async fn by(world: &World, way: &str) {
    eventually(way, async || {
        let status = world.daemon.asked("/status").await;
        (status["polls"]["by"] == way).then_some(())
    })
    .await;
}

async fn is_updated_to(world: &World, name: &str) {
    let media = world.org.some(MEDIA, "").await;
    let update = record(MEDIA, &json!({"Id": media, "Name": name}));
    world.org.control("changes", json!({"update": [update]})).await;
    world.until(name, MEDIA, &media, |row| row["name"] == name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_org_without_lists_is_asked_by_queries_within_the_budget_until_it_has_them() {
    let world = World::of(15_000).await;
    let store = world.org.some("s_c__Store__c", "").await;
    by(&world, "lists").await;
    let refused = json!({"status": 400, "code": "INVALID_REPLICATION_DATE"});
    world
        .org
        .fault(json!([{"path": "/updated/", "fault": refused}, {"path": "/deleted/", "fault": refused}]))
        .await;
    for _ in 0..5 {
        world.sleep(MINUTE).await;
    }
    by(&world, "queries").await;
    is_updated_to(&world, "by queries").await;
    let polls = world.daemon.asked("/status").await["polls"].clone();
    let page = polls["interval_seconds"]["page"].as_i64().unwrap();
    let (calls, products, _) = a_quarter_of_an_hour(&world, &store, page + SETTLED_SECONDS).await;
    println!(
        "by queries, 15000 calls allowed: {} a day, {} projected; products {} s old in the median",
        calls * 96,
        polls["calls_daily"],
        products[22],
    );
    let projected = polls["calls_daily"].as_u64().unwrap();
    assert!(projected <= 2_500, "{polls}");
    assert!(calls <= projected / 96 + 16, "{calls} {polls}");
    world.org.no_faults().await;
    for _ in 0..13 {
        world.sleep(5 * MINUTE).await;
    }
    by(&world, "lists").await;
    is_updated_to(&world, "by lists again").await;
    world.daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_org_that_refuses_composites_is_asked_one_by_one() {
    let world = World::start().await;
    world.pass(STEP).await;
    for (number, (status, code)) in [(400, "LIMIT_EXCEEDED"), (403, "INSUFFICIENT_ACCESS")]
        .into_iter()
        .enumerate()
    {
        let fault = json!({"path": "/composite", "fault": {"status": status, "code": code}});
        world.org.fault(fault).await;
        is_updated_to(&world, &format!("one by one {number}")).await;
        world.org.no_faults().await;
        // Composites are tried again after an hour.
        for _ in 0..13 {
            world.sleep(5 * MINUTE).await;
        }
        by(&world, "lists").await;
    }
    world.daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_the_org_cannot_be_asked_is_told_at_once() {
    let world = World::start().await;
    world.pass(STEP).await;
    world
        .org
        .fault(json!({"path": "/composite", "fault": {"status": 503}}))
        .await;
    world.sleep(STEP).await;
    let problem = async || {
        let status = world.daemon.asked("/status").await;
        let objects = status["objects"].as_array()?.clone();
        let media = objects.into_iter().find(|object| object["object"] == MEDIA)?;
        media["cause"].as_str().map(str::to_owned)
    };
    let cause = eventually("a cause", async || problem().await).await;
    assert!(cause.contains("could not be asked what changed"), "{cause}");
    assert!(cause.contains("503"), "{cause}");
    world.org.no_faults().await;
    world.sleep(STEP).await;
    eventually("no cause", async || problem().await.is_none().then_some(())).await;
    world.daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stood_in_the_way_of_lists_is_not_told_of_an_object_that_is_no_longer_listed() {
    let world = World::start().await;
    world.pass(STEP).await;
    let cause = async || {
        let status = world.daemon.asked("/status").await;
        let objects = status["objects"].as_array()?.clone();
        let found = objects.into_iter().find(|object| object["object"] == STREAMED);
        Some(found?["cause"].clone())
    };
    world
        .org
        .fault(json!({"path": "/composite", "fault": {"status": 503}}))
        .await;
    world.sleep(STEP).await;
    eventually("a cause", async || cause().await?.as_str().map(str::to_owned)).await;
    // Its list is refused from now on, so that its events alone keep it current.
    world.org.no_faults().await;
    let refused = json!({"path": format!("{STREAMED}/updated"), "fault": {"status": 400}});
    world.org.fault(refused).await;
    world.sleep(STEP).await;
    eventually("no cause", async || cause().await?.is_null().then_some(())).await;
    world.daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_list_was_refused_once_is_listed_again_after_an_hour() {
    let world = World::start().await;
    world.pass(STEP).await;
    // The first list is refused, and all of them are counted.
    let rule = json!({"path": format!("{MEDIA}/updated"), "times": 1, "fault": {"status": 503}});
    world.org.fault(rule).await;
    world.sleep(STEP).await;
    eventually("a refused list", async || (world.met().await == 1).then_some(())).await;
    is_updated_to(&world, "by a query").await;
    assert_eq!(world.met().await, 1);
    for _ in 0..13 {
        world.sleep(5 * MINUTE).await;
    }
    eventually("a second list", async || (world.met().await > 1).then_some(())).await;
    is_updated_to(&world, "by a list").await;
    world.daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_open_and_silent_is_seen_through() {
    let world = World::start().await;
    let product = world.org.some(STREAMED, "").await;
    let update = record(STREAMED, &json!({"Id": product, "Name": "told by nobody"}));
    world
        .org
        .control("changes", json!({"told": "silently", "update": [update]}))
        .await;
    world
        .until("a change without an event", STREAMED, &product, |row| {
            row["name"] == "told by nobody"
        })
        .await;
    world.daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_called_is_known_after_a_restart() {
    let org = Sandbox::start(&["--products", "10", "--stores", "1"]).await;
    let of = |calls: &Value, purpose: &str| calls[purpose].as_u64().unwrap();
    // The org counts what it answered; nobody else called it.
    let all = async |calls: Value| {
        let sum = of(&calls, "polls") + of(&calls, "reads") + of(&calls, "orders");
        let is_all = sum == calls_counted(&org).await && of(&calls, "polls") > 0 && of(&calls, "orders") > 0;
        is_all.then_some(calls)
    };
    let mut before = 0;
    for _ in 0..2 {
        // A call that an end cuts off is counted here, and not by the org: there is none with rounds so far apart.
        let mut daemon = org
            .daemon_with(&[("STORESYNC__SYNC__POLL_SECONDS", "3600")])
            .await;
        daemon.live().await;
        let (store, currency, products) = a_store(&daemon).await;
        let posted = order(&format!("CALL-{before}"), &currency, &[(&products[0], 1)]);
        accepted(&daemon, &store, &posted).await;
        let path = format!("/v1/stores/{store}/orders/CALL-{before}");
        daemon.until(&path, &["confirmed"]).await;
        eventually("as many calls as the org counted", async || {
            all(daemon.admin_get("/status").await["calls"].clone()).await
        })
        .await;
        daemon.running.stop();
        let calls = eventually("as many calls as the org counted, after the end", async || {
            let (_, told, _) = org.verb(&["status", "--json"]).await;
            all(serde_json::from_str::<Value>(&told).unwrap()["calls"].clone()).await
        })
        .await;
        assert!(of(&calls, "reads") > before, "{calls}");
        before = of(&calls, "reads");
    }
}
