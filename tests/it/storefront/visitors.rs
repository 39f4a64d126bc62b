//! What visitors of five stores see, each compared with what the org's own rows say.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::oracle::{Address, Org};
use crate::world::{Daemon, Row, Sandbox};

/// All items of a list.
async fn items(daemon: &Daemon, path: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    let joint = if path.contains('?') { '&' } else { '?' };
    loop {
        let (status, page) = daemon.get(&format!("{path}{cursor}")).await.unwrap();
        assert_eq!(status, 200, "{path}: {page}");
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("{joint}cursor={}", next.replace(' ', "%20").replace('&', "%26")),
            None => return items,
        }
    }
}

fn ids(items: &[Value]) -> BTreeSet<String> {
    items
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}

/// `price text reason` by product code.
async fn offers(daemon: &Daemon, path: &str) -> BTreeMap<String, String> {
    let shown = items(daemon, path).await;
    let told = shown.iter().map(|item| {
        let price = item["price"]["amount"].as_str().unwrap_or("-");
        let text = item["price_text"].as_str().unwrap_or_default();
        let reason = item["unavailable_reason"].as_str().unwrap_or("buy");
        assert_eq!(item["purchasable"], reason == "buy", "{item}");
        (
            item["product_code"].as_str().unwrap().to_owned(),
            format!("{price} {text} {reason}"),
        )
    });
    told.collect()
}

/// Countries by two letters and three.
const ADDRESSES: [(&str, Address<'static>); 6] = [
    ("AU", ("AUS", "NSW", "2000")),
    ("AUS", ("AUS", "TAS", "7000")),
    ("US", ("USA", "CA", "94105")),
    ("us", ("USA", "NY", "10001")),
    ("FR", ("FRA", "IDF", "75001")),
    ("DE", ("DEU", "", "10115")),
];

struct Cases<'a> {
    daemon: &'a Daemon,
    org: &'a Org,
    count: usize,
}

impl Cases<'_> {
    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, shown: &T, expected: &T) {
        assert_eq!(shown, expected, "{what}");
        self.count += 1;
    }

    async fn catalogue(&mut self, store: &Row, number: usize, code: &str) {
        let base = format!("/v1/stores/{code}");
        let name = store["Name"].as_str().unwrap();
        let membership = self.org.membership(&format!("{name} club"));
        let membership = membership["Id"].as_str().unwrap();
        let (buyer, viewer) = (format!("TRADE-{number}-buyer"), format!("TRADE-{number}-viewer"));
        let club = format!("{name} club");
        let visitors = [
            (String::new(), None, None),
            (format!("?membership={membership}"), None, Some(club.as_str())),
            (format!("?customer={buyer}"), Some(buyer.as_str()), None),
            (format!("?customer={viewer}"), Some(viewer.as_str()), None),
        ];
        for (query, contact, membership) in visitors {
            let shown = offers(self.daemon, &format!("{base}/products{query}")).await;
            let expected = self.org.offers(store, contact, membership);
            assert!(expected.len() > 20, "{code} {query}");
            self.same(&format!("{code} products{query}"), &shown, &expected);
        }
        let categories = items(self.daemon, &format!("{base}/categories")).await;
        let mut all = Vec::new();
        let mut open = categories;
        while let Some(category) = open.pop() {
            open.extend(category["children"].as_array().unwrap().iter().cloned());
            all.push(category);
        }
        self.same(
            &format!("{code} categories"),
            &ids(&all),
            &self.org.categories(store),
        );
    }

    async fn checkout(&mut self, store: &Row, number: usize, code: &str) {
        let base = format!("/v1/stores/{code}");
        let product = |wanted: &str| {
            let row = self
                .org
                .all("Product2")
                .find(|row| row["ProductCode"] == format!("{wanted}-{number}"))
                .unwrap();
            row["Id"].as_str().unwrap().to_owned()
        };
        let (heavy, plain, virtual_one) = (product("HEAVY"), product("SALE"), product("VIRTUAL"));
        for (country, address) in ADDRESSES {
            let place = format!("country={country}&state={}&postcode={}", address.1, address.2);
            let taxes = items(self.daemon, &format!("{base}/taxes?{place}")).await;
            self.same(
                &format!("{code} taxes {place}"),
                &ids(&taxes),
                &self.org.taxes(address, None),
            );
            for (query, total, weight, products) in [
                ("&total=50&weight=2".to_owned(), Some(50.0), Some(2.0), vec![]),
                ("&total=500&weight=9".to_owned(), Some(500.0), Some(9.0), vec![]),
                (
                    format!("&products={heavy},{plain}"),
                    None,
                    None,
                    vec![heavy.as_str(), plain.as_str()],
                ),
                (
                    format!("&products={virtual_one}"),
                    None,
                    None,
                    vec![virtual_one.as_str()],
                ),
            ] {
                let rates = items(self.daemon, &format!("{base}/shipping-methods?{place}{query}")).await;
                let expected = self.org.rates(store, address, total, weight, &products);
                self.same(&format!("{code} rates {place}{query}"), &ids(&rates), &expected);
            }
        }
        let first = self.org.all("s_c__Product_Tax__c").next().unwrap()["s_c__Product_Id__c"]
            .as_str()
            .unwrap();
        let taxes = items(self.daemon, &format!("{base}/taxes?country=AU&product={first}")).await;
        self.same(
            &format!("{code} taxes of a product"),
            &ids(&taxes),
            &self.org.taxes(("AUS", "", ""), Some(first)),
        );
    }

    async fn the_rest(&mut self, store: &Row, number: usize, code: &str) {
        let base = format!("/v1/stores/{code}");
        let buyer = format!("TRADE-{number}-buyer");
        let currency = store["s_c__Currency__c"].as_str().unwrap();
        for (query, contact, coupon) in [
            (String::new(), None, None),
            (format!("?customer={buyer}"), Some(buyer.as_str()), None),
            (
                format!("?coupon=welcome10-{currency}"),
                None,
                Some(format!("WELCOME10-{currency}")),
            ),
            (format!("?coupon=OLD-{code}"), None, Some(format!("old-{code}"))),
        ] {
            let open = items(self.daemon, &format!("{base}/promotions{query}")).await;
            let open: Vec<Value> = open
                .into_iter()
                .filter(|item| item["kind"] != "discount")
                .collect();
            let expected = self.org.promotions(store, contact, coupon.as_deref());
            self.same(&format!("{code} promotions{query}"), &ids(&open), &expected);
            for promotion in open {
                let live = promotion["name"].as_str().unwrap().starts_with("Live");
                assert_eq!(promotion["needs_live_check"], live, "{promotion}");
                assert!(
                    !promotion.to_string().contains("WELCOME10"),
                    "a coupon is told: {promotion}"
                );
            }
        }
        let payment = ids(&items(self.daemon, &format!("{base}/payment-providers")).await);
        self.same(
            &format!("{code} payment"),
            &payment,
            &self.org.ways(store, "s_c__Payment_Provider__c"),
        );
        let login = ids(&items(self.daemon, &format!("{base}/auth-providers")).await);
        self.same(
            &format!("{code} login"),
            &login,
            &self.org.ways(store, "s_c__Authentication_Provider__c"),
        );
        let host = store["s_c__Domain__c"].as_str().unwrap();
        for (country, letters) in [("AU", "AUS"), ("NZ", "NZL"), ("FR", "FRA"), ("BR", "BRA")] {
            let (_, found) = self
                .daemon
                .get(&format!("/v1/resolve?host={host}&path=/&country={country}"))
                .await
                .unwrap();
            assert_eq!(found["store"]["id"], store["Id"], "{host}");
            let suggested = found["suggested"]["id"].as_str().map(str::to_owned);
            self.same(
                &format!("{code} from {country}"),
                &suggested,
                &self.org.suggested(store, letters),
            );
        }
    }
}

#[tokio::test]
async fn visitors_see_what_the_org_says_they_see() {
    let sandbox = Sandbox::start(&["--products", "60", "--stores", "5", "--seed", "11"]).await;
    let daemon = sandbox.daemon().await;
    daemon.live().await;
    let org = Org::read(&sandbox).await;
    let mut cases = Cases {
        daemon: &daemon,
        org: &org,
        count: 0,
    };
    let stores = org.stores();
    let currencies: BTreeSet<&str> = stores
        .iter()
        .filter_map(|store| store["s_c__Currency__c"].as_str())
        .collect();
    assert!(stores.len() == 5 && currencies.len() >= 3, "{currencies:?}");
    for (number, store) in stores.into_iter().enumerate() {
        let code = store["s_c__Code__c"].as_str().unwrap();
        cases.catalogue(store, number, code).await;
        cases.checkout(store, number, code).await;
        cases.the_rest(store, number, code).await;
    }
    println!("{} cases", cases.count);
    assert!(cases.count >= 60);
    // A change of what is materialised is there with the change itself.
    let store = org.stores()[0];
    let code = store["s_c__Code__c"].as_str().unwrap();
    let link = org
        .all("s_c__Products_Product_Categories__c")
        .find(|row| row["s_c__Product_Id__c"] == sale_id(&org))
        .unwrap();
    let path = format!("/v1/stores/{code}/products/SALE-0");
    assert_eq!(daemon.get(&path).await.unwrap().0, 200);
    let link = link["Id"].as_str().unwrap();
    sandbox
        .update(
            "s_c__Products_Product_Categories__c",
            link,
            serde_json::json!({"s_c__Active__c": false}),
        )
        .await;
    crate::world::eventually("a product whose link is off is not shown", async || {
        (daemon.get(&path).await?.0 == 404).then_some(())
    })
    .await;
    sandbox
        .update(
            "s_c__Products_Product_Categories__c",
            link,
            serde_json::json!({"s_c__Active__c": true}),
        )
        .await;
    crate::world::eventually("a product whose link is on again is shown", async || {
        (daemon.get(&path).await?.0 == 200).then_some(())
    })
    .await;
}

fn sale_id(org: &Org) -> Value {
    org.all("Product2")
        .find(|row| row["ProductCode"] == "SALE-0")
        .unwrap()["Id"]
        .clone()
}
