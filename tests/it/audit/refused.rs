//! What operators' listener refused, in the audit; and what nobody may say there of who it is and why.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::outbound::configure;
use crate::roles::{ask, with_tokens};
use crate::world::{Daemon, Sandbox};

type Sums = BTreeMap<(String, String, String, String), u64>;

/// How often what was refused, by actor, kind, what it needs, and address.
fn sums(entries: &[Value]) -> Sums {
    let mut sums = Sums::new();
    for entry in entries.iter().filter(|entry| entry["deed"] == "refused") {
        let about = |name: &str| entry["about"][name].as_str().unwrap_or("-").to_owned();
        let actor = entry["actor"].as_str().unwrap().to_owned();
        let key = (actor, about("kind"), about("needs"), about("address"));
        *sums.entry(key).or_default() += entry["about"]["count"].as_u64().unwrap();
    }
    sums
}

async fn log_in(daemon: &Daemon, token: &str, address: &str) -> u16 {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let request = client.post(format!("{}/login", daemon.admin));
    let request = request
        .form(&[("token", token)])
        .header("x-forwarded-for", address);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_summed_by_token_or_address() {
    let org = Sandbox::start(&["--products", "20", "--stores", "2"]).await;
    let text = std::fs::read_to_string(org.config()).unwrap();
    let named = text.replace("[admin]", "[admin]\ntrusted_proxies = [\"127.0.0.1\"]");
    assert_ne!(named, text);
    std::fs::write(org.config(), named).unwrap();
    let (mut daemon, _) = with_tokens(&org).await;
    for (method, path, token, expected) in [
        // Nobody tries anything without a token.
        ("post", "/api/orders/retry", "", 401),
        ("post", "/api/orders/retry", "wrong", 401),
        ("get", "/api/orders", "wrong", 401),
        ("get", "/orders", "wrong", 303),
        ("post", "/api/orders/WEB-1/retry", "view", 403),
        ("post", "/api/orders/WEB-1/discard", "view", 403),
        ("post", "/api/orders/WEB-1/edit", "operate", 403),
        ("get", "/api/orders?text=ana", "view", 403),
        ("get", "/records/Account/001000000000001AAA", "view", 403),
        ("get", "/api/audit", "one-store", 403),
        ("get", "/repairs", "one-store", 403),
        // The form of none of its pages.
        ("post", "/orders/WEB-1/retry", "operate", 403),
    ] {
        let (status, text) = ask(&daemon, method, path, token, None).await;
        assert_eq!(status, expected, "{token} {method} {path}: {text}");
    }
    // One address is looked at no more after ten, and counted on.
    for _ in 0..12 {
        assert!([403, 429].contains(&log_in(&daemon, "guess", "198.51.100.7").await));
    }
    assert_eq!(log_in(&daemon, "guess", "2001:db8:1:2:3::4").await, 403);
    assert_eq!(log_in(&daemon, "view", "198.51.100.8").await, 303);
    daemon.running.stop();
    let found = sums(&org.audit(&[]).await);
    let expected = [
        ("unknown", "token", "-", "this machine", 3),
        ("unknown", "log_in", "-", "198.51.100.7", 12),
        ("unknown", "log_in", "-", "2001:db8:1:2::/64", 1),
        ("view", "role", "operate", "-", 2),
        ("view", "role", "personal", "-", 2),
        ("operate", "role", "edit", "-", 1),
        ("operate", "form", "-", "-", 1),
        ("one-store", "stores", "-", "-", 2),
    ];
    let expected = expected.map(|(actor, kind, needs, address, count)| {
        let key = [actor, kind, needs, address].map(str::to_owned);
        let [actor, kind, needs, address] = key;
        ((actor, kind, needs, address), count)
    });
    assert_eq!(found, Sums::from(expected));
    let (code, said) = org.verified(&[]).await;
    assert_eq!(code, 0, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_fill_the_audit() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let text = std::fs::read_to_string(org.config()).unwrap();
    let named = text.replace("[admin]", "[admin]\ntrusted_proxies = [\"127.0.0.1\"]");
    std::fs::write(org.config(), named).unwrap();
    configure(&org, &crate::storefront::tokens::token("admin", "ana", ""));
    let mut daemon = org.daemon().await;
    for last in 0..60 {
        let status = log_in(&daemon, "guess", &format!("198.51.100.{last}")).await;
        assert_eq!(status, 403, "{last}");
    }
    daemon.running.stop();
    let entries = org.audit(&[]).await;
    // A minute may have ended meanwhile.
    assert!((17..=34).contains(&entries.len()), "{entries:?}");
    let found = sums(&entries);
    assert_eq!(found.values().sum::<u64>(), 60);
    let others: u64 = found
        .iter()
        .filter(|((.., address), _)| address == "others")
        .map(|(_, count)| count)
        .sum();
    assert!(others >= 60 - 32, "{found:?}");
}

/// What nobody may say, with a part of the sentence that says so.
fn unsayable() -> [(String, &'static str); 4] {
    [
        ("a".repeat(4_001), "has 4001 bytes: give at most 4000"),
        ("\u{1b}[31mred".to_owned(), "control character U+001B"),
        ("two\nlines".to_owned(), "control character U+000A"),
        ("c1 \u{9b}".to_owned(), "control character U+009B"),
    ]
}

async fn over_http(daemon: &Daemon) {
    let refused = async |path: &str, body: Value, part: &str| {
        let (status, text) = ask(daemon, "post", path, "all", Some(body.clone())).await;
        assert!(
            status == 400 && text.contains(part),
            "{path} {body}: {status} {text}"
        );
    };
    for (said, part) in unsayable() {
        for deed in [
            "WEB-1/retry",
            "WEB-1/reopen",
            "WEB-1/discard",
            "WEB-1/edit",
            "retry",
        ] {
            let path = format!("/api/orders/{deed}");
            let patch = json!({"customer": {"phone": "0400 777"}});
            let body = |actor: &str, reason: &str| match deed {
                "WEB-1/edit" => json!({"actor": actor, "reason": reason, "patch": patch}),
                _ => json!({"actor": actor, "reason": reason}),
            };
            refused(&path, body("kim", &said), part).await;
            refused(&path, body(&said, "called"), part).await;
        }
    }
    for blank in [json!({}), json!({"reason": ""}), json!({"reason": " \t"})] {
        refused("/api/orders/WEB-1/discard", blank, "reason is missing").await;
    }
}

async fn in_the_console(daemon: &Daemon) {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let page = |path: &str| format!("{}{path}", daemon.admin);
    let entered = client.post(page("/login")).form(&[("token", "all")]);
    let entered = entered.send().await.unwrap();
    let cookie = entered.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let session = client.get(page("/session")).header("cookie", &cookie);
    let session = session.send().await.unwrap().text().await.unwrap();
    let (_, form_token) = session.split_once("name=\"token\" value=\"").unwrap();
    let form_token = form_token.split('"').next().unwrap();
    let blank = [(" ".to_owned(), "reason is missing")];
    for deed in ["discard", "retry", "reopen"] {
        let of_discard = blank.iter().filter(|_| deed == "discard");
        for (said, part) in unsayable().iter().chain(of_discard) {
            let request = client
                .post(page(&format!("/orders/WEB-1/{deed}")))
                .header("cookie", &cookie);
            let form = [("token", form_token), ("reason", said)];
            let answer = request.form(&form).send().await.unwrap();
            let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
            assert!(status == 400 && text.contains(part), "{deed}: {status} {text}");
        }
    }
}

async fn on_the_command_line(org: &Sandbox) {
    let blank = [
        (" ".to_owned(), "reason is missing"),
        (String::new(), "reason is missing"),
    ];
    for (said, part) in unsayable().iter().chain(&blank) {
        let (code, told, problem) = org.verb(&["orders", "discard", "WEB-1", "--reason", said]).await;
        assert!(
            code == 64 && problem.contains(part) && told.is_empty(),
            "{said:?}: {code} {problem}"
        );
    }
    let file = org.dir.path().join("person.jsonl");
    let file = file.to_str().unwrap();
    for (name, part) in unsayable() {
        for arguments in [
            &["orders", "retry", "WEB-1"][..],
            &["orders", "reopen", "WEB-1"],
            &["orders", "edit", "WEB-1", "--set", "customer.phone=0400777"],
            &["orders", "export"],
            &["events", "export"],
            &["replay", "--dry-run", "--object", "Product2"],
            &["person", "ana@private.example", "--export", file],
        ] {
            let variables = [("SUDO_USER", name.as_str())];
            let (code, told, problem) = org.verb_with(&variables, arguments).await;
            assert!(
                code == 64 && problem.contains("the variable SUDO_USER has") && problem.contains(part),
                "{arguments:?}: {code} {problem}"
            );
            assert_eq!(told, "", "{arguments:?}");
        }
    }
    assert!(!std::path::Path::new(file).exists(), "nothing was begun");
    // Who has no name there is asked for by the next.
    let variables = [("SUDO_USER", " "), ("USER", "kim")];
    let (code, _, problem) = org.verb_with(&variables, &["orders", "export"]).await;
    assert_eq!(code, 0, "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_is_a_line_of_bounded_length_at_every_entrance() {
    let org = Sandbox::start(&["--products", "20", "--stores", "2"]).await;
    let (mut daemon, _) = with_tokens(&org).await;
    over_http(&daemon).await;
    in_the_console(&daemon).await;
    on_the_command_line(&org).await;
    let (_, shown) = ask(&daemon, "get", "/api/orders/WEB-1", "all", None).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&shown["state"], &shown["audit"]),
        (&json!("needs_attention"), &json!([]))
    );
    // As long as may be; of a blank name nothing is kept.
    let longest = "é".repeat(2_000);
    let body = json!({"actor": " ", "reason": longest});
    let (status, text) = ask(&daemon, "post", "/api/orders/WEB-1/discard", "all", Some(body)).await;
    assert_eq!(status, 200, "{text}");
    let (_, shown) = ask(&daemon, "get", "/api/orders/WEB-1", "all", None).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["audit"][0]["reason"], longest.as_str());
    assert_eq!(shown["audit"][0]["on_behalf_of"], Value::Null);
    daemon.running.stop();
    let entries = org.audit(&[]).await;
    let actors: Vec<_> = entries
        .iter()
        .filter(|entry| entry["deed"] == "export")
        .map(|entry| entry["actor"].as_str().unwrap())
        .collect();
    assert_eq!(actors, ["kim (command line)"]);
}
