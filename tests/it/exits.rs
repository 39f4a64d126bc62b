//! Every verb ends with each exit status that is promised of it, and a new verb cannot do without.
//!
//! [`PROMISED`] is compared with the verbs of the command line, and with what the verbs did here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::CommandFactory as _;
use serde_json::{Value, json};

use crate::outbound::desk::refused_orders;
use crate::refusals::Disk;
use crate::world::{Running, Sandbox, storesync};

/// Verbs, what has to be typed behind each, and the exit statuses that it can end with.
const PROMISED: &[(&str, &[&str], &[i32])] = &[
    ("run", &[], &[0, 64, 69, 75, 78]),
    ("check", &[], &[0, 1, 64, 69, 78]),
    ("status", &[], &[0, 64, 69, 78]),
    ("verify", &["--object", "Product2"], &[0, 1, 64, 69, 78]),
    ("audit list", &[], &[0, 64, 69, 78]),
    ("audit verify", &[], &[0, 1, 64, 69, 78]),
    ("person", &["nobody@mail.example"], &[0, 1, 64, 69, 78]),
    ("removals list", &[], &[0, 64, 69, 78]),
    ("removals release", &["NONE", "--rows", "1"], &[0, 1, 64, 69, 78]),
    ("removals refuse", &["NONE"], &[0, 1, 64, 69, 78]),
    ("orders list", &[], &[0, 64, 69, 78]),
    ("orders show", &["NONE"], &[0, 1, 64, 69, 78]),
    ("orders retry", &["NONE"], &[0, 1, 64, 69, 78]),
    ("orders edit", &["NONE", "--set", "a=1"], &[0, 1, 64, 69, 78]),
    ("orders discard", &["NONE", "--reason", "r"], &[0, 1, 64, 69, 78]),
    ("orders reopen", &["NONE"], &[0, 1, 64, 69, 78]),
    ("orders export", &[], &[0, 64, 69, 78]),
    ("orders map", &[], &[0, 64, 78]),
    ("events decode", &["--schema", "/nowhere/schema.json"], &[0, 64]),
    ("events parked", &[], &[0, 64, 69, 78]),
    ("events list", &[], &[0, 64, 69, 78]),
    ("events tail", &["--limit", "0"], &[0, 64, 69, 78]),
    ("events show", &["NONE"], &[0, 1, 64, 69, 78]),
    ("events export", &[], &[0, 64, 69, 78]),
    (
        "events import",
        &["/nowhere/export", "--state", "/nowhere"],
        &[0, 64, 75],
    ),
    (
        "history",
        &["Product2", "01t000000000001AAA"],
        &[0, 1, 64, 69, 78],
    ),
    (
        "bisect",
        &["Product2", "01t000000000001AAA", "Name=x"],
        &[0, 1, 64, 69, 78],
    ),
    ("replay", &["--dry-run"], &[0, 1, 64, 69, 75, 78]),
    ("login-url", &["--at", "http://127.0.0.1:1"], &[0, 64, 69, 78]),
    ("backup", &["/nowhere/backup"], &[0, 64, 69, 75, 78]),
    ("restore", &["/nowhere/backup"], &[0, 1, 64, 69, 75, 78]),
    ("completions", &["bash"], &[0, 64]),
    ("man", &["/nowhere/man"], &[0, 64]),
    ("sandbox", &[], &[0, 64, 69]),
    ("demo", &[], &[0, 1, 64]),
];

/// Verbs that read no configuration.
const UNCONFIGURED: &[&str] = &[
    "events decode",
    "events import",
    "completions",
    "man",
    "sandbox",
    "demo",
];

/// Verbs that have something to do where no daemon has ever run.
const STATELESS: &[&str] = &["run", "check", "orders map", "restore"];

/// What the verbs did, with this configuration unless another is named.
struct Ends {
    config: PathBuf,
    seen: BTreeMap<String, BTreeSet<i32>>,
}

impl Ends {
    fn new(config: PathBuf) -> Self {
        let seen = BTreeMap::new();
        Self { config, seen }
    }

    /// Runs a verb that is expected to end so, and to say this of it. Gives what it printed.
    async fn run(&mut self, verb: &str, arguments: &[&str], exit: i32, said: &str) -> String {
        self.run_with(&[], "", verb, arguments, exit, said).await
    }

    async fn run_with(
        &mut self,
        variables: &[(&str, &str)],
        input: &str,
        verb: &str,
        arguments: &[&str],
        exit: i32,
        said: &str,
    ) -> String {
        let config = self.config.clone();
        self.run_by(&config, variables, input, (verb, arguments), exit, said)
            .await
    }

    async fn run_by(
        &mut self,
        config: &Path,
        variables: &[(&str, &str)],
        input: &str,
        (verb, arguments): (&str, &[&str]),
        exit: i32,
        said: &str,
    ) -> String {
        let mut command = storesync();
        command.args(verb.split(' ')).args(arguments);
        command.arg("--config").arg(config);
        command.env("STORESYNC__SERVE__LISTEN", "127.0.0.1:0");
        command.env("STORESYNC__ADMIN__LISTEN", "127.0.0.1:0");
        command.envs(variables.iter().copied());
        let input = input.to_owned();
        let output = tokio::task::spawn_blocking(move || {
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            // One that does not read it may be gone.
            drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
            child.wait_with_output().unwrap()
        });
        let output = output.await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (printed, told) = (text(&output.stdout), text(&output.stderr));
        let typed = arguments.join(" ");
        assert_eq!(
            output.status.code(),
            Some(exit),
            "{verb} {typed}: {printed}{told}"
        );
        assert!(
            printed.contains(said) || told.contains(said),
            "{verb} {typed} does not say {said:?}: {printed}{told}"
        );
        self.saw(verb, exit);
        printed
    }

    fn saw(&mut self, verb: &str, exit: i32) {
        self.seen.entry(verb.to_owned()).or_default().insert(exit);
    }
}

/// The verbs of the command line, those of a group with its name before.
fn verbs() -> BTreeSet<String> {
    fn walk(command: &clap::Command, before: &str, into: &mut BTreeSet<String>) {
        for verb in command.get_subcommands() {
            let name = format!("{before}{}", verb.get_name());
            match verb.has_subcommands() {
                true => walk(verb, &format!("{name} "), into),
                false => drop(into.insert(name)),
            }
        }
    }
    let mut verbs = BTreeSet::new();
    walk(&storesync::cli::Cli::command(), "", &mut verbs);
    verbs
}

/// The exit statuses that are promised, by verb.
fn promised() -> BTreeMap<String, BTreeSet<i32>> {
    let rows = PROMISED.iter();
    rows.map(|(verb, _, exits)| ((*verb).to_owned(), exits.iter().copied().collect()))
        .collect()
}

#[test]
fn every_verb_has_its_exits_listed() {
    assert_eq!(promised().into_keys().collect::<BTreeSet<_>>(), verbs());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_ends_as_is_promised() {
    let (org, mut daemon, _store) = refused_orders(1).await;
    let mut ends = Ends::new(org.config());
    what_is_typed_or_set_wrongly(&org, &mut ends).await;
    where_nothing_is(&mut ends).await;
    links(&mut ends).await;
    orders(&mut ends).await;
    let export = events(&org, &mut ends).await;
    records(&org, &mut ends).await;
    comparisons(&org, &mut ends).await;
    removals(&org, &mut ends).await;
    let backup = backups(&org, &mut ends).await;
    daemon.running.stop();
    assert_eq!(daemon.running.wait().code(), Some(0));
    ends.saw("run", 0);
    without_a_daemon(&org, &mut ends, &backup, &export).await;
    others(&org, &mut ends).await;
    let (mut seen, mut promised) = (ends.seen, promised());
    seen.remove("demo");
    promised.remove("demo");
    assert_eq!(seen, promised, "seen, and promised");
}

/// What of each verb is printed in any state of things.
const PRINTING: &[(&str, &[&str])] = &[
    ("check", &["--offline"]),
    ("status", &[]),
    ("status", &["--json"]),
    ("verify", &["--object", "Product2"]),
    ("audit list", &["--json"]),
    ("audit verify", &[]),
    ("orders list", &[]),
    ("orders show", &["BAD-1"]),
    ("orders export", &[]),
    ("orders map", &[]),
    ("events parked", &["--json"]),
    ("events list", &[]),
    ("events export", &[]),
    ("removals list", &["--json"]),
    ("login-url", &["--at", "http://127.0.0.1:1"]),
    ("completions", &["bash"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_printed_is_told() {
    let (org, _daemon, _store) = refused_orders(1).await;
    org.verb(&["orders", "retry", "BAD-1"]).await;
    crate::world::converge(&org).await;
    for (verb, arguments) in PRINTING {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = storesync();
        command.args(verb.split(' ')).args(*arguments);
        command.arg("--config").arg(org.config()).stdout(full);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(75), "{verb}: {told}");
        assert!(told.contains("No space left on device"), "{verb}: {told}");
        // Whoever closes the pipe has read enough.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = storesync();
        command.args(verb.split(' ')).args(*arguments);
        command.arg("--config").arg(org.config()).stdout(writer);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_ne!(output.status.code(), Some(75), "{verb}: {told}");
        assert!(!told.contains("panicked"), "{verb}: {told}");
    }
}

/// Apart from the others, since the tour takes its time.
#[tokio::test(flavor = "multi_thread")]
async fn the_tour_ends_as_is_promised() {
    const TOUR: &[&str] = &[
        "--once",
        "--changes",
        "1",
        "--orders",
        "1",
        "--products",
        "8",
        "--stores",
        "1",
    ];
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    let mut ends = Ends::new(config);
    ends.run("demo", TOUR, 0, "").await;
    let hurried = [TOUR, &["--visible-within-ms", "0"]].concat();
    ends.run("demo", &hurried, 1, "NOT AS EXPECTED").await;
    ends.run("demo", &["--nonsense"], 64, "--nonsense").await;
    assert_eq!(ends.seen["demo"], promised()["demo"], "seen, and promised");
}

async fn what_is_typed_or_set_wrongly(org: &Sandbox, ends: &mut Ends) {
    for (verb, arguments, _) in PROMISED {
        let arguments = [arguments, &["--nonsense"][..]].concat();
        ends.run(verb, &arguments, 64, "--nonsense").await;
    }
    for (verb, arguments, _) in PROMISED {
        if UNCONFIGURED.contains(verb) {
            continue;
        }
        let nowhere = Path::new("/nowhere/config.toml");
        ends.run_by(nowhere, &[], "", (verb, arguments), 78, "/nowhere/config.toml")
            .await;
    }
    let map = org.dir.path().join("map.toml");
    let config = std::fs::read_to_string(org.config()).unwrap();
    std::fs::write(
        &map,
        config + "\n[orders]\nmap = { \"order.colour\" = \"Colour__c\" }\n",
    )
    .unwrap();
    ends.run_by(&map, &[], "", ("orders map", &[]), 78, "order.colour")
        .await;
    // A certificate that is not there is not what a start a little later would find.
    let tls = org.dir.path().join("tls.toml");
    let config = std::fs::read_to_string(org.config()).unwrap();
    let named = "\n[serve.tls]\ncert_file = \"/nowhere/web.pem\"\nkey_file = \"/nowhere/web.key\"\n";
    std::fs::write(&tls, config + named).unwrap();
    ends.run_by(&tls, &[], "", ("run", &[]), 78, "/nowhere/web.pem")
        .await;
}

/// A state directory that is empty, and an org that is away.
async fn where_nothing_is(ends: &mut Ends) {
    let empty = tempfile::tempdir().unwrap();
    let dir = empty.path().to_str().unwrap();
    let nothing = [("STORESYNC__STATE__DIR", dir)];
    for (verb, arguments, _) in PROMISED {
        if !UNCONFIGURED.contains(verb) && !STATELESS.contains(verb) {
            ends.run_with(&nothing, "", verb, arguments, 69, dir).await;
        }
    }
    let away = [nothing[0], ("STORESYNC__ORG__LOGIN_URL", "http://127.0.0.1:1")];
    ends.run_with(&away, "", "check", &[], 69, "127.0.0.1:1").await;
    // A state directory that cannot be one.
    let file = empty.path().join("file");
    std::fs::write(&file, "").unwrap();
    let file = [("STORESYNC__STATE__DIR", file.to_str().unwrap())];
    ends.run_with(&file, "", "run", &[], 69, "state directory").await;
    ends.run("run", &[], 69, "in use").await;
}

async fn links(ends: &mut Ends) {
    ends.run(
        "login-url",
        &["--at", "http://127.0.0.1:1/"],
        0,
        "http://127.0.0.1:1/login#",
    )
    .await;
    ends.run("login-url", &[], 64, "--at").await;
    let socket = [("STORESYNC__ADMIN__LISTEN", "unix:/nowhere/admin.sock")];
    ends.run_with(&socket, "", "login-url", &[], 64, "needs no token")
        .await;
}

async fn orders(ends: &mut Ends) {
    ends.run("orders list", &[], 0, "BAD-1").await;
    ends.run("orders list", &["--kind", "nonsense"], 64, "nonsense")
        .await;
    ends.run("orders list", &["--since", "noon"], 64, "noon").await;
    ends.run("orders show", &["BAD-1"], 0, "Nowhere").await;
    ends.run("orders show", &["NONE"], 1, "NONE").await;
    ends.run("orders export", &[], 0, "BAD-1").await;
    ends.run("orders export", &["--kind", "nonsense"], 64, "nonsense")
        .await;
    ends.run("orders map", &[], 0, "order.email").await;
    ends.run("orders edit", &["NONE", "--set", "a=1"], 1, "no such write")
        .await;
    ends.run("orders edit", &["BAD-1", "--set", "a"], 64, "path=value")
        .await;
    ends.run(
        "orders edit",
        &["BAD-1", "--patch", "/nowhere/patch"],
        64,
        "/nowhere/patch",
    )
    .await;
    ends.run_with(&[], "{", "orders edit", &["BAD-1", "--patch", "-"], 64, "JSON")
        .await;
    ends.run(
        "orders edit",
        &["BAD-1", "--set", "external_id=X"],
        1,
        "external_id",
    )
    .await;
    ends.run(
        "orders edit",
        &["BAD-1", "--set", "customer.phone=\"1\""],
        0,
        "customer.phone",
    )
    .await;
    ends.run("orders discard", &["NONE", "--reason", "r"], 1, "no such write")
        .await;
    ends.run("orders discard", &["BAD-1", "--reason", "r"], 0, "1 write")
        .await;
    ends.run("orders retry", &["BAD-1"], 1, "discarded").await;
    ends.run("orders reopen", &["NONE"], 1, "no such write").await;
    ends.run("orders reopen", &["BAD-1"], 0, "1 write").await;
    ends.run("orders retry", &["NONE"], 1, "no such write").await;
    ends.run("orders retry", &[], 64, "--all").await;
    ends.run("orders retry", &["BAD-1"], 0, "1 write").await;
    ends.run("audit list", &[], 0, "discard by ").await;
    ends.run("audit verify", &[], 0, "as they were written").await;
    ends.run("audit verify", &["--head", "17"], 64, "SEQ:HASH").await;
    let nobody = ["nobody@mail.example", "--erased"];
    ends.run("person", &nobody, 0, "nothing is held").await;
    ends.run("person", &["nobody"], 64, "e-mail address").await;
    ends.run(
        "person",
        &["customer1@mail.example", "--erased"],
        1,
        "cache.db  contact.email",
    )
    .await;
    let later = ["--head", "999999:000000000000"];
    ends.run("audit verify", &later, 1, "names a later one").await;
}

/// Gives the file of an export.
async fn events(org: &Sandbox, ends: &mut Ends) -> PathBuf {
    let product = org.some("Product2", "").await;
    org.update("Product2", &product, json!({"Name": "Renamed"})).await;
    crate::world::converge(org).await;
    let listed = ends.run("events list", &["--json"], 0, "UPDATE").await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let number = listed[0]["number"].to_string();
    ends.run("events list", &["--since", "noon"], 64, "noon").await;
    ends.run("events tail", &["--limit", "0"], 0, "UPDATE").await;
    ends.run("events tail", &["--until", "noon"], 64, "noon").await;
    ends.run("events parked", &[], 0, "no event is parked").await;
    ends.run("events show", &["999999"], 1, "999999").await;
    let shown = ends
        .run("events show", &[&number, "--raw", "--json"], 0, "payload")
        .await;
    let shown: Value = serde_json::from_str(&shown).unwrap();

    let schema = org.dir.path().join("schema.json");
    let text = shown["schema"]
        .as_str()
        .map_or_else(|| shown["schema"].to_string(), str::to_owned);
    std::fs::write(&schema, text).unwrap();
    let by_schema = ["--schema", schema.to_str().unwrap()];
    let payload = shown["payload"].as_str().unwrap();
    ends.run_with(&[], payload, "events decode", &by_schema, 0, "changeType")
        .await;
    ends.run_with(&[], "nonsense!", "events decode", &by_schema, 64, "base64")
        .await;

    let exported = ends.run("events export", &[], 0, "payload").await;
    ends.run("events export", &["--since", "noon"], 64, "noon").await;
    let file = org.dir.path().join("export");
    std::fs::write(&file, exported).unwrap();
    let there = org.dir.path().join("there");
    let import = [file.to_str().unwrap(), "--state", there.to_str().unwrap()];
    ends.run("events import", &import, 0, "events are in").await;
    ends.run("events import", &import, 64, "has a journal already")
        .await;
    let missing = ["/nowhere/export", "--state", there.to_str().unwrap()];
    ends.run("events import", &missing, 64, "/nowhere/export").await;
    file
}

async fn records(org: &Sandbox, ends: &mut Ends) {
    let product = org.some("Product2", "WHERE Name = 'Renamed'").await;
    let none = "01t000000000001AAA";
    ends.run("history", &["Product2", &product], 0, "Renamed").await;
    ends.run("history", &["Product2", none], 1, "holds nothing").await;
    ends.run("history", &["Product2", &product, "--at", "noon"], 64, "noon")
        .await;
    ends.run("bisect", &["Product2", &product, "Name=Renamed"], 0, "Renamed")
        .await;
    ends.run("bisect", &["Product2", &product, "Name=Never"], 1, "never was")
        .await;
    ends.run("bisect", &["Product2", &product, "Name"], 64, "FIELD=VALUE")
        .await;
    ends.run("replay", &["--dry-run"], 0, "").await;
    ends.run("replay", &["--dry-run", "--from", "nonsense"], 64, "nonsense")
        .await;
    ends.run(
        "replay",
        &["--dry-run", "--from", "999999"],
        69,
        "holds nothing at that point",
    )
    .await;
    ends.run("replay", &["--live"], 69, "in use").await;
    let into = org.dir.path().join("again.db");
    let into = ["--into", into.to_str().unwrap()];
    ends.run("replay", &into, 0, "again.db").await;
    ends.run("replay", &into, 64, "exists already").await;
}

async fn comparisons(org: &Sandbox, ends: &mut Ends) {
    ends.run("status", &[], 0, "daemon running").await;
    ends.run("check", &[], 0, "ok").await;
    let unknown = [("STORESYNC__SYNC__OBJECTS", "Nonsense__c")];
    ends.run_with(&unknown, "", "check", &[], 1, "Nonsense__c").await;
    ends.run("verify", &["--object", "Product2"], 0, "0 rows differ")
        .await;
    ends.run("verify", &["--object", "Nonsense__c"], 64, "Nonsense__c")
        .await;
    let silent =
        json!({"told": "silently", "create": [{"attributes": {"type": "Product2"}, "Name": "Untold"}]});
    org.control("changes", silent).await;
    ends.run("verify", &["--object", "Product2"], 1, "1 rows differ")
        .await;
}

async fn removals(org: &Sandbox, ends: &mut Ends) {
    ends.run("removals list", &[], 0, "no removal waits").await;
    ends.run("removals refuse", &["NONE"], 1, "no removal of NONE waits")
        .await;
    ends.run(
        "removals release",
        &["NONE", "--rows", "1"],
        1,
        "no removal of NONE waits",
    )
    .await;
    let connection = rusqlite::Connection::open(org.state().join("cache.db")).unwrap();
    connection
        .busy_timeout(std::time::Duration::from_secs(10))
        .unwrap();
    let waits = "insert or replace into _absence values ('Account', 0, 0, 0, 7, 9, 'a load', 1), \
                 ('Product2', 0, 0, 0, 7, 9, 'a load', 1)";
    connection.execute(waits, []).unwrap();
    ends.run("removals release", &["Account", "--rows", "6"], 1, "more than 6")
        .await;
    ends.run("removals release", &["account", "--rows", "7"], 0, "up to 7 rows")
        .await;
    ends.run("removals refuse", &["Product2"], 0, "stay").await;
}

/// Gives the folder of a backup.
async fn backups(org: &Sandbox, ends: &mut Ends) -> PathBuf {
    let backup = org.dir.path().join("backup");
    let to = backup.to_str().unwrap();
    ends.run("backup", &[to], 0, "outbox.db copied and checked").await;
    ends.run("backup", &[to], 64, "is not empty").await;
    ends.run("backup", &[], 64, "no folder is named").await;
    ends.run("backup", &[to, "--recipient", "nobody"], 64, "no recipient")
        .await;
    ends.run("restore", &[to, "--identity", "/nowhere/key"], 64, "/nowhere/key")
        .await;
    ends.run("restore", &[to, "--check"], 0, "whole").await;
    ends.run("restore", &["/nowhere/backup"], 1, "/nowhere/backup")
        .await;
    ends.run("restore", &[to], 69, "in use").await;
    backup
}

async fn without_a_daemon(org: &Sandbox, ends: &mut Ends, backup: &Path, export: &Path) {
    let backup = backup.to_str().unwrap();
    ends.run("restore", &[backup], 64, "is there already").await;
    let cache = rusqlite::Connection::open(org.state().join("cache.db")).unwrap();
    cache
        .execute(
            "update product2 set name = 'Unheard of' where name = 'Renamed'",
            [],
        )
        .unwrap();
    drop(cache);
    ends.run("replay", &["--dry-run"], 1, "Unheard of").await;

    // A disk on which there is no room for a database.
    let disk = Disk::of(&org.dir.path().join("full"), "32k");
    let state = disk.path.join("state");
    let full = [("STORESYNC__STATE__DIR", state.to_str().unwrap())];
    ends.run_with(&full, "", "run", &[], 75, "disk").await;
    let state = disk.path.join("restored");
    let full = [("STORESYNC__STATE__DIR", state.to_str().unwrap())];
    ends.run_with(&full, "", "restore", &[backup], 75, "space").await;
    let to = disk.path.join("backup");
    ends.run("backup", &[to.to_str().unwrap()], 75, "space").await;
    let into = disk.path.join("again.db");
    ends.run("replay", &["--into", into.to_str().unwrap()], 75, "disk")
        .await;
    let there = disk.path.join("there");
    let import = [export.to_str().unwrap(), "--state", there.to_str().unwrap()];
    ends.run("events import", &import, 75, "disk").await;
}

/// What needs neither a configuration nor a state.
async fn others(org: &Sandbox, ends: &mut Ends) {
    ends.run("completions", &["bash"], 0, "storesync").await;
    let pages = org.dir.path().join("man");
    ends.run("man", &[pages.to_str().unwrap()], 0, "").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    ends.run(
        "sandbox",
        &["--http", &address, "--grpc", "127.0.0.1:0"],
        69,
        &address,
    )
    .await;
    let mut command = storesync();
    command.args([
        "sandbox",
        "--http",
        "127.0.0.1:0",
        "--grpc",
        "127.0.0.1:0",
        "--products",
        "5",
    ]);
    let (mut running, _) = Running::with_first_line(command);
    running.stop();
    assert_eq!(running.wait().code(), Some(0));
    ends.saw("sandbox", 0);
}
