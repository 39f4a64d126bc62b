//! The operators' listener of a configuration without tokens, as the users of its machine and their browsers find it.

use std::os::unix::fs::PermissionsExt as _;

use reqwest::{Client, Response};
use serde_json::json;

use crate::service::signal;
use crate::world::{Daemon, Sandbox, a_store, eventually, order};

/// A browser that shows what it is told instead of going where it is led.
fn browser() -> Client {
    let stays = reqwest::redirect::Policy::none();
    Client::builder().redirect(stays).build().unwrap()
}

async fn enter(daemon: &Daemon, typed: &str) -> Response {
    let request = browser().post(format!("{}/login", daemon.admin));
    let request = request.header("origin", &daemon.admin);
    request.form(&[("token", typed)]).send().await.unwrap()
}

fn cookie(answer: &Response) -> String {
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

/// The status of a page for whoever has a cookie.
async fn page(daemon: &Daemon, path: &str, cookie: &str) -> u16 {
    let request = browser().get(format!("{}{path}", daemon.admin));
    let answer = request.header("cookie", cookie).send().await.unwrap();
    answer.status().as_u16()
}

/// What `storesync login-url` prints, behind the address.
async fn link(org: &Sandbox, daemon: &Daemon) -> String {
    let (code, printed, said) = org.verb(&["login-url", "--at", &daemon.admin]).await;
    assert_eq!(code, 0, "{said}");
    let start = format!("{}/login#", daemon.admin);
    printed.trim().strip_prefix(&start).expect(&printed).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_this_machine_stands_before_what_persons_and_deeds_are_behind() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    daemon
        .place(&store, &order("WEB-1", &currency, &[(&products[0], 1)]))
        .await
        .unwrap();
    let status = async |path: &str| {
        let request = browser().get(format!("{}{path}", daemon.admin));
        request.send().await.unwrap().status().as_u16()
    };
    for (path, expected) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/status", 200),
        ("/openapi.json", 200),
        ("/login", 200),
        ("/api/orders", 401),
        ("/api/orders/WEB-1", 401),
        ("/api/orders/export", 401),
        ("/", 303),
        ("/orders/WEB-1", 303),
        ("/config", 303),
    ] {
        assert_eq!(status(path).await, expected, "{path}");
    }
    let deed = browser().post(format!("{}/api/orders/retry", daemon.admin));
    let refused = deed.json(&json!({})).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let told = refused.text().await.unwrap();
    assert!(told.contains("the file admin.token"), "{told}");

    let file = org.state().join("admin.token");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let token = std::fs::read_to_string(&file).unwrap();
    let token = token.trim();
    assert!(!daemon.running.said().contains(token), "the log tells the token");
    let shown = daemon.admin_get("/api/orders/WEB-1").await;
    assert_eq!(shown["external_id"], "WEB-1", "{shown}");
    let done = json!({"actor": "kim", "reason": "a test"});
    daemon.admin_post("/api/orders/WEB-1/discard", &done).await;
    let (_, exported, _) = org.verb(&["orders", "export"]).await;
    for deed in exported.lines().filter(|line| line.contains("\"discard\"")) {
        assert!(
            deed.contains("\"admin.token\"") && deed.contains("\"kim\""),
            "{deed}"
        );
    }
    let address = format!("{}/api/orders/WEB-1", daemon.admin);
    let answer = daemon.operator().get(address).send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    for (header, value) in [
        ("origin", "http://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let request = browser().post(format!("{}/login", daemon.admin));
        let request = request.header(header, value).form(&[("token", token)]);
        assert_eq!(request.send().await.unwrap().status(), 403, "{header}");
    }
    let typed = enter(&daemon, token).await;
    assert_eq!(typed.status(), 303);
    assert_eq!(page(&daemon, "/orders/WEB-1", &cookie(&typed)).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_lets_one_browser_in_once() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    let first = link(&org, &daemon).await;
    let entered = enter(&daemon, &first).await;
    assert_eq!(entered.status(), 303);
    assert_eq!(page(&daemon, "/config", &cookie(&entered)).await, 200);
    let again = enter(&daemon, &first).await;
    assert_eq!(again.status(), 403);
    assert!(again.text().await.unwrap().contains("it was used"));
    // Not where tokens go, and not for one who guesses.
    let bearer = Client::new().get(format!("{}/api/orders", daemon.admin));
    let unused = link(&org, &daemon).await;
    assert_eq!(bearer.bearer_auth(&unused).send().await.unwrap().status(), 401);
    while enter(&daemon, "guessed").await.status() != 429 {}
    assert_eq!(enter(&daemon, &link(&org, &daemon).await).await.status(), 303);

    // A browser that logs in again has one session.
    let again = browser().post(format!("{}/login", daemon.admin));
    let again = again
        .header("origin", &daemon.admin)
        .header("cookie", cookie(&entered));
    let again = again.form(&[("token", link(&org, &daemon).await)]);
    let anew = cookie(&again.send().await.unwrap());
    assert_eq!(page(&daemon, "/config", &anew).await, 200);
    assert_eq!(page(&daemon, "/config", &cookie(&entered)).await, 303);

    let token = std::fs::read_to_string(org.state().join("admin.token")).unwrap();
    for (at, says) in [
        ("ops.example.com", "no address of the console"),
        ("", "no address"),
        ("javascript:alert(1)", "no address"),
        ("https://ops.example.com/#x", "no address"),
        ("https://ops.example.com/\u{1b}[31m", "no address"),
    ] {
        let (code, printed, said) = org.verb(&["login-url", "--at", at]).await;
        assert_eq!((code, printed.as_str()), (64, ""), "{at}: {said}");
        assert!(said.contains(says), "{said}");
    }
    daemon.running.stop();
    assert_eq!(daemon.running.wait().code(), Some(0));
    // No daemon would take it.
    let (code, printed, said) = org.verb(&["login-url", "--at", &daemon.admin]).await;
    assert_eq!((code, printed.as_str()), (69, ""), "{said}");
    assert!(said.contains("no daemon runs in"), "{said}");
    let daemon = org.daemon().await;
    assert_eq!(
        std::fs::read_to_string(org.state().join("admin.token")).unwrap(),
        token
    );
    assert_eq!(page(&daemon, "/config", &anew).await, 303);
    assert_eq!(enter(&daemon, &unused).await.status(), 403);
    assert_eq!(enter(&daemon, &link(&org, &daemon).await).await.status(), 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_the_configuration_take_its_place() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    let entered = enter(&daemon, &link(&org, &daemon).await).await;
    let session = cookie(&entered);
    assert_eq!(page(&daemon, "/config", &session).await, 200);
    let plain = std::fs::read_to_string(org.config()).unwrap();
    // The hash of `open sesame`.
    let hash = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";
    let tokens = format!("{plain}\n[[admin.tokens]]\nname = \"ops\"\nsha256 = \"{hash}\"\n");
    let unused = link(&org, &daemon).await;
    std::fs::write(org.config(), tokens).unwrap();
    signal(&daemon.running, "-HUP");
    eventually("the session has ended", async || {
        (page(&daemon, "/config", &session).await == 303).then_some(())
    })
    .await;
    let asked = daemon.operator().get(format!("{}/api/orders", daemon.admin));
    assert_eq!(asked.send().await.unwrap().status(), 401);
    assert_eq!(enter(&daemon, &unused).await.status(), 403);
    let metrics = Client::new().get(format!("{}/metrics", daemon.admin));
    assert_eq!(metrics.send().await.unwrap().status(), 401);
    let (code, _, said) = org.verb(&["login-url", "--at", &daemon.admin]).await;
    assert!(code == 64 && said.contains("[admin] has tokens"), "{code} {said}");
    std::fs::write(org.config(), plain).unwrap();
    signal(&daemon.running, "-HUP");
    eventually("the token of this machine is good again", async || {
        let asked = daemon.operator().get(format!("{}/api/orders", daemon.admin));
        (asked.send().await.unwrap().status() == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_opens_no_listener_that_asked_for_tokens() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let plain = std::fs::read_to_string(org.config()).unwrap();
    let hash = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";
    let tokens = format!("{plain}\n[[serve.tokens]]\nname = \"web\"\nsha256 = \"{hash}\"\n");
    std::fs::write(org.config(), tokens).unwrap();
    let daemon = org.daemon().await;
    assert_eq!(daemon.get("/v1/stores").await.unwrap().0, 401);
    std::fs::write(org.config(), plain).unwrap();
    signal(&daemon.running, "-HUP");
    eventually("it is told", async || {
        let said = daemon.running.said();
        let is_done = said.contains("has no tokens any more") && said.contains("the secrets were read again");
        is_done.then_some(())
    })
    .await;
    assert_eq!(daemon.get("/v1/stores").await.unwrap().0, 401);
}

/// Each client of a named proxy has its own share of wrong tokens, by the address that the proxy itself wrote.
#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_named_proxy_are_counted_by_their_own_addresses() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let hash = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";
    let plain = std::fs::read_to_string(org.config()).unwrap();
    let named = plain.replace(
        "[admin]",
        "[admin]\ntrusted_proxies = [\"127.0.0.0/8\"]\nforwarded_header = \"forwarded\"",
    );
    let tokens = format!("{named}\n[[admin.tokens]]\nname = \"ops\"\nsha256 = \"{hash}\"\n");
    std::fs::write(org.config(), tokens).unwrap();
    let daemon = org.daemon().await;
    let enter = async |header: &str, value: &str| {
        let request = browser().post(format!("{}/login", daemon.admin));
        let request = request.header(header, value).form(&[("token", "guessed")]);
        request.send().await.unwrap().status().as_u16()
    };
    let mut guesses = 0;
    while enter("forwarded", &format!("for=198.51.100.{guesses}, for=192.0.2.1")).await != 429 {
        guesses += 1;
        assert!(guesses <= 20, "each guess counted for another");
    }
    assert_eq!(enter("forwarded", "for=192.0.2.2").await, 403);
    assert_eq!(enter("forwarded", "for=\"[2001:db8::1]:4711\"").await, 403);
    // The header that is not named is anybody's words.
    for guess in 0..=20 {
        let status = enter("x-forwarded-for", &format!("198.51.100.{guess}")).await;
        if status == 429 {
            return;
        }
    }
    panic!("a header that the configuration does not name was believed");
}
