//! Bulk API 2.0: records in as CSV, results out in pages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, header};
use serde_json::{Value as Json, json};

use super::client::{Client, shown};

/// A job that was opened, given `upload` and closed; its id.
async fn ran(client: &Client, job: Json, upload: impl Into<reqwest::Body>) -> String {
    let (status, opened) = client.post("jobs/ingest", job).await;
    assert_eq!((status, &opened["state"]), (200, &json!("Open")), "{opened}");
    let id = opened["id"].as_str().unwrap().to_owned();
    assert_eq!(
        opened["contentUrl"],
        json!(format!("services/data/v67.0/jobs/ingest/{id}/batches"))
    );
    let put = client
        .request(Method::PUT, &format!("jobs/ingest/{id}/batches/"))
        .header(header::CONTENT_TYPE, "text/csv")
        .body(upload);
    assert_eq!(shown(put.send().await.unwrap()).await, (201, Json::Null));
    let closed = json!({ "state": "UploadComplete" });
    let (status, closed) = client
        .send(Method::PATCH, &format!("jobs/ingest/{id}"), closed)
        .await;
    assert_eq!(
        (status, &closed["state"]),
        (200, &json!("UploadComplete")),
        "{closed}"
    );
    id
}

async fn text(client: &Client, path: &str) -> String {
    let response = client.request(Method::GET, path).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response.text().await.unwrap()
}

#[tokio::test]
async fn a_load_tells_what_became_of_each_row() {
    let client = Client::start().await;
    let parent = client.account("Parent").await;
    let job = json!({ "object": "Account", "operation": "insert", "contentType": "CSV" });
    let upload = format!(
        "Name,External_ID__c,Parent.Id,Site\n\"Say \"\"hi\"\",\nthen go\",B-1,{parent},\n,B-2,,x\nTwin,b-1,,x\n"
    );
    let id = ran(&client, job, upload).await;
    let (_, done) = client.get(&format!("jobs/ingest/{id}")).await;
    assert_eq!(
        (
            &done["state"],
            &done["numberRecordsProcessed"],
            &done["numberRecordsFailed"]
        ),
        (&json!("JobComplete"), &json!(3), &json!(2)),
        "{done}"
    );
    let successful = text(&client, &format!("jobs/ingest/{id}/successfulResults/")).await;
    assert!(
        successful
            .starts_with("\"sf__Id\",\"sf__Created\",\"Name\",\"External_ID__c\",\"Parent.Id\",\"Site\"\n"),
        "{successful}"
    );
    assert!(
        successful.contains("\"true\",\"Say \"\"hi\"\",\nthen go\",\"B-1\""),
        "{successful}"
    );
    let failed = text(&client, &format!("jobs/ingest/{id}/failedResults")).await;
    let missing =
        "\"\",\"REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --\",\"\",\"B-2\",\"\",\"x\"";
    assert!(failed.contains(missing), "{failed}");
    assert!(
        failed.contains("DUPLICATE_VALUE:duplicate value found: External_ID__c"),
        "{failed}"
    );
    let rows = client
        .query("SELECT Name, ParentId FROM Account WHERE External_ID__c = 'B-1'")
        .await;
    assert_eq!(rows["records"][0]["Name"], "Say \"hi\",\nthen go");
    assert_eq!(rows["records"][0]["ParentId"], json!(parent));
    client.stop().await;
}

#[tokio::test]
async fn a_row_that_fails_is_told_by_the_id_of_its_record() {
    let client = Client::start().await;
    let (first, second) = (client.account("First").await, client.account("Second").await);
    for (operation, column, cell) in [("update", ",Name", ",#N/A"), ("delete", "", "")] {
        let gone = "001000000000999AAA";
        let job = json!({ "object": "Account", "operation": operation, "contentType": "CSV" });
        let upload = format!("Id{column}\n{first}{cell}\n{gone}{cell}\n");
        let id = ran(&client, job, upload).await;
        let failed = text(&client, &format!("jobs/ingest/{id}/failedResults")).await;
        let rows: Vec<&str> = failed.lines().skip(1).collect();
        let expected = match operation {
            // An account cannot be without a name.
            "update" => vec![first.as_str(), gone],
            _ => vec![gone],
        };
        let told: Vec<&str> = rows.iter().map(|row| row.split('"').nth(1).unwrap()).collect();
        assert_eq!(told, expected, "{operation}: {failed}");
    }
    assert_eq!(
        client
            .query("SELECT COUNT() FROM Account WHERE Name = 'Second'")
            .await["totalSize"],
        1
    );
    assert_ne!(first, second);
    client.stop().await;
}

#[tokio::test]
async fn uploads_come_compressed_and_in_other_separators() {
    let client = Client::start().await;
    // What gzip makes of "External_ID__c;Name\r\nG-1;Packed\r\n".
    let packed = "H4sIAAAAAAACA3OtKEktykvMifd0iY9PtvZLzE3l5XLXNbQOSEzOTk3h5QIARyBofCEAAAA=";
    let job = json!({
        "object": "Account", "operation": "upsert", "externalIdFieldName": "external_id__c",
        "columnDelimiter": "SEMICOLON", "lineEnding": "CRLF",
    });
    let (_, opened) = client.post("jobs/ingest", job).await;
    let path = format!("jobs/ingest/{}", opened["id"].as_str().unwrap());
    let put = client
        .request(Method::PUT, &format!("{path}/batches"))
        .header(header::CONTENT_TYPE, "text/csv; charset=UTF-8")
        .header(header::CONTENT_ENCODING, "gzip")
        .body(STANDARD.decode(packed).unwrap());
    assert_eq!(put.send().await.unwrap().status(), 201);
    client
        .send(Method::PATCH, &path, json!({ "state": "UploadComplete" }))
        .await;
    let successful = text(&client, &format!("{path}/successfulResults")).await;
    assert!(
        successful.ends_with("\"true\";\"G-1\";\"Packed\"\r\n"),
        "{successful}"
    );
    client.stop().await;
}

#[tokio::test]
async fn jobs_refuse_what_is_out_of_turn() {
    let client = Client::start().await;
    let insert = json!({ "object": "Account", "operation": "insert" });
    let id = ran(&client, insert.clone(), "Name\nOnce\n").await;
    let path = format!("jobs/ingest/{id}");
    for state in ["UploadComplete", "Aborted"] {
        let (status, body) = client.send(Method::PATCH, &path, json!({ "state": state })).await;
        assert_eq!((status, &body[0]["errorCode"]), (400, &json!("INVALIDJOBSTATE")));
    }
    let wrong = ran(&client, insert.clone(), "Name\r\nWindows\r\n").await;
    let (_, failed) = client.get(&format!("jobs/ingest/{wrong}")).await;
    assert_eq!(failed["state"], "Failed");
    let reason = failed["errorMessage"].as_str().unwrap();
    assert!(reason.ends_with("Current LineEnding setting is LF"), "{reason}");
    let left = text(&client, &format!("jobs/ingest/{wrong}/unprocessedrecords")).await;
    assert_eq!(left, "Name\r\nWindows\r\n");
    let (_, open) = client.post("jobs/ingest", insert).await;
    let open = format!("jobs/ingest/{}", open["id"].as_str().unwrap());
    assert_eq!(client.send(Method::DELETE, &open, Json::Null).await.0, 400);
    assert_eq!(
        client
            .send(Method::PATCH, &open, json!({ "state": "Aborted" }))
            .await
            .0,
        200
    );
    assert_eq!(client.send(Method::DELETE, &open, Json::Null).await.0, 204);
    assert_eq!(client.get(&open).await.0, 404);
    let (_, all) = client.get("jobs/ingest").await;
    assert_eq!(
        (all["records"].as_array().unwrap().len(), &all["done"]),
        (2, &json!(true))
    );
    for (job, code) in [
        (
            json!({ "object": "Bacon__c", "operation": "insert" }),
            "INVALIDENTITY",
        ),
        (
            json!({ "object": "Account", "operation": "upsert" }),
            "INVALIDJOB",
        ),
        (
            json!({ "object": "Account", "operation": "upsert", "externalIdFieldName": "Name" }),
            "INVALIDJOB",
        ),
    ] {
        let (status, body) = client.post("jobs/ingest", job.clone()).await;
        assert_eq!((status, &body[0]["errorCode"]), (400, &json!(code)), "{job}");
    }
    client.stop().await;
}

#[tokio::test]
async fn the_pages_of_a_result_are_told_five_at_a_time() {
    let client = Client::start().await;
    for number in 0..13 {
        client.account(&format!("Account {number}")).await;
    }
    let set = client.post("/sandbox/bulk", json!({ "page_rows": 2 })).await;
    assert_eq!(set, (200, json!({ "page_rows": 2 })));
    let query =
        json!({ "operation": "query", "query": "SELECT Name FROM Account WHERE Name LIKE 'Account %'" });
    let (_, job) = client.post("jobs/query", query).await;
    let mut list = format!("jobs/query/{}/resultPages", job["id"].as_str().unwrap());
    let (mut pages, mut names) = (Vec::new(), Vec::new());
    loop {
        let (status, told) = client.get(&list).await;
        assert_eq!(status, 200, "{told}");
        let urls = told["resultPages"].as_array().unwrap();
        pages.push(urls.len());
        for url in urls {
            let url = url["resultUrl"].as_str().unwrap();
            let page = text(&client, url).await;
            names.extend(page.lines().skip(1).map(str::to_owned));
        }
        match told["nextRecordsUrl"].as_str() {
            Some(next) => list = next.to_owned(),
            None => break assert_eq!(told["done"], true),
        }
    }
    assert_eq!(pages, [5, 2]);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 13);
    client.stop().await;
}
