//! The daemon as a service: what it tells systemd, the sockets it is handed, signals, the units themselves.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::json;

use crate::world::{Daemon, PATIENCE, Running, Sandbox, eventually, storesync};

/// Stands in for systemd: reads what the daemon tells.
struct Manager {
    dir: tempfile::TempDir,
    socket: UnixDatagram,
}

/// One message, by key.
type Told = BTreeMap<String, String>;

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Self { dir, socket }
    }

    fn path(&self) -> String {
        self.dir.path().join("notify").to_str().unwrap().to_owned()
    }

    fn next(&self) -> Option<Told> {
        let mut buffer = [0; 4_096];
        let length = self.socket.recv(&mut buffer).ok()?;
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Some(
            pairs
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// Messages up to one of which this is true.
    fn until(&self, what: &str, holds: impl Fn(&Told) -> bool) -> Vec<Told> {
        let started = Instant::now();
        let mut all = Vec::new();
        while started.elapsed() < PATIENCE {
            let Some(told) = self.next() else { continue };
            let done = holds(&told);
            all.push(told);
            if done {
                return all;
            }
        }
        panic!("waited in vain for {what}; told was: {all:?}");
    }

    /// Forgets what was told before.
    fn forget(&self) {
        self.socket.set_nonblocking(true).unwrap();
        while self.next().is_some() {}
        self.socket.set_nonblocking(false).unwrap();
    }

    /// How often the watchdog is fed within a time.
    fn fed_within(&self, time: Duration) -> usize {
        let started = Instant::now();
        let mut fed = 0;
        while started.elapsed() < time {
            fed += usize::from(self.next().is_some_and(|told| told.contains_key("WATCHDOG")));
        }
        fed
    }
}

pub fn signal(running: &Running, name: &str) {
    let pid = running.child.id().to_string();
    assert!(
        Command::new("kill")
            .args([name, &pid])
            .status()
            .unwrap()
            .success()
    );
}

/// What was said arrives a moment later here.
async fn says(running: &Running, sentence: &str) {
    eventually(sentence, async || running.said().contains(sentence).then_some(())).await;
}

fn is_ready(told: &Told) -> bool {
    told.get("READY").is_some_and(|ready| ready == "1")
}

#[tokio::test]
async fn ready_is_said_once_the_cache_can_be_served() {
    let org = Sandbox::start(&["--products", "40"]).await;
    let manager = Manager::new();
    let daemon = org.daemon_with(&[("NOTIFY_SOCKET", &manager.path())]).await;
    let told = manager.until("READY=1", is_ready);
    let (status, serving) = daemon.get("/v1/objects/product2?limit=200").await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        serving["items"].as_array().unwrap().len() as u64,
        org.count("Product2").await
    );
    let before: Vec<&String> = told.iter().filter_map(|told| told.get("STATUS")).collect();
    assert!(
        before.iter().any(|status| status.starts_with("loading ")),
        "{before:?}"
    );
    let more = told.iter().filter_map(|told| told.get("EXTEND_TIMEOUT_USEC"));
    let more: Vec<u64> = more.map(|more| more.parse().unwrap()).collect();
    // In microseconds, and asked for again within the minute.
    assert!(
        !more.is_empty() && more.iter().all(|more| *more > 60_000_000),
        "{told:?}"
    );
    assert!(before.last().unwrap().starts_with("live: "), "{before:?}");
    drop(daemon);

    // With a cache from before it is ready at once, though the org is away.
    let manager = Manager::new();
    let away = [
        ("NOTIFY_SOCKET", manager.path()),
        ("STORESYNC__ORG__LOGIN_URL", "http://127.0.0.1:1".to_owned()),
    ];
    let away: Vec<(&str, &str)> = away.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut daemon = org.daemon_with(&away).await;
    let told = manager.until("READY=1", is_ready);
    assert!(
        told.iter().all(|told| !told.contains_key("EXTEND_TIMEOUT_USEC")),
        "{told:?}"
    );
    assert_eq!(daemon.get("/v1/objects/product2").await.unwrap().0, 200);
    daemon.running.stop();
    manager.until("STOPPING=1", |told| told.contains_key("STOPPING"));
}

/// A writer that is stuck is a daemon that is stuck, though all its other threads are well.
#[tokio::test]
async fn the_watchdog_is_fed_by_progress_and_not_by_a_timer() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let manager = Manager::new();
    let daemon = org
        .daemon_with(&[("NOTIFY_SOCKET", &manager.path()), ("WATCHDOG_USEC", "1500000")])
        .await;
    manager.until("the watchdog is fed", |told| told.contains_key("WATCHDOG"));
    assert!(
        manager.fed_within(Duration::from_secs(3)) >= 3,
        "twice in the time it waits, and more"
    );

    let outbox = Connection::open(org.state().join("outbox.db")).unwrap();
    outbox.execute_batch("begin immediate").unwrap();
    eventually("it says what stands still", async || {
        daemon
            .running
            .said()
            .contains("the watchdog is not fed")
            .then_some(())
    })
    .await;
    manager.forget();
    assert_eq!(manager.fed_within(Duration::from_secs(4)), 0);
    outbox.execute_batch("rollback").unwrap();
    drop(outbox);
    manager.until("the watchdog is fed again", |told| told.contains_key("WATCHDOG"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_of_reading_that_stands_still_ends_the_feeding_by_its_name() {
    stand_still(&[("subscribe", "subscribe "), ("apply", "apply"), ("load", "load ")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_of_keeping_that_stands_still_ends_the_feeding_by_its_name() {
    stand_still(&[
        ("checkpoint", "checkpoint"),
        ("poll", "poll"),
        ("repair", "repair"),
        ("verify", "verify"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_of_orders_or_answers_that_stands_still_ends_the_feeding_by_its_name() {
    stand_still(&[("push", "push"), ("confirm", "confirm"), ("serve", "serve http")]).await;
}

/// Where a stage can be made to stand still, and what it is called. The state is kept from one to the next.
async fn stand_still(stages: &[(&str, &str)]) {
    let org = Sandbox::start(&["--products", "5"]).await;
    for (failpoint, stage) in stages {
        stands_still(&org, failpoint, stage).await;
    }
}

async fn stands_still(org: &Sandbox, failpoint: &str, stage: &str) {
    let manager = Manager::new();
    let variables = [
        ("NOTIFY_SOCKET", manager.path()),
        ("WATCHDOG_USEC", "1500000".to_owned()),
        ("STORESYNC_FAILPOINT", failpoint.to_owned()),
        ("STORESYNC_HURRY", "1".to_owned()),
    ];
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mut daemon = org.daemon_with(&variables).await;
    if failpoint == "serve" {
        // Who asks may wait in vain.
        drop(tokio::time::timeout(Duration::from_secs(2), daemon.get("/v1/stores")).await);
    }
    let trouble = format!("the stage {stage}");
    eventually(&trouble, async || {
        // As systemd does: one whose socket is full stands still for that.
        manager.forget();
        let said = daemon.running.said();
        let named = said
            .lines()
            .any(|line| line.contains(&trouble) && line.contains("the watchdog is not fed"));
        named.then_some(())
    })
    .await;
    manager.forget();
    assert_eq!(manager.fed_within(Duration::from_secs(2)), 0, "{failpoint}");
    daemon.running.kill();
}

/// By the limit that the reload took over.
async fn contacts_are_polled_soon(org: &Sandbox, daemon: &Daemon) {
    let contact = org.some("Contact", "").await;
    org.update("Contact", &contact, json!({"Department": "polled soon"}))
        .await;
    eventually("contacts are polled by the new limit", async || {
        let (_, row) = daemon.get(&format!("/v1/objects/contact/{contact}")).await?;
        (row["department"] == "polled soon").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_reload_takes_what_it_can_and_names_what_it_cannot() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let manager = Manager::new();
    let config = std::fs::read_to_string(org.config()).unwrap();
    let config = config.replace("poll_seconds = 5", "poll_seconds = 3600");
    std::fs::write(org.config(), &config).unwrap();
    let mut command = org.daemon_command(&[("NOTIFY_SOCKET", &manager.path())]);
    // The file says how often it polls.
    command.env_remove("STORESYNC__SYNC__POLL_SECONDS");
    let daemon = org.daemon_by(command).await;
    manager.until("READY=1", is_ready);
    assert!(!daemon.running.said().contains("DEBUG"));

    let changed = config
        .replace(
            "[state]",
            "[orders]\nexternal_id_field = \"External_ID__c\"\n\n[log]\nlevel = \"debug\"\n\n[state]",
        )
        .replace("poll_seconds = 3600", "poll_seconds = 1");
    std::fs::write(org.config(), &changed).unwrap();
    // The secret is another now, and a wrong one: it is tried, and the one from before goes on.
    let secret = org.dir.path().join("client_secret");
    let right = std::fs::read_to_string(&secret).unwrap();
    std::fs::write(&secret, "wrong").unwrap();
    signal(&daemon.running, "-HUP");
    let told = manager.until("READY=1 after the reload", is_ready);
    let reloading = told
        .iter()
        .find(|told| told.contains_key("RELOADING"))
        .expect("RELOADING=1");
    assert!(reloading["MONOTONIC_USEC"].parse::<u64>().unwrap() > 0);
    for sentence in [
        "reloaded: log.level has changed",
        "reloaded: sync.poll_seconds has changed",
        "orders.external_id_field has changed, which takes effect when the daemon is started again",
        "the secrets were not reloaded, those from before are kept: the login was refused (invalid_client",
    ] {
        says(&daemon.running, sentence).await;
    }
    contacts_are_polled_soon(&org, &daemon).await;
    let id = org.some("Product2", "").await;
    org.end_sessions().await;
    std::fs::write(&secret, right).unwrap();
    signal(&daemon.running, "-HUP");
    manager.until("READY=1 after the second reload", is_ready);
    says(&daemon.running, "the secrets were read again and are the same").await;
    org.update("Product2", &id, json!({"Name": "After the reload"}))
        .await;
    eventually("the daemon logs in again and goes on", async || {
        let (_, row) = daemon.get(&format!("/v1/objects/product2/{id}")).await?;
        (row["name"] == "After the reload").then_some(())
    })
    .await;
    assert!(
        daemon.running.said().contains("DEBUG"),
        "the level is that of the file"
    );

    // What cannot be read changes nothing.
    std::fs::write(org.config(), "nonsense").unwrap();
    signal(&daemon.running, "-HUP");
    eventually("it says so", async || {
        daemon
            .running
            .said()
            .contains("the configuration was not reloaded")
            .then_some(())
    })
    .await;
    assert_eq!(daemon.get("/v1/objects/product2").await.unwrap().0, 200);
}

#[tokio::test]
async fn a_reload_takes_the_certificates_that_the_org_has_now() {
    let org = Sandbox::start(&["--tls", "--products", "5", "--stores", "1"]).await;
    let other = Sandbox::start(&["--tls", "--products", "5", "--stores", "1"]).await;
    let ca = Path::new(&org.env["SANDBOX_CA"]);
    let right = std::fs::read(ca).unwrap();
    std::fs::copy(&other.env["SANDBOX_CA"], ca).unwrap();
    drop(other);
    let daemon = org.daemon().await;
    eventually("the org cannot be trusted", async || {
        daemon
            .running
            .said()
            .contains("the org is asked again and again")
            .then_some(())
    })
    .await;
    std::fs::write(ca, right).unwrap();
    signal(&daemon.running, "-HUP");
    daemon.live().await;
}

#[tokio::test]
async fn a_second_signal_cuts_the_drain_short() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let manager = Manager::new();
    let mut daemon = org.daemon_with(&[("NOTIFY_SOCKET", &manager.path())]).await;
    manager.until("READY=1", is_ready);
    // A request that is being answered holds the drain: its body does not end.
    let address = daemon.api.trim_start_matches("http://").to_owned();
    let mut open = std::net::TcpStream::connect(&address).unwrap();
    let head = format!(
        "POST /v1/stores/x/orders HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    std::io::Write::write_all(&mut open, head.as_bytes()).unwrap();
    eventually("the request is taken", async || {
        (daemon.get("/v1/stores").await?.0 == 200).then_some(())
    })
    .await;
    signal(&daemon.running, "-TERM");
    manager.until("STOPPING=1", |told| told.contains_key("STOPPING"));
    let started = Instant::now();
    signal(&daemon.running, "-TERM");
    let status: ExitStatus = daemon.running.wait();
    assert_eq!(status.code(), Some(75));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

/// Runs the daemon as systemd starts it with a socket: `systemd-socket-activate` is systemd's own tool for it.
#[tokio::test]
async fn a_socket_of_systemd_is_served() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let manager = Manager::new();
    let plain = org.daemon_command(&[]);
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--listen", &address, "--fdname", "storefront"]);
    for (name, value) in plain.get_envs() {
        if let Some(value) = value {
            command.arg(format!(
                "--setenv={}={}",
                name.to_str().unwrap(),
                value.to_str().unwrap()
            ));
        }
    }
    command.arg(format!("--setenv=NOTIFY_SOCKET={}", manager.path()));
    command.arg(plain.get_program()).args(plain.get_args());
    let running = Running::quiet(command);
    // The first connection starts the daemon, and is answered by it.
    let client = reqwest::Client::new();
    let url = format!("http://{address}/v1/stores");
    let answer = eventually("the first request is answered", async || {
        client.get(&url).send().await.ok()
    })
    .await;
    assert!(
        answer.status().is_success() || answer.status() == 503,
        "{}",
        answer.status()
    );
    manager.until("READY=1", is_ready);
    let said = running.said();
    assert!(
        said.contains(&format!("storefronts are served on http://{address}")),
        "{said}"
    );
}

fn unit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)
}

#[test]
fn the_units_are_sound_and_hardened() {
    let root = tempfile::tempdir().unwrap();
    let binary = root.path().join("usr/bin");
    std::fs::create_dir_all(&binary).unwrap();
    for name in ["storesync.service", "storesync@.service"] {
        let output = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", "--threshold=12"])
            .arg(unit(name))
            .output()
            .expect("systemd-analyze, see tests/setup.sh");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{name} is exposed by more than 1.2:\n{text}"
        );
    }
    // Verified with the program in its place and without the manual, which the package brings.
    let units = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for name in ["storesync.service", "storesync@.service", "storesync.socket"] {
        let text = std::fs::read_to_string(unit(name)).unwrap();
        let text = text.replace("/usr/bin/storesync", storesync().get_program().to_str().unwrap());
        let text = text.replace("Documentation=man:storesync(1)\n", "");
        let path = units.path().join(name);
        std::fs::write(&path, text).unwrap();
        paths.push(path);
    }
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .args(&paths)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let known = "Failed to parse service type, ignoring: notify-reload";
    let complaints: Vec<&str> = said.lines().filter(|line| !line.contains(known)).collect();
    assert!(output.status.success() && complaints.is_empty(), "{said}");
}

/// The unit for one org of many says the same as the unit for the only one.
#[test]
fn the_template_is_the_unit_with_the_name_of_an_org() {
    let read = |name| std::fs::read_to_string(unit(name)).unwrap();
    let settings = |text: &str| -> Vec<String> {
        let said = text
            .lines()
            .filter(|line| !line.starts_with(['#', ';']) && !line.trim().is_empty());
        said.map(|line| {
            line.replace("/%i", "")
                .replace("-%i", "")
                .replace("the Salesforce org %i", "a Salesforce org")
                .replace("=%i", "=default")
        })
        .filter(|line| {
            line != "Also=storesync.socket" && !line.starts_with("Environment=STORESYNC__STATE__DIR=")
        })
        .collect()
    };
    assert_eq!(
        settings(&read("storesync.service")),
        settings(&read("storesync@.service"))
    );
}
