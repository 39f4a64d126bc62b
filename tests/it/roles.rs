//! What each token of operators opens: every address of the document and of the console, by every role.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use storesync::serve::console;

use crate::outbound::desk::a_rule;
use crate::outbound::{accepted, configure};
use crate::world::{Daemon, Sandbox, eventually, order};

/// What `printf %s SECRET | sha256sum` prints.
fn hash(secret: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A token by its name, which is its secret too: its roles, and whether it is for the first store alone.
const TOKENS: [(&str, &[&str], bool); 8] = [
    ("all", &[], false),
    ("view", &["view"], false),
    ("personal", &["personal"], false),
    ("operate", &["operate"], false),
    ("edit", &["edit"], false),
    ("export", &["export"], false),
    ("one-store", &["edit", "export"], true),
    ("one-store-view", &["view"], true),
];

const EVERYBODY: &[&str] = &["", "wrong"];
/// All tokens; those of all stores; by role, among them and among those of one store.
const ANY: &[&str] = &[
    "all",
    "view",
    "personal",
    "operate",
    "edit",
    "export",
    "one-store",
    "one-store-view",
];
const WHOLE: &[&str] = &["all", "view", "personal", "operate", "edit", "export"];
const PERSONAL: &[&str] = &["all", "personal", "edit", "export"];
const OPERATE: &[&str] = &["all", "operate", "edit", "one-store"];
const EDIT: &[&str] = &["all", "edit", "one-store"];
const EXPORT: &[&str] = &["all", "export", "one-store"];

/// Method, address, as it is asked, and who may. `{reference}` is an order of the first store.
const OPERATIONS: &[(&str, &str, &str, &[&str])] = &[
    ("get", "/openapi.json", "/openapi.json", EVERYBODY),
    ("get", "/livez", "/livez", EVERYBODY),
    ("get", "/readyz", "/readyz", EVERYBODY),
    ("get", "/metrics", "/metrics", WHOLE),
    ("get", "/status", "/status", WHOLE),
    ("get", "/api/audit", "/api/audit", WHOLE),
    ("get", "/api/orders", "/api/orders", ANY),
    ("get", "/api/orders/{reference}", "/api/orders/WEB-1", ANY),
    ("get", "/api/orders/export", "/api/orders/export", EXPORT),
    ("post", "/api/orders/retry", "/api/orders/retry", OPERATE),
    (
        "post",
        "/api/orders/{reference}/{deed}",
        "/api/orders/WEB-1/retry",
        OPERATE,
    ),
    (
        "post",
        "/api/orders/{reference}/{deed}",
        "/api/orders/WEB-1/reopen",
        OPERATE,
    ),
    (
        "post",
        "/api/orders/{reference}/{deed}",
        "/api/orders/WEB-1/discard",
        OPERATE,
    ),
    (
        "post",
        "/api/orders/{reference}/{deed}",
        "/api/orders/WEB-1/edit",
        EDIT,
    ),
    ("get", "/", "/", WHOLE),
    ("get", "/console/pulse", "/console/pulse", WHOLE),
    ("get", "/events", "/events", WHOLE),
    ("get", "/events/{number}", "/events/1", PERSONAL),
    ("get", "/parked", "/parked", PERSONAL),
    (
        "get",
        "/records/{object}/{id}",
        "/records/Account/001000000000001AAA",
        PERSONAL,
    ),
    ("get", "/repairs", "/repairs", WHOLE),
    ("get", "/config", "/config", WHOLE),
    ("get", "/session", "/session", ANY),
    ("post", "/logout", "/logout", ANY),
    ("get", "/orders", "/orders", ANY),
    ("get", "/orders/{reference}", "/orders/WEB-1", ANY),
    (
        "post",
        "/orders/{reference}/{deed}",
        "/orders/WEB-1/retry",
        OPERATE,
    ),
    (
        "post",
        "/orders/{reference}/{deed}",
        "/orders/WEB-1/edit",
        OPERATE,
    ),
];

/// Status and text of an answer; a form of the console where the address is one.
pub async fn ask(
    daemon: &Daemon,
    method: &str,
    path: &str,
    token: &str,
    body: Option<Value>,
) -> (u16, String) {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let url = format!("{}{path}", daemon.admin);
    let request = match method {
        "post" if path.starts_with("/api/") => client.post(url).json(&body.unwrap_or_else(|| json!({}))),
        "post" => client.post(url).form(&[("token", "none of this console")]),
        _ => client.get(url),
    };
    let request = match token {
        "" => request,
        token => request.bearer_auth(token),
    };
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Whether an answer refuses who asks: by the want of a token, or of a role, or of all stores.
fn is_shut_out(status: u16, text: &str) -> bool {
    let by_role = text.contains("needs the role") || text.contains("is of all stores");
    status == 401 || status == 303 || status == 403 && by_role
}

/// A daemon whose operators need tokens, with an order of each of two stores that the org refused.
pub async fn with_tokens(org: &Sandbox) -> (Daemon, [String; 2]) {
    let stores = org
        .query("SELECT Id FROM s_c__Store__c ORDER BY Id LIMIT 2")
        .await;
    let stores = [0, 1].map(|at| stores[at]["Id"].as_str().unwrap().to_owned());
    let tokens = TOKENS.iter().map(|(name, roles, is_of_one)| {
        let only = if *is_of_one {
            format!("stores = [\"{}\"]\n", stores[0])
        } else {
            String::new()
        };
        let hash = hash(name);
        let roles = match roles.is_empty() {
            true => String::new(),
            false => format!("roles = {roles:?}\n"),
        };
        format!("[[admin.tokens]]\nname = \"{name}\"\nsha256 = \"{hash}\"\n{roles}{only}")
    });
    configure(org, &tokens.collect::<String>());
    let daemon = org.daemon().await;
    eventually("it is live", async || {
        let (_, status) = ask(&daemon, "get", "/status", "all", None).await;
        (serde_json::from_str::<Value>(&status).ok()?["state"] == "live").then_some(())
    })
    .await;
    a_rule(org).await;
    for (store, key) in stores.iter().zip(["WEB-1", "WEB-2"]) {
        let products = daemon
            .get(&format!("/v1/stores/{store}/products?limit=200"))
            .await
            .unwrap()
            .1;
        let product = products["items"].as_array().unwrap().iter();
        let mut buyable =
            product.filter(|product| product["purchasable"] == true && product["stock"].is_null());
        let product = buyable.next().unwrap();
        let mut posted = order(
            key,
            product["price"]["currency"].as_str().unwrap(),
            &[(product["id"].as_str().unwrap(), 1)],
        );
        posted["shipping_address"]["city"] = json!("Nowhere");
        posted["customer"] = json!({"external_id": "C-1", "email": "ana@private.example", "first_name": "Ana", "last_name": "Hatzegopteryx"});
        accepted(&daemon, store, &posted).await;
    }
    both_are_refused(&daemon).await;
    (daemon, stores)
}

pub async fn both_are_refused(daemon: &Daemon) {
    eventually("both were refused", async || {
        let (_, listed) = ask(daemon, "get", "/api/orders?state=needs_attention", "all", None).await;
        (serde_json::from_str::<Value>(&listed).ok()?["items"]
            .as_array()?
            .len()
            == 2)
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_opens_what_it_is_for_and_nothing_else() {
    let org = Sandbox::start(&["--products", "20", "--stores", "2"]).await;
    let (daemon, stores) = with_tokens(&org).await;
    every_address_has_its_row(&daemon).await;
    let mut asked = 0;
    for (method, _, path, may) in OPERATIONS {
        for (token, ..) in TOKENS
            .iter()
            .chain(&[("", &[][..], false), ("wrong", &[][..], false)])
        {
            let is_open = *may == EVERYBODY || may.contains(token);
            let (status, text) = ask(&daemon, method, path, token, None).await;
            assert_eq!(
                !is_shut_out(status, &text),
                is_open,
                "{token} {method} {path}: {status} {text}"
            );
            assert!(status < 500, "{token} {method} {path}: {status} {text}");
            asked += 1;
        }
    }
    assert_eq!(asked, OPERATIONS.len() * (TOKENS.len() + 2));
    of_one_store(&daemon, &stores).await;
    the_actor_is_the_token(&daemon).await;
}

/// What the document and the console have, and what the table has.
async fn every_address_has_its_row(daemon: &Daemon) {
    let (_, document) = ask(daemon, "get", "/openapi.json", "", None).await;
    let document: Value = serde_json::from_str(&document).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let documented = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().keys();
        methods.map(move |method| (method.clone(), path.clone()))
    });
    let paged = console::addresses().map(|path| {
        let method = if path.ends_with("{deed}") || path == "/logout" {
            "post"
        } else {
            "get"
        };
        (method.to_owned(), path.to_owned())
    });
    let all: BTreeSet<_> = documented.chain(paged).collect();
    let rows = OPERATIONS
        .iter()
        .map(|(method, path, ..)| ((*method).to_owned(), (*path).to_owned()));
    assert_eq!(all, rows.collect());
    let role = |path: &str, method: &str| document["paths"][path][method]["security"][0]["token"].clone();
    assert_eq!(role("/api/orders/export", "get"), json!(["export"]));
    assert_eq!(role("/status", "get"), json!(["view"]));
}

async fn of_one_store(daemon: &Daemon, stores: &[String; 2]) {
    let stores_of = |text: &str| -> BTreeSet<String> {
        let items: Vec<Value> = match serde_json::from_str::<Value>(text) {
            Ok(page) if page["items"].is_array() => page["items"].as_array().unwrap().clone(),
            _ => text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect(),
        };
        items
            .iter()
            .map(|item| item["store"].as_str().unwrap().to_owned())
            .collect()
    };
    for path in ["/api/orders", "/api/orders/export"] {
        let own = ask(daemon, "get", path, "one-store", None).await.1;
        assert_eq!(stores_of(&own), BTreeSet::from([stores[0].clone()]), "{path}");
        let all = ask(daemon, "get", path, "export", None).await.1;
        assert_eq!(stores_of(&all), stores.iter().cloned().collect(), "{path}");
    }
    for (method, path) in [
        ("get", "/api/orders/WEB-2"),
        ("get", "/orders/WEB-2"),
        ("post", "/api/orders/WEB-2/retry"),
        ("post", "/api/orders/WEB-2/edit"),
    ] {
        let (status, text) = ask(daemon, method, path, "one-store", None).await;
        assert_eq!(status, 404, "{method} {path}: {text}");
    }
    let (_, listed) = ask(daemon, "get", "/orders", "one-store", None).await;
    assert!(listed.contains("WEB-1") && !listed.contains("WEB-2"), "{listed}");
    both_are_refused(daemon).await;
    let (_, retried) = ask(daemon, "post", "/api/orders/retry", "one-store", None).await;
    assert_eq!(
        serde_json::from_str::<Value>(&retried).unwrap()["changed"],
        1,
        "{retried}"
    );
}

async fn the_actor_is_the_token(daemon: &Daemon) {
    both_are_refused(daemon).await;
    let edit = json!({"actor": "kim", "patch": {"customer": {"first_name": "Anna"}}});
    let (status, text) = ask(daemon, "post", "/api/orders/WEB-2/edit", "edit", Some(edit)).await;
    assert_eq!(status, 200, "{text}");
    let (_, shown) = ask(daemon, "get", "/api/orders/WEB-2", "personal", None).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let audit = shown["audit"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&audit["actor"], &audit["on_behalf_of"]),
        (&json!("edit"), &json!("kim")),
        "{audit}"
    );
    assert_eq!(shown["body"]["customer"]["first_name"], "Anna");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_view_is_told_no_value_of_a_person() {
    let org = Sandbox::start(&["--products", "20", "--stores", "2"]).await;
    let (daemon, _) = with_tokens(&org).await;
    let values = [
        "ana@private.example",
        "Hatzegopteryx",
        "1 High St",
        "No such city.",
    ];
    let edit = json!({"actor": "for Hatz", "patch": {"customer": {"phone": "0400 777"}}});
    let (status, text) = ask(&daemon, "post", "/api/orders/WEB-1/edit", "edit", Some(edit)).await;
    assert_eq!(status, 200, "{text}");
    let mut seen = BTreeSet::new();
    for (method, _, path, may) in OPERATIONS {
        if *method == "post" || !may.contains(&"personal") {
            continue;
        }
        let (_, told) = ask(&daemon, method, path, "personal", None).await;
        seen.extend(values.into_iter().filter(|value| told.contains(value)));
        for token in ["view", "operate", "one-store-view"] {
            let (_, told) = ask(&daemon, method, path, token, None).await;
            let found: Vec<_> = values
                .iter()
                .chain(&["0400 777", "C-1", "for Hatz"])
                .filter(|value| told.contains(**value))
                .collect();
            assert!(found.is_empty(), "{token} {path}: {found:?} in {told}");
        }
    }
    assert_eq!(seen, values.into_iter().collect(), "whoever may see them does");
    let (_, shown) = ask(&daemon, "get", "/api/orders/WEB-1", "view", None).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["body"], &shown["customer"]), (&Value::Null, &Value::Null));
    assert!(
        shown["withheld"].as_str().unwrap().contains("role personal"),
        "{shown}"
    );
    assert_eq!(shown["error"]["code"], "FIELD_CUSTOM_VALIDATION_EXCEPTION");
    assert_eq!(shown["audit"][0]["action"], "edit");
    // A look for what is withheld would tell that it is there.
    for query in ["text=hatzegopteryx", "customer=C-1"] {
        let (status, text) = ask(&daemon, "get", &format!("/api/orders?{query}"), "view", None).await;
        assert_eq!(status, 403, "{query}: {text}");
    }
    let (status, _) = ask(&daemon, "get", "/orders?text=hatzegopteryx", "view", None).await;
    assert_eq!(status, 403);
    // What may be done is offered, and nothing else.
    for (token, retry, edit) in [
        ("view", false, false),
        ("operate", true, false),
        ("edit", true, true),
    ] {
        let (_, page) = ask(&daemon, "get", "/orders/WEB-1", token, None).await;
        assert_eq!(page.contains("Try it again now"), retry, "{token}");
        assert_eq!(page.contains("Change it"), edit, "{token}");
    }
}
