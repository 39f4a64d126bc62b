//! How long the audit is kept, what a removal leaves, and a key that somebody replaced.

use rusqlite::Connection;
use storesync::model::clock::Clock;
use storesync::store::outbox::audit::Line;
use storesync::store::outbox::desk::Desk;

use super::{head_in_log, told};
use crate::monitoring::moving::value_of;
use crate::world::{Daemon, Sandbox, eventually};

const DAY_MILLIS: i64 = 86_400_000;

/// A daemon by whose clock a minute ends soon after it is live.
async fn before_a_minute(org: &Sandbox, audit_days: &str) -> Daemon {
    let second = Clock::System.now() / 1_000 % 60;
    let ahead = ((100 - second) % 60).to_string();
    let daemon = org
        .daemon_with(&[
            ("STORESYNC_CLOCK_AHEAD_SECONDS", &ahead),
            ("STORESYNC__STATE__AUDIT_DAYS", audit_days),
        ])
        .await;
    daemon.live().await;
    daemon
}

async fn exported(org: &Sandbox) {
    let (code, _, said) = org.verb(&["orders", "export"]).await;
    assert_eq!(code, 0, "{said}");
}

async fn says(daemon: &Daemon, sentence: &str) {
    eventually(sentence, async || {
        daemon.running.said().contains(sentence).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_entries_go_and_what_is_left_can_be_verified() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    daemon.running.stop();
    let mut desk = Desk::write(&org.state()).unwrap();
    let old = Clock::System.now() - 3 * DAY_MILLIS;
    for actor in ["ana", "kim", "lou"] {
        desk.write_down(&Line::new(actor, "export"), old).unwrap();
    }
    let newest = Line::new("mo", "export");
    desk.write_down(&newest, Clock::System.now()).unwrap();
    drop(desk);

    // What is kept for ever stays, however old it is.
    let mut daemon = before_a_minute(&org, "0").await;
    says(&daemon, "the head of the audit is 4:").await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    daemon.running.stop();
    let entries = org.audit(&[]).await;
    assert_eq!(entries.len(), 4);
    let head = format!("3:{}", entries[2]["hash"].as_str().unwrap());

    let mut daemon = before_a_minute(&org, "1").await;
    let sentence = format!(
        "3 entries of the audit that were older than [state] audit_days = 1 were removed, up to {head}"
    );
    says(&daemon, "entries of the audit that were older than").await;
    assert!(
        daemon.running.said().contains(&sentence),
        "{}",
        daemon.running.said()
    );
    exported(&org).await;
    let text = crate::monitoring::metrics(&daemon).await;
    assert_eq!(value_of(&text, "storesync_audit_seq"), 6.0);
    daemon.running.stop();

    let entries = org.audit(&[]).await;
    let deeds: Vec<_> = entries.iter().map(|entry| told(entry).0).collect();
    assert_eq!(deeds, ["export", "remove", "export"]);
    assert_eq!(entries[1]["about"]["last"], head.as_str());
    let (code, said) = org.verified(&["--head", &head_in_log(&daemon)]).await;
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("3 entries are as they were written") && said.contains(&format!("up to {head} of ")),
        "{said}"
    );
    // The last that went can be compared still, and none before it.
    assert_eq!(org.verified(&["--head", &head]).await.0, 0);
    let before = format!("2:{}", "a".repeat(12));
    let (code, said) = org.verified(&["--head", &before]).await;
    assert!(code == 1 && said.contains("cannot be compared"), "{said}");

    // Whoever takes more away than was old is found.
    let outbox = Connection::open(org.state().join("outbox.db")).unwrap();
    outbox
        .execute_batch(
            "update audit_removed set (seq, at, hash) = (select seq, at, hash from audit where seq = 4);
             delete from audit where seq = 4",
        )
        .unwrap();
    let (code, said) = org.verified(&[]).await;
    assert!(code == 1 && said.contains("entry 4 of"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_replaced_is_told_once_and_where_it_begins() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let of_person = ["orders", "export", "--customer", "C-1"];
    for replaced in [false, true] {
        if replaced {
            let outbox = Connection::open(org.state().join("outbox.db")).unwrap();
            outbox.busy_timeout(crate::world::PATIENCE).unwrap();
            outbox
                .execute("update audit_key set key = randomblob(32)", [])
                .unwrap();
        }
        let (code, _, said) = org.verb(&of_person).await;
        assert_eq!(code, 0, "{said}");
    }
    assert_eq!(org.audit(&["--person", "c-1"]).await.len(), 1);
    let (code, said) = org.verified(&[]).await;
    assert!(
        code == 0 && said.contains("from entry 2 on the key of persons is another"),
        "{said}"
    );
    daemon.running.stop();
    is_told_once(&org, 3).await;

    let outbox = Connection::open(org.state().join("outbox.db")).unwrap();
    outbox.execute("delete from audit_key", []).unwrap();
    drop(outbox);
    let (code, said) = org.verified(&[]).await;
    assert!(
        code == 0 && said.contains("from entry 4 on the key of persons is another, or none"),
        "{said}"
    );
    is_told_once(&org, 4).await;
    let (code, _, said) = org.verb(&of_person).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(org.audit(&["--person", "c-1"]).await.len(), 1);
}

/// The next start tells of another key, in the log and in the entry of this number; the one after does not.
async fn is_told_once(org: &Sandbox, seq: usize) {
    let sentence = "the key by which the audit hashes persons is not the one that it was";
    for is_told in [true, false] {
        let mut daemon = org.daemon().await;
        daemon.live().await;
        assert_eq!(daemon.running.said().contains(sentence), is_told);
        daemon.running.stop();
        let entries = org.audit(&[]).await;
        assert_eq!(entries.len(), seq);
        assert_eq!(told(&entries[seq - 1]).0, "new_key");
    }
}
