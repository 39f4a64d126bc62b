//! `storesync check`, as an operator runs it: against an org that fits, and against each thing that does not.

use serde_json::{Value, json};

use crate::outbound::configure;
use crate::world::{Sandbox, eventually};

/// The lines of a report.
struct Report {
    exit: i32,
    lines: Vec<Value>,
}

impl Report {
    async fn of(org: &Sandbox, variables: &[(&str, &str)]) -> Self {
        let (exit, stdout, stderr) = org.verb_with(variables, &["check", "--json"]).await;
        let report: Value =
            serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("no JSON: {stdout}\n{stderr}"));
        let lines = report["lines"].as_array().unwrap().clone();
        for line in &lines {
            let fine = line["verdict"] == "ok";
            assert_eq!(
                fine,
                line["remedy"].is_null(),
                "a line says what to do, or is ok: {line}"
            );
        }
        Self { exit, lines }
    }

    /// The line of an area whose subject has this in it.
    fn line(&self, area: &str, subject: &str) -> &Value {
        self.lines
            .iter()
            .find(|line| line["area"] == area && line["subject"].as_str().unwrap().contains(subject))
            .unwrap_or_else(|| panic!("no line {area} {subject} in {:#?}", self.lines))
    }

    fn failed(&self) -> Vec<String> {
        let failed = self.lines.iter().filter(|line| line["verdict"] == "fail");
        failed
            .map(|line| format!("{} {}", line["area"], line["subject"]).replace('"', ""))
            .collect()
    }

    /// That exactly this fails, and says this.
    fn fails_with(&self, exit: i32, area: &str, subject: &str, told: &str) {
        let line = self.line(area, subject);
        assert_eq!(line["verdict"], "fail", "{line}");
        assert!(line["told"].as_str().unwrap().contains(told), "{line}");
        assert_eq!((self.failed().len(), self.exit), (1, exit), "{:?}", self.failed());
    }
}

#[tokio::test]
async fn a_mirrored_field_that_may_hold_a_secret_is_told() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let told = |report: &Report| -> Vec<String> {
        let lines = report.lines.iter().filter(|line| line["verdict"] == "warn");
        let suspects = lines.filter(|line| line["told"].as_str().unwrap().contains("may hold a secret"));
        suspects
            .map(|line| line["subject"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(told(&Report::of(&org, &[]).await), [""; 0]);
    for (name, kind) in [
        ("Locker_Pin__c", "Text 20"),
        ("Pinned__c", "Text 20"),
        ("Needs_Token__c", "Boolean"),
        ("Session_Token__c", "Text 255"),
        ("Alarm_Licence_Key_2__c", "Text 255"),
    ] {
        let field = json!({"object": "Account", "name": name, "type": kind});
        org.control("schema", json!({ "add": field })).await;
    }
    let suspects = [
        "Account.Locker_Pin__c",
        "Account.Session_Token__c",
        "Account.Alarm_Licence_Key_2__c",
    ];
    assert_eq!(told(&Report::of(&org, &[]).await), suspects);
    configure(
        &org,
        "[sync.object.Account]\nleave_out = [\"Locker_Pin__c\", \"session_token__c\"]\n",
    );
    assert_eq!(
        told(&Report::of(&org, &[]).await),
        ["Account.Alarm_Licence_Key_2__c"]
    );
}

#[tokio::test]
async fn a_status_that_is_not_in_the_picklist_is_told() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let report = Report::of(&org, &[("STORESYNC__ORDERS__STATUS", "Posted")]).await;
    report.fails_with(1, "orders", "orders.status", "Order.Status may not be Posted");
    let cancelled = report.line("orders", "orders.cancelled_status");
    assert_eq!(
        cancelled["verdict"], "warn",
        "the org has no Cancelled: {cancelled}"
    );
    let remedy = cancelled["remedy"].as_str().unwrap();
    assert!(
        remedy.contains("Draft") && remedy.contains("Activated"),
        "{remedy}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_of_each_object_whether_its_changes_can_have_a_number() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    for (object, kind) in [("Order", "Double 18,0"), ("Account", "Double 10,0")] {
        let field = json!({"object": object, "name": "Version__c", "type": kind});
        org.control("schema", json!({ "add": field })).await;
    }
    let named = [("STORESYNC__ORDERS__VERSION_FIELD", "Version__c")];
    let report = Report::of(&org, &named).await;
    let expected = [
        ("Order", "ok", "Version__c may be set"),
        (
            "Account",
            "warn",
            "Account.Version__c is no number with 15 digits",
        ),
        ("Contact", "warn", "Contact has no field Version__c"),
    ];
    for (object, verdict, told) in expected {
        let line = report.line("orders", &format!("{object} version"));
        assert_eq!(line["verdict"], verdict, "{line}");
        assert!(line["told"].as_str().unwrap().contains(told), "{line}");
    }
    let (_, before, _) = org.verb_with(&named, &["orders", "map"]).await;
    assert!(
        before.contains("Version__c (the org is not known yet)"),
        "{before}"
    );
    let daemon = org.daemon_with(&named).await;
    daemon.live().await;
    eventually("the org is known", async || {
        let (_, map, _) = org.verb_with(&named, &["orders", "map"]).await;
        let line = |object: &str| {
            let start = format!("version of {object} ");
            map.lines()
                .find(|line| line.starts_with(&start))
                .unwrap()
                .to_owned()
        };
        let is_there = line("Order").ends_with(" Version__c") && line("Account").contains("15 digits");
        (is_there && line("Contact").contains("has no field")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_org_that_fits_is_ok_in_every_line() {
    let org = Sandbox::start(&["--tls", "--products", "5"]).await;
    let report = Report::of(&org, &[]).await;
    assert_eq!((report.failed(), report.exit), (Vec::<String>::new(), 0));
    for (area, subject) in [
        ("configuration", "file"),
        ("files", "client_secret_file"),
        ("network", "DNS"),
        ("network", "TLS"),
        ("login", "clock"),
        ("login", "login"),
        ("login", "API version"),
        ("login", "user"),
        ("limits", "API requests"),
        ("limits", "event deliveries"),
        ("channels", "/data/ChangeEvents"),
        ("objects", "Product2"),
        ("orders", "Order"),
        ("orders", "Order key"),
        ("orders", "OrderItem fields"),
        ("orders", "Account record types"),
    ] {
        assert_eq!(report.line(area, subject)["verdict"], "ok", "{area} {subject}");
    }
    // Of how much is left the machine decides.
    assert!(report.line("files", "disk space")["bytes_left"].is_u64());
    let product = report.line("objects", "Product2");
    let code = product["fields"]
        .as_array()
        .unwrap()
        .iter()
        .find(|field| field["field"] == "ProductCode")
        .unwrap();
    assert_eq!(
        (&code["kind"], &code["external_id"]),
        (&json!("text"), &json!(false))
    );
    let kept: Vec<&Value> = report
        .lines
        .iter()
        .map(|line| &line["kept_by"])
        .filter(|by| !by.is_null())
        .collect();
    assert!(
        kept.contains(&&json!("stream")) && kept.contains(&&json!("poll")),
        "{kept:?}"
    );

    let (exit, stdout, _) = org.verb(&["check"]).await;
    assert_eq!(exit, 0);
    assert!(
        stdout.lines().all(|line| line.starts_with("ok ")
            || line.starts_with("warn ")
            || line.starts_with(' ')
            || line.ends_with(" fail")),
        "{stdout}"
    );
    assert!(stdout.contains("\n      "), "a warning says what to do: {stdout}");
}

#[tokio::test]
async fn each_misfit_of_the_org_is_named_with_what_to_do() {
    let org = Sandbox::start(&["--products", "5"]).await;
    org.control(
        "permissions",
        json!({"object": "Order", "hidden": [], "read_only": ["External_ID__c", "s_c__sC_Id__c"]}),
    )
    .await;
    Report::of(&org, &[])
        .await
        .fails_with(1, "orders", "Order key", "not writable by the user");
    org.control(
        "permissions",
        json!({"object": "Order", "hidden": [], "read_only": []}),
    )
    .await;

    org.control(
        "permissions",
        json!({"object": "OrderItem", "hidden": [], "read_only": ["UnitPrice"]}),
    )
    .await;
    Report::of(&org, &[])
        .await
        .fails_with(1, "orders", "OrderItem fields", "UnitPrice");
    org.control(
        "permissions",
        json!({"object": "OrderItem", "hidden": [], "read_only": []}),
    )
    .await;

    let named = [("STORESYNC__SYNC__OBJECTS", "Nonsense__c")];
    Report::of(&org, &named)
        .await
        .fails_with(1, "objects", "Nonsense__c", "no such object");
    let named = [(
        "STORESYNC__SYNC__CHANNELS",
        "/data/ChangeEvents,/data/NonsenseChangeEvent",
    )];
    Report::of(&org, &named)
        .await
        .fails_with(1, "channels", "/data/NonsenseChangeEvent", "no such channel");
    let named = [("STORESYNC__ORDERS__EXTERNAL_ID_FIELD", "Web_Key__c")];
    let report = Report::of(&org, &named).await;
    assert_eq!(report.line("orders", "Order key")["verdict"], "fail");

    let used = org.control("limits", json!({"daily_requests": 1_000_000})).await["used"]
        .as_u64()
        .unwrap();
    org.control("limits", json!({"daily_requests": used + 400})).await;
    let report = Report::of(&org, &[("STORESYNC__SYNC__API_SHARE_PERCENT", "1")]).await;
    assert_eq!(report.line("limits", "API requests")["verdict"], "warn");
}

#[tokio::test]
async fn a_way_that_is_barred_ends_the_questions_with_its_reason() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let nowhere = [("STORESYNC__ORG__LOGIN_URL", "http://127.0.0.1:1")];
    Report::of(&org, &nowhere).await.fails_with(
        69,
        "network",
        "HTTP http://127.0.0.1:1",
        "cannot be reached",
    );
    let nowhere = [("STORESYNC__ORG__PUBSUB_URL", "http://127.0.0.1:1")];
    Report::of(&org, &nowhere).await.fails_with(
        69,
        "network",
        "HTTP http://127.0.0.1:1",
        "cannot be reached",
    );
    let unknown = [("STORESYNC__ORG__LOGIN_URL", "https://no-such-host.invalid")];
    let report = Report::of(&org, &unknown).await;
    assert_eq!(
        report.line("network", "DNS no-such-host.invalid")["verdict"],
        "fail"
    );
    assert_eq!(report.exit, 69);
    let wrong = [("STORESYNC__ORG__CLIENT_ID", "nobody")];
    Report::of(&org, &wrong)
        .await
        .fails_with(78, "login", "login", "refused");
    let old = [("STORESYNC__ORG__API_VERSION", "99.0")];
    Report::of(&org, &old)
        .await
        .fails_with(78, "login", "API version", "does not speak 99.0");
}

#[tokio::test]
async fn files_are_looked_at_without_the_org() {
    use std::os::unix::fs::PermissionsExt as _;
    let org = Sandbox::start(&["--products", "5"]).await;
    let key = org.dir.path().join("client_secret");
    let missing = [("STORESYNC__ORG__CLIENT_SECRET_FILE", "/nonexistent/secret")];
    let report = Report::of(&org, &missing).await;
    assert_eq!(report.line("files", "client_secret_file")["verdict"], "fail");
    let mut stdout = String::new();
    for mode in [0o640, 0o604] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let (exit, told, _) = org.verb(&["check", "--offline"]).await;
        let expected = format!("may be read by others than its owner (mode {mode:o})");
        assert!(exit == 0 && told.contains(&expected), "{exit} {told}");
        stdout = told;
    }
    assert!(stdout.contains("chmod 600 "), "{stdout}");
    assert!(!stdout.contains(" login "), "the org is left alone: {stdout}");

    let proxies = [("STORESYNC__ADMIN__TRUSTED_PROXIES", "0.0.0.0/0")];
    let (_, stdout, _) = org.verb_with(&proxies, &["check", "--offline"]).await;
    for told in ["without [[admin.tokens]]", "0.0.0.0/0 is every address"] {
        assert!(stdout.contains(told), "{stdout}");
    }

    let (exit, stdout, _) = org
        .verb_with(&[("STORESYNC__SYNC__POL_SECONDS", "1")], &["check"])
        .await;
    assert_eq!(exit, 78);
    assert!(
        stdout.starts_with("fail  configuration") && stdout.contains("pol_seconds"),
        "{stdout}"
    );
}

/// As systemd hands them over: a folder that `CREDENTIALS_DIRECTORY` names, each file under `storesync_`.
#[tokio::test]
async fn secrets_are_taken_from_the_credentials_of_the_service() {
    let org = Sandbox::start(&["--products", "5"]).await;
    let credentials = tempfile::tempdir().unwrap();
    std::fs::rename(
        org.dir.path().join("client_secret"),
        credentials.path().join("storesync_shop_secret"),
    )
    .unwrap();
    let named = ("STORESYNC__ORG__CLIENT_SECRET_FILE", "shop_secret");
    let report = Report::of(&org, &[named]).await;
    assert_eq!(report.line("files", "client_secret_file")["verdict"], "fail");
    let directory = credentials.path().to_str().unwrap();
    let report = Report::of(&org, &[named, ("CREDENTIALS_DIRECTORY", directory)]).await;
    assert_eq!(report.line("login", "login")["verdict"], "ok");
}
