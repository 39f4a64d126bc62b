//! What becomes of the daemon's answers when something happens to its files: damaged, moved, read all the time.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};
use storesync::model::clock::{Clock, parse_datetime};

use crate::world::{Daemon, Sandbox, a_store, cache, converge, eventually, order, select};

/// Moves what the log holds into the file, so that what is damaged there is read.
fn settle(state: &Path, name: &str) -> PathBuf {
    let path = state.join(name);
    let connection = Connection::open(&path).unwrap();
    let emptied: i64 = connection
        .query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0))
        .unwrap();
    assert_eq!(emptied, 0, "{name} is in use");
    path
}

/// Overwrites the beginning of a file, by which SQLite knows its own.
fn damage_head(state: &Path, name: &str) -> PathBuf {
    let path = settle(state, name);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0xAA; 64], 0).unwrap();
    path
}

/// Overwrites the first page of a table.
fn damage_table(state: &Path, name: &str, table: &str) -> PathBuf {
    let path = settle(state, name);
    let connection = Connection::open(&path).unwrap();
    let page_bytes: u64 = connection
        .pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))
        .unwrap()
        .unsigned_abs();
    let sql = "select rootpage from sqlite_schema where name = ?1";
    let page: i64 = connection.query_row(sql, [table], |row| row.get(0)).unwrap();
    drop(connection);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0xAA; 512], (page.unsigned_abs() - 1) * page_bytes)
        .unwrap();
    path
}

/// The damaged copies that are kept of a file.
fn kept(state: &Path, name: &str) -> Vec<String> {
    let names = std::fs::read_dir(state).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let prefix = format!("{name}.damaged-");
    names
        .filter(|found| found.starts_with(&prefix) && found.ends_with('Z'))
        .collect()
}

async fn readyz(daemon: &Daemon) -> (u16, Value) {
    let answer = reqwest::get(format!("{}/readyz", daemon.admin)).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// What is said of the files: kind and cause.
fn of_files(told: &Value) -> Vec<(String, String)> {
    let told = told["files"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    told.map(|told| (text(&told["kind"]), text(&told["cause"])))
        .collect()
}

/// Waits until `/readyz` and the metrics say that a file has this kind of trouble.
async fn until_told(daemon: &Daemon, kind: &str, words: &str) {
    eventually(&format!("{kind} is told: {words}"), async || {
        let told = of_files(&readyz(daemon).await.1);
        let is_told = told.iter().any(|(of, cause)| of == kind && cause.contains(words));
        let metrics = reqwest::get(format!("{}/metrics", daemon.admin)).await.ok()?;
        let line = format!("storesync_file_trouble{{cause=\"{kind}\"}} 1\n");
        (is_told && metrics.text().await.ok()?.contains(&line)).then_some(())
    })
    .await;
}

/// That the status, its verb and the console say what `/readyz` says.
async fn all_tell(org: &Sandbox, daemon: &Daemon) {
    eventually("all tell the same", async || {
        let told = of_files(&readyz(daemon).await.1);
        let (_, printed, _) = org.verb(&["status", "--json"]).await;
        let verb: Value = serde_json::from_str(&printed).unwrap();
        let (_, words, _) = org.verb(&["status"]).await;
        let console = daemon.operator().get(&daemon.admin).send().await.ok()?;
        let console = console.text().await.ok()?;
        let is_told = |(_, cause): &(String, String)| words.contains(cause) && console.contains(cause);
        let same = told == of_files(&verb) && told == of_files(&daemon.status().await?);
        (same && told.iter().all(is_told)).then_some(())
    })
    .await;
}

/// Waits until nothing is said any more of what keeps rows or orders.
async fn until_passed(daemon: &Daemon) {
    eventually("nothing is told of the files", async || {
        let (status, ready) = readyz(daemon).await;
        let files = ready["files"].as_array()?;
        let is_over = files.iter().all(|file| file["kind"] == "file_set_aside");
        (status == 200
            && is_over
            && ready["reads"]["cause"].is_null()
            && ready["orders"]["problem"].is_null())
        .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_cache_is_kept_and_read_again_and_nothing_is_answered_meanwhile() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let first = order("WEB-1", &currency, &[(&products[0], 1)]);
    assert_eq!(daemon.place(&store, &first).await.unwrap().0, 202);
    daemon.running.kill();
    let damaged = std::fs::read(damage_head(&org.state(), "cache.db")).unwrap();

    let away = [("STORESYNC__ORG__LOGIN_URL", "http://127.0.0.1:1")];
    let mut daemon = org.daemon_with(&away).await;
    until_told(&daemon, "file_damaged", "cache.db was damaged and is read again").await;
    until_told(&daemon, "file_set_aside", "cache.db.damaged-").await;
    all_tell(&org, &daemon).await;
    let (status, ready) = readyz(&daemon).await;
    assert_eq!((status, &ready["reads"]["state"]), (503, &json!("initializing")));
    let cause = ready["reads"]["cause"].as_str().unwrap();
    assert!(cause.contains("cache.db was damaged"), "{cause}");
    assert_eq!(daemon.get("/v1/stores").await.unwrap().0, 503);
    let second = order("WEB-2", &currency, &[(&products[0], 1)]);
    let (refused, told) = daemon.place(&store, &second).await.unwrap();
    assert_eq!(refused, 503, "{told}");
    let (known, _) = daemon
        .get(&format!("/v1/stores/{store}/orders/WEB-1"))
        .await
        .unwrap();
    assert_eq!(known, 200);
    let names = kept(&org.state(), "cache.db");
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(std::fs::read(org.state().join(&names[0])).unwrap(), damaged);
    assert!(daemon.running.said().contains(&names[0]));

    daemon.running.kill();
    let daemon = org.daemon().await;
    daemon.live().await;
    converge(&org).await;
    until_passed(&daemon).await;
    assert_eq!(daemon.place(&store, &second).await.unwrap().0, 202);
    // It is told of until a person has removed it.
    until_told(&daemon, "file_set_aside", &names[0]).await;
    std::fs::remove_file(org.state().join(&names[0])).unwrap();
    eventually("nothing is told of it any more", async || {
        let told = of_files(&readyz(&daemon).await.1);
        told.is_empty().then_some(())
    })
    .await;
    all_tell(&org, &daemon).await;
    let metrics = crate::monitoring::metrics(&daemon).await;
    let none = "storesync_file_trouble{cause=\"file_set_aside\"} 0\n";
    assert!(metrics.contains(none), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_nobody_has_met_is_found_and_mended_while_it_runs() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    daemon.running.kill();
    // What comes by change events is not asked for at a start.
    let sql = "select table_name from _object where streamed and object <> 'Product2' order by rows limit 1";
    let tables = select(&cache(&org.state()), sql);
    damage_table(
        &org.state(),
        "cache.db",
        tables[0]["table_name"].as_str().unwrap(),
    );

    let mut daemon = org.daemon().await;
    eventually("the damaged cache is set aside", async || {
        (kept(&org.state(), "cache.db").len() == 1).then_some(())
    })
    .await;
    daemon.live().await;
    converge(&org).await;
    until_passed(&daemon).await;
    assert!(
        daemon.running.child.try_wait().unwrap().is_none(),
        "it did not end for it"
    );
}

/// The ids of the events in the journal.
async fn events(org: &Sandbox) -> Vec<Value> {
    let (exit, printed, said) = org.verb(&["events", "list", "--json"]).await;
    assert_eq!(exit, 0, "{said}");
    let listed: Vec<Value> = serde_json::from_str(&printed).unwrap();
    listed.iter().map(|event| event["event_id"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_is_kept_and_goes_on_with_the_events_that_can_be_read() {
    type Damage = fn(&Path) -> PathBuf;
    let damages: [(Damage, bool); 3] = [
        (|state| damage_table(state, "journal.db", "page"), true),
        (|state| damage_table(state, "journal.db", "event"), false),
        (|state| damage_head(state, "journal.db"), false),
    ];
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let product = org.some("Product2", "").await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    for (number, (damage, keeps_events)) in damages.into_iter().enumerate() {
        let text = format!("before {number}");
        org.update("Product2", &product, json!({"Description": text}))
            .await;
        converge(&org).await;
        daemon.running.kill();
        let before = events(&org).await;
        assert!(!before.is_empty());
        let names = kept(&org.state(), "journal.db");
        damage(&org.state());
        let begun_at = Clock::System.now();
        daemon = org.daemon().await;
        let name = eventually("the damaged journal is set aside", async || {
            let now = kept(&org.state(), "journal.db");
            now.into_iter().find(|name| !names.contains(name))
        })
        .await;
        daemon.live().await;
        assert_eq!(kept(&org.state(), "cache.db"), [""; 0], "the cache stays");
        let after = events(&org).await;
        let is_there = |event: &Value| after.contains(event);
        assert_eq!(before.iter().all(is_there), keeps_events, "{before:?} {after:?}");
        let journal = daemon.status().await.unwrap()["journal"].clone();
        let made_at = parse_datetime(journal["reaches_back_to"].as_str().unwrap()).unwrap();
        assert!((begun_at..=Clock::System.now()).contains(&made_at), "{journal}");
        let text = format!("after {number}");
        org.update("Product2", &product, json!({"Description": text}))
            .await;
        converge(&org).await;
        assert!(events(&org).await.len() > after.len(), "the journal goes on");
        let (_, words, _) = org.verb(&["status"]).await;
        assert!(words.contains(&name), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_outbox_is_told_of_and_never_touched() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    daemon.running.kill();
    damage_table(&org.state(), "outbox.db", "audit");
    let mut daemon = org.daemon().await;
    until_told(&daemon, "file_damaged", "outbox.db is damaged").await;
    all_tell(&org, &daemon).await;
    let (store, currency, products) = a_store(&daemon).await;
    let placed = order("WEB-1", &currency, &[(&products[0], 1)]);
    assert_eq!(daemon.place(&store, &placed).await.unwrap().0, 202);
    daemon.running.kill();

    let path = damage_head(&org.state(), "outbox.db");
    let before = std::fs::read(&path).unwrap();
    let (exit, said) = org.refused_daemon(&[]);
    assert_eq!(exit, Some(75), "{said}");
    assert!(said.contains("outbox.db is damaged"), "{said}");
    assert!(said.contains("restore a backup"), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert!(kept(&org.state(), "outbox.db").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_order_is_taken_into_a_file_that_was_moved() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let (state, aside) = (org.state(), org.dir.path().join("aside"));
    for (number, name) in ["outbox.db", "outbox.db-wal"].into_iter().enumerate() {
        for is_replaced in [false, true] {
            let path = state.join(name);
            std::fs::rename(&path, &aside).unwrap();
            if is_replaced {
                std::fs::copy(&aside, &path).unwrap();
            }
            let key = format!("WEB-{number}-{is_replaced}");
            let placed = order(&key, &currency, &[(&products[0], 1)]);
            let (status, told) = daemon.place(&store, &placed).await.unwrap();
            assert_eq!(status, 503, "{told}");
            let words = format!("{name} was removed or replaced");
            assert!(told["detail"].as_str().unwrap().contains(&words), "{told}");
            until_told(&daemon, "file_replaced", &words).await;
            let (status, ready) = readyz(&daemon).await;
            assert_eq!((status, &ready["orders"]["ready"]), (503, &json!(false)));
            assert_eq!(ready["reads"]["ready"], true);
            std::fs::rename(&aside, &path).unwrap();
            assert_eq!(daemon.place(&store, &placed).await.unwrap().0, 202);
            until_passed(&daemon).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_cache_that_is_read_again_is_true_when_it_is_said() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    daemon.running.kill();
    damage_head(&org.state(), "cache.db");
    let daemon = org.daemon().await;
    let said = eventually("it is ready", async || {
        let said = daemon.running.said();
        let is_over = said.contains("cache.db has been read again from the org");
        (is_over && said.contains("ready: ")).then_some(said)
    })
    .await;
    let ready = said.lines().find(|line| line.contains("ready: ")).unwrap();
    assert!(!ready.contains("is read again"), "{ready}");
    assert!(!said.contains("is over"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_is_removed_while_another_program_has_it_open_is_made_again() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    // Its index stays in use, and belongs to a log that is gone.
    let open = cache(&org.state());
    select(&open, "select count(*) from product2");
    daemon.running.kill();
    std::fs::remove_file(org.state().join("cache.db")).unwrap();
    let mut daemon = org.daemon().await;
    daemon.live().await;
    converge(&org).await;
    until_passed(&daemon).await;
    let ended = daemon.running.child.try_wait().unwrap();
    assert!(ended.is_none(), "{}", daemon.running.said());
    drop(open);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_cut_short_while_it_runs_does_not_end_the_daemon() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let product = org.some("Product2", "").await;
    for name in ["cache.db-wal", "journal.db-wal"] {
        let mut daemon = org.daemon().await;
        daemon.live().await;
        let update = async |text: &str| {
            org.update("Product2", &product, json!({"Description": text}))
                .await;
            eventually("the change is here", async || {
                let (_, row) = daemon.get(&format!("/v1/objects/product2/{product}")).await?;
                (row["description"] == text).then_some(())
            })
            .await;
        };
        update(&format!("before {name} was cut")).await;
        let log = std::fs::File::options().write(true).open(org.state().join(name));
        log.unwrap().set_len(100).unwrap();
        update(&format!("after {name} was cut")).await;
        until_passed(&daemon).await;
        converge(&org).await;
        let ended = daemon.running.child.try_wait().unwrap();
        assert!(ended.is_none(), "{name}: {}", daemon.running.said());
        daemon.running.kill();
    }
}

/// Moves a database with its log to another directory.
fn move_away(state: &Path, name: &str, to: &Path) {
    for ending in ["", "-wal", "-shm"] {
        let file = format!("{name}{ending}");
        if state.join(&file).exists() {
            std::fs::rename(state.join(&file), to.join(&file)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_that_is_gone_at_a_start_is_not_made_again_before_a_person_says_so() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let placed = order("WEB-1", &currency, &[(&products[0], 1)]);
    assert_eq!(daemon.place(&store, &placed).await.unwrap().0, 202);
    let known = format!("/v1/stores/{store}/orders/WEB-1");
    daemon.running.kill();
    let (state, aside) = (org.state(), tempfile::tempdir().unwrap());
    move_away(&state, "outbox.db", aside.path());
    move_away(&state, "cache.db", aside.path());

    let words = [
        "outbox.db is missing",
        "put the file back",
        "remove ",
        "outbox.json",
    ];
    let tells = |said: &str| words.iter().all(|word| said.contains(word));
    let (exit, said) = org.refused_daemon(&[]);
    assert_eq!(exit, Some(69), "{said}");
    assert!(tells(&said), "{said}");
    let (exit, told, _) = org.verb(&["check", "--offline"]).await;
    assert!(exit == 1 && tells(&told), "{told}");
    let (exit, _, said) = org.verb(&["orders", "list"]).await;
    assert!(exit == 69 && tells(&said), "{said}");
    assert!(!state.join("outbox.db").exists());

    // The cache is made again, whatever became of it.
    move_away(aside.path(), "outbox.db", &state);
    let mut daemon = org.daemon().await;
    assert_eq!(daemon.get(&known).await.unwrap().0, 200);
    daemon.live().await;
    daemon.running.kill();

    move_away(&state, "outbox.db", aside.path());
    std::fs::remove_file(state.join("outbox.json")).unwrap();
    let daemon = org.daemon().await;
    assert_eq!(daemon.get(&known).await.unwrap().0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_in_whose_place_another_lies_is_not_taken_for_it() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let placed = order("WEB-1", &currency, &[(&products[0], 1)]);
    assert_eq!(daemon.place(&store, &placed).await.unwrap().0, 202);
    let known = format!("/v1/stores/{store}/orders/WEB-1");
    let backup = tempfile::tempdir().unwrap();
    let into = backup.path().to_str().unwrap();
    assert_eq!(org.verb(&["backup", into]).await.0, 0);
    daemon.running.kill();
    let (state, aside) = (org.state(), tempfile::tempdir().unwrap());
    move_away(&state, "outbox.db", aside.path());

    let elsewhere = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let mut other = elsewhere.daemon().await;
    other.live().await;
    other.running.kill();
    let words = [
        "outbox.db is not the outbox that the directory had",
        "outbox.json",
    ];
    let tells = |said: &str| words.iter().all(|word| said.contains(word));
    for is_empty in [true, false] {
        match is_empty {
            true => std::fs::write(state.join("outbox.db"), "").unwrap(),
            false => move_away(&elsewhere.state(), "outbox.db", &state),
        }
        let (exit, said) = org.refused_daemon(&[]);
        assert!(exit == Some(69) && tells(&said), "{exit:?} {said}");
        let (exit, told, _) = org.verb(&["check", "--offline"]).await;
        assert!(exit == 1 && tells(&told), "{told}");
        let (exit, _, said) = org.verb(&["orders", "list"]).await;
        assert!(exit == 69 && tells(&said), "{said}");
        if is_empty {
            assert_eq!(std::fs::metadata(state.join("outbox.db")).unwrap().len(), 0);
        }
    }

    // A backup is put back whatever lies there, and the file itself is known again.
    assert_eq!(org.verb(&["restore", into, "--replace"]).await.0, 0);
    let mut daemon = org.daemon().await;
    assert_eq!(daemon.get(&known).await.unwrap().0, 200);
    daemon.running.kill();
    move_away(&state, "outbox.db", elsewhere.dir.path());
    move_away(aside.path(), "outbox.db", &state);
    let daemon = org.daemon().await;
    assert_eq!(daemon.get(&known).await.unwrap().0, 200);
    // In the directory of another too, which had an outbox of its own.
    assert!(elsewhere.state().join("outbox.json").exists());
    assert_eq!(elsewhere.verb(&["restore", into, "--replace"]).await.0, 0);
    let daemon = elsewhere.daemon().await;
    assert_eq!(daemon.get(&known).await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_or_journal_that_was_moved_is_told_of() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let aside = org.dir.path().join("aside");
    for name in ["cache.db", "journal.db"] {
        let path = org.state().join(name);
        std::fs::rename(&path, &aside).unwrap();
        let words = format!("{name} was removed or replaced");
        eventually("it is told", async || {
            let (_, ready) = readyz(&daemon).await;
            let cause = ready["reads"]["cause"].as_str()?;
            let is_stale = ready["reads"]["state"] == "stale";
            (cause.contains(&words) && is_stale).then_some(())
        })
        .await;
        until_told(&daemon, "file_replaced", &words).await;
        std::fs::rename(&aside, &path).unwrap();
        until_passed(&daemon).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_lock_file_a_directory_has_one_daemon_still() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    std::fs::remove_file(org.state().join("lock")).unwrap();
    let (exit, said) = org.refused_daemon(&[]);
    assert_eq!(exit, Some(69), "{said}");
    assert!(said.contains("in use by another storesync"), "{said}");
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_another_program_reads_all_the_time_is_told_with_its_name() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let bounds = [
        ("STORESYNC_BOUND_LOG_BYTES", "1"),
        ("STORESYNC_BOUND_BLOCKED_SECONDS", "0"),
    ];
    let daemon = org.daemon_with(&bounds).await;
    daemon.live().await;
    let product = org.some("Product2", "").await;
    org.update("Product2", &product, json!({"Description": "just now"}))
        .await;
    let holder = eventually("the change is seen", async || {
        let connection = cache(&org.state());
        connection.execute_batch("begin").unwrap();
        let sql = "select count(*) n from product2 where description = 'just now'";
        (select(&connection, sql)[0]["n"] == 1).then_some(connection)
    })
    .await;
    // What is written after the reader began cannot leave the log; what was written before may have left it.
    org.update("Product2", &product, json!({"Description": "after it"}))
        .await;
    until_told(&daemon, "log_blocked", &format!("({})", std::process::id())).await;
    let (status, ready) = readyz(&daemon).await;
    let cause = ready["reads"]["cause"].as_str().unwrap();
    assert!(cause.contains("the write-ahead log of cache.db"), "{cause}");
    assert_eq!((status, &ready["orders"]["problem"]), (200, &Value::Null));
    drop(holder);
    until_passed(&daemon).await;
}

/// Puts a copy of a database, as it is now, in its place.
fn replace_with_copy(state: &Path, name: &str) {
    let copy = state.join("copy");
    let open = Connection::open(state.join(name)).unwrap();
    let path = copy.to_str().unwrap();
    open.execute("vacuum into ?1", [path]).unwrap();
    std::fs::rename(&copy, state.join(name)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_file_is_never_read_with_the_log_of_the_one_before() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let product = org.some("Product2", "").await;
    let mut daemon = org.daemon().await;
    for name in ["cache.db", "journal.db"] {
        daemon.live().await;
        let text = format!("before {name} was replaced");
        org.update("Product2", &product, json!({"Description": text}))
            .await;
        converge(&org).await;
        let before = events(&org).await;
        assert!(!before.is_empty());
        replace_with_copy(&org.state(), name);
        let text = format!("after {name} was replaced");
        org.update("Product2", &product, json!({"Description": text}))
            .await;
        daemon.running.kill();
        daemon = org.daemon().await;
        let aside = kept(&org.state(), name);
        assert_eq!(aside.len(), 1, "{name}: {aside:?}");
        let said = daemon.running.said();
        let told = format!("{name} was replaced while it was in use");
        assert!(said.contains(&told) && said.contains(&aside[0]), "{said}");
        eventually("it is told", async || {
            let told = of_files(&readyz(&daemon).await.1);
            let is_told =
                |(kind, cause): &(String, String)| kind == "file_set_aside" && cause.contains(&aside[0]);
            told.iter().any(is_told).then_some(())
        })
        .await;
        daemon.live().await;
        converge(&org).await;
        until_passed(&daemon).await;
        let after = events(&org).await;
        assert!(
            before.iter().all(|event| after.contains(event)),
            "{before:?} {after:?}"
        );
        let whole = Connection::open(org.state().join(&aside[0])).unwrap();
        let sound: String = whole
            .query_row("pragma quick_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sound, "ok", "what is kept is no mixture");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_is_not_read_with_the_log_of_the_one_before() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let placed = order("WEB-1", &currency, &[(&products[0], 1)]);
    assert_eq!(daemon.place(&store, &placed).await.unwrap().0, 202);
    replace_with_copy(&org.state(), "outbox.db");
    daemon.running.kill();
    let files = ["outbox.db", "outbox.db-wal"].map(|name| org.state().join(name));
    let read = || files.each_ref().map(|path| std::fs::read(path).unwrap());
    let before = read();
    let tells = |said: &str| {
        let words = [
            "outbox.db was replaced while it was in use",
            "remove ",
            "outbox.db-wal",
        ];
        words.iter().all(|word| said.contains(word))
    };
    let (exit, said) = org.refused_daemon(&[]);
    assert!(exit == Some(69) && tells(&said), "{exit:?} {said}");
    let (exit, told, _) = org.verb(&["check", "--offline"]).await;
    assert!(exit == 1 && tells(&told), "{told}");
    let (exit, _, said) = org.verb(&["orders", "list"]).await;
    assert!(exit == 69 && tells(&said), "{said}");
    assert!(before == read(), "neither file is touched");

    std::fs::remove_file(&files[1]).unwrap();
    let daemon = org.daemon().await;
    let known = format!("/v1/stores/{store}/orders/WEB-1");
    assert_eq!(daemon.get(&known).await.unwrap().0, 200);
}
