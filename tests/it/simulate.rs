//! Whole lives of a daemon, drawn from a seed: a merchant's edits of every kind, a shopper's orders, an org that
//! misbehaves, and kills in between. Whatever happened, in the end the cache equals the org, what no event told was found by
//! comparing, each change is in the feed once, nothing is left in the ledger, and each
//! order is in the org once; and no daemon has said anything of who is in the org, or any secret.
//!
//! Of 200 seeds a run tries every sixteenth, others each day; `STORESYNC_SEEDS=200` tries so many new ones,
//! `STORESYNC_SEEDS=17..18` these. What is drawn depends on the seed alone; what happens also on how the processes are
//! scheduled, so a failing seed may have to be tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;

use fastrand::Rng;
use serde_json::{Value, json};
use storesync::journal::replay::{Memory, Span, replay};
use storesync::store::cache::Cache;
use storesync::store::journal::JournalReader;

use crate::engineers::replay::everything;
use crate::outbound::shopper::{STORES, Shopper, UNSHOWN};
use crate::privacy::{says_nothing_of, secrets};
use crate::world::{Daemon, Sandbox, cache, converge, eventually, select, share_of_today};

/// Those of sixteen days, where none are given.
const SEEDS: std::ops::Range<u64> = 0..200;
const SEEDS_SHARES: usize = 16;

/// Worlds at a time: most of a world's life is waiting.
const WORLDS: usize = 10;

const STEPS: usize = 40;

/// Of so many lives one is also applied again by a stage that forgets, which takes long.
const FORGETTING: u64 = 4;

/// Loads of a dozen objects take a moment.
const FEW_OBJECTS: (&str, &str) = ("STORESYNC__SYNC__PROFILE", "standard");

/// The ways that the same changes are followed.
const CHANNELS: [&str; 3] = [
    "/data/ChangeEvents",
    "/data/AccountChangeEvent,/data/OrderChangeEvent,/data/OrderItemChangeEvent,/data/Product2ChangeEvent,\
     /data/PricebookEntryChangeEvent",
    "/data/Shop__chn,/data/Product2ChangeEvent",
];

/// Older than what the org keeps.
const LONG_MILLIS: u64 = 80 * 3_600_000;

fn seeds() -> Vec<u64> {
    let Ok(given) = std::env::var("STORESYNC_SEEDS") else {
        return SEEDS
            .skip(share_of_today(SEEDS_SHARES))
            .step_by(SEEDS_SHARES)
            .collect();
    };
    let first = fastrand::u64(..1 << 40);
    match given.split_once("..") {
        Some((from, to)) => (from.parse().unwrap()..to.parse().unwrap()).collect(),
        None => (first..first + given.parse::<u64>().unwrap()).collect(),
    }
}

#[test]
fn whatever_happens_the_cache_ends_up_equal_to_the_org() {
    let seeds = seeds();
    println!("{} lives, from seed {}", seeds.len(), seeds[0]);
    let seeds = Mutex::new(seeds.into_iter());
    let failed = Mutex::new(Vec::new());
    let worlds = || {
        while let Some(seed) = { seeds.lock().unwrap().next() } {
            let life = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(live_through(seed));
            });
            if life.join().is_err() {
                eprintln!("a life failed: STORESYNC_SEEDS={seed}..{}", seed + 1);
                failed.lock().unwrap().push(seed);
            }
        }
    };
    std::thread::scope(|scope| (0..WORLDS).for_each(|_| drop(scope.spawn(worlds))));
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "failed with the seeds {failed:?}");
}

/// The whole journal gives the cache, value for value. It does so as well where the apply stage forgets, after every
/// command, all that it knows beside the file.
fn is_what_the_journal_says(state: &Path, forgetting: bool, diary: &str) {
    let there = everything(&state.join("cache.db"));
    let journal = JournalReader::open(state).unwrap();
    let ways: &[_] = match forgetting {
        true => &[None, Some(Memory::Kept), Some(Memory::Forgotten)],
        false => &[None],
    };
    for steps in ways.iter().copied() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(dir.path()).unwrap();
        let span = Span {
            steps,
            ..Span::default()
        };
        replay(&journal, &mut cache, &span).unwrap();
        drop(cache);
        let again = everything(&dir.path().join("cache.db"));
        // In steps, what was applied is remembered by command and not by batch.
        let is_same = |row: &&String| steps.is_some() && row.starts_with("_applied_event:");
        let differing = |one: &[String], other: &[String]| {
            let rows = one.iter().filter(|row| !is_same(row));
            let rows = rows.filter(|row| other.binary_search(row).is_err());
            rows.take(10).cloned().collect::<Vec<_>>()
        };
        assert_eq!(
            differing(&there, &again),
            [""; 0],
            "only in the cache, {steps:?}\n{diary}"
        );
        assert_eq!(
            differing(&again, &there),
            [""; 0],
            "only in the replay, {steps:?}\n{diary}"
        );
    }
}

/// What was done to the org, as far as the end depends on it.
struct Life {
    seed: u64,
    random: Rng,
    channels: &'static str,
    org: Sandbox,
    daemon: Daemon,
    accounts: Vec<String>,
    deleted: Vec<String>,
    products: Vec<String>,
    entries: Vec<String>,
    contacts: Vec<String>,
    /// Records that were changed without anyone being told.
    silent: BTreeSet<String>,
    /// Records that were changed without a stamp: only their events tell, and those are lost where a position is.
    unstamped: BTreeSet<String>,
    /// Products whose price book entries change in silence: what tells of it comes with the product.
    renamed: BTreeSet<String>,
    migrated: bool,
    /// A stream may have been told to say nothing any more, which a daemon need not notice for five minutes.
    silenced: bool,
    /// Changes of accounts made here, each a transaction of its own.
    changes: BTreeMap<String, usize>,
    /// Records that were changed in other ways too.
    uncounted: BTreeSet<String>,
    /// What the daemons before this one said.
    said: String,
    /// What none of them may say, and what it is.
    secrets: Vec<(String, &'static str)>,
    /// What was done, for whoever reads of a failure.
    diary: String,
    shopper: Shopper,
}

async fn ids(org: &Sandbox, object: &str) -> Vec<String> {
    let rows = org.query(&format!("SELECT Id FROM {object} ORDER BY Id")).await;
    rows.iter()
        .map(|row| row["Id"].as_str().unwrap().to_owned())
        .collect()
}

async fn started(org: &Sandbox, channels: &'static str) -> Daemon {
    let told = ("STORESYNC_LOG", "storesync=debug,info");
    let variables = [
        FEW_OBJECTS,
        STORES,
        UNSHOWN,
        told,
        ("STORESYNC__SYNC__CHANNELS", channels),
    ];
    org.daemon_with(&variables).await
}

async fn live_through(seed: u64) {
    let org = Sandbox::start(&["--products", "8", "--stores", "1", "--seed", &seed.to_string()]).await;
    let mut random = Rng::with_seed(seed);
    let channels = CHANNELS[random.usize(..CHANNELS.len())];
    let members = json!([{"object": "Account", "enriched": ["Industry"]}, {"object": "PricebookEntry"}]);
    org.control(
        "pubsub/channels",
        json!({"name": "Shop__chn", "members": members}),
    )
    .await;
    let daemon = started(&org, channels).await;
    daemon.live().await;
    let mut life = Life {
        seed,
        random,
        channels,
        accounts: Vec::new(),
        deleted: Vec::new(),
        products: ids(&org, "Product2").await,
        entries: ids(&org, "PricebookEntry").await,
        contacts: ids(&org, "Contact").await,
        silent: BTreeSet::new(),
        unstamped: BTreeSet::new(),
        renamed: BTreeSet::new(),
        migrated: false,
        silenced: false,
        changes: BTreeMap::new(),
        uncounted: BTreeSet::new(),
        said: String::new(),
        secrets: secrets(&org).await,
        diary: String::new(),
        shopper: Shopper::enter(&org).await,
        org,
        daemon,
    };
    for step in 0..STEPS {
        life.step(step).await;
    }
    life.end().await;
}

impl Drop for Life {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the life was:\n{}", self.diary);
        }
    }
}

impl Life {
    fn note(&mut self, what: &str) {
        let _ = writeln!(self.diary, "{what}");
    }

    fn one(&mut self, ids: fn(&Self) -> &Vec<String>) -> Option<String> {
        let count = ids(self).len();
        (count > 0).then(|| {
            let at = self.random.usize(..count);
            ids(self)[at].clone()
        })
    }

    async fn step(&mut self, step: usize) {
        match self.random.u32(..100) {
            0..35 => self.edit(step).await,
            35..45 => {
                let ordered = self
                    .shopper
                    .order(&mut self.random, &self.org, &self.daemon, step)
                    .await;
                self.note(&ordered);
            }
            45..65 => self.edit_from_inside(step).await,
            65..85 => self.misbehave().await,
            85..88 => self.migrate().await,
            88..90 => self.change_schema(step).await,
            90..95 => self.restart(true).await,
            95..97 => self.restart(false).await,
            _ => tokio::time::sleep(std::time::Duration::from_millis(self.random.u64(..400))).await,
        }
    }

    /// As a merchant or a program does, over REST.
    async fn edit(&mut self, step: usize) {
        let text = format!(
            "step {step}, with \"quotes\"\nand lines {}",
            "x".repeat(self.random.usize(..1_500))
        );
        match self.random.u32(..10) {
            0..2 => self.open_account(step, &text).await,
            2..5 => {
                let Some(id) = self.one(|life| &life.accounts) else {
                    return;
                };
                let site = self.random.bool().then(|| format!("step {step}"));
                self.org
                    .update(
                        "Account",
                        &id,
                        json!({"Site": site, "BillingCity": format!("City {step}")}),
                    )
                    .await;
                self.note(&format!("update {id}"));
                *self.changes.entry(id).or_default() += 1;
            }
            5 => {
                let Some(id) = self.one(|life| &life.accounts) else {
                    return;
                };
                self.org.delete("Account", &id).await;
                self.note(&format!("delete {id}"));
                self.accounts.retain(|account| *account != id);
                *self.changes.entry(id.clone()).or_default() += 1;
                self.deleted.push(id);
            }
            6 => {
                let Some(id) = self.one(|life| &life.products) else {
                    return;
                };
                let description = self.random.bool().then_some(text);
                let mut fields = json!({"Description": description});
                if self.random.bool() {
                    fields["Name"] = json!(format!("Product {step}"));
                    self.renamed.insert(id.clone());
                }
                self.org.update("Product2", &id, fields).await;
            }
            7..9 => {
                let Some(id) = self.one(|life| &life.entries) else {
                    return;
                };
                let price = f64::from(self.random.u32(100..100_000)) / 100.0;
                self.org
                    .update("PricebookEntry", &id, json!({"UnitPrice": price}))
                    .await;
            }
            _ => {
                let Some(id) = self.one(|life| &life.contacts) else {
                    return;
                };
                self.org
                    .update(
                        "Contact",
                        &id,
                        json!({"LastName": format!("Lee {step}"), "Department": null}),
                    )
                    .await;
            }
        }
    }

    async fn open_account(&mut self, step: usize, text: &str) {
        let account = json!({"Name": format!("Account {step}"), "Description": text});
        let id = self.org.create("Account", account).await;
        self.note(&format!("create {id}"));
        self.changes.insert(id.clone(), 1);
        self.accounts.push(id);
    }

    /// As the platform's insides do: gaps, overflows, wildcards, and things nobody is told of.
    async fn edit_from_inside(&mut self, step: usize) {
        let told = ["gaps", "overflow", "wildcard", "silently", "events"][self.random.usize(..5)];
        let stamps = ["all", "all", "system", "none"][self.random.usize(..4)];
        let Some(account) = self.one(|life| &life.accounts) else {
            return;
        };
        let Some(product) = self.one(|life| &life.products) else {
            return;
        };
        let mut body = json!({"told": told, "stamps": stamps, "update": [
            {"attributes": {"type": "Account"}, "Id": account, "Site": format!("inside {step}")},
            {"attributes": {"type": "Product2"}, "Id": product, "Description": format!("inside {step}")},
        ]});
        match (told, self.one(|life| &life.deleted)) {
            ("events" | "silently" | "gaps", Some(deleted)) if self.random.bool() => {
                if told != "gaps" && self.random.bool() {
                    body["hard_delete"] = json!([deleted]);
                } else {
                    body["undelete"] = json!([deleted]);
                    self.accounts.push(deleted.clone());
                }
                self.deleted.retain(|id| *id != deleted);
                self.touch(&deleted, told);
            }
            _ => {}
        }
        if self.random.u32(..3) == 0
            && let Some(gone) = self
                .one(|life| &life.accounts)
                .filter(|gone| *gone != account && body["undelete"][0] != gone.as_str())
        {
            body["delete"] = json!([gone]);
            self.accounts.retain(|account| *account != gone);
            self.touch(&gone, told);
            self.deleted.push(gone);
        }
        if self.random.u32(..3) == 0 {
            body["create"] = json!([{"attributes": {"type": "Account"}, "Name": format!("Inside {step}")}]);
        }
        self.note(&format!("from inside: {body}"));
        for made in self.org.control("changes", body).await["created"]
            .as_array()
            .unwrap()
        {
            let made = made.as_str().unwrap();
            self.note(&format!("made inside: {made}"));
            self.touch(made, told);
            self.accounts.push(made.to_owned());
        }
        self.touch(&account, told);
        self.touch(&product, told);
        if stamps == "none" {
            self.unstamped.extend([account, product]);
        }
    }

    fn touch(&mut self, id: &str, told: &str) {
        self.uncounted.insert(id.to_owned());
        if told == "silently" {
            self.silent.insert(id.to_owned());
        }
    }

    async fn misbehave(&mut self) {
        let times = self.random.u32(1..4);
        let rule = match self.random.u32(..3) {
            0 => self.misbehave_in_the_stream(times),
            1 => self.misbehave_when_called(times),
            _ => self.misbehave_over_http(times),
        };
        self.note(&format!("misbehave: {rule}"));
        self.org.fault(rule).await;
    }

    fn misbehave_in_the_stream(&mut self, times: u32) -> Value {
        let faults = [
            json!("end"),
            json!("reset"),
            json!("service_unavailable"),
            json!("unavailable"),
            json!("resource_exhausted"),
            json!("maintenance"),
            json!("revoke_token"),
            json!("duplicate"),
            json!("blank_event_id"),
            json!("truncate_payload"),
            json!("unknown_schema"),
            json!({"delay_ms": 200}),
        ];
        // These two cost a wait of seconds.
        let slow = [json!("silence"), json!("delivery_limit")];
        let (fault, times) = match self.random.usize(..faults.len() * 8) {
            at @ 0..2 => {
                self.silenced = true;
                (slow[at].clone(), 1)
            }
            at => (faults[at % faults.len()].clone(), times),
        };
        json!({"rpc": "Subscribe", "on": "events", "times": times, "fault": fault})
    }

    fn misbehave_when_called(&mut self, times: u32) -> Value {
        let rpc = ["GetSchema", "GetTopic", "Subscribe"][self.random.usize(..3)];
        let fault = match self.random.u32(..4) {
            0 => json!("service_unavailable"),
            1 => json!("maintenance"),
            2 => json!("revoke_token"),
            _ => json!({"delay_ms": 300}),
        };
        json!({"rpc": rpc, "on": "call", "times": times, "fault": fault})
    }

    fn misbehave_over_http(&mut self, times: u32) -> Value {
        let paths = [
            "/query",
            "/composite/sobjects",
            "/jobs/query",
            "/describe",
            "/token",
        ];
        let path = paths[self.random.usize(..paths.len())];
        let fault = match self.random.u32(..10) {
            0..2 => json!({"status": 503}),
            2 => json!({"status": 502, "html": true}),
            3 => json!("drop_before"),
            4 => json!("drop_after_commit"),
            5 => json!("drop_mid_body"),
            6 => json!("maintenance"),
            7 => json!("limit_exceeded"),
            8 => json!({"delay_ms": 300}),
            _ => return self.end_sessions(),
        };
        json!({"path": path, "times": times, "fault": fault})
    }

    fn end_sessions(&mut self) -> Value {
        let fault = ["expire_sessions", "move_instance"][self.random.usize(..2)];
        json!({"path": "/query", "times": 1, "fault": fault})
    }

    async fn migrate(&mut self) {
        self.note("migrate");
        self.migrated = true;
        self.org.control("pubsub/migrate", json!({})).await;
    }

    async fn change_schema(&mut self, step: usize) {
        let name = format!("Field_{step}__c");
        self.note(&format!("new field {name}"));
        let add =
            json!({"add": {"object": "Account", "name": name, "type": "Text 20", "before": "Industry"}});
        self.org.control("schema", add).await;
        if let Some(id) = self.one(|life| &life.accounts) {
            self.org.update("Account", &id, json!({name: "filled"})).await;
            *self.changes.entry(id).or_default() += 1;
        }
    }

    async fn restart(&mut self, at_once: bool) {
        self.note(if at_once { "kill" } else { "stop" });
        if at_once {
            self.daemon.running.kill();
        } else {
            self.daemon.running.stop();
        }
        self.said.push_str(&self.daemon.running.said());
        if self.random.u32(..8) == 0 {
            self.note("80 hours pass");
            self.migrated = true;
            self.org
                .control("clock", json!({"advance_ms": LONG_MILLIS}))
                .await;
        }
        self.daemon = started(&self.org, self.channels).await;
    }

    async fn end(mut self) {
        self.note("end");
        let url = format!("{}/sandbox/faults", self.org.env["SANDBOX_HTTP"]);
        self.org.http.delete(url).send().await.unwrap();
        if self.silenced {
            self.restart(false).await;
        }
        if self.migrated {
            self.silent.append(&mut self.unstamped);
        }
        for product in std::mem::take(&mut self.renamed) {
            let soql = format!("SELECT Id FROM PricebookEntry WHERE Product2Id = '{product}'");
            let entries = self.org.query(&soql).await;
            let entries = entries.iter().map(|row| row["Id"].as_str().unwrap().to_owned());
            self.silent.extend(entries);
        }
        let (code, report) = self.verified().await;
        for object in report["objects"].as_array().unwrap() {
            for row in object["drift"].as_array().unwrap_or(&Vec::new()) {
                let id = row["id"].as_str().unwrap();
                assert!(
                    self.silent.contains(id),
                    "{row} differs, and its change was told\n{}",
                    self.diary
                );
            }
        }
        assert_eq!(code, 0, "{report:#}\n{}", self.diary);
        self.shopper.has_all(&self.org, &self.daemon, &self.diary).await;
        converge(&self.org).await;
        self.org.settled().await;
        self.check_feed();
        self.daemon.running.stop();
        self.said.push_str(&self.daemon.running.said());
        assert!(self.said.contains("DEBUG"), "{}", self.said);
        says_nothing_of(&self.said, &self.secrets);
        is_what_the_journal_says(
            &self.org.state(),
            self.seed.is_multiple_of(FORGETTING),
            &self.diary,
        );
    }

    /// Waits until every stream has brought what is told now: each is connected, and knows of what it lost.
    async fn heard(&mut self) {
        let told = format!("told at the end {}", self.random.u64(..));
        for (object, field) in [
            ("Account", "Site"),
            ("Product2", "Description"),
            ("PricebookEntry", "External_ID__c"),
            ("Order", "Description"),
            ("OrderItem", "Description"),
        ] {
            let id = self.org.some(object, "ORDER BY Id").await;
            self.org.update(object, &id, json!({field: told})).await;
            if let Some(changes) = self.changes.get_mut(&id) {
                *changes += 1;
            }
            let sql = format!("select id from \"{object}\" where {field} = '{told}'");
            eventually("it is heard", async || {
                let heard = select(&cache(&self.org.state()), &sql);
                (!heard.is_empty()).then_some(())
            })
            .await;
        }
    }

    /// Compares everything, once the daemon has nothing left to do. What a stream that had to wait brings late may
    /// give it more.
    async fn verified(&mut self) -> (i32, Value) {
        self.heard().await;
        for _ in 0..20 {
            self.daemon.live().await;
            self.org.settled().await;
            let (code, json, said) = self.org.verb(&["verify", "--full", "--repair", "--json"]).await;
            let report: Value =
                serde_json::from_str(&json).unwrap_or_else(|_| panic!("{json}{said}\n{}", self.diary));
            let objects = report["objects"].as_array().unwrap();
            if objects.iter().all(|object| object["problem"].is_null()) {
                return (code, report);
            }
        }
        panic!("the daemon never comes to rest\n{}", self.diary);
    }

    /// Each change once: of a record that was never read again, exactly as many entries as changes.
    fn check_feed(&self) {
        let connection = cache(&self.org.state());
        let feed = select(
            &connection,
            "select rev, object, record_id, kind from _change order by rev",
        );
        let ledger = self.org.ledger();
        let whole = ledger
            .iter()
            .any(|entry| entry["object"] == "Account" && entry["record_id"].is_null());
        let reloaded = feed
            .iter()
            .filter(|entry| entry["object"] == "Account" && entry["kind"] == "loaded")
            .count()
            > 1;
        let mut present: BTreeMap<&str, bool> = BTreeMap::new();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in &feed {
            let (Some(id), kind) = (entry["record_id"].as_str(), entry["kind"].as_str().unwrap()) else {
                continue;
            };
            let before = present.insert(id, kind != "deleted");
            // What a read has found to be deleted is told once more when its event comes, so that what events brought
            // between the two is erased too.
            let told_by_a_read = kind == "deleted"
                && ledger
                    .iter()
                    .any(|entry| entry["record_id"] == id && entry["found"] == "deleted in the org");
            assert!(
                before != Some(kind == "created") || told_by_a_read,
                "{entry:?} does not follow from what was; {:?}\n{}",
                ledger
                    .iter()
                    .filter(|entry| entry["record_id"] == id)
                    .collect::<Vec<_>>(),
                self.diary
            );
            *counts.entry(id).or_default() += 1;
        }
        if whole || reloaded {
            return;
        }
        for (id, changes) in &self.changes {
            let read_again = ledger.iter().any(|entry| entry["record_id"] == id.as_str());
            if self.uncounted.contains(id) {
                continue;
            }
            let told = counts.get(id.as_str()).copied().unwrap_or(0);
            assert!(
                read_again || told == *changes,
                "{id}: {changes} changes, {told} entries\n{}",
                self.diary
            );
        }
    }
}
