//! What changes, told as it changes: to the right stores, once, and without a gap.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::oracle::Org;
use crate::world::{Daemon, PATIENCE, Sandbox};

/// A stream of server-sent events.
struct Events {
    answer: reqwest::Response,
    text: String,
}

/// One event: its id, name and data.
#[derive(Debug)]
struct Event {
    id: String,
    name: String,
    data: Value,
}

impl Events {
    async fn open(daemon: &Daemon, query: &str, after: Option<&str>) -> Self {
        static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
            reqwest::Client::builder()
                .pool_max_idle_per_host(0)
                .build()
                .unwrap()
        });
        let mut request = CLIENT.get(format!("{}/v1/changes{query}", daemon.api));
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        Self {
            answer,
            text: String::new(),
        }
    }

    async fn next(&mut self) -> Event {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let line = block.lines().find(|line| line.starts_with(name));
                    line.map(|line| line[name.len()..].trim_start_matches([':', ' ']).to_owned())
                        .unwrap_or_default()
                };
                let event = Event {
                    id: field("id"),
                    name: field("event"),
                    data: serde_json::from_str(&field("data")).unwrap_or_default(),
                };
                self.text = rest.to_owned();
                if !event.name.is_empty() {
                    return event;
                }
                continue;
            }
            let chunk = tokio::time::timeout(Duration::from_secs(60), self.answer.chunk())
                .await
                .expect("an event");
            let chunk = chunk.unwrap().expect("the stream goes on");
            self.text.push_str(&String::from_utf8_lossy(&chunk));
        }
    }

    /// Until one satisfies. A stream that only says that it is alive is not waited for longer than any.
    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> (Event, Vec<Event>) {
        let (started, mut before) = (Instant::now(), Vec::new());
        loop {
            let event = self.next().await;
            if wanted(&event) {
                return (event, before);
            }
            assert!(started.elapsed() < PATIENCE, "not among {before:#?}");
            before.push(event);
        }
    }
}

fn about<'a>(object: &'a str, id: &'a str) -> impl Fn(&Event) -> bool + 'a {
    move |event| event.data["object"] == object && event.data["id"] == id
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "one story, told in its order")]
async fn a_change_reaches_the_stores_that_it_touches() {
    let sandbox = Sandbox::start(&["--products", "30", "--stores", "2"]).await;
    let daemon = sandbox.daemon().await;
    daemon.live().await;
    let org = Org::read(&sandbox).await;
    let stores = org.stores();
    let store = |at: usize, field: &str| stores[at][field].as_str().unwrap().to_owned();
    let entry = |at: usize| {
        let product = org
            .all("Product2")
            .find(|row| row["ProductCode"] == format!("SALE-{at}"))
            .unwrap()["Id"]
            .clone();
        let row = org.all("PricebookEntry").find(|row| {
            row["Product2Id"] == product && row["Pricebook2Id"] == stores[at]["s_c__Pricebook_Id__c"]
        });
        (
            row.unwrap()["Id"].as_str().unwrap().to_owned(),
            product.as_str().unwrap().to_owned(),
        )
    };
    let mut first = Events::open(&daemon, "?store=harbour-pine&rows=true", None).await;
    let mut second = Events::open(&daemon, "?store=northlight", None).await;
    let mut all = Events::open(&daemon, "?objects=PricebookEntry&rows=true", None).await;
    let mut bare = Events::open(&daemon, "?objects=PricebookEntry", None).await;
    for events in [&mut first, &mut second, &mut all, &mut bare] {
        assert_eq!(events.next().await.name, "ready");
    }
    // A price of the second store, then one of the first: the first store hears of its own alone.
    let ((of_second, _), (of_first, product)) = (entry(1), entry(0));
    sandbox
        .update("PricebookEntry", &of_second, json!({"s_c__Sale_Price__c": 3.5}))
        .await;
    let (told, _) = second.until(about("PricebookEntry", &of_second)).await;
    assert_eq!(told.data["topic"], "prices");
    assert!(told.data.get("row").is_none(), "rows were not asked for");
    sandbox
        .update("PricebookEntry", &of_first, json!({"s_c__Sale_Price__c": 4.5}))
        .await;
    let (told, before) = first.until(about("PricebookEntry", &of_first)).await;
    assert!(before.is_empty(), "{before:?}");
    assert_eq!(
        (told.data["product_id"].as_str(), &told.data["stores"]),
        (Some(product.as_str()), &json!([store(0, "Id")]))
    );
    assert_eq!(
        told.data["row"]["price"],
        json!({"amount": "4.50", "currency": "AUD"})
    );
    let (raw, _) = all.until(about("PricebookEntry", &of_first)).await;
    assert_eq!(raw.data["row"]["s_c__sale_price__c"], 4.5);
    assert_eq!(raw.data["stores"], json!([store(0, "Id")]));
    let (without, _) = bare.until(about("PricebookEntry", &of_first)).await;
    assert!(without.data.get("row").is_none(), "{without:?}");
    // A shared zone reaches both.
    let zone = store(0, "s_c__Zone_Id__c");
    sandbox
        .update("s_c__Zone__c", &zone, json!({"Name": "Down under"}))
        .await;
    for events in [&mut first, &mut second] {
        let (told, _) = events.until(about("s_c__Zone__c", &zone)).await;
        assert_eq!(told.data["topic"], "zones");
    }
    // What moves from one store to another is told to both.
    let provider = org
        .all("s_c__Payment_Provider__c")
        .find(|row| row["s_c__Store_Id__c"] == stores[0]["Id"])
        .unwrap()["Id"]
        .as_str()
        .unwrap();
    sandbox
        .update(
            "s_c__Payment_Provider__c",
            provider,
            json!({"s_c__Store_Id__c": store(1, "Id")}),
        )
        .await;
    let (told_there, _) = second.until(about("s_c__Payment_Provider__c", provider)).await;
    assert_eq!(told_there.data["topic"], "payment");
    // What is of no store is for all.
    let for_all = json!({"s_c__Store_Id__c": null});
    sandbox
        .update("s_c__Payment_Provider__c", provider, for_all)
        .await;
    let of_provider = about("s_c__Payment_Provider__c", provider);
    let (told_to_all, before_it) = first
        .until(|event| of_provider(event) && event.id != told_there.id)
        .await;
    assert_eq!(
        told_to_all.data["stores"],
        json!([store(0, "Id")]),
        "{before_it:?}"
    );
    // What has gone is told to the store that it was in.
    sandbox.delete("PricebookEntry", &of_first).await;
    let (gone, before) = first.until(|event| event.data["kind"] == "deleted").await;
    let left = before_it.iter().any(about("s_c__Payment_Provider__c", provider));
    assert!(left, "the store that it left: {before_it:?} {before:?}");
    assert_eq!(
        (gone.data["id"].as_str(), gone.data["product_id"].as_str()),
        (Some(of_first.as_str()), Some(product.as_str()))
    );
    // Whoever comes back hears what was missed, once.
    sandbox
        .update(
            "s_c__Store__c",
            &store(0, "Id"),
            json!({"s_c__Cache_Version__c": "2"}),
        )
        .await;
    let mut again = Events::open(&daemon, "?store=harbour-pine", Some(&told.id)).await;
    assert_eq!(again.next().await.name, "ready");
    let (settings, missed) = again.until(about("s_c__Store__c", &store(0, "Id"))).await;
    assert_eq!(settings.data["topic"], "settings");
    let missed: Vec<&str> = missed
        .iter()
        .filter_map(|event| event.data["id"].as_str())
        .collect();
    assert_eq!(
        missed,
        [zone.as_str(), provider, provider, of_first.as_str()],
        "everything since the price"
    );
    // A position that the feed never had is told to begin anew.
    let life = settings.id.split_once('.').unwrap().0;
    let mut lost = Events::open(
        &daemon,
        &format!("?store=harbour-pine&since={life}.999999999"),
        None,
    )
    .await;
    assert_eq!(lost.next().await.name, "reset");
    let mut old = Events::open(&daemon, &format!("?store=harbour-pine&since={life}.0"), None).await;
    let reset = old.next().await;
    assert_eq!(reset.name, "reset");
    // Whoever stands right before the oldest entry has missed nothing.
    let oldest = reset.data["oldest"].as_i64().unwrap();
    for (since, name) in [(oldest - 1, "ready"), (oldest - 2, "reset")] {
        let query = format!("?store=harbour-pine&since={life}.{since}");
        let mut stands = Events::open(&daemon, &query, None).await;
        assert_eq!(stands.next().await.name, name, "{since} of {oldest}");
    }
}

/// A picture is told to the stores that show it: by a product, or by a category of theirs.
#[tokio::test]
async fn a_picture_of_a_category_reaches_the_store_of_the_category() {
    let sandbox = Sandbox::start(&["--products", "8", "--stores", "2"]).await;
    let banner =
        json!({"Name": "Banner", "s_c__File_Type__c": "image", "s_c__Url__c": "https://cdn.example/1.webp"});
    let banner = sandbox.create("s_c__Media__c", banner).await;
    let store = async |code: &str| {
        sandbox
            .some("s_c__Store__c", &format!("WHERE s_c__Code__c = '{code}'"))
            .await
    };
    let (of_first, of_second) = (store("harbour-pine").await, store("northlight").await);
    let category = format!("WHERE s_c__Taxonomy_Id__r.s_c__Store_Id__c = '{of_first}'");
    let category = sandbox.some("s_c__Product_Category__c", &category).await;
    let shown = json!({ "s_c__Media_Id__c": banner });
    sandbox.update("s_c__Product_Category__c", &category, shown).await;
    let daemon = sandbox.daemon().await;
    daemon.live().await;
    let mut first = Events::open(&daemon, "?store=harbour-pine", None).await;
    let mut second = Events::open(&daemon, "?store=northlight", None).await;
    for events in [&mut first, &mut second] {
        assert_eq!(events.next().await.name, "ready");
    }
    let moved = json!({"s_c__Url__c": "https://cdn.example/2.webp"});
    sandbox.update("s_c__Media__c", &banner, moved).await;
    let (told, _) = first.until(about("s_c__Media__c", &banner)).await;
    assert_eq!(
        (&told.data["topic"], &told.data["stores"]),
        (&json!("products"), &json!([of_first]))
    );
    // The other store hears of what is its own, and of nothing before it.
    let version = json!({"s_c__Cache_Version__c": "2"});
    sandbox.update("s_c__Store__c", &of_second, version).await;
    let (_, before) = second.until(about("s_c__Store__c", &of_second)).await;
    assert!(!before.iter().any(about("s_c__Media__c", &banner)), "{before:?}");
}
