//! What a user is told when something is wrong: one sentence, and the documented exit status.

use std::io::Write as _;
use std::net::TcpListener;

use crate::monitoring::moving::{Change, DISK, Seen};
use crate::world::{Sandbox, a_store, eventually, order, refused, storesync};

fn assert_refused((code, said): (Option<i32>, String), expected: i32, words: &[&str]) {
    let sentence = said.lines().last().unwrap_or_default();
    assert_eq!(code, Some(expected), "{said}");
    for word in words {
        assert!(sentence.contains(word), "{word:?} is not in: {sentence}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_wrong_command_line_is_usage() {
    let mut command = storesync();
    command.arg("rum");
    assert_eq!(refused(command).0, Some(64));
}

#[test]
fn a_missing_configuration_is_named() {
    let mut command = storesync();
    command.args(["run", "--config", "/nowhere/config.toml"]);
    assert_refused(refused(command), 78, &["/nowhere/config.toml", "--config"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_one_sentence() {
    let org = Sandbox::start(&[]).await;
    let unknown = org.refused_daemon(&[("STORESYNC__ORG__LOGIN_ULR", "x")]);
    assert_refused(unknown, 78, &["login_ulr"]);
    let secret = org.refused_daemon(&[("STORESYNC__ORG__CLIENT_SECRET_FILE", "/nowhere/secret")]);
    assert_refused(secret, 78, &["/nowhere/secret"]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let port = org.refused_daemon(&[("STORESYNC__SERVE__LISTEN", &address)]);
    assert_refused(port, 69, &[&address]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_is_not_ours_is_left_alone() {
    let org = Sandbox::start(&[]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    assert_refused(org.refused_daemon(&[]), 69, &["in use"]);
    drop(daemon);

    let path = org.state().join("cache.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    connection
        .pragma_update(None, "user_version", version + 1)
        .unwrap();
    drop(connection);
    let before = std::fs::read(&path).unwrap();
    assert_refused(org.refused_daemon(&[]), 78, &["cache.db", "newer"]);
    assert_eq!(std::fs::read(&path).unwrap(), before, "the file was touched");
}

/// A disk on which nothing can be begun, and one of two megabytes, which fills up during the first load.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_one_sentence_and_loses_nothing() {
    let org = Sandbox::start(&["--products", "2000"]).await;
    let small = Disk::of(&org.dir.path().join("small"), "64k");
    let state = small.path.to_str().unwrap().to_owned();
    assert_refused(
        org.refused_daemon(&[("STORESYNC__STATE__DIR", &state)]),
        75,
        &["disk"],
    );
    let disk = Disk::of(&org.dir.path().join("disk"), "3m");
    let state = disk.path.to_str().unwrap().to_owned();
    let mut daemon = org.daemon_with(&[("STORESYNC__STATE__DIR", &state)]).await;
    let ready = async || -> Option<serde_json::Value> {
        let answer = reqwest::get(format!("{}/readyz", daemon.admin)).await.ok()?;
        answer.json().await.ok()
    };
    eventually("the full disk is told of", async || {
        let ready = ready().await?;
        let told = [&ready["reads"]["cause"], &ready["orders"]["problem"]];
        let is_told = told.iter().all(|told| {
            told.as_str()
                .is_some_and(|told| told.contains("the disk is full"))
        });
        is_told.then_some(())
    })
    .await;
    // What the daemon tells other programs has room of its own.
    let state = [("STORESYNC__STATE__DIR", state.as_str())];
    eventually("the status tells it too", async || {
        let (_, told, _) = org.verb_with(&state, &["status", "--json"]).await;
        let told: serde_json::Value = serde_json::from_str(&told).ok()?;
        (told["files"] == ready().await?["files"] && told["files"][0]["kind"] == "disk_full").then_some(())
    })
    .await;
    disk.grow();
    daemon.live().await;
    eventually("nothing is told of it any more", async || {
        let ready = ready().await?;
        (ready["reads"]["cause"].is_null() && ready["files"].as_array()?.is_empty()).then_some(())
    })
    .await;
    assert!(
        daemon.running.child.try_wait().unwrap().is_none(),
        "it did not end for it"
    );
    // What else is on the disk is seen too.
    const BYTES: usize = 32 << 20;
    let fill = async || std::fs::write(disk.path.join("other"), vec![1; BYTES]).unwrap();
    let less = [("storesync_disk_free_bytes", Change::Down(BYTES as f64))];
    let mut seen = Seen::default();
    seen.after(&daemon, "a file of 32 MiB", fill, &less).await;
    seen.is_all_of(DISK);
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_order_is_to_be_sent_where_each_is_refused_for_a_full_disk() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let disk = Disk::of(&org.dir.path().join("disk"), "48m");
    let state = disk.path.to_str().unwrap();
    let daemon = org.daemon_with(&[("STORESYNC__STATE__DIR", state)]).await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let ready = async || -> Option<(u16, serde_json::Value)> {
        let answer = reqwest::get(format!("{}/readyz", daemon.admin)).await.ok()?;
        Some((answer.status().as_u16(), answer.json().await.ok()?))
    };
    assert_eq!(ready().await.unwrap().1["orders"]["ready"], true);

    let other = disk.path.join("other");
    let mut file = std::fs::File::create(&other).unwrap();
    while file.write_all(&[1; 4_096]).is_ok() {}
    let mut number = 0;
    eventually("an order is refused", async || {
        number += 1;
        let placed = order(&format!("WEB-{number}"), &currency, &[(&products[0], 1)]);
        let answer = daemon.place(&store, &placed).await?;
        (answer.0 == 503).then_some(())
    })
    .await;
    eventually("orders are not to be sent here", async || {
        let (status, told) = ready().await?;
        let problem = told["orders"]["problem"].as_str()?;
        let is_told = problem.contains("the disk is full");
        (status == 503 && told["orders"]["ready"] == false && told["reads"]["ready"] == true && is_told)
            .then_some(())
    })
    .await;
    drop(file);
    std::fs::remove_file(other).unwrap();
    eventually("orders are taken again", async || {
        let (status, told) = ready().await?;
        (status == 200 && told["orders"]["ready"] == true).then_some(())
    })
    .await;
    let placed = order("WEB-AGAIN", &currency, &[(&products[0], 1)]);
    assert_eq!(daemon.place(&store, &placed).await.unwrap().0, 202);
    drop(daemon);
}

/// A file system of its own, in memory.
pub struct Disk {
    pub path: std::path::PathBuf,
}

impl Disk {
    /// Of a size as `mount` takes it.
    pub fn of(path: &std::path::Path, size: &str) -> Self {
        std::fs::create_dir_all(path).unwrap();
        Self::mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], path);
        Self {
            path: path.to_owned(),
        }
    }

    fn grow(&self) {
        Self::mount(&["-o", "remount,size=512m"], &self.path);
    }

    fn mount(arguments: &[&str], path: &std::path::Path) {
        let status = std::process::Command::new("mount")
            .args(arguments)
            .arg(path)
            .status()
            .unwrap();
        assert!(
            status.success(),
            "mount needs root: run the tests as root, or in a user namespace"
        );
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.path)
            .status();
    }
}
