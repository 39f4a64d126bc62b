//! The audit of what operators do and read: that each thing leaves its entry, and that nobody changes one unseen.

mod kept;
mod refused;

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};
use storesync::model::clock::Clock;
use storesync::store::outbox::audit::Line;
use storesync::store::outbox::desk::Desk;

use crate::monitoring::moving::value_of;
use crate::roles::{ask, both_are_refused, with_tokens};
use crate::world::{Daemon, Sandbox, eventually};

impl Sandbox {
    /// The entries, as `audit list` prints them.
    async fn audit(&self, arguments: &[&str]) -> Vec<Value> {
        let (code, listed, said) = self
            .verb(&[&["audit", "list", "--json"], arguments].concat())
            .await;
        assert_eq!(code, 0, "{said}");
        let lines = listed.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    /// Exit status and words of `audit verify`.
    async fn verified(&self, arguments: &[&str]) -> (i32, String) {
        let (code, told, said) = self.verb(&[&["audit", "verify"], arguments].concat()).await;
        (code, told + &said)
    }
}

/// Deed, actor, and whom it was for, which is told with the details alone.
fn told(entry: &Value) -> (&str, &str, Option<&str>) {
    let text = |name: &str| entry[name].as_str();
    (text("deed").unwrap(), text("actor").unwrap(), text("named"))
}

/// The last head that the daemon told of in its log.
fn head_in_log(daemon: &Daemon) -> String {
    let said = daemon.running.said();
    let mut told = said.lines().filter_map(|line| {
        let (_, head) = line.split_once("the head of the audit is ")?;
        Some(head.split_whitespace().next()?.to_owned())
    });
    told.next_back().unwrap_or_else(|| panic!("no head in {said}"))
}

/// Logs in to the console, reads an order, tries to give it up where that is expected to fail, and logs out.
async fn in_the_console(daemon: &Daemon, token: &str, refused: bool) {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let page = |path: &str| format!("{}{path}", daemon.admin);
    let form = client.post(page("/login")).form(&[("token", token)]);
    let entered = form.send().await.unwrap();
    assert_eq!(entered.status(), 303);
    let cookie = entered.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let get = async |path: &str| {
        let answer = client.get(page(path)).header("cookie", &cookie).send().await;
        answer.unwrap().text().await.unwrap()
    };
    assert!(get("/orders/WEB-1").await.contains("Hatzegopteryx"));
    let session = get("/session").await;
    let (_, form_token) = session.split_once("name=\"token\" value=\"").unwrap();
    let form_token = form_token.split('"').next().unwrap();
    if refused {
        let discard = client
            .post(page("/orders/WEB-1/discard"))
            .header("cookie", &cookie);
        let form = [("token", form_token), ("reason", "called")];
        let answer = discard.form(&form).send().await.unwrap();
        assert_eq!(answer.status(), 503);
        let text = answer.text().await.unwrap();
        assert!(text.contains("could not be written to the audit"), "{text}");
    }
    let leave = client.post(page("/logout")).header("cookie", &cookie);
    let left = leave.form(&[("token", form_token)]).send().await.unwrap();
    assert_eq!(left.status(), 303);
}

/// What is asked for beside the daemon.
async fn on_the_command_line(org: &Sandbox) {
    let kim = [("SUDO_USER", "kim")];
    let cache = Connection::open(org.state().join("cache.db")).unwrap();
    cache.busy_timeout(crate::world::PATIENCE).unwrap();
    let waits = "insert or replace into _absence values ('Account', 0, 0, 0, 7, 9, 'a load', 1), \
                 ('Product2', 0, 0, 0, 7, 9, 'a load', 1)";
    cache.execute(waits, []).unwrap();
    for arguments in [
        &["orders", "export", "--customer", "C-1"][..],
        &["events", "export", "--object", "Product2"],
        &["verify", "--object", "Product2", "--repair"],
        &["replay", "--dry-run", "--object", "Product2"],
        &["removals", "release", "Account", "--rows", "7"],
        &["removals", "refuse", "Product2"],
    ] {
        let (code, _, said) = org.verb_with(&kim, arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_operators_do_and_read_leaves_its_entry() {
    let org = Sandbox::start(&["--products", "20", "--stores", "2"]).await;
    let (mut daemon, stores) = with_tokens(&org).await;
    let edit = json!({"actor": "lou", "patch": {"customer": {"first_name": "Anna"}}});
    let reason = json!({"reason": "called"});
    for (path, token, body) in [
        ("/api/orders/WEB-1/edit", "edit", Some(edit)),
        ("/api/orders/WEB-1/discard", "operate", Some(reason)),
        ("/api/orders/WEB-1/reopen", "one-store", None),
        ("/api/orders/WEB-1/retry", "all", None),
    ] {
        let (status, text) = ask(&daemon, "post", path, token, body).await;
        assert_eq!(status, 200, "{path}: {text}");
    }
    both_are_refused(&daemon).await;
    for (method, path, token) in [
        ("post", "/api/orders/retry", "one-store"),
        ("get", "/api/orders/export?state=needs_attention", "export"),
        ("get", "/api/orders/WEB-2", "personal"),
        ("get", "/api/orders", "personal"),
        ("get", "/api/orders", "view"),
        ("get", "/events/1", "export"),
    ] {
        let (status, text) = ask(&daemon, method, path, token, None).await;
        assert!(status == 200 || path == "/events/1", "{path}: {text}");
    }
    in_the_console(&daemon, "all", false).await;
    crate::service::signal(&daemon.running, "-HUP");
    eventually("it was reloaded", async || {
        let entries = org.audit(&[]).await;
        let is_reload = |entry: &Value| told(entry) == ("reload", "SIGHUP", None);
        entries.iter().any(is_reload).then_some(())
    })
    .await;
    on_the_command_line(&org).await;
    let (_, listed) = ask(&daemon, "get", "/api/audit?limit=1", "view", None).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (&listed["next"], &listed["items"][0]["seq"]),
        (&json!(1), &json!(1))
    );
    daemon.running.stop();
    let entries = org.audit(&[]).await;
    let with_details = org.audit(&["--details"]).await;
    each_has_its_entry(&with_details, &stores);
    a_copy_can_be_checked(entries);
    let about = org.audit(&["--person", "c-1", "--details"]).await;
    let deeds: Vec<_> = about.iter().map(|entry| told(entry).0).collect();
    assert_eq!(deeds, ["edit", "discard", "reopen", "retry", "retry", "export"]);
    assert!(
        about[1]["detail"].as_str().unwrap().contains("called"),
        "{about:?}"
    );
    let head = head_in_log(&daemon);
    let (code, said) = org.verified(&["--head", &head]).await;
    assert!(code == 0 && said.contains(&head), "{said}");
}

fn each_has_its_entry(entries: &[Value], stores: &[String; 2]) {
    let done = entries.iter().filter(|entry| entry["deed"] != "read").map(told);
    let done: Vec<_> = done.collect();
    assert_eq!(
        done,
        [
            ("edit", "edit", Some("lou")),
            ("discard", "operate", None),
            ("reopen", "one-store", None),
            ("retry", "all", None),
            ("retry", "one-store", None),
            ("export", "export", None),
            ("log_in", "all", None),
            ("log_out", "all", None),
            ("reload", "SIGHUP", None),
            ("export", "kim (command line)", None),
            ("export", "kim (command line)", None),
            ("repair", "kim (command line)", None),
            ("replay", "kim (command line)", None),
            ("release", "kim (command line)", None),
            ("refuse", "kim (command line)", None),
        ]
    );
    let edit = entries.iter().find(|entry| entry["deed"] == "edit").unwrap();
    assert_eq!(edit["about"]["fields"], json!(["customer.first_name"]));
    // A minute may have ended between two reads.
    let read = |actor: &str, store: &str| {
        let of = entries
            .iter()
            .filter(|entry| told(entry) == ("read", actor, None));
        let of = of.filter(|entry| entry["about"]["store"] == *store && entry["about"]["kind"] == "order");
        of.map(|entry| entry["about"]["count"].as_u64().unwrap())
            .sum::<u64>()
    };
    let counts = ["personal", "all", "view"].map(|actor| stores.each_ref().map(|store| read(actor, store)));
    // Whoever may see values reads them with the pages that tests wait for.
    assert_eq!((counts[0], counts[2]), ([1, 2], [0, 0]));
    assert!(counts[1][0] >= 1, "{counts:?}");
}

/// A line without its hash is what was hashed, behind the hash before.
fn a_copy_can_be_checked(entries: Vec<Value>) {
    let mut before = vec![0; 32];
    for mut entry in entries {
        let hash = entry.as_object_mut().unwrap().remove("hash").unwrap();
        before.extend(entry.to_string().into_bytes());
        before = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &before)
            .as_ref()
            .to_vec();
        let digits: String = before.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, digits.as_str(), "{entry}");
    }
}

/// A daemon that did so many things, and the head that it told of; a copy of its outbox.
async fn a_chain(org: &Sandbox) -> (Daemon, String, PathBuf) {
    // By its clock a minute ends soon after it is live.
    let second = Clock::System.now() / 1_000 % 60;
    let ahead = ((100 - second) % 60).to_string();
    let mut daemon = org
        .daemon_with(&[("STORESYNC_CLOCK_AHEAD_SECONDS", &ahead)])
        .await;
    daemon.live().await;
    for _ in 0..6 {
        let (code, ..) = org.verb(&["orders", "export"]).await;
        assert_eq!(code, 0);
    }
    eventually("the metric has the head", async || {
        let text = crate::monitoring::metrics(&daemon).await;
        (value_of(&text, "storesync_audit_seq") == 6.0).then_some(())
    })
    .await;
    let text = crate::monitoring::metrics(&daemon).await;
    let number = value_of(&text, "storesync_audit_head");
    let known = format!("6:{:012x}", number as u64);
    assert_eq!(org.verified(&["--head", &known]).await.0, 0, "{known}");
    let backup = org.dir.path().join("backup");
    let (code, made, said) = org.verb(&["backup", backup.to_str().unwrap(), "--json"]).await;
    assert_eq!(code, 0, "{said}");
    let made: Value = serde_json::from_str(&made).unwrap();
    eventually("the head is in the log", async || {
        daemon
            .running
            .said()
            .contains("the head of the audit is 6:")
            .then_some(())
    })
    .await;
    let head = head_in_log(&daemon);
    daemon.running.stop();
    assert_eq!(
        (head_in_log(&daemon), &made["audit_head"]),
        (head.clone(), &json!(head))
    );
    (daemon, head, backup)
}

/// A copy of the outbox, changed as whoever may write it can.
fn tampered(org: &Sandbox, backup: &Path, name: &str, sql: &str) -> String {
    let dir = org.dir.path().join(name);
    std::fs::create_dir(&dir).unwrap();
    std::fs::copy(backup.join("outbox.db"), dir.join("outbox.db")).unwrap();
    let outbox = Connection::open(dir.join("outbox.db")).unwrap();
    outbox.pragma_update(None, "foreign_keys", false).unwrap();
    outbox.execute_batch(sql).unwrap();
    dir.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_is_found_where_it_was_and_the_end_by_a_head_alone() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let (_daemon, head, backup) = a_chain(&org).await;
    for (name, sql, found) in [
        ("nothing", "", None),
        ("deleted", "delete from audit where seq = 3", Some(3)),
        ("edited", "update audit set actor = 'lou' where seq = 4", Some(4)),
        (
            "said twice",
            "update audit set about = '{\"write\":99,' || substr(about, 2) where seq = 4",
            Some(4),
        ),
        ("gone", "drop table audit_details; drop table audit", Some(1)),
        (
            "reordered",
            "update audit set seq = 99 where seq = 2; update audit set seq = 2 where seq = 5;
             update audit set seq = 5 where seq = 99",
            Some(2),
        ),
    ] {
        let dir = tampered(&org, &backup, name, sql);
        let (code, said) = org.verified(&["--state", &dir]).await;
        match found {
            None => assert_eq!(code, 0, "{name}: {said}"),
            Some(seq) => assert!(
                code == 1 && said.contains(&format!("entry {seq} of")),
                "{name}: {said}"
            ),
        }
    }
    let dir = tampered(&org, &backup, "truncated", "delete from audit where seq > 4");
    assert_eq!(org.verified(&["--state", &dir]).await.0, 0);
    let (code, said) = org.verified(&["--state", &dir, "--head", &head]).await;
    assert!(code == 1 && said.contains("entry 5 of"), "{said}");

    // As whoever has the program and may write the file can.
    let mut desk = Desk::write(Path::new(&dir)).unwrap();
    for _ in 0..3 {
        desk.write_down(&Line::new("mallory", "export"), 0).unwrap();
    }
    drop(desk);
    assert_eq!(org.verified(&["--state", &dir]).await.0, 0);
    let (code, said) = org.verified(&["--state", &dir, "--head", &head]).await;
    assert!(code == 1 && said.contains("entry 6 of"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_entry_no_deed_is_done_and_storefronts_read_on() {
    let org = Sandbox::start(&["--products", "20", "--stores", "2"]).await;
    let (daemon, stores) = with_tokens(&org).await;
    let outbox = Connection::open(org.state().join("outbox.db")).unwrap();
    outbox.busy_timeout(crate::world::PATIENCE).unwrap();
    let full = "create trigger full before insert on audit begin select raise(abort, 'disk full'); end";
    outbox.execute_batch(full).unwrap();
    let discard = || Some(json!({"reason": "called"}));
    for (method, path, body) in [
        ("post", "/api/orders/WEB-1/discard", discard()),
        ("post", "/api/orders/retry", None),
        ("get", "/api/orders/export", None),
    ] {
        let (status, text) = ask(&daemon, method, path, "all", body).await;
        let problem: Value = serde_json::from_str(&text).unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            status == 503 && detail.contains("could not be written to the audit"),
            "{path}: {text}"
        );
    }
    in_the_console(&daemon, "all", true).await;
    let (_, shown) = ask(&daemon, "get", "/api/orders/WEB-1", "all", None).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&shown["state"], &shown["audit"]),
        (&json!("needs_attention"), &json!([]))
    );
    let (status, _) = daemon
        .get(&format!("/v1/stores/{}/products", stores[0]))
        .await
        .unwrap();
    assert_eq!(status, 200);
    let (code, _, said) = org.verb(&["orders", "export"]).await;
    assert_ne!(code, 0, "{said}");
    let (_, text) = ask(&daemon, "get", "/metrics", "all", None).await;
    // Four that were refused, the console's log-in and log-out, and what was read where a minute has ended.
    assert!(value_of(&text, "storesync_audit_failures_total") >= 6.0, "{text}");

    outbox.execute_batch("drop trigger full").unwrap();
    let (status, text) = ask(&daemon, "post", "/api/orders/WEB-1/discard", "all", discard()).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(org.verified(&[]).await.0, 0);
}
