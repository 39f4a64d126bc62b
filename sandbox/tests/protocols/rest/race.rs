//! Writers at the same moment: a key that is new to all of them is given to one.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value as Json, json};

use super::client::Client;

const WRITERS: usize = 8;
const ROUNDS: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_inserts_with_one_new_key_exactly_one_wins() {
    let client = Client::start().await;
    for round in 0..ROUNDS {
        let key = format!("RACE-{round}");
        let writers = (0..WRITERS).map(|writer| {
            let body = json!({ "Name": format!("Writer {writer}"), "External_ID__c": key });
            client.post("sobjects/Account", body)
        });
        let answers = join_all(writers).await;
        let won: Vec<&Json> = answers
            .iter()
            .filter(|(status, _)| *status == 201)
            .map(|(_, body)| body)
            .collect();
        assert_eq!(won.len(), 1, "{key}: {answers:?}");
        let id = won[0]["id"].as_str().unwrap();
        for (status, body) in answers.iter().filter(|(status, _)| *status != 201) {
            assert_eq!(
                (*status, &body[0]["errorCode"]),
                (400, &json!("DUPLICATE_VALUE")),
                "{body}"
            );
            let message = body[0]["message"].as_str().unwrap();
            assert!(message.ends_with(&id[..15]), "{message} names {id}");
        }
        let found = client
            .query(&format!("SELECT Id FROM Account WHERE External_ID__c = '{key}'"))
            .await;
        assert_eq!(
            (&found["totalSize"], &found["records"][0]["Id"]),
            (&json!(1), &json!(id))
        );
    }
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_composite_that_loses_the_race_leaves_nothing() {
    let client = Client::start().await;
    let request = |writer: usize| {
        let account =
            json!({ "Name": "Racer", "Site": format!("writer-{writer}"), "External_ID__c": "RACE-C" });
        let contact = json!({ "LastName": "Racer", "AccountId": "@{account.id}" });
        let url = |object: &str| format!("/services/data/v67.0/sobjects/{object}");
        json!({ "allOrNone": true, "collateSubrequests": false, "compositeRequest": [
            { "method": "POST", "url": url("Account"), "referenceId": "account", "body": account },
            { "method": "POST", "url": url("Contact"), "referenceId": "contact", "body": contact },
        ] })
    };
    let writers = (0..WRITERS).map(|writer| client.send(Method::POST, "composite", request(writer)));
    let answers = join_all(writers).await;
    let created = |answer: &Json| answer["compositeResponse"][1]["httpStatusCode"] == 201;
    assert_eq!(
        answers.iter().filter(|(_, answer)| created(answer)).count(),
        1,
        "{answers:?}"
    );
    let lost: Vec<&Json> = answers
        .iter()
        .map(|(_, answer)| answer)
        .filter(|answer| !created(answer))
        .collect();
    for answer in lost {
        let parts = &answer["compositeResponse"];
        assert_eq!(parts[0]["body"][0]["errorCode"], "DUPLICATE_VALUE");
        assert_eq!(parts[1]["body"][0]["errorCode"], "PROCESSING_HALTED");
    }
    let count = client
        .query("SELECT COUNT() FROM Contact WHERE LastName = 'Racer'")
        .await;
    assert_eq!(count["totalSize"], 1);
    client.stop().await;
}
