//! What a shop's owner does that is not the rule: sales, hidden and restricted prices, books of members and of
//! accounts, rates for one state or one postcode, promotions with rules of their own. A few of each, in every store.

use anyhow::{Context, Result};

use super::super::org::Record;
use super::super::value::{RecordId, Value};
use super::catalogue::priced;
use super::stores::Store;
use super::{DAY_MILLIS, Sower, id, number, text, yes};

type Fields<'a> = Vec<(&'a str, Option<Value>)>;

pub fn sow(sower: &mut Sower<'_>, stores: &[Store], standard_book: RecordId) -> Result<()> {
    for (at, store) in stores.iter().enumerate() {
        sower.currency = store.words.currency;
        sower.pass(DAY_MILLIS);
        let members = members(sower, store)?;
        let trade = trade(sower, store, at)?;
        products(sower, store, at, [standard_book, members, trade.book])?;
        approvals(sower, store, at, &trade)?;
        delivery(sower, store)?;
        promotions(sower, store, trade.account)?;
        extras(sower, store)?;
    }
    sower.currency = super::ORG_CURRENCY;
    Ok(())
}

/// A business that buys from a book of its own.
struct Trade {
    account: RecordId,
    book: RecordId,
}

/// A book for members.
fn members(sower: &mut Sower<'_>, store: &Store) -> Result<RecordId> {
    let book = sower.row(
        "Pricebook2",
        &[
            ("Name", text(format!("{} members", store.words.name))),
            ("IsActive", yes()),
            ("Unavailable_Text", text("Not for members")),
        ],
    )?;
    let name = format!("{} club", store.words.name);
    let row = [
        ("Name", text(name.as_str())),
        ("Display_Name", text(name)),
        ("Pricebook_Id", id(book)),
    ];
    sower.row("Membership", &row)?;
    Ok(book)
}

fn trade(sower: &mut Sower<'_>, store: &Store, at: usize) -> Result<Trade> {
    let book = sower.row(
        "Pricebook2",
        &[
            ("Name", text(format!("{} trade", store.words.name))),
            ("IsActive", yes()),
        ],
    )?;
    let account = sower.row(
        "Account",
        &[
            ("Name", text(format!("{} trade customer", store.words.name))),
            ("External_ID__c", text(format!("TRADE-{at}"))),
            ("s_c__Is_Business__c", yes()),
            ("s_c__Pay_By_Account__c", yes()),
            ("s_c__Pricebook_Id__c", id(book)),
            ("s_c__Subdomain__c", text(format!("trade{at}"))),
        ],
    )?;
    for (person, may) in [("buyer", true), ("viewer", false)] {
        sower.row(
            "Contact",
            &[
                ("AccountId", id(account)),
                ("LastName", text(person)),
                ("Name", text(person)),
                ("External_ID__c", text(format!("TRADE-{at}-{person}"))),
                ("Email", text(format!("{person}{at}@trade.example"))),
                ("s_c__Store_Id__c", id(store.id)),
                ("s_c__Can_Use_Account_Pricing__c", Some(Value::Boolean(may))),
            ],
        )?;
    }
    for (points, activated) in [(120.0, true), (-20.0, true), (500.0, false)] {
        sower.row(
            "Account_Points_Ledger",
            &[
                ("Account_Id", id(account)),
                ("Store_Id", id(store.id)),
                ("Activated", Some(Value::Boolean(activated))),
                ("Points_Value", number(points)),
                ("Usage", text("store")),
            ],
        )?;
    }
    Ok(Trade { account, book })
}

/// One way to be offered: its name, and what differs on the product and on its entry in the store's book.
type Case = (&'static str, Fields<'static>, Fields<'static>);

fn cases(sower: &Sower<'_>, store: &Store) -> [Case; 10] {
    let days = |days: i64| Some(Value::DateTime(sower.now + days * DAY_MILLIS));
    let no = || Some(Value::Boolean(false));
    let sale = number(priced(12.5, store.words.rate));
    let locked = vec![
        ("Restricted", yes()),
        ("Restricted_Text", text("Trade only")),
        ("Display_If_Restricted", yes()),
    ];
    let secret = vec![("Restricted", yes()), ("Display_If_Restricted", no())];
    let hidden = vec![("Hide_Price", yes()), ("Hide_Price_Text", text("Call us"))];
    [
        ("SALE", vec![], vec![("Sale_Price", sale)]),
        ("POA", vec![], hidden),
        ("LOCKED", vec![], locked),
        ("SECRET", vec![], secret),
        ("BUNDLE", vec![], vec![("Bundle_Only", yes())]),
        ("EARLY", vec![("Available_On", days(30))], vec![]),
        ("OVER", vec![("Discontinue_On", days(-30))], vec![]),
        (
            "VIRTUAL",
            vec![("Virtual", yes())],
            vec![("Order_Quantity_Maximum", number(2.0))],
        ),
        ("HEAVY", vec![("Shipping_Methods", text("express"))], vec![]),
        ("ARCHIVED", vec![("IsArchived", yes())], vec![]),
    ]
}

/// Products that are offered in one particular way each.
fn products(sower: &mut Sower<'_>, store: &Store, at: usize, books: [RecordId; 3]) -> Result<()> {
    for case in cases(sower, store) {
        product(sower, store, at, books, case)?;
    }
    Ok(())
}

fn product(
    sower: &mut Sower<'_>,
    store: &Store,
    at: usize,
    [standard, members, trade]: [RecordId; 3],
    (case, own, of_entry): Case,
) -> Result<()> {
    let name = format!("Particular {} {}", case.to_lowercase(), store.words.code);
    let mut row = vec![
        ("Name", text(name)),
        ("ProductCode", text(format!("{case}-{at}"))),
        ("Slug", text(format!("particular-{}-{at}", case.to_lowercase()))),
        ("IsActive", yes()),
        ("Family", text("Particular")),
        ("Shipping_Methods", text("standard;express")),
    ];
    row.retain(|(name, _)| !own.iter().any(|(own, _)| own == name));
    row.extend(own);
    let product = sower.row("Product2", &row)?;
    let place = [
        ("Product_Id", id(product)),
        ("Category_Id", id(store.categories[3][2])),
        ("Active", yes()),
        ("Position", number(5.0)),
    ];
    sower.row("Products_Product_Categories", &place)?;
    let price = priced(20.0, store.words.rate);
    for (book, amount, more) in [
        (standard, price, Vec::new()),
        (store.book, price, of_entry.clone()),
        (members, price - 1.0, Vec::new()),
    ] {
        entry(sower, product, book, amount, more)?;
    }
    if matches!(case, "SALE" | "LOCKED") {
        let restriction = of_entry
            .into_iter()
            .filter(|(name, _)| name.contains("Restricted"));
        entry(sower, product, trade, price - 5.0, restriction.collect())?;
    }
    Ok(())
}

fn entry(
    sower: &mut Sower<'_>,
    product: RecordId,
    book: RecordId,
    price: f64,
    more: Fields<'_>,
) -> Result<()> {
    let mut row = vec![
        ("Pricebook2Id", id(book)),
        ("Product2Id", id(product)),
        ("UnitPrice", number((price * 100.0).round() / 100.0)),
        ("IsActive", yes()),
    ];
    row.extend(more);
    sower.row("PricebookEntry", &row)?;
    Ok(())
}

/// The trade customer may buy what is locked, in every second store.
fn approvals(sower: &mut Sower<'_>, store: &Store, at: usize, trade: &Trade) -> Result<()> {
    let products = sower.object("Product2")?;
    let code = products.field("ProductCode").context("products have codes")?;
    let wanted = format!("LOCKED-{at}");
    let is_it = |row: &&Record| row.get(code).and_then(Value::as_str) == Some(wanted.as_str());
    let found = sower.records.all(products.index).find(is_it).map(Record::id);
    let locked = found.context("the locked product was just made")?;
    if at.is_multiple_of(2) {
        sower.row(
            "Permitted_Restricted_Product",
            &[
                ("Account_Id", id(trade.account)),
                ("Product_Id", id(locked)),
                ("Store_Id", id(store.id)),
                (
                    "Approved_Until",
                    Some(Value::DateTime(sower.now + 60 * DAY_MILLIS)),
                ),
                ("Approved_Quantity", number(10.0)),
                ("Purchased_Quantity", number(3.0)),
            ],
        )?;
    }
    Ok(())
}

/// Rates for the zones of a state and of a postcode, by price and by weight, with taxes of their own.
fn delivery(sower: &mut Sower<'_>, store: &Store) -> Result<()> {
    let zones = sower.object("Zone")?;
    let name = zones.field("Name").context("zones have names")?;
    let named: Vec<(String, RecordId)> = sower
        .records
        .all(zones.index)
        .filter_map(|zone| Some((zone.get(name)?.as_str()?.to_owned(), zone.id())))
        .filter(|(name, _)| ["Tasmania", "San Francisco"].contains(&name.as_str()))
        .collect();
    for (zone_name, zone) in named {
        sower.row(
            "Shipping_Rate",
            &[
                ("Name", text(format!("{zone_name} ferry"))),
                ("Method", text("express")),
                ("Cost", number(priced(14.0, store.words.rate))),
                ("Order_Total_Range_Type", text("weight")),
                ("Order_Total_Range_Unit", text("kg")),
                ("Order_Weight_Minimum", number(0.0)),
                ("Order_Weight_Maximum", number(5.0)),
                ("Store_Id", id(store.id)),
                ("Zone_Id", id(zone)),
            ],
        )?;
    }
    Ok(())
}

fn promotions(sower: &mut Sower<'_>, store: &Store, account: RecordId) -> Result<()> {
    let code = store.words.code;
    let day = |days: i64| Some(Value::Date((sower.now / DAY_MILLIS + days) * DAY_MILLIS));
    let cases: [(&str, Fields<'_>); 4] = [
        (
            "Open to all",
            vec![("Start_Date", day(-10)), ("End_Date", day(10))],
        ),
        ("Over", vec![("End_Date", day(-3))]),
        ("Yet to come", vec![("Start_Date", day(5))]),
        ("For the trade", vec![("Customer_Scope_Account_Id", id(account))]),
    ];
    for (name, more) in cases {
        let name = format!("{name} {code}");
        let mut row = vec![("Name", text(name)), ("Channel_Scope_Store_Id", id(store.id))];
        row.extend(more);
        sower.row("Promotion2", &row)?;
    }
    let row = [
        ("Name", text(format!("Live {code}"))),
        ("Channel_Scope_Store_Id", id(store.id)),
    ];
    let live = sower.row("Promotion2", &row)?;
    let condition = sower.row(
        "Condition",
        &[
            ("Name", text("By rule")),
            ("Type", text("liquid_condition")),
            (
                "Liquid_Condition_Web",
                text("{% if cart.total > 10 %}true{% endif %}"),
            ),
        ],
    )?;
    let reward = sower.row(
        "Reward",
        &[
            ("Name", text("Free delivery")),
            ("Reward_Type", text("discounted_shipping")),
        ],
    )?;
    sower.row(
        "Promotion2_Condition",
        &[
            ("Promotion2_Id", id(live)),
            ("Condition_Id", id(condition)),
            ("Reward_Id", id(reward)),
        ],
    )?;
    let legacy = sower.row(
        "Promotion",
        &[
            ("Name", text(format!("Legacy {code}"))),
            ("Promotion_Code", text(format!("OLD-{code}"))),
            ("Store_Id", id(store.id)),
        ],
    )?;
    let action = [
        ("Promotion_Id", id(legacy)),
        ("Action", text("per order")),
        ("Calculation", text("percent")),
        ("Discount_Percent", number(5.0)),
    ];
    sower.row("Promotion_Action", &action)?;
    Ok(())
}

/// A form of the store's own, a mailing list, and a way to pay and to log in that are switched off.
fn extras(sower: &mut Sower<'_>, store: &Store) -> Result<()> {
    let name = format!("Survey {}", store.words.code);
    let form = sower.row(
        "Form",
        &[("Name", text(name.as_str())), ("Identifier", text(name))],
    )?;
    sower.row("Store_Form", &[("Store_Id", id(store.id)), ("Form_Id", id(form))])?;
    let campaign = sower.row(
        "Campaign",
        &[
            ("Name", text(format!("{} letter", store.words.name))),
            ("IsActive", yes()),
        ],
    )?;
    sower.row(
        "Store_Campaign",
        &[
            ("Campaign_Id", id(campaign)),
            ("Store_Id", id(store.id)),
            ("Opt_In_Text", text("Write to me")),
        ],
    )?;
    let off = [
        ("Name", text("Switched off")),
        ("Provider", text("Azure")),
        ("Active", Some(Value::Boolean(false))),
        ("Store_Id", id(store.id)),
    ];
    sower.row("Authentication_Provider", &off)?;
    for (name, active, channel) in [("Switched off", false, "web"), ("Till", true, "pos")] {
        sower.row(
            "Payment_Provider",
            &[
                ("Name", text(name)),
                ("Provider", text("Manual")),
                ("Active", Some(Value::Boolean(active))),
                ("Api_Mode", text("test")),
                ("Api_Secret", text("sk_payment-secret")),
                ("Channel", text(channel)),
                ("Store_Id", id(store.id)),
            ],
        )?;
    }
    Ok(())
}
