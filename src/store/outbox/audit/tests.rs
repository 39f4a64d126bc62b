//! The chain, with hashes that were worked out in another way, and what is found of changes to it.

use rusqlite::Connection;

use super::*;
use crate::store::outbox;
use crate::store::outbox::audit::removal::{Removed, Step};
use crate::store::outbox::audit::verify::Whole;
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

    fn verified(&self) -> Whole {
        match self.desk().verify_audit(None).unwrap() {
            Verdict::Whole(whole) => whole,
            broken => panic!("{broken:?}"),
        }
    }

    /// The number of the first entry that is found not to be as it was written.
    fn broken_at(&self, known: Option<&Head>) -> Option<i64> {
        let known = known.map(|head| head.to_string().parse().unwrap());
        match self.desk().verify_audit(known.as_ref()).unwrap() {
            Verdict::Whole(_) => None,
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
/// sha = lambda text: hashlib.sha256(bytes(16) + text.encode()).hexdigest()
/// for seq, about, deed, detail, for_, person in [
///     (1, {}, "log_in", None, None, None),
///     (2, {"fields": ["customer.email"], "write": 7}, "edit", sha('{"a":1}'), sha("Zo\u00eb"), "ab" * 32),
/// ]:
///     entry = {"about": about, "actor": "ana\u2028\n", "deed": deed, "detail_hash": detail, "instance": "0011223344556677",
///              "on_behalf_of": for_, "person": person, "seq": seq, "time": "2023-11-14T22:13:20.000Z"}
///     if person:
///         entry["person_key"] = "cd" * 8
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
        person_key: None,
        detail_hash: None,
        hash: Vec::new(),
        detail: None,
        named: None,
    };
    let hash = first.chained(&[0; 32]);
    assert_eq!(
        hex(&hash),
        "ec38a291b8e9d2270b71de5615fe0e1b9cd699decdfe143d574ad02e4595ac88"
    );
    let salted = |text: &str| Salted {
        salt: vec![0; 16],
        text: text.to_owned(),
    };
    let second = Entry {
        seq: 2,
        on_behalf_of: Some(salted("Zoë").hash()),
        deed: "edit".to_owned(),
        about: About::from([
            ("write".to_owned(), json!(7)),
            ("fields".to_owned(), json!(["customer.email"])),
        ]),
        person: Some(vec![0xab; 32]),
        person_key: Some(vec![0xcd; 8]),
        detail_hash: Some(salted(r#"{"a":1}"#).hash()),
        ..first
    };
    let head = Head {
        seq: 2,
        hash: second.chained(&hash),
    };
    assert_eq!(
        head.to_string(),
        "2:e643ebbf53e67b3feb7cc7b3445097c81503a14fd4ae11ab036b1339d143890d"
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
        ("insert into audit_names values (3, x'00', 'kim')", 3),
        ("update audit set person_key = x'00' where seq = 3", 3),
        // As if they were old.
        (
            "insert into audit_removed select seq, at, hash from audit where seq = 3; delete from audit where seq <= 3",
            3,
        ),
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
    let whole = shop.verified();
    assert_eq!((whole.head, whole.erased, whole.erased_names), (head, 2, 0));
    let detail = shop.outbox.detail("WEB-1").unwrap().found().unwrap();
    assert_eq!(detail.audit[0].changes[0].path, "customer.phone");
    assert_eq!((&detail.audit[1].reason, detail.audit.len()), (&None, 2));
}

/// Who names whom in an edit of a write.
async fn edited_for(shop: &Shop, reference: &str, named: &str) {
    let action = Action::Edit {
        reference: reference.to_owned(),
        patch: json!({"customer": {"phone": format!("0400 {named}")}}),
    };
    let deed = Deed {
        on_behalf_of: Some(named.to_owned()),
        ..Deed::new("kim", action)
    };
    let done = shop.outbox.deed(deed, 2_000).await.unwrap();
    assert!(matches!(done, Done::Changed { .. }), "{done:?}");
}

#[tokio::test]
async fn whom_an_actor_names_goes_with_that_person_alone() {
    let shop = shop();
    shop.place("WEB-1", "C-77").await;
    shop.place("WEB-2", "C-2").await;
    let rename = Action::Edit {
        reference: "WEB-1".to_owned(),
        patch: json!({"customer": {"first_name": "Ana", "last_name": "Quetzal"}}),
    };
    shop.outbox.deed(Deed::new("kim", rename), 2_000).await.unwrap();
    for (reference, named) in [
        ("WEB-1", "lou"),
        ("WEB-1", "Ms Quetzal"),
        ("WEB-2", "for C-77, as told"),
        ("WEB-2", "Quetzal, Ana"),
        ("WEB-2", "C-770"),
    ] {
        edited_for(&shop, reference, named).await;
    }
    let named = || {
        let entries = shop.desk().audit(1, None, 5).unwrap();
        let named = entries
            .into_iter()
            .map(|entry| entry.named.map(|named| named.text));
        named
            .map(Option::unwrap_or_default)
            .collect::<Vec<String>>()
            .join("|")
    };
    let before = "lou|Ms Quetzal|for C-77, as told|Quetzal, Ana|C-770";
    assert_eq!(named(), before);
    shop.tamper("update audit_names set name = 'mallory' where seq = 2");
    assert_eq!(shop.broken_at(None), Some(2), "a name is not changed unseen");
    shop.tamper("update audit_names set name = 'lou' where seq = 2");
    assert_eq!((named().as_str(), shop.broken_at(None)), (before, None));
    let erased = shop.outbox.erase(Vec::new(), vec!["C-77".to_owned()], 3_000);
    erased.await.unwrap();
    // The write waits still: what was said of it goes with what it holds, of others at once.
    assert_eq!(named(), "lou|Ms Quetzal|||C-770");
    let discard = Action::Discard {
        reference: "WEB-1".to_owned(),
        reason: "gone".to_owned(),
    };
    shop.outbox.deed(Deed::new("kim", discard), 3_000).await.unwrap();
    let bounds = outbox::Bounds {
        finished_before: 0,
        bytes_max: u64::MAX,
    };
    shop.outbox.trim(bounds, 4_000).await.unwrap();
    assert_eq!(named(), "lou||||C-770");
    assert_eq!(shop.verified().erased_names, 3);
}

#[tokio::test]
async fn what_is_old_is_removed_and_the_rest_is_chained_to_it() {
    let shop = entries(6).await;
    let first = shop.outbox.audit_head().unwrap();
    shop.outbox.write_down(vec![named("late")], 5_000).await.unwrap();
    let shorten = async |before, known| shop.outbox.shorten_audit(before, known, 6_000).await.unwrap();
    assert_eq!(shorten(1_000, 7).await, Step::Nothing, "nothing is older");
    let step = shorten(2_000, 4).await;
    assert!(
        matches!(&step, Step::Done { count: 4, last, is_full: false } if last.seq == 4),
        "no more than is known: {step:?}"
    );
    let removed = |seq| shop.verified().removed.filter(|removed| removed.head.seq == seq);
    assert!(matches!(removed(4), Some(Removed { at: 1_000, .. })));
    assert_eq!(shop.broken_at(Some(&first)), None, "a head behind it is compared");
    assert!(matches!(shorten(2_000, 8).await, Step::Done { count: 2, .. }));
    let last = removed(6).unwrap().head;
    assert_eq!((last.clone(), shop.broken_at(Some(&last))), (first.clone(), None));
    assert_eq!(shorten(2_000, 9).await, Step::Nothing);
    let listed = shop.desk().audit(0, None, 10).unwrap();
    let deeds: Vec<(i64, &str)> = listed.iter().map(|of| (of.seq, of.deed.as_str())).collect();
    assert_eq!(deeds, [(7, "log_in"), (8, "remove"), (9, "remove")]);
    let other = Head {
        hash: [7; 32],
        ..first
    };
    assert_eq!(shop.broken_at(Some(&other)), Some(6));
    let before = Head { seq: 3, ..other };
    assert_eq!(
        shop.broken_at(Some(&before)),
        Some(3),
        "it cannot be compared any more"
    );
    // All that is left gives no way but to the last.
    assert!(matches!(shorten(9_000, 99).await, Step::Done { count: 2, .. }));
    assert_eq!(shop.verified().head.seq, 10);
    for (sql, found) in [
        ("update audit_removed set hash = zeroblob(32)", 9),
        ("update audit_removed set seq = 7", 8),
        ("delete from audit_removed", 1),
    ] {
        shop.tamper(&format!(
            "create table kept as select * from audit_removed; {sql}"
        ));
        assert_eq!(shop.broken_at(None), Some(found), "{sql}");
        shop.tamper(
            "delete from audit_removed; insert into audit_removed select * from kept; drop table kept",
        );
    }
}

#[tokio::test]
async fn so_many_are_removed_at_once_and_no_more() {
    let shop = shop();
    let lines = (0..1_007).map(|number| named(&format!("ana{number}")));
    shop.outbox.write_down(lines.collect(), 1_000).await.unwrap();
    let shorten = async || shop.outbox.shorten_audit(2_000, 2_000, 6_000).await.unwrap();
    let counted = |step: Step| match step {
        Step::Done { count, is_full, .. } => Some((count, is_full)),
        _ => None,
    };
    assert_eq!(counted(shorten().await), Some((1_000, true)));
    assert_eq!(counted(shorten().await), Some((7, false)));
    assert_eq!(counted(shorten().await), None);
    assert_eq!(shop.verified().removed.unwrap().head.seq, 1_007);
}

#[tokio::test]
async fn what_somebody_changed_is_not_removed() {
    let shop = entries(6).await;
    shop.tamper("update audit set actor = 'kim' where seq = 3");
    let shorten = async || shop.outbox.shorten_audit(2_000, 6, 6_000).await.unwrap();
    assert!(matches!(shorten().await, Step::Done { count: 2, .. }));
    assert!(matches!(shorten().await, Step::Broken { seq: 3, .. }));
    assert_eq!(shop.broken_at(None), Some(3));
}

#[tokio::test]
async fn another_key_is_found_where_it_begins_and_told_once() {
    let shop = shop();
    shop.place("WEB-1", "C-1").await;
    edited_for(&shop, "WEB-1", "one").await;
    assert_eq!(shop.verified().other_keys, Vec::<i64>::new());
    assert!(!shop.verified().is_key_replaced);
    shop.tamper("update audit_key set key = zeroblob(32)");
    assert!(shop.verified().is_key_replaced);
    edited_for(&shop, "WEB-1", "two").await;
    let whole = shop.verified();
    assert_eq!((&whole.other_keys[..], whole.is_key_replaced), (&[2][..], false));
    let about = |shop: &Shop| shop.desk().audit(0, Some("C-1"), 10).unwrap().len();
    assert_eq!(about(&shop), 1);
    // The next start: the chain says so once, and persons are hashed on.
    let mut connection = Connection::open(shop.dir.path().join("outbox.db")).unwrap();
    let look = |connection: &mut Connection| key::look(connection, 3_000).unwrap();
    for _ in 0..2 {
        look(&mut connection);
        assert_eq!(
            (shop.verified().head.seq, shop.verified().other_keys),
            (3, vec![2])
        );
    }
    let told = shop.desk().audit(2, None, 10).unwrap();
    assert_eq!(
        (told[0].deed.as_str(), told[0].actor.as_str()),
        ("new_key", "storesync")
    );
    // Without any another is made, so that deeds go on.
    shop.tamper("delete from audit_key");
    assert!(shop.verified().is_key_replaced);
    assert_eq!(about(&shop), 0);
    edited_for(&shop, "WEB-1", "three").await;
    assert_eq!(about(&shop), 1);
    for _ in 0..2 {
        look(&mut connection);
        let whole = shop.verified();
        assert_eq!((whole.head.seq, &whole.other_keys[..]), (5, &[2, 4][..]));
        assert!(!whole.is_key_replaced);
    }
}

/// The outbox as schema 14 left it, with a change to it.
fn of_schema_14(sql: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/schema/outbox_14.sql");
    let connection = Connection::open(dir.path().join("outbox.db")).unwrap();
    let sample = std::fs::read_to_string(sample).unwrap();
    connection.execute_batch(&(sample + sql)).unwrap();
    dir
}

#[test]
fn whom_actors_named_before_lies_apart_and_the_chain_is_made_anew_once() {
    let dir = of_schema_14("");
    for _ in 0..2 {
        let desk = Desk::write(dir.path()).unwrap();
        let Verdict::Whole(whole) = desk.verify_audit(None).unwrap() else {
            panic!("it is whole");
        };
        assert_eq!((whole.head.seq, whole.erased_names), (3, 0));
        let entries = desk.audit(0, None, 10).unwrap();
        assert_eq!(entries[0].named.as_ref().unwrap().text, "bo");
        assert_eq!(entries[2].deed, "renew");
        let was = entries[2].about["was"].as_str().unwrap();
        assert!(was.starts_with("2:ed88b444e098"), "{was}");
    }
    for (sql, found) in [
        ("update audit set actor = 'lou' where seq = 1", 1),
        ("update audit set actor = 'lou' where seq = 2", 2),
        ("update audit set on_behalf_of = 'lou' where seq = 2", 2),
    ] {
        let dir = of_schema_14(sql);
        let verdict = Desk::write(dir.path()).unwrap().verify_audit(None).unwrap();
        assert!(
            matches!(verdict, Verdict::Broken { seq, .. } if seq == found),
            "{sql}: {verdict:?}"
        );
        let verdict = Desk::write(dir.path()).unwrap().verify_audit(None).unwrap();
        assert!(
            matches!(verdict, Verdict::Broken { seq, .. } if seq == found),
            "{sql}: {verdict:?}"
        );
    }
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
    assert!(matches!(verdict, Verdict::Whole(Whole { head, erased: 0, .. }) if head.seq == 2));
    drop(Desk::write(dir.path()).unwrap());
    assert_eq!(
        desk.audit(0, None, 10).unwrap().len(),
        2,
        "they are taken over once"
    );
}
