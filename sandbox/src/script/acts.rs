//! What can happen in a scenario, each as one transaction.

use anyhow::{Result, anyhow};
use serde_json::{Value as Json, json};

use super::super::org::{Body, Org, Origin, RecordErrors, Transaction};
use super::super::schema::Object;
use super::super::value::{RecordId, Value};

/// Tries to find a row that is still there.
const TRIES: usize = 50;
const FAMILIES: [&str; 5] = ["Apparel", "Coffee", "Homewares", "Outdoor", "Stationery"];
const WORDS: [&str; 12] = [
    "soft",
    "bright",
    "hand-made",
    "sturdy",
    "light",
    "local",
    "fresh",
    "slow",
    "warm",
    "plain",
    "small",
    "rare",
];

/// One kind of happening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Edit,
    Price,
    Stock,
    Customer,
    Import,
    Order,
}

/// The org, and the dice.
pub struct Stage<'a> {
    org: &'a Org,
    rng: fastrand::Rng,
    origin: Origin,
    /// The store whose book and customers are used, by its price book, and the standard one.
    book: RecordId,
    standard_book: RecordId,
    /// Transactions that the org's rules refused.
    pub refused: u64,
    made: u64,
}

type Done = Result<u64, RecordErrors>;

impl<'a> Stage<'a> {
    pub fn new(org: &'a Org, rng: fastrand::Rng) -> Result<Self> {
        let (book, standard_book) = books(org).ok_or_else(|| anyhow!("the org has no store to play in"))?;
        let origin = Origin {
            client: "script".to_owned(),
            user: org.user_id(),
        };
        Ok(Self {
            org,
            rng,
            origin,
            book,
            standard_book,
            refused: 0,
            made: 0,
        })
    }

    /// Does it, and says how many records were written. What the rules refuse is counted, and passed over.
    pub fn act(&mut self, act: Act, percent: f64, batch: usize) -> u64 {
        self.made += 1;
        let (org, origin) = (self.org, self.origin.clone());
        let done = org.transact(&origin, |transaction| match act {
            Act::Edit => self.edit(transaction),
            Act::Price => self.price(transaction, percent, batch),
            Act::Stock => self.stock(transaction),
            Act::Customer => self.customer(transaction),
            Act::Import => self.import(transaction, batch),
            Act::Order => self.order(transaction),
        });
        done.unwrap_or_else(|_| {
            self.refused += 1;
            0
        })
    }

    fn object(&self, name: &str) -> Result<&'a Object, RecordErrors> {
        self.org.catalog().object(name).ok_or_else(Vec::new)
    }

    /// A row that is there, by chance.
    fn any(&mut self, transaction: &Transaction<'_>, object: &Object) -> Result<RecordId, RecordErrors> {
        let rows = transaction.records().slots(object.index).max(2) as u64;
        for _ in 0..TRIES {
            let id = RecordId::new(object.key_prefix, self.rng.u64(1..rows));
            if transaction.records().live(object.index, id).is_some() {
                return Ok(id);
            }
        }
        Err(Vec::new())
    }

    fn word(&mut self) -> &'static str {
        WORDS[self.rng.usize(..WORDS.len())]
    }

    fn edit(&mut self, transaction: &mut Transaction<'_>) -> Done {
        let products = self.object("Product2")?;
        let id = self.any(transaction, products)?;
        let text = format!("A {} thing, {} and {}.", self.word(), self.word(), self.word());
        let change = match self.rng.u32(..10) {
            0 => json!({ "Family": FAMILIES[self.rng.usize(..FAMILIES.len())] }),
            1 => json!({ "IsActive": self.rng.bool() }),
            2..=4 => json!({ "s_c__Summary_Markdown__c": text }),
            _ => json!({ "Description": text }),
        };
        transaction.update(products.index, id, &fields(change))?;
        Ok(1)
    }

    fn price(&mut self, transaction: &mut Transaction<'_>, percent: f64, batch: usize) -> Done {
        let entries = self.object("PricebookEntry")?;
        let price_at = entries.field("UnitPrice").unwrap_or_default();
        for _ in 0..batch {
            let id = self.any(transaction, entries)?;
            let row = transaction.records().live(entries.index, id);
            let price = row.and_then(|row| row.get(price_at)?.as_f64()).unwrap_or(1.0);
            // Never to nothing, however often a campaign comes.
            let price = (price * (1.0 + percent / 100.0) * 100.0).round().max(100.0) / 100.0;
            transaction.update(entries.index, id, &fields(json!({ "UnitPrice": price })))?;
        }
        Ok(batch as u64)
    }

    fn stock(&mut self, transaction: &mut Transaction<'_>) -> Done {
        let levels = self.object("s_c__Stock_Level__c")?;
        let id = self.any(transaction, levels)?;
        let at = levels.field("s_c__Count_On_Hand__c").unwrap_or_default();
        let row = transaction.records().live(levels.index, id);
        let held = row.and_then(|row| row.get(at)?.as_f64()).unwrap_or(0.0);
        let held = (held + f64::from(self.rng.i32(-5..=5))).max(0.0);
        let change = json!({ "s_c__Count_On_Hand__c": held, "s_c__Available_To_Sell__c": held });
        transaction.update(levels.index, id, &fields(change))?;
        Ok(1)
    }

    fn customer(&mut self, transaction: &mut Transaction<'_>) -> Done {
        let (accounts, contacts) = (self.object("Account")?, self.object("Contact")?);
        let phone = format!("+61 4{:08}", self.rng.u32(..100_000_000));
        if self.rng.u32(..4) > 0 {
            let id = self.any(transaction, contacts)?;
            transaction.update(contacts.index, id, &fields(json!({ "Phone": phone })))?;
            return Ok(1);
        }
        let name = format!("Script {:08x}", self.rng.u32(..));
        let account = fields(json!({ "Name": name, "Phone": phone }));
        let account = transaction.create(accounts.index, &account)?;
        let contact = json!({ "LastName": name, "Phone": phone, "AccountId": account.as_str() });
        transaction.create(contacts.index, &fields(contact))?;
        Ok(2)
    }

    fn import(&mut self, transaction: &mut Transaction<'_>, batch: usize) -> Done {
        let (products, entries) = (self.object("Product2")?, self.object("PricebookEntry")?);
        for _ in 0..batch {
            let key = self.rng.u64(..1 << 40);
            let name = format!("{} {} find", self.word(), self.word());
            let product = json!({ "Name": name, "ProductCode": format!("NEW-{key:x}"), "IsActive": true,
                "s_c__Slug__c": format!("find-{key:x}") });
            let product = transaction.create(products.index, &fields(product))?;
            let price = f64::from(self.rng.u32(500..20_000)) / 100.0;
            for book in [self.standard_book, self.book] {
                let entry = json!({ "Product2Id": product.as_str(), "Pricebook2Id": book.as_str(),
                    "UnitPrice": price, "IsActive": true });
                transaction.create(entries.index, &fields(entry))?;
            }
        }
        Ok(3 * batch as u64)
    }

    fn order(&mut self, transaction: &mut Transaction<'_>) -> Done {
        let (orders, items) = (self.object("Order")?, self.object("OrderItem")?);
        let (accounts, entries) = (self.object("Account")?, self.object("PricebookEntry")?);
        let account = self.any(transaction, accounts)?;
        let at = |name: &str| entries.field(name).unwrap_or_default();
        let (book_at, currency_at, price_at) = (at("Pricebook2Id"), at("CurrencyIsoCode"), at("UnitPrice"));
        let first = self.any(transaction, entries)?;
        let Some(entry) = transaction.records().live(entries.index, first) else {
            return Err(Vec::new());
        };
        let shown = |at: usize| entry.get(at).map_or(Json::Null, Value::to_json);
        let order = json!({ "AccountId": account.as_str(), "EffectiveDate": "2026-11-22", "Status": "Draft",
            "Pricebook2Id": shown(book_at), "CurrencyIsoCode": shown(currency_at) });
        let price = shown(price_at);
        let order = transaction.create(orders.index, &fields(order))?;
        let lines = self.rng.u64(1..=3);
        for line in 1..=lines {
            let item = json!({ "OrderId": order.as_str(), "PricebookEntryId": first.as_str(), "Quantity": line,
                "UnitPrice": price });
            transaction.create(items.index, &fields(item))?;
        }
        Ok(1 + lines)
    }
}

/// The price book of the first store, and the standard one.
fn books(org: &Org) -> Option<(RecordId, RecordId)> {
    let catalog = org.catalog();
    let (store, book) = (catalog.object("s_c__Store__c")?, catalog.object("Pricebook2")?);
    let (of_store, standard) = (store.field("s_c__Pricebook_Id__c")?, book.field("IsStandard")?);
    org.read(|records| {
        let first = records
            .all(store.index)
            .find_map(|row| row.get(of_store)?.as_id())?;
        let is_standard = |row: &&super::super::org::Record| row.get(standard) == Some(&Value::Boolean(true));
        Some((first, records.all(book.index).find(is_standard)?.id()))
    })
}

fn fields(json: Json) -> Body {
    match json {
        Json::Object(fields) => fields,
        _ => Body::new(),
    }
}
