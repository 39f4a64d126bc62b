//! SOQL and bulk jobs over HTTP.

use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};

use super::client::{Client, shown};

#[tokio::test]
async fn queries_come_in_pages() {
    let client = Client::start().await;
    let total = client.query("SELECT COUNT() FROM PricebookEntry").await["totalSize"]
        .as_u64()
        .unwrap();
    assert!(total > 200, "{total}");
    let request = client
        .request(Method::GET, "query/")
        .header("Sforce-Query-Options", "batchSize=200");
    let request = request.query(&[("q", "SELECT Id, Product2.Name FROM PricebookEntry ORDER BY Id")]);
    let (_, mut page) = shown(request.send().await.unwrap()).await;
    let mut ids: Vec<String> = Vec::new();
    loop {
        let records = page["records"].as_array().unwrap();
        assert!(records.len() <= 200 && records[0]["Product2"]["Name"].is_string());
        ids.extend(
            records
                .iter()
                .filter_map(|record| record["Id"].as_str())
                .map(str::to_owned),
        );
        let Some(next) = page["nextRecordsUrl"].as_str() else {
            break;
        };
        assert_eq!(page["done"], false);
        page = client.get(next).await.1;
    }
    assert_eq!(ids.len() as u64, total);
    assert!(ids.is_sorted());
    let (status, lost) = client.get("query/0r8000000000000AAA-2000").await;
    assert_eq!(
        (status, &lost[0]["errorCode"]),
        (400, &json!("INVALID_QUERY_LOCATOR"))
    );
    client.stop().await;
}

#[tokio::test]
async fn queries_answer_as_the_platform_does() {
    let client = Client::start().await;
    let id = client.account("Zeta's \"Shop\"").await;
    for (soql, expected) in [
        (
            r#"SELECT Id FROM Account WHERE Name = 'zeta\'s "shop"'"#.to_owned(),
            1,
        ),
        (
            format!(
                "SELECT Account.Id FROM Account WHERE Account.Id IN ('{}')",
                &id[..15]
            ),
            1,
        ),
        (
            format!("SELECT Id FROM Account WHERE Id != '{id}' AND Name LIKE 'zeta%'"),
            0,
        ),
        (
            "SELECT Id FROM Account a WHERE a.Name LIKE 'Zeta_s%' AND CreatedDate = TODAY".to_owned(),
            1,
        ),
        (
            format!("SELECT Id FROM Account WHERE Id = '{id}' AND Owner.Name != null"),
            1,
        ),
        (
            format!("SELECT Id FROM Account WHERE Id = '{id}' AND NOT (ParentId = null OR Phone != null)"),
            0,
        ),
        (
            format!(
                "SELECT Id FROM Account WHERE Id = '{id}' AND SystemModstamp >= 2020-01-01T00:00:00+10:00"
            ),
            1,
        ),
        (
            "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Order) LIMIT 1".to_owned(),
            1,
        ),
        ("SELECT FIELDS(ALL) FROM Account LIMIT 1".to_owned(), 1),
    ] {
        assert_eq!(client.query(&soql).await["totalSize"], expected, "{soql}");
    }
    let groups = client
        .query("SELECT Pricebook2Id, COUNT(Id) n, MAX(UnitPrice) FROM PricebookEntry GROUP BY Pricebook2Id");
    let groups = groups.await;
    assert!(
        groups["records"][0]["n"].as_u64().unwrap() > 0 && groups["records"][0]["expr0"].is_number(),
        "{groups}"
    );
    client.stop().await;
}

#[tokio::test]
async fn wrong_queries_are_refused_in_the_platforms_words() {
    let client = Client::start().await;
    for (soql, code, text) in [
        (
            "SELECT Bacon__c FROM Account",
            "INVALID_FIELD",
            "No such column 'Bacon__c' on entity 'Account'",
        ),
        (
            "SELECT Bacon.Id FROM Account",
            "INVALID_FIELD",
            "Didn't understand relationship 'Bacon'",
        ),
        (
            "SELECT Id FROM Bacon",
            "INVALID_TYPE",
            "sObject type 'Bacon' is not supported",
        ),
        (
            "SELECT Id FROM Account WHERE",
            "MALFORMED_QUERY",
            "unexpected token",
        ),
        (
            "SELECT Id FROM Account WHERE Id = 'x'",
            "INVALID_QUERY_FILTER_OPERATOR",
            "invalid ID field: x",
        ),
        (
            "SELECT Id FROM Account WHERE CreatedDate > 'x'",
            "INVALID_FIELD",
            "must be of type dateTime",
        ),
    ] {
        let (status, json) = shown(
            client
                .request(Method::GET, "query")
                .query(&[("q", soql)])
                .send()
                .await
                .unwrap(),
        )
        .await;
        assert_eq!((status, &json[0]["errorCode"]), (400, &json!(code)), "{soql}");
        assert!(json[0]["message"].as_str().unwrap().contains(text), "{json}");
    }
    client.stop().await;
}

#[tokio::test]
async fn bulk_results_come_in_pages() {
    let client = Client::start().await;
    let soql =
        "SELECT Id, Name, Product2.ProductCode, UnitPrice, IsActive, SystemModstamp FROM PricebookEntry";
    let (status, job) = client
        .post("jobs/query", json!({ "operation": "query", "query": soql }))
        .await;
    assert_eq!(
        (status, &job["state"], &job["apiVersion"]),
        (200, &json!("UploadComplete"), &json!(67.0))
    );
    let path = format!("jobs/query/{}", job["id"].as_str().unwrap());
    let (_, job) = client.get(&path).await;
    assert_eq!(job["state"], "JobComplete");
    let total = job["numberRecordsProcessed"].as_u64().unwrap();

    let (mut rows, mut locator) = (0, String::new());
    while locator != "null" {
        let results = format!("{path}/results?maxRecords=100&locator={locator}");
        let response = client.request(Method::GET, &results).send().await.unwrap();
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        let announced: usize = header("sforce-numberofrecords").parse().unwrap();
        locator = header("sforce-locator");
        let text = response.text().await.unwrap();
        assert!(text.starts_with("\"Id\",\"Name\",\"Product2.ProductCode\",\"UnitPrice\",\"IsActive\""));
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), announced);
        assert!(
            records
                .iter()
                .all(|record| record[0].len() == 18 && record[5].ends_with('Z'))
        );
        rows += records.len() as u64;
    }
    assert_eq!(rows, total);

    let other = client.request(Method::GET, &format!("/services/data/v66.0/{path}/results"));
    assert_eq!(other.send().await.unwrap().status(), StatusCode::CONFLICT);
    let compound = json!({ "operation": "query", "query": "SELECT BillingAddress FROM Account" });
    let (status, refused) = client.post("jobs/query", compound).await;
    assert_eq!(status, 400);
    assert_eq!(
        refused[0]["message"],
        "Selecting compound data not supported in Bulk Query"
    );
    assert_eq!(
        client
            .send(Method::PATCH, &path, json!({ "state": "Aborted" }))
            .await
            .1["state"],
        "Aborted"
    );
    assert_eq!(client.send(Method::DELETE, &path, Json::Null).await.0, 204);
    assert_eq!(client.get(&path).await.0, 404);
    client.stop().await;
}
