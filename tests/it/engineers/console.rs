//! The console's pages, as a browser gets them and sends their forms.

use serde_json::{Value, json};

use crate::service::signal;
use crate::world::{Daemon, Sandbox, a_store, converge, eventually, order};

/// Status, headers and text of a page.
async fn page(daemon: &Daemon, path: &str) -> (u16, reqwest::header::HeaderMap, String) {
    let asked = daemon.operator().get(format!("{}{path}", daemon.admin));
    let answer = asked.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, answer.text().await.unwrap())
}

/// Sends a form as a browser on that origin would, and gives the status and where it leads.
async fn send(daemon: &Daemon, path: &str, origin: &str, form: &[(&str, &str)]) -> (u16, String) {
    let client = daemon.operator_who_stays();
    let request = client
        .post(format!("{}{path}", daemon.admin))
        .header("origin", origin)
        .form(form);
    let answer = request.send().await.unwrap();
    let to = answer
        .headers()
        .get("location")
        .map(|to| to.to_str().unwrap().to_owned());
    (answer.status().as_u16(), to.unwrap_or_default())
}

fn token(html: &str) -> String {
    let (_, rest) = html.split_once("name=\"token\" value=\"").expect("a form");
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_how_things_stand_and_let_nothing_in() {
    let org = Sandbox::start(&[]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let product = org.some("Product2", "").await;
    let evil = "<script>alert(1)</script>";
    org.update("Product2", &product, json!({"Name": evil, "Description": "told"}))
        .await;
    org.control(
        "changes",
        json!({"told": "gaps", "update": [{"attributes": {"type": "Product2"}, "Id": product, "Description": "gap"}]}),
    )
    .await;
    converge(&org).await;
    org.settled().await;

    let listed: Value = {
        let (_, said, _) = org
            .verb(&["events", "list", "--record", &product, "--json"])
            .await;
        serde_json::from_str(&said).unwrap()
    };
    let number = listed[0]["number"].to_string();
    let paths = [
        ("/", "Mirrored objects"),
        ("/events", "UPDATE"),
        (&format!("/events?record={product}&kind=update"), &product),
        (&format!("/events/{number}"), "What it changed in"),
        (&format!("/records/Product2/{product}"), "read from the org"),
        ("/parked", "No event is parked"),
        ("/repairs", "gap: updated"),
        ("/orders", "Orders and other writes"),
        ("/config", "(hidden)"),
    ];
    for (path, expected) in paths {
        let (status, headers, html) = page(&daemon, path).await;
        assert_eq!(status, 200, "{path}: {html}");
        assert!(html.contains(expected), "{path} lacks {expected}:\n{html}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.contains("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert!(!html.contains(evil), "{path}");
        assert!(
            !html.contains("http://") && !html.contains("https://") || path == "/config",
            "{path} leads away"
        );
        assert!(!html.contains(" style=") && !html.contains(" onclick="), "{path}");
    }
    let (_, _, html) = page(&daemon, &format!("/records/Product2/{product}")).await;
    assert!(html.contains("&lt;script&gt;alert(1)"), "{html}");
    let secret = &org.env["SANDBOX_CLIENT_ID"];
    assert!(!page(&daemon, "/config").await.2.contains(secret.as_str()));

    times_and_troubles(&daemon, &product, listed[0]["committed_at"].as_str().unwrap()).await;
}

async fn times_and_troubles(daemon: &Daemon, product: &str, at: &str) {
    let (_, _, html) = page(daemon, &format!("/records/Product2/{product}?at={at}")).await;
    assert!(html.contains("The row at") && html.contains("told"), "{html}");
    for (path, expected) in [
        ("/events?since=noon", 400),
        ("/events/999999", 404),
        ("/orders/none", 404),
        ("/records/Product2/x?at=noon", 400),
    ] {
        let (status, _, html) = page(daemon, path).await;
        assert_eq!(status, expected, "{path}: {html}");
        assert!(html.contains("role=\"alert\""), "{path}: {html}");
    }
    let pulse: Value = serde_json::from_str(&page(daemon, "/console/pulse").await.2).unwrap();
    assert!(
        pulse["rev"].as_i64().unwrap() > 0 && pulse["outbox"] == 0,
        "{pulse}"
    );
    for asset in ["/console/console.css", "/console/console.js"] {
        assert_eq!(page(daemon, asset).await.0, 200);
    }
}

async fn edits_are_read_through_the_door_of_storefronts(daemon: &Daemon, token: &str) {
    for patch in [
        "{not json",
        r#"{"tax": 9007199254740993}"#,
        r#"{"tax": 1, "tax": 2}"#,
    ] {
        let edit = [("token", token), ("patch", patch)];
        let (status, _) = send(daemon, "/orders/WEB-1/edit", &daemon.admin, &edit).await;
        assert_eq!(status, 400, "{patch}");
    }
}

/// The parameters of an address, decoded.
fn parameters(address: &str) -> Vec<(String, String)> {
    let url = reqwest::Url::parse(&format!("http://console{address}")).unwrap();
    url.query_pairs()
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn older_events_are_those_that_pass_the_same_filter() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let product = org.some("Product2", "").await;
    // A page and one more.
    for number in 0..51 {
        let description = json!({"Description": format!("d {number}")});
        org.update("Product2", &product, description).await;
    }
    converge(&org).await;
    let (_, listed, _) = org
        .verb(&["events", "list", "--record", &product, "--limit", "60", "--json"])
        .await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 51);
    let text = |name: &str| listed[0][name].as_str().unwrap().to_owned();
    let (transaction, origin) = (text("transaction"), text("origin"));
    // All but one is given at a time: each event has a transaction of its own.
    let asked = [
        ("object", "Product2"),
        ("record", product.as_str()),
        ("field", "Description"),
        ("kind", "UPDATE"),
        ("origin", origin.as_str()),
        ("since", "2020-01-01T00:00:00Z"),
        ("until", "2120-01-01T00:00:00Z"),
    ];
    let mut url = reqwest::Url::parse("http://console/events").unwrap();
    url.query_pairs_mut().extend_pairs(asked);
    let (status, _, html) = page(&daemon, &format!("/events?{}", url.query().unwrap())).await;
    assert_eq!(status, 200, "{html}");
    let older = html
        .split("href=\"")
        .filter_map(|rest| rest.split('"').next())
        .find(|address| address.contains("before="))
        .unwrap_or_else(|| panic!("no way to older events: {html}"))
        .replace("&amp;", "&");
    let (before, kept): (Vec<_>, Vec<_>) = parameters(&older)
        .into_iter()
        .partition(|(name, _)| name == "before");
    let asked: Vec<(String, String)> = asked
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    assert_eq!(kept, asked);
    // The newest comes first: what is left is the first of all.
    assert_eq!(before[0].1, listed[1]["number"].to_string());
    let (_, _, html) = page(&daemon, &older).await;
    assert!(
        html.contains(&format!("/events/{}\"", listed[0]["number"])),
        "{html}"
    );
    let of_one = format!("/events?transaction={transaction}");
    let (_, _, html) = page(&daemon, &of_one).await;
    assert!(!html.contains("before="), "one event is no page: {html}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_helped_by_a_form_of_the_console_alone() {
    let org = Sandbox::start(&[]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let rule = json!({"object": "Order", "when": "ShippingCity = 'Nowhere'", "message": "no <b>more</b>", "field": "ShippingCity"});
    org.control("rules", json!({ "validations": [rule] })).await;
    let mut refused = order("WEB-1", &currency, &[(&products[0], 1)]);
    refused["shipping_address"]["city"] = json!("Nowhere");
    daemon.place(&store, &refused).await.unwrap();
    let html = eventually("the order needs attention", async || {
        let (_, _, html) = page(&daemon, "/orders/WEB-1").await;
        html.contains("needs attention").then_some(html)
    })
    .await;
    assert!(html.contains("Attempts") && !html.contains("<b>more"), "{html}");
    let token = token(&html);
    let (own, other) = (daemon.admin.clone(), "http://elsewhere.example");
    let discard = |token| [("token", token), ("reason", "a test")];
    assert_eq!(
        send(&daemon, "/orders/WEB-1/discard", other, &discard(&token))
            .await
            .0,
        403
    );
    assert_eq!(
        send(&daemon, "/orders/WEB-1/discard", &own, &discard("guessed"))
            .await
            .0,
        403
    );
    let unsaid = [("token", token.as_str()), ("reason", " ")];
    assert_eq!(send(&daemon, "/orders/WEB-1/discard", &own, &unsaid).await.0, 400);
    edits_are_read_through_the_door_of_storefronts(&daemon, &token).await;
    assert!(
        page(&daemon, "/orders/WEB-1")
            .await
            .2
            .contains("Nobody has touched it")
    );

    let (status, to) = send(&daemon, "/orders/WEB-1/discard", &own, &discard(&token)).await;
    assert_eq!((status, to.as_str()), (303, "/orders/WEB-1?done=discard"));
    let (_, _, html) = page(&daemon, &to).await;
    assert!(
        html.contains("It was given up") && html.contains("a test"),
        "{html}"
    );
    let reopened = send(&daemon, "/orders/WEB-1/reopen", &own, &[("token", &token)]).await;
    assert_eq!(reopened.0, 303);
    let edit = [
        ("token", token.as_str()),
        ("patch", r#"{"shipping_address": {"city": "Hobart"}}"#),
    ];
    assert_eq!(send(&daemon, "/orders/WEB-1/edit", &own, &edit).await.0, 303);
    assert_eq!(
        send(&daemon, "/orders/WEB-1/retry", &own, &[("token", &token)])
            .await
            .0,
        303
    );
    eventually("the order is in the org", async || {
        let (_, _, html) = page(&daemon, "/orders/WEB-1").await;
        (html.contains(">sent<") || html.contains(">confirmed<")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_are_tokens_a_browser_logs_in() {
    let org = Sandbox::start(&[]).await;
    let mut config = std::fs::read_to_string(org.config()).unwrap();
    // The hash of `open sesame`.
    config.push_str(
        "\n[[admin.tokens]]\nname = \"ops\"\nsha256 = \"41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb\"\n",
    );
    std::fs::write(org.config(), config).unwrap();
    let daemon = org.daemon().await;
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let get = async |path: &str, cookie: &str| {
        let request = client
            .get(format!("{}{path}", daemon.admin))
            .header("cookie", cookie);
        let answer = request.send().await.unwrap();
        let to = answer.headers().get("location").cloned();
        (
            answer.status().as_u16(),
            to.map(|to| to.to_str().unwrap().to_owned()),
        )
    };
    for path in ["/", "/events", "/orders/WEB-1", "/console/pulse"] {
        assert_eq!(get(path, "").await, (303, Some("/login".to_owned())), "{path}");
    }
    assert_eq!(get("/login", "").await.0, 200);
    let enter = async |token: &str| {
        let request = client
            .post(format!("{}/login", daemon.admin))
            .form(&[("token", token)]);
        request.send().await.unwrap()
    };
    assert_eq!(enter("guessed").await.status(), 403);
    let entered = enter("open sesame").await;
    assert_eq!(entered.status(), 303);
    let cookie = entered.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    let kept = cookie.split(';').next().unwrap();
    assert!(!cookie.contains("sesame"), "{cookie}");
    assert_eq!(get("/config", kept).await.0, 200);
    let (name, _) = kept.split_once('=').unwrap();
    for other in ["guessed", "open%20sesame", ""] {
        assert_eq!(get("/config", &format!("{name}={other}")).await.0, 303);
    }
    let (_, another) = entered_again(&enter("open sesame").await);
    assert!(another != kept && get("/config", &another).await.0 == 200);
    logs_out(&daemon, &client, kept).await;
    assert_eq!(get("/config", kept).await.0, 303);
    assert_eq!(
        get("/config", &another).await.0,
        200,
        "each session ends by itself"
    );
    a_reload_ends_sessions_of_tokens_that_are_gone(&org, &daemon, async || get("/config", &another).await.0)
        .await;
}

fn entered_again(answer: &reqwest::Response) -> (u16, String) {
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    (
        answer.status().as_u16(),
        cookie.split(';').next().unwrap().to_owned(),
    )
}

/// Who is logged in is told, and leaves by a form that carries the session's token.
async fn logs_out(daemon: &Daemon, client: &reqwest::Client, session: &str) {
    let page = client
        .get(format!("{}/session", daemon.admin))
        .header("cookie", session);
    let page = page.send().await.unwrap().text().await.unwrap();
    assert!(
        page.contains("ops") && page.contains("view, personal, operate, edit, export"),
        "{page}"
    );
    let leave = async |form_token: &str| {
        let request = client
            .post(format!("{}/logout", daemon.admin))
            .header("cookie", session)
            .form(&[("token", form_token)]);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(leave("of another").await, 403);
    assert_eq!(leave(&token(&page)).await, 303);
}

async fn a_reload_ends_sessions_of_tokens_that_are_gone(
    org: &Sandbox,
    daemon: &Daemon,
    status: impl AsyncFn() -> u16,
) {
    let config = std::fs::read_to_string(org.config()).unwrap();
    std::fs::write(org.config(), config.replace("41ef4bb0", "00000000")).unwrap();
    signal(&daemon.running, "-HUP");
    eventually("the session has ended", async || {
        (status().await == 303).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_not_tried_without_end() {
    let org = Sandbox::start(&[]).await;
    let mut config = std::fs::read_to_string(org.config()).unwrap();
    config.push_str(
        "\n[[admin.tokens]]\nname = \"ops\"\nsha256 = \"41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb\"\n",
    );
    std::fs::write(org.config(), config).unwrap();
    let daemon = org.daemon().await;
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let enter = async |token: &str| {
        let request = client.post(format!("{}/login", daemon.admin));
        request.form(&[("token", token)]).send().await.unwrap()
    };
    let entered = enter("open sesame").await;
    let cookie = entered.headers()["set-cookie"].to_str().unwrap().to_owned();
    let mut refused = 0;
    // Ten in a minute; a minute may turn between them.
    let too_many = loop {
        let answer = enter("guessed").await;
        match answer.status().as_u16() {
            403 => refused += 1,
            429 => break answer,
            status => panic!("{status}"),
        }
        assert!(refused <= 20);
    };
    assert!(refused >= 10, "{refused}");
    let wait: u64 = too_many.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    // The right one is not looked at either, and who is logged in stays so.
    assert_eq!(enter("open sesame").await.status(), 429);
    let page = client.get(format!("{}/config", daemon.admin));
    let page = page.header("cookie", cookie.split(';').next().unwrap());
    assert_eq!(page.send().await.unwrap().status(), 200);
    let said = daemon.running.said();
    let lines = said
        .lines()
        .filter(|line| line.contains("log-ins to the console were refused"));
    assert!((1..=2).contains(&lines.count()), "{said}");
}
