//! Every fault of the org at every step of an order, times every shape an order has: each order is in the org exactly
//! once with exactly its items and its total, or waits for a person under the right code, and arrives once that
//! person retries it.
//!
//! Steps: the first request (refused, lost before, after or long before its commit, answered late or by half), a later
//! piece of a long order, and the look that settles a lost answer. A world is a sandbox and a daemon; several worlds
//! work through the cases side by side. `STORESYNC_MATRIX=full` tries every kind of customer with every case. Otherwise
//! they take turns, and a run tries a quarter of the cases, another one each day.

mod kills;

use std::sync::Mutex;
use std::time::Instant;

use serde_json::{Value, json};

use crate::outbound::{accepted, long_order, without_item_keys};
use crate::rounds::calls_counted;
use crate::world::{Daemon, Sandbox, a_store, eventually, share_of_today};

/// Worlds at a time: most of a case is waiting.
const WORLDS: usize = 6;

/// In so many days every case is tried.
const CASES_SHARES: usize = 4;

/// Quiet, so that rules for queries meet the looks of orders alone.
pub const QUIET: [(&str, &str); 2] = [
    ("STORESYNC__SYNC__POLL_SECONDS", "86400"),
    ("STORESYNC__SYNC__VERIFY_HOURS", "0"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The first request.
    Send,
    /// The second: a piece of an order that takes several.
    Piece,
    /// The look after an answer that was lost.
    ReadBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Person {
    Guest,
    Contact,
    Account,
}

const PEOPLE: [Person; 3] = [Person::Guest, Person::Contact, Person::Account];
const SIZES: [usize; 4] = [1, 24, 200, 1_200];

#[derive(Clone, Debug)]
struct Case {
    name: &'static str,
    fault: Value,
    step: Step,
    size: usize,
    person: Person,
    with_keys: bool,
}

/// All that the sandbox can do to a request or a write.
fn faults() -> Vec<(&'static str, Value)> {
    let status = |status: u16| json!({"status": status});
    vec![
        ("server error", status(500)),
        ("bad gateway", status(502)),
        ("unavailable", status(503)),
        ("gateway timeout", status(504)),
        ("edge has no route", status(420)),
        (
            "unavailable in HTML",
            json!({"status": 503, "html": true, "retry_after_seconds": 1}),
        ),
        ("too many at once", status(429)),
        ("a proxy forbids", json!({"status": 403, "html": true})),
        (
            "a gateway knows no route",
            json!({"status": 404, "body": "{\"message\":\"no Route matched with those values\"}"}),
        ),
        ("a proxy asks who it is", json!({"status": 407, "html": true})),
        (
            "a sign-in page",
            json!({"status": 200, "body": "<html><title>Sign in</title></html>"}),
        ),
        (
            "sent to a sign-in",
            json!({"status": 302, "body": "", "location": "https://login.corp.example/"}),
        ),
        (
            "the password has expired",
            json!({"status": 403, "code": "INVALID_OPERATION_WITH_EXPIRED_PASSWORD"}),
        ),
        ("allowance used up", json!("limit_exceeded")),
        ("maintenance", json!("maintenance")),
        ("session ended", json!("expire_sessions")),
        ("session refused", status(401)),
        ("org moved", json!("move_instance")),
        ("reset before", json!("drop_before")),
        ("reset after the commit", json!("drop_after_commit")),
        ("reset within the answer", json!("drop_mid_body")),
        ("late", json!({"delay_ms": 300})),
        ("reset, and committed meanwhile", json!({"commit_after_ms": 100})),
        // When the rule is taken away, that is once the order has come to its end by other requests.
        (
            "reset, and committed at last",
            json!({"commit_after_ms": 600_000}),
        ),
        ("row locked", json!("row_lock")),
        // It names no record, and heals by itself.
        (
            "refused as a whole",
            json!({"status": 400, "code": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "message": "no"}),
        ),
        (
            "refused",
            json!({"status": 200, "body": refusal("record").to_string()}),
        ),
    ]
}

/// The org's answer that it refuses a part, to a composite and to a graph.
fn refusal(part: &str) -> Value {
    let error = json!({"errorCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "message": "no", "fields": []});
    let parts = json!([{"referenceId": format!("{part}*"), "httpStatusCode": 400, "httpHeaders": {}, "body": [error]}]);
    let graph =
        json!({"graphId": "g1", "isSuccessful": false, "graphResponse": {"compositeResponse": parts}});
    json!({"compositeResponse": parts, "graphs": [graph]})
}

fn cases() -> Vec<Case> {
    let full = std::env::var("STORESYNC_MATRIX").is_ok_and(|asked| asked == "full");
    let mut cases = Vec::new();
    for (name, fault) in faults() {
        for step in [Step::Send, Step::Piece, Step::ReadBack] {
            for size in SIZES {
                // Writes are not locked while they are read, and short orders have one piece.
                let possible = match step {
                    Step::Send => true,
                    Step::Piece => size == 1_200,
                    Step::ReadBack => name != "row locked",
                };
                for with_keys in [true, false] {
                    // Where no piece is struck, long orders with keys and without take turns too.
                    if !full && size == 1_200 && step != Step::Piece && (cases.len() % 2 == 0) == with_keys {
                        continue;
                    }
                    let turn = cases.len() % PEOPLE.len();
                    let people = PEOPLE.into_iter().enumerate();
                    for (_, person) in people.filter(|(at, _)| possible && (full || *at == turn)) {
                        cases.push(Case {
                            name,
                            fault: fault.clone(),
                            step,
                            size,
                            person,
                            with_keys,
                        });
                    }
                }
            }
        }
    }
    if full {
        return cases;
    }
    let share = share_of_today(CASES_SHARES);
    // By threes, as each three have every kind of customer.
    let drawn = cases
        .into_iter()
        .enumerate()
        .filter(|(at, _)| at / PEOPLE.len() % CASES_SHARES == share);
    drawn.map(|(_, case)| case).collect()
}

/// A sandbox and a daemon, with what orders need of them.
pub struct World {
    pub org: Sandbox,
    pub daemon: Daemon,
    pub store: String,
    pub currency: String,
    pub products: Vec<String>,
}

impl World {
    pub async fn open(with_keys: bool) -> Self {
        let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
        if !with_keys {
            without_item_keys(&org).await;
        }
        let daemon = org.daemon_with(&QUIET).await;
        daemon.live().await;
        let (store, currency, products) = a_store(&daemon).await;
        let world = Self {
            org,
            daemon,
            store,
            currency,
            products,
        };
        world.is_quiet().await;
        world
    }

    /// Waits until nothing but orders calls the org, so that rules for their requests are met by them alone: polled objects
    /// are asked once, some at a time, and what the first order changes has schemas that are described anew.
    async fn is_quiet(&self) {
        let first = self.order("FIRST", 1, Person::Account);
        accepted(&self.daemon, &self.store, &first).await;
        let path = format!("/v1/stores/{}/orders/FIRST", self.store);
        self.daemon.until(&path, &["confirmed"]).await;
        let mut last = (0, Instant::now());
        eventually("nobody calls the org", async || {
            let calls = calls_counted(&self.org).await;
            if calls != last.0 {
                last = (calls, Instant::now());
            }
            (last.1.elapsed().as_secs() >= 2).then_some(())
        })
        .await;
    }

    pub fn order(&self, key: &str, size: usize, person: Person) -> Value {
        let mut posted = long_order(key, &self.currency, &self.products, size);
        posted["customer"] = match person {
            Person::Guest => json!({"email": "guest@example.com"}),
            Person::Contact => json!({"external_id": format!("C-{key}"), "last_name": "Lee"}),
            Person::Account => {
                json!({"external_id": format!("C-{key}"), "last_name": "Lee", "account_external_id": "ACME", "company": "Acme"})
            }
        };
        posted
    }

    /// The org's answer to a query, with a login of its own: faults may have ended all others, or moved the org.
    async fn ask(&self, soql: &str) -> Vec<Value> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", self.org.env["SANDBOX_CLIENT_ID"].as_str()),
            ("client_secret", self.org.env["SANDBOX_CLIENT_SECRET"].as_str()),
        ];
        let url = format!("{}/services/oauth2/token", self.org.env["SANDBOX_HTTP"]);
        let login: Value = self
            .org
            .http
            .post(url)
            .form(&form)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let (host, token) = (
            login["instance_url"].as_str().unwrap(),
            login["access_token"].as_str().unwrap(),
        );
        let mut url = reqwest::Url::parse(&format!("{host}/services/data/v67.0/query")).unwrap();
        url.query_pairs_mut().append_pair("q", soql);
        let mut records = Vec::new();
        loop {
            let answer = self
                .org
                .http
                .get(url.clone())
                .bearer_auth(token)
                .send()
                .await
                .unwrap();
            let mut page: Value = answer.json().await.unwrap();
            assert!(page["records"].is_array(), "{soql}: {page}");
            records.append(page["records"].as_array_mut().unwrap());
            match page["nextRecordsUrl"].as_str() {
                Some(next) => url = reqwest::Url::parse(&format!("{host}{next}")).unwrap(),
                None => return records,
            }
        }
    }

    /// Exactly once, with exactly its items and its total.
    pub async fn has_exactly(&self, key: &str, size: usize, what: &str) {
        let orders = self
            .ask(&format!(
                "SELECT Id, TotalAmount FROM Order WHERE External_ID__c = '{key}'"
            ))
            .await;
        assert_eq!(orders.len(), 1, "{what}");
        let soql = format!(
            "SELECT Product2Id, Quantity, UnitPrice FROM OrderItem WHERE Order.External_ID__c = '{key}'"
        );
        let item = |product: &str, quantity: f64, price: f64| format!("{product} {quantity} {price}");
        let mut found: Vec<String> = self
            .ask(&soql)
            .await
            .iter()
            .map(|row| {
                let number = |field: &str| row[field].as_f64().unwrap();
                item(
                    row["Product2Id"].as_str().unwrap(),
                    number("Quantity"),
                    number("UnitPrice"),
                )
            })
            .collect();
        let placed = crate::outbound::long_items(&self.products, size);
        let total: f64 = placed.iter().map(|(_, quantity, price)| quantity * price).sum();
        let mut wanted: Vec<String> = placed
            .iter()
            .map(|(id, quantity, price)| item(id, *quantity, *price))
            .collect();
        found.sort();
        wanted.sort();
        assert!(found == wanted, "{what}: {} items of {size}", found.len());
        let amount = orders[0]["TotalAmount"].as_f64().unwrap();
        assert!((amount - total).abs() < 0.005, "{what}: {amount} is not {total}");
    }

    async fn set_faults(&self, rules: &Value) {
        self.org.fault(rules.clone()).await;
    }

    /// How often the rules struck. They are taken away, and what they kept back has been done since.
    async fn faults_struck(&self) -> u64 {
        let url = format!("{}/sandbox/faults", self.org.env["SANDBOX_HTTP"]);
        let told = async || -> Value {
            let answer = self.org.http.get(&url).send().await.unwrap();
            answer.json().await.unwrap()
        };
        let before = told().await;
        self.org.http.delete(&url).send().await.unwrap();
        eventually("what was to be committed later is", async || {
            (told().await["pending"] == 0).then_some(())
        })
        .await;
        let rules = before["rules"].as_array().unwrap().iter();
        rules.map(|rule| rule["struck"].as_u64().unwrap()).min().unwrap()
    }

    async fn run(&self, number: usize, case: &Case) {
        let what = format!("{case:?}");
        let key = format!("CASE-{number:04}");
        self.set_faults(&rules(case)).await;
        let posted = self.order(&key, case.size, case.person);
        let (status, answer) = self.daemon.place(&self.store, &posted).await.unwrap();
        assert_eq!(status, 202, "{what}: {answer}");
        let path = format!("/v1/stores/{}/orders/{key}", self.store);
        let ended = ["sent", "confirmed", "needs_attention"];
        let told = self.daemon.until(&path, &ended).await;
        assert!(self.faults_struck().await > 0, "{what}: the fault was never met");
        // A look that is refused says nothing of the order: it is had again.
        if case.name == "refused" && case.step != Step::ReadBack {
            assert_eq!(
                told["error"]["code"], "FIELD_CUSTOM_VALIDATION_EXCEPTION",
                "{what}: {told}"
            );
            let (status, _) = self
                .daemon
                .admin_post(&format!("/api/orders/{key}/retry"), &json!({}))
                .await;
            assert_eq!(status, 200, "{what}");
            self.daemon.until(&path, &ended[..2]).await;
        } else {
            assert_ne!(told["state"], "needs_attention", "{what}: {told}");
        }
        self.has_exactly(&key, case.size, &what).await;
    }
}

fn rules(case: &Case) -> Value {
    // Persons are asked for in `/composite/sobjects`, at times of their own.
    let sent = |skip: u32, fault: &Value| json!({"path": "/composite", "except": "/sobjects/", "skip": skip, "times": 1, "fault": fault});
    if case.name == "row locked" {
        return match case.step {
            Step::Piece => json!([{"object": "OrderItem", "skip": 300, "times": 1, "fault": "row_lock"}]),
            _ => json!([{"object": "Order", "times": 1, "fault": "row_lock"}]),
        };
    }
    match case.step {
        Step::Send => json!([sent(0, &case.fault)]),
        // The first piece has items, and not the order.
        Step::Piece if case.name == "refused" => {
            json!([sent(
                1,
                &json!({"status": 200, "body": refusal("item0").to_string()})
            )])
        }
        Step::Piece => json!([sent(1, &case.fault)]),
        // A long order is looked up before it is begun, too.
        Step::ReadBack => json!([
            sent(0, &json!("drop_after_commit")),
            {"path": "/query", "method": "GET", "skip": u32::from(case.size == 1_200), "times": 1, "fault": case.fault},
        ]),
    }
}

#[test]
fn every_fault_at_every_step_leaves_each_order_once_or_parked() {
    let cases = cases();
    let count = cases.len();
    let waiting: Mutex<[Vec<(usize, Case)>; 2]> = Mutex::default();
    for (number, case) in cases.into_iter().enumerate() {
        waiting.lock().unwrap()[usize::from(case.with_keys)].push((number, case));
    }
    let failed = Mutex::new(Vec::new());
    let world = |with_keys: bool| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let world = World::open(with_keys).await;
            while let Some((number, case)) = { waiting.lock().unwrap()[usize::from(with_keys)].pop() } {
                world.run(number, &case).await;
            }
        });
    };
    std::thread::scope(|scope| {
        for number in 0..WORLDS {
            let (world, failed) = (&world, &failed);
            scope.spawn(move || {
                let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world(number % 2 == 0)));
                if ended.is_err() {
                    failed.lock().unwrap().push(number);
                }
            });
        }
    });
    println!("{count} cases: every fault at every step of every shape");
    assert!(failed.into_inner().unwrap().is_empty(), "see above");
    assert!(waiting.into_inner().unwrap().iter().all(Vec::is_empty));
}

/// Waits for a daemon to stand still at a failpoint.
pub async fn stands_at(daemon: &Daemon, failpoint: &str) {
    eventually(failpoint, async || {
        daemon.running.said().contains("the failpoint ").then_some(())
    })
    .await;
}
