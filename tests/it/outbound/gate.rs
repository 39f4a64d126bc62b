//! What the org would refuse is refused at once, naming what was sent and what the org takes.

use reqwest::Method;
use serde_json::{Value, json};

use super::{accepted, configure};
use crate::process::DATA_PATH;
use crate::world::{Daemon, Sandbox, a_store, eventually, order};

const SETTABLE: &str = "[orders]\nfields = { \"*\" = [\"Order.Tier__c\", \"Order.Score__c\", \"Order.Due__c\", \
    \"Order.Gift__c\", \"Order.Must__c\", \"OrderItem.Engraving__c\", \"Contact.Nick__c\", \"Case.Reason\"] }";

async fn add_field(org: &Sandbox, object: &str, name: &str, kind: &str, words: &str, picklist: &[&str]) {
    let field = json!({"object": object, "name": name, "type": kind, "words": words, "picklist": picklist});
    org.control("schema", json!({ "add": field })).await;
}

/// An org with fields of each form, which storefronts may set.
async fn an_org() -> Sandbox {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    for (object, name, kind, words, picklist) in [
        (
            "Order",
            "Tier__c",
            "Picklist 20",
            "restricted",
            &["Gold", "Silver"][..],
        ),
        ("Order", "Score__c", "Double 5,1", "", &[]),
        ("Order", "Due__c", "Date", "", &[]),
        ("Order", "Gift__c", "Boolean", "", &[]),
        ("OrderItem", "Engraving__c", "Text 12", "", &[]),
        ("Contact", "Nick__c", "Text 8", "", &[]),
    ] {
        add_field(&org, object, name, kind, words, picklist).await;
    }
    for object in ["Contact", "CampaignMember"] {
        let key = json!({"object": object, "name": "External_ID__c", "type": "Text 30", "words": "external unique"});
        org.control("schema", json!({ "retype": key })).await;
    }
    configure(&org, SETTABLE);
    org
}

/// The org's own word on a field: so many characters.
async fn length(org: &Sandbox, object: &str, field: &str) -> usize {
    let request = |base: &str, token: &str| {
        let url = format!("{base}{DATA_PATH}/sobjects/{object}/describe");
        org.http.get(url).bearer_auth(token)
    };
    let describe: Value = org.send(request).await.json().await.unwrap();
    let mut fields = describe["fields"].as_array().unwrap().iter();
    let found = fields.find(|one| one["name"] == field).unwrap();
    usize::try_from(found["length"].as_u64().unwrap()).unwrap()
}

/// Waits until a daemon has seen what the org looks like.
async fn has_seen(org: &Sandbox) {
    let file = org.state().join("objects.json");
    eventually("the org's objects were seen", async || {
        file.exists().then_some(())
    })
    .await;
}

async fn a_daemon(org: &Sandbox) -> (Daemon, String, String, Vec<String>) {
    let daemon = org.daemon().await;
    daemon.live().await;
    has_seen(org).await;
    let (store, currency, products) = a_store(&daemon).await;
    (daemon, store, currency, products)
}

/// `value` at `path` of a body: `items.0.quantity`.
fn with(mut body: Value, path: &str, value: &Value) -> Value {
    let mut place = &mut body;
    for step in path.split('.') {
        place = match step.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[step],
        };
    }
    place.clone_from(value);
    body
}

/// A member, what is sent in it, and what is said of it.
type Case = (&'static str, Value, String);

fn longest(characters: usize) -> Value {
    json!("x".repeat(characters))
}

/// `street` and `key` are how many characters the org takes.
fn refused_orders(street: usize, key: usize) -> Vec<Case> {
    vec![
        (
            "shipping_address.street",
            longest(4_000),
            format!("shipping_address.street has 4,000 characters: the org takes {street}"),
        ),
        (
            "billing_address.city",
            longest(41),
            "billing_address.city has 41 characters: the org takes 40".to_owned(),
        ),
        (
            "customer.last_name",
            longest(81),
            "customer.last_name has 81 characters: the org takes 80".to_owned(),
        ),
        (
            "customer.external_id",
            longest(200),
            format!("customer.external_id has 200 characters: the org takes {key}"),
        ),
        (
            "fields.Tier__c",
            json!("Bronze"),
            "fields.Tier__c is no value of the org's picklist: it takes Gold, Silver".to_owned(),
        ),
        (
            "fields.Score__c",
            json!(10_000),
            "fields.Score__c is too large: the org takes 4 digits before the point".to_owned(),
        ),
        (
            "fields.Score__c",
            json!(1.25),
            "fields.Score__c has 2 digits after the point: the org takes 1".to_owned(),
        ),
        (
            "fields.Due__c",
            json!("22.11.2026"),
            "fields.Due__c must be a date such as 2026-11-22".to_owned(),
        ),
        (
            "fields.Gift__c",
            json!("yes"),
            "fields.Gift__c must be true or false".to_owned(),
        ),
        (
            "items.0.fields.Engraving__c",
            json!("thirteen char"),
            "items[0].fields.Engraving__c has 13 characters: the org takes 12".to_owned(),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_the_org_would_refuse_is_refused_at_once() {
    let org = an_org().await;
    let (daemon, store, currency, products) = a_daemon(&org).await;
    let street = length(&org, "Order", "ShippingStreet").await;
    let cases = refused_orders(street, length(&org, "Contact", "External_ID__c").await);
    for (number, (member, value, told)) in cases.into_iter().enumerate() {
        let key = format!("NO-{number}");
        let posted = with(order(&key, &currency, &[(&products[0], 1)]), member, &value);
        let (status, problem) = daemon.post(&format!("/v1/stores/{store}/orders"), &posted).await;
        assert_eq!(
            (status, problem["detail"].as_str()),
            (422, Some(told.as_str())),
            "{problem}"
        );
        assert!(told.starts_with(problem["field"].as_str().unwrap()), "{problem}");
    }
    // As much as the org takes is taken, and is there.
    let mut posted = order("YES-1", &currency, &[(&products[0], 1)]);
    for (member, value) in [
        ("shipping_address.street", longest(street)),
        ("fields.Tier__c", json!("Silver")),
        ("fields.Score__c", json!(9_999.5)),
        ("fields.Gift__c", json!(true)),
    ] {
        posted = with(posted, member, &value);
    }
    accepted(&daemon, &store, &posted).await;
    let path = format!("/v1/stores/{store}/orders/YES-1");
    daemon.until(&path, &["sent", "confirmed"]).await;
    assert_eq!(
        org.count("Order WHERE External_ID__c = 'YES-1' AND Tier__c = 'Silver' AND Score__c = 9999.5 AND Gift__c = true")
            .await,
        1
    );
    assert_eq!(org.count("Order WHERE External_ID__c LIKE 'NO-%'").await, 0);
}

/// Method, address, body, and how the answer begins.
type WriteCase = (Method, &'static str, Value, &'static str);

fn refused_writes(campaign: &str, form: &str) -> Vec<WriteCase> {
    let named = json!({"external_id": "C-77", "last_name": "Bo"});
    let x = longest;
    let post = |path, body, told| (Method::POST, path, body, told);
    let patch = |path, body, told| (Method::PATCH, path, body, told);
    vec![
        post(
            "customers",
            json!({"external_id": "C-1", "first_name": x(41)}),
            "first_name has 41",
        ),
        post(
            "customers",
            json!({"external_id": "C-1", "fields": {"Nick__c": x(9)}}),
            "fields.Nick__c has 9",
        ),
        patch("customers/C-1", json!({"phone": x(41)}), "phone has 41"),
        patch(
            "customers/003000000000001AAA",
            json!({"shipping_address": {"postal_code": x(21)}}),
            "shipping_address.postal_code has 21",
        ),
        post(
            "cases",
            json!({"external_id": "K-1", "subject": x(256), "customer": named}),
            "subject has 256",
        ),
        post(
            "cases",
            json!({"external_id": "K-1", "subject": "s", "customer":
                {"external_id": "C-77", "first_name": x(40), "last_name": x(40)}}),
            "customer.first_name and last_name together have 81",
        ),
        post(
            "leads",
            json!({"external_id": "L-1", "last_name": "Lee", "address": {"city": x(41)}}),
            "address.city has 41",
        ),
        post(
            "campaign-members",
            json!({"external_id": x(200), "campaign_id": campaign, "customer": named}),
            "external_id has 200",
        ),
        post(
            "assets",
            json!({"external_id": "A-1", "name": x(256), "customer": named}),
            "name has 256",
        ),
        post(
            "form-submissions",
            json!({"external_id": x(200), "form_id": form, "answers": [{"answer": "a"}]}),
            "external_id has 200",
        ),
        post(
            "orders/WEB-K/updates",
            json!({"external_id": "U-1", "shipping_address": {"street": x(256)}}),
            "shipping_address.street has 256",
        ),
        post(
            "orders/WEB-K/updates",
            json!({"external_id": "U-1", "payment": {"reference": x(300)}}),
            "payment.reference has 300",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_write_that_the_org_would_refuse_is_refused_at_once() {
    let org = an_org().await;
    let campaign = org.create("Campaign", json!({"Name": "News"})).await;
    let form = org.some("s_c__Form__c", "").await;
    let (daemon, store, currency, products) = a_daemon(&org).await;
    accepted(&daemon, &store, &order("WEB-K", &currency, &[(&products[0], 1)])).await;
    for (number, (method, path, body, told)) in refused_writes(&campaign, &form).into_iter().enumerate() {
        let path = format!("/v1/stores/{store}/{path}");
        let key = format!("KEY-{number}");
        let key = (method == Method::PATCH).then_some(key.as_str());
        let (status, problem) = daemon.send(method, &daemon.api, &path, key, &body).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(
            status == 422 && detail.starts_with(told),
            "{path} {told}: {status} {problem}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_new_record_cannot_be_without_is_asked_for_where_the_store_may_set_it() {
    let org = an_org().await;
    add_field(&org, "Order", "Must__c", "Text 20", "required", &[]).await;
    let (daemon, store, currency, products) = a_daemon(&org).await;
    let posted = order("MUST-1", &currency, &[(&products[0], 1)]);
    let (status, problem) = daemon.post(&format!("/v1/stores/{store}/orders"), &posted).await;
    assert_eq!(
        (status, problem["detail"].as_str()),
        (
            422,
            Some("fields.Must__c is missing: the org makes no Order without it")
        )
    );
    accepted(
        &daemon,
        &store,
        &with(posted, "fields", &json!({"Must__c": "here"})),
    )
    .await;
    let path = format!("/v1/stores/{store}/orders/MUST-1");
    daemon.until(&path, &["sent", "confirmed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_is_a_store_s_to_set_by_any_of_its_names_and_no_other_s() {
    let org = Sandbox::start(&["--products", "8", "--stores", "2"]).await;
    for name in ["One__c", "Two__c", "Three__c"] {
        add_field(&org, "Order", name, "Text 20", "", &[]).await;
    }
    let stores = "SELECT Id, s_c__Code__c, s_c__Domain__c FROM s_c__Store__c ORDER BY s_c__Code__c";
    let stores = org.query(stores).await;
    let text = |at: usize, field: &str| stores[at][field].as_str().unwrap().to_owned();
    let (code, domain) = (text(0, "s_c__Code__c"), text(0, "s_c__Domain__c"));
    let (upper_code, upper_domain) = (code.to_uppercase(), domain.to_uppercase());
    assert!(code != upper_code && domain != upper_domain, "{stores:?}");
    let fields = format!(
        "[orders.fields]\n\"{}\" = [\"Order.One__c\"]\n\"{upper_code}\" = [\"order.two__C\"]\n\
         \"{upper_domain}\" = [\"Order.Three__c\"]",
        text(0, "Id")
    );
    configure(&org, &fields);
    let daemon = org.daemon().await;
    daemon.live().await;
    has_seen(&org).await;
    for (at, store) in [(0, text(0, "Id")), (1, text(1, "Id"))] {
        let (_, listed) = daemon
            .get(&format!("/v1/stores/{store}/products?limit=200"))
            .await
            .unwrap();
        let mut items = listed["items"].as_array().unwrap().iter();
        let free = |item: &&Value| item["purchasable"] == true && item["stock"].is_null();
        let product = items.find(free).unwrap();
        let currency = product["price"]["currency"].as_str().unwrap();
        for field in ["One__c", "Two__c", "Three__c"] {
            let key = format!("{field}-{at}");
            let mut posted = order(&key, currency, &[(product["id"].as_str().unwrap(), 1)]);
            posted["fields"] = json!({ field: "set" });
            let (status, answer) = daemon.post(&format!("/v1/stores/{store}/orders"), &posted).await;
            let told = (status, answer["field"].as_str().map(str::to_owned));
            let refused = (422, Some(format!("fields.{field}")));
            let expected = if at == 0 { (202, None) } else { refused };
            assert_eq!(told, expected, "{at} {field}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_not_cancelled_into_a_status_that_the_org_does_not_have() {
    let org = an_org().await;
    let (daemon, store, currency, products) = a_daemon(&org).await;
    accepted(&daemon, &store, &order("STOP-1", &currency, &[(&products[0], 1)])).await;
    let updates = format!("/v1/stores/{store}/orders/STOP-1/updates");
    let cancel = json!({"external_id": "U-1", "cancelled": {}});
    let (status, problem) = daemon.post(&updates, &cancel).await;
    let told = "cancelled cannot be written: the org has no order status Cancelled; add it to Order.Status, or name one that is there as orders.cancelled_status";
    assert_eq!(
        (status, problem["field"].as_str(), problem["detail"].as_str()),
        (422, Some("cancelled"), Some(told))
    );
    let moved = json!({"external_id": "U-2", "shipping_address": {"city": "Perth"}});
    assert_eq!(daemon.post(&updates, &moved).await.0, 202);
}

/// The org cannot be asked what it looks like.
async fn hide_describe(org: &Sandbox) {
    org.fault(json!({"path": "/describe", "fault": {"status": 503}}))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_org_takes_is_known_after_a_restart_without_it_and_what_was_accepted_stays_so() {
    let org = an_org().await;
    let (mut daemon, store, currency, products) = a_daemon(&org).await;
    let engraved = |key: &str| {
        let posted = order(key, &currency, &[(&products[0], 1)]);
        with(posted, "items.0.fields", &json!({"Engraving__c": "ten chars."}))
    };
    accepted(&daemon, &store, &engraved("EARLY-1")).await;
    let path = format!("/v1/stores/{store}/orders/EARLY-1");
    daemon.until(&path, &["sent", "confirmed"]).await;
    daemon.running.kill();
    let shorter = json!({"object": "OrderItem", "name": "Engraving__c", "type": "Text 5"});
    org.control("schema", json!({ "retype": shorter })).await;
    std::fs::remove_file(org.state().join("objects.json")).unwrap();
    (daemon, ..) = a_daemon(&org).await;
    let orders = format!("/v1/stores/{store}/orders");
    let (status, problem) = daemon.post(&orders, &engraved("LATE-1")).await;
    assert_eq!(status, 422, "{problem}");
    accepted(&daemon, &store, &engraved("EARLY-1")).await;

    daemon.running.kill();
    hide_describe(&org).await;
    let mut daemon = org.daemon().await;
    let (status, problem) = daemon.post(&orders, &engraved("LATE-1")).await;
    assert_eq!(status, 422, "{problem}");
    daemon.running.kill();
    std::fs::remove_file(org.state().join("objects.json")).unwrap();
    let daemon = org.daemon().await;
    // Nobody knows: it is taken as before.
    accepted(&daemon, &store, &engraved("LATE-1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_the_org_would_refuse_is_refused_at_once() {
    let org = an_org().await;
    let (daemon, store, currency, products) = a_daemon(&org).await;
    org.fault(json!({"path": "/composite", "fault": {"status": 503}}))
        .await;
    accepted(&daemon, &store, &order("EDIT-1", &currency, &[(&products[0], 1)])).await;
    let street = format!("shipping_address.street={}", "x".repeat(300));
    let told = "shipping_address.street has 300 characters: the org takes 255";
    let (code, _, said) = org.verb(&["orders", "edit", "EDIT-1", "--set", &street]).await;
    assert!(code == 1 && said.contains(told), "{code} {said}");
    let patch = json!({"customer": {"last_name": "x".repeat(81)}});
    let (status, problem) = daemon
        .admin_post("/api/orders/EDIT-1/edit", &json!({ "patch": patch }))
        .await;
    assert_eq!(
        (status, problem["detail"].as_str()),
        (
            409,
            Some("customer.last_name has 81 characters: the org takes 80")
        )
    );
    let (code, _, said) = org
        .verb(&[
            "orders",
            "edit",
            "EDIT-1",
            "--set",
            "shipping_address.street=2 Low St",
        ])
        .await;
    assert_eq!(code, 0, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_stands_twice_is_refused_by_its_name() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let (store, currency, products) = a_store(&daemon).await;
    let posted = order("TWICE-1", &currency, &[(&products[0], 1)]).to_string();
    let once = "\"quantity\":1";
    assert!(posted.contains(once), "{posted}");
    let twice = posted.replace(once, "\"quantity\":1,\"quantity\":100");
    for (path, body, member) in [
        ("orders", twice.as_str(), "items[0].quantity"),
        (
            "customers",
            r#"{"external_id":"C-1","phone":"1","phone":"2"}"#,
            "phone",
        ),
        (
            "cases",
            r#"{"subject":"a","customer":{"email":"a@b.c","email":"d@e.f"}}"#,
            "customer.email",
        ),
    ] {
        let request = reqwest::Client::new()
            .post(format!("{}/v1/stores/{store}/{path}", daemon.api))
            .header("content-type", "application/json")
            .body(body.to_owned());
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!((status, &problem["field"]), (422, &json!(member)), "{problem}");
        let told = format!("{member} stands twice in the body: send it once");
        assert_eq!(problem["detail"], told);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quantity_whose_value_no_field_holds_is_refused_at_once() {
    let org = an_org().await;
    let (daemon, store, currency, products) = a_daemon(&org).await;
    let orders = format!("/v1/stores/{store}/orders");
    let posted = |quantity: u64, price: &str, items: usize| {
        let some = vec![(products[0].as_str(), 1); items];
        let mut posted = order("MANY-1", &currency, &some);
        for item in posted["items"].as_array_mut().unwrap() {
            item["quantity"] = json!(quantity);
            item["unit_price"] = json!(price);
        }
        posted
    };
    for (body, member, told) in [
        (
            posted(999_999_999_999_999, "99.99", 1),
            "items[0].quantity",
            "items[0].quantity times unit_price is too large: OrderItem.TotalPrice takes 16 digits before the point",
        ),
        (
            posted(99_999_999_999_999_999, "0.01", 1),
            "items[0].quantity",
            "items[0].quantity has more digits than a number keeps: send at most 15",
        ),
        (
            posted(900_000_000_000_000, "6", 2),
            "items",
            "items come to a total that is too large: Order.TotalAmount takes 16 digits before the point",
        ),
    ] {
        let (status, problem) = daemon.post(&orders, &body).await;
        assert_eq!((status, &problem["field"]), (422, &json!(member)), "{problem}");
        assert_eq!(problem["detail"], told);
    }
}

/// What storefronts may set by the configuration, of which the org or storesync keeps most to itself.
const KEPT: [&str; 11] = [
    "Order.Frozen__c",
    "Order.Absent__c",
    "Order.Status",
    "Order.External_ID__c",
    "Order.PoNumber",
    "OrderItem.Frozen__c",
    "OrderItem.Product2Id",
    "Contact.Frozen__c",
    "Contact.External_ID__c",
    "Case.Frozen__c",
    "Case.OwnerId",
];

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_the_org_or_storesync_keeps_to_itself_are_refused_at_once() {
    let org = Sandbox::start(&["--products", "5", "--stores", "1"]).await;
    for object in ["Order", "OrderItem", "Contact", "Case"] {
        add_field(&org, object, "Frozen__c", "Text 20", "readonly", &[]).await;
    }
    configure(&org, &format!("[orders]\nfields = {{ \"*\" = {KEPT:?} }}"));
    let (daemon, store, currency, products) = a_daemon(&org).await;
    let plain = order("KEEP-1", &currency, &[(&products[0], 1)]);
    let of_items = |name: &str| with(plain.clone(), "items.0.fields", &json!({ name: "x" }));
    let of_order = |name: &str| with(plain.clone(), "fields", &json!({ "PoNumber": "P", name: "x" }));
    let of_person = |name: &str| json!({"external_id": "C-1", "last_name": "Lee", "fields": { name: "x" }});
    let of_case = |name: &str| json!({"external_id": "K-1", "subject": "s", "customer": {"last_name": "Lee"}, "fields": { name: "x" }});
    let (locked, own) = (
        "is no field that the org lets its user set",
        "is set by storesync itself",
    );
    for (path, body, member, told) in [
        ("orders", of_order("Frozen__c"), "fields.Frozen__c", locked),
        ("orders", of_order("Absent__c"), "fields.Absent__c", locked),
        ("orders", of_order("Status"), "fields.Status", own),
        ("orders", of_order("External_ID__c"), "fields.External_ID__c", own),
        (
            "orders",
            of_items("Frozen__c"),
            "items[0].fields.Frozen__c",
            locked,
        ),
        (
            "orders",
            of_items("Product2Id"),
            "items[0].fields.Product2Id",
            own,
        ),
        ("customers", of_person("Frozen__c"), "fields.Frozen__c", locked),
        (
            "customers",
            of_person("External_ID__c"),
            "fields.External_ID__c",
            own,
        ),
        ("cases", of_case("Frozen__c"), "fields.Frozen__c", locked),
        ("cases", of_case("OwnerId"), "fields.OwnerId", own),
    ] {
        let (status, problem) = daemon.post(&format!("/v1/stores/{store}/{path}"), &body).await;
        assert_eq!(
            (status, &problem["field"]),
            (422, &json!(member)),
            "{path}: {problem}"
        );
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(told), "{detail}");
    }
    accepted(
        &daemon,
        &store,
        &with(plain.clone(), "fields", &json!({"PoNumber": "P"})),
    )
    .await;
}
