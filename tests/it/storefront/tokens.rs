//! A token opens what it is for, and nothing else, at every address that the daemon itself lists.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::service::signal;
use crate::world::{Daemon, Sandbox, refused};

fn hash(token: &str) -> String {
    digest(&SHA256, token.as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Adds to the configuration that the sandbox wrote.
pub fn configure(sandbox: &Sandbox, more: &str) {
    let text = std::fs::read_to_string(sandbox.config()).unwrap();
    std::fs::write(sandbox.config(), format!("{text}\n{more}\n")).unwrap();
}

/// A token whose secret is its name.
pub fn token(section: &str, name: &str, rest: &str) -> String {
    format!(
        "[[{section}.tokens]]\nname = \"{name}\"\nsha256 = \"{}\"\n{rest}\n",
        hash(name)
    )
}

async fn call(base: &str, method: &str, path: &str, token: &str) -> (u16, String) {
    let method = reqwest::Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
    // One for all calls: each would read the system's certificates anew.
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        reqwest::Client::builder()
            .pool_max_idle_per_host(0)
            .build()
            .unwrap()
    });
    let mut request = CLIENT.request(method.clone(), format!("{base}{path}"));
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    if [reqwest::Method::POST, reqwest::Method::PATCH].contains(&method) {
        request = request.json(
            &json!({"external_id": "T-1", "customer": {"email": "a@b.example"},
            "items": [{"product_code": "SKU-1", "quantity": 1}]}),
        );
    }
    let mut answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let stream = answer.headers()["content-type"] == "text/event-stream";
    let body = if stream {
        answer.chunk().await.unwrap().unwrap()
    } else {
        answer.bytes().await.unwrap()
    };
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// The addresses of the document with their methods; `{store}` and the rest filled in.
fn addresses(document: &Value, store: &Value, product: &str) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            for key in ["id", "code", "domain"] {
                let mut filled = path.replace("{store}", store[key].as_str().unwrap());
                for (name, value) in [
                    ("product", product),
                    ("customer", "C-1"),
                    ("external_id", "T-1"),
                    ("kind", "order"),
                    ("reference", "order:T-1"),
                    ("deed", "retry"),
                    ("object", "s_c__Store__c"),
                    ("id", store["id"].as_str().unwrap()),
                ] {
                    filled = filled.replace(&format!("{{{name}}}"), value);
                }
                assert!(
                    !filled.contains('{'),
                    "a name of {path} is not known to this test"
                );
                let asks = |name: &str| {
                    operation["parameters"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .any(|one| one["name"] == name && one["in"] == "query")
                };
                for name in ["store", "host", "objects"] {
                    if asks(name) {
                        let value = if name == "objects" {
                            "s_c__Store__c"
                        } else {
                            store[if name == "host" { "domain" } else { key }]
                                .as_str()
                                .unwrap()
                        };
                        all.push((method.clone(), format!("{filled}?{name}={value}"), path.clone()));
                    }
                }
                all.push((method.clone(), filled, path.clone()));
            }
        }
    }
    all
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "one story, told in its order")]
async fn a_store_s_token_gets_nothing_of_another_store() {
    let sandbox = Sandbox::start(&["--products", "30", "--stores", "2"]).await;
    let tokens = [
        token("serve", "all", "customers = true\norders = true"),
        token(
            "serve",
            "first",
            "stores = [\"harbour-pine\"]\ncustomers = true\norders = true",
        ),
        token("serve", "plain", "stores = [\"harbour-pine\"]"),
        token("serve", "rows", ""),
        token("admin", "operator", ""),
    ];
    configure(&sandbox, &tokens.join("\n"));
    let daemon: Daemon = sandbox.daemon().await;
    let (api, admin) = (daemon.api.clone(), daemon.admin.clone());
    crate::world::eventually("all objects are live", async || {
        let (_, status) = call(&admin, "get", "/status", "operator").await;
        let status: Value = serde_json::from_str(&status).ok()?;
        let objects = status["objects"].as_array()?;
        let live = objects.iter().all(|object| object["state"] == "live");
        (!objects.is_empty() && live && status["state"] != "initializing").then_some(())
    })
    .await;
    let (_, stores) = call(&api, "get", "/v1/stores", "all").await;
    let stores: Value = serde_json::from_str(&stores).unwrap();
    let find = |code: &str| {
        stores["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|store| store["code"] == code)
            .unwrap()
            .clone()
    };
    let (own, other) = (find("harbour-pine"), find("northlight"));
    let (_, document) = call(&api, "get", "/openapi.json", "").await;
    let document: Value = serde_json::from_str(&document).unwrap();
    let marks: Vec<String> = ["id", "code", "domain", "pricebook_id", "name"]
        .iter()
        .map(|key| other[key].as_str().unwrap().to_owned())
        .collect();
    let mut tried = 0;
    for (method, path, template) in addresses(&document, &other, "SALE-1") {
        tried += 1;
        let (status, body) = call(&api, &method, &path, "first").await;
        let refused = matches!(status, 401 | 403 | 404);
        let silent = !marks.iter().any(|mark| body.contains(mark.as_str()));
        assert!(refused || silent, "{method} {path}: {status} {body}");
        assert!(silent, "{method} {path} tells of the other store: {body}");
        // `/v1/changes` takes the store from its query; without one it is for tokens of all stores.
        if template.contains("{store}") || template == "/v1/changes" {
            assert_eq!(status, 403, "{method} {path}: {body}");
        }
        if template != "/openapi.json" {
            assert_eq!(
                call(&api, &method, &path, "").await.0,
                401,
                "{method} {path} without a token"
            );
            assert_eq!(
                call(&api, &method, &path, "operator").await.0,
                401,
                "{method} {path} as an operator"
            );
        }
    }
    assert!(tried > 60, "{tried}");
    // A store of others and one that is not there are told alike, and not as a store that was not named.
    let told = async |query: &str| {
        let path = format!("/v1/changes{query}");
        let (status, body) = call(&api, "get", &path, "first").await;
        assert_eq!(status, 403, "{path}: {body}");
        let problem: Value = serde_json::from_str(&body).unwrap();
        problem["detail"].as_str().unwrap().to_owned()
    };
    let foreign = told(&format!("?store={}", other["id"].as_str().unwrap())).await;
    assert_eq!(foreign, told("?store=nowhere").await);
    assert!(foreign.contains("not for this store"), "{foreign}");
    assert!(told("").await.contains("name one of them"));
    for (method, path, template) in addresses(&document, &own, "SALE-0") {
        let (status, body) = call(&api, &method, &path, "first").await;
        let known = !template.contains("{store}") || matches!(status, 200 | 202 | 404 | 422);
        assert!(known, "{method} {path}: {status} {body}");
        let mut of_people = ["/customers", "/orders", "/writes/"].iter();
        let personal = method != "get" || of_people.any(|part| template.contains(part));
        let (status, _) = call(&api, &method, &path, "plain").await;
        if template.contains("{store}") {
            assert_eq!(
                status == 403,
                personal,
                "{method} {path} without customers and orders: {status}"
            );
        }
    }
    let id = own["id"].as_str().unwrap();
    assert_eq!(
        call(
            &api,
            "get",
            &format!("/v1/stores/{id}/products?customer=C-1"),
            "plain"
        )
        .await
        .0,
        403
    );
    assert_eq!(call(&api, "get", "/v1/objects/Product2", "first").await.0, 403);
    assert_eq!(call(&api, "get", "/v1/objects/Product2", "all").await.0, 200);
    // Without customers: what stores show to anyone, and nothing that may be about persons.
    for (object, status) in [
        ("Product2", 200),
        ("s_c__Zone__c", 200),
        ("Account", 403),
        ("s_c__Booking__c", 403),
        ("s_c__Payment__c", 403),
        ("Anything_Else__c", 403),
    ] {
        let path = format!("/v1/objects/{object}");
        assert_eq!(call(&api, "get", &path, "rows").await.0, status, "{object}");
    }
    assert_eq!(call(&admin, "get", "/status", "all").await.0, 401);
    assert_eq!(call(&admin, "get", "/livez", "").await.0, 200);
}

/// Makes a certificate for this machine; gives it, and what the configuration says of it and its key.
pub fn certify(sandbox: &Sandbox) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let (cert_file, key_file) = (
        sandbox.dir.path().join("web.pem"),
        sandbox.dir.path().join("web.key"),
    );
    std::fs::write(&cert_file, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let files = format!("cert_file = {cert_file:?}\nkey_file = {key_file:?}\n");
    (certificate.pem(), files)
}

#[tokio::test]
async fn other_machines_are_served_over_tls_with_tokens_only() {
    let sandbox = Sandbox::start(&["--products", "8", "--stores", "1", "--tls"]).await;
    let open = sandbox.daemon_command(&[("STORESYNC__SERVE__LISTEN", "0.0.0.0:0")]);
    let (status, said) = refused(open);
    assert_eq!(status, Some(78), "{said}");
    assert!(said.contains("neither TLS nor tokens"), "{said}");
    // A certificate of the test's own, and the operators on a socket in the file system.
    let (certificate, files) = certify(&sandbox);
    let socket = sandbox.dir.path().join("admin.sock");
    configure(
        &sandbox,
        &format!("[serve.tls]\n{files}\n{}", token("serve", "web", "")),
    );
    let listen = format!("unix:{}", socket.display());
    let variables = [
        ("STORESYNC__SERVE__LISTEN", "0.0.0.0:0"),
        ("STORESYNC__ADMIN__LISTEN", listen.as_str()),
    ];
    let mut daemon = crate::world::Running::with_first_line_of_log(
        sandbox.daemon_command(&variables),
        "storefronts are served on",
    );
    let port = daemon.1.rsplit(':').next().unwrap().trim().to_owned();
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap()])
        .build()
        .unwrap();
    let url = format!("https://localhost:{port}/v1/stores");
    assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
    crate::world::eventually("a store over TLS", async || {
        let answer = client.get(&url).bearer_auth("web").send().await.ok()?;
        (answer.status() == 200).then_some(())
    })
    .await;
    let by_socket = reqwest::Client::builder()
        .unix_socket(socket.clone())
        .build()
        .unwrap();
    assert_eq!(
        by_socket
            .get("http://localhost/livez")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    let by_proxy = by_socket
        .get("http://localhost/api/orders")
        .header("x-real-ip", "192.0.2.1");
    assert_eq!(
        by_proxy.send().await.unwrap().status(),
        403,
        "a proxy publishes the desk"
    );
    let mode = socket.metadata().unwrap().permissions().mode();
    assert_eq!(
        mode & 0o777,
        0o660,
        "for its owner and its group, as the manual says"
    );
    daemon.0.stop();
    assert!(!socket.exists(), "the socket is left behind");
}

#[tokio::test]
async fn a_reload_takes_up_tokens_and_drops_those_that_are_gone() {
    let sandbox = Sandbox::start(&["--products", "5"]).await;
    let before = std::fs::read_to_string(sandbox.config()).unwrap();
    configure(&sandbox, &token("serve", "old", ""));
    let daemon = sandbox.daemon().await;
    let stores = |name: &'static str| call(&daemon.api, "get", "/v1/stores", name);
    assert_ne!(stores("old").await.0, 401);
    assert_eq!(stores("new").await.0, 401);
    std::fs::write(
        sandbox.config(),
        format!("{before}\n{}", token("serve", "new", "")),
    )
    .unwrap();
    signal(&daemon.running, "-HUP");
    crate::world::eventually("the old token opens nothing", async || {
        (stores("old").await.0 == 401).then_some(())
    })
    .await;
    assert_ne!(stores("new").await.0, 401);
    crate::world::eventually("the reload is told of", async || {
        let told = daemon.running.said();
        told.contains("reloaded: serve.tokens has changed").then_some(())
    })
    .await;
}
