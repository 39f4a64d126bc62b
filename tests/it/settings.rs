//! Every key of the configuration is seen to do what it says.
//!
//! [`SEEN`] names each key with a test that gives it another value and sees what follows. The keys are those that the
//! program takes, which `config.toml` has to explain one by one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use storesync::config::{self, Config};
use storesync::inbound::budget::Limits;
use storesync::model::clock::Clock;
use storesync::model::freshness::Known;
use storesync::model::schedule::Counts;
use storesync::salesforce::Org;
use storesync::store::journal::JournalReader;

use crate::outbound::{accepted, configure};
use crate::world::{Daemon, Sandbox, a_store, cache, converge, eventually, order, select};

/// The tests of this file.
const LOGINS: &str = "each_way_to_log_in_needs_its_own_keys";
const LIMITS: &str = "limits_are_what_the_configuration_says";
const TOKENS: &str = "a_token_is_named_and_has_nothing_of_the_other_listener_s";
const ORDERS: &str = "orders_go_where_the_configuration_says_and_others_leave_them_the_rest";
const STATE: &str = "what_is_mirrored_kept_and_compared_follows_the_configuration";
/// Tests of other files.
const REFUSALS: &str = "a_wrong_configuration_is_one_sentence";
const AWAY: &str = "half_a_load_is_no_load_when_the_org_goes_away";
const BARRED: &str = "a_way_that_is_barred_ends_the_questions_with_its_reason";
const BOOKS: &str = "price_books_are_stores_where_the_org_has_none";
const PART: &str = "an_object_may_be_mirrored_in_part";
const OTHERS: &str = "other_machines_are_served_over_tls_with_tokens_only";
const ROLES: &str = "each_role_opens_what_it_is_for_and_nothing_else";
const STORE_TOKENS: &str = "a_store_s_token_gets_nothing_of_another_store";
const HEADERS: &str = "every_header_is_there_where_it_should_be_and_says_what_it_should";
const RULES: &str = "each_rule_is_refused_taken_or_taken_and_marked";
const ENCRYPTED: &str = "a_directory_that_has_to_be_encrypted_is_seen_or_stated_to_be";
const ALL_ENCRYPTED: &str = "where_all_must_be_encrypted_no_copy_is_made_in_plain";
const PROXIES: &str = "clients_of_a_named_proxy_are_counted_by_their_own_addresses";
const FOREIGN: &str = "a_page_of_another_site_reaches_no_listener";
const INSTANCE: &str = "the_token_goes_to_no_host_that_an_answer_names";
const SHIPPED: &str = "an_order_has_shipping_discounts_and_payments_and_is_activated";

/// Each key, and the test that sees it do something.
const SEEN: &[(&str, &str)] = &[
    ("org.login_url", AWAY),
    ("org.pubsub_url", BARRED),
    ("org.ca_file", LOGINS),
    ("org.auth", LOGINS),
    ("org.client_id", LOGINS),
    ("org.client_secret_file", LOGINS),
    ("org.username", LOGINS),
    ("org.password_file", LOGINS),
    ("org.private_key_file", LOGINS),
    ("org.refresh_token_file", LOGINS),
    ("org.audience", LOGINS),
    ("org.api_version", BARRED),
    ("org.hosts", INSTANCE),
    ("org.region", "an_org_that_is_elsewhere_is_not_mirrored"),
    ("sync.profile", BOOKS),
    ("sync.channels", "channels_of_every_form_are_followed_together"),
    ("sync.objects", BOOKS),
    ("sync.poll_seconds", LIMITS),
    ("sync.stale_after_seconds", LIMITS),
    ("sync.verify_hours", STATE),
    ("sync.api_share_percent", LIMITS),
    (
        "sync.api_calls_daily",
        "the_plan_keeps_to_the_calls_of_the_configuration",
    ),
    ("sync.object.NAME.where", PART),
    ("sync.object.NAME.fields", PART),
    ("sync.object.NAME.leave_out", STATE),
    (
        "sync.object.NAME.reread_hours",
        "an_object_is_read_again_as_a_whole_by_its_schedule",
    ),
    ("sync.object.NAME.personal", STATE),
    ("sync.stores.pricebook_id", BOOKS),
    ("sync.stores.code", BOOKS),
    ("sync.stores.name", BOOKS),
    ("sync.stores.domain", BOOKS),
    ("sync.stores.path", BOOKS),
    ("sync.stores.currency", BOOKS),
    ("sync.stores.locale", BOOKS),
    ("sync.stores.timezone", BOOKS),
    ("state.dir", "a_full_disk_is_one_sentence_and_loses_nothing"),
    ("state.keep_rows", STATE),
    ("state.journal_days", STATE),
    (
        "state.audit_days",
        "old_entries_go_and_what_is_left_can_be_verified",
    ),
    ("state.require_encrypted", ENCRYPTED),
    ("state.encryption", ENCRYPTED),
    ("backup.dir", ALL_ENCRYPTED),
    (
        "backup.recipients",
        "a_backup_to_recipients_is_opened_by_each_of_them_and_by_nobody_else",
    ),
    ("backup.encryption", ALL_ENCRYPTED),
    (
        "state.journal_bytes",
        "what_is_too_much_goes_and_a_point_before_it_is_told_to_be_gone",
    ),
    ("serve.listen", REFUSALS),
    ("serve.tls.cert_file", OTHERS),
    ("serve.tls.key_file", OTHERS),
    ("serve.tokens.name", TOKENS),
    ("serve.tokens.sha256", STORE_TOKENS),
    ("serve.tokens.stores", STORE_TOKENS),
    ("serve.tokens.customers", STORE_TOKENS),
    ("serve.tokens.orders", STORE_TOKENS),
    (
        "serve.account_history",
        "a_customer_sees_no_colleague_s_orders_unless_they_share",
    ),
    ("serve.hosts", FOREIGN),
    ("serve.trusted_proxies", PROXIES),
    ("serve.forwarded_header", PROXIES),
    ("admin.trusted_proxies", PROXIES),
    ("admin.forwarded_header", PROXIES),
    ("admin.hosts", FOREIGN),
    ("admin.listen", OTHERS),
    ("admin.tls.cert_file", HEADERS),
    ("admin.tls.key_file", HEADERS),
    ("admin.tokens.name", ROLES),
    ("admin.tokens.sha256", "where_there_are_tokens_a_browser_logs_in"),
    ("admin.tokens.stores", ROLES),
    ("admin.tokens.roles", ROLES),
    ("serve.tokens.roles", TOKENS),
    ("admin.tokens.customers", TOKENS),
    ("admin.tokens.orders", TOKENS),
    ("log.level", "a_reload_takes_what_it_can_and_names_what_it_cannot"),
    (
        "log.otlp_url",
        "an_order_is_one_trace_from_its_request_until_it_is_back",
    ),
    ("orders.external_id_field", ORDERS),
    ("orders.profile", ORDERS),
    ("orders.map", ORDERS),
    ("orders.fields", SHIPPED),
    ("orders.prices", SHIPPED),
    ("orders.rules.hidden", RULES),
    ("orders.rules.restricted", RULES),
    ("orders.rules.not_yet_available", RULES),
    ("orders.rules.discontinued", RULES),
    ("orders.rules.price_on_application", RULES),
    ("orders.rules.bundle_only", RULES),
    ("orders.rules.store_disabled", RULES),
    ("orders.rules.master", RULES),
    ("orders.rules.out_of_stock", RULES),
    ("orders.rules.quantity", RULES),
    ("orders.rules.price", RULES),
    (
        "orders.customers",
        "customers_are_person_accounts_where_the_org_has_them",
    ),
    ("orders.match_guests", "a_change_of_nobody_makes_nobody"),
    ("orders.shipping_product", SHIPPED),
    ("orders.discount_product", SHIPPED),
    ("orders.status", SHIPPED),
    ("orders.cancelled_status", SHIPPED),
    (
        "orders.version_field",
        "a_request_that_arrives_after_a_later_one_is_refused_by_the_org",
    ),
    ("orders.api_reserve_percent", ORDERS),
    ("orders.echo_seconds", "what_the_org_never_tells_of_is_asked_for"),
    (
        "orders.duplicates",
        "every_duplicate_waits_for_a_person_where_that_is_configured",
    ),
    (
        "orders.erasure_hours",
        "what_no_change_tells_of_is_asked_for_and_erased",
    ),
    (
        "orders.history_days",
        "what_is_old_is_emptied_and_its_key_and_outcome_stay",
    ),
    ("orders.history_mebibytes", ORDERS),
];

/// The least that is a configuration, with a key that no table has put into one of them.
fn with_an_unknown_key(table: &str) -> String {
    let token = format!("{{ name = \"n\", sha256 = \"{}\"", "0a".repeat(32));
    let unknown = |of: &str| if of == table { "unheard_of = 1" } else { "" };
    let inside = |of: &str, rest: &str| {
        if of == table {
            format!("{rest}, unheard_of = 1 }}")
        } else {
            format!("{rest} }}")
        }
    };
    let rules = inside("sync.object.NAME", "NAME = { where = \"Id != null\"");
    let store = inside(
        "sync.stores",
        "{ pricebook_id = \"01s000000000001AAA\", code = \"c\"",
    );
    let (serve_tls, admin_tls) = (
        inside("serve.tls", "{ cert_file = \"c\", key_file = \"k\""),
        inside("admin.tls", "{ cert_file = \"c\", key_file = \"k\""),
    );
    let (serve_token, admin_token) = (inside("serve.tokens", &token), inside("admin.tokens", &token));
    format!(
        "[org]\nlogin_url = \"https://a\"\nauth = \"jwt\"\nclient_id = \"c\"\n{}\n[sync]\nstores = [{store}]\n{}\n\
         [sync.object]\n{rules}\n[state]\ndir = \"s\"\n{}\n[backup]\n{}\n[serve]\ntls = {serve_tls}\ntokens = [{serve_token}]\n{}\n\
         [admin]\ntls = {admin_tls}\ntokens = [{admin_token}]\n{}\n[log]\n{}\n[orders]\n{}\n[orders.rules]\n{}\n",
        unknown("org"),
        unknown("sync"),
        unknown("state"),
        unknown("backup"),
        unknown("serve"),
        unknown("admin"),
        unknown("log"),
        unknown("orders"),
        unknown("orders.rules"),
    )
}

/// Tables with keys of their own, the inner ones after those that hold them.
const TABLES: [&str; 15] = [
    "org",
    "sync",
    "sync.object.NAME",
    "sync.stores",
    "state",
    "backup",
    "serve",
    "serve.tls",
    "serve.tokens",
    "admin",
    "admin.tls",
    "admin.tokens",
    "log",
    "orders",
    "orders.rules",
];

/// The keys that the program takes: it names them where it refuses one.
fn taken() -> BTreeSet<String> {
    Config::parse(&with_an_unknown_key(""), []).unwrap();
    let mut keys = BTreeSet::new();
    for table in TABLES {
        let refusal = Config::parse(&with_an_unknown_key(table), [])
            .unwrap_err()
            .to_string();
        let (_, names) = refusal
            .split_once("expected ")
            .unwrap_or_else(|| panic!("{table}: {refusal}"));
        let names: Vec<&str> = names.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{table}: {refusal}");
        keys.extend(names.iter().map(|name| format!("{table}.{name}")));
    }
    let inner: Vec<String> = TABLES
        .iter()
        .map(|table| table.trim_end_matches(".NAME").to_owned())
        .collect();
    keys.retain(|key| !inner.contains(key));
    keys
}

/// The keys that `config.toml` explains, also those that it has commented out.
fn explained() -> BTreeSet<String> {
    fn walk(value: &toml::Value, name: &str, into: &mut BTreeSet<String>) {
        match value {
            // What these hold is not named by the program.
            toml::Value::Table(table) if !matches!(name, "orders.map" | "orders.fields") => {
                for (key, value) in table {
                    let key = if name == "sync.object" { "NAME" } else { key };
                    let dot = if name.is_empty() { "" } else { "." };
                    walk(value, &format!("{name}{dot}{key}"), into);
                }
            }
            toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
                items.iter().for_each(|item| walk(item, name, into));
            }
            _ => drop(into.insert(name.to_owned())),
        }
    }
    let sample = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml")).unwrap();
    let is_setting = |line: &str| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
    let lines = sample.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest) if is_setting(rest) => rest,
        _ => line,
    });
    let sample: toml::Value = toml::from_str(&lines.collect::<Vec<_>>().join("\n")).unwrap();
    let mut keys = BTreeSet::new();
    walk(&sample, "", &mut keys);
    // The other listener's are the same, and are explained once.
    for table in ["tls", "tokens"] {
        for (one, other) in [("serve", "admin"), ("admin", "serve")] {
            let prefix = format!("{one}.{table}.");
            let of_one = keys.iter().filter_map(|key| key.strip_prefix(&prefix));
            let of_other: Vec<String> = of_one.map(|key| format!("{other}.{table}.{key}")).collect();
            keys.extend(of_other);
        }
    }
    keys
}

/// The source files of these tests.
fn tests() -> Vec<String> {
    fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, into),
                false => into.push(path),
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    walk(&root.join("tests/it"), &mut paths);
    paths
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect()
}

#[test]
fn every_key_is_explained_and_seen_by_a_test() {
    let taken = taken();
    assert_eq!(explained(), taken, "explained by config.toml, and taken");
    let listed: BTreeSet<String> = SEEN.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(listed, taken, "seen by a test, and taken");
    let tests = tests();
    for (key, test) in SEEN {
        let (table, name) = key.rsplit_once('.').unwrap();
        let mut ways = vec![
            format!("__{}\"", name.to_uppercase()),
            format!("(\"{name}\", "),
            format!("{name} = "),
        ];
        // A table of a table is set as a whole.
        ways.extend(table.contains('.').then(|| format!("[{table}]")));
        let sets = |text: &String| {
            text.contains(&format!("fn {test}()")) && ways.iter().any(|way| text.contains(way.as_str()))
        };
        assert!(
            tests.iter().any(sets),
            "{test} is no test, or its file does not set {key}"
        );
    }
}

/// Keys of `[org]` with their values.
type Keys<'k> = &'k [(&'k str, &'k str)];

/// What comes of a login with these keys in the place of those that the sandbox wrote: the first call's error.
async fn log_in(org: &Sandbox, keys: Keys<'_>) -> Result<(), String> {
    let text = std::fs::read_to_string(org.config()).unwrap();
    let named = |(key, value): &(&str, &str)| {
        (
            format!("STORESYNC__ORG__{}", key.to_uppercase()),
            (*value).to_owned(),
        )
    };
    let config = Config::parse(&text, keys.iter().map(named)).map_err(|error| error.to_string())?;
    let org = Org::new(&config.org, Clock::System).map_err(|error| error.to_string())?;
    org.limits().await.map(drop).map_err(|error| error.to_string())
}

/// That a login with these keys fails so, or succeeds where nothing is said.
async fn is_told(org: &Sandbox, keys: Keys<'_>, said: &str) {
    match log_in(org, keys).await {
        Ok(()) => assert_eq!(said, "", "{keys:?}: logged in"),
        Err(error) => assert!(!said.is_empty() && error.contains(said), "{keys:?}: {error}"),
    }
}

#[tokio::test]
async fn each_way_to_log_in_needs_its_own_keys() {
    let org = Sandbox::start(&["--tls", "--products", "5"]).await;
    let other = Sandbox::start(&["--tls", "--products", "5"]).await;
    let file = |name: &str, text: &str| {
        let path = org.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let env = |name: &str| org.env[name].as_str();
    let wrong = file("wrong", "wrong");
    let password = env("SANDBOX_PASSWORD").to_owned() + env("SANDBOX_SECURITY_TOKEN");
    let password = file("password", &password);
    let refresh_token = file("refresh_token", env("SANDBOX_REFRESH_TOKEN"));
    let user = ("username", env("SANDBOX_USERNAME"));
    let nobody = ("username", "nobody@sandbox.example");

    let by_client = [("auth", "client_credentials")];
    let by_password = [("auth", "password"), user, ("password_file", &password)];
    let by_token = [("auth", "refresh_token"), ("refresh_token_file", &refresh_token)];
    let key = ("private_key_file", env("SANDBOX_JWT_KEY"));
    let by_jwt = [("auth", "jwt"), user, key];
    for right in [&by_client[..], &by_password, &by_token, &by_jwt] {
        is_told(&org, right, "").await;
    }
    // What is put in the place of some of it, and what is said then.
    let audience = |audience| ("audience", audience);
    let (other_key, other_ca) = (&other.env["SANDBOX_JWT_KEY"], &other.env["SANDBOX_CA"]);
    let cases: &[(Keys<'_>, (&str, &str), &str)] = &[
        (&by_client, ("auth", "password"), "username"),
        (&by_client, ("client_id", "other"), "client identifier invalid"),
        (
            &by_client,
            ("client_secret_file", &wrong),
            "invalid client credentials",
        ),
        (&by_client, ("ca_file", other_ca), "certificate"),
        (&by_password, nobody, "authentication failure"),
        (&by_password, ("password_file", &wrong), "authentication failure"),
        (
            &by_token,
            ("refresh_token_file", &wrong),
            "expired access/refresh token",
        ),
        (&by_jwt, audience("https://login.salesforce.com"), ""),
        (
            &by_jwt,
            audience("https://elsewhere.example"),
            "audience is invalid",
        ),
        (&by_jwt, nobody, "user"),
        (&by_jwt, ("private_key_file", other_key), "invalid assertion"),
        (&by_jwt, ("private_key_file", &wrong), "no RSA private key"),
    ];
    for (right, changed, said) in cases {
        is_told(&org, &[*right, &[*changed]].concat(), said).await;
    }
}

/// A configuration whose limits are these.
fn limited(poll_seconds: u32, share_percent: u32) -> config::Sync {
    let text = with_an_unknown_key("");
    let sync = format!("[sync]\npoll_seconds = {poll_seconds}\napi_share_percent = {share_percent}\n");
    Config::parse(&text.replace("[sync]\n", &sync), []).unwrap().sync
}

#[test]
fn limits_are_what_the_configuration_says() {
    let limits = Limits::new(&limited(7, 50));
    for (poll_seconds, share_percent) in [(7, 50), (3_600, 90)] {
        limits.set(&limited(poll_seconds, share_percent));
        assert_eq!(limits.poll().as_secs(), u64::from(poll_seconds));
        assert_eq!(limits.budget().share_percent, share_percent);
        let usual = 2 * i64::from(poll_seconds) + 60;
        let stale_after = |limits: &Limits| {
            [false, true].map(|streamed| {
                let known = Known {
                    streamed,
                    ..Known::default()
                };
                limits.freshness().stale_after(&known) / 1_000
            })
        };
        assert_eq!(stale_after(&limits), [usual, 390]);
        let sync = config::Sync {
            stale_after_seconds: Some(50),
            ..limited(poll_seconds, share_percent)
        };
        assert_eq!(stale_after(&Limits::new(&sync)), [50, 50]);
    }
    for (poll_seconds, stale_after_seconds, refused) in [
        (1, 99, true),
        (60, 99, true),
        (60, 100, false),
        (3_600, 900, true),
    ] {
        let text = with_an_unknown_key("");
        let keys = format!("poll_seconds = {poll_seconds}\nstale_after_seconds = {stale_after_seconds}\n");
        let config = Config::parse(&text.replace("[sync]\n", &format!("[sync]\n{keys}")), []);
        let said = config.err().map(|error| error.to_string());
        let names = said
            .as_ref()
            .is_some_and(|said| said.contains("[sync] stale_after_seconds"));
        assert_eq!((said.is_some(), names), (refused, refused), "{said:?}");
    }
}

#[test]
fn a_token_is_named_and_has_nothing_of_the_other_listener_s() {
    let hash = "0a".repeat(32);
    let least = "[org]\nlogin_url = \"https://a\"\nauth = \"jwt\"\nclient_id = \"c\"\n[state]\ndir = \"s\"\n";
    for (section, sha256, rest, refused) in [
        (
            "serve",
            hash.as_str(),
            "stores = [\"a\"]\ncustomers = true\norders = true",
            false,
        ),
        ("serve", "short", "", true),
        ("admin", &hash, "", false),
        ("admin", "short", "", true),
        (
            "admin",
            &hash,
            "stores = [\"a\"]\nroles = [\"view\", \"edit\"]",
            false,
        ),
        ("serve", &hash, "roles = [\"view\"]", true),
        ("admin", &hash, "customers = true", true),
        ("admin", &hash, "orders = true", true),
    ] {
        let token = format!("[[{section}.tokens]]\nname = \"the web\"\nsha256 = \"{sha256}\"\n{rest}\n");
        let told = Config::parse(&(least.to_owned() + &token), []).map(drop);
        assert_eq!(told.is_err(), refused, "{token}: {told:?}");
        if let Err(error) = told {
            let sentence = error.to_string();
            assert!(
                sentence.contains(&format!("[{section}] the token the web ")),
                "{sentence}"
            );
        }
    }
}

/// What the tests run on may be encrypted itself: then the daemon starts each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_has_to_be_encrypted_is_seen_or_stated_to_be() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let line = async || {
        let (_, printed, said) = org.verb(&["check", "--offline", "--json"]).await;
        let report: Value = serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{printed}{said}"));
        let lines = report["lines"].as_array().unwrap();
        let line = lines.iter().find(|line| line["subject"] == "encryption at rest");
        let told = |name: &str| line.unwrap()[name].as_str().unwrap().to_owned();
        (told("verdict"), told("told"))
    };
    let (verdict, told) = line().await;
    let is_seen = told.contains("is encrypted");
    assert_eq!(verdict, if is_seen { "ok" } else { "warn" }, "{told}");
    configure(&org, "");
    let plain = std::fs::read_to_string(org.config()).unwrap();
    let with = |keys: &str| {
        std::fs::write(
            org.config(),
            plain.replace("[state]", &format!("[state]\n{keys}")),
        )
        .unwrap();
    };
    with("require_encrypted = true");
    if !is_seen {
        assert_eq!(line().await.0, "fail");
        let (exit, said) = org.refused_daemon(&[]);
        assert_eq!(exit, Some(78), "{said}");
        assert!(said.contains("is not seen to be encrypted"), "{said}");
    }
    with("require_encrypted = true\nencryption = \"volume\"");
    let (verdict, told) = line().await;
    assert_eq!(verdict, "ok", "{told}");
    assert_eq!(told.contains("is stated to be encrypted"), !is_seen, "{told}");
    let daemon = org.daemon().await;
    daemon.live().await;
}

#[test]
fn a_token_is_told_apart_from_the_others_and_a_list_of_it_is_never_empty() {
    let least = "[org]\nlogin_url = \"https://a\"\nauth = \"jwt\"\nclient_id = \"c\"\n[state]\ndir = \"s\"\n";
    let [one, other] = ["0a", "0b"].map(|byte| byte.repeat(32));
    // The SHA-256 of nothing at all.
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let token =
        |name: &str, hash: &str, rest: &str| format!("{{ name = {name}, sha256 = \"{hash}\"{rest} }}");
    let ana = token("\"ana\"", &one, "");
    for (tokens, expected) in [
        (vec![ana.clone(), token("\"bo\"", &other, "")], ""),
        (
            vec![ana.clone(), token("\"Ana\"", &other, "")],
            "the name of another",
        ),
        (
            vec![ana.clone(), token("\"bo\"", &one, "")],
            "the same secret as ana",
        ),
        (vec![token("\" \"", &one, "")], "no name"),
        (
            vec![token(&format!("\"{}\"", "a".repeat(4_001)), &one, "")],
            "a name of more than 4,000 bytes",
        ),
        (vec![token(&format!("\"{}\"", "a".repeat(4_000)), &one, "")], ""),
        (vec![token("\"a\\nb\"", &one, "")], "no name that people can read"),
        (
            vec![token("\"a\\u202eb\"", &one, "")],
            "no name that people can read",
        ),
        (
            vec![token("\"Admin.Token\"", &one, "")],
            "the name of the token that the daemon makes",
        ),
        (vec![token("\"ana\"", empty, "")], "the empty text"),
        (
            vec![token("\"ana\"", &one, ", roles = []")],
            "a list of the token is empty",
        ),
        (
            vec![token("\"ana\"", &one, ", stores = []")],
            "a list of the token is empty",
        ),
        (
            vec![token("\"ana\"", &one, ", stores = [\" \"]")],
            "a store without a name",
        ),
        (
            vec![token("\"ana\"", &one, ", roles = [\"View\"]")],
            "give some of view, personal",
        ),
        (
            vec![token("\"ana\"", &one, ", roles = [\"view\", \"\"]")],
            "give some of view",
        ),
    ] {
        let text = format!("{least}[admin]\ntokens = [{}]\n", tokens.join(", "));
        match Config::parse(&text, []) {
            Ok(_) => assert_eq!(expected, "", "{text}"),
            Err(error) => {
                let told = error.to_string();
                assert!(!expected.is_empty() && told.contains(expected), "{text}: {told}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_go_where_the_configuration_says_and_others_leave_them_the_rest() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    configure(
        &org,
        "[orders]\nexternal_id_field = \"s_c__sC_Id__c\"\nprofile = \"standard\"\nmap = { \"order.email\" = \"PoNumber\" }\n",
    );
    // All of the org's allowance is kept for orders.
    let reserve = ("STORESYNC__ORDERS__API_RESERVE_PERCENT", "100");
    let mut daemon = org.daemon_with(&[reserve]).await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let lead = json!({"external_id": "L-1", "last_name": "Newcomer", "email": "new@example.com"});
    let (status, taken) = daemon.post(&format!("/v1/stores/{store}/leads"), &lead).await;
    assert_eq!(status, 202, "{taken}");
    let lead = taken["status_url"].as_str().unwrap();
    accepted(&daemon, &store, &order("WEB-1", &currency, &[(&products[0], 1)])).await;
    let path = format!("/v1/stores/{store}/orders/WEB-1");
    let told = daemon.until(&path, &["confirmed", "needs_attention"]).await;
    assert_eq!(told["state"], "confirmed", "{told}");
    let fields = "SELECT External_ID__c, s_c__sC_Id__c, PoNumber, s_c__Checkout_Email__c FROM Order WHERE s_c__sC_Id__c != null";
    let orders = org.query(&format!("{fields} AND PoNumber != null")).await;
    assert_eq!(
        json!(orders),
        json!([{"External_ID__c": null, "s_c__sC_Id__c": "WEB-1", "PoNumber": "ana@example.com", "s_c__Checkout_Email__c": null}])
    );
    let (_, waits) = daemon.get(lead).await.unwrap();
    assert_eq!(
        (&waits["state"], &waits["attempts"]),
        (&json!("queued"), &json!(0)),
        "{waits}"
    );
    let shown = daemon.admin_get("/api/orders/WEB-1").await;
    assert_eq!(shown["emptied_at"], Value::Null, "{shown}");

    // A part of it, and no room for what finished orders held.
    daemon.running.kill();
    let others = [
        ("STORESYNC__ORDERS__API_RESERVE_PERCENT", "5"),
        ("STORESYNC__ORDERS__HISTORY_MEBIBYTES", "0"),
    ];
    daemon = org.daemon_with(&others).await;
    daemon.until(lead, &["sent", "confirmed"]).await;
    eventually("the order is emptied", async || {
        let shown = daemon.admin_get("/api/orders/WEB-1").await;
        (!shown["emptied_at"].is_null()).then_some(())
    })
    .await;
}

/// What the daemon tells of the journal.
async fn journal(daemon: &Daemon, member: &str) -> Value {
    daemon.status().await.unwrap()["journal"][member].clone()
}

/// Runs a statement on a database of a daemon that is down.
fn change(org: &Sandbox, file: &str, sql: &str) {
    let connection = rusqlite::Connection::open(org.state().join(file)).unwrap();
    connection.execute(sql, []).unwrap();
}

/// How many answers of the org the journal keeps. Of a load it is noted when it began and ended in any case.
fn answers_kept(org: &Sandbox) -> usize {
    let journal = JournalReader::open(&org.state()).unwrap();
    let pages = journal.pages(0, usize::MAX).unwrap();
    pages
        .iter()
        .filter(|page| !page.kind.starts_with("load_"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_mirrored_kept_and_compared_follows_the_configuration() {
    let org = Sandbox::start(&["--products", "8", "--stores", "1"]).await;
    configure(
        &org,
        "[sync.object.Product2]\npersonal = true\nleave_out = [\"Description\"]\n[sync.object.Account]\npersonal = false\n",
    );
    let no_rows = ("STORESYNC__STATE__KEEP_ROWS", "false");
    let mut daemon = org.daemon_with(&[no_rows]).await;
    daemon.live().await;
    let columns = "select name from pragma_table_info('product2')";
    let columns = select(&cache(&org.state()), columns);
    let has = |name: &str| columns.iter().any(|column| column["name"] == name);
    assert!(has("name") && !has("description"), "{columns:?}");
    assert_eq!(answers_kept(&org), 0);

    // Two days pass, of the 90 that the journal keeps.
    daemon.running.kill();
    let two_days = "update batch set at = at - 2 * 24 * 3600 * 1000";
    change(&org, "journal.db", two_days);
    daemon = org.daemon().await;
    who_is_deleted_is_erased_where_the_object_is_personal(&org, &daemon).await;
    assert_eq!(
        journal(&daemon, "first_event").await,
        Value::Null,
        "nothing is too old"
    );
    assert!(answers_kept(&org) > 0);

    // Two hours pass for the cache, of the 24 between comparisons; then both are less.
    daemon.running.kill();
    let untold = json!([{"attributes": {"type": "Account"}, "Name": "Untold"}]);
    org.control("changes", json!({"told": "silently", "create": untold}))
        .await;
    let two_hours = "update _object set loaded_at = loaded_at - 2 * 3600 * 1000";
    change(&org, "cache.db", two_hours);
    let less = [
        ("STORESYNC__STATE__JOURNAL_DAYS", "1"),
        ("STORESYNC__SYNC__VERIFY_HOURS", "1"),
    ];
    daemon = org.daemon_with(&less).await;
    eventually("the oldest is gone", async || {
        (!journal(&daemon, "first_event").await.is_null()).then_some(())
    })
    .await;
    eventually("the comparison finds the row", async || {
        let untold = "select id from account where name = 'Untold'";
        (!select(&cache(&org.state()), untold).is_empty()).then_some(())
    })
    .await;
}

async fn who_is_deleted_is_erased_where_the_object_is_personal(org: &Sandbox, daemon: &Daemon) {
    let account = org.create("Account", json!({"Name": "Quetzalcoatlus"})).await;
    let product = org.create("Product2", json!({"Name": "Hatzegopteryx"})).await;
    let polled = org.some("Contact", "").await;
    org.update("Contact", &polled, json!({"Department": "polled"}))
        .await;
    converge(org).await;
    org.delete("Account", &account).await;
    org.delete("Product2", &product).await;
    eventually("one of the two is erased", async || {
        (journal(daemon, "erased_records").await == 1).then_some(())
    })
    .await;
    assert_eq!(journal(daemon, "erasures_pending").await, 0);
    for (id, name, is_kept) in [
        (&account, "Quetzalcoatlus", true),
        (&product, "Hatzegopteryx", false),
    ] {
        let (_, told, _) = org.verb(&["events", "list", "--record", id, "--json"]).await;
        assert_eq!(told.contains(name), is_kept, "{told}");
    }
}

#[test]
fn the_plan_keeps_to_the_calls_of_the_configuration() {
    let counts = Counts {
        by_lists: [28, 16, 31],
        ..Counts::default()
    };
    for (calls, allowed, budget) in [
        (None, 100_000, 5_000),
        (Some(2_500), 100_000, 2_500),
        (Some(12_000), 15_000, 12_000),
    ] {
        let key = calls.map_or_else(String::new, |calls: u64| format!("api_calls_daily = {calls}\n"));
        let text = with_an_unknown_key("").replace("[sync]\n", &format!("[sync]\n{key}"));
        let sync = Config::parse(&text, []).unwrap().sync;
        let plan = Limits::new(&sync).plan(allowed, counts, 0);
        assert_eq!(plan.budget_daily, budget, "{calls:?}");
        assert!(plan.calls_daily <= budget, "{plan:?}");
    }
}

/// Beside the daemon an object is called old by what the daemon has planned, and not by what is configured.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_calls_old_what_is_older_than_planned() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    // So few calls are for an hour between two questions.
    let few = [
        ("STORESYNC__SYNC__POLL_SECONDS", "60"),
        ("STORESYNC__SYNC__PROFILE", "standard"),
    ];
    let text = std::fs::read_to_string(org.config()).unwrap();
    let text = text.replace("[sync]\n", "[sync]\napi_calls_daily = 250\n");
    std::fs::write(org.config(), text).unwrap();
    let mut daemon = org.daemon_with(&few).await;
    daemon.live().await;
    eventually("the plan is told", async || {
        let polls = daemon.status().await?["polls"].clone();
        (polls["interval_seconds"]["page"] == 3_600).then_some(())
    })
    .await;
    daemon.running.stop();
    let freshness = async |passed: i64| {
        let passed = format!("wall = wall - {passed}, boot = boot - {passed}");
        change(&org, "cache.db", &format!("update _proof set {passed}"));
        let (_, told, _) = org.verb_with(&few[1..], &["status", "--json"]).await;
        let told: Value = serde_json::from_str(&told).unwrap();
        let objects = told["objects"].as_array().unwrap().iter();
        let polled = objects.filter(|object| object["kept_by"] == "poll");
        let states: BTreeSet<String> = polled
            .map(|object| object["freshness"].as_str().unwrap().to_owned())
            .collect();
        states.into_iter().collect::<Vec<_>>().join(" ")
    };
    // Twice the time between two questions and a minute.
    assert_eq!(freshness(7_000_000).await, "live");
    assert_eq!(freshness(300_000).await, "stale");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_condition_on_an_object_with_change_events_is_applied_at_the_next_start() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let plain = std::fs::read_to_string(org.config()).unwrap();
    let id = org.some("Product2", "").await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let all = "SELECT Id FROM Product2";
    let (only, others) = (format!("Id = '{id}'"), format!("Id != '{id}'"));
    for condition in [Some(&only), Some(&others), None] {
        daemon.running.kill();
        std::fs::write(org.config(), &plain).unwrap();
        if let Some(condition) = condition {
            configure(
                &org,
                &format!("[sync.object.Product2]\nwhere = \"{condition}\"\n"),
            );
        }
        let rows = org
            .query(&condition.map_or(all.to_owned(), |condition| format!("{all} WHERE {condition}")))
            .await;
        let mut expected: Vec<Value> = rows.iter().map(|row| row["Id"].clone()).collect();
        expected.sort_by_key(Value::to_string);
        daemon = org.daemon().await;
        eventually("the rows are those that meet the condition", async || {
            let rows = select(&cache(&org.state()), "select id from product2 order by id");
            let ids: Vec<Value> = rows.iter().map(|row| row["id"].clone()).collect();
            (ids == expected).then_some(())
        })
        .await;
        daemon.live().await;
        let said = daemon.running.said();
        let told = "Product2 will be read again as a whole: the condition on its rows has changed";
        assert!(said.contains(told), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_leaves_a_cache_that_has_it_and_comes_back() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let plain = std::fs::read_to_string(org.config()).unwrap();
    let id = org.some("Product2", "").await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    const TEXT: &str = "a text that stands nowhere else";
    org.update("Product2", &id, json!({"Description": TEXT})).await;
    converge(&org).await;
    let path = format!("/v1/objects/product2/{id}");
    assert_eq!(daemon.get(&path).await.unwrap().1["description"], TEXT);

    daemon.running.kill();
    configure(
        &org,
        "[sync.object.Product2]\nleave_out = [\"description\", \"Name\", \"Unheard_Of__c\"]\n",
    );
    daemon = org.daemon().await;
    eventually("the value is gone", async || {
        let (status, row) = daemon.get(&path).await?;
        (status == 200 && row.get("description").is_none()).then_some(())
    })
    .await;
    daemon.live().await;
    converge(&org).await;
    let said = daemon.running.said();
    for (name, reason) in [
        ("Name", "mirrored all the same"),
        ("Unheard_Of__c", "does not have"),
    ] {
        let names = format!("leave_out of Product2 names {name}, ");
        let told = said.lines().find(|line| line.contains(&names));
        assert!(told.is_some_and(|line| line.contains(reason)), "{name}: {said}");
    }
    let missing = "select field from _field where missing_since is not null and field = 'Description'";
    assert!(
        select(&cache(&org.state()), missing).is_empty(),
        "the org does not hide it"
    );
    let (_, told, _) = org.verb(&["check"]).await;
    assert!(told.contains("object.Product2.leave_out names it"), "{told}");
    daemon.running.kill();
    let file = org.state().join("cache.db");
    let emptied = "pragma wal_checkpoint(truncate)";
    let open = rusqlite::Connection::open(&file).unwrap();
    open.query_row(emptied, [], |_| Ok(())).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let holds = |text: &str| bytes.windows(text.len()).any(|found| found == text.as_bytes());
    assert!(!holds(TEXT) && holds(&id), "its pages are overwritten");
    drop(open);

    std::fs::write(org.config(), plain).unwrap();
    let daemon = org.daemon().await;
    eventually("the value is back", async || {
        (daemon.get(&path).await?.1["description"] == TEXT).then_some(())
    })
    .await;
}
