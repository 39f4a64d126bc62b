//! What is held of a person, asked of a state directory alone: what storefronts have sent, files that are none, and who is no
//! person.

use std::path::Path;
use std::process::Stdio;

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::world::storesync;

const MAIL: &str = "ana.quill+shop@mail.example";
const LEAD: &str = "00QSb0000000002MAA";

/// A state directory as a daemon makes it.
fn state() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    drop(storesync::store::cache::Cache::open(state).unwrap());
    drop(storesync::store::journal::Journal::open(state).unwrap());
    drop(storesync::store::journal::index::Index::open(state).unwrap());
    drop(storesync::store::outbox::open(state, 0).unwrap());
    dir
}

fn write(state: &Path, file: &str, sql: &str) {
    let connection = Connection::open(state.join(file)).unwrap();
    connection.execute_batch(sql).unwrap();
}

/// The exit status, and what was printed and said. A verb that hangs ends by itself, with 124.
fn person(state: &Path, arguments: &[&str]) -> (i32, String, String) {
    let verb = storesync();
    let mut command = std::process::Command::new("timeout");
    command
        .arg("50")
        .arg(verb.get_program())
        .arg("person")
        .args(arguments);
    command.arg("--state").arg(state).env_remove("STORESYNC_LOG");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// A lead that a storefront has sent, and no mirror of it.
fn send_lead(state: &Path) {
    let sql = format!(
        r#"insert into writes (sequence, kind, external_id, body_hash, store_id, lane, priority, state, attempt, salesforce_id,
               accepted_at, updated_at)
           values (1, 'lead', 'LEAD-ANA-1', zeroblob(32), 'a00000000000001AAA', 'lead-ana-1', 2, 'sent', 1, '{LEAD}', 0, 0);
           insert into bodies (write_sequence, body) values (1, '{{"external_id":"LEAD-ANA-1","store_id":"a00000000000001AAA",
               "values":{{"email":"Ana.Quill+Shop@MAIL.example","first_name":"Ana","last_name":"Quill","message":"Call Ana"}}}}');
           insert into exchanges (write_sequence, attempt, request, response) values (1, 1,
               '[{{"method":"POST","url":"/Lead","body":{{"External_ID__c":"LEAD-ANA-1","Email":"{MAIL}","LastName":"Quill"}}}}]',
               '[{{"body":{{"id":"{LEAD}","success":true}}}}]');
           insert into persons (record_id, write_sequence) values ('{LEAD}', 1)"#
    );
    write(state, "outbox.db", &sql);
}

fn tables(told: &str) -> Vec<String> {
    let told: Value = serde_json::from_str(told).unwrap();
    let held = told["held"].as_array().unwrap().iter();
    held.map(|group| group["table"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_lead_that_a_storefront_sent_is_found_by_its_id_and_by_its_address() {
    let state = state();
    send_lead(state.path());
    let expected = ["bodies", "exchanges", "persons", "writes"];
    for who in [&["Lead", LEAD][..], &["Lead", &LEAD[..15]], &[MAIL]] {
        let (exit, told, said) = person(state.path(), &[who, &["--json"]].concat());
        assert_eq!(exit, 0, "{said}");
        assert_eq!(tables(&told), expected, "{who:?}");
        for token in [MAIL, LEAD, "lead-ana-1"] {
            assert!(told.contains(token), "{token} is not in {told}");
        }
    }
    let (exit, export, said) = person(state.path(), &["Lead", LEAD, "--export", "-"]);
    assert_eq!(exit, 0, "{said}");
    assert!(
        export.contains("Call Ana") && export.contains("\"LastName\":\"Quill\""),
        "{export}"
    );
    assert!(!export.contains("another person"), "{export}");
}

#[test]
fn an_empty_file_beside_a_log_is_damage_and_the_log_stays() {
    for kept in ["journal.db", "outbox.db", "cache.db"] {
        let state = state();
        let log = state.path().join(format!("{kept}-wal"));
        std::fs::write(state.path().join(kept), "").unwrap();
        std::fs::write(&log, vec![7; 9_000]).unwrap();
        for more in [&["--erased"][..], &[], &["--export", "-"]] {
            let (exit, told, said) = person(state.path(), &[&[MAIL], more].concat());
            assert_eq!((exit, told), (75, String::new()), "{said}");
            assert!(
                said.contains(&format!("{kept} is damaged (it is empty")),
                "{said}"
            );
            assert_eq!(std::fs::read(&log).unwrap(), vec![7; 9_000]);
        }
    }
}

#[test]
fn a_pipe_in_the_place_of_a_database_is_refused_and_not_waited_for() {
    for name in ["cache.db", "journal.db", "outbox.db", "index.db", "outbox.db-wal"] {
        let state = state();
        let path = state.path().join(name);
        drop(std::fs::remove_file(&path));
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        for more in [&[][..], &["--erased"], &["--export", "-"]] {
            let (exit, told, said) = person(state.path(), &[&[MAIL], more].concat());
            assert_eq!((exit, told), (75, String::new()), "{name}: {said}");
            assert!(said.contains(&format!("{name} is a pipe and no file")), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}

#[test]
fn an_export_that_does_not_come_about_leaves_no_file() {
    let state = state();
    send_lead(state.path());
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("lead.jsonl");
    let typed = ["Lead", LEAD, "--export", file.to_str().unwrap()];
    let there = || std::fs::read_dir(out.path()).unwrap().count();
    // Nobody can be held responsible for it: the audit takes no entry.
    write(
        state.path(),
        "outbox.db",
        "create trigger t before insert on audit begin select raise(abort, 'no'); end",
    );
    let (exit, _, said) = person(state.path(), &typed);
    assert!(exit != 0 && there() == 0, "{exit} {said}");
    write(state.path(), "outbox.db", "drop trigger t");
    let (exit, _, said) = person(state.path(), &typed);
    assert_eq!((exit, there()), (0, 1), "{said}");
    let mode = std::fs::metadata(&file).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    let whole = std::fs::read_to_string(&file).unwrap();
    assert!(whole.ends_with("{\"places\":4}\n"), "{whole}");
    let (exit, _, said) = person(state.path(), &typed);
    assert!(exit == 64 && said.contains("is there already"), "{exit} {said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), whole);
}

#[test]
fn whoever_closes_the_pipe_of_an_export_has_read_enough() {
    let state = state();
    send_lead(state.path());
    // More than a pipe holds.
    let text = "x".repeat(300_000);
    let sql = format!("update bodies set body = json_set(body, '$.values.message', '{text}')");
    write(state.path(), "outbox.db", &sql);
    let mut command = storesync();
    command.args(["person", "Lead", LEAD, "--export", "-", "--state"]);
    let mut child = command
        .arg(state.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said), (Some(0), String::new()));
}

#[test]
fn who_is_no_person_is_refused_and_so_is_the_id_of_another_object() {
    let state = state();
    for (who, expected) in [
        (
            ["Contakt", "003000000000001AAA"],
            "Contakt is no object of persons",
        ),
        (
            ["Product2", "01t000000000001AAA"],
            "Product2 is no object of persons",
        ),
        (
            ["Contact", "001000000000001AAA"],
            "is an id of Account: give an id of Contact",
        ),
        (
            ["Lead", "003000000000001"],
            "is an id of Contact: give an id of Lead",
        ),
        (
            ["Contact", "a0B000000000001"],
            "is an id of another object: give an id of Contact",
        ),
    ] {
        let (exit, told, said) = person(state.path(), &who);
        assert_eq!((exit, told), (64, String::new()), "{who:?}");
        assert!(said.contains(expected) && said.lines().count() == 1, "{said}");
    }
    for who in [
        ["contact", "003000000000001"],
        ["Individual", "0PK000000000001"],
        ["ContactPointEmail", "9Vl000000000001"],
    ] {
        let (exit, told, said) = person(state.path(), &who);
        assert!(exit == 0 && told.contains("nothing is held"), "{who:?} {said}");
    }
}

/// With what is said in JSON, which is as long as it is: the rest is about who was asked for.
fn erased(state: &Path, more: &[&str]) -> (i32, Value) {
    let typed = [&["nobody@mail.example", "--erased", "--json"], more].concat();
    let (exit, told, said) = person(state, &typed);
    (exit, serde_json::from_str(&told).expect(&said))
}

#[test]
fn an_erasure_is_proved_in_folders_too_and_what_is_not_looked_at_is_named() {
    let state = state();
    let needle = ["--text", "XyzzyNeedle"];
    assert_eq!(erased(state.path(), &needle).0, 0);
    let deep = state.path().join("sub/deep");
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("f"), "an XyzzyNeedle here").unwrap();
    let (exit, told) = erased(state.path(), &needle);
    assert_eq!(
        (exit, &told["held"][0]["file"]),
        (1, &"sub/deep/f".into()),
        "{told}"
    );
    std::fs::remove_file(deep.join("f")).unwrap();

    // A backup within.
    send_lead(state.path());
    std::fs::copy(state.path().join("outbox.db"), deep.join("outbox.db")).unwrap();
    let (exit, told) = erased(state.path(), &["--text", "Quill"]);
    let files: Vec<&Value> = told["held"]
        .as_array()
        .unwrap()
        .iter()
        .map(|held| &held["file"])
        .collect();
    assert!(
        exit == 1 && files.contains(&&"sub/deep/outbox.db".into()),
        "{told}"
    );

    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("g"), "an XyzzyNeedle here").unwrap();
    for to in ["g", ""] {
        let link = deep.join("link");
        std::os::unix::fs::symlink(outside.path().join(to), &link).unwrap();
        let (exit, told) = erased(state.path(), &needle);
        assert_eq!((exit, &told["erased"]), (69, &Value::Null), "{told}");
        assert_eq!(told["not_looked_at"][0]["name"], "sub/deep/link");
        let (_, told, _) = person(state.path(), &["nobody@mail.example", "--erased"]);
        let expected =
            "sub/deep/link was not looked at: it is a link\nnothing was found of this person, and not all";
        assert!(told.contains(expected), "{told}");
        // What is held is held, whatever else there is.
        assert_eq!(erased(state.path(), &["--text", "Quill"]).0, 1);
        std::fs::remove_file(link).unwrap();
    }
}

#[test]
fn what_is_held_is_found_however_it_is_spelt() {
    let state = state();
    let utf16 = |text: &str| {
        text.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    for bytes in [
        b"ana.quill+shop%40mail.example".to_vec(),
        b"ana.quill%2bshop@MAIL.example".to_vec(),
        b"ana.quill\\u002bshop\\u0040mail.example".to_vec(),
        b"name=Ana+M%C3%BC%C3%9FIGBR%c3%9cCK".to_vec(),
        b"Ana M\\u00FC\\u00dfigbr\\u00dcck".to_vec(),
        "ANA MÜßIGBRÜCK".into(),
        utf16("ANA MÜßIGBRÜCK"),
        "Ana Mu\u{308}ßigbru\u{308}ck".into(),
        b"Ana M\xfc\xdfigbr\xfcck".to_vec(),
        b"o\\u0027hara".to_vec(),
    ] {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        std::fs::write(state.path().join("left"), &bytes).unwrap();
        let asked = ["--text", MAIL, "--text", "Ana Müßigbrück", "--text", "O'Hara"];
        let (exit, told) = erased(state.path(), &asked);
        assert_eq!(
            (exit, &told["held"][0]["file"]),
            (1, &"left".into()),
            "{shown}: {told}"
        );
    }
    std::fs::write(state.path().join("left"), "nobody's").unwrap();
    assert_eq!(erased(state.path(), &["--text", MAIL]).0, 0);
}

#[test]
fn what_is_asked_for_may_be_long_and_takes_no_longer_for_it() {
    let state = state();
    let text = "Größe, +@".repeat(111);
    let hay = "Größe, +".repeat(50_000);
    std::fs::write(state.path().join("left"), format!("{hay}{text}")).unwrap();
    let started = std::time::Instant::now();
    assert_eq!(erased(state.path(), &["--text", &text]).0, 1);
    let address = format!("{}@mail.example", "a".repeat(241));
    let (exit, _, said) = person(state.path(), &[&address]);
    assert_eq!(exit, 0, "{said}");
    assert!(started.elapsed().as_secs() < 12, "{:?}", started.elapsed());
    let (exit, _, said) = person(state.path(), &[&format!("a{address}")]);
    let expected = "an e-mail address has at most 254 characters, and not 255";
    assert!(exit == 64 && said.contains(expected), "{exit} {said}");
    let (exit, _, said) = person(state.path(), &[MAIL, "--text", &"x".repeat(1_001)]);
    assert!(
        exit == 64 && said.contains("of 1001 characters is too long"),
        "{exit} {said}"
    );
}

#[test]
fn others_are_masked_however_they_are_written() {
    let state = state();
    send_lead(state.path());
    write(
        state.path(),
        "cache.db",
        "create table contact (id text primary key, email text, firstname text, lastname text) without rowid;
         insert into contact values
             ('003000000000001AAA', 'bertrand.o@example.net', 'Bertrand', 'Ollerenshaw'),
             ('003000000000002AAA', 'jürgen.m@exämple.de', 'Jürgen', 'Müßigbrück'),
             ('003000000000003AAA', 'o''quote@example.com', 'Zbigniew', 'O''Quotation-Łódź'),
             ('003000000000004AAA', '\"weird name\"@foo.example', 'Weirdo', 'Cornelius')",
    );
    let others = "bertrand.o%40example.net is BERTRAND OLLERENSHAW; jürgen.m@exämple.de is JÜRGEN MÜSSIGBRÜCK, \
                  or Mu\u{308}ßigbru\u{308}ck; o'quote@example.com is O'Quotation-Łódź, ZBIGNIEW o'quotation-łódź; \
                  \"weird name\"@foo.example is Cornelius; 'ana.quill+shop@mail.example' and ana.quill%2Bshop%40mail.example is Ana.";
    let connection = Connection::open(state.path().join("outbox.db")).unwrap();
    connection
        .execute(
            "update bodies set body = json_set(body, '$.values.message', ?1)",
            [others],
        )
        .unwrap();
    drop(connection);
    let (exit, export, said) = person(state.path(), &["Lead", LEAD, "--export", "-"]);
    assert_eq!(exit, 0, "{said}");
    let mut lines = export
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let body = lines.rfind(|line| line["table"] == "bodies").unwrap();
    let message = body["values"]["body"]["values"]["message"].as_str().unwrap();
    let mask = "[another person]";
    let expected = format!(
        "{mask} is {mask} {mask}; {mask} is {mask} {mask}, or {mask}; {mask} is {mask}, {mask} {mask}; {mask} is {mask}; \
         'ana.quill+shop@mail.example' and ana.quill%2Bshop%40mail.example is Ana."
    );
    assert_eq!(message, expected);
}
