//! Customers that the org has merged: reads and prices are those of the record that lives on, as orders are.

use serde_json::{Value, json};

use crate::world::{Daemon, Sandbox, eventually};

/// Status, the record that the answer says it is of, and the body.
async fn asked(daemon: &Daemon, path: &str) -> (u16, Option<String>, Value) {
    let answer = reqwest::get(format!("{}{path}", daemon.api)).await.unwrap();
    let of = answer.headers().get("storesync-customer");
    let of = of.map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), of, answer.json().await.unwrap())
}

/// Waits until a name is that of a record: of the person, and of whom prices are asked for.
async fn names(daemon: &Daemon, store: &str, name: &str, record: &str, book: &str) {
    eventually(&format!("{name} names {record}"), async || {
        let (status, of, told) = asked(daemon, &format!("/v1/stores/{store}/customers/{name}")).await;
        (status == 200 && told["id"] == record && of.as_deref() == Some(record)).then_some(())
    })
    .await;
    for path in ["products?limit=1&", "prices?limit=1&"] {
        let (status, of, page) = asked(daemon, &format!("/v1/stores/{store}/{path}customer={name}")).await;
        assert_eq!(
            (status, of.as_deref()),
            (200, Some(record)),
            "{path} {name}: {page}"
        );
        assert_eq!(page["items"][0]["pricebook_id"], book, "{path} {name}");
    }
    for list in ["orders", "assets", "cases", "points"] {
        let path = format!("/v1/stores/{store}/customers/{name}/{list}");
        let (status, of, page) = asked(daemon, &path).await;
        assert_eq!((status, of.as_deref()), (200, Some(record)), "{path}: {page}");
    }
    let promotions = format!("/v1/stores/{store}/promotions?customer={name}");
    let (status, of, page) = asked(daemon, &promotions).await;
    assert_eq!((status, of.as_deref()), (200, Some(record)), "{name}: {page}");
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::too_many_lines, reason = "one story, told in its order")]
async fn who_was_merged_is_shown_as_the_record_that_lives_on() {
    let org = Sandbox::start(&["--products", "12", "--stores", "2"]).await;
    let stores = org
        .query("SELECT Id, s_c__Pricebook_Id__c FROM s_c__Store__c ORDER BY Id")
        .await;
    let store = stores[0]["Id"].as_str().unwrap();
    let own_book = stores[1]["s_c__Pricebook_Id__c"].as_str().unwrap();
    let company = json!({"Name": "Acme", "External_ID__c": "ACME", "s_c__Pricebook_Id__c": own_book});
    let company = org.create("Account", company).await;
    let person = |key: &str| {
        json!({"LastName": "Lee", "External_ID__c": key, "Email": format!("{key}@example.com"), "AccountId": company,
            "s_c__Can_Use_Account_Pricing__c": true})
    };
    let survivor = org.create("Contact", person("NEW-1")).await;
    let before = org.create("Contact", person("OLD-1")).await;
    let merge = async |object: &str, master: &str, loser: &str| {
        org.control("merge", json!({"master": master, "loser": loser}))
            .await;
        assert_eq!(org.count(&format!("{object} WHERE Id = '{loser}'")).await, 0);
    };
    // Before anybody followed the org.
    merge("Contact", &survivor, &before).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    names(&daemon, store, "OLD-1", &survivor, own_book).await;
    names(&daemon, store, &before, &survivor, own_book).await;

    // While it is followed, one merge after the other.
    let (second, third) = (
        org.create("Contact", person("OLD-2")).await,
        org.create("Contact", person("OLD-3")).await,
    );
    names(&daemon, store, "OLD-2", &second, own_book).await;
    names(&daemon, store, "OLD-3", &third, own_book).await;
    merge("Contact", &third, &second).await;
    merge("Contact", &survivor, &third).await;
    for name in [
        "OLD-2",
        "old-3",
        &second,
        &third[..15],
        "new-1",
        "NEW-1@example.com",
    ] {
        names(&daemon, store, name, &survivor, own_book).await;
    }

    // A company too.
    let other = json!({"Name": "Globex", "External_ID__c": "GLOBEX", "s_c__Pricebook_Id__c": own_book});
    let other = org.create("Account", other).await;
    names(&daemon, store, "GLOBEX", &other, own_book).await;
    merge("Account", &company, &other).await;
    names(&daemon, store, "GLOBEX", &company, own_book).await;

    // What is taken is what was shown.
    let (_, _, page) = asked(&daemon, &format!("/v1/stores/{store}/products?limit=200")).await;
    let mut items = page["items"].as_array().unwrap().iter();
    let is_free = |item: &&Value| item["stock"].is_null() && item["order_quantity_max"].is_null();
    let product = items
        .find(|item| item["purchasable"] == true && is_free(item))
        .unwrap();
    let entry = json!({"Pricebook2Id": own_book, "Product2Id": product["id"], "UnitPrice": 7.5, "IsActive": true,
        "CurrencyIsoCode": product["price"]["currency"]});
    org.create("PricebookEntry", entry).await;
    let path = format!(
        "/v1/stores/{store}/products/{}?customer=OLD-2",
        product["id"].as_str().unwrap()
    );
    let shown = eventually("the product is in the survivor's book", async || {
        let (_, _, shown) = asked(&daemon, &path).await;
        (shown["price"]["amount"] == "7.50").then_some(shown)
    })
    .await;
    let order = json!({"external_id": "M-1", "customer": {"external_id": "OLD-2", "last_name": "Lee"},
        "items": [{"product_id": shown["id"], "quantity": 1, "unit_price": shown["price"]["amount"]}]});
    let (status, answer) = daemon.place(store, &order).await.unwrap();
    assert_eq!(status, 202, "{answer}");
    let row = eventually("the org has the order", async || {
        let soql = "SELECT BillToContactId, Pricebook2Id FROM Order WHERE External_ID__c = 'M-1'";
        org.query(soql).await.pop()
    })
    .await;
    assert_eq!(row["BillToContactId"], json!(survivor));
    assert_eq!(row["Pricebook2Id"], json!(own_book));

    // Who has a key now comes before who had it once.
    let store_book = stores[0]["s_c__Pricebook_Id__c"].as_str().unwrap();
    let heir = json!({"LastName": "Heir", "External_ID__c": "OLD-3", "Email": "heir@example.com"});
    let heir = org.create("Contact", heir).await;
    names(&daemon, store, "old-3", &heir, store_book).await;
    names(&daemon, store, "OLD-2", &survivor, own_book).await;

    // An address of two names nobody.
    let twin = json!({"LastName": "Twin", "External_ID__c": "TWIN", "Email": "NEW-1@example.com"});
    let twin = org.create("Contact", twin).await;
    names(&daemon, store, "TWIN", &twin, store_book).await;
    for path in [
        "customers/NEW-1@example.com",
        "products?customer=NEW-1@example.com",
    ] {
        let (status, _, problem) = asked(&daemon, &format!("/v1/stores/{store}/{path}")).await;
        assert_eq!(status, 409, "{path}: {problem}");
        assert_eq!(problem["type"], "urn:storesync:problem:customer-not-unique");
    }
}
