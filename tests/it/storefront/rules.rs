//! Who was shown what, and what becomes of an order for it: the two agree, and both with the org's own rows.
//!
//! Each case is decided here from rows that SOQL reads, with plain loops; nothing is taken from the daemon's answers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::oracle::Org;
use crate::outbound::{accepted, configure};
use crate::world::{Daemon, Row, Sandbox, eventually};

/// What the org may have of an order: the book, the entry and the price of each item.
type Items = (String, Vec<(String, f64)>);

/// What has to become of an order.
#[derive(Debug, PartialEq)]
enum Fate {
    Taken(Items),
    /// 422: the field, and the rule's word where it is a rule's.
    Refused(String, Option<&'static str>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Guest,
    /// May use the prices of the account.
    Buyer,
    /// Of the same account, and may not.
    Viewer,
    Member,
}

/// A store of one of the two profiles, as the org's rows describe it.
struct Shop<'a> {
    org: &'a Org,
    is_plain: bool,
    number: usize,
    store: &'a Row,
    /// The path of its orders.
    key: String,
}

fn text<'a>(row: &'a Row, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

fn is(row: &Row, field: &str) -> bool {
    row[field] == Value::Bool(true)
}

impl Shop<'_> {
    fn product(&self, code: &str) -> &Row {
        let mut all = self
            .org
            .all("Product2")
            .filter(|row| text(row, "ProductCode") == code);
        all.next().unwrap()
    }

    fn own_book(&self) -> &str {
        text(self.store, "s_c__Pricebook_Id__c")
    }

    fn name(&self) -> &str {
        text(self.store, "Name")
    }

    fn contact(&self, who: Who) -> Option<&Row> {
        let name = match who {
            Who::Buyer => "buyer",
            Who::Viewer => "viewer",
            Who::Guest | Who::Member => return None,
        };
        Some(self.org.contact(&format!("TRADE-{}-{name}", self.number)))
    }

    fn book(&self, who: Who) -> String {
        let account = self
            .contact(who)
            .and_then(|contact| self.org.get("Account", text(contact, "AccountId")));
        let own = account.map_or("", |account| text(account, "s_c__Pricebook_Id__c"));
        let may = self
            .contact(who)
            .is_some_and(|contact| is(contact, "s_c__Can_Use_Account_Pricing__c"));
        match who {
            Who::Member => text(
                self.org.membership(&format!("{} club", self.name())),
                "s_c__Pricebook_Id__c",
            )
            .to_owned(),
            _ if may && !own.is_empty() => own.to_owned(),
            _ => self.own_book().to_owned(),
        }
    }

    fn entry_in(&self, book: &str, product: &str) -> Option<&Row> {
        let currency = text(self.store, "s_c__Currency__c");
        self.org.all("PricebookEntry").find(|row| {
            text(row, "Pricebook2Id") == book
                && text(row, "Product2Id") == product
                && is(row, "IsActive")
                && text(row, "CurrencyIsoCode") == currency
        })
    }

    /// Whether the store leads to it: a plain one by its book, one of StoreConnect by its categories.
    fn leads_to(&self, product: &Row) -> bool {
        let id = text(product, "Id");
        if !is(product, "IsActive") || is(product, "IsArchived") {
            return false;
        }
        if self.is_plain {
            return self.entry_in(self.own_book(), id).is_some();
        }
        let of_store = |link: &Row| {
            let category = self
                .org
                .get("s_c__Product_Category__c", text(link, "s_c__Category_Id__c"));
            let taxonomy = self
                .org
                .get("s_c__Taxonomy__c", text(category.unwrap(), "s_c__Taxonomy_Id__c"));
            text(taxonomy.unwrap(), "s_c__Store_Id__c") == text(self.store, "Id")
        };
        let mut masters = self.org.all("s_c__Product_Variant__c");
        let master = masters.find(|row| text(row, "s_c__Variant_Product_Id__c") == id);
        let of = |id: &str| {
            let mut links = self.org.all("s_c__Products_Product_Categories__c");
            links.any(|link| {
                text(link, "s_c__Product_Id__c") == id && is(link, "s_c__Active__c") && of_store(link)
            })
        };
        of(id) || master.is_some_and(|row| of(text(row, "s_c__Master_Product_Id__c")))
    }

    fn is_approved(&self, who: Who, product: &str) -> bool {
        let Some(contact) = self.contact(who).filter(|_| !self.is_plain) else {
            return false;
        };
        self.org.all("s_c__Permitted_Restricted_Product__c").any(|row| {
            text(row, "s_c__Account_Id__c") == text(contact, "AccountId")
                && text(row, "s_c__Product_Id__c") == product
                && text(row, "s_c__Approved_Until__c") > self.org.now.as_str()
                && row["s_c__Approved_Quantity__c"].as_f64() > row["s_c__Purchased_Quantity__c"].as_f64()
        })
    }

    fn in_stock(&self, product: &str) -> f64 {
        if self.is_plain {
            return 0.0;
        }
        let levels = self
            .org
            .all("s_c__Stock_Level__c")
            .filter(|row| text(row, "s_c__Product_Id__c") == product);
        levels
            .filter_map(|row| row["s_c__Available_To_Sell__c"].as_f64())
            .sum()
    }

    /// The rule that a visitor meets who asks for so many of a product.
    fn rule(&self, who: Who, product: &Row, wanted: f64) -> Option<&'static str> {
        let id = text(product, "Id");
        let entry = self.entry_in(&self.book(who), id);
        let has = |field: &str| entry.is_some_and(|entry| is(entry, field));
        let restricted = has("s_c__Restricted__c") && !self.is_approved(who, id);
        let later = text(product, "s_c__Available_On__c") > self.org.now.as_str();
        let until = text(product, "s_c__Discontinue_On__c");
        let most = entry.and_then(|entry| entry["s_c__Order_Quantity_Maximum__c"].as_f64());
        // Of a plain daemon's stock nothing is known.
        let counts = is(product, "s_c__Track_Inventory__c") && !self.is_plain;
        let short = counts && self.in_stock(id) < wanted.max(f64::MIN_POSITIVE);
        let rules = [
            (
                "hidden",
                !self.leads_to(product) || restricted && !has("s_c__Display_If_Restricted__c"),
            ),
            ("no_price", entry.is_none()),
            ("restricted", restricted),
            ("not_yet_available", later),
            (
                "discontinued",
                !until.is_empty() && until <= self.org.now.as_str(),
            ),
            ("price_on_application", has("s_c__Hide_Price__c")),
            ("bundle_only", has("s_c__Bundle_Only__c")),
            ("master", is(product, "s_c__Is_Master__c")),
            ("out_of_stock", short),
            ("quantity", most.is_some_and(|most| wanted > most)),
        ];
        rules.iter().find(|(_, holds)| *holds).map(|(word, _)| *word)
    }
}

/// One order.
struct Case {
    who: Who,
    /// Codes and quantities.
    items: Vec<(String, u32)>,
    stated: Option<&'static str>,
    /// By the entry of this visitor's book, in the place of the code.
    by_entry_of: Option<Who>,
}

impl Case {
    fn of(who: Who, code: impl Into<String>, quantity: u32) -> Self {
        let items = vec![(code.into(), quantity)];
        Self {
            who,
            items,
            stated: None,
            by_entry_of: None,
        }
    }

    fn fate(&self, shop: &Shop<'_>) -> Fate {
        let refused = |field: &str, word| Fate::Refused(field.to_owned(), word);
        if self.who == Who::Member && shop.is_plain {
            return refused("membership", None);
        }
        let mut items = Vec::new();
        for (index, (code, _)) in self.items.iter().enumerate() {
            let product = shop.product(code);
            let book = shop.book(self.who);
            if self.by_entry_of.is_some_and(|other| shop.book(other) != book) {
                return refused("items[0].pricebook_entry_id", None);
            }
            let wanted = self
                .items
                .iter()
                .filter(|(other, _)| other == code)
                .map(|(_, count)| f64::from(*count))
                .sum();
            if let Some(word) = shop.rule(self.who, product, wanted) {
                let member = if word == "quantity" { ".quantity" } else { "" };
                return refused(&format!("items[{index}]{member}"), Some(word));
            }
            let entry = shop.entry_in(&book, text(product, "Id")).unwrap();
            let shown = entry["s_c__Sale_Price__c"]
                .as_f64()
                .or(entry["UnitPrice"].as_f64());
            let price = self.stated.map_or(shown, |stated| stated.parse().ok());
            items.push((text(entry, "Id").to_owned(), price.unwrap()));
        }
        items.sort_by(|one, other| one.partial_cmp(other).unwrap());
        Fate::Taken((shop.book(self.who), items))
    }

    fn posted(&self, shop: &Shop<'_>, key: &str) -> Value {
        let items = self.items.iter().map(|(code, quantity)| {
            let product = shop.product(code);
            let mut item = match self.by_entry_of {
                Some(other) => {
                    let entry = shop.entry_in(&shop.book(other), text(product, "Id"));
                    json!({"pricebook_entry_id": text(entry.unwrap(), "Id")})
                }
                None => json!({"product_code": code}),
            };
            item["quantity"] = json!(quantity);
            item["unit_price"] = json!(self.stated);
            item
        });
        let items: Vec<Value> = items.collect();
        let customer = match shop.contact(self.who) {
            // By each of the names that reads know.
            Some(contact) if shop.number.is_multiple_of(3) => json!({"salesforce_id": contact["Id"]}),
            Some(contact) if shop.number % 3 == 1 => json!({"email": contact["Email"]}),
            Some(contact) => json!({"external_id": contact["External_ID__c"]}),
            None => json!({"external_id": format!("NEW-{key}"), "last_name": "Lee"}),
        };
        let mut posted = json!({"external_id": key, "customer": customer, "items": items});
        if self.who == Who::Member {
            posted["membership"] = shop.org.membership(&format!("{} club", shop.name()))["Id"].clone();
        }
        posted
    }

    /// What the visitor is shown of the first item, as a query.
    fn shown_at(&self, shop: &Shop<'_>) -> String {
        let query = match (self.who, shop.contact(self.who)) {
            (Who::Member, _) => format!(
                "?membership={}",
                text(shop.org.membership(&format!("{} club", shop.name())), "Id")
            ),
            (_, Some(contact)) => format!("?customer={}", text(contact, "External_ID__c")),
            (_, None) => String::new(),
        };
        let id = text(shop.product(&self.items[0].0), "Id");
        format!("/v1/stores/{}/products/{id}{query}", shop.key)
    }
}

/// The cases of a store; `tracked` is a product whose stock counts and that no other store's cases order.
fn cases(shop: &Shop<'_>, tracked: &str) -> Vec<Case> {
    use Who::{Buyer, Guest, Member, Viewer};
    let own = |name: &str| format!("{name}-{}", shop.number);
    let left = shop.in_stock(text(shop.product(tracked), "Id")) as u32;
    let mut cases = vec![
        Case::of(Guest, "SKU-1", 2),
        Case::of(Guest, own("SALE"), 1),
        Case::of(Guest, own("POA"), 1),
        Case::of(Guest, own("LOCKED"), 1),
        Case::of(Buyer, own("LOCKED"), 1),
        Case::of(Viewer, own("LOCKED"), 1),
        Case::of(Buyer, own("SALE"), 3),
        Case::of(Buyer, "SKU-1", 1),
        Case::of(Viewer, own("SALE"), 1),
        Case::of(Member, own("SALE"), 1),
        Case::of(Guest, own("SECRET"), 1),
        Case::of(Guest, own("BUNDLE"), 1),
        Case::of(Guest, own("EARLY"), 1),
        Case::of(Guest, own("OVER"), 1),
        Case::of(Guest, own("VIRTUAL"), 2),
        Case::of(Guest, own("VIRTUAL"), 3),
        Case::of(Guest, own("ARCHIVED"), 1),
        Case::of(Guest, format!("HEAVY-{}", (shop.number + 1) % 5), 1),
        Case::of(Guest, "JUMPER", 1),
        Case::of(Guest, "JUMPER-M", 1),
        Case::of(Guest, tracked, left + 1),
        Case::of(Guest, tracked, left.max(1)),
    ];
    let more = [
        (
            Guest,
            vec![(own("VIRTUAL"), 1), (own("SALE"), 1), (own("VIRTUAL"), 2)],
            None,
            None,
        ),
        (
            Guest,
            vec![(own("SALE"), 1), (own("HEAVY"), 1)],
            Some("1.23"),
            None,
        ),
        (Buyer, vec![(own("SALE"), 2)], None, Some(Buyer)),
        (Guest, vec![(own("SALE"), 1)], None, Some(Buyer)),
    ];
    cases.extend(more.map(|(who, items, stated, by_entry_of)| Case {
        who,
        items,
        stated,
        by_entry_of,
    }));
    cases
}

/// Posts a store's cases; gives the keys of the orders that were taken and what the org has to have of each.
async fn post(daemon: &Daemon, shop: &Shop<'_>, prefix: &str, count: &mut usize) -> BTreeMap<String, Items> {
    let tracked = format!("SKU-{}", 2 + 2 * shop.number);
    let mut taken = BTreeMap::new();
    for (at, case) in cases(shop, &tracked).into_iter().enumerate() {
        let key = format!("{prefix}-{}-{at}", shop.number);
        let what = format!("{key}: {:?} {:?}", case.who, case.items);
        let first = shop.product(&case.items[0].0);
        if !(case.who == Who::Member && shop.is_plain) {
            let (status, shown) = daemon.get(&case.shown_at(shop)).await.unwrap();
            match shop.rule(case.who, first, 0.0) {
                Some("hidden") => assert_eq!(status, 404, "{what}: {shown}"),
                rule => assert_eq!(shown["unavailable_reason"], json!(rule), "{what}: {shown}"),
            }
        }
        let (status, answer) = daemon.place(&shop.key, &case.posted(shop, &key)).await.unwrap();
        match case.fate(shop) {
            Fate::Taken(items) => {
                assert_eq!(status, 202, "{what}: {answer}");
                taken.insert(key, items);
            }
            Fate::Refused(field, word) => {
                assert_eq!(
                    (status, &answer["field"]),
                    (422, &json!(field)),
                    "{what}: {answer}"
                );
                assert_eq!(answer["reason"], json!(word), "{what}: {answer}");
            }
        }
        *count += 1;
    }
    taken
}

/// The plain daemon's stores: each price book of a store of the org.
fn books(org: &Org) -> String {
    let book = |store: &&Row| {
        let (book, code) = (text(store, "s_c__Pricebook_Id__c"), text(store, "s_c__Code__c"));
        let currency = text(store, "s_c__Currency__c");
        format!(
            "[[sync.stores]]\npricebook_id = \"{book}\"\ncode = \"{code}\"\nname = \"{code}\"\ncurrency = \"{currency}\"\n"
        )
    };
    org.stores().iter().map(book).collect()
}

async fn all_stores(sandbox: &Sandbox, org: &Org, is_plain: bool) -> usize {
    let state = tempfile::tempdir().unwrap();
    let mut variables = vec![("STORESYNC__STATE__DIR", state.path().to_str().unwrap())];
    let mut command = sandbox.daemon_command(&[]);
    if is_plain {
        variables.push(("STORESYNC__SYNC__PROFILE", "standard"));
        let config = state.path().join("plain.toml");
        let text = std::fs::read_to_string(sandbox.config()).unwrap();
        std::fs::write(&config, format!("{text}\n{}", books(org))).unwrap();
        command = Sandbox::daemon_command_of(&config, &[]);
    }
    command.envs(variables);
    let daemon = sandbox.daemon_by(command).await;
    daemon.live().await;
    let (prefix, mut count) = (if is_plain { "PLAIN" } else { "SC" }, 0);
    let mut taken = BTreeMap::new();
    for (number, store) in org.stores().into_iter().enumerate() {
        let key = text(store, "s_c__Code__c").to_owned();
        let shop = Shop {
            org,
            is_plain,
            number,
            store,
            key,
        };
        taken.extend(post(&daemon, &shop, prefix, &mut count).await);
    }
    assert!(taken.len() >= 20, "{}", taken.len());
    let there = eventually("each order that was taken is in the org", async || {
        let soql = format!(
            "SELECT PricebookEntryId, UnitPrice, Order.Pricebook2Id, Order.External_ID__c FROM OrderItem WHERE Order.External_ID__c LIKE '{prefix}-%'"
        );
        let mut there: BTreeMap<String, Items> = BTreeMap::new();
        for item in sandbox.query(&soql).await {
            let order = |field: &str| item["Order"][field].as_str().unwrap().to_owned();
            let (_, items) = there.entry(order("External_ID__c")).or_insert((order("Pricebook2Id"), Vec::new()));
            items.push((text(&item, "PricebookEntryId").to_owned(), item["UnitPrice"].as_f64().unwrap()));
        }
        (there.len() == taken.len()).then_some(there)
    })
    .await;
    for (key, (book, mut items)) in there {
        items.sort_by(|one, other| one.partial_cmp(other).unwrap());
        assert_eq!((book, items), taken[&key], "{key}");
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_visitor_is_shown_is_what_an_order_may_have() {
    let sandbox = Sandbox::start(&["--products", "24", "--stores", "5"]).await;
    let org = Org::read(&sandbox).await;
    assert_eq!(org.stores().len(), 5);
    let (storeconnect, plain) = tokio::join!(
        all_stores(&sandbox, &org, false),
        all_stores(&sandbox, &org, true)
    );
    println!("{storeconnect} cases with StoreConnect, {plain} without");
    assert!(storeconnect + plain >= 100);
}

/// Places an order for so many of a product, and waits until it is in the org; gives what people read at it there.
async fn description(org: &Sandbox, daemon: &Daemon, store: &str, posted: &Value) -> Value {
    accepted(daemon, store, posted).await;
    let key = posted["external_id"].as_str().unwrap();
    let path = format!("/v1/stores/{store}/orders/{key}");
    let told = daemon
        .until(&path, &["sent", "confirmed", "needs_attention"])
        .await;
    assert_ne!(told["state"], "needs_attention", "{told}");
    let soql = format!("SELECT Description FROM Order WHERE External_ID__c = '{key}'");
    org.query(&soql).await[0]["Description"].clone()
}

/// An order of somebody new.
fn order_for(code: &str, quantity: u32) -> Value {
    json!({"external_id": format!("RULE-{code}"), "customer": {"last_name": "Lee"},
        "items": [{"product_code": code, "quantity": quantity}]})
}

/// Switches a store off or on in the org, and waits until storefronts are told.
async fn switch(org: &Sandbox, daemon: &Daemon, store: &str, off: bool) {
    org.update("s_c__Store__c", store, json!({ "s_c__Disable__c": off }))
        .await;
    eventually("the store is switched", async || {
        let (_, told) = daemon.get(&format!("/v1/stores/{store}")).await?;
        (told["disabled"] == off).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_switched_off_sells_nothing_and_goes_on_with_what_it_has_sold() {
    let org = Sandbox::start(&["--products", "12", "--stores", "2"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    let stores = org.query("SELECT Id FROM s_c__Store__c ORDER BY Id").await;
    let [off, on] = [0, 1].map(|at| stores[at]["Id"].as_str().unwrap().to_owned());
    let offered = async |store: &str| {
        let (_, page) = daemon
            .get(&format!("/v1/stores/{store}/products?limit=200"))
            .await
            .unwrap();
        let items = page["items"].as_array().unwrap().clone();
        let sold = items.iter().find(|item| item["purchasable"] == true).cloned();
        (items, sold)
    };
    let (_, sold) = offered(&off).await;
    let code = sold.unwrap()["product_code"].as_str().unwrap().to_owned();
    let mut placed = order_for(&code, 1);
    placed["external_id"] = json!("BEFORE-1");
    accepted(&daemon, &off, &placed).await;
    switch(&org, &daemon, &off, true).await;
    let (items, sold) = offered(&off).await;
    assert_eq!(sold, None);
    let reasons = items.iter().map(|item| &item["unavailable_reason"]);
    assert!(!items.is_empty() && reasons.clone().all(|reason| reason == "store_disabled"));
    let (status, problem) = daemon.place(&off, &order_for(&code, 1)).await.unwrap();
    assert_eq!(
        (status, &problem["reason"]),
        (422, &json!("store_disabled")),
        "{problem}"
    );
    let (_, sold) = offered(&on).await;
    let code = sold.unwrap()["product_code"].as_str().unwrap().to_owned();
    accepted(&daemon, &on, &order_for(&code, 1)).await;
    let path = format!("/v1/stores/{off}/orders/BEFORE-1/updates");
    let moved = json!({"external_id": "C-1", "shipping_address": {"city": "Hobart"}});
    let (status, answer) = daemon.post(&path, &moved).await;
    assert_eq!(status, 202, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_rule_is_refused_taken_or_taken_and_marked() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let (take, mark) = ("take", "take_and_mark");
    configure(
        &org,
        &format!(
            "[orders]\nprices = \"book\"\nfields = {{ \"*\" = [\"Order.Description\"] }}\n[orders.rules]\nhidden = \"{mark}\"\nstore_disabled = \"{mark}\"\n\
             restricted = \"{take}\"\nnot_yet_available = \"{mark}\"\ndiscontinued = \"{take}\"\nprice_on_application = \"{mark}\"\n\
             bundle_only = \"{take}\"\nmaster = \"{mark}\"\nout_of_stock = \"{mark}\"\nquantity = \"{take}\"\nprice = \"{mark}\""
        ),
    );
    let daemon = org.daemon().await;
    daemon.live().await;
    let store = org.some("s_c__Store__c", "").await;
    let marked = |word: &str| json!(format!("Taken against [orders.rules]: item 1 ({word})"));
    for (code, quantity, expected) in [
        ("SECRET-0", 1, marked("hidden")),
        ("LOCKED-0", 1, Value::Null),
        ("EARLY-0", 1, marked("not_yet_available")),
        ("OVER-0", 1, Value::Null),
        ("POA-0", 1, marked("price_on_application")),
        ("BUNDLE-0", 1, Value::Null),
        ("JUMPER", 1, marked("master")),
        ("SKU-2", 10_000, marked("out_of_stock")),
        ("VIRTUAL-0", 9, Value::Null),
        ("SKU-1", 1, Value::Null),
    ] {
        let told = description(&org, &daemon, &store, &order_for(code, quantity)).await;
        assert_eq!(told, expected, "{code}");
    }
    // Beside what the storefront itself has to say there.
    let mut cheap = order_for("SALE-0", 1);
    cheap["items"][0]["unit_price"] = json!("0.01");
    cheap["fields"] = json!({"Description": "by the door"});
    let told = description(&org, &daemon, &store, &cheap).await;
    let expected = format!("{}\nby the door", marked("price").as_str().unwrap());
    assert_eq!(told, json!(expected));
    let price = org
        .query("SELECT UnitPrice FROM OrderItem WHERE Order.External_ID__c = 'RULE-SALE-0'")
        .await;
    assert_eq!(price[0]["UnitPrice"], json!(0.01));
    switch(&org, &daemon, &store, true).await;
    let told = description(&org, &daemon, &store, &order_for("SKU-4", 1)).await;
    assert_eq!(told, marked("store_disabled"));
    switch(&org, &daemon, &store, false).await;
    // What has no price is refused whatever is configured.
    let entry = org
        .some(
            "PricebookEntry",
            "WHERE Product2.ProductCode = 'SKU-3' AND Pricebook2.IsStandard = false",
        )
        .await;
    org.update("PricebookEntry", &entry, json!({"IsActive": false}))
        .await;
    eventually("it is shown without a price", async || {
        let (_, product) = daemon.get(&format!("/v1/stores/{store}/products/SKU-3")).await?;
        (product["unavailable_reason"] == "no_price").then_some(())
    })
    .await;
    let (status, answer) = daemon.place(&store, &order_for("SKU-3", 1)).await.unwrap();
    assert_eq!(status, 422, "{answer}");
    assert_eq!(
        (&answer["field"], &answer["reason"]),
        (&json!("items[0]"), &json!("no_price"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ordered_is_not_there_for_others_until_the_org_has_it() {
    let org = Sandbox::start(&["--products", "12", "--stores", "1"]).await;
    let daemon = org.daemon().await;
    daemon.live().await;
    // Orders stay here.
    org.fault(json!({"path": "/composite", "method": "POST", "fault": {"status": 503}}))
        .await;
    let store = org.some("s_c__Store__c", "").await;
    let levels = org.query("SELECT s_c__Available_To_Sell__c FROM s_c__Stock_Level__c WHERE s_c__Product_Id__r.ProductCode = 'SKU-4'").await;
    let in_org: f64 = levels
        .iter()
        .filter_map(|level| level["s_c__Available_To_Sell__c"].as_f64())
        .sum();
    assert!(in_org > 3.0, "{in_org}");
    let shown = async || {
        let (_, product) = daemon
            .get(&format!("/v1/stores/{store}/products/SKU-4"))
            .await
            .unwrap();
        (
            product["stock"]["available"].as_f64().unwrap(),
            product["unavailable_reason"].clone(),
        )
    };
    let ordered = |key: &str, quantity: u32| {
        let mut posted = order_for("SKU-4", quantity);
        posted["external_id"] = json!(key);
        posted
    };
    accepted(&daemon, &store, &ordered("HOLD-1", 2)).await;
    assert_eq!(shown().await, (in_org - 2.0, Value::Null));
    let (status, answer) = daemon
        .place(&store, &ordered("HOLD-2", in_org as u32))
        .await
        .unwrap();
    assert_eq!(
        (status, &answer["field"], &answer["reason"]),
        (422, &json!("items[0]"), &json!("out_of_stock")),
        "{answer}"
    );
    accepted(&daemon, &store, &ordered("HOLD-3", in_org as u32 - 2)).await;
    assert_eq!(shown().await, (0.0, json!("out_of_stock")));
    // The same order again has its answer, whatever is left.
    accepted(&daemon, &store, &ordered("HOLD-1", 2)).await;
    let (status, told) = daemon
        .admin_post(
            "/api/orders/HOLD-3/discard",
            &json!({"reason": "nobody wants it"}),
        )
        .await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(shown().await, (in_org - 2.0, Value::Null));
}
