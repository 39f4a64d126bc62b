//! Every header of an answer is seen with a value that is right, and without it or with another where that is right.
//!
//! [`SEEN`] is compared with the headers that the source of both listeners sets, with every header of every answer
//! that this test gets, and with what it has seen differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::tokens::{certify, configure, token};
use crate::world::{Running, Sandbox, eventually};

/// Headers of answers.
const SEEN: &[&str] = &[
    "allow",
    "cache-control",
    "clear-site-data",
    "content-encoding",
    "content-security-policy",
    "content-type",
    "etag",
    "location",
    "referrer-policy",
    "retry-after",
    "set-cookie",
    "storesync-customer",
    "storesync-partial",
    "storesync-state",
    "vary",
    "www-authenticate",
    "x-accel-buffering",
    "x-content-type-options",
];

/// How old an answer may be: that it is there is seen, and not yet what it says.
const AGE: &str = "storesync-lag-seconds";

/// Of the protocol itself.
const TRANSPORT: &[&str] = &["connection", "content-length", "date", "transfer-encoding"];

/// Headers of requests, which the source names too.
const ASKED: &[&str] = &["authorization", "cookie", "host", "if-none-match", "origin"];

/// Tokens of both listeners.
const WEB: &str = "long and random";
const OPERATOR: &str = "open sesame";

/// What pages may load.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const PAGE: &str = "text/html; charset=utf-8";

/// The headers that the source of the listeners names, by the constants of `http` or by their text.
fn named_by_the_source() -> BTreeSet<String> {
    fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, into),
                false => into.push(path),
            }
        }
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join("serve.rs")];
    walk(&source.join("serve"), &mut files);
    files.retain(|file| file.extension().is_some_and(|end| end == "rs"));
    assert!(files.len() > 20, "{files:?}");
    let mut names = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        let product = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let constants = product.split("header::").skip(1).map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_uppercase() && c != '_');
            rest[..end.unwrap_or(rest.len())].to_lowercase().replace('_', "-")
        });
        // A type of that module is one capital letter.
        names.extend(constants.filter(|name| name.len() > 1));
        let texts = product.split("HeaderName::from_static(\"").skip(1);
        names.extend(texts.map(|rest| rest.split('"').next().unwrap().to_owned()));
        if product.contains("Redirect::") {
            names.insert("location".to_owned());
        }
    }
    names
}

/// A client of one listener, and what it has seen.
#[derive(Default)]
struct Seen {
    /// All values of a header that were expected and found; `None` where it was rightly not there.
    values: BTreeMap<String, BTreeSet<Option<String>>>,
    /// Every header of every answer.
    names: BTreeSet<String>,
}

impl Seen {
    /// Sends a request, and expects these headers of its answer.
    async fn asks(
        &mut self,
        request: reqwest::RequestBuilder,
        status: u16,
        expected: &[(&str, Option<&str>)],
    ) -> HeaderMap {
        let answer = request.send().await.unwrap();
        let (url, headers) = (answer.url().clone(), answer.headers().clone());
        assert_eq!(answer.status().as_u16(), status, "{url}: {headers:?}");
        self.names.extend(headers.keys().map(ToString::to_string));
        for (name, value) in expected {
            let found = headers.get(*name).map(|value| value.to_str().unwrap());
            assert_eq!(found, *value, "{name} of {url}");
            let values = self.values.entry((*name).to_owned()).or_default();
            values.insert(value.map(str::to_owned));
        }
        headers
    }
}

impl Seen {
    /// The cookie of a session that begins, as a browser sends it back: an id that nobody can guess, and no token.
    fn session(&mut self, headers: &HeaderMap, name: &str, ends: &str) -> String {
        let cookie = headers["set-cookie"].to_str().unwrap();
        let (session, rest) = cookie.split_once("; ").unwrap();
        let (its_name, id) = session.split_once('=').unwrap();
        let is_hex = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(its_name == name && is_hex, "{cookie}");
        assert_eq!(rest, format!("HttpOnly; SameSite=Strict; Path=/; {ends}"));
        let values = self.values.entry("set-cookie".to_owned()).or_default();
        values.insert(Some(cookie.to_owned()));
        session.to_owned()
    }
}

fn client() -> reqwest::ClientBuilder {
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_gzip()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_header_is_there_where_it_should_be_and_says_what_it_should() {
    let org = Sandbox::start(&["--products", "20", "--stores", "1"]).await;
    let tokens = [
        token("serve", WEB, "customers = true\norders = true"),
        token("admin", OPERATOR, ""),
    ];
    configure(&org, &tokens.join("\n"));
    let (mut seen, client) = (Seen::default(), client().build().unwrap());
    let get = |base: &str, path: &str, token: &str| client.get(format!("{base}{path}")).bearer_auth(token);
    let state = |state| [("storesync-state", Some(state))];
    {
        // Nothing is loaded yet, and will not be.
        let daemon = org.daemon_with(&[("STORESYNC_FAILPOINT", "load")]).await;
        let shop = get(&daemon.api, "/v1/stores/harbour-pine", WEB);
        let later = [
            ("retry-after", Some("5")),
            ("content-type", Some(PROBLEM)),
            ("etag", None),
        ];
        seen.asks(shop, 503, &later).await;
        eventually("there is a table to answer from", async || {
            let path = "/v1/objects/Product2?partial=true";
            let answer = get(&daemon.api, path, WEB).send().await.ok()?;
            assert!([200, 503].contains(&answer.status().as_u16()), "{answer:?}");
            (answer.status() == 200).then_some(())
        })
        .await;
        let part = get(&daemon.api, "/v1/objects/Product2?partial=true", WEB);
        let part_of = [
            ("storesync-partial", Some("true")),
            ("cache-control", Some("no-store")),
            ("etag", None),
        ];
        seen.asks(part, 200, &part_of).await;
        let live = get(&daemon.admin, "/livez", OPERATOR);
        seen.asks(live, 200, &state("initializing")).await;
    }
    let daemon = org.daemon().await;
    let (api, admin) = (daemon.api.as_str(), daemon.admin.as_str());
    eventually("all objects are loaded", async || {
        let told = get(admin, "/readyz", OPERATOR).send().await.ok()?;
        (told.status() == 200).then_some(())
    })
    .await;
    answers_of_the_api(&org, &client, api, &mut seen).await;
    more_answers_of_the_api(&client, api, &mut seen).await;
    answers_of_the_console(&client, admin, &mut seen).await;
    the_documents_name_what_is_there(&client, [(api, WEB), (admin, OPERATOR)]).await;
    drop(daemon);
    an_org_that_is_away_and_a_console_over_tls(&org, &mut seen).await;

    let known: BTreeSet<&str> = SEEN.iter().chain(TRANSPORT).copied().chain([AGE]).collect();
    let unknown = |names: &BTreeSet<String>, more: &[&str]| -> Vec<String> {
        let listed = |name: &&String| known.contains(name.as_str()) || more.contains(&name.as_str());
        names.iter().filter(|name| !listed(name)).cloned().collect()
    };
    assert_eq!(unknown(&seen.names, &[]), [""; 0], "answered, and not listed");
    assert_eq!(
        unknown(&named_by_the_source(), ASKED),
        [""; 0],
        "in the source, and not listed"
    );
    for name in SEEN {
        let values = seen.values.get(*name).map_or(0, BTreeSet::len);
        assert!(values > 1, "{name} was seen with {values} values");
    }
}

async fn answers_of_the_api(org: &Sandbox, client: &Client, api: &str, seen: &mut Seen) {
    let get = |path: &str| client.get(format!("{api}{path}")).bearer_auth(WEB);
    let store = "/v1/stores/harbour-pine";
    let live = [
        ("storesync-state", Some("live")),
        ("cache-control", Some("no-cache")),
        ("content-type", Some(JSON)),
        ("storesync-customer", None),
        ("storesync-partial", None),
        ("retry-after", None),
        ("www-authenticate", None),
        ("allow", None),
        ("x-accel-buffering", None),
        ("content-security-policy", None),
        ("x-content-type-options", None),
        ("referrer-policy", None),
        ("location", None),
        ("set-cookie", None),
    ];
    let headers = seen.asks(get(store), 200, &live).await;
    let tag = headers["etag"].to_str().unwrap().to_owned();
    let held = || get(store).header("if-none-match", &tag);
    let same = [
        ("etag", Some(tag.as_str())),
        ("storesync-state", Some("live")),
        ("content-type", None),
    ];
    seen.asks(held(), 304, &same).await;
    let contact = org.some("Contact", "WHERE External_ID__c = 'C-1'").await;
    let of = [("storesync-customer", Some(contact.as_str()))];
    seen.asks(get(&format!("{store}/customers/C-1")), 200, &of).await;
    let id = org.some("s_c__Store__c", "").await;
    org.update("s_c__Store__c", &id, json!({"Name": "Renamed"})).await;
    let other = eventually("the store has another tag", async || {
        let answer = held().send().await.ok()?;
        (answer.status() == 200).then(|| answer.headers()["etag"].to_str().unwrap().to_owned())
    })
    .await;
    assert_ne!(other, tag);
    seen.asks(held(), 200, &[("etag", Some(&other))]).await;
}

/// Refusals, the stream, what is packed, and what is taken.
async fn more_answers_of_the_api(client: &Client, api: &str, seen: &mut Seen) {
    let get = |path: &str| client.get(format!("{api}{path}")).bearer_auth(WEB);
    let store = "/v1/stores/harbour-pine";
    let problem = ("content-type", Some(PROBLEM));
    let none = client.get(format!("{api}{store}"));
    seen.asks(none, 401, &[("www-authenticate", Some("Bearer")), problem])
        .await;
    let deleted = client.delete(format!("{api}/v1/stores")).bearer_auth(WEB);
    seen.asks(deleted, 405, &[("allow", Some("GET,HEAD")), problem])
        .await;
    let nothing = [problem, ("cache-control", None)];
    seen.asks(get("/v1/nothing"), 404, &nothing).await;
    let stream = [
        ("content-type", Some("text/event-stream")),
        ("cache-control", Some("no-store")),
        ("x-accel-buffering", Some("no")),
        ("storesync-state", Some("live")),
    ];
    seen.asks(get("/v1/changes"), 200, &stream).await;
    let long = || get(&format!("{store}/products?limit=20"));
    let varies = ("vary", Some("accept-encoding"));
    let packed = [("content-encoding", Some("gzip")), varies];
    seen.asks(long().header("accept-encoding", "gzip"), 200, &packed)
        .await;
    seen.asks(long(), 200, &[("content-encoding", None), varies])
        .await;
    // Too short to be worth it.
    let short = get(&format!("{store}/bookings?limit=1")).header("accept-encoding", "gzip");
    let plain = [("content-encoding", None), ("vary", None)];
    seen.asks(short, 200, &plain).await;
    let placed = json!({"external_id": "WEB-1", "currency": "AUD",
        "customer": {"external_id": "C-WEB-1", "email": "ana@example.com", "last_name": "Lee"},
        "items": [{"product_code": "SKU-1", "quantity": 1}]});
    let place = client.post(format!("{api}{store}/orders"));
    let taken = [("content-type", Some(JSON)), ("etag", None)];
    seen.asks(place.bearer_auth(WEB).json(&placed), 202, &taken).await;
}

async fn answers_of_the_console(client: &Client, admin: &str, seen: &mut Seen) {
    let get = |path: &str| client.get(format!("{admin}{path}"));
    seen.asks(get("/events"), 303, &[("location", Some("/login"))])
        .await;
    let page = [
        ("content-type", Some(PAGE)),
        ("cache-control", Some("no-store")),
        ("content-security-policy", Some(POLICY)),
        ("x-content-type-options", Some("nosniff")),
        ("referrer-policy", Some("same-origin")),
        ("set-cookie", None),
    ];
    seen.asks(get("/login"), 200, &page).await;
    let asset = [
        ("content-type", Some("text/css; charset=utf-8")),
        ("cache-control", Some("no-cache")),
        ("content-security-policy", Some(POLICY)),
        ("x-content-type-options", Some("nosniff")),
    ];
    seen.asks(get("/console/console.css"), 200, &asset).await;
    let log_in = |token: &str| client.post(format!("{admin}/login")).form(&[("token", token)]);
    seen.asks(
        log_in("guessed"),
        403,
        &[("set-cookie", None), ("location", None)],
    )
    .await;
    let entered = [("location", Some("/")), ("clear-site-data", None)];
    let entered = seen.asks(log_in(OPERATOR), 303, &entered).await;
    let session = seen.session(
        &entered,
        &format!("storesync_{}", admin.rsplit(':').next().unwrap()),
        "Max-Age=43200",
    );
    let form = get("/session").header("cookie", &session);
    let form = form.send().await.unwrap().text().await.unwrap();
    let (_, form) = form.split_once("name=\"token\" value=\"").unwrap();
    let leave = [("token", form.split('"').next().unwrap())];
    let leave = client
        .post(format!("{admin}/logout"))
        .header("cookie", &session)
        .form(&leave);
    let left = [
        ("location", Some("/login")),
        ("clear-site-data", Some("\"cache\"")),
    ];
    let left = seen.asks(leave, 303, &left).await;
    assert!(
        left["set-cookie"].to_str().unwrap().ends_with("Max-Age=0"),
        "{left:?}"
    );
    let metrics = get("/metrics").bearer_auth(OPERATOR);
    let text = "text/plain; version=0.0.4; charset=utf-8";
    seen.asks(
        metrics,
        200,
        &[("content-type", Some(text)), ("storesync-state", None)],
    )
    .await;
    let export = get("/api/orders/export").bearer_auth(OPERATOR);
    seen.asks(export, 200, &[("content-type", Some("application/x-ndjson"))])
        .await;
}

/// The OpenAPI documents say of an answer that it has a header, or that it can be asked for again by its tag, exactly
/// where that is so.
async fn the_documents_name_what_is_there(client: &Client, listeners: [(&str, &str); 2]) {
    let mut compared = 0;
    for (base, token) in listeners {
        let get = |path: &str| client.get(format!("{base}{path}")).bearer_auth(token);
        let document: Value = get("/openapi.json").send().await.unwrap().json().await.unwrap();
        for (template, methods) in document["paths"].as_object().unwrap() {
            let operation = &methods["get"];
            let mut path = template.replace("{store}", "harbour-pine");
            for (name, value) in [
                ("product", "SKU-1"),
                ("customer", "C-1"),
                ("external_id", "WEB-1"),
                ("kind", "order"),
                ("reference", "WEB-1"),
                ("object", "Product2"),
            ] {
                path = path.replace(&format!("{{{name}}}"), value);
            }
            // Rows by id are as those by the store's products.
            if operation.is_null() || path.contains('{') {
                continue;
            }
            let answer = get(&path).send().await.unwrap();
            if answer.status() != 200 {
                assert_eq!(path, "/v1/resolve", "{path} cannot be asked for: {answer:?}");
                continue;
            }
            compared += 1;
            let declared = &operation["responses"]["200"]["headers"];
            for name in ["Storesync-State", "ETag"] {
                let is_there = answer.headers().contains_key(name);
                assert_eq!(!declared[name].is_null(), is_there, "{name} of {path}");
            }
            let tag = answer.headers().get("etag").cloned();
            let may_be_kept = !operation["responses"]["304"].is_null();
            assert_eq!(may_be_kept, tag.is_some(), "304 of {path}");
            if let Some(tag) = tag {
                let again = get(&path).header("if-none-match", tag).send().await.unwrap();
                assert_eq!(again.status(), 304, "{path}");
            }
        }
        let refused = &document["paths"].as_object().unwrap().values().next().unwrap();
        let refused = refused.as_object().unwrap().values().next().unwrap();
        for (status, name) in [("401", "WWW-Authenticate"), ("503", "Retry-After")] {
            assert!(!refused["responses"][status]["headers"][name].is_null(), "{name}");
        }
    }
    assert!(compared > 25, "only {compared} addresses were asked for");
}

async fn an_org_that_is_away_and_a_console_over_tls(org: &Sandbox, seen: &mut Seen) {
    let (certificate, files) = certify(org);
    configure(org, &format!("[admin.tls]\n{files}"));
    let away = [
        ("STORESYNC__ORG__LOGIN_URL", "http://127.0.0.1:1"),
        ("STORESYNC_CLOCK_AHEAD_SECONDS", "420"),
    ];
    let command = org.daemon_command(&away);
    let (running, line) = Running::with_first_line_of_log(command, "operators are served on");
    let said = running.said();
    let port = |line: &str| line.rsplit(':').next().unwrap().trim().to_owned();
    let api = said
        .lines()
        .find(|line| line.contains("storefronts are served on"))
        .unwrap();
    let api = format!("http://127.0.0.1:{}", port(api));
    let client = client()
        .tls_certs_only([reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap()])
        .build()
        .unwrap();
    let shop = || {
        client
            .get(format!("{api}/v1/stores/harbour-pine"))
            .bearer_auth(WEB)
    };
    eventually("the org is known to be away", async || {
        let answer = shop().send().await.ok()?;
        (answer.headers()["storesync-state"] == "stale").then_some(())
    })
    .await;
    let headers = seen
        .asks(shop(), 200, &[("storesync-state", Some("stale"))])
        .await;
    assert!(headers.contains_key(AGE), "{headers:?}");
    let url = format!("https://localhost:{}/login", port(&line));
    let log_in = client.request(Method::POST, url).form(&[("token", OPERATOR)]);
    let entered = seen.asks(log_in, 303, &[]).await;
    let name = format!("__Host-storesync_{}", port(&line));
    seen.session(&entered, &name, "Max-Age=43200; Secure");
}
