//! Products, their prices in every book, their places in the stores' categories, their stock.
//!
//! Of a large catalogue, rows hold only what differs: the rest is shared by the batch they were written in.

use std::sync::Arc;

use anyhow::Result;

use super::super::org::Record;
use super::super::org::records::{Shared, Slot};
use super::super::schema::Object;
use super::super::value::{RecordId, Value};
use super::stores::{Store, slug};
use super::words::{ADJECTIVES, DEPARTMENTS, FAMILIES, MATERIALS, THINGS};
use super::{DETAILED_PRODUCTS_MAX, Sower, id, number, text, uuid, yes};

/// So many products, the first ones, are sold in every store.
const IN_ALL_STORES: usize = 20;
/// Rows that share one stamp.
const BATCH_ROWS: usize = 2_000;
/// So many products, the first ones, have stock rows.
const STOCKED_MAX: usize = 2_000;

/// A price in another currency than the Australian dollar, ending in five cents.
pub fn priced(amount: f64, rate: f64) -> f64 {
    (amount * rate * 20.0).round() / 20.0
}

pub fn sow(sower: &mut Sower<'_>, stores: &[Store], standard_book: RecordId, products: usize) -> Result<()> {
    let brand = brand(sower)?;
    let positions = Positions::new(sower, products <= DETAILED_PRODUCTS_MAX)?;
    let detailed = positions.detailed;
    let entries = products * if detailed { 1 + stores.len() } else { 2 };
    sower.records.reserve(positions.product.index, products + 8);
    sower.records.reserve(positions.entry.index, entries + 8);
    let mut batch = Batch::new(sower, &positions, stores, standard_book);
    for at in 1..=products {
        if at % BATCH_ROWS == 0 {
            sower.pass(60_000);
            batch = Batch::new(sower, &positions, stores, standard_book);
        }
        let department = at % DEPARTMENTS.len();
        let (adjective, material) = (sower.pick(&ADJECTIVES), sower.pick(&MATERIALS));
        let thing = sower.pick(&THINGS[department]);
        let name: Arc<str> = format!("{adjective} {material} {thing}").into();
        let code: Arc<str> = format!("SKU-{at}").into();
        let slug = format!("{}-{at}", slug(&name));
        let product = match detailed {
            true => detailed_product(sower, &name, &code, &slug, (at, department, brand))?,
            false => plain_product(sower, &positions, &batch, (&name, &code, &slug), department),
        };
        let base = f64::from(sower.rng.u32(8..180)) + 0.95;
        let sold_in = |store: usize| {
            at <= IN_ALL_STORES || store == at % stores.len() || (detailed && !(at + store).is_multiple_of(3))
        };
        let mut standard_in: Vec<&str> = Vec::new();
        for (number, store) in stores.iter().enumerate().filter(|(store, _)| sold_in(*store)) {
            let price = priced(base, store.words.rate);
            let shares = &batch.entries[number];
            if !standard_in.contains(&store.words.currency) {
                standard_in.push(store.words.currency);
                positions.entry(sower, &shares.standard, product, price);
            }
            positions.entry(sower, &shares.store, product, price);
            let leaves = &store.categories[department];
            let category = leaves[at / DEPARTMENTS.len() % leaves.len()];
            positions.category(sower, &batch.links, (product, category), at);
            if at <= STOCKED_MAX {
                stock(sower, store, product)?;
            }
        }
        if at <= 12 {
            sow_details(sower, stores, product, &name)?;
        }
    }
    variants(sower, stores, standard_book)
}

fn brand(sower: &mut Sower<'_>) -> Result<RecordId> {
    let row = [
        ("Name", text("Wattle & Co")),
        ("s_c__Brand__c", yes()),
        ("External_ID__c", text("BRAND-1")),
        ("Type", text("Other")),
    ];
    sower.row("Account", &row)
}

fn detailed_product(
    sower: &mut Sower<'_>,
    name: &Arc<str>,
    code: &Arc<str>,
    slug: &str,
    (at, department, brand): (usize, usize, RecordId),
) -> Result<RecordId> {
    let weight = f64::from(sower.rng.u32(1..40)) / 10.0;
    sower.row(
        "Product2",
        &[
            ("Name", text(Arc::clone(name))),
            ("ProductCode", text(Arc::clone(code))),
            ("StockKeepingUnit", text(Arc::clone(code))),
            (
                "Description",
                text(format!("{name}: made to be used every day, and to last.")),
            ),
            ("IsActive", Some(Value::Boolean(at % 50 != 49))),
            ("Family", text(FAMILIES[department])),
            ("Slug", text(slug)),
            ("s_c__Display_Name__c", text(Arc::clone(name))),
            (
                "Summary_Markdown",
                text(format!("**{name}** from our own workshop.")),
            ),
            ("Brand_Id", id(brand)),
            ("Promotionable", yes()),
            ("Track_Inventory", Some(Value::Boolean(at % 2 == 0))),
            ("Shipping_Methods", text("standard;express;pickup")),
            ("Shipping_Weight", number(weight)),
            ("Shipping_Weight_Unit", text("kg")),
            ("Position", number(at as f64)),
        ],
    )
}

fn plain_product(
    sower: &mut Sower<'_>,
    positions: &Positions<'_>,
    batch: &Batch,
    (name, code, slug): (&Arc<str>, &Arc<str>, &str),
    department: usize,
) -> RecordId {
    let [name_at, code_at, slug_at, _, family_at, key_at] = positions.product_fields;
    let product = sower.records.next_id(positions.product.index);
    let values = vec![
        (name_at, Value::text(Arc::clone(name))),
        (code_at, Value::text(Arc::clone(code))),
        (slug_at, Value::text(slug)),
        (family_at, batch.families[department].clone()),
        (key_at, Value::text(uuid(&mut sower.rng))),
    ];
    sower.records.put(
        positions.product.index,
        Record::new(product, Arc::clone(&batch.products), values),
    );
    product
}

fn stock(sower: &mut Sower<'_>, store: &Store, product: RecordId) -> Result<()> {
    let on_hand = f64::from(sower.rng.u32(0..120));
    sower.row(
        "Stock_Level",
        &[
            ("Product_Id", id(product)),
            ("Stock_Location_Id", id(store.stock_location)),
            ("Available_To_Sell", number(on_hand)),
            ("Count_On_Hand", number(on_hand)),
            ("Fulfill_Online_Orders", yes()),
        ],
    )?;
    Ok(())
}

/// A picture and the taxes of a product.
fn sow_details(sower: &mut Sower<'_>, stores: &[Store], product: RecordId, name: &str) -> Result<()> {
    let file = slug(name);
    let media = sower.row(
        "Media",
        &[
            ("Name", text(name)),
            ("File_Type", text("image")),
            ("Identifier", text(format!("{file}-{product}"))),
            ("s_c__Url__c", text(format!("https://media.example/{file}.jpg"))),
            ("Alt_Text", text(name)),
        ],
    )?;
    sower.row(
        "Product_Media",
        &[
            ("Product_Id", id(product)),
            ("Media_Id", id(media)),
            ("s_c__Position__c", number(1.0)),
        ],
    )?;
    for store in stores {
        sower.row(
            "Product_Tax",
            &[("Product_Id", id(product)), ("Tax_Id", id(store.tax))],
        )?;
    }
    Ok(())
}

/// One master product in three sizes, in the first store.
fn variants(sower: &mut Sower<'_>, stores: &[Store], standard_book: RecordId) -> Result<()> {
    let Some(store) = stores.first() else {
        return Ok(());
    };
    sower.currency = store.words.currency;
    let product = |sower: &mut Sower<'_>, name: &str, code: &str, master: bool| {
        let row = [
            ("Name", text(name)),
            ("ProductCode", text(code)),
            ("IsActive", yes()),
            ("Slug", text(slug(name))),
            ("Is_Master", Some(Value::Boolean(master))),
            ("Family", text("Homewares")),
        ];
        let product = sower.row("Product2", &row)?;
        for book in [standard_book, store.book] {
            let row = [
                ("Pricebook2Id", id(book)),
                ("Product2Id", id(product)),
                ("UnitPrice", number(priced(49.95, store.words.rate))),
                ("IsActive", yes()),
            ];
            sower.row("PricebookEntry", &row)?;
        }
        anyhow::Ok(product)
    };
    let master = product(sower, "Wool Jumper", "JUMPER", true)?;
    let place = [
        ("Product_Id", id(master)),
        ("Category_Id", id(store.categories[1][0])),
        ("Active", yes()),
        ("Primary", yes()),
    ];
    sower.row("Products_Product_Categories", &place)?;
    for (position, size) in ["Small", "Medium", "Large"].into_iter().enumerate() {
        let variant = product(
            sower,
            &format!("Wool Jumper {size}"),
            &format!("JUMPER-{}", &size[..1]),
            false,
        )?;
        sower.row(
            "Product_Variant",
            &[
                ("Master_Product_Id", id(master)),
                ("Variant_Product_Id", id(variant)),
                ("Variant_Type", text("Size")),
                ("Variant_Value", text(size)),
                ("Variant_Label", text(size)),
                ("s_c__Position__c", number(position as f64)),
            ],
        )?;
    }
    sower.currency = super::ORG_CURRENCY;
    Ok(())
}

/// The values that the rows of one batch and book share.
struct EntryShares {
    standard: Arc<Shared>,
    store: Arc<Shared>,
}

struct Batch {
    products: Arc<Shared>,
    families: Vec<Value>,
    links: Arc<Shared>,
    /// By store.
    entries: Vec<EntryShares>,
}

impl Batch {
    fn new(sower: &Sower<'_>, positions: &Positions<'_>, stores: &[Store], standard_book: RecordId) -> Self {
        let owner = Value::Id(sower.user);
        let [name_at, code_at, slug_at, active_at, family_at, key_at] = positions.product_fields;
        let product_own = [name_at, code_at, slug_at, family_at, key_at];
        let [link_active_at, owner_at, link_own @ ..] = positions.link_fields;
        let link_own = &link_own[..if positions.detailed { 4 } else { 3 }];
        let currency = |object: &Object| object.field("CurrencyIsoCode").unwrap_or_default() as u16;
        let org_currency = Value::text(sower.currency);
        let products = vec![
            (active_at, Value::Boolean(true)),
            (currency(positions.product), org_currency.clone()),
        ];
        let links = vec![
            (link_active_at, Value::Boolean(true)),
            (owner_at, owner),
            (currency(positions.link), org_currency),
        ];
        let entries = stores.iter().map(|store| {
            let [book_at, currency_at, active_at, ..] = positions.entry_fields;
            let code = Value::text(store.words.currency);
            let share = |book: RecordId| {
                let common: Vec<Slot> = vec![
                    (book_at, Value::Id(book)),
                    (currency_at, code.clone()),
                    (active_at, Value::Boolean(true)),
                ];
                sower.shared_with(positions.entry, common, &positions.entry_fields[3..])
            };
            EntryShares {
                standard: share(standard_book),
                store: share(store.book),
            }
        });
        Self {
            products: sower.shared_with(positions.product, products, &product_own),
            families: FAMILIES.iter().map(|family| Value::text(*family)).collect(),
            links: sower.shared_with(positions.link, links, link_own),
            entries: entries.collect(),
        }
    }
}

/// Where the fields of the large tables stand, looked up once.
struct Positions<'a> {
    product: &'a Object,
    /// Name, ProductCode, slug, IsActive, Family, key.
    product_fields: [u16; 6],
    entry: &'a Object,
    /// Pricebook2Id, CurrencyIsoCode, IsActive, Product2Id, UnitPrice.
    entry_fields: [u16; 5],
    link: &'a Object,
    /// Active, OwnerId, Product_Id, Category_Id, Name, key.
    link_fields: [u16; 6],
    /// Whether the rows have keys of their own.
    detailed: bool,
}

impl<'a> Positions<'a> {
    fn new(sower: &Sower<'a>, detailed: bool) -> Result<Self> {
        fn all<const N: usize>(sower: &Sower<'_>, object: &Object, names: [&str; N]) -> Result<[u16; N]> {
            let mut positions = [0; N];
            for (position, name) in positions.iter_mut().zip(names) {
                *position = sower.field(object, name)? as u16;
            }
            Ok(positions)
        }
        let product = sower.object("Product2")?;
        let entry = sower.object("PricebookEntry")?;
        let link = sower.object("Products_Product_Categories")?;
        let product_names = ["Name", "ProductCode", "Slug", "IsActive", "Family", "sC_Id"];
        let entry_names = [
            "Pricebook2Id",
            "CurrencyIsoCode",
            "IsActive",
            "Product2Id",
            "UnitPrice",
        ];
        let link_names = ["Active", "OwnerId", "Product_Id", "Category_Id", "Name", "sC_Id"];
        Ok(Self {
            product,
            product_fields: all(sower, product, product_names)?,
            entry,
            entry_fields: all(sower, entry, entry_names)?,
            link,
            link_fields: all(sower, link, link_names)?,
            detailed,
        })
    }

    fn entry(&self, sower: &mut Sower<'_>, shared: &Arc<Shared>, product: RecordId, price: f64) {
        let [.., product_at, price_at] = self.entry_fields;
        let values = vec![(product_at, Value::Id(product)), (price_at, Value::Double(price))];
        let row = sower.records.next_id(self.entry.index);
        sower
            .records
            .put(self.entry.index, Record::new(row, Arc::clone(shared), values));
    }

    fn category(
        &self,
        sower: &mut Sower<'_>,
        shared: &Arc<Shared>,
        (product, category): (RecordId, RecordId),
        at: usize,
    ) {
        let [.., product_at, category_at, name_at, key_at] = self.link_fields;
        let mut values = vec![
            (product_at, Value::Id(product)),
            (category_at, Value::Id(category)),
            (name_at, Value::text(format!("PPC-{at:06}"))),
        ];
        if self.detailed {
            values.push((key_at, Value::text(uuid(&mut sower.rng))));
        }
        let row = sower.records.next_id(self.link.index);
        sower
            .records
            .put(self.link.index, Record::new(row, Arc::clone(shared), values));
    }
}
