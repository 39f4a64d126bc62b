//! Promotions, bookings and forms: small tables that every store has a few rows of.

use anyhow::Result;

use super::super::value::{RecordId, Value};
use super::stores::Store;
use super::{DAY_MILLIS, Sower, id, number, text, yes};

pub fn sow(sower: &mut Sower<'_>, stores: &[Store]) -> Result<()> {
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
    bookings_of(sower, store)
}

fn bookings_of(sower: &mut Sower<'_>, store: &Store) -> Result<()> {
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
