//! The chain, with hashes that were worked out in another way, and what is found of changes to it.

use rusqlite::Connection;

use super::*;
use crate::store::outbox::desk::{Action, Deed, Done};
use crate::store::outbox::tests::{Shop, shop};

fn named(name: &str) -> Line {
    Line::new(name, "log_in")
}

/// An outbox with so many entries.
async fn entries(count: usize) -> Shop {
    let shop = shop();
    for number in 1..=count {
        let line = named(&format!("ana{number}"));
        shop.outbox.write_down(vec![line], 1_000).await.unwrap();
    }
    shop
}

impl Shop {
    fn desk(&self) -> Desk {
        Desk::read(self.dir.path()).unwrap()
    }

    fn verified(&self) -> Verdict {
        self.desk().verify_audit(None).unwrap()
    }

    /// The number of the first entry that is found not to be as it was written.
    fn broken_at(&self, known: Option<&Head>) -> Option<i64> {
        let known = known.map(|head| head.to_string().parse().unwrap());
        match self.desk().verify_audit(known.as_ref()).unwrap() {
            Verdict::Whole { .. } => None,
            Verdict::Broken { seq, .. } => Some(seq),
        }
    }

    /// Changes the file as whoever may write it can.
    fn tamper(&self, sql: &str) {
        let connection = Connection::open(self.dir.path().join("outbox.db")).unwrap();
        connection.pragma_update(None, "foreign_keys", false).unwrap();
        connection.execute_batch(sql).unwrap();
    }
}

/// Worked out with Python:
///
/// ```python
/// import hashlib, json
/// h = bytes(32)
/// for seq, about, deed, detail, for_, person in [
///     (1, {}, "log_in", None, None, None),
///     (2, {"fields": ["customer.email"], "write": 7}, "edit", hashlib.sha256(bytes(16) + b'{"a":1}').hexdigest(), "Zo\u00eb", "ab" * 32),
/// ]:
///     entry = {"about": about, "actor": "ana\u2028\n", "deed": deed, "detail_hash": detail, "instance": "0011223344556677",
///              "on_behalf_of": for_, "person": person, "seq": seq, "time": "2023-11-14T22:13:20.000Z"}
///     text = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
///     h = hashlib.sha256(h + text.encode()).digest()
///     print(h.hex())
/// ```
#[test]
fn a_hash_is_that_of_the_entry_before_and_of_the_canonical_form() {
    let first = Entry {
        seq: 1,
        at: 1_700_000_000_000,
        instance: "0011223344556677".to_owned(),
        actor: "ana\u{2028}\n".to_owned(),
        on_behalf_of: None,
        deed: "log_in".to_owned(),
        about: About::new(),
        person: None,
        detail_hash: None,
        hash: Vec::new(),
        detail: None,
    };
    let hash = first.chained(&[0; 32]);
    assert_eq!(
        hex(&hash),
        "ec38a291b8e9d2270b71de5615fe0e1b9cd699decdfe143d574ad02e4595ac88"
    );
    let detail = Salted {
        salt: vec![0; 16],
        text: r#"{"a":1}"#.to_owned(),
    };
    let second = Entry {
        seq: 2,
        on_behalf_of: Some("Zoë".to_owned()),
        deed: "edit".to_owned(),
        about: About::from([
            ("write".to_owned(), json!(7)),
            ("fields".to_owned(), json!(["customer.email"])),
        ]),
        person: Some(vec![0xab; 32]),
        detail_hash: Some(detail.hash()),
        ..first
    };
    let head = Head {
        seq: 2,
        hash: second.chained(&hash),
    };
    assert_eq!(
        head.to_string(),
        "2:a829ed1ddd5ffe9d110ae25fed14f3ae89adca59f0a04608803f017facc2e754"
    );
    assert_eq!(format!("{:012x}", head.number() as u64), hex(&head.hash[..6]));
}

#[tokio::test]
async fn an_entry_that_was_changed_taken_out_or_moved_is_found_where_it_stood() {
    for (sql, found) in [
        ("update audit set actor = 'kim' where seq = 3", 3),
        ("update audit set at = at + 1 where seq = 3", 3),
        ("update audit set about = '{\"write\":1}' where seq = 3", 3),
        ("update audit set hash = zeroblob(32) where seq = 3", 3),
        ("delete from audit where seq = 3", 3),
        ("delete from audit where seq = 1", 1),
        (
            "delete from audit where seq = 3; update audit set seq = seq - 1 where seq > 3",
            3,
        ),
        (
            "update audit set seq = 99 where seq = 3; update audit set seq = 3 where seq = 4;
             update audit set seq = 4 where seq = 99",
            3,
        ),
        ("insert into audit_details values (3, x'00', '{}')", 3),
    ] {
        let shop = entries(6).await;
        assert_eq!(shop.broken_at(None), None);
        shop.tamper(sql);
        assert_eq!(shop.broken_at(None), Some(found), "{sql}");
    }
}

#[tokio::test]
async fn an_end_that_was_cut_off_or_made_anew_is_found_by_a_head_alone() {
    let shop = entries(6).await;
    let head = shop.outbox.audit_head().unwrap();
    assert_eq!((head.seq, shop.broken_at(Some(&head))), (6, None));
    shop.tamper("delete from audit where seq > 4");
    assert_eq!(shop.broken_at(None), None);
    assert_eq!(shop.broken_at(Some(&head)), Some(5));
    for name in ["kim", "lou"] {
        shop.outbox.write_down(vec![named(name)], 1_000).await.unwrap();
    }
    assert_eq!(shop.broken_at(None), None);
    assert_eq!(shop.broken_at(Some(&head)), Some(6));
    shop.outbox.write_down(vec![named("kim")], 1_000).await.unwrap();
    assert_eq!(shop.broken_at(Some(&head)), Some(6), "more came since");
}

#[test]
fn a_head_is_a_number_and_a_hash_or_its_beginning() {
    for (text, is_one) in [
        ("17:0123456789ab", true),
        ("17:0123456789AB", true),
        (&format!("17:{}", "a".repeat(64)), true),
        (&format!("17:{}", "a".repeat(65)), false),
        ("17:0123456789a", false),
        ("17:0123456789ag", false),
        ("0:0123456789ab", false),
        ("17", false),
        ("", false),
    ] {
        assert_eq!(text.parse::<KnownHead>().is_ok(), is_one, "{text}");
    }
}

#[tokio::test]
async fn a_person_s_values_go_and_the_chain_stays() {
    let shop = shop();
    shop.place("WEB-1", "C-77").await;
    let edit = Action::Edit {
        reference: "WEB-1".to_owned(),
        patch: json!({"customer": {"phone": "0400 777 777"}}),
    };
    let discard = Action::Discard {
        reference: "WEB-1".to_owned(),
        reason: "quetzal called".to_owned(),
    };
    for action in [edit, discard] {
        let done = shop.outbox.deed(Deed::new("kim", action), 2_000).await.unwrap();
        assert!(matches!(done, Done::Changed { .. }));
    }
    let about = |person| shop.desk().audit(0, Some(person), 10).unwrap().len();
    assert_eq!((about("c-77"), about("C-78")), (2, 0));
    shop.tamper("update audit_details set detail = replace(detail, '0400', '0500')");
    assert_eq!(shop.broken_at(None), Some(1), "a detail is not changed unseen");
    shop.tamper("update audit_details set detail = replace(detail, '0500', '0400')");
    let erased = shop
        .outbox
        .erase(Vec::new(), vec!["C-77".to_owned()], 3_000)
        .await;
    assert_eq!(erased.unwrap(), 1);
    let head = shop.outbox.audit_head().unwrap();
    assert_eq!(shop.verified(), Verdict::Whole { head, erased: 2 });
    let detail = shop.outbox.detail("WEB-1").unwrap().found().unwrap();
    assert_eq!(detail.audit[0].changes[0].path, "customer.phone");
    assert_eq!((&detail.audit[1].reason, detail.audit.len()), (&None, 2));
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_done() {
    let shop = shop();
    shop.place("WEB-1", "C-1").await;
    shop.tamper("create trigger full before insert on audit begin select raise(abort, 'full'); end");
    let discard = Action::Discard {
        reference: "WEB-1".to_owned(),
        reason: "called".to_owned(),
    };
    let done = shop.outbox.deed(Deed::new("kim", discard), 2_000).await;
    assert!(matches!(done, Err(OutboxError::Write(_))), "{done:?}");
    let detail = shop.outbox.detail("WEB-1").unwrap().found().unwrap();
    assert_eq!(detail.view.state.name(), "queued");
    shop.place("WEB-2", "C-1").await;
}

#[test]
fn what_versions_before_wrote_down_begins_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/schema/outbox_13.sql");
    let connection = Connection::open(dir.path().join("outbox.db")).unwrap();
    connection
        .execute_batch(&std::fs::read_to_string(sample).unwrap())
        .unwrap();
    drop(connection);
    let desk = Desk::write(dir.path()).unwrap();
    let detail = desk.detail("WEB-2").unwrap().found().unwrap();
    let deeds = detail.audit.iter().map(|deed| {
        let (named, reason) = (deed.on_behalf_of.as_deref(), deed.reason.as_deref());
        (deed.at, deed.action.as_str(), deed.actor.as_str(), named, reason)
    });
    assert!(deeds.eq([
        (1_700_000_000_000, "edit", "ana", Some("bo"), None),
        (
            1_700_000_001_000,
            "discard",
            "kim",
            None,
            Some("the shopper called")
        ),
    ]));
    assert_eq!(detail.audit[0].changes[0].to, "bo@example.com");
    let verdict = desk.verify_audit(None).unwrap();
    assert!(matches!(verdict, Verdict::Whole { head, erased: 0 } if head.seq == 2));
    drop(Desk::write(dir.path()).unwrap());
    assert_eq!(
        desk.audit(0, None, 10).unwrap().len(),
        2,
        "they are taken over once"
    );
}
