//! The state directory over time: copies made beside the daemon and put back, and what older versions left.

use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};
use storesync::inbound::command::Command;
use storesync::store::database::{Kind, OpenError, open_writer};
use storesync::store::journal::JournalReader;
use storesync::store::{cache, journal, outbox};

use crate::world::{Sandbox, a_store, converge, eventually, order, refused, select};

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_under_way_restores_cache_history_and_orders() {
    let org = Sandbox::start(&["--products", "30"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let first = order("WEB-1", &currency, &[(&products[0], 1)]);
    assert_eq!(daemon.place(&store, &first).await.unwrap().0, 202);
    let to = org.dir.path().join("backup");
    let to = to.to_str().unwrap();
    // Changes and orders go on while it is made.
    let writes = async {
        for number in 0..20 {
            let name = format!("Name {number}");
            org.update(
                "Product2",
                &products[number % products.len()],
                json!({"Name": name}),
            )
            .await;
        }
    };
    let arguments = ["backup", to, "--json"];
    let (made, ()) = tokio::join!(org.verb(&arguments), writes);
    assert_eq!(made.0, 0, "{}", made.2);
    let manifest: Value = serde_json::from_str(&made.1).unwrap();
    assert_eq!(manifest["files"].as_array().unwrap().len(), 3);
    // Accepted after the backup and delivered: it will be unknown to the restored outbox.
    let second = order("WEB-2", &currency, &[(&products[1], 1)]);
    assert_eq!(daemon.place(&store, &second).await.unwrap().0, 202);
    for key in ["WEB-1", "WEB-2"] {
        eventually("the order is in the org", async || {
            (org.count(&format!("Order WHERE External_ID__c = '{key}'")).await == 1).then_some(())
        })
        .await;
    }

    let (busy, _, said) = org.verb(&["restore", to]).await;
    assert_eq!(busy, 69, "a daemon uses the directory: {said}");
    daemon.running.kill();
    let (present, _, said) = org.verb(&["restore", to]).await;
    assert!(present != 0 && said.contains("is there already"), "{said}");
    std::fs::remove_dir_all(org.state()).unwrap();
    org.update("Product2", &products[0], json!({"Name": "While all was lost"}))
        .await;
    let (exit, told, said) = org.verb(&["restore", to]).await;
    assert_eq!(exit, 0, "{said}");
    assert!(told.contains("outbox.db restored"), "{told}");

    let daemon = org.daemon().await;
    daemon.live().await;
    converge(&org).await;
    // What was accepted is known still, what was delivered is not delivered again.
    for (key, body) in [("WEB-1", &first), ("WEB-2", &second)] {
        assert_eq!(daemon.place(&store, body).await.unwrap().0, 202, "{key}");
        eventually("the order is confirmed", async || {
            let (_, order) = daemon.get(&format!("/v1/stores/{store}/orders/{key}")).await?;
            (order["state"] == "confirmed").then_some(())
        })
        .await;
        assert_eq!(
            org.count(&format!("Order WHERE External_ID__c = '{key}'")).await,
            1,
            "{key}"
        );
    }
}

/// Makes a database as a schema before left it.
pub fn as_left(dir: &Path, kind: Kind, schema: usize) {
    let (name, _) = kind.file_name.split_once('.').unwrap();
    let sample = format!("tests/data/schema/{name}_{schema}.sql");
    let sql = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&sample));
    let sql = sql.unwrap_or_else(|_| panic!("{sample}: each schema needs sample data"));
    Connection::open(dir.join(kind.file_name))
        .unwrap()
        .execute_batch(&sql)
        .unwrap();
}

/// The commands that a journal holds, each of which can be read.
fn kinds_of_commands(dir: &Path) -> Vec<String> {
    let batches = JournalReader::open(dir).unwrap().batches(0, 10).unwrap();
    let kept = batches.into_iter().flat_map(|batch| batch.commands);
    kept.map(|kept| {
        Command::from_kept(&kept).unwrap();
        kept.kind
    })
    .collect()
}

fn version(connection: &Connection) -> usize {
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    usize::try_from(version).unwrap()
}

#[test]
fn what_each_schema_left_is_brought_up_to_date() {
    for kind in [cache::KIND, journal::KIND, outbox::KIND] {
        for schema in 1..=kind.migrations.len() {
            // The newest need not have a sample before it was released.
            let dir = tempfile::tempdir().unwrap();
            if schema == kind.migrations.len() && schema > 1 {
                continue;
            }
            as_left(dir.path(), kind, schema);
            let connection = open_writer(dir.path(), kind).unwrap();
            assert_eq!(
                version(&connection),
                kind.migrations.len(),
                "{} {schema}",
                kind.file_name
            );
            drop(connection);
            let open = || Connection::open(dir.path().join(kind.file_name)).unwrap();
            let sound = select(&open(), "pragma integrity_check");
            assert_eq!(sound[0]["integrity_check"], "ok", "{} {schema}", kind.file_name);
            assert_eq!(select(&open(), "pragma foreign_key_check"), []);
            match kind.file_name {
                "cache.db" => {
                    let opened = cache::Cache::open(dir.path()).unwrap();
                    assert_eq!(opened.rev(), 2);
                    opened.claim_org("00D000000000001EAA").unwrap();
                    let states = cache::objects::objects(opened.connection()).unwrap();
                    assert_eq!((states[0].object.as_str(), states[0].rows), ("Product2", 1));
                    assert_eq!(cache::cursors::cursors(opened.connection()).unwrap().len(), 1);
                    assert_eq!(cache::repairs::open_counts(opened.connection()).unwrap()[0].1, 1);
                    assert_eq!(select(&open(), "select name from product2")[0]["name"], "Teapot");
                }
                "journal.db" => {
                    let opened = journal::Journal::open(dir.path()).unwrap();
                    assert_eq!(opened.schemas().unwrap().len(), 1);
                    assert_eq!(
                        select(&open(), "select event_id from event order by number")[1]["event_id"],
                        "e2"
                    );
                    let expected: &[&str] = match schema {
                        1 => &[],
                        2 | 3 => &["events"],
                        _ => &["start", "events", "page", "rows", "forget_applied", "removal"],
                    };
                    assert_eq!(kinds_of_commands(dir.path()), expected, "{schema}");
                }
                _ => {
                    let standing = outbox::standing_in(dir.path()).unwrap();
                    let counts: Vec<(&str, u64)> = standing
                        .iter()
                        .map(|orders| (orders.state.name(), orders.count))
                        .collect();
                    assert_eq!(counts, [("queued", 1), ("confirmed", 1)]);
                    let keys = select(
                        &open(),
                        "select external_id, org_key from writes order by sequence",
                    );
                    let keys: Vec<_> = keys
                        .iter()
                        .map(|row| (&row["external_id"], &row["org_key"]))
                        .collect();
                    let as_before = ["WEB-1", "WEB-2"].map(Value::from);
                    assert!(
                        keys.into_iter()
                            .eq(as_before.iter().map(|key| (key, &Value::Null)))
                    );
                }
            }
        }
    }
}

/// The way back: the version before refuses what a newer one wrote, and goes on with the copy that was kept of the
/// orders; the cache is made again, and the journal begins anew.
#[test]
fn a_version_before_goes_on_with_what_was_kept_for_it() {
    let older = Kind {
        migrations: &["create table orders (external_id text)"],
        ..outbox::KIND
    };
    let newer = Kind {
        migrations: &[
            "create table orders (external_id text)",
            "alter table orders rename to writes",
        ],
        ..outbox::KIND
    };
    let dir = tempfile::tempdir().unwrap();
    open_writer(dir.path(), older)
        .unwrap()
        .execute("insert into orders values ('WEB-1')", [])
        .unwrap();
    drop(open_writer(dir.path(), newer).unwrap());
    let refused = open_writer(dir.path(), older).unwrap_err();
    assert!(
        matches!(
            refused,
            OpenError::Newer {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{refused}"
    );
    assert!(
        refused
            .to_string()
            .contains("install that version again, or move the file away")
    );
    let kept = dir.path().join("outbox.db.schema-1");
    for end in ["-wal", "-shm"] {
        drop(std::fs::remove_file(dir.path().join(format!("outbox.db{end}"))));
    }
    std::fs::rename(kept, dir.path().join("outbox.db")).unwrap();
    let connection = open_writer(dir.path(), older).unwrap();
    assert_eq!(
        select(&connection, "select external_id from orders")[0]["external_id"],
        "WEB-1"
    );
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_in_one_sentence() {
    let org = Sandbox::start(&["--products", "5"]).await;
    std::fs::create_dir_all(org.state()).unwrap();
    for kind in [cache::KIND, journal::KIND, outbox::KIND] {
        let connection = open_writer(&org.state(), kind).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        let (exit, said) = refused(org.daemon_command(&[]));
        assert_eq!(exit, Some(78), "{said}");
        assert!(
            said.contains("was written by a newer storesync (schema 99"),
            "{said}"
        );
        let (_, stdout, _) = org.verb(&["check", "--offline"]).await;
        assert!(stdout.contains("was written by a newer storesync"), "{stdout}");
        std::fs::remove_file(org.state().join(kind.file_name)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_closes_a_database_takes_no_log_away() {
    use std::os::unix::fs::MetadataExt as _;
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let state = org.state();
    for name in ["cache.db", "journal.db", "outbox.db"] {
        let inode = std::fs::metadata(state.join(name)).unwrap().ino();
        // Locks come and go while the list is read, and one may be passed over; one that was lost never comes back.
        eventually(&format!("somebody holds {name}"), async || {
            let locks = std::fs::read_to_string("/proc/locks").unwrap();
            locks.contains(&format!(":{inode} ")).then_some(())
        })
        .await;
        let log = || std::fs::metadata(state.join(format!("{name}-wal"))).map(|log| log.ino());
        let before = log().unwrap();
        // As any program that may write the file does: the last one to close it removes its log.
        let connection = Connection::open(state.join(name)).unwrap();
        let tables: i64 = connection
            .query_row("select count(*) from sqlite_master", [], |row| row.get(0))
            .unwrap();
        assert!(tables > 0);
        drop(connection);
        assert_eq!(log().unwrap(), before, "{name}");
    }
    let product = org.some("Product2", "").await;
    org.update("Product2", &product, json!({"Description": "still read"}))
        .await;
    eventually("SQL shows what the daemon writes", async || {
        let connection = Connection::open(state.join("cache.db")).ok()?;
        let sql = "select description from product2 where id = ?1";
        let shown: String = connection.query_row(sql, [&product], |row| row.get(0)).ok()?;
        (shown == "still read").then_some(())
    })
    .await;
}
