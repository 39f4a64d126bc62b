//! What a store should show, worked out a second way: from the org's own rows, read by SOQL, with plain loops.
//!
//! Nothing here is shared with the daemon: neither its SQL nor its decisions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::world::{Row, Sandbox};

/// All rows of the objects that decide, by id.
pub struct Org {
    rows: BTreeMap<&'static str, BTreeMap<String, Row>>,
    /// `2026-11-22T09:30:00.000+0000`
    pub now: String,
}

const OBJECTS: [(&str, &str); 29] = [
    (
        "s_c__Store__c",
        "Name, s_c__Code__c, s_c__Domain__c, s_c__Currency__c, s_c__Pricebook_Id__c, s_c__Zone_Id__c, s_c__Default__c, s_c__Shipping_Enabled__c, s_c__Store_Group_Id__c",
    ),
    ("s_c__Taxonomy__c", "Name, s_c__Store_Id__c, s_c__Position__c"),
    ("s_c__Product_Category__c", "s_c__Taxonomy_Id__c, s_c__Path__c"),
    (
        "s_c__Product_Category_Hierarchy__c",
        "s_c__Parent_Id__c, s_c__Child_Id__c",
    ),
    (
        "s_c__Products_Product_Categories__c",
        "s_c__Product_Id__c, s_c__Category_Id__c, s_c__Active__c",
    ),
    (
        "Product2",
        "ProductCode, IsActive, IsArchived, s_c__Available_On__c, s_c__Discontinue_On__c, s_c__Track_Inventory__c, s_c__Virtual__c, s_c__Shipping_Methods__c, s_c__Is_Master__c",
    ),
    (
        "s_c__Product_Variant__c",
        "s_c__Master_Product_Id__c, s_c__Variant_Product_Id__c",
    ),
    (
        "PricebookEntry",
        "Pricebook2Id, Product2Id, UnitPrice, IsActive, CurrencyIsoCode, s_c__Sale_Price__c, s_c__Hide_Price__c, s_c__Hide_Price_Text__c, s_c__Restricted__c, s_c__Restricted_Text__c, s_c__Display_If_Restricted__c, s_c__Bundle_Only__c, s_c__Order_Quantity_Maximum__c",
    ),
    ("Pricebook2", "IsActive, s_c__Unavailable_Text__c"),
    ("s_c__Membership__c", "Name, s_c__Pricebook_Id__c"),
    (
        "s_c__Permitted_Restricted_Product__c",
        "s_c__Account_Id__c, s_c__Product_Id__c, s_c__Store_Id__c, s_c__Approved_Until__c, s_c__Approved_Quantity__c, s_c__Purchased_Quantity__c, s_c__Unlimited__c",
    ),
    (
        "s_c__Stock_Level__c",
        "s_c__Product_Id__c, s_c__Stock_Location_Id__c, s_c__Available_To_Sell__c, s_c__Backorderable__c, s_c__Fulfill_Online_Orders__c, s_c__Hide_From_Search__c",
    ),
    ("s_c__Stock_Location__c", "s_c__Active__c"),
    ("s_c__Zone__c", "Name, s_c__Match__c"),
    ("s_c__Zone_Country__c", "s_c__Zone_Id__c, s_c__Country_Id__c"),
    ("s_c__Zone_State__c", "s_c__Zone_Id__c, s_c__State_Id__c"),
    ("s_c__Zone_Postcode__c", "s_c__Zone_Id__c, s_c__Postcode_Id__c"),
    ("s_c__Country__c", "s_c__Code__c"),
    ("s_c__State__c", "s_c__Code__c, s_c__Country_Id__c"),
    ("s_c__Postcode__c", "s_c__Code__c, s_c__Country_Id__c"),
    ("s_c__Tax__c", "s_c__Zone_Id__c, s_c__Rate_Percentage__c"),
    ("s_c__Product_Tax__c", "s_c__Product_Id__c, s_c__Tax_Id__c"),
    (
        "s_c__Shipping_Rate__c",
        "Name, s_c__Store_Id__c, s_c__Zone_Id__c, s_c__Method__c, s_c__Cost__c, s_c__Order_Total_Range_Type__c, s_c__Order_Price_Minimum__c, s_c__Order_Price_Maximum__c, s_c__Order_Weight_Minimum__c, s_c__Order_Weight_Maximum__c",
    ),
    (
        "s_c__Promotion2__c",
        "Name, s_c__Coupon_Code__c, s_c__Channel_Scope_Store_Id__c, s_c__Customer_Scope_Account_Id__c, s_c__Start_Date__c, s_c__End_Date__c",
    ),
    (
        "s_c__Promotion__c",
        "Name, s_c__Promotion_Code__c, s_c__Store_Id__c",
    ),
    (
        "s_c__Payment_Provider__c",
        "Name, s_c__Store_Id__c, s_c__Active__c, s_c__Channel__c, s_c__Position__c",
    ),
    (
        "s_c__Authentication_Provider__c",
        "Name, s_c__Store_Id__c, s_c__Active__c",
    ),
    (
        "Contact",
        "AccountId, External_ID__c, Email, s_c__Can_Use_Account_Pricing__c",
    ),
    ("Account", "s_c__Pricebook_Id__c"),
];

/// An address: country by three letters, state, postcode.
pub type Address<'a> = (&'a str, &'a str, &'a str);

fn text<'a>(row: &'a Row, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

fn flag(row: &Row, field: &str) -> bool {
    row[field] == Value::Bool(true)
}

fn number(row: &Row, field: &str) -> Option<f64> {
    row[field].as_f64()
}

impl Org {
    pub async fn read(sandbox: &Sandbox) -> Self {
        let mut rows = BTreeMap::new();
        for (object, fields) in OBJECTS {
            let read = sandbox.query(&format!("SELECT Id, {fields} FROM {object}")).await;
            let by_id = read.into_iter().map(|row| (text(&row, "Id").to_owned(), row));
            rows.insert(object, by_id.collect());
        }
        let now = jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%S%.3f+0000")
            .to_string();
        Self { rows, now }
    }

    pub fn all(&self, object: &str) -> impl Iterator<Item = &Row> {
        self.rows[object].values()
    }

    pub fn get(&self, object: &str, id: &str) -> Option<&Row> {
        self.rows[object].get(id)
    }

    pub fn stores(&self) -> Vec<&Row> {
        self.all("s_c__Store__c").collect()
    }

    /// Products in the store's catalogue, variants included.
    fn catalogue(&self, store: &Row) -> BTreeSet<String> {
        let mut taxonomies: Vec<&Row> = self
            .all("s_c__Taxonomy__c")
            .filter(|row| text(row, "s_c__Store_Id__c") == text(store, "Id"))
            .collect();
        taxonomies.sort_by(|a, b| {
            number(a, "s_c__Position__c")
                .unwrap_or(f64::MAX)
                .total_cmp(&number(b, "s_c__Position__c").unwrap_or(f64::MAX))
        });
        let Some(taxonomy) = taxonomies.first() else {
            return BTreeSet::new();
        };
        let mut shown: BTreeSet<String> = BTreeSet::new();
        for link in self.all("s_c__Products_Product_Categories__c") {
            let category = self
                .get("s_c__Product_Category__c", text(link, "s_c__Category_Id__c"))
                .unwrap();
            if flag(link, "s_c__Active__c") && text(category, "s_c__Taxonomy_Id__c") == text(taxonomy, "Id") {
                shown.insert(text(link, "s_c__Product_Id__c").to_owned());
            }
        }
        let sellable = |id: &str| {
            self.get("Product2", id)
                .is_some_and(|row| flag(row, "IsActive") && !flag(row, "IsArchived"))
        };
        for variant in self.all("s_c__Product_Variant__c") {
            let master = text(variant, "s_c__Master_Product_Id__c");
            if shown.contains(master) && sellable(master) {
                shown.insert(text(variant, "s_c__Variant_Product_Id__c").to_owned());
            }
        }
        shown.retain(|id| sellable(id));
        shown
    }

    /// The book for a contact of an account (by its key), for a member of a membership, or for anyone.
    fn book(&self, store: &Row, contact: Option<&Row>, membership: Option<&Row>) -> String {
        let account = contact.and_then(|row| self.get("Account", text(row, "AccountId")));
        if let Some(account) = account
            && flag(contact.unwrap(), "s_c__Can_Use_Account_Pricing__c")
            && !account["s_c__Pricebook_Id__c"].is_null()
        {
            return text(account, "s_c__Pricebook_Id__c").to_owned();
        }
        if let Some(membership) = membership {
            return text(membership, "s_c__Pricebook_Id__c").to_owned();
        }
        text(store, "s_c__Pricebook_Id__c").to_owned()
    }

    pub fn contact(&self, key: &str) -> &Row {
        self.all("Contact")
            .find(|row| text(row, "External_ID__c") == key)
            .unwrap()
    }

    pub fn membership(&self, name: &str) -> &Row {
        self.all("s_c__Membership__c")
            .find(|row| text(row, "Name") == name)
            .unwrap()
    }

    fn approved(&self, store: &Row, contact: Option<&Row>, product: &str) -> bool {
        let Some(contact) = contact else { return false };
        self.all("s_c__Permitted_Restricted_Product__c").any(|row| {
            text(row, "s_c__Account_Id__c") == text(contact, "AccountId")
                && text(row, "s_c__Product_Id__c") == product
                && (row["s_c__Store_Id__c"].is_null() || text(row, "s_c__Store_Id__c") == text(store, "Id"))
                && (row["s_c__Approved_Until__c"].is_null()
                    || text(row, "s_c__Approved_Until__c") > self.now.as_str())
                && (flag(row, "s_c__Unlimited__c")
                    || number(row, "s_c__Approved_Quantity__c") > number(row, "s_c__Purchased_Quantity__c"))
        })
    }

    /// Code of each product that is shown, and `price text reason` of what it is offered for.
    pub fn offers(
        &self,
        store: &Row,
        contact: Option<&str>,
        membership: Option<&str>,
    ) -> BTreeMap<String, String> {
        let contact = contact.map(|key| self.contact(key));
        let membership = membership.map(|name| self.membership(name));
        let book = self.book(store, contact, membership);
        let currency = text(store, "s_c__Currency__c");
        let unavailable = self
            .get("Pricebook2", &book)
            .map_or("", |row| text(row, "s_c__Unavailable_Text__c"));
        let mut offers = BTreeMap::new();
        for id in self.catalogue(store) {
            let product = self.get("Product2", &id).unwrap();
            let entry = self.all("PricebookEntry").find(|row| {
                text(row, "Pricebook2Id") == book
                    && text(row, "Product2Id") == id
                    && flag(row, "IsActive")
                    && text(row, "CurrencyIsoCode") == currency
            });
            let told = match entry {
                None => format!("- {unavailable} no_price"),
                Some(entry) => match self.offer(store, contact, product, entry) {
                    None => continue,
                    Some(told) => told,
                },
            };
            offers.insert(text(product, "ProductCode").to_owned(), told);
        }
        offers
    }

    fn offer(&self, store: &Row, contact: Option<&Row>, product: &Row, entry: &Row) -> Option<String> {
        let amount = number(entry, "s_c__Sale_Price__c")
            .or(number(entry, "UnitPrice"))
            .unwrap();
        let price = format!("{amount:.2}");
        if flag(entry, "s_c__Restricted__c") && !self.approved(store, contact, text(product, "Id")) {
            if !flag(entry, "s_c__Display_If_Restricted__c") {
                return None;
            }
            return Some(match entry["s_c__Restricted_Text__c"].as_str() {
                Some(words) => format!("- {words} restricted"),
                None => format!("{price}  restricted"),
            });
        }
        if text(product, "s_c__Available_On__c") > self.now.as_str() {
            return Some(format!("{price}  not_yet_available"));
        }
        if !product["s_c__Discontinue_On__c"].is_null()
            && text(product, "s_c__Discontinue_On__c") <= self.now.as_str()
        {
            return Some(format!("{price}  discontinued"));
        }
        if flag(entry, "s_c__Hide_Price__c") {
            return Some(format!(
                "- {} price_on_application",
                text(entry, "s_c__Hide_Price_Text__c")
            ));
        }
        if flag(entry, "s_c__Bundle_Only__c") {
            return Some(format!("{price}  bundle_only"));
        }
        if flag(product, "s_c__Is_Master__c") {
            return Some(format!("{price}  master"));
        }
        if flag(product, "s_c__Track_Inventory__c") && self.stock(product) <= 0.0 {
            return Some(format!("{price}  out_of_stock"));
        }
        Some(format!("{price}  buy"))
    }

    fn stock(&self, product: &Row) -> f64 {
        self.all("s_c__Stock_Level__c")
            .filter(|row| {
                text(row, "s_c__Product_Id__c") == text(product, "Id")
                    && flag(row, "s_c__Fulfill_Online_Orders__c")
            })
            .filter(|row| !flag(row, "s_c__Hide_From_Search__c"))
            .filter(|row| {
                flag(
                    self.get("s_c__Stock_Location__c", text(row, "s_c__Stock_Location_Id__c"))
                        .unwrap(),
                    "s_c__Active__c",
                )
            })
            .map(|row| number(row, "s_c__Available_To_Sell__c").unwrap_or(0.0))
            .sum()
    }

    /// Whether a zone holds an address.
    fn holds(&self, zone: &str, (country, state, postcode): Address<'_>) -> bool {
        let code = |object: &str, id: &str| text(self.get(object, id).unwrap(), "s_c__Code__c").to_owned();
        let of = |object: &'static str| {
            self.all(object)
                .filter(|row| text(row, "s_c__Zone_Id__c") == zone)
                .collect::<Vec<_>>()
        };
        let in_country = |object: &str, id: &str| {
            code(
                "s_c__Country__c",
                text(self.get(object, id).unwrap(), "s_c__Country_Id__c"),
            ) == country
        };
        let countries = of("s_c__Zone_Country__c");
        let states = of("s_c__Zone_State__c");
        let postcodes = of("s_c__Zone_Postcode__c");
        let named = [
            (
                !countries.is_empty(),
                countries
                    .iter()
                    .any(|row| code("s_c__Country__c", text(row, "s_c__Country_Id__c")) == country),
            ),
            (
                !states.is_empty(),
                states.iter().any(|row| {
                    let id = text(row, "s_c__State_Id__c");
                    code("s_c__State__c", id) == state && in_country("s_c__State__c", id)
                }),
            ),
            (
                !postcodes.is_empty(),
                postcodes.iter().any(|row| {
                    let id = text(row, "s_c__Postcode_Id__c");
                    code("s_c__Postcode__c", id) == postcode && in_country("s_c__Postcode__c", id)
                }),
            ),
        ];
        let strict = text(self.get("s_c__Zone__c", zone).unwrap(), "s_c__Match__c") == "strict";
        let any = named.iter().any(|(_, held)| *held);
        any && (!strict || named.iter().all(|(has, held)| !has || *held))
    }

    pub fn taxes(&self, address: Address<'_>, product: Option<&str>) -> BTreeSet<String> {
        self.all("s_c__Tax__c")
            .filter(|tax| self.holds(text(tax, "s_c__Zone_Id__c"), address))
            .filter(|tax| {
                product.is_none_or(|product| {
                    self.all("s_c__Product_Tax__c").any(|row| {
                        text(row, "s_c__Product_Id__c") == product
                            && text(row, "s_c__Tax_Id__c") == text(tax, "Id")
                    })
                })
            })
            .map(|tax| text(tax, "Id").to_owned())
            .collect()
    }

    pub fn rates(
        &self,
        store: &Row,
        address: Address<'_>,
        total: Option<f64>,
        weight: Option<f64>,
        products: &[&str],
    ) -> BTreeSet<String> {
        let shippable: Vec<&Row> = products
            .iter()
            .map(|id| self.get("Product2", id).unwrap())
            .filter(|row| !flag(row, "s_c__Virtual__c"))
            .collect();
        if !flag(store, "s_c__Shipping_Enabled__c") || !products.is_empty() && shippable.is_empty() {
            return BTreeSet::new();
        }
        let within = |row: &Row, value: Option<f64>, from: &str, to: &str| {
            value.is_none_or(|value| {
                number(row, from).is_none_or(|from| from <= value)
                    && number(row, to).is_none_or(|to| value <= to)
            })
        };
        self.all("s_c__Shipping_Rate__c")
            .filter(|row| text(row, "s_c__Store_Id__c") == text(store, "Id"))
            .filter(|row| {
                row["s_c__Zone_Id__c"].is_null() || self.holds(text(row, "s_c__Zone_Id__c"), address)
            })
            .filter(|row| match text(row, "s_c__Order_Total_Range_Type__c") {
                "weight" => within(
                    row,
                    weight,
                    "s_c__Order_Weight_Minimum__c",
                    "s_c__Order_Weight_Maximum__c",
                ),
                _ => within(
                    row,
                    total,
                    "s_c__Order_Price_Minimum__c",
                    "s_c__Order_Price_Maximum__c",
                ),
            })
            .filter(|row| {
                shippable.iter().all(|product| {
                    text(product, "s_c__Shipping_Methods__c")
                        .split(';')
                        .any(|way| way == text(row, "s_c__Method__c"))
                })
            })
            .map(|row| text(row, "Id").to_owned())
            .collect()
    }

    pub fn promotions(&self, store: &Row, contact: Option<&str>, coupon: Option<&str>) -> BTreeSet<String> {
        let account = contact.map(|key| text(self.contact(key), "AccountId"));
        let today = &self.now[..10];
        let coupons = |row: &Row, field: &str| {
            let code = text(row, field).to_lowercase();
            code.is_empty() || coupon.is_some_and(|coupon| coupon.to_lowercase() == code)
        };
        let scoped = self
            .all("s_c__Promotion2__c")
            .filter(|row| text(row, "s_c__Channel_Scope_Store_Id__c") == text(store, "Id"))
            .filter(|row| row["s_c__Start_Date__c"].is_null() || text(row, "s_c__Start_Date__c") <= today)
            .filter(|row| row["s_c__End_Date__c"].is_null() || text(row, "s_c__End_Date__c") >= today)
            .filter(|row| {
                row["s_c__Customer_Scope_Account_Id__c"].is_null()
                    || account == row["s_c__Customer_Scope_Account_Id__c"].as_str()
            })
            .filter(|row| coupons(row, "s_c__Coupon_Code__c"));
        let legacy = self.all("s_c__Promotion__c").filter(|row| {
            text(row, "s_c__Store_Id__c") == text(store, "Id") && coupons(row, "s_c__Promotion_Code__c")
        });
        scoped
            .chain(legacy)
            .map(|row| text(row, "Id").to_owned())
            .collect()
    }

    pub fn ways(&self, store: &Row, object: &'static str) -> BTreeSet<String> {
        self.all(object)
            .filter(|row| text(row, "s_c__Store_Id__c") == text(store, "Id") && flag(row, "s_c__Active__c"))
            .filter(|row| {
                row.get("s_c__Channel__c").is_none_or(|channel| {
                    channel
                        .as_str()
                        .is_none_or(|list| list.split(';').any(|one| one == "web"))
                })
            })
            .map(|row| text(row, "Id").to_owned())
            .collect()
    }

    /// The store that a visitor from a country is sent to from another: the one in whose zone the country is.
    pub fn suggested(&self, store: &Row, country: &str) -> Option<String> {
        let serves = |row: &&Row| self.holds(text(row, "s_c__Zone_Id__c"), (country, "", ""));
        if serves(&store) {
            return None;
        }
        let all = self.stores();
        let sibling = all.iter().copied().find(|row| serves(row));
        let default = || all.iter().copied().find(|row| flag(row, "s_c__Default__c"));
        sibling
            .or_else(default)
            .map(|row| text(row, "Id").to_owned())
            .filter(|id| id != text(store, "Id"))
    }

    pub fn categories(&self, store: &Row) -> BTreeSet<String> {
        let taxonomy = self
            .all("s_c__Taxonomy__c")
            .find(|row| text(row, "s_c__Store_Id__c") == text(store, "Id"))
            .unwrap();
        let own = self
            .all("s_c__Product_Category__c")
            .filter(|row| text(row, "s_c__Taxonomy_Id__c") == text(taxonomy, "Id"));
        own.map(|row| text(row, "Id").to_owned()).collect()
    }
}
