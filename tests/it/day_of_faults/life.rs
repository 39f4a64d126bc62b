//! One life: an org, a daemon, and what happens to both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use storesync::config::ObjectRules;
use storesync::model::clock::{Clock, Millis};

use crate::day_of_faults::faults::{FAULTS, Fault, Make};
use crate::day_of_faults::truth::{Record, Truth};
use crate::freshness::Inside;
use crate::world::{Sandbox, eventually};

const MINUTE: Millis = 60_000;

const MEDIA: &str = "s_c__Media__c";
const TAX: &str = "s_c__Tax__c";
const RATE: &str = "s_c__Shipping_Rate__c";
const BOOK: &str = "Pricebook2";

/// Which interval an object is asked by, and its text that changes.
const WATCHED: [(&str, &str, &str); 7] = [
    (MEDIA, "page", "Name"),
    (BOOK, "page", "Name"),
    ("Product2", "page", "Description"),
    ("Account", "page", "Description"),
    (TAX, "checkout", "Name"),
    (RATE, "checkout", "Name"),
    ("Contact", "other", "Description"),
];

const STREAMED: [&str; 2] = ["Product2", "Account"];

/// What is asked at each look, and the objects that it shows.
const ROUTES: [(&str, &[&str]); 4] = [
    ("products?limit=1", &[MEDIA, BOOK, "Product2", "Account"]),
    ("prices?limit=1", &[MEDIA, BOOK, "Product2", "Account"]),
    ("taxes", &[TAX]),
    ("shipping-methods", &[RATE, "Product2"]),
];

/// As README and the model say: what is polled is stale after two intervals and a minute, what is streamed after 390 s.
const STREAMED_STALE_MILLIS: Millis = 390_000;

/// Longest time until what no event told of is found.
const FOUND_MILLIS: Millis = 15 * MINUTE;

/// A record that could not be read again for so long no longer makes its object older; it makes it stale.
const WAITING_MILLIS: Millis = 300_000;

/// Longer than the daemon waits before it tries again what failed.
const TURN: Duration = Duration::from_secs(75);

/// Counts of a life, or of several.
#[derive(Default)]
pub struct Told {
    moved_millis: Millis,
    faults: BTreeMap<&'static str, u64>,
    looks: u64,
    answers: u64,
    /// Changes by how they were made.
    changes: BTreeMap<&'static str, u64>,
    commits: u64,
    same_second: u64,
    /// Answers where nothing failed, and those of them that were live.
    calm: u64,
    calm_live: u64,
    /// Answers about a streamed object whose stream was alive and empty.
    untold: u64,
}

impl Told {
    pub fn add(&mut self, other: &Self) {
        self.moved_millis += other.moved_millis;
        self.looks += other.looks;
        self.answers += other.answers;
        self.commits += other.commits;
        self.same_second += other.same_second;
        self.calm += other.calm;
        self.calm_live += other.calm_live;
        self.untold += other.untold;
        for (name, count) in &other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        for (name, count) in &other.changes {
            *self.changes.entry(name).or_default() += count;
        }
    }

    pub fn is_good(&self) {
        assert!(
            self.calm_live * 100 >= self.calm * 99,
            "{} of {} answers were live where nothing failed",
            self.calm_live,
            self.calm
        );
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<&str, u64>| {
            let counts = counts.iter().map(|(name, count)| format!("{name} {count}"));
            counts.collect::<Vec<_>>().join(", ")
        };
        writeln!(
            f,
            "{:.1} hours, {} faults, {} samples ({} statements held against the org), {} commits",
            self.moved_millis as f64 / 3_600_000.0,
            self.faults.values().sum::<u64>(),
            self.looks,
            self.answers,
            self.commits,
        )?;
        writeln!(f, "faults: {}", list(&self.faults))?;
        writeln!(
            f,
            "changes: {}; in the same second {}",
            list(&self.changes),
            self.same_second
        )?;
        write!(
            f,
            "without a fault {} of {} live; of streams that were alive and empty {} statements",
            self.calm_live, self.calm, self.untold
        )
    }
}

/// What an answer says of itself.
struct Said {
    state: String,
    lag_millis: Option<Millis>,
    /// By the org's clock, before it was asked.
    asked: Millis,
}

/// A transaction of somebody else that is under way.
struct Held {
    began: Millis,
    due: Millis,
}

pub struct Life {
    seed: u64,
    random: Rng,
    org: Sandbox,
    daemon: Option<Inside>,
    /// The daemon's wall clock and its machine's, and the org's: ahead of the system's.
    hands: Arc<[AtomicI64; 2]>,
    org_ahead: Millis,
    store: String,
    by_stamps: bool,
    records: BTreeMap<&'static str, Vec<String>>,
    /// Records that may be deleted, and those that are not mirrored yet.
    spare: Vec<String>,
    hidden: Vec<String>,
    held: Option<Held>,
    /// Changes of streamed objects are published to nobody.
    is_hushed: bool,
    is_backlogged: bool,
    number: u64,
    truth: Truth,
    told: Told,
    left: Vec<usize>,
    diary: String,
}

impl Drop for Life {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the life of seed {} was:\n{}", self.seed, self.diary);
        }
    }
}

impl Life {
    pub async fn live_through(seed: u64, minutes: i64) -> Told {
        let mut life = Self::begin(seed).await;
        let end = life.org_ahead + minutes * MINUTE;
        life.calm().await;
        while life.org_ahead < end {
            life.suffer().await;
            life.calm().await;
        }
        life.finish().await
    }

    async fn begin(seed: u64) -> Self {
        let arguments = ["--products", "10", "--stores", "1", "--seed", &seed.to_string()];
        let org = Sandbox::start(&arguments).await;
        org.control("limits", json!({"daily_requests": 5_000_000})).await;
        let mut records = BTreeMap::new();
        for (object, ..) in WATCHED {
            let rows = org
                .query(&format!("SELECT Id FROM {object} ORDER BY Id LIMIT 5"))
                .await;
            let ids = rows.iter().map(|row| row["Id"].as_str().unwrap().to_owned());
            records.insert(object, ids.collect::<Vec<_>>());
        }
        let (mut spare, mut hidden) = (Vec::new(), Vec::new());
        for number in 0..10 {
            let media = json!({"Name": format!("spare {number}"), "s_c__File_Type__c": "image"});
            spare.push(org.create(MEDIA, media).await);
            let book = json!({"Name": format!("hidden {number}"), "IsActive": false});
            hidden.push(org.create(BOOK, book).await);
        }
        // What the org was made with is long ago.
        let org_ahead = 40 * MINUTE;
        org.control("clock", json!({"advance_ms": org_ahead})).await;
        org.control("commits", json!({"keep": 10_000})).await;
        // Some orgs do not list what changed: they are asked by stamps.
        let by_stamps = seed % 4 == 3;
        org.control("lists", json!({"refused": by_stamps})).await;
        let store = org.some("s_c__Store__c", "").await;
        let mut life = Self {
            seed,
            random: Rng::with_seed(seed),
            org,
            daemon: None,
            hands: Arc::default(),
            org_ahead,
            store,
            by_stamps,
            records,
            spare,
            hidden,
            held: None,
            is_hushed: false,
            is_backlogged: false,
            number: 0,
            truth: Truth::default(),
            told: Told::default(),
            left: Vec::new(),
            diary: String::new(),
        };
        life.start().await;
        let admin = life.daemon().admin.clone();
        eventually("the first load is complete", async || {
            let status: Value = reqwest::get(format!("{admin}/status"))
                .await
                .ok()?
                .json()
                .await
                .ok()?;
            (status["state"] == "live").then_some(())
        })
        .await;
        life
    }

    async fn start(&mut self) {
        let clock = Clock::Apart(Arc::clone(&self.hands));
        let filter = ObjectRules {
            filter: Some("IsActive = true".to_owned()),
            ..ObjectRules::default()
        };
        let daemon = Inside::start_by(&self.org, clock, |sync| {
            sync.poll_seconds = 60;
            sync.object.insert(BOOK.to_owned(), filter);
        });
        self.daemon = Some(daemon.await);
    }

    fn daemon(&self) -> &Inside {
        self.daemon.as_ref().unwrap()
    }

    fn note(&mut self, what: &str) {
        let minutes = (self.org_ahead - 40 * MINUTE) / MINUTE;
        self.diary.push_str(&format!("{minutes:5} min  {what}\n"));
    }

    fn org_now(&self) -> Millis {
        Clock::System.now() + self.org_ahead
    }

    /// Time passes for the org and for the machine.
    async fn pass(&mut self, millis: Millis) {
        self.org.control("clock", json!({"advance_ms": millis})).await;
        self.org_ahead += millis;
        self.told.moved_millis += millis;
        for hand in &*self.hands {
            hand.fetch_add(millis, Ordering::SeqCst);
        }
    }

    /// Some minutes in which nothing fails.
    async fn calm(&mut self) {
        let minutes = self.random.i64(2..6);
        self.note(&format!("calm for {minutes} min"));
        let end = self.org_ahead + minutes * MINUTE;
        while self.org_ahead < end {
            self.step(0.1).await;
            let is_calm = self.held.is_none();
            self.look(is_calm).await;
            if is_calm {
                self.settle().await;
            }
        }
        self.release().await;
    }

    /// Until a transaction that is under way has ended, and what it held back is here.
    async fn release(&mut self) {
        if self.held.is_none() {
            return;
        }
        while self.held.is_some() {
            self.step(0.0).await;
            self.look(false).await;
        }
        self.is_live(0).await;
    }

    /// 10 to 30 s, in which a record may change.
    async fn step(&mut self, chance: f64) {
        if self.random.f64() < chance {
            self.change().await;
        }
        let millis = self.random.i64(10_000..30_000);
        self.pass(millis).await;
        if let Some(held) = self
            .held
            .take_if(|held| Clock::System.now() + self.org_ahead >= held.due)
        {
            let began_ms_ago = self.org_now() - held.began;
            let update = self.renamed(MEDIA);
            let late = json!({"update": [update], "began_ms_ago": began_ms_ago});
            self.note("the late commit");
            self.org.control("changes", late).await;
            self.org.control("transaction", json!({"open": false})).await;
            self.read_log().await;
        }
    }

    /// Pages are as current as they are planned to be.
    async fn settle(&mut self) {
        // A poll by stamps proves less, and is due a minute after the one before it.
        let settled = if self.by_stamps { 60 } else { 20 };
        let (admin, what) = (
            self.daemon().admin.clone(),
            format!("seed {}: pages are current", self.seed),
        );
        eventually(&what, async || {
            let status: Value = reqwest::get(format!("{admin}/status"))
                .await
                .ok()?
                .json()
                .await
                .ok()?;
            let page = status["polls"]["interval_seconds"]["page"].as_i64()?;
            let media = object(&status, MEDIA)?["lag_seconds"].as_i64()?;
            (media <= page + settled).then_some(())
        })
        .await;
    }

    /// One fault, drawn of those that were not drawn yet.
    async fn suffer(&mut self) {
        if self.left.is_empty() {
            let wanted = std::env::var("STORESYNC_FAULT").ok();
            let is_wanted = |at: &usize| {
                wanted
                    .as_ref()
                    .is_none_or(|wanted| FAULTS[*at].name.contains(wanted))
            };
            self.left = (0..FAULTS.len()).filter(is_wanted).collect();
            self.random.shuffle(&mut self.left);
        }
        let fault = &FAULTS[self.left.pop().unwrap()];
        let minutes = self.random.i64(4..14);
        self.note(&format!("{} for {minutes} min", fault.name));
        *self.told.faults.entry(fault.name).or_default() += 1;
        self.change().await;
        self.begin_fault(fault).await;
        // Each fault meets a change.
        self.change().await;
        let end = self.org_ahead + minutes * MINUTE;
        while self.org_ahead < end {
            self.step(0.3).await;
            self.look(false).await;
            if self.is_hushed && self.held.is_none() {
                self.settle().await;
            }
        }
        self.end_fault(fault).await;
        self.look(false).await;
        self.release().await;
        self.is_live(fault.pause_millis).await;
    }

    async fn begin_fault(&mut self, fault: &Fault) {
        match fault.make {
            Make::Rules(rules) => self.org.fault(rules()).await,
            Make::NothingSelected => {
                self.is_hushed = true;
                self.org.control("selection", json!({"entities": []})).await;
            }
            Make::WallBy(millis) => drop(self.hands[0].fetch_add(millis, Ordering::SeqCst)),
            Make::Suspended(millis) => self.pass(millis).await,
            Make::Restart(millis) => {
                self.daemon.take().unwrap().end().await;
                self.pass(millis).await;
                self.start().await;
            }
            Make::HalfLoaded => {
                self.daemon.take().unwrap().end().await;
                // Its journal would bring the cache back.
                std::fs::remove_dir_all(self.org.state()).unwrap();
                std::fs::create_dir(self.org.state()).unwrap();
                let refused = json!({"path": MEDIA, "except": "/describe", "fault": {"status": 503}});
                self.org.fault(refused).await;
                self.start().await;
            }
            Make::Backlog(millis) => {
                self.is_backlogged = true;
                let refused = json!({"path": "/composite/sobjects", "fault": {"status": 503}});
                self.org.fault(refused).await;
                let update = self.renamed("Product2");
                self.org
                    .control("changes", json!({"told": "gaps", "update": [update]}))
                    .await;
                self.read_log().await;
                eventually("a record waits to be read again", async || {
                    self.org
                        .ledger()
                        .iter()
                        .any(|entry| entry["found"].is_null())
                        .then_some(())
                })
                .await;
                self.hands[0].fetch_add(millis, Ordering::SeqCst);
            }
        }
    }

    async fn end_fault(&mut self, fault: &Fault) {
        self.note("it ends");
        match fault.make {
            Make::Rules(_) | Make::HalfLoaded => self.org.no_faults().await,
            Make::Backlog(millis) => {
                self.hands[0].fetch_sub(millis, Ordering::SeqCst);
                self.org.no_faults().await;
            }
            Make::NothingSelected => {
                let entities = ["Account", "Order", "OrderItem", "Product2", "PricebookEntry"];
                self.org.control("selection", json!({"entities": entities})).await;
            }
            Make::WallBy(millis) => drop(self.hands[0].fetch_sub(millis, Ordering::SeqCst)),
            Make::Suspended(_) | Make::Restart(_) => {}
        }
    }

    /// Everything is live again within its interval and 30 s, and what the fault made the daemon wait for.
    async fn is_live(&mut self, pause_millis: Millis) {
        let (mut passed, started) = (0, self.org_ahead);
        loop {
            let began = Instant::now();
            let mut late = self.late(passed - pause_millis).await;
            while late.is_some() && began.elapsed() < TURN {
                tokio::time::sleep(Duration::from_millis(50)).await;
                late = self.late(passed - pause_millis).await;
            }
            let status = self.status().await;
            if status["state"] == "live" {
                break;
            }
            assert!(
                late.is_none(),
                "seed {}: {} s after the end of a fault: {late:?}",
                self.seed,
                passed / 1_000
            );
            self.step(0.0).await;
            self.look(false).await;
            passed = self.org_ahead - started;
        }
        while self.is_hushed && self.truth.oldest(|object| STREAMED.contains(&object)).is_some() {
            // What no event told of is found by the lists, which are believed where they say so twice.
            assert!(
                self.org_ahead - started <= FOUND_MILLIS,
                "seed {}: what no event told of is not found",
                self.seed
            );
            self.step(0.0).await;
            self.look(false).await;
        }
        (self.is_hushed, self.is_backlogged) = (false, false);
        self.note(&format!("live after {} s", passed / 1_000));
    }

    /// An object that should be live so long after a fault, and is not; any object while there is time left, so that the
    /// daemon gets its turn.
    async fn late(&self, passed: Millis) -> Option<String> {
        let status = self.status().await;
        let interval = |object: &Value| {
            let name = object["object"].as_str().unwrap();
            let urgency = WATCHED.iter().find(|(watched, ..)| *watched == name);
            let urgency = urgency.map_or("other", |(_, urgency, _)| urgency);
            status["polls"]["interval_seconds"][urgency]
                .as_i64()
                .unwrap_or(600)
                * 1_000
        };
        let objects = status["objects"].as_array().cloned().unwrap_or_default();
        let is_late = |object: &&Value| object["freshness"] != "live" && passed > interval(object) + 30_000;
        let late = objects.iter().find(is_late);
        late.map(|object| format!("{}: {object}", status["cause"]))
    }

    async fn status(&self) -> Value {
        self.daemon().asked("/status").await
    }

    /// A record of an object with another text.
    fn renamed(&mut self, object: &'static str) -> Value {
        self.number += 1;
        let ids = &self.records[object];
        let id = &ids[self.random.usize(..ids.len())];
        let (_, _, field) = WATCHED.iter().find(|(watched, ..)| *watched == object).unwrap();
        let mut record = json!({"attributes": {"type": object}, "Id": id});
        record[*field] = json!(format!("text {}", self.number));
        record
    }

    async fn change(&mut self) {
        let quiet = [MEDIA, TAX, RATE, "Contact", "Product2", "Account"];
        let object = quiet[self.random.usize(..quiet.len())];
        let what = match self.random.u32(..10) {
            0..4 => {
                let update = self.renamed(object);
                self.org.control("changes", json!({"update": [update]})).await;
                "in a quiet object"
            }
            4..6 => {
                // The first is overwritten before it can be seen by its stamp.
                let first = self.renamed(object);
                let mut second = first.clone();
                let (_, _, field) = WATCHED.iter().find(|(watched, ..)| *watched == object).unwrap();
                second[*field] = json!(format!("text {} again", self.number));
                for update in [first, second] {
                    self.org.control("changes", json!({"update": [update]})).await;
                }
                "two at once"
            }
            6 if !self.spare.is_empty() => {
                let id = self.spare.pop().unwrap();
                self.org.control("changes", json!({"delete": [id]})).await;
                "deletions"
            }
            7 if !self.hidden.is_empty() => {
                self.number += 1;
                let id = self.hidden.pop().unwrap();
                let update = json!({"attributes": {"type": BOOK}, "Id": id, "IsActive": true, "Name": format!("shown {}", self.number)});
                self.org.control("changes", json!({"update": [update]})).await;
                "into view"
            }
            8 if self.spare.len() < 10 => {
                self.number += 1;
                let media = json!({"attributes": {"type": MEDIA}, "Name": format!("new {}", self.number), "s_c__File_Type__c": "image"});
                let made = self.org.control("changes", json!({"create": [media]})).await;
                self.spare.push(made["created"][0].as_str().unwrap().to_owned());
                "new records"
            }
            _ if self.held.is_none() => {
                let late = [90_000, 9 * MINUTE, 20 * MINUTE - 30_000][self.random.usize(..3)];
                self.org.control("transaction", json!({"open": true})).await;
                let began = self.org_now();
                self.held = Some(Held {
                    began,
                    due: began + late,
                });
                "late commits"
            }
            _ => return,
        };
        self.note(what);
        *self.told.changes.entry(what).or_default() += 1;
        self.read_log().await;
    }

    async fn read_log(&mut self) {
        let url = format!(
            "{}/sandbox/commits?after={}",
            self.org.env["SANDBOX_HTTP"],
            self.truth.last()
        );
        let log: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        self.truth.take(&log, |object, values| {
            let is_watched = WATCHED.iter().any(|(watched, ..)| *watched == object);
            is_watched && !(object == BOOK && values.get("IsActive") == Some(&json!(false)))
        });
    }

    async fn ask(&self, path: &str) -> Option<(Said, u16, Value)> {
        let asked = self.org_now();
        let answer = reqwest::get(format!("{}/v1/{path}", self.daemon().api))
            .await
            .ok()?;
        let header = |name| answer.headers().get(name)?.to_str().ok().map(str::to_owned);
        let said = Said {
            state: header("storesync-state")?,
            lag_millis: header("storesync-lag-seconds").map(|text| text.parse::<Millis>().unwrap() * 1_000),
            asked,
        };
        let status = answer.status().as_u16();
        Some((said, status, answer.json().await.unwrap_or_default()))
    }

    /// Holds what is said now against the org's log.
    async fn look(&mut self, is_calm: bool) {
        self.told.looks += 1;
        let mut said: Vec<(String, Said, BTreeSet<&str>)> = Vec::new();
        for (route, objects) in ROUTES {
            let path = format!("stores/{}/{route}", self.store);
            let (answer, ..) = self
                .ask(&path)
                .await
                .unwrap_or_else(|| panic!("no answer of {path}"));
            said.push((route.to_owned(), answer, objects.iter().copied().collect()));
        }
        let asked = self.org_now();
        let status = self.status().await;
        for (name, ..) in WATCHED {
            // Before it was made there is no table of it.
            let Some(object) = object(&status, name) else {
                continue;
            };
            let answer = Said {
                state: object["freshness"].as_str().unwrap().to_owned(),
                lag_millis: object["lag_seconds"].as_i64().map(|seconds| seconds * 1_000),
                asked,
            };
            said.push((format!("{name} in /status"), answer, BTreeSet::from([name])));
        }
        for (name, ..) in WATCHED {
            let id = self
                .truth
                .records()
                .into_iter()
                .find(|(object, _)| object == name);
            let Some((_, id)) = id else { continue };
            if let Some((answer, ..)) = self.ask(&format!("objects/{name}/{id}")).await {
                said.push((format!("objects/{name}"), answer, BTreeSet::from([name])));
            }
        }
        // What is not there now was not there then.
        for record in self.truth.records() {
            self.look_at(&record).await;
        }
        for (what, said, objects) in said {
            self.judge(&what, &said, &objects, &status, is_calm);
        }
    }

    async fn look_at(&mut self, record: &Record) {
        let (object, id) = record;
        match self.ask(&format!("objects/{object}/{id}")).await {
            Some((_, 200, row)) => self.truth.shown(record, Some(&row)),
            Some((_, 404, _)) => self.truth.shown(record, None),
            _ => {}
        }
    }

    fn judge(&mut self, what: &str, said: &Said, objects: &BTreeSet<&str>, status: &Value, is_calm: bool) {
        self.told.answers += 1;
        if is_calm {
            self.told.calm += 1;
            self.told.calm_live += u64::from(said.state == "live");
            if said.state != "live" {
                let line = format!(
                    "{what} is {} where nothing fails, {:?} ms",
                    said.state, said.lag_millis
                );
                self.note(&line);
            }
        }
        if said.state == "initializing" {
            assert!(
                said.lag_millis.is_none(),
                "{what} was never complete and says how old it is"
            );
            return;
        }
        let hushed = |object: &str| self.is_hushed && STREAMED.contains(&object);
        if objects.iter().any(|object| hushed(object)) {
            self.told.untold += 1;
        }
        let Some(at) = self
            .truth
            .oldest(|object| objects.contains(object) && !hushed(object))
        else {
            return;
        };
        let (age, lag) = (said.asked - at, said.lag_millis.unwrap_or(0));
        let waits = self.is_backlogged && age >= WAITING_MILLIS && said.state == "stale";
        assert!(
            lag >= age || waits,
            "seed {}: {what} says {} and {lag} ms, and a commit of {age} ms ago is not to be seen: {status}",
            self.seed,
            said.state
        );
        for name in objects {
            let Some(at) = self.truth.oldest(|object| object == *name && !hushed(object)) else {
                continue;
            };
            let (_, urgency, _) = WATCHED.iter().find(|(watched, ..)| watched == name).unwrap();
            let interval = status["polls"]["interval_seconds"][urgency]
                .as_i64()
                .unwrap_or(60)
                * 1_000;
            let limit = match STREAMED.contains(name) {
                true => STREAMED_STALE_MILLIS,
                false => 2 * interval + MINUTE,
            };
            assert!(
                said.state != "live" || said.asked - at <= limit,
                "seed {}: {what} is called live, and {name} is {} ms behind",
                self.seed,
                said.asked - at
            );
        }
    }

    /// In the end everything is seen.
    async fn finish(mut self) -> Told {
        for _ in 0..60 {
            self.step(0.0).await;
            self.settle().await;
            self.look(false).await;
            if self.truth.records().is_empty() {
                break;
            }
        }
        assert!(
            self.truth.records().is_empty(),
            "seed {}: never seen: {:?}",
            self.seed,
            self.truth.records()
        );
        self.daemon.take().unwrap().end().await;
        self.told.commits = self.truth.commits;
        self.told.same_second = self.truth.same_second;
        std::mem::take(&mut self.told)
    }
}

fn object<'s>(status: &'s Value, name: &str) -> Option<&'s Value> {
    status["objects"]
        .as_array()?
        .iter()
        .find(|object| object["object"] == name)
}
