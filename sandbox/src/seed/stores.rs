//! Stores with their settings: price book, categories, shipping, payment, sign-in.
//!
//! Secrets are filled in on purpose, with the word `secret` in each, so that a test can prove that none leaves.

use anyhow::{Context, Result};

use super::super::value::{RecordId, Value};
use super::places::Places;
use super::words::{COUNTRIES, DEPARTMENTS, STORES, StoreWords};
use super::{DAY_MILLIS, Sower, id, number, text, yes};

/// A store, as the rows that hang on it need it.
pub struct Store {
    pub id: RecordId,
    pub words: &'static StoreWords,
    pub book: RecordId,
    pub country: RecordId,
    pub tax: RecordId,
    pub stock_location: RecordId,
    /// By department, the categories that products stand in.
    pub categories: Vec<Vec<RecordId>>,
}

pub fn sow(sower: &mut Sower<'_>, places: &Places, count: usize) -> Result<Vec<Store>> {
    let group = sower.row("Store_Group", &[("Name", text("All stores"))])?;
    let theme = sower.row("Theme", &[("Name", text("Base"))])?;
    let tax_provider = sower.row(
        "Tax_Provider",
        &[
            ("Name", text("Tax engine")),
            ("Provider", text("Avalara")),
            ("Channels", text("web;pos")),
            ("Api_Key", text("tax-secret-key")),
            ("Api_Secret", text("tax-secret")),
            (
                "Configuration_Options",
                text("{\"license\":\"tax-secret-licence\"}"),
            ),
        ],
    )?;
    sower.row(
        "Shipping_Provider",
        &[
            ("Name", text("Parcel carrier")),
            ("Active", yes()),
            ("Account", text("carrier-secret-account")),
            ("Api_Key", text("carrier-secret-key")),
            ("Api_Secret", text("carrier-secret")),
            ("Api_Url", text("carrier.example/v2")),
        ],
    )?;
    let mut stores = Vec::new();
    for at in 0..count {
        let words = &STORES[at % STORES.len()];
        sower.currency = words.currency;
        sower.pass(DAY_MILLIS);
        stores.push(store(sower, places, (at, words), [group, theme, tax_provider])?);
    }
    sower.currency = super::ORG_CURRENCY;
    Ok(stores)
}

fn store(
    sower: &mut Sower<'_>,
    places: &Places,
    (at, words): (usize, &'static StoreWords),
    [group, theme, tax_provider]: [RecordId; 3],
) -> Result<Store> {
    let place = places
        .get(words.country)
        .context("each store's country is seeded")?;
    // Past the list of names, stores are numbered.
    let round = at / STORES.len();
    let suffix = |separator: &str| {
        if round == 0 {
            String::new()
        } else {
            format!("{separator}{}", round + 1)
        }
    };
    let (name, code) = (
        format!("{}{}", words.name, suffix(" ")),
        format!("{}{}", words.code, suffix("-")),
    );
    let domain = format!("{code}.example");
    let book = sower.row(
        "Pricebook2",
        &[
            ("Name", text(format!("{name} {}", words.currency))),
            ("IsActive", yes()),
            (
                "Tax_Method",
                text(if place.tax_inclusive {
                    "inclusive"
                } else {
                    "exclusive"
                }),
            ),
            ("Tax_Zone_Id", id(place.zone)),
        ],
    )?;
    let store = store_row(
        sower,
        words,
        (&name, &code),
        at == 0,
        [group, theme, tax_provider, book, place.zone],
    )?;
    let domain_row = [
        ("Name", text(domain.as_str())),
        ("Domain_Name", text(domain.as_str())),
        ("Active", yes()),
        ("Status", text("Success")),
    ];
    sower.row("Web_Domain", &domain_row)?;
    settings(sower, store, &domain)?;
    delivery(sower, store, place.zone, words)?;
    let stock_location = stock_location(sower, &name, (store, place.country, place.zone), at as f64)?;
    let categories = categories(sower, store, &name)?;
    Ok(Store {
        id: store,
        words,
        book,
        country: place.country,
        tax: place.tax,
        stock_location,
        categories,
    })
}

fn store_row(
    sower: &mut Sower<'_>,
    words: &StoreWords,
    (name, code): (&str, &str),
    default: bool,
    [group, theme, tax_provider, book, zone]: [RecordId; 5],
) -> Result<RecordId> {
    let domain = format!("{code}.example");
    let tax_inclusive = COUNTRIES
        .iter()
        .any(|(country, .., inclusive)| *country == words.country && *inclusive);
    sower.row(
        "Store",
        &[
            ("Name", text(name)),
            ("Code", text(code)),
            ("Domain", text(domain.as_str())),
            ("Unique_Domain_Path", text(format!("{domain}/"))),
            ("Link", text(format!("https://{domain}"))),
            ("Currency", text(words.currency)),
            ("Locale", text(words.locale)),
            ("Default_Timezone", text(words.timezone)),
            ("Pricebook_Id", id(book)),
            ("Zone_Id", id(zone)),
            ("Store_Group_Id", id(group)),
            ("Theme_Id", id(theme)),
            ("Tax_Provider_Id", id(tax_provider)),
            ("Tax_Inclusive", Some(Value::Boolean(tax_inclusive))),
            ("Default", Some(Value::Boolean(default))),
            ("Shipping_Enabled", yes()),
            ("Setup_Complete", yes()),
            ("Display_Price_In", text("currency")),
            ("Cache_Version", text("1")),
            ("Mail_From_Address", text(format!("hello@{domain}"))),
            ("Meta_Title", text(name)),
        ],
    )
}

/// The store's warehouse with its counter.
fn stock_location(
    sower: &mut Sower<'_>,
    name: &str,
    (store, country, zone): (RecordId, RecordId, RecordId),
    at: f64,
) -> Result<RecordId> {
    let stock_location = sower.row(
        "Stock_Location",
        &[
            ("Name", text(format!("{name} warehouse"))),
            ("Active", yes()),
            ("Country_Id", id(country)),
            ("s_c__Geolocation__Latitude__s", number(-33.0 + at)),
            ("s_c__Geolocation__Longitude__s", number(151.0 - at)),
        ],
    )?;
    sower.row(
        "Collection_Point",
        &[
            ("Name", text(format!("{name} counter"))),
            ("Active", yes()),
            ("Display_Name", text("Collect in store")),
            ("Lead_Time_Duration", number(2.0)),
            ("Lead_Time_Units", text("hours")),
            ("Stock_Location_Id", id(stock_location)),
            ("Store_Id", id(store)),
            ("Zone_Id", id(zone)),
        ],
    )?;
    Ok(stock_location)
}

fn settings(sower: &mut Sower<'_>, store: RecordId, domain: &str) -> Result<()> {
    for (key, value, shown) in [
        ("google_tag", "GT-000000", true),
        ("support_email", "help", true),
        ("search_api_key", "search-secret-key", false),
    ] {
        let value = if key == "support_email" {
            format!("{value}@{domain}")
        } else {
            value.to_owned()
        };
        sower.row(
            "Store_Variable",
            &[
                ("Name", text(key)),
                ("Key", text(key)),
                ("Value", text(value)),
                ("Available_In_Liquid", Some(Value::Boolean(shown))),
                ("Store_Id", id(store)),
            ],
        )?;
    }
    sower.row(
        "Route_Mapping",
        &[
            ("From", text("/sale")),
            ("To", text("/collections/offers")),
            ("Status_Code", text("302")),
            ("Store_Id", id(store)),
        ],
    )?;
    sower.row(
        "Authentication_Provider",
        &[
            ("Name", text("Google")),
            ("Active", yes()),
            ("Provider", text("Google")),
            ("Provider_URL", text("https://accounts.google.example")),
            ("Client_Id", text(format!("client-{domain}"))),
            ("Client_Secret", text("login-secret")),
            ("Api_Options", text("{\"key\":\"login-secret-option\"}")),
            ("Authorised_Domains", text(domain)),
            ("Store_Id", id(store)),
        ],
    )?;
    for (position, provider, label, channel) in [
        (1.0, "Stripe", "Card", "web"),
        (2.0, "Manual", "Bank transfer", "web;pos"),
    ] {
        sower.row(
            "Payment_Provider",
            &[
                ("Name", text(provider)),
                ("Provider", text(provider)),
                ("Display_Name", text(label)),
                ("Active", yes()),
                ("Api_Mode", text("test")),
                ("Api_Key", text("pk_payment-secret-key")),
                ("Api_Secret", text("sk_payment-secret")),
                ("Api_Options", text("{\"webhook\":\"payment-secret-webhook\"}")),
                ("Channel", text(channel)),
                ("Position", number(position)),
                ("Store_Id", id(store)),
            ],
        )?;
    }
    Ok(())
}

fn delivery(sower: &mut Sower<'_>, store: RecordId, zone: RecordId, words: &StoreWords) -> Result<()> {
    let rates = [
        ("Standard", "standard", 9.95, None, Some(100.0)),
        ("Free", "standard", 0.0, Some(100.0), None),
        ("Express", "express", 19.95, None, None),
    ];
    for (name, method, cost, from, to) in rates {
        sower.row(
            "Shipping_Rate",
            &[
                ("Name", text(name)),
                ("Display_Name", text(format!("{name} delivery"))),
                ("Method", text(method)),
                ("Cost", number(super::catalogue::priced(cost, words.rate))),
                ("Order_Total_Range_Type", text("price")),
                ("Order_Total_Range_Unit", text(words.currency)),
                ("Order_Price_Minimum", from.map(Value::Double)),
                ("Order_Price_Maximum", to.map(Value::Double)),
                ("Store_Id", id(store)),
                ("Zone_Id", id(zone)),
            ],
        )?;
    }
    sower.row(
        "Delivery_Window",
        &[
            ("Name", text("Weekdays")),
            ("Active", yes()),
            ("Days_of_Week", text("1;2;3;4;5")),
            ("Times_of_Day", text("09:00-12:00;13:00-17:00")),
            ("Timezone", text(words.timezone)),
            ("Store_Id", id(store)),
            ("Zone_Id", id(zone)),
        ],
    )?;
    Ok(())
}

/// The store's category tree under its taxonomy: departments, and the categories below them.
fn categories(sower: &mut Sower<'_>, store: RecordId, name: &str) -> Result<Vec<Vec<RecordId>>> {
    let taxonomy = sower.row(
        "Taxonomy",
        &[
            ("Name", text(format!("{name} catalogue"))),
            ("Position", number(1.0)),
            ("Store_Id", id(store)),
        ],
    )?;
    let mut departments = Vec::new();
    for (at, (department, children)) in DEPARTMENTS.iter().enumerate() {
        let parent = category(sower, taxonomy, department, &slug(department), at)?;
        let mut leaves = Vec::new();
        for (position, child) in children.iter().enumerate() {
            let path = format!("{}/{}", slug(department), slug(child));
            let leaf = category(sower, taxonomy, child, &path, position)?;
            sower.row(
                "Product_Category_Hierarchy",
                &[
                    ("Parent_Id", id(parent)),
                    ("Child_Id", id(leaf)),
                    ("Position", number(position as f64)),
                    ("Primary_Parent", yes()),
                ],
            )?;
            leaves.push(leaf);
        }
        departments.push(leaves);
    }
    Ok(departments)
}

fn category(
    sower: &mut Sower<'_>,
    taxonomy: RecordId,
    name: &str,
    path: &str,
    position: usize,
) -> Result<RecordId> {
    sower.row(
        "Product_Category",
        &[
            ("Name", text(name)),
            ("Display_Name", text(name)),
            ("Title", text(name)),
            ("Path", text(path)),
            ("Position", number(position as f64)),
            ("Taxonomy_Id", id(taxonomy)),
            ("Unique_Taxonomy_Path", text(format!("{taxonomy}/{path}"))),
        ],
    )
}

/// `Mugs & Cups` as it stands in a URL.
pub fn slug(name: &str) -> String {
    let words = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}
