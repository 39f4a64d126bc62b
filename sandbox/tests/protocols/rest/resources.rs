//! Batches, trees, tooling queries, schemas of events, and the SOAP calls around a login.

use reqwest::Method;
use serde_json::{Value as Json, json};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::{Client, DATA, shown};

#[tokio::test]
async fn a_batch_runs_its_parts_apart() {
    let client = Client::start().await;
    let requests = json!([
        { "method": "POST", "url": "v67.0/sobjects/Account", "richInput": { "Name": "In a batch" } },
        { "method": "GET", "url": "v67.0/sobjects/Account/External_ID__c/none" },
        { "method": "GET", "url": format!("{DATA}/query?q=SELECT+COUNT()+FROM+Organization") },
    ]);
    let (status, body) = client
        .post("composite/batch", json!({ "batchRequests": requests }))
        .await;
    assert_eq!((status, &body["hasErrors"]), (200, &json!(true)), "{body}");
    let codes: Vec<&Json> = body["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| &part["statusCode"])
        .collect();
    assert_eq!(codes, [&json!(201), &json!(404), &json!(200)]);
    assert_eq!(body["results"][2]["result"]["totalSize"], 1);
    let halting = json!({ "batchRequests": requests, "haltOnError": true });
    let (_, body) = client.post("composite/batch", halting).await;
    let last = &body["results"][2];
    assert_eq!(
        (&last["statusCode"], &last["result"][0]["errorCode"]),
        (&json!(412), &json!("BATCH_PROCESSING_HALTED"))
    );
    client.stop().await;
}

#[tokio::test]
async fn a_tree_is_created_whole_or_not_at_all() {
    let client = Client::start().await;
    let contact = |reference: &str, name: Option<&str>| json!({ "attributes": { "type": "Contact", "referenceId": reference }, "LastName": name });
    let tree = |second: Option<&str>| {
        let contacts = json!({ "records": [contact("c1", Some("Lee")), contact("c2", second)] });
        json!({ "records": [{
            "attributes": { "type": "Account", "referenceId": "a1" }, "Name": "Tree", "Contacts": contacts,
        }] })
    };
    let (status, body) = client.post("composite/tree/Account", tree(None)).await;
    assert_eq!((status, &body["hasErrors"]), (400, &json!(true)), "{body}");
    let results = body["results"].as_array().unwrap();
    assert_eq!(
        (results.len(), &results[0]["referenceId"]),
        (1, &json!("c2")),
        "{body}"
    );
    assert_eq!(results[0]["errors"][0]["statusCode"], "REQUIRED_FIELD_MISSING");
    let count = "SELECT COUNT() FROM Account WHERE Name = 'Tree'";
    assert_eq!(client.query(count).await["totalSize"], 0);

    let (status, body) = client.post("composite/tree/Account/", tree(Some("Wong"))).await;
    assert_eq!((status, &body["hasErrors"]), (201, &json!(false)), "{body}");
    let references: Vec<&Json> = body["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|each| &each["referenceId"])
        .collect();
    assert_eq!(references, [&json!("a1"), &json!("c1"), &json!("c2")]);
    let children = client
        .query("SELECT LastName FROM Contact WHERE Account.Name = 'Tree' ORDER BY LastName")
        .await;
    assert_eq!(children["records"][1]["LastName"], "Wong");
    client.stop().await;
}

#[tokio::test]
async fn tooling_queries_tell_what_the_org_has() {
    let client = Client::start().await;
    let ask = async |soql: &str| {
        let request = client
            .request(Method::GET, "tooling/query/")
            .query(&[("q", soql)]);
        shown(request.send().await.unwrap()).await
    };
    let (_, members) =
        ask("SELECT SelectedEntity, Metadata FROM PlatformEventChannelMember ORDER BY SelectedEntity").await;
    assert_eq!(members["size"], members["totalSize"]);
    assert_eq!(members["records"][0]["SelectedEntity"], "AccountChangeEvent");
    assert_eq!(members["records"][0]["Metadata"]["eventChannel"], "ChangeEvents");
    let (_, managed) = ask("SELECT Id, DeveloperName, Metadata FROM ManagedEventSubscription").await;
    assert_eq!(managed["records"][0]["Metadata"]["state"], "RUN");
    let (_, fields) = ask(
        "SELECT QualifiedApiName, DataType FROM FieldDefinition \
         WHERE EntityDefinition.QualifiedApiName = 'Order' AND QualifiedApiName IN ('AccountId', 'External_ID__c')",
    )
    .await;
    let types: Vec<&str> = fields["records"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|each| each["DataType"].as_str())
        .collect();
    assert!(types.contains(&"Lookup(Account)"), "{types:?}");
    assert!(
        types
            .iter()
            .any(|each| each.ends_with("(External ID) (Unique Case Insensitive)")),
        "{types:?}"
    );
    let (status, body) = ask("SELECT Id FROM Account").await;
    assert_eq!((status, &body[0]["errorCode"]), (400, &json!("INVALID_TYPE")));
    let plain = client
        .query("SELECT Label FROM EntityDefinition WHERE QualifiedApiName = 'Product2'")
        .await;
    assert_eq!(plain["records"][0]["Label"], "Product");
    client.stop().await;
}

#[tokio::test]
async fn an_events_schema_is_found_by_name_and_by_id() {
    let client = Client::start().await;
    let (_, compact) = client
        .get("sobjects/AccountChangeEvent/eventSchema?payloadFormat=COMPACT")
        .await;
    assert_eq!(
        (&compact["name"], &compact["fields"][0]["name"]),
        (&json!("AccountChangeEvent"), &json!("ChangeEventHeader"))
    );
    let id = compact["uuid"].as_str().unwrap();
    let (_, by_id) = client
        .get(&format!("event/eventSchema/{id}?payloadFormat=COMPACT"))
        .await;
    assert_eq!(by_id, compact);
    let (_, expanded) = client.get(&format!("event/eventSchema/{id}")).await;
    assert_eq!(expanded["type"], "expanded-record");
    assert_eq!(
        expanded["fields"][0]["type"]["fields"][1]["type"]["fields"],
        compact["fields"]
    );
    let (_, notice) = client
        .get("sobjects/Storesync_Notice__e/eventSchema?payloadFormat=COMPACT")
        .await;
    assert_eq!(notice["fields"][2]["name"], "Message__c");
    assert_eq!(client.get("sobjects/BaconChangeEvent/eventSchema").await.0, 404);
    assert_eq!(client.get("event/eventSchema/nonsense").await.0, 404);
    client.stop().await;
}

#[tokio::test]
async fn groups_are_filtered_sorted_and_limited_as_groups() {
    let client = Client::start().await;
    for (site, revenue) in [("a", 1), ("b", 5), ("b", 7), ("c", 2), ("c", 3), ("c", 4)] {
        let body = json!({ "Name": "G", "Site": site, "Industry": "Energy", "AnnualRevenue": revenue });
        assert_eq!(client.post("sobjects/Account", body).await.0, 201);
    }
    for (rest, expected) in [
        ("HAVING COUNT(Id) > 1", "bc"),
        ("HAVING SUM(AnnualRevenue) > 5 AND Site != 'b'", "c"),
        ("HAVING (NOT MAX(AnnualRevenue) IN (1, 4))", "b"),
        ("ORDER BY SUM(AnnualRevenue) DESC", "bca"),
        ("ORDER BY COUNT(Id) DESC LIMIT 1 OFFSET 1", "b"),
        ("HAVING Site LIKE 'c%'", "c"),
    ] {
        let soql = format!("SELECT Site, COUNT(Id) n FROM Account WHERE Name = 'G' GROUP BY Site {rest}");
        let found = client.query(&soql).await;
        let sites: String = found["records"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|row| row["Site"].as_str())
            .collect();
        assert_eq!(sites, expected, "{rest}");
    }
    let request = client
        .request(Method::GET, "query")
        .query(&[("q", "SELECT Id FROM Account HAVING Name = 'x'")]);
    assert_eq!(
        shown(request.send().await.unwrap()).await.1[0]["errorCode"],
        "MALFORMED_QUERY"
    );
    client.stop().await;
}

#[tokio::test]
async fn soap_logs_in_and_out_in_the_order_of_the_wsdl() {
    let client = Client::start().await;
    let post = async |body: String| {
        let envelope =
            format!("<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\">{body}</e:Envelope>");
        let url = format!("{}/services/Soap/u/57.0/", client.base);
        let response = client.http.post(url).body(envelope).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let login = |password: &str| {
        let name = client.env("SANDBOX_USERNAME");
        format!(
            "<e:Body><p:login xmlns:p=\"urn:partner.soap.sforce.com\"><p:username><![CDATA[{name}]]></p:username>\
             <p:password>{password}</p:password></p:login></e:Body>"
        )
    };
    let (status, fault) = post(login("wrong")).await;
    assert_eq!(status, 500);
    assert!(
        fault.contains("<sf:exceptionCode>INVALID_LOGIN</sf:exceptionCode>"),
        "{fault}"
    );
    assert!(
        fault.contains("<faultstring>INVALID_LOGIN: Invalid username, password"),
        "{fault}"
    );
    let (status, answer) = post(login(&client.env("SANDBOX_PASSWORD"))).await;
    assert_eq!(status, 200, "{answer}");
    let tags: Vec<&str> = answer
        .split('<')
        .filter_map(|tag| tag.split(['>', ' ', '/']).next())
        .filter(|name| !name.is_empty() && !name.contains(':'))
        .collect();
    let after = |name: &str| tags.iter().position(|tag| *tag == name).unwrap();
    let (result, info) = (after("result"), after("userInfo"));
    assert_eq!(
        (
            after("serverUrl") - result,
            after("sessionId") - result,
            info - result
        ),
        (4, 5, 7)
    );
    assert_eq!(after("organizationId") - info, 9);
    let session = answer
        .split("<sessionId>")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    let header =
        format!("<e:Header><SessionHeader><sessionId>{session}</sessionId></SessionHeader></e:Header>");
    let logout = format!("{header}<e:Body><logout/></e:Body>");
    assert_eq!(post(logout.clone()).await.0, 200);
    let (status, fault) = post(logout).await;
    assert_eq!(status, 500);
    assert!(fault.contains("INVALID_SESSION_ID"), "{fault}");
    client.stop().await;
}

#[tokio::test]
async fn header_names_are_written_as_the_platform_writes_them() {
    let client = Client::start().await;
    let mut stream = TcpStream::connect(client.base.trim_start_matches("http://"))
        .await
        .unwrap();
    let request = format!(
        "GET {DATA}/limits/ HTTP/1.1\r\nHost: org\r\nAuthorization: OAuth {}\r\nConnection: close\r\n\r\n",
        client.token
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.contains("\r\nContent-Type: application/json;charset=UTF-8\r\n"),
        "{answer}"
    );
    let limit = answer
        .split("\r\nSforce-Limit-Info: ")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next());
    let (used, max) = limit
        .unwrap()
        .strip_prefix("api-usage=")
        .unwrap()
        .split_once('/')
        .unwrap();
    assert!(used.parse::<u64>().unwrap() < max.parse::<u64>().unwrap());
    client.stop().await;
}

#[tokio::test]
async fn an_address_that_is_too_long_is_refused() {
    let client = Client::start().await;
    let long = format!("SELECT Id FROM Account WHERE Name = '{}'", "x".repeat(16_400));
    let request = client.request(Method::GET, "query").query(&[("q", &long)]);
    assert_eq!(request.send().await.unwrap().status(), 414);
    client.stop().await;
}
