//! Whether the daemon knows how old its answers are, whatever happens to it.
//!
//! The daemon runs inside the test, by a wall clock that the test sets. Whether an answer is old is decided by the org's
//! own changes: as long as one is not seen, an answer that does not say that it may be that old has lied.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Value, json};
use storesync::config::{self, Config};
use storesync::daemon::{self, Listeners};
use storesync::model::clock::{Clock, Millis};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::world::{Sandbox, eventually, operator, order};

/// A daemon in this process.
pub struct Inside {
    pub api: String,
    pub admin: String,
    pub ahead: Arc<AtomicI64>,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

/// What an answer says of itself.
#[derive(Debug)]
pub struct Said {
    pub state: String,
    pub lag_seconds: Option<i64>,
    pub row: Value,
}

impl Inside {
    async fn start(org: &Sandbox) -> Self {
        Self::start_with(org, Clock::Moved, |sync| sync.poll_seconds = 1).await
    }

    /// By a clock that is moved by what it is given.
    pub async fn start_with(
        org: &Sandbox,
        clock: fn(Arc<AtomicI64>) -> Clock,
        configure: impl FnOnce(&mut config::Sync),
    ) -> Self {
        let ahead = Arc::new(AtomicI64::new(0));
        let mut daemon = Self::start_by(org, clock(Arc::clone(&ahead)), configure).await;
        daemon.ahead = ahead;
        daemon
    }

    /// By a clock that somebody else moves.
    pub async fn start_by(org: &Sandbox, clock: Clock, configure: impl FnOnce(&mut config::Sync)) -> Self {
        let mut config = Config::load(Some(&org.config())).unwrap();
        configure(&mut config.sync);
        let listeners = Listeners {
            storefront: TcpListener::bind("127.0.0.1:0")
                .await
                .unwrap()
                .try_into()
                .unwrap(),
            admin: TcpListener::bind("127.0.0.1:0")
                .await
                .unwrap()
                .try_into()
                .unwrap(),
        };
        let address =
            |listener: &storesync::serve::Listener| format!("http://{}", listener.local_addr().unwrap());
        let (api, admin) = (address(&listeners.storefront), address(&listeners.admin));
        let stop = CancellationToken::new();
        let (until, runtime) = (stop.clone(), tokio::runtime::Handle::current());
        let task = tokio::task::spawn_blocking(move || {
            runtime.block_on(daemon::run(config, clock, listeners, until))
        });
        Self {
            api,
            admin,
            ahead: Arc::default(),
            stop,
            task,
        }
    }

    pub fn now(&self) -> Millis {
        Clock::Moved(Arc::clone(&self.ahead)).now()
    }

    pub async fn look(&self, object: &str, id: &str) -> Option<Said> {
        let answer = reqwest::get(format!("{}/v1/objects/{object}/{id}", self.api))
            .await
            .ok()?;
        let header = |name| answer.headers().get(name)?.to_str().ok().map(str::to_owned);
        Some(Said {
            state: header("storesync-state")?,
            lag_seconds: header("storesync-lag-seconds").map(|text| text.parse().unwrap()),
            row: answer.json().await.ok()?,
        })
    }

    pub async fn asked(&self, path: &str) -> Value {
        let answer = reqwest::get(format!("{}{path}", self.admin)).await.unwrap();
        answer.json().await.unwrap()
    }

    pub async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// A change that the org has committed.
struct Changed {
    object: &'static str,
    id: String,
    value: String,
    at: Millis,
}

impl Changed {
    async fn make(org: &Sandbox, daemon: &Inside, object: &'static str, id: &str, value: &str) -> Self {
        let record = json!({"attributes": {"type": object}, "Id": id, "Description": value});
        org.control("changes", json!({"update": [record]})).await;
        Self {
            object,
            id: id.to_owned(),
            value: value.to_owned(),
            at: daemon.now(),
        }
    }

    /// What is answered now, which is as old as it says, or older.
    async fn look(&self, daemon: &Inside) -> Option<Said> {
        let asked = daemon.now();
        let said = daemon.look(self.object, &self.id).await?;
        if said.row["description"] != self.value.as_str() {
            let age = asked - self.at;
            let told = said.lag_seconds.map(|seconds| seconds * 1_000);
            let is_true = said.state == "initializing" || told.is_some_and(|told| told >= age);
            assert!(is_true, "{age} ms old, and said: {said:?}");
        }
        Some(said)
    }

    /// Waits for the state; where it is that of what is current, for the change too.
    async fn until(&self, daemon: &Inside, state: &str) -> Said {
        eventually(&format!("{} is {state}", self.object), async || {
            let said = self.look(daemon).await?;
            let is_seen = said.row["description"] == self.value.as_str();
            (said.state == state && (is_seen || state == "stale")).then_some(said)
        })
        .await
    }
}

/// Header, readiness, status, its verb, the console and the metrics say the same of an object and of all together.
async fn all_say(org: &Sandbox, daemon: &Inside, changed: &Changed, state: &str, case: &Case) {
    let of_all = case.of_all();
    eventually(&format!("all together are {of_all}"), async || {
        let ready = daemon.asked("/readyz").await;
        (ready["reads"]["state"] == of_all).then_some(())
    })
    .await;
    let status = daemon.asked("/status").await;
    let objects = status["objects"].as_array().unwrap();
    let object = objects
        .iter()
        .find(|object| object["object"] == changed.object)
        .unwrap();
    let ready = daemon.asked("/readyz").await;
    let metrics = reqwest::get(format!("{}/metrics", daemon.admin)).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let said = changed.look(daemon).await.unwrap();
    assert_eq!(
        (said.state.as_str(), object["freshness"].as_str()),
        (state, Some(state))
    );
    assert_eq!(
        (status["state"].as_str(), ready["reads"]["state"].as_str()),
        (Some(of_all), Some(of_all))
    );
    assert_eq!(
        ready["reads"]["ready"], true,
        "what is old is served all the same"
    );
    same_causes(org, daemon, case).await;
    assert!(
        metrics.contains(&format!("storesync_serving{{state=\"{of_all}\"}} 1\n")),
        "{of_all}"
    );
    let lag = format!("storesync_object_lag_seconds{{object=\"{}\"}} ", changed.object);
    let line = metrics.lines().find_map(|line| line.strip_prefix(&lag));
    let lags = [
        said.lag_seconds.unwrap(),
        object["lag_seconds"].as_i64().unwrap(),
        line.unwrap().parse().unwrap(),
    ];
    let apart = lags.iter().max().unwrap() - lags.iter().min().unwrap();
    // They are asked one after another.
    assert!(apart <= 30, "{lags:?}");
}

/// What each of them says of the cause, and of orders.
async fn same_causes(org: &Sandbox, daemon: &Inside, case: &Case) {
    let (what, cause) = (case.what, case.cause);
    // They are asked one after another, and which object is named may change meanwhile.
    let (verb, served) = eventually(&format!("{what}: all tell the same cause"), async || {
        let ready = daemon.asked("/readyz").await;
        let told = ready["reads"]["cause"].as_str().unwrap_or_default().to_owned();
        let is_told = told.contains(cause) && told.is_empty() == cause.is_empty();
        let (_, printed, _) = org.verb(&["status", "--json"]).await;
        let verb: Value = serde_json::from_str(&printed).unwrap();
        let served = daemon.asked("/status").await;
        let operator = operator(&org.state()).build().unwrap();
        let console = operator.get(&daemon.admin).send().await.unwrap();
        let console = console.text().await.unwrap();
        let shown = told
            .replace('&', "&amp;")
            .replace('"', "&quot;")
            .replace('<', "&lt;");
        let known = Some(told.as_str()).filter(|told| !told.is_empty());
        // By its own clock, which was not set, nothing is old.
        let says_verb = told.contains(" since ") || verb["cause"].as_str() == known;
        let says_console = console.contains(&shown.replace('\'', "&#39;")) || console.contains(&shown);
        let is_sending = ready["orders"]["sending"] == case.is_sending;
        let all = [
            is_told,
            is_sending,
            served["cause"].as_str() == known,
            says_verb,
            says_console,
        ];
        (all == [true; 5]).then_some((verb, served))
    })
    .await;
    let sending = json!(case.is_sending);
    for status in [&verb, &served] {
        assert_eq!(json!(status["orders_problem"].is_null()), sending, "{what}");
    }
    let metrics = reqwest::get(format!("{}/metrics", daemon.admin)).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for trouble in ["login_refused", "org_unreachable"] {
        let line = format!(
            "storesync_org_trouble{{cause=\"{trouble}\"}} {}\n",
            u8::from(case.trouble == trouble)
        );
        assert!(metrics.contains(&line), "{what}: not {line}");
    }
}

/// What goes wrong, and what is said of it.
struct Case {
    what: &'static str,
    faults: fn() -> Value,
    /// The state of what is kept current by change events, and of what is polled.
    streamed: &'static str,
    polled: &'static str,
    /// Part of the cause; nothing where there is none.
    cause: &'static str,
    is_sending: bool,
    /// As the metric names it.
    trouble: &'static str,
}

impl Case {
    fn of_all(&self) -> &'static str {
        if self.streamed == "live" {
            self.polled
        } else {
            self.streamed
        }
    }
}

const CASES: &[Case] = &[
    Case {
        what: "nothing but the clock, which is set ahead",
        faults: || json!([]),
        streamed: "live",
        polled: "live",
        cause: "",
        is_sending: true,
        trouble: "",
    },
    Case {
        what: "the org is in maintenance",
        faults: || {
            json!([{"path": "/services", "fault": {"status": 503, "html": true}}, {"rpc": "*", "on": "now", "fault": "maintenance"},
            {"rpc": "*", "on": "call", "fault": "maintenance"}])
        },
        streamed: "stale",
        polled: "stale",
        cause: "whether the org is in maintenance",
        is_sending: false,
        trouble: "org_unreachable",
    },
    Case {
        what: "queries cannot be answered",
        faults: || json!({"path": "/query", "fault": {"status": 503}}),
        streamed: "live",
        polled: "stale",
        cause: " could not be polled",
        is_sending: true,
        trouble: "",
    },
    Case {
        what: "queries are refused",
        faults: || json!({"path": "/query", "fault": {"status": 403, "code": "INSUFFICIENT_ACCESS"}}),
        streamed: "live",
        polled: "stale",
        cause: "INSUFFICIENT_ACCESS",
        is_sending: true,
        trouble: "",
    },
    Case {
        what: "queries are not answered",
        faults: || {
            json!([{"path": "/query", "fault": {"delay_ms": 86_400_000}},
            {"path": "/composite", "fault": {"delay_ms": 86_400_000}}])
        },
        streamed: "live",
        polled: "stale",
        cause: "was completed since",
        is_sending: true,
        trouble: "",
    },
    Case {
        what: "the stream is silent",
        faults: || json!([{"rpc": "Subscribe", "on": "now", "fault": "silence"}, {"rpc": "Subscribe", "on": "call", "fault": "silence"}]),
        streamed: "stale",
        polled: "live",
        cause: "brought was applied since",
        is_sending: true,
        trouble: "",
    },
    Case {
        what: "logins are refused",
        faults: || {
            json!([{"path": "/oauth2/token", "fault": {"status": 400, "body": r#"{"error":"invalid_grant","error_description":"authentication failure"}"#}},
            {"path": "/query", "times": 1, "fault": "expire_sessions"},
            {"rpc": "Subscribe", "on": "now", "times": 1, "fault": "revoke_token"}])
        },
        streamed: "stale",
        polled: "stale",
        cause: "authentication failure",
        is_sending: false,
        trouble: "login_refused",
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_as_old_as_it_says_whatever_fails() {
    let org = Sandbox::start(&["--products", "20", "--stores", "1"]).await;
    let (product, contact) = (org.some("Product2", "").await, org.some("Contact", "").await);
    let daemon = Inside::start(&org).await;
    for (number, case) in CASES.iter().enumerate() {
        let Case {
            what,
            streamed,
            polled,
            ..
        } = case;
        println!("{what}");
        let before = format!("before {number}");
        for (object, id) in [("Product2", &product), ("Contact", &contact)] {
            let first = Changed::make(&org, &daemon, object, id, &before).await;
            first.until(&daemon, "live").await;
        }
        eventually("nothing is left of the case before", async || {
            daemon.asked("/readyz").await["reads"]["cause"]
                .is_null()
                .then_some(())
        })
        .await;
        org.fault((case.faults)()).await;
        let value = format!("during {number}");
        let during = [
            Changed::make(&org, &daemon, "Product2", &product, &value).await,
            Changed::make(&org, &daemon, "Contact", &contact, &value).await,
        ];
        daemon.ahead.fetch_add(600_000, Ordering::SeqCst);
        for (changed, state) in during.iter().zip([streamed, polled]) {
            let said = changed.until(&daemon, state).await;
            if *state == "stale" {
                assert!(said.lag_seconds >= Some(600), "{what}: {said:?}");
            }
        }
        for (changed, state) in during.iter().zip([streamed, polled]) {
            all_say(&org, &daemon, changed, state, case).await;
        }
        org.no_faults().await;
        for changed in &during {
            changed.until(&daemon, "live").await;
        }
    }
    daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_book_entry_is_no_younger_than_the_product_whose_name_it_shows() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    // Products have change events, their entries are polled.
    org.control("selection", json!({"entities": ["Product2"]})).await;
    let entry = org
        .query("SELECT Id, Product2Id FROM PricebookEntry ORDER BY Id LIMIT 1")
        .await
        .remove(0);
    let (id, product) = (
        entry["Id"].as_str().unwrap(),
        entry["Product2Id"].as_str().unwrap(),
    );
    let of_others = format!("WHERE Product2Id != '{product}'");
    let other = org.some("PricebookEntry", &of_others).await;
    let daemon = Inside::start(&org).await;
    let named = async |object: &str, id: &str, name: &str, state: &str| {
        eventually(&format!("{object} is {state} and called {name}"), async || {
            let said = daemon.look(object, id).await?;
            (said.state == state && said.row["name"] == name).then_some(said)
        })
        .await
    };
    let rename = async |name: &str| {
        let renamed = json!({"attributes": {"type": "Product2"}, "Id": product, "Name": name});
        org.control("changes", json!({"update": [renamed]})).await;
    };
    rename("Before").await;
    named("PricebookEntry", id, "Before", "live").await;
    let silent = [
        json!({"rpc": "Subscribe", "on": "now", "fault": "silence"}),
        json!({"rpc": "Subscribe", "on": "call", "fault": "silence"}),
    ];
    let unread = json!({"path": "/sobjects/PricebookEntry", "fault": {"status": 503}});
    org.fault(json!([silent[0], silent[1], unread])).await;
    rename("After").await;
    daemon.ahead.fetch_add(600_000, Ordering::SeqCst);
    // Its polls go on; that its product is called otherwise now, only the stream tells.
    for price in [11.5, 12.5, 13.5] {
        let record = json!({"attributes": {"type": "PricebookEntry"}, "Id": other, "UnitPrice": price});
        org.control("changes", json!({"update": [record]})).await;
        eventually("another's price is polled", async || {
            let said = daemon.look("PricebookEntry", &other).await?;
            (said.row["unitprice"].as_f64() == Some(price)).then_some(())
        })
        .await;
    }
    let said = daemon.look("PricebookEntry", id).await.unwrap();
    assert_eq!(
        (said.state.as_str(), &said.row["name"]),
        ("stale", &json!("Before"))
    );
    assert!(said.lag_seconds >= Some(600), "{said:?}");
    let status = daemon.asked("/status").await;
    let mut objects = status["objects"].as_array().unwrap().iter();
    let of_status = objects
        .find(|object| object["object"] == "PricebookEntry")
        .unwrap();
    assert_eq!(of_status["freshness"], "stale");
    assert!(of_status["lag_seconds"].as_i64() >= Some(600), "{of_status}");
    // The product is known to be renamed, and its entries are not read again yet.
    let faults = format!("{}/sandbox/faults", org.env["SANDBOX_HTTP"]);
    let only_unread = reqwest::Client::new().put(faults).json(&json!([unread]));
    assert!(only_unread.send().await.unwrap().status().is_success());
    named("Product2", product, "After", "live").await;
    let said = daemon.look("PricebookEntry", id).await.unwrap();
    assert_eq!(said.row["name"], "Before");
    assert!(said.lag_seconds >= Some(600), "{said:?}");
    org.no_faults().await;
    named("PricebookEntry", id, "After", "live").await;
    daemon.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_load_is_no_load_when_the_org_goes_away() {
    let org = Sandbox::start(&["--products", "20", "--stores", "1"]).await;
    let mut daemon = org.daemon_with(&[("STORESYNC_FAILPOINT", "load:30")]).await;
    eventually("the load stands still half way", async || {
        daemon
            .running
            .said()
            .contains("the failpoint load is reached")
            .then_some(())
    })
    .await;
    daemon.running.kill();
    let daemon = org
        .daemon_with(&[("STORESYNC__ORG__LOGIN_URL", "http://127.0.0.1:1")])
        .await;
    eventually("the org is known to be away", async || {
        let said = daemon.running.said();
        said.contains("the org is asked again and again").then_some(())
    })
    .await;
    let ready = reqwest::get(format!("{}/readyz", daemon.admin)).await.unwrap();
    assert_eq!(ready.status(), 503);
    let ready: Value = ready.json().await.unwrap();
    assert_eq!(ready["reads"]["state"], "initializing", "{ready}");
    assert_eq!(ready["reads"]["lag_seconds"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cache_and_an_org_what_is_refused_is_said_to_be_refused() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org
        .daemon_with(&[("STORESYNC__ORG__LOGIN_URL", "http://127.0.0.1:1")])
        .await;
    eventually("the org is known to be away", async || {
        let said = daemon.running.said();
        said.contains("the org is asked again and again").then_some(())
    })
    .await;
    let said = daemon.running.said();
    assert!(!said.contains("what is cached is served"), "{said}");
    assert!(said.contains("nothing is cached yet"), "{said}");
    let ready = reqwest::get(format!("{}/readyz", daemon.admin)).await.unwrap();
    let ready: Value = ready.json().await.unwrap();
    let posted = order("WEB-1", "AUD", &[("01t000000000001AAA", 1)]);
    let url = format!("{}/v1/stores/main/orders", daemon.api);
    let answer = reqwest::Client::new()
        .post(url)
        .json(&posted)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 503);
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(ready["orders"]["ready"], false, "{ready}");
    assert_eq!(ready["orders"]["sending"], false, "{ready}");
    for path in [
        "/v1/stores/main/products",
        "/v1/stores/main/products?partial=true",
    ] {
        let (status, refused) = daemon.get(path).await.unwrap();
        assert_eq!(status, 503, "{refused}");
        for problem in [&refused, &problem] {
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("nothing is loaded yet"), "{detail}");
            assert!(!detail.contains("0 of the 0"), "{detail}");
            assert!(!detail.contains("partial=true"), "{detail}");
        }
    }
}
