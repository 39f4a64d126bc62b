//! Objects described, records written and read.

use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};

use super::client::{Client, DATA, shown};

#[tokio::test]
async fn describes_itself() {
    let client = Client::start().await;
    let (_, all) = client.get("sobjects/").await;
    let names: Vec<&str> = all["sobjects"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|object| object["name"].as_str())
        .collect();
    for name in ["Account", "Order", "PricebookEntry", "s_c__Store__c"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let (status, order) = client.get("sobjects/order/describe").await;
    assert_eq!(
        (status, &order["name"], &order["keyPrefix"]),
        (200, &json!("Order"), &json!("801"))
    );
    let fields = order["fields"].as_array().unwrap();
    let field = |name: &str| fields.iter().find(|field| field["name"] == name).unwrap();
    let key = field("External_ID__c");
    assert_eq!(
        (&key["externalId"], &key["unique"], &key["createable"]),
        (&json!(true), &json!(true), &json!(true))
    );
    assert_eq!(field("AccountId")["referenceTo"], json!(["Account"]));
    assert_eq!(field("AccountId")["relationshipName"], "Account");
    assert_eq!(field("BillingCity")["compoundFieldName"], "BillingAddress");
    assert_eq!(client.get("sobjects/Nothing__c/describe").await.0, 404);
    client.stop().await;
}

#[tokio::test]
async fn records_are_created_read_changed_and_deleted() {
    let client = Client::start().await;
    let body = json!({ "Name": "Acme", "BillingCity": "Hobart", "AnnualRevenue": 12.0 });
    let created = client
        .request(Method::POST, "sobjects/Account/")
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(created.status(), StatusCode::CREATED);
    let location = created.headers()["location"].to_str().unwrap().to_owned();
    let id = created.json::<Json>().await.unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(location, format!("{DATA}/sobjects/Account/{id}"));

    let path = format!("sobjects/Account/{id}");
    let (_, record) = client.get(&path).await;
    assert_eq!(
        record["attributes"],
        json!({ "type": "Account", "url": location })
    );
    assert_eq!(
        (&record["Name"], &record["AnnualRevenue"]),
        (&json!("Acme"), &json!(12.0))
    );
    assert_eq!(record["BillingAddress"]["city"], "Hobart");
    assert!(record["CreatedDate"].as_str().unwrap().ends_with("+0000"));
    let (_, some) = client
        .get(&format!("sobjects/Account/{}?fields=Name", &id[..15]))
        .await;
    assert_eq!(some.as_object().unwrap().len(), 3);

    assert_eq!(
        client
            .send(Method::PATCH, &path, json!({ "Name": "Acme 2" }))
            .await,
        (204, Json::Null)
    );
    let (status, refused) = client
        .send(Method::PATCH, &path, json!({ "Nonsense__c": 1 }))
        .await;
    assert_eq!((status, &refused[0]["errorCode"]), (400, &json!("INVALID_FIELD")));
    let (status, refused) = client.post("sobjects/Account", json!({})).await;
    assert_eq!(
        (status, &refused[0]["errorCode"]),
        (400, &json!("REQUIRED_FIELD_MISSING"))
    );

    assert_eq!(client.send(Method::DELETE, &path, Json::Null).await.0, 204);
    let (status, gone) = client.get(&path).await;
    assert_eq!(
        (status, &gone[0]["errorCode"]),
        (404, &json!("ENTITY_IS_DELETED"))
    );
    let deleted = client.request(Method::GET, "queryAll").query(&[(
        "q",
        format!("SELECT Id, IsDeleted FROM Account WHERE Id = '{id}'"),
    )]);
    let (_, deleted) = shown(deleted.send().await.unwrap()).await;
    assert_eq!(deleted["records"][0]["IsDeleted"], true);
    client.stop().await;
}

#[tokio::test]
async fn rows_are_found_by_a_key_or_a_lookup_in_the_recycle_bin_too() {
    let client = Client::start().await;
    let made = async |object: &str, body: Json| {
        let (status, made) = client.post(&format!("sobjects/{object}"), body).await;
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().to_owned()
    };
    let [lee, other] = ["KEY-1", "KEY-2"].map(|key| json!({ "Name": key, "External_ID__c": key }));
    let (account, _other) = (made("Account", lee).await, made("Account", other).await);
    let contact = made("Contact", json!({ "LastName": "Lee", "AccountId": account })).await;
    let found = async |resource: &str, from: &str| {
        let query = client.request(Method::GET, resource);
        let query = query.query(&[("q", format!("SELECT Id FROM {from}"))]);
        let (_, answer) = shown(query.send().await.unwrap()).await;
        let rows = answer["records"].as_array().unwrap().iter();
        rows.map(|row| row["Id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let (by_key, by_keys) = (
        "Account WHERE External_ID__c = 'key-1'",
        "Account WHERE External_ID__c IN ('KEY-1', 'none')",
    );
    let by_lookup = format!("Contact WHERE AccountId = '{account}'");
    for resource in ["query", "queryAll"] {
        for (from, id) in [(by_key, &account), (by_keys, &account), (&by_lookup, &contact)] {
            assert_eq!(found(resource, from).await, [id.as_str()], "{resource} {from}");
        }
    }
    for path in [
        format!("sobjects/Contact/{contact}"),
        format!("sobjects/Account/{account}"),
    ] {
        assert_eq!(client.send(Method::DELETE, &path, Json::Null).await.0, 204);
    }
    for (from, id) in [(by_key, &account), (by_keys, &account), (&by_lookup, &contact)] {
        assert_eq!(found("query", from).await, [""; 0], "{from}");
        assert_eq!(found("queryAll", from).await, [id.as_str()], "{from}");
    }
    // One that is made under the key of a row in the recycle bin stands beside it.
    let again = made("Account", json!({ "Name": "Again", "External_ID__c": "KEY-1" })).await;
    assert_eq!(found("query", by_key).await, [again.as_str()]);
    assert_eq!(found("queryAll", by_key).await, [account, again]);
    client.stop().await;
}

#[tokio::test]
async fn upserts_by_external_id() {
    let client = Client::start().await;
    let path = "sobjects/Account/External_ID__c/C%2F1%20a";
    let (status, first) = client.send(Method::PATCH, path, json!({ "Name": "One" })).await;
    assert_eq!((status, &first["created"]), (201, &json!(true)));
    let (status, second) = client.send(Method::PATCH, path, json!({ "Name": "Two" })).await;
    assert_eq!(
        (status, &second["created"], &second["id"]),
        (200, &json!(false), &first["id"])
    );
    let (_, read) = client.get(path).await;
    assert_eq!(
        (&read["Name"], &read["External_ID__c"]),
        (&json!("Two"), &json!("C/1 a"))
    );

    let with_key = json!({ "Name": "x", "External_ID__c": "y" });
    let (status, refused) = client.send(Method::PATCH, path, with_key).await;
    assert_eq!((status, &refused[0]["errorCode"]), (400, &json!("INVALID_FIELD")));
    let (status, refused) = client
        .send(Method::PATCH, "sobjects/Account/Name/x", json!({}))
        .await;
    assert_eq!((status, &refused[0]["errorCode"]), (404, &json!("NOT_FOUND")));
    let missing = "sobjects/Account/External_ID__c/nobody";
    assert_eq!(client.get(missing).await.0, 404);
    let only = format!("{missing}?updateOnly=true");
    assert_eq!(
        client.send(Method::PATCH, &only, json!({ "Name": "x" })).await.0,
        404
    );
    let again = json!({ "Name": "x", "External_ID__c": "C/1 A" });
    let (status, refused) = client.post("sobjects/Account", again).await;
    assert_eq!(
        (status, &refused[0]["errorCode"]),
        (400, &json!("DUPLICATE_VALUE"))
    );
    client.stop().await;
}

#[tokio::test]
async fn collections_fail_record_by_record() {
    let client = Client::start().await;
    let record =
        |key: &str| json!({ "attributes": { "type": "Account" }, "Name": key, "External_ID__c": key });
    let records = json!({ "records": [record("L-1"), record("L-1"), record("L-2")] });
    let (status, results) = client.post("composite/sobjects", records.clone()).await;
    let successes = |results: &Json| -> Vec<bool> {
        results
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|result| result["success"].as_bool())
            .collect()
    };
    assert_eq!((status, successes(&results)), (200, vec![true, false, true]));
    assert_eq!(results[1]["errors"][0]["statusCode"], "DUPLICATE_VALUE");

    let path = "composite/sobjects/Account/External_ID__c";
    let (_, upserted) = client
        .send(
            Method::PATCH,
            path,
            json!({ "records": [record("L-2"), record("L-3")] }),
        )
        .await;
    assert_eq!(
        (&upserted[0]["created"], &upserted[1]["created"]),
        (&json!(false), &json!(true))
    );

    let together = json!({ "allOrNone": true, "records": [record("L-4"), record("L-1")] });
    let (_, results) = client.post("composite/sobjects", together).await;
    assert_eq!(successes(&results), [false, false]);
    assert_eq!(
        results[0]["errors"][0]["statusCode"],
        "ALL_OR_NONE_OPERATION_ROLLED_BACK"
    );

    let (id, missing) = (upserted[0]["id"].as_str().unwrap(), "001000000000000AAA");
    let (_, read) = client
        .get(&format!(
            "composite/sobjects/Account?ids={missing},{id}&fields=Name"
        ))
        .await;
    assert_eq!((&read[0], &read[1]["Name"]), (&Json::Null, &json!("L-2")));
    let body = json!({ "ids": [id], "fields": ["Id", "Name"] });
    let (_, read) = client.post("composite/sobjects/Account", body).await;
    assert_eq!(read[0]["Id"], id);
    client.stop().await;
}
