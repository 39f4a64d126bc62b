//! Stores with their settings: price book, categories, shipping, payment, sign-in, offers, bookings, forms.
//!
//! Secrets are filled in on purpose, with the word `secret` in each, so that a test can prove that none leaves.

use anyhow::{Context, Result};

use super::super::value::{RecordId, Value};
use super::places::Places;
use super::words::{DEPARTMENTS, STORES, StoreWords};
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
    let store = sower.row(
        "Store",
        &[
            ("Name", text(name.as_str())),
            ("Code", text(code.as_str())),
            ("Domain", text(domain.as_str())),
            ("Unique_Domain_Path", text(format!("{domain}/"))),
            ("Link", text(format!("https://{domain}"))),
            ("Currency", text(words.currency)),
            ("Locale", text(words.locale)),
            ("Default_Timezone", text(words.timezone)),
            ("Pricebook_Id", id(book)),
            ("Zone_Id", id(place.zone)),
            ("Store_Group_Id", id(group)),
            ("Theme_Id", id(theme)),
            ("Tax_Provider_Id", id(tax_provider)),
            ("Tax_Inclusive", Some(Value::Boolean(place.tax_inclusive))),
            ("Default", Some(Value::Boolean(at == 0))),
            ("Shipping_Enabled", yes()),
            ("Setup_Complete", yes()),
            ("Display_Price_In", text("currency")),
            ("Cache_Version", text("1")),
            ("Mail_From_Address", text(format!("hello@{domain}"))),
            ("Meta_Title", text(name.as_str())),
        ],
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
    let stock_location = sower.row(
        "Stock_Location",
        &[
            ("Name", text(format!("{name} warehouse"))),
            ("Active", yes()),
            ("Country_Id", id(place.country)),
            ("s_c__Geolocation__Latitude__s", number(-33.0 + at as f64)),
            ("s_c__Geolocation__Longitude__s", number(151.0 - at as f64)),
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
            ("Zone_Id", id(place.zone)),
        ],
    )?;
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

/// Promotions, discounts, bookings and forms: small tables that every store has a few rows of.
pub fn sow_offers(sower: &mut Sower<'_>, stores: &[Store]) -> Result<()> {
    sower.pass(DAY_MILLIS);
    let condition = sower.row(
        "Condition",
        &[
            ("Name", text("Order over 50")),
            ("Type", text("total_value")),
            ("Amount", number(50.0)),
            ("Currency", text("AUD")),
        ],
    )?;
    let reward = sower.row(
        "Reward",
        &[
            ("Name", text("Ten percent off")),
            ("Identifier", text("ten-percent")),
            ("Reward_Type", text("discount_on_subtotal")),
            ("Discount_Type", text("percentage")),
            ("Discount_Percentage", number(10.0)),
        ],
    )?;
    let form = sower.row(
        "Form",
        &[("Name", text("Contact us")), ("Identifier", text("contact-us"))],
    )?;
    for (question, required) in [("Your name", true), ("Message", true), ("Order number", false)] {
        sower.row(
            "Form_Question",
            &[
                ("Name", text(question)),
                ("Form_Id", id(form)),
                ("Data_Type", text("text")),
                ("Required", Some(Value::Boolean(required))),
            ],
        )?;
    }
    sower.row(
        "Discount",
        &[
            ("Name", text("Clearance")),
            ("Active", yes()),
            ("Behaviour_When_Applied", text("replace")),
            ("Calculation_Type", text("percent")),
            (
                "Ending_Date",
                Some(Value::Date((sower.now / DAY_MILLIS + 90) * DAY_MILLIS)),
            ),
        ],
    )?;
    sower.row(
        "Membership",
        &[
            ("Name", text("Friends")),
            ("Display_Name", text("Friends of the house")),
        ],
    )?;
    for store in stores {
        offers_of(sower, store, condition, reward)?;
    }
    Ok(())
}

fn offers_of(sower: &mut Sower<'_>, store: &Store, condition: RecordId, reward: RecordId) -> Result<()> {
    let code = format!("WELCOME10-{}", store.words.currency);
    let promotion = sower.row(
        "Promotion2",
        &[
            ("Name", text(format!("Welcome to {}", store.words.name))),
            ("Display_Name", text("Welcome")),
            ("Coupon_Code", text(code)),
            ("Channel_Scope_Store_Id", id(store.id)),
            (
                "End_Date",
                Some(Value::Date((sower.now / DAY_MILLIS + 365) * DAY_MILLIS)),
            ),
        ],
    )?;
    sower.row(
        "Promotion2_Condition",
        &[
            ("Promotion2_Id", id(promotion)),
            ("Condition_Id", id(condition)),
            ("Reward_Id", id(reward)),
            ("Priority", number(1.0)),
        ],
    )?;
    let category = store.categories.first().and_then(|leaves| leaves.first());
    sower.row(
        "Promotion2_Product_Scope",
        &[
            ("Scope_Type", text("include")),
            ("Category_Id", category.and_then(|category| id(*category))),
            ("Reward_Id", id(reward)),
        ],
    )?;
    let location = sower.row(
        "Bookable_Location",
        &[
            ("Name", text(format!("{} studio", store.words.name))),
            ("Active", yes()),
            ("Display_Name", text("Studio")),
            ("Store_Id", id(store.id)),
            ("Country_Id", id(store.country)),
            ("Timezone", text(store.words.timezone)),
        ],
    )?;
    let bookable = sower.row(
        "Product_Bookable_Location",
        &[
            ("Bookable_Location_Id", id(location)),
            ("Max_Bookings", number(8.0)),
        ],
    )?;
    let day = Some(Value::Date((sower.now / DAY_MILLIS + 14) * DAY_MILLIS));
    let (start, end) = (Some(Value::Time(36_000_000)), Some(Value::Time(43_200_000)));
    let span = [
        ("Start_Date", day.clone()),
        ("End_Date", day),
        ("Start_Time", start),
        ("End_Time", end),
    ];
    let place = [
        ("Product_Bookable_Location_Id", id(bookable)),
        ("Name", text("Pottery morning")),
    ];
    let event = sower.row("Bookable_Event", &[&place[..], &span[..]].concat())?;
    sower.row(
        "Availability",
        &[&place[..1], &span[..], &[("Days_Of_Week", text("6;0"))]].concat(),
    )?;
    sower.row(
        "Booking",
        &[("Bookable_Event_Id", id(event)), ("Status", text("Confirmed"))],
    )?;
    Ok(())
}
