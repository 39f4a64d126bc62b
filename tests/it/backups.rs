//! Backups that only the holders of certain keys can read, and what must not lie anywhere in plain.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use storesync::model::clock::Clock;
use storesync::store::backup::{self, Restoring};
use storesync::store::outbox::desk::Desk;
use storesync::store::outbox::{self, audit::Line};

use crate::outbound::configure;
use crate::refusals::Disk;
use crate::state::as_left;
use crate::world::{Sandbox, a_store, eventually, order};

/// Key pairs of age for these tests alone.
const ANA: (&str, &str) = (
    "age1fu8tuu9avzkn92ztjjk00l6qe62ycejuux4ytmg2t3hldl7x7pvqww63ex",
    "AGE-SECRET-KEY-15HKA39AUW6RFT8F5YP57C7HEVFE8K429SDDW477Z7XW8WKREJSWQL7YEKL",
);
const BO: (&str, &str) = (
    "age16jjl45xgvngsn4ysq2wt90nn6vfvgdsff57ax2jg94eejr94hpdskf9tww",
    "AGE-SECRET-KEY-1048V60RNECXALS4HJMYG8VXTK3LNZZ4USE5TZMUA46SX5VYC77ZQQ2RT4L",
);
const CAI: (&str, &str) = (
    "age1ut6w8w5t9jxdpkgwyvw8whaer5vffmzwhyy79t9aqhc22srres8qj5ucl9",
    "AGE-SECRET-KEY-1S3D5A5J7HE3GX5VN3K3UPWP2KTKV6RJ3KJQE9QMJX4GJSKNZHF9QAXJZZY",
);

/// What age encrypts at once, and what it adds to that.
const CHUNK_BYTES: usize = (64 << 10) + 16;

fn path_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A file with an identity, as age-keygen writes it.
fn identity(org: &Sandbox, name: &str, (public, secret): (&str, &str)) -> PathBuf {
    let path = org.dir.path().join(name);
    let text = format!("# created: 2026-11-30T12:00:00Z\n# public key: {public}\n{secret}\n");
    std::fs::write(&path, text).unwrap();
    path
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let bytes = match entry.path().is_dir() {
                true => format!("{:?}", files(&entry.path()).keys()).into_bytes(),
                false => std::fs::read(entry.path()).unwrap(),
            };
            (name, bytes)
        })
        .collect()
}

fn sha256(bytes: &[u8]) -> String {
    let hash = digest(&SHA256, bytes);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// An org that somebody has ordered from, and no daemon any more.
async fn an_org_with_a_customer() -> Sandbox {
    let org = Sandbox::start(&["--products", "20", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let placed = order("WEB-1", &currency, &[(&products[0], 1)]);
    assert_eq!(daemon.place(&store, &placed).await.unwrap().0, 202);
    daemon
        .until(&format!("/v1/stores/{store}/orders/WEB-1"), &["confirmed"])
        .await;
    daemon.running.stop();
    org
}

const MAIL: &str = "ana@example.com";

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_to_recipients_is_opened_by_each_of_them_and_by_nobody_else() {
    let org = an_org_with_a_customer().await;
    configure(&org, &format!("[backup]\nrecipients = [\"{}\"]\n", ANA.0));
    let to = org.dir.path().join("backup");
    let to = path_of(&to);
    let (exit, made, said) = org.verb(&["backup", to, "--recipient", BO.0, "--json"]).await;
    assert_eq!(exit, 0, "{said}");
    let made: Value = serde_json::from_str(&made).unwrap();
    let names = ["cache.db.age", "journal.db.age", "manifest.json", "outbox.db.age"];
    let kept = files(Path::new(to));
    assert_eq!(kept.keys().collect::<Vec<_>>(), names);
    for (name, bytes) in &kept {
        assert!(!holds(bytes, "SQLite format 3") && !holds(bytes, MAIL), "{name}");
        let told = made["files"].as_array().unwrap().iter();
        let hash = told.clone().find(|file| file["name"] == **name);
        let hash = hash.map_or(&made["manifest_sha256"], |file| &file["sha256"]);
        assert_eq!(*hash, sha256(bytes), "{name}");
    }
    // In the file or in its log.
    let state = files(&org.state());
    assert!(state.values().any(|bytes| holds(bytes, MAIL)));
    assert!(!state.keys().any(|name| name.contains("scratch")));

    let keys = [("ana", ANA), ("bo", BO), ("cai", CAI)].map(|(name, key)| identity(&org, name, key));
    let [ana, bo, cai] = keys.each_ref().map(|path| path_of(path));
    for (arguments, exit, told) in [
        (&["--check"][..], 0, "cache.db.age as it was made, and not opened"),
        (
            &["--check", "--identity", ana],
            0,
            "outbox.db.age whole, and opened",
        ),
        (
            &["--check", "--identity", bo],
            0,
            "outbox.db.age whole, and opened",
        ),
        (&["--check", "--identity", cai], 64, "encrypted to others"),
        (&["--replace", "--identity", cai], 64, "encrypted to others"),
        (&["--replace"], 64, "give the file with the identity"),
        (&["--replace", "--identity", "/nowhere/key"], 64, "/nowhere/key"),
        (
            &["--replace", "--identity", path_of(&org.config())],
            64,
            "has no identity of age",
        ),
        (&["--identity", ana], 64, "is there already"),
    ] {
        let (ended, printed, said) = org.verb(&[&["restore", to], arguments].concat()).await;
        assert_eq!(ended, exit, "{arguments:?}: {printed}{said}");
        assert!((printed + &said).contains(told), "{arguments:?}: {said}");
    }
    // A backup that nobody has opened is not looked through.
    let (exit, _, said) = org.verb(&["person", MAIL, "--backup", to]).await;
    assert!(exit == 64 && said.contains("is encrypted: restore it"), "{said}");

    std::fs::remove_dir_all(org.state()).unwrap();
    let kim = [("SUDO_USER", "kim")];
    let (exit, told, said) = org.verb_with(&kim, &["restore", to, "--identity", bo]).await;
    assert!(
        exit == 0 && told.contains("Take the identity off"),
        "{told}{said}"
    );
    is_told_by_the_audit(&org, to, &kept["manifest.json"]).await;
    // What a killed process left of an opened copy is gone with the start.
    let left = org.state().join(".storesync-scratch-left");
    std::fs::create_dir(&left).unwrap();
    std::fs::write(left.join("cache.db"), MAIL).unwrap();
    let daemon = org.daemon().await;
    daemon.live().await;
    assert!(!left.exists());
    let shown = daemon.admin_get("/api/orders/WEB-1").await;
    assert_eq!(shown["state"], "confirmed", "{shown}");
}

/// Who put which backup back, in the chain that came with it.
async fn is_told_by_the_audit(org: &Sandbox, from: &str, manifest: &[u8]) {
    let (_, listed, _) = org.verb(&["audit", "list", "--json"]).await;
    let last: Value = serde_json::from_str(listed.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["deed"], &last["actor"]),
        (&json!("restore"), &json!("kim (command line)"))
    );
    let about = &last["about"];
    let told: Value = serde_json::from_slice(manifest).unwrap();
    assert_eq!(about["backup"], from, "{about}");
    assert_eq!(about["manifest_sha256"], sha256(manifest), "{about}");
    assert_eq!(about["made_at"], told["made_at"], "{about}");
    let (exit, ..) = org.verb(&["audit", "verify"]).await;
    assert_eq!(exit, 0);
}

/// Where age's head ends and the first part of what is encrypted begins.
fn body(sealed: &[u8]) -> usize {
    let mac = sealed.windows(5).position(|window| window == b"\n--- ").unwrap();
    let line = sealed[mac + 1..].iter().position(|byte| *byte == b'\n').unwrap();
    const NONCE_BYTES: usize = 16;
    mac + 1 + line + 1 + NONCE_BYTES
}

/// A backup in which a file has these bytes, with a manifest that fits them or as it was.
fn with(dir: &Path, kept: &BTreeMap<String, Vec<u8>>, changed: (&str, &[u8]), fits: bool) {
    let (name, bytes) = changed;
    let mut manifest: Value = serde_json::from_slice(&kept["manifest.json"]).unwrap();
    for file in manifest["files"].as_array_mut().unwrap() {
        if fits && file["name"] == name {
            file["bytes"] = json!(bytes.len());
            file["sha256"] = json!(sha256(bytes));
        }
    }
    std::fs::create_dir_all(dir).unwrap();
    for (kept, whole) in kept {
        let bytes = if kept == name { bytes } else { whole };
        std::fs::write(dir.join(kept), bytes).unwrap();
    }
    std::fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_or_changed_is_refused_before_anything_is_touched() {
    let org = an_org_with_a_customer().await;
    let to = org.dir.path().join("backup");
    let (exit, _, said) = org.verb(&["backup", path_of(&to), "--recipient", ANA.0]).await;
    assert_eq!(exit, 0, "{said}");
    let kept = files(&to);
    let name = "cache.db.age";
    let whole = &kept[name];
    let first = body(whole) + CHUNK_BYTES;
    assert!(whole.len() > first + CHUNK_BYTES, "{} bytes", whole.len());
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let two = first..first + CHUNK_BYTES;
    let one_part_twice = [&whole[..first], &whole[two.clone()], &whole[two.start..]].concat();
    let cases: [(&str, Vec<u8>); 9] = [
        ("without its last byte", whole[..whole.len() - 1].to_vec()),
        ("cut off between two parts", whole[..first].to_vec()),
        ("cut off in its head", whole[..20].to_vec()),
        ("empty", Vec::new()),
        ("a byte more", [&whole[..], &[0]].concat()),
        ("another head", flipped(body(whole) - 30)),
        ("another body", flipped(first + 9)),
        ("a part twice", one_part_twice),
        ("another file of the backup", kept["journal.db.age"].clone()),
    ];
    let key = identity(&org, "ana", ANA);
    let before = files(&org.state());
    let nowhere = org.dir.path().join("nowhere");
    let fresh = [("STORESYNC__STATE__DIR", path_of(&nowhere))];
    for (number, (what, bytes)) in cases.iter().enumerate() {
        for fits in [false, true] {
            let dir = org.dir.path().join(format!("changed-{number}-{fits}"));
            with(&dir, &kept, (name, bytes), fits);
            let restore = ["restore", path_of(&dir), "--identity", path_of(&key), "--replace"];
            let (exit, told, said) = org.verb(&restore).await;
            assert_eq!(exit, 1, "{what}, {fits}: {told}{said}");
            assert!(said.contains("cache.db"), "{what}, {fits}: {said}");
            let after = files(&org.state());
            let is_aside = |name: &String| name.ends_with(".before-restore");
            assert!(!after.keys().any(is_aside), "{what}, {fits}");
            // Another file that is whole is found out once it is opened: a lock and nothing else may be new.
            for (name, bytes) in &before {
                assert!(after[name] == *bytes, "{what}, {fits}: {name} is touched");
            }
            if *what != "another file of the backup" {
                let (exit, ..) = org.verb_with(&fresh, &restore).await;
                assert!(exit == 1 && !nowhere.exists(), "{what}, {fits}");
            }
            let (checked, ..) = org.verb(&["restore", path_of(&dir), "--check"]).await;
            assert_eq!(checked, i32::from(!fits), "{what}: the manifest alone");
        }
    }
    let restore = ["restore", path_of(&to), "--identity", path_of(&key)];
    let (exit, _, said) = org.verb_with(&fresh, &restore).await;
    assert_eq!(exit, 0, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tool_and_this_program_open_each_other_s_files() {
    let is_there = Command::new("age")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if is_there.is_err() {
        eprintln!("skipped: age is not installed, apt-get install age");
        return;
    }
    let org = an_org_with_a_customer().await;
    let [ours, plain, theirs] = ["ours", "plain", "theirs"].map(|name| org.dir.path().join(name));
    let sealed = [
        "backup",
        path_of(&ours),
        "--recipient",
        ANA.0,
        "--recipient",
        BO.0,
    ];
    assert_eq!(org.verb(&sealed).await.0, 0);
    assert_eq!(org.verb(&["backup", path_of(&plain)]).await.0, 0);
    let keys = [("ana", ANA), ("bo", BO)].map(|(name, key)| identity(&org, name, key));
    for key in &keys {
        let opened = Command::new("age")
            .args(["-d", "-i", path_of(key)])
            .arg(ours.join("outbox.db.age"))
            .output()
            .unwrap();
        assert!(
            opened.status.success(),
            "{}",
            String::from_utf8_lossy(&opened.stderr)
        );
        assert!(opened.stdout == std::fs::read(plain.join("outbox.db")).unwrap());
    }
    std::fs::create_dir(&theirs).unwrap();
    let text = std::fs::read(plain.join("manifest.json")).unwrap();
    let mut manifest: Value = serde_json::from_slice(&text).unwrap();
    for file in manifest["files"].as_array_mut().unwrap() {
        let name = file["name"].as_str().unwrap().to_owned();
        let to = theirs.join(format!("{name}.age"));
        let status = Command::new("age")
            .args(["-r", ANA.0, "-r", BO.0, "-o", path_of(&to)])
            .arg(plain.join(&name))
            .status();
        assert!(status.unwrap().success());
        let bytes = std::fs::read(&to).unwrap();
        *file = json!({
            "name": format!("{name}.age"), "schema": file["schema"], "bytes": bytes.len(), "sha256": sha256(&bytes),
        });
    }
    std::fs::write(theirs.join("manifest.json"), manifest.to_string()).unwrap();
    std::fs::remove_dir_all(org.state()).unwrap();
    let restore = ["restore", path_of(&theirs), "--identity", path_of(&keys[1])];
    let (exit, _, said) = org.verb(&restore).await;
    assert_eq!(exit, 0, "{said}");
    let daemon = org.daemon().await;
    daemon.live().await;
    let shown = daemon.admin_get("/api/orders/WEB-1").await;
    assert_eq!(shown["state"], "confirmed", "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_no_recipient_and_is_not_told_again() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    daemon.running.stop();
    let to = org.dir.path().join("backup");
    for (key, told) in [
        (ANA.1, "take it off this machine"),
        (&ANA.1.to_lowercase(), "take it off this machine"),
        (&ANA.0[..40], "is no recipient"),
        ("age1yubikey1qwerty", "is no recipient"),
        ("ssh-ed25519 AAAA", "is no recipient"),
        ("a passphrase", "is no recipient"),
    ] {
        let (exit, printed, said) = org.verb(&["backup", path_of(&to), "--recipient", key]).await;
        assert!(exit == 64 && said.contains(told), "{key}: {exit} {said}");
        let text = (printed + &said).to_uppercase();
        assert!(!text.contains(&ANA.1[..30]), "{said}");
        assert!(!to.exists());
    }
    for (key, told) in [
        (ANA.1, "take it off this machine"),
        ("a passphrase", "begin with age1"),
    ] {
        let named = [("STORESYNC__BACKUP__RECIPIENTS", key)];
        let (exit, said) = org.refused_daemon(&named);
        assert!(exit == Some(78) && said.contains(told), "{key}: {exit:?} {said}");
        assert!(!said.contains(&ANA.1[..30]), "{said}");
    }
    // What is no key, though it begins like one, is told by a check and ends no daemon.
    let named = [("STORESYNC__BACKUP__RECIPIENTS", "age1nonsense")];
    let (exit, told, _) = org.verb_with(&named, &["check", "--offline"]).await;
    assert!(
        exit == 1 && told.contains("age1nonsense is no recipient"),
        "{told}"
    );
}

/// The verdict and the words of a line of the check.
async fn line(org: &Sandbox, variables: &[(&str, &str)], subject: &str) -> Option<(String, String)> {
    let (_, printed, said) = org.verb_with(variables, &["check", "--offline", "--json"]).await;
    let report: Value = serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{printed}{said}"));
    let lines = report["lines"].as_array().unwrap();
    let line = lines.iter().find(|line| line["subject"] == subject)?;
    let told = |name: &str| line[name].as_str().unwrap().to_owned();
    Some((told("verdict"), told("told")))
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_must_be_encrypted_no_copy_is_made_in_plain() {
    let org = an_org_with_a_customer().await;
    configure(&org, "");
    let plain = std::fs::read_to_string(org.config()).unwrap();
    let set = |state: &str, more: &str| {
        let text = plain.replace("[state]", &format!("[state]\n{state}"));
        std::fs::write(org.config(), format!("{text}\n{more}\n")).unwrap();
    };
    // In memory, and another volume than the one that is stated to be encrypted.
    let disk = Disk::of(&org.dir.path().join("disk"), "64m");
    let there = |name: &str| disk.path.join(name);
    let backup = async |name: &str, more: &[&str]| {
        let to = there(name);
        let (exit, _, said) = org.verb(&[&["backup", path_of(&to)], more].concat()).await;
        (exit, said, to.exists())
    };
    set("", "");
    assert_eq!(backup("free", &[]).await.0, 0);

    let stated = "require_encrypted = true\nencryption = \"volume\"";
    set(stated, "");
    let (exit, said, is_there) = backup("plain", &[]).await;
    assert!(exit == 64 && !is_there, "{said}");
    for word in ["not seen to be encrypted", "--recipient", "[backup] recipients"] {
        assert!(said.contains(word), "{said}");
    }
    assert_eq!(backup("sealed", &["--recipient", ANA.0]).await.0, 0);
    let again = there("again.db");
    let (exit, _, said) = org.verb(&["replay", "--into", path_of(&again)]).await;
    assert!(
        exit == 64 && said.contains("not seen to be encrypted") && !again.exists(),
        "{said}"
    );
    // On the volume that is stated to be.
    let beside = org.dir.path().join("beside");
    assert_eq!(org.verb(&["backup", path_of(&beside)]).await.0, 0);
    let again = org.dir.path().join("again.db");
    assert_eq!(org.verb(&["replay", "--into", path_of(&again)]).await.0, 0);

    configured_folders_are_looked_at(&org, &disk, &|more| set(stated, more)).await;
    // A backup is not put back in plain either; what this runs on may be encrypted itself.
    set("require_encrypted = true", "");
    let seen = line(&org, &[], "encryption at rest").await.unwrap();
    let (exit, _, said) = org.verb(&["restore", path_of(&beside), "--replace"]).await;
    assert_eq!(exit == 64, seen.0 == "fail", "{said}");
}

async fn configured_folders_are_looked_at(org: &Sandbox, disk: &Disk, set: &impl Fn(&str)) {
    let dir = disk.path.join("all");
    let named = format!("[backup]\ndir = \"{}\"\n", dir.display());
    set(&named);
    let told = line(org, &[], "[backup] dir").await.unwrap();
    assert_eq!(told.0, "fail", "{}", told.1);
    let (exit, _, said) = org.verb(&["backup"]).await;
    assert!(exit == 64 && !dir.exists(), "{said}");

    set(&format!("{named}encryption = \"volume\"\n"));
    let told = line(org, &[], "[backup] dir").await.unwrap();
    assert!(told.0 == "ok" && told.1.contains("stated"), "{}", told.1);
    let (exit, made, said) = org.verb(&["backup", "--json"]).await;
    assert_eq!(exit, 0, "{said}");
    let made: Value = serde_json::from_str(&made).unwrap();
    let folder = made["dir"].as_str().unwrap();
    assert!(
        folder.starts_with(path_of(&dir)) && !folder.contains(':'),
        "{folder}"
    );
    assert!(Path::new(folder).join("outbox.db").exists());

    set(&format!("{named}recipients = [\"{}\", \"{}\"]\n", ANA.0, BO.0));
    let told = line(org, &[], "[backup] recipients").await.unwrap();
    assert_eq!(told, ("ok".to_owned(), "backups are encrypted to 2".to_owned()));
    let (exit, told, said) = org.verb(&["backup"]).await;
    assert!(
        exit == 0 && told.contains("encrypted to 2 recipients"),
        "{told}{said}"
    );
    assert!(told.contains(path_of(&dir)), "{told}");

    set("");
    let (exit, _, said) = org.verb(&["backup"]).await;
    assert!(exit == 64 && said.contains("no folder is named"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_beside_an_encrypted_directory_is_looked_at() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let here = org.dir.path().join("tmp");
    std::fs::create_dir(&here).unwrap();
    let disk = Disk::of(&org.dir.path().join("disk"), "64m");
    let state = disk.path.join("state");
    let on_disk = ("STORESYNC__STATE__DIR", path_of(&state));
    let stated = ("STORESYNC__STATE__ENCRYPTION", "volume");
    let [in_memory, elsewhere] = [&disk.path, &here].map(|dir| ("SQLITE_TMPDIR", path_of(dir)));
    let is_seen = line(&org, &[], "encryption at rest").await.unwrap().0 == "ok";
    if !is_seen {
        let asked = [on_disk, elsewhere];
        assert_eq!(
            line(&org, &asked, "temporary files").await,
            None,
            "all is in plain"
        );
        assert_eq!(line(&org, &asked, "swap").await, None);
        let (verdict, told) = line(&org, &[on_disk, stated, elsewhere], "temporary files")
            .await
            .unwrap();
        assert!(verdict == "warn" && told.contains(path_of(&here)), "{told}");
    }
    let (verdict, told) = line(&org, &[on_disk, stated, in_memory], "temporary files")
        .await
        .unwrap();
    assert!(verdict == "ok" && told.contains("in memory"), "{told}");
    let (verdict, told) = line(&org, &[stated, elsewhere], "temporary files").await.unwrap();
    assert_eq!(verdict, "ok", "the stated volume: {told}");
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    let (verdict, told) = line(&org, &[on_disk, stated], "swap").await.unwrap();
    assert!(verdict == "ok" || swaps.lines().count() > 1, "{told}");

    let required = ("STORESYNC__STATE__REQUIRE_ENCRYPTED", "true");
    let daemon = org.daemon_with(&[on_disk, stated, required, elsewhere]).await;
    let sentence = format!("SQLite may write into {}", here.display());
    if !is_seen {
        eventually("it is logged", async || {
            daemon.running.said().contains(&sentence).then_some(())
        })
        .await;
    }
}

/// An outbox of a version before is brought up to date for the entry, and what it was is kept.
#[test]
fn a_backup_of_a_version_before_has_its_entry_too() {
    let [state, to, target] = [0; 3].map(|_| tempfile::tempdir().unwrap());
    as_left(state.path(), outbox::KIND, 3);
    backup::make(state.path(), to.path(), "2026-11-30T12:00:00Z".to_owned(), None).unwrap();
    let restoring = Restoring {
        from: to.path(),
        replace: false,
        identities: None,
        line: Line::new("kim", "restore"),
        now: Clock::System.now(),
    };
    backup::restore(target.path(), restoring).unwrap();
    let names = files(target.path()).into_keys().collect::<Vec<_>>();
    assert_eq!(names, ["lock", "outbox.db", "outbox.db.schema-3"]);
    let desk = Desk::read(target.path()).unwrap();
    let entries = desk.audit(0, None, 10).unwrap();
    assert_eq!(entries.last().unwrap().deed, "restore");
}
