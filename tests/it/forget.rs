//! What the journal forgets: persons that are gone, in every byte of the state directory, and what is too old.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};
use storesync::store::journal::JournalReader;

use crate::engineers::replay::everything;
use crate::monitoring::metrics;
use crate::monitoring::moving::{Change, ERASURE, Seen, value_of};
use crate::storefront::customers::let_accounts_be_opted_in;
use crate::world::{Daemon, PATIENCE, Sandbox, cache, converge, eventually, select};

/// Of persons who leave, each way in which one can.
const NAMES: [&str; 5] = [
    "Quetzalcoatlus",
    "Hatzegopteryx",
    "Arambourgiania",
    "Cryodrakon",
    "Alanqa",
];

/// Of one who stays.
const STAYS: &str = "Pteranodon";

fn mail(name: &str) -> String {
    format!("{}@private.example", name.to_lowercase())
}

/// Where any of the words can be read: in the files as they are, or in what the journal has packed.
pub fn traces(state: &Path, words: &[String]) -> Vec<String> {
    let mut places: Vec<(String, Vec<u8>)> = std::fs::read_dir(state)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap_or_default())
        })
        .collect();
    let journal = JournalReader::open(state).unwrap();
    for page in journal.pages(0, usize::MAX).unwrap() {
        places.push((
            format!("page {} of {}", page.number, page.object),
            page.unpack().unwrap(),
        ));
    }
    let has = |bytes: &[u8], word: &str| {
        memchr(bytes, word.as_bytes()) || memchr(bytes, word.to_lowercase().as_bytes())
    };
    let mut found = Vec::new();
    for (place, bytes) in places {
        found.extend(
            words
                .iter()
                .filter(|word| has(&bytes, word))
                .map(|word| format!("{word} in {place}")),
        );
    }
    found
}

fn memchr(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// Everything that has to be gone, and a word of all of them that is not too short to be anything.
fn words() -> Vec<String> {
    NAMES
        .iter()
        .flat_map(|name| [(*name).to_owned(), mail(name)])
        .collect()
}

struct Persons {
    contacts: Vec<String>,
    account: String,
    staying: String,
}

/// Persons come, and are changed: by polls and by events, long texts among them.
async fn come(org: &Sandbox) -> Persons {
    let person =
        |name: &str| json!({"FirstName": "Ana", "LastName": name, "Email": mail(name), "Phone": "0400 1"});
    let mut contacts = Vec::new();
    for name in &NAMES[..3] {
        contacts.push(org.create("Contact", person(name)).await);
    }
    let staying = org.create("Contact", person(STAYS)).await;
    let about = |times: usize| format!("{} lives\n", NAMES[3]).repeat(times);
    let account = json!({"Name": NAMES[3], "Site": mail(NAMES[3]), "Description": about(100)});
    let account = org.create("Account", account).await;
    // Of an object that is not mirrored: nobody need leave for it.
    let lead = json!({"LastName": NAMES[4], "Company": NAMES[4], "Email": mail(NAMES[4])});
    org.create("Lead", lead).await;
    converge(org).await;
    for contact in contacts.iter().chain([&staying]) {
        org.update(
            "Contact",
            contact,
            json!({"FirstName": "Anna", "Department": "d"}),
        )
        .await;
    }
    for times in [101, 102] {
        org.update("Account", &account, json!({"Description": about(times)}))
            .await;
    }
    converge(org).await;
    // One event tells of both: what it says of the one who stays is kept.
    let neighbour = org.create("Account", json!({"Name": "Neighbour"})).await;
    let alike =
        [&account, &neighbour].map(|id| json!({"attributes": {"type": "Account"}, "Id": id, "Site": "Rear"}));
    org.control("changes", json!({ "update": alike })).await;
    converge(org).await;
    // Named as gaps, so that pages of records read again hold them too.
    let update = json!([{"attributes": {"type": "Account"}, "Id": account, "Phone": "0400 2"}]);
    org.control("changes", json!({"told": "gaps", "update": update}))
        .await;
    converge(org).await;
    org.settled().await;
    Persons {
        contacts,
        account,
        staying,
    }
}

/// One by an event or a poll, one found to be gone by comparing, one in the recycle bin and out of it.
async fn leave(org: &Sandbox, persons: &Persons) {
    let [first, second, third] = &persons.contacts[..] else {
        panic!("three contacts")
    };
    org.delete("Contact", first).await;
    org.control(
        "changes",
        json!({"told": "silently", "delete": [second], "hard_delete": [second]}),
    )
    .await;
    org.delete("Contact", third).await;
    org.delete("Account", &persons.account).await;
    let present = |object: &str| {
        let sql = format!(
            "select count(*) as count from {object} where id in ('{first}', '{third}', '{}')",
            persons.account
        );
        select(&cache(&org.state()), &sql)[0]["count"] == 0
    };
    eventually("the deletions have arrived", async || {
        (present("contact") && present("account")).then_some(())
    })
    .await;
    org.control("changes", json!({"undelete": [third]})).await;
    let back = format!("select 1 from contact where id = '{third}'");
    eventually("the third is back", async || {
        (!select(&cache(&org.state()), &back).is_empty()).then_some(())
    })
    .await;
    org.delete("Contact", third).await;
    let verify = ["verify", "--repair", "--object", "Contact"];
    eventually("nothing differs", async || {
        (org.verb(&verify).await.0 == 0).then_some(())
    })
    .await;
    converge(org).await;
    org.settled().await;
}

async fn erased(daemon: &Daemon, at_least: u64) {
    eventually("what the journal held of them is erased", async || {
        let journal = daemon.status().await?["journal"].clone();
        let done = journal["erasures_pending"] == 0 && journal["erased_records"].as_u64()? >= at_least;
        done.then_some(())
    })
    .await;
}

/// Waits until none of the words can be read any more: the logs are emptied last.
pub async fn untraced(org: &Sandbox, words: &[String]) {
    let started = Instant::now();
    loop {
        let left = traces(&org.state(), words);
        if left.is_empty() {
            return;
        }
        assert!(started.elapsed() < PATIENCE / 4, "{left:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The journal gives the cache, as before.
pub async fn replays(org: &Sandbox, name: &str) {
    let file = org.dir.path().join(name);
    let (exit, said, problem) = org.verb(&["replay", "--into", file.to_str().unwrap()]).await;
    assert_eq!(exit, 0, "{said}{problem}");
    let (there, again) = (everything(&org.state().join("cache.db")), everything(&file));
    let differing: Vec<_> = there
        .iter()
        .filter(|row| again.binary_search(row).is_err())
        .chain(again.iter().filter(|row| there.binary_search(row).is_err()))
        .take(10)
        .collect();
    assert!(differing.is_empty(), "{differing:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_leaves_no_trace_and_the_journal_still_gives_the_cache() {
    let org = Sandbox::start(&["--products", "10"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let persons = come(&org).await;
    let before = traces(&org.state(), &words());
    for (name, place) in [
        (NAMES[0], "of Contact"),
        (NAMES[3], "of Account"),
        (NAMES[3], "journal.db"),
    ] {
        let is_there = before
            .iter()
            .any(|trace| trace.starts_with(name) && trace.contains(place));
        assert!(is_there, "{name} was never in {place}: {before:?}");
    }
    leave(&org, &persons).await;
    erased(&daemon, 4).await;
    untraced(&org, &words()).await;
    let stays = traces(&org.state(), &[STAYS.to_owned()]);
    assert!(stays.iter().any(|trace| trace.contains("page")), "{stays:?}");

    // What happened is still told, without what it said.
    let (exit, told, _) = org
        .verb(&["history", "Account", &persons.account, "--json"])
        .await;
    let told: Value = serde_json::from_str(&told).unwrap();
    let kinds: Vec<&Value> = told
        .as_array()
        .unwrap()
        .iter()
        .map(|moment| &moment["source"]["event"]["kind"])
        .collect();
    assert!(
        exit == 0 && kinds.contains(&&json!("CREATE")) && kinds.contains(&&json!("DELETE")),
        "{told}"
    );
    let (_, status, _) = org.verb(&["status"]).await;
    assert!(
        status.contains("0 records that are gone to be erased"),
        "{status}"
    );
    let (_, then, _) = org.verb(&["history", "Contact", &persons.staying]).await;
    assert!(then.contains(STAYS), "{then}");
    daemon.running.stop();
    assert_eq!(traces(&org.state(), &words()), Vec::<String>::new());
    replays(&org, "again.db").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_opted_out_leaves_no_trace_until_opted_in_again() {
    let org = Sandbox::start(&["--products", "8", "--stores", "1"]).await;
    let_accounts_be_opted_in(&org).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let person = json!({"Name": NAMES[0], "Site": mail(NAMES[0]), "StoreConnect_Sync__c": "enable_sync"});
    let account = org.create("Account", person).await;
    let words = [NAMES[0].to_owned(), mail(NAMES[0])];
    let mirrored = format!(
        "select 1 from account where id = '{account}' and name = '{}'",
        NAMES[0]
    );
    let is_mirrored = || !select(&cache(&org.state()), &mirrored).is_empty();
    eventually("the account is mirrored", async || is_mirrored().then_some(())).await;
    let before = traces(&org.state(), &words);
    assert!(
        before.iter().any(|trace| trace.contains("journal.db")),
        "{before:?}"
    );

    let opt = async |choice: &str| {
        let fields = json!({ "StoreConnect_Sync__c": choice });
        org.update("Account", &account, fields).await;
    };
    opt("disable_sync").await;
    erased(&daemon, 1).await;
    untraced(&org, &words).await;
    opt("enable_sync").await;
    eventually("it is back with all that the org has", async || {
        is_mirrored().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_killed_goes_on_where_it_was() {
    let org = Sandbox::start(&["--products", "10"]).await;
    let failpoint = [("STORESYNC_FAILPOINT", "erase_before_pages")];
    let mut daemon = org.daemon_with(&failpoint).await;
    daemon.live().await;
    let persons = come(&org).await;
    let (mut seen, before) = (Seen::default(), metrics(&daemon).await);
    let deleting = Instant::now();
    org.delete("Account", &persons.account).await;
    eventually("it is between events and pages", async || {
        daemon
            .running
            .said()
            .contains("erase_before_pages is reached")
            .then_some(())
    })
    .await;
    let waits = [
        ("storesync_erasures_pending", Change::By(1.0)),
        ("storesync_erasure_oldest_seconds", Change::Up(1e-3)),
    ];
    seen.since(&before, &daemon, "an erasure waits", &waits).await;
    let waiting = metrics(&daemon).await;
    let told = value_of(&waiting, "storesync_erasure_oldest_seconds");
    let most = deleting.elapsed().as_secs_f64();
    assert!(told <= most, "{told} s, deleted {most} s ago at most");
    let journal = daemon.status().await.unwrap()["journal"].clone();
    let most = deleting.elapsed().as_secs_f64();
    let told = journal["erasures_oldest_seconds"].as_f64().unwrap();
    assert!(told <= most, "{told} s, deleted {most} s ago at most");
    daemon.running.kill();
    let left = traces(&org.state(), &[NAMES[3].to_owned()]);
    assert!(left.iter().any(|trace| trace.contains("page")), "{left:?}");
    let mut daemon = org.daemon().await;
    daemon.live().await;
    erased(&daemon, 1).await;
    let done = [
        ("storesync_erasures_pending", Change::To(0.0)),
        ("storesync_erasure_oldest_seconds", Change::To(0.0)),
        ("storesync_erased_records_total", Change::By(1.0)),
    ];
    seen.since(&waiting, &daemon, "the erasure is done", &done).await;
    seen.is_all_of(ERASURE);
    let words = [NAMES[3].to_owned(), mail(NAMES[3])];
    untraced(&org, &words).await;
    converge(&org).await;
    org.settled().await;
    daemon.running.stop();
    replays(&org, "again.db").await;
}

/// What the journal's file holds.
fn used_bytes(state: &Path) -> i64 {
    let connection = Connection::open(state.join("journal.db")).unwrap();
    let read = |pragma: &str| {
        connection
            .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            .unwrap()
    };
    (read("page_count") - read("freelist_count")) * read("page_size")
}

/// A text that is another each time, so that it does not come as a difference of some lines.
fn text(number: usize) -> String {
    format!("{number} ").repeat(1_000)
}

/// Many times, in many batches: they are what is given up.
async fn rename(org: &Sandbox, product: &str) {
    for number in 0..150 {
        let fields = json!({"Name": format!("Name {number}"), "Description": text(number)});
        org.update("Product2", product, fields).await;
        if number % 10 == 0 {
            let sql = format!("select id from product2 where name = 'Name {number}'");
            eventually("it arrives", async || {
                (!select(&cache(&org.state()), &sql).is_empty()).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_goes_and_a_point_before_it_is_told_to_be_gone() {
    let org = Sandbox::start(&["--products", "60"]).await;
    let mut daemon = org.daemon().await;
    daemon.live().await;
    let product = org.some("Product2", "").await;
    let size = used_bytes(&org.state());
    rename(&org, &product).await;
    converge(&org).await;
    daemon.running.stop();
    let before = JournalReader::open(&org.state())
        .unwrap()
        .bounds()
        .unwrap()
        .unwrap();

    let all = used_bytes(&org.state());
    assert!(all > size + 400_000, "{size} {all}");
    let limit = (all - 200_000).to_string();
    let mut daemon = org
        .daemon_with(&[("STORESYNC__STATE__JOURNAL_BYTES", &limit)])
        .await;
    daemon.live().await;
    let first = eventually("the oldest is gone", async || {
        let status = daemon.status().await?;
        status["journal"]["first_event"]
            .as_i64()
            .filter(|first| *first > before.0)
    })
    .await;
    let reader = JournalReader::open(&org.state()).unwrap();
    eventually("no event before it is held", async || {
        // Of a few large batches all may be gone.
        let held = reader.bounds().ok()?;
        held.is_none_or(|(oldest, _)| oldest >= first).then_some(())
    })
    .await;
    org.update("Product2", &product, json!({"Name": "The last"}))
        .await;
    converge(&org).await;
    daemon.running.stop();

    for arguments in [
        ["replay", "--dry-run", "--from", &before.0.to_string()],
        ["replay", "--dry-run", "--from", "2020-01-01T00:00:00Z"],
        ["replay", "--dry-run", "--from", "0000000000000001"],
    ] {
        let (exit, _, said) = org.verb(&arguments).await;
        assert!(
            exit != 0 && said.contains("it reaches back to event"),
            "{arguments:?}: {said}"
        );
    }
    let (exit, _, said) = org.verb(&["replay", "--dry-run"]).await;
    assert!(
        exit != 0 && said.contains("does not reach back to an empty cache"),
        "{said}"
    );
    let at = ["history", "Product2", &product, "--at", "2020-01-01T00:00:00Z"];
    let (exit, _, said) = org.verb(&at).await;
    assert!(
        exit == 1 && said.contains("the journal reaches back to"),
        "{said}"
    );
    let (_, status, _) = org.verb(&["status"]).await;
    assert!(status.contains("journal: reaches back to event"), "{status}");
    what_is_held_is_good(&org).await;
}

/// As it was before anything was removed.
async fn what_is_held_is_good(org: &Sandbox) {
    let (_, newest) = JournalReader::open(&org.state())
        .unwrap()
        .bounds()
        .unwrap()
        .unwrap();
    let (exit, said, problem) = org
        .verb(&["replay", "--dry-run", "--from", &newest.to_string()])
        .await;
    assert_eq!(exit, 0, "{said}{problem}");
}
