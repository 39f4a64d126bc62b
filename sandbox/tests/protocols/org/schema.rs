//! Fields that come and go while the org runs, and users who may not see all.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value as Json, json};

use super::world::{Client, Event, Subscriber, control, start_with};

async fn reshape(org: &Client, change: Json) {
    let (status, json) = org.post("/sandbox/schema", change).await;
    assert_eq!(status, 204, "{json}");
}

async fn described(org: &Client, object: &str, field: &str) -> Option<Json> {
    let (_, json) = org.get(&format!("sobjects/{object}/describe")).await;
    let fields = json["fields"].as_array().unwrap();
    fields.iter().find(|shown| shown["name"] == field).cloned()
}

async fn quick() -> Client {
    start_with(|options| options.keepalive = Duration::from_millis(200)).await
}

#[tokio::test]
async fn a_field_put_in_the_middle_is_everywhere_at_once_and_old_events_stay_readable() {
    let org = quick().await;
    let id = org.account("A").await;
    reshape(
        &org,
        json!({"add": {"object": "Account", "name": "Tier__c", "type": "Text 20",
        "words": "external unique", "before": "Industry"}}),
    )
    .await;
    let path = format!("sobjects/Account/{id}");
    assert_eq!(
        org.send(
            Method::PATCH,
            &path,
            json!({"Tier__c": "gold", "Industry": "Media"})
        )
        .await
        .0,
        204
    );
    assert_eq!(
        described(&org, "Account", "Tier__c").await.unwrap()["externalId"],
        true
    );
    let rows = org
        .query("SELECT Id, Tier__c FROM Account WHERE Tier__c = 'gold'")
        .await;
    assert_eq!(rows["records"][0]["Id"], id.as_str());
    assert_eq!(org.get("sobjects/Account/Tier__c/gold").await.0, 200);
    let (_, twin) = org
        .post("sobjects/Account", json!({"Name": "B", "Tier__c": "GOLD"}))
        .await;
    assert_eq!(twin[0]["errorCode"], "DUPLICATE_VALUE");

    reshape(&org, json!({"remove": {"object": "Account", "name": "Tier__c"}})).await;
    assert_eq!(described(&org, "Account", "Tier__c").await, None);
    let (status, _) = org.get("query?q=SELECT+Tier__c+FROM+Account").await;
    assert_eq!(status, 400);
    assert_eq!(
        org.send(Method::PATCH, &path, json!({"Industry": "Retail"}))
            .await
            .0,
        204
    );

    // Each of the three events is read by a schema of its own.
    let mut subscriber = Subscriber::from(&org, "/data/AccountChangeEvent", Some(&[])).await;
    let events = subscriber.events(3).await;
    let told: Vec<String> = events.iter().map(Event::told).collect();
    assert_eq!(told, ["CREATE Account 1", "UPDATE Account 1", "UPDATE Account 1"]);
    assert_ne!(events[0].schema_id, events[1].schema_id);
    assert_eq!(
        events[0].schema_id, events[2].schema_id,
        "the same fields make the same schema"
    );
    assert_eq!(
        subscriber.names(&events[1], "changedFields"),
        ["Tier__c", "Industry", "LastModifiedDate"]
    );
    assert_eq!(events[1].body["Tier__c"], "gold");
    assert_eq!(events[2].body.get("Tier__c"), None);
    org.stop().await;
}

#[tokio::test]
async fn a_new_type_keeps_what_it_can_and_a_loss_is_told_with_a_wildcard() {
    let org = quick().await;
    reshape(
        &org,
        json!({"add": {"object": "Account", "name": "Size__c", "type": "Text 20"}}),
    )
    .await;
    let ids = [org.account("A").await, org.account("B").await];
    for (id, size) in ids.iter().zip(["42", "vast"]) {
        let path = format!("sobjects/Account/{id}");
        assert_eq!(
            org.send(Method::PATCH, &path, json!({"Size__c": size})).await.0,
            204
        );
    }
    let mut subscriber = Subscriber::new(&org, "/data/AccountChangeEvent").await;
    reshape(
        &org,
        json!({"retype": {"object": "Account", "name": "Size__c", "type": "LongText 5000"}}),
    )
    .await;
    reshape(
        &org,
        json!({"retype": {"object": "Account", "name": "Size__c", "type": "Double 18,0"}}),
    )
    .await;
    let event = subscriber.event().await;
    assert_eq!((event.ids(), event.filled()), (vec!["001*"], Vec::<&str>::new()));
    assert_eq!(event.header["changeOrigin"], "");
    let size = |id: &str| format!("sobjects/Account/{id}?fields=Size__c");
    assert_eq!(org.get(&size(&ids[0])).await.1["Size__c"], 42.0);
    assert_eq!(org.get(&size(&ids[1])).await.1["Size__c"], Json::Null);
    assert_eq!(
        described(&org, "Account", "Size__c").await.unwrap()["type"],
        "double"
    );

    // A checkbox is never null, not even in rows that were there before.
    reshape(
        &org,
        json!({"add": {"object": "Account", "name": "Vip__c", "type": "Boolean"}}),
    )
    .await;
    let rows = org
        .query("SELECT Vip__c FROM Account WHERE Vip__c = false LIMIT 1")
        .await;
    assert_eq!(rows["records"][0]["Vip__c"], false);
    let (status, refusal) = org
        .post(
            "/sandbox/schema",
            json!({"remove": {"object": "Account", "name": "Name"}}),
        )
        .await;
    assert_eq!((status, &refusal[0]["errorCode"]), (400, &json!("INVALID_INPUT")));
    org.stop().await;
}

#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
#[tokio::test]
async fn a_user_meets_only_the_fields_that_are_open_to_it() {
    let org = quick().await;
    let id = org.account("A").await;
    let user = control(&org, "users", json!({"username": "shop@sandbox.example"})).await;
    let user_id = user["id"].as_str().unwrap().to_owned();
    let (status, _) = org
        .post(
            "/sandbox/permissions",
            json!({"user": user_id, "object": "Account",
        "hidden": ["Phone"], "read_only": ["Site"]}),
        )
        .await;
    assert_eq!(status, 204);
    let shop = Client {
        http: org.http.clone(),
        base: org.base.clone(),
        token: user["access_token"].as_str().unwrap().to_owned(),
        env: org.env.clone(),
        stop: org.stop.clone(),
        server: tokio::spawn(async { Ok(()) }),
    };
    let path = format!("sobjects/Account/{id}");
    assert_eq!(
        org.send(Method::PATCH, &path, json!({"Phone": "1", "Site": "here"}))
            .await
            .0,
        204
    );
    assert_eq!(described(&shop, "Account", "Phone").await, None);
    assert_eq!(
        described(&shop, "Account", "Site").await.unwrap()["updateable"],
        false
    );
    assert!(
        described(&org, "Account", "Phone").await.is_some(),
        "others see it"
    );
    let (status, refusal) = shop.get("query?q=SELECT+Phone+FROM+Account").await;
    assert_eq!((status, &refusal[0]["errorCode"]), (400, &json!("INVALID_FIELD")));
    assert!(
        refusal[0]["message"]
            .as_str()
            .unwrap()
            .contains("No such column 'Phone' on entity 'Account'")
    );
    let row = shop.get(&path).await.1;
    assert_eq!((row.get("Phone"), &row["Site"]), (None, &json!("here")));
    let (_, refusal) = shop.send(Method::PATCH, &path, json!({"Phone": "2"})).await;
    assert_eq!(
        refusal[0]["message"],
        "No such column 'Phone' on sobject of type Account"
    );
    let (_, refusal) = shop.send(Method::PATCH, &path, json!({"Site": "there"})).await;
    assert_eq!(refusal[0]["errorCode"], "INVALID_FIELD_FOR_INSERT_UPDATE");
    assert_eq!(
        shop.send(Method::PATCH, &path, json!({"Industry": "Media"}))
            .await
            .0,
        204
    );
    // Of events it gets no value of a field it may not see, though their schema and bitmaps name it.
    let mut seen = Subscriber::new(&org, "/data/AccountChangeEvent").await;
    let mut hidden = Subscriber::new(&shop, "/data/AccountChangeEvent").await;
    assert_eq!(
        org.send(Method::PATCH, &path, json!({"Phone": "3", "Site": "now"}))
            .await
            .0,
        204
    );
    let (seen_event, hidden_event) = (seen.event().await, hidden.event().await);
    assert_eq!(
        (&seen_event.body["Phone"], &hidden_event.body["Phone"]),
        (&json!("3"), &Json::Null)
    );
    assert_eq!(hidden_event.body["Site"], "now");
    assert_eq!(hidden_event.header, seen_event.header);
    let names = hidden.names(&hidden_event, "changedFields");
    assert!(names.contains(&"Phone".to_owned()), "{names:?}");
    assert_eq!(
        shop.send(Method::PATCH, &path, json!({"Industry": "Retail"}))
            .await
            .0,
        204
    );
    let row = org.get(&format!("{path}?fields=LastModifiedById")).await.1;
    assert_eq!(row["LastModifiedById"], user_id.as_str());
    org.stop().await;
}

#[tokio::test]
async fn a_person_account_is_an_account_and_a_contact() {
    let org = quick().await;
    reshape(&org, json!({"person_accounts": {}})).await;
    control(&org, "selection", json!({"entities": ["Account", "Contact"]})).await;
    let mut subscriber = Subscriber::new(&org, "/data/ChangeEvents").await;
    let business = org.account("Lee Tea").await;
    let ana = json!({"FirstName": "Ana", "LastName": "Lee", "PersonEmail": "ana@lee.example", "PersonMailingCity": "Hobart"});
    let (status, created) = org.post("sobjects/Account", ana).await;
    assert_eq!(status, 201, "{created}");
    let id = created["id"].as_str().unwrap();
    let events = subscriber.events(3).await;
    let told: Vec<String> = events.iter().map(Event::told).collect();
    assert_eq!(told, ["CREATE Account 1", "CREATE Account 1", "CREATE Contact 2"]);
    assert_eq!(
        (events[0].ids(), &events[0].body["Name"]),
        (vec![business.as_str()], &json!("Lee Tea"))
    );
    assert_eq!(
        events[1].body["Name"],
        json!({"Salutation": null, "FirstName": "Ana", "LastName": "Lee"})
    );
    assert_eq!(events[1].body["PersonMailingAddress"]["City"], "Hobart");
    assert_eq!(events[1].body["PersonContactId"], events[2].ids()[0]);
    assert_eq!(events[2].body["Email"], "ana@lee.example");
    let path = format!("sobjects/Account/{id}");
    let row = org.get(&path).await.1;
    assert_eq!(
        (&row["Name"], &row["IsPersonAccount"]),
        (&json!("Ana Lee"), &json!(true))
    );
    let types = org
        .query("SELECT Id FROM RecordType WHERE SobjectType = 'Account' AND IsPersonType = true")
        .await;
    assert_eq!(types["records"][0]["Id"], row["RecordTypeId"]);

    let change = json!({"FirstName": "Anna", "PersonEmail": "anna@lee.example"});
    assert_eq!(org.send(Method::PATCH, &path, change).await.0, 204);
    let events = subscriber.events(2).await;
    assert_eq!(
        subscriber.names(&events[0], "changedFields"),
        ["PersonEmail", "LastModifiedDate", "Name.FirstName"]
    );
    assert_eq!(
        subscriber.names(&events[1], "changedFields"),
        ["Email", "LastModifiedDate", "Name.FirstName"]
    );
    assert_eq!(
        events[0].body["Name"],
        json!({"Salutation": null, "FirstName": "Anna", "LastName": null})
    );

    // Without the contact's events nobody is told of what is really the contact's.
    control(&org, "selection", json!({"entities": ["Account"]})).await;
    assert_eq!(
        org.send(Method::PATCH, &path, json!({"PersonEmail": "a@lee.example"}))
            .await
            .0,
        204
    );
    let event = subscriber.event().await;
    assert_eq!(subscriber.names(&event, "changedFields"), ["LastModifiedDate"]);
    assert_eq!(event.body["PersonEmail"], Json::Null);
    let (_, refusal) = org.send(Method::PATCH, &path, json!({"Name": "Ana"})).await;
    assert_eq!(refusal[0]["errorCode"], "INVALID_FIELD_FOR_INSERT_UPDATE");
    org.stop().await;
}

#[tokio::test]
async fn an_order_has_the_statuses_that_were_set_up() {
    let org = quick().await;
    let statuses = json!([{"label": "Entwurf", "class": "Draft"}, {"label": "Aktiv", "class": "Activated"}]);
    reshape(&org, json!({"order_statuses": {"statuses": statuses}})).await;
    let account = org.account("Lee Tea").await;
    let order = |status: &str| json!({"AccountId": account, "EffectiveDate": "2026-11-22", "Status": status});
    for (status, code) in [
        ("Draft", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        ("Aktiv", "FAILED_ACTIVATION"),
    ] {
        let (_, refusal) = org.post("sobjects/Order", order(status)).await;
        assert_eq!(refusal[0]["errorCode"], code, "{status}: {refusal}");
    }
    let (status, created) = org.post("sobjects/Order", order("Entwurf")).await;
    assert_eq!(status, 201, "{created}");
    let path = format!("sobjects/Order/{}", created["id"].as_str().unwrap());
    assert_eq!(org.get(&path).await.1["StatusCode"], "Draft");
    let (_, describe) = org.get("sobjects/Order/describe").await;
    let mut fields = describe["fields"].as_array().unwrap().iter();
    let values = &fields.find(|field| field["name"] == "Status").unwrap()["picklistValues"];
    assert_eq!(
        (&values[0]["value"], &values[1]["value"]),
        (&json!("Entwurf"), &json!("Aktiv"))
    );
    let rows = org
        .query("SELECT ApiName, StatusCode, IsDefault FROM OrderStatus ORDER BY SortOrder")
        .await;
    let told: Vec<_> = rows["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["ApiName"].clone(),
                row["StatusCode"].clone(),
                row["IsDefault"].clone(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (json!("Entwurf"), json!("Draft"), json!(true)),
            (json!("Aktiv"), json!("Activated"), json!(false))
        ]
    );
    org.stop().await;
}

#[tokio::test]
async fn a_record_has_a_type_that_its_user_may_use() {
    let org = quick().await;
    reshape(&org, json!({"person_accounts": {}})).await;
    let usable = |names: &[&str]| json!({"object": "Account", "usable": names});
    control(&org, "record_types", usable(&["Customer", "PersonAccount"])).await;
    let types = org
        .query("SELECT Id, DeveloperName FROM RecordType WHERE SobjectType = 'Account'")
        .await;
    let id = |name: &str| {
        let mut rows = types["records"].as_array().unwrap().iter();
        rows.find(|row| row["DeveloperName"] == name).unwrap()["Id"].clone()
    };
    let (_, describe) = org.get("sobjects/Account/describe").await;
    let told: Vec<_> = describe["recordTypeInfos"]
        .as_array()
        .unwrap()
        .iter()
        .map(|info| {
            let flag = |name: &str| info[name].as_bool().unwrap();
            (
                info["developerName"].as_str().unwrap(),
                flag("available"),
                flag("defaultRecordTypeMapping"),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("Customer", true, true),
            ("Brand", false, false),
            ("PersonAccount", true, false),
            ("Master", true, false)
        ]
    );
    for (body, refused) in [
        (json!({"LastName": "Lee"}), "INVALID_FIELD_FOR_INSERT_UPDATE"),
        (
            json!({"LastName": "Lee", "RecordTypeId": id("Customer")}),
            "INVALID_FIELD_FOR_INSERT_UPDATE",
        ),
        (
            json!({"Name": "Tea", "RecordTypeId": id("Brand")}),
            "INVALID_CROSS_REFERENCE_KEY",
        ),
        (
            json!({"LastName": "Lee", "RecordTypeId": id("PersonAccount")}),
            "",
        ),
        (json!({"Name": "Tea"}), ""),
    ] {
        let (status, told) = org.post("sobjects/Account", body.clone()).await;
        let code = told[0]["errorCode"].as_str().unwrap_or_default();
        assert_eq!(
            (code, status == 201),
            (refused, refused.is_empty()),
            "{body}: {told}"
        );
    }
    org.stop().await;
}
