//! Other orgs: one with Salesforce's own objects alone, whose price books are stores; and two on one machine.

use serde_json::json;

use crate::world::{Sandbox, eventually};

#[tokio::test]
async fn price_books_are_stores_where_the_org_has_none() {
    let sandbox = Sandbox::start(&["--products", "20", "--stores", "2"]).await;
    let book = sandbox
        .some("Pricebook2", "WHERE Name = 'Northlight Supply USD'")
        .await;
    let text = std::fs::read_to_string(sandbox.config()).unwrap();
    let text = text.replace("profile = \"storeconnect\"", "profile = \"standard\"");
    let store = format!(
        "[[sync.stores]]\npricebook_id = \"{book}\"\ncode = \"us\"\nname = \"United States\"\ndomain = \"us.example\"\ncurrency = \"USD\"\npath = \"/usa\"\nlocale = \"en_US\"\ntimezone = \"America/Denver\"\n"
    );
    std::fs::write(sandbox.config(), format!("{text}\n{store}")).unwrap();
    // Any further object is one more name.
    let variables = [
        ("STORESYNC__SYNC__PROFILE", "standard"),
        ("STORESYNC__SYNC__OBJECTS", "s_c__Media__c"),
    ];
    let daemon = sandbox.daemon_with(&variables).await;
    daemon.live().await;
    let (_, stores) = daemon.get("/v1/stores").await.unwrap();
    assert_eq!(stores["items"].as_array().unwrap().len(), 1, "{stores}");
    assert_eq!(
        (&stores["items"][0]["id"], &stores["items"][0]["code"]),
        (&json!(book), &json!("us"))
    );
    for (member, value) in [
        ("name", "United States"),
        ("domain", "us.example"),
        ("currency", "USD"),
        ("path", "/usa"),
        ("locale", "en_US"),
        ("timezone", "America/Denver"),
    ] {
        assert_eq!(stores["items"][0][member], value, "{member} of {stores}");
    }
    let entries = sandbox.query(&format!("SELECT Id, UnitPrice, Product2.ProductCode FROM PricebookEntry WHERE Pricebook2Id = '{book}' AND IsActive = true AND Product2.IsActive = true AND Product2.IsArchived = false AND s_c__Hide_Price__c = false AND s_c__Sale_Price__c = null AND s_c__Restricted__c = false")).await;
    assert!(entries.len() > 5);
    for entry in &entries {
        let code = entry["Product2"]["ProductCode"].as_str().unwrap();
        let (status, product) = daemon
            .get(&format!("/v1/stores/us.example/products/{code}"))
            .await
            .unwrap();
        assert_eq!(status, 200, "{code}");
        let price = format!("{:.2}", entry["UnitPrice"].as_f64().unwrap());
        assert_eq!(
            product["price"],
            json!({"amount": price, "currency": "USD"}),
            "{code}"
        );
    }
    assert_eq!(
        daemon.get("/v1/stores/us/products/JUMPER").await.unwrap().0,
        404,
        "it has no price in this book"
    );
    let (_, empty) = daemon.get("/v1/stores/us/payment-providers").await.unwrap();
    assert_eq!(empty["items"], json!([]));
    let media = sandbox.count("s_c__Media__c").await;
    let (_, rows) = daemon.get("/v1/objects/s_c__Media__c?limit=500").await.unwrap();
    assert_eq!(rows["items"].as_array().unwrap().len() as u64, media);
    let first = entries[0]["Id"].as_str().unwrap();
    let code = entries[0]["Product2"]["ProductCode"].as_str().unwrap().to_owned();
    sandbox
        .update("PricebookEntry", first, json!({"IsActive": false}))
        .await;
    eventually("a product without a price is not the store's", async || {
        (daemon.get(&format!("/v1/stores/us/products/{code}")).await?.0 == 404).then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_orgs_on_one_machine_share_nothing() {
    let (left, right) = tokio::join!(
        Sandbox::start(&["--products", "8", "--stores", "1", "--seed", "1"]),
        Sandbox::start(&["--products", "12", "--stores", "1", "--seed", "2"])
    );
    let (a, b) = tokio::join!(left.daemon(), right.daemon());
    tokio::join!(a.live(), b.live());
    let codes = async |daemon: &crate::world::Daemon| {
        let (_, page) = daemon
            .get("/v1/objects/Product2?limit=500&fields=productcode,s_c__sc_id__c")
            .await
            .unwrap();
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["s_c__sc_id__c"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let (of_a, of_b) = (codes(&a).await, codes(&b).await);
    assert!(of_a.len() != of_b.len() && !of_a.iter().any(|key| of_b.contains(key)));
    let id = left.some("Product2", "WHERE ProductCode = 'SKU-1'").await;
    left.update("Product2", &id, json!({"Name": "Of the left"})).await;
    eventually("the change is where it belongs", async || {
        let (_, row) = a.get(&format!("/v1/objects/Product2/{id}")).await?;
        (row["name"] == "Of the left").then_some(())
    })
    .await;
    let (_, rows) = b.get("/v1/objects/Product2?name=Of%20the%20left").await.unwrap();
    assert_eq!(rows["items"], json!([]));
    // One directory belongs to one daemon.
    let (status, said) = left.refused_daemon(&[]);
    assert_eq!(status, Some(69), "{said}");
}
