//! The one login of the process: how often it is tried, by which secrets, and what goes on without it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::{Value, json};
use storesync::config::Config;
use storesync::model::calls::Purpose;
use storesync::model::clock::Clock;
use storesync::model::trouble::Kind;
use storesync::salesforce::login::Taken;
use storesync::salesforce::{Error, Org};
use tokio::sync::Mutex;

use crate::rounds::calls_counted;
use crate::world::{Daemon, Sandbox, a_store, eventually, order};

/// How often the org was asked for a session.
async fn logins(org: &Sandbox) -> u64 {
    let url = format!("{}/sandbox/stats", org.env["SANDBOX_HTTP"]);
    let stats: Value = org.http.get(url).send().await.unwrap().json().await.unwrap();
    stats["paths"]["services/oauth2"].as_u64().unwrap_or(0)
}

fn client_secret(org: &Sandbox) -> (PathBuf, String) {
    let file = org.dir.path().join("client_secret");
    let text = std::fs::read_to_string(&file).unwrap();
    (file, text)
}

/// A client of the sandbox by a clock that is moved by hand, and the clock.
fn client(org: &Sandbox, keys: &[(&str, &str)]) -> (Org, Arc<AtomicI64>) {
    let text = std::fs::read_to_string(org.config()).unwrap();
    let keys = keys.iter().map(|(key, value)| {
        (
            format!("STORESYNC__ORG__{}", key.to_uppercase()),
            (*value).to_owned(),
        )
    });
    let config = Config::parse(&text, keys).unwrap();
    let clock = Arc::new(AtomicI64::new(Clock::System.now()));
    (
        Org::new(&config.org, Clock::Manual(Arc::clone(&clock))).unwrap(),
        clock,
    )
}

#[tokio::test]
async fn a_refused_login_is_tried_after_waits_and_a_changed_secret_at_once() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let (file, right) = client_secret(&org);
    std::fs::write(&file, "wrong").unwrap();
    let (client, clock) = client(&org, &[]);
    let before = logins(&org).await;
    // So many pieces of work ask in the first hour, one each second.
    for _ in 0..3_600 {
        let error = client.limits().await.unwrap_err().to_string();
        assert!(error.contains("invalid client credentials"), "{error}");
        clock.fetch_add(1_000, Ordering::SeqCst);
    }
    let tried = logins(&org).await - before;
    assert!((5..=12).contains(&tried), "{tried} logins in an hour");
    // Asked for by hand, the same one is tried once more.
    assert_eq!(client.take_secrets().await.unwrap(), Taken::Failing);
    assert_eq!(logins(&org).await - before, tried + 1);
    std::fs::write(&file, right).unwrap();
    client.limits().await.unwrap();
    assert_eq!(logins(&org).await - before, tried + 2);
    assert_eq!(client.trouble(), None);
}

/// A channel that stands still for a refused login goes on as soon as one is accepted, and not minutes later.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_goes_on_at_once_when_a_login_is_accepted_again() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let file = org.dir.path().join("token");
    let token = &org.env["SANDBOX_REFRESH_TOKEN"];
    std::fs::write(&file, token).unwrap();
    let daemon = org
        .daemon_with(&[
            ("STORESYNC__SYNC__PROFILE", "standard"),
            ("STORESYNC__ORG__AUTH", "refresh_token"),
            ("STORESYNC__ORG__REFRESH_TOKEN_FILE", file.to_str().unwrap()),
        ])
        .await;
    daemon.live().await;
    // Without the file nobody can log in, until somebody has put it back.
    std::fs::remove_file(&file).unwrap();
    org.end_sessions().await;
    let channel = async || {
        let status = daemon.status().await?;
        Some(status["channels"][0]["problem"].clone())
    };
    eventually("the channel stands still", async || {
        // A stream that is about to begin is not struck.
        org.fault(json!({"rpc": "Subscribe", "on": "now", "times": 1, "fault": "revoke_token"}))
            .await;
        let problem = channel().await?.as_str()?.to_owned();
        problem.contains("stopped until this is put right").then_some(())
    })
    .await;
    let rules = format!("{}/sandbox/faults", org.env["SANDBOX_HTTP"]);
    org.http.delete(rules).send().await.unwrap();
    std::fs::write(&file, token).unwrap();
    let product = org.some("Product2", "").await;
    org.update("Product2", &product, json!({"Name": "Logged in"}))
        .await;
    eventually("what was changed meanwhile is told by the channel", async || {
        let (_, row) = daemon.get(&format!("/v1/objects/Product2/{product}")).await?;
        (row["name"] == "Logged in").then_some(())
    })
    .await;
    eventually("the channel has no problem", async || {
        channel().await?.is_null().then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_token_goes_to_no_host_that_an_answer_names() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let answer = json!({"access_token": "00D!A", "instance_url": "https://gateway.invalid",
        "id": "https://gateway.invalid/id/00D000000000001EAA/005000000000001AAA", "issued_at": "1700000000000"});
    org.fault(json!({"path": "/oauth2/token", "fault": {"status": 200, "body": answer.to_string()}}))
        .await;
    let error = client(&org, &[]).0.limits().await.unwrap_err().to_string();
    assert!(
        error.contains("https://gateway.invalid") && error.contains("[org] hosts"),
        "{error}"
    );
    let named = client(&org, &[("hosts", "gateway.invalid")]).0;
    let error = named.limits().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn sessions_that_end_at_once_do_not_make_a_storm_of_logins() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let (client, clock) = client(&org, &[]);
    client.limits().await.unwrap();
    let before = logins(&org).await;
    org.fault(json!({"path": "/limits", "fault": {"status": 401}}))
        .await;
    for _ in 0..600 {
        client.limits().await.unwrap_err();
        clock.fetch_add(100, Ordering::SeqCst);
    }
    let tried = logins(&org).await - before;
    assert!((2..=32).contains(&tried), "{tried} logins in a minute");
}

#[tokio::test]
async fn a_new_secret_is_tried_before_it_replaces_a_good_one() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let (file, right) = client_secret(&org);
    let (client, _clock) = client(&org, &[]);
    client.limits().await.unwrap();
    std::fs::write(&file, "wrong").unwrap();
    let error = client.take_secrets().await.unwrap_err().to_string();
    assert!(error.contains("invalid client credentials"), "{error}");
    org.end_sessions().await;
    client.limits().await.unwrap();
    std::fs::write(&file, format!("{right}\n")).unwrap();
    assert_eq!(client.take_secrets().await.unwrap(), Taken::Same);
}

#[tokio::test]
async fn an_assertion_is_signed_by_the_org_s_clock_where_this_machine_s_is_wrong() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let keys = [
        ("auth", "jwt"),
        ("username", org.env["SANDBOX_USERNAME"].as_str()),
        ("private_key_file", org.env["SANDBOX_JWT_KEY"].as_str()),
    ];
    let (client, clock) = client(&org, &keys);
    clock.fetch_sub(3_600_000, Ordering::SeqCst);
    client.limits().await.unwrap();
    let ahead = client.org_time() - clock.load(Ordering::SeqCst);
    assert!((3_500_000..3_700_000).contains(&ahead), "{ahead}");
}

/// A login that gives a new refresh token each time, and takes none twice; how often it was asked for one that was
/// replaced.
struct Rotating {
    url: String,
    replayed: Arc<AtomicUsize>,
}

impl Rotating {
    async fn start(org: &Sandbox) -> Self {
        let replayed = Arc::new(AtomicUsize::new(0));
        let (http, count) = (org.http.clone(), Arc::clone(&replayed));
        let url = format!("{}/services/oauth2/token", org.env["SANDBOX_HTTP"]);
        let (good, serial) = (org.env["SANDBOX_REFRESH_TOKEN"].clone(), AtomicUsize::new(0));
        let current = Mutex::new("token0".to_owned());
        let state = Arc::new((current, serial));
        let answer = async move |body: Bytes| {
            let text = String::from_utf8(body.to_vec()).unwrap();
            let mut current = state.0.lock().await;
            if !text.contains(&format!("refresh_token={current}&")) && !text.ends_with(&*current) {
                count.fetch_add(1, Ordering::SeqCst);
                let refusal =
                    json!({"error": "invalid_grant", "error_description": "expired access/refresh token"});
                return (StatusCode::BAD_REQUEST, refusal.to_string());
            }
            let request = http
                .post(url)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(text.replace(&*current, &good));
            let mut given: Value = request.send().await.unwrap().json().await.unwrap();
            *current = format!("token{}", state.1.fetch_add(1, Ordering::SeqCst) + 1);
            given["refresh_token"] = json!(*current);
            (StatusCode::OK, given.to_string())
        };
        let app = Router::new().route("/services/oauth2/token", post(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, replayed }
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn two_processes_share_a_refresh_token_that_changes_with_each_login() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let login = Rotating::start(&org).await;
    let file = org.dir.path().join("refresh_token");
    std::fs::write(&file, "token0").unwrap();
    let keys = [
        ("auth", "refresh_token"),
        ("login_url", login.url.as_str()),
        ("refresh_token_file", file.to_str().unwrap()),
    ];
    let (daemon, check) = (client(&org, &keys).0, client(&org, &keys).0);
    for _ in 0..3 {
        for one in [&daemon, &check] {
            org.end_sessions().await;
            one.limits().await.unwrap();
        }
        org.end_sessions().await;
        let (first, second) = tokio::join!(daemon.limits(), check.limits());
        first.unwrap();
        second.unwrap();
    }
    assert_eq!(
        login.replayed.load(Ordering::SeqCst),
        0,
        "no token was used twice"
    );
    assert_eq!(mode(&file), 0o600);
}

#[tokio::test]
async fn a_cache_is_served_whatever_the_login_says() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let id = org.some("Product2", "").await;
    daemon.running.stop();
    daemon.running.wait();
    let refusal = r#"{"error":"invalid_grant","error_description":"authentication failure"}"#;
    org.fault(json!({"path": "/oauth2/token", "fault": {"status": 400, "body": refusal}}))
        .await;
    let mut daemon = org.daemon().await;
    eventually("the refused login is told", async || {
        let said = daemon.running.said();
        said.contains("authentication failure").then_some(())
    })
    .await;
    assert_eq!(daemon.get("/v1/stores").await.unwrap().0, 200);
    assert_eq!(
        daemon.get(&format!("/v1/objects/product2/{id}")).await.unwrap().0,
        200
    );
    org.no_faults().await;
    org.update("Product2", &id, json!({"Name": "After the refusals"}))
        .await;
    eventually("the daemon has logged in and goes on", async || {
        let (_, row) = daemon.get(&format!("/v1/objects/product2/{id}")).await?;
        (row["name"] == "After the refusals").then_some(())
    })
    .await;
    let said = daemon.running.said();
    let told = said.matches("ERROR").count();
    assert_eq!(told, 1, "told once: {said}");
    daemon.running.stop();
    assert_eq!(daemon.running.wait().code(), Some(0));
}

#[tokio::test]
async fn without_a_cache_and_an_org_it_listens_and_says_why_it_has_nothing() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    org.fault(json!({"path": "/services", "fault": "maintenance"}))
        .await;
    let daemon = org.daemon().await;
    let ready = eventually("readiness tells the cause", async || {
        let answer = org
            .http
            .get(format!("{}/readyz", daemon.admin))
            .send()
            .await
            .ok()?;
        assert_eq!(answer.status(), 503);
        let ready: Value = answer.json().await.ok()?;
        ready["reads"]["cause"].as_str()?.contains("503").then_some(ready)
    })
    .await;
    assert_eq!(ready["reads"]["state"], "initializing", "{ready}");
    assert_eq!(ready["orders"]["sending"], false, "{ready}");
    let (status, problem) = daemon.get("/v1/stores").await.unwrap();
    assert_eq!(status, 503, "{problem}");
    org.no_faults().await;
    daemon.live().await;
    assert_eq!(daemon.get("/v1/stores").await.unwrap().0, 200);
}

#[tokio::test]
async fn a_stop_waits_for_no_login() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    org.fault(json!({"path": "/oauth2/token", "fault": {"delay_ms": 86_400_000}}))
        .await;
    org.end_sessions().await;
    let before = logins(&org).await;
    let (status, told) = daemon
        .place(&store, &order("WEB-1", &currency, &[(&products[0], 1)]))
        .await
        .unwrap();
    assert_eq!(status, 202, "{told}");
    eventually("the order is being sent, and a login is asked for", async || {
        let (_, told) = daemon.get(&format!("/v1/stores/{store}/orders/WEB-1")).await?;
        (told["state"] == "sending" && logins(&org).await > before).then_some(())
    })
    .await;
    daemon.running.stop();
    assert_eq!(daemon.running.wait().code(), Some(0));
    let said = daemon.running.said();
    for in_vain in ["were not answered within", "not all stages ended"] {
        assert!(!said.contains(in_vain), "{said}");
    }
}

#[tokio::test]
async fn a_start_that_waits_for_the_org_is_stopped_at_once() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let mut daemon = org
        .daemon_with(&[("STORESYNC__ORG__LOGIN_URL", "http://127.0.0.1:1")])
        .await;
    eventually("the org is known to be away", async || {
        daemon.running.said().contains("no login: ").then_some(())
    })
    .await;
    daemon.running.stop();
    assert_eq!(daemon.running.wait().code(), Some(0));
    let said = daemon.running.said();
    assert!(!said.contains("not all stages ended"), "{said}");
}

#[tokio::test]
async fn an_org_whose_answers_are_lost_several_times_in_a_row_is_told_to_be_unreachable() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let (client, clock) = client(&org, &[]);
    client.limits().await.unwrap();
    let lost = json!({"path": "/limits", "fault": "drop_after_commit"});
    org.fault(lost).await;
    for is_away in [false, true] {
        let error = client.limits().await.unwrap_err();
        assert!(matches!(error, Error::AnswerLost { .. }), "{error}");
        let trouble = client.trouble().map(|trouble| trouble.kind);
        assert_eq!(trouble, is_away.then_some(Kind::OrgUnreachable));
        clock.fetch_add(3_000, Ordering::SeqCst);
    }
    org.no_faults().await;
    client.limits().await.unwrap();
    assert_eq!(client.trouble(), None);
    // One alone tells of its own request, however long ago the last one was lost.
    org.fault(json!({"path": "/limits", "times": 1, "fault": "drop_after_commit"}))
        .await;
    client.limits().await.unwrap_err();
    assert_eq!(client.trouble(), None);
}

#[tokio::test]
async fn calls_are_counted_that_may_have_reached_the_org_and_no_others() {
    let mut org = Sandbox::start(&["--products", "5"]).await;
    let (client, _) = client(&org, &[]);
    let counted = || {
        let of = |purpose| client.calls().of_a_day(purpose, client.moment().wall);
        Purpose::ALL.map(of).iter().sum::<u64>()
    };
    client.limits().await.unwrap();
    let lost = json!({"path": "/limits", "times": 2, "fault": "drop_after_commit"});
    org.fault(lost).await;
    client.limits().await.unwrap_err();
    client.limits().await.unwrap_err();
    assert_eq!(counted(), calls_counted(&org).await);
    org.end();
    let mut heard = counted();
    let mut unheard = 0;
    while unheard < 3 {
        match client.limits().await.unwrap_err() {
            Error::Unreachable { .. } => unheard += 1,
            // By a connection that was open still: nobody knows.
            _ => heard += 1,
        }
        assert_eq!(counted(), heard, "{unheard} did not reach the org");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_answers_are_lost_says_so_in_its_status() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let lost = json!({"path": "/services/data", "fault": "drop_after_commit"});
    let waits = async |daemon: &Daemon, is_away: bool| {
        eventually(&format!("the org is away: {is_away}"), async || {
            let status = daemon.status().await?;
            let problem = &status["orders_problem"];
            let is_told = problem
                .as_str()
                .is_some_and(|problem| problem.contains("orders wait"));
            let (_, words, _) = org.verb(&["status", "--json"]).await;
            let verb: Value = serde_json::from_str(&words).ok()?;
            (is_told == is_away && verb["orders_problem"] == *problem).then_some(())
        })
        .await;
    };
    org.fault(lost.clone()).await;
    waits(&daemon, true).await;
    org.no_faults().await;
    waits(&daemon, false).await;
    // One that has ended knows nothing of now.
    org.fault(lost).await;
    waits(&daemon, true).await;
    daemon.running.kill();
    let (_, words, _) = org.verb(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&words).unwrap();
    assert_eq!(
        (&status["running"], &status["orders_problem"]),
        (&json!(false), &Value::Null),
        "{status}"
    );
}
