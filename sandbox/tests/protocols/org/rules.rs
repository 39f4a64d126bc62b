//! What orders and customers meet in an org: rules, locks, limits, and values that follow others.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value as Json, json};

use super::world::{Client, Event, Subscriber, control, start_with};
use crate::rest::client::shown;

async fn quick() -> Client {
    start_with(|options| options.keepalive = Duration::from_millis(200)).await
}

fn code(answer: &(u16, Json)) -> (u16, &str) {
    (answer.0, answer.1[0]["errorCode"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn an_account_with_orders_stays() {
    let org = quick().await;
    let order = "SELECT Id, AccountId FROM Order WHERE Status = 'Draft' ORDER BY Id LIMIT 1";
    let order = org.query(order).await["records"][0].clone();
    let id = |field: &str| order[field].as_str().unwrap().to_owned();
    let account = format!("sobjects/Account/{}", id("AccountId"));
    let refused = org.send(Method::DELETE, &account, json!({})).await;
    assert_eq!(code(&refused), (400, "DELETE_FAILED"), "{}", refused.1);
    assert_eq!(org.get(&account).await.0, 200);
    let of_account = format!(
        "SELECT Id, Status FROM Order WHERE AccountId = '{}'",
        id("AccountId")
    );
    let orders = org.query(&of_account).await;
    for order in orders["records"].as_array().unwrap() {
        let path = format!("sobjects/Order/{}", order["Id"].as_str().unwrap());
        if order["Status"] != "Draft" {
            let draft = json!({"Status": "Draft"});
            assert_eq!(org.send(Method::PATCH, &path, draft).await.0, 204);
        }
        assert_eq!(org.send(Method::DELETE, &path, json!({})).await.0, 204);
    }
    assert_eq!(org.send(Method::DELETE, &account, json!({})).await.0, 204);
    org.stop().await;
}

#[tokio::test]
async fn validation_and_duplicate_rules_refuse_in_the_platforms_words() {
    let org = quick().await;
    control(&org, "rules", json!({
        "validations": [{"object": "Contact", "when": "Email = null AND Phone = null",
            "message": "Give a way to reach the customer.", "field": "Email"}],
        "duplicates": [{"object": "Contact", "name": "Same_Email", "fields": ["Email"], "allow_save": true}],
    })).await;
    let refused = org.post("sobjects/Contact", json!({"LastName": "Lee"})).await;
    assert_eq!(code(&refused), (400, "FIELD_CUSTOM_VALIDATION_EXCEPTION"));
    assert_eq!(refused.1[0]["message"], "Give a way to reach the customer.");
    assert_eq!(refused.1[0]["fields"], json!(["Email"]));
    let ana = json!({"LastName": "Lee", "Email": "ana.lee@example.com"});
    let (status, first) = org.post("sobjects/Contact", ana.clone()).await;
    assert_eq!(status, 201, "{first}");
    let twin = json!({"LastName": "Lee", "Email": "ANA.LEE@example.com"});
    let refused = org.post("sobjects/Contact", twin.clone()).await;
    assert_eq!(code(&refused), (400, "DUPLICATES_DETECTED"));
    let found = &refused.1[0]["duplicateResult"];
    assert_eq!(found["allowSave"], true);
    assert_eq!(
        found["matchResults"][0]["matchRecords"][0]["record"]["Id"],
        first["id"]
    );
    let request = org.request(Method::POST, "sobjects/Contact").json(&twin);
    let overruled = request.header("Sforce-Duplicate-Rule-Header", "allowSave=true");
    assert_eq!(shown(overruled.send().await.unwrap()).await.0, 201);
    let broken = org
        .post(
            "/sandbox/rules",
            json!({"validations": [{"object": "Contact", "when": "Nope = 1", "message": "m"}]}),
        )
        .await;
    assert_eq!(code(&broken), (400, "INVALID_INPUT"));
    org.stop().await;
}

#[tokio::test]
async fn a_growing_rule_refuses_a_number_that_is_lower_than_the_one_before() {
    let org = quick().await;
    let field = json!({"object": "Contact", "name": "Version__c", "type": "Double 18,0"});
    let (status, told) = org.post("/sandbox/schema", json!({ "add": field })).await;
    assert_eq!(status, 204, "{told}");
    let rule = json!({"object": "Contact", "field": "Version__c", "message": "A later change is there."});
    control(&org, "rules", json!({ "growing": [rule] })).await;
    let (_, made) = org
        .post("sobjects/Contact", json!({"LastName": "Lee", "Version__c": 5}))
        .await;
    let path = format!("sobjects/Contact/{}", made["id"].as_str().unwrap());
    for (fields, expected) in [
        (json!({"Version__c": 4}), 400),
        (json!({"Version__c": 5, "Phone": "1"}), 204),
        (json!({"Phone": "2"}), 204),
        (json!({"Version__c": 6}), 204),
        (json!({"Version__c": 5, "Phone": "3"}), 400),
    ] {
        let request = org.request(Method::PATCH, &path).json(&fields);
        let answer = shown(request.send().await.unwrap()).await;
        assert_eq!(answer.0, expected, "{fields}: {}", answer.1);
        if expected == 400 {
            assert_eq!(code(&answer), (400, "FIELD_CUSTOM_VALIDATION_EXCEPTION"));
            assert_eq!(answer.1[0]["message"], "A later change is there.");
            assert_eq!(answer.1[0]["fields"], json!(["Version__c"]));
        }
    }
    org.stop().await;
}

#[tokio::test]
async fn flows_change_fields_in_the_same_transaction_or_later() {
    let org = quick().await;
    control(
        &org,
        "rules",
        json!({"flows": [
            {"object": "Account", "when": "Industry = null", "set": {"Industry": "Retail"}},
            {"object": "Account", "when": "Site = null", "set": {"Site": "head office"}, "later": true},
        ]}),
    )
    .await;
    let mut subscriber = Subscriber::new(&org, "/data/AccountChangeEvent").await;
    let id = org.account("A").await;
    let events = subscriber.events(2).await;
    let told: Vec<String> = events.iter().map(Event::told).collect();
    assert_eq!(told, ["CREATE Account 1", "UPDATE Account 1"]);
    assert_eq!(
        events[0].body["Industry"], "Retail",
        "one event with the final data"
    );
    assert_ne!(events[0].header["changeOrigin"], "");
    assert_eq!(
        subscriber.names(&events[1], "changedFields"),
        ["Site", "LastModifiedDate"]
    );
    assert_eq!(events[1].header["changeOrigin"], "");
    assert_ne!(
        events[0].header["transactionKey"],
        events[1].header["transactionKey"]
    );
    let row = org
        .get(&format!("sobjects/Account/{id}?fields=Industry,Site"))
        .await
        .1;
    assert_eq!(
        (&row["Industry"], &row["Site"]),
        (&json!("Retail"), &json!("head office"))
    );
    org.stop().await;
}

#[tokio::test]
async fn a_row_that_is_held_refuses_writes_of_what_hangs_on_it() {
    let org = quick().await;
    let id = org.account("A").await;
    let (status, _) = org
        .post(
            "/sandbox/locks",
            json!({"id": id, "hold_ms": 60_000, "status": 500}),
        )
        .await;
    assert_eq!(status, 204);
    let path = format!("sobjects/Account/{id}");
    let refused = org.send(Method::PATCH, &path, json!({"Phone": "1"})).await;
    assert_eq!(code(&refused), (500, "UNABLE_TO_LOCK_ROW"));
    assert!(
        refused.1[0]["message"]
            .as_str()
            .unwrap()
            .ends_with(&format!("1 records: {id}"))
    );
    let order = json!({"AccountId": id, "EffectiveDate": "2026-11-22", "Status": "Draft"});
    assert_eq!(
        code(&org.post("sobjects/Order", order.clone()).await).1,
        "UNABLE_TO_LOCK_ROW"
    );
    assert_eq!(
        code(&org.send(Method::DELETE, &path, json!({})).await).1,
        "UNABLE_TO_LOCK_ROW"
    );
    org.account("B").await;
    control(&org, "clock", json!({"advance_ms": 60_000})).await;
    assert_eq!(org.send(Method::PATCH, &path, json!({"Phone": "1"})).await.0, 204);
    assert_eq!(org.post("sobjects/Order", order).await.0, 201);
    org.stop().await;
}

#[tokio::test]
async fn api_calls_run_out_and_come_back_the_next_day() {
    let org = quick().await;
    let used = control(&org, "limits", json!({"daily_requests": 5_000})).await["used"]
        .as_u64()
        .unwrap();
    control(&org, "limits", json!({"daily_requests": used + 2})).await;
    let response = org.request(Method::GET, "limits").send().await.unwrap();
    let header = response.headers()["sforce-limit-info"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(header, format!("api-usage={}/{}", used + 1, used + 2));
    let limits = shown(response).await.1;
    assert_eq!(
        limits["DailyApiRequests"],
        json!({"Max": used + 2, "Remaining": 1})
    );
    assert_eq!(org.get("limits").await.0, 200);
    let refused = org.get("limits").await;
    assert_eq!(code(&refused), (403, "REQUEST_LIMIT_EXCEEDED"));
    assert_eq!(refused.1[0]["message"], "TotalRequests Limit exceeded.");
    assert_eq!(
        org.post("composite", json!({"compositeRequest": []})).await.0,
        403
    );
    control(&org, "clock", json!({"advance_ms": 86_400_000})).await;
    assert_eq!(org.get("limits").await.0, 200);
    org.stop().await;
}

#[tokio::test]
async fn of_two_parallel_inserts_of_one_key_exactly_one_wins() {
    let org = quick().await;
    for round in 0..10 {
        let body = json!({"Name": "A", "External_ID__c": format!("P-{round}")});
        let (left, right) = tokio::join!(
            org.post("sobjects/Account", body.clone()),
            org.post("sobjects/Account", body.clone())
        );
        let mut answers = [left, right];
        answers.sort_by_key(|answer| answer.0);
        assert_eq!(answers[0].0, 201);
        assert_eq!(code(&answers[1]), (400, "DUPLICATE_VALUE"));
        let id = answers[0].1["id"].as_str().unwrap();
        let text = format!(
            "duplicate value found: External_ID__c duplicates value on record with id: {}",
            &id[..15]
        );
        assert_eq!(answers[1].1[0]["message"], text);

        let path = format!("sobjects/Account/External_ID__c/U-{round}");
        let upsert = || org.send(Method::PATCH, &path, json!({"Name": "A"}));
        let (left, right) = tokio::join!(upsert(), upsert());
        let mut statuses = [left.0, right.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 201]);
        assert_eq!(left.1["id"], right.1["id"]);
    }
    org.stop().await;
}

#[tokio::test]
async fn formulas_follow_what_they_show_and_roll_ups_add_up() {
    let org = quick().await;
    let entry = org.entry().await;
    let product = entry["Product2Id"].as_str().unwrap();
    let entry = entry["Id"].as_str().unwrap();
    let mut subscriber = Subscriber::new(&org, "/data/ChangeEvents").await;
    let path = format!("sobjects/Product2/{product}");
    assert_eq!(
        org.send(Method::PATCH, &path, json!({"Name": "Renamed"})).await.0,
        204
    );
    assert_eq!(
        org.get(&format!("sobjects/PricebookEntry/{entry}?fields=Name"))
            .await
            .1["Name"],
        "Renamed"
    );
    let soql = "SELECT Id, s_c__Product_Name__c FROM s_c__Products_Product_Categories__c WHERE s_c__Product_Name__c = 'Renamed'";
    let links = org.query(soql).await;
    assert_eq!(links["records"][0]["s_c__Product_Name__c"], "Renamed");
    let account = org.account("A").await;
    let ledger = json!({"s_c__Account_Id__c": account, "s_c__Points_Value__c": 40});
    let (status, first) = org
        .post("sobjects/s_c__Account_Points_Ledger__c", ledger.clone())
        .await;
    assert_eq!(status, 201, "{first}");
    assert_eq!(
        org.post("sobjects/s_c__Account_Points_Ledger__c", ledger).await.0,
        201
    );
    let balance = format!("sobjects/Account/{account}?fields=s_c__Account_Points_Balance__c");
    assert_eq!(org.get(&balance).await.1["s_c__Account_Points_Balance__c"], 80.0);
    let row = format!(
        "sobjects/s_c__Account_Points_Ledger__c/{}",
        first["id"].as_str().unwrap()
    );
    assert_eq!(org.send(Method::DELETE, &row, json!({})).await.0, 204);
    assert_eq!(org.get(&balance).await.1["s_c__Account_Points_Balance__c"], 40.0);
    // Of a formula's change nobody is told; of a roll-up's everybody.
    let events = subscriber.events(5).await;
    let told: Vec<String> = events.iter().map(Event::told).collect();
    assert_eq!(
        told,
        [
            "UPDATE Product2 1",
            "CREATE Account 1",
            "UPDATE Account 2",
            "UPDATE Account 2",
            "UPDATE Account 2"
        ]
    );
    let names = subscriber.names(&events[2], "changedFields");
    assert_eq!(names, ["LastModifiedDate", "s_c__Account_Points_Balance__c"]);
    org.stop().await;
}

#[tokio::test]
async fn a_lead_becomes_a_contact_of_an_account_in_one_transaction() {
    let org = quick().await;
    control(&org, "selection", json!({"entities": ["Account", "Lead"]})).await;
    let lead = json!({"FirstName": "Ana", "LastName": "Lee", "Company": "Lee Tea", "City": "Hobart", "Email": "ana@lee.example"});
    let lead = org.post("sobjects/Lead", lead).await.1["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut subscriber = Subscriber::new(&org, "/data/ChangeEvents").await;
    let converted = control(&org, "convert", json!({"lead": lead})).await;
    let events = subscriber.events(2).await;
    let told: Vec<String> = events.iter().map(Event::told).collect();
    assert_eq!(
        told,
        ["CREATE Account 1", "UPDATE Lead 3"],
        "the contact has a number and no event"
    );
    assert_eq!(
        events[0].header["transactionKey"],
        events[1].header["transactionKey"]
    );
    let changed = subscriber.names(&events[1], "changedFields");
    let mut sorted = changed.clone();
    sorted.sort();
    assert_eq!(
        sorted,
        [
            "ConvertedAccountId",
            "ConvertedContactId",
            "ConvertedDate",
            "IsConverted",
            "LastModifiedDate",
            "Status"
        ]
    );
    assert_eq!(events[1].body["ConvertedAccountId"], converted["account"]);
    assert_eq!(events[0].body["BillingAddress"]["City"], "Hobart");
    let contact = org
        .get(&format!(
            "sobjects/Contact/{}",
            converted["contact"].as_str().unwrap()
        ))
        .await
        .1;
    assert_eq!(
        (&contact["Name"], &contact["AccountId"]),
        (&json!("Ana Lee"), &converted["account"])
    );
    let again = org.post("/sandbox/convert", json!({"lead": lead})).await;
    assert_eq!(code(&again), (400, "CANNOT_UPDATE_CONVERTED_LEAD"));
    let changed = org
        .send(
            Method::PATCH,
            &format!("sobjects/Lead/{lead}"),
            json!({"Company": "B"}),
        )
        .await;
    assert_eq!(code(&changed), (400, "CANNOT_UPDATE_CONVERTED_LEAD"));
    org.stop().await;
}
