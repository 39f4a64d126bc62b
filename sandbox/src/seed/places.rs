//! Countries, states, postcodes, and the zones and taxes made of them.

use std::collections::BTreeMap;

use anyhow::Result;

use super::super::value::{RecordId, Value};
use super::words::{COUNTRIES, STATES};
use super::{Sower, id, number, text, yes};

/// What stores need of a country.
pub struct Place {
    pub country: RecordId,
    /// The zone that is the whole country.
    pub zone: RecordId,
    pub tax: RecordId,
    pub tax_inclusive: bool,
}

/// By three-letter country code.
pub type Places = BTreeMap<&'static str, Place>;

pub fn sow(sower: &mut Sower<'_>) -> Result<Places> {
    let mut places = Places::new();
    let since = Some(Value::Date((sower.moment.div_euclid(86_400_000)) * 86_400_000));
    for (code, name, tax_name, rate, tax_inclusive) in COUNTRIES {
        let country = sower.row("Country", &[("Name", text(name)), ("Code", text(code))])?;
        let zone = sower.row("Zone", &[("Name", text(name)), ("Match", text("loose"))])?;
        sower.row(
            "Zone_Country",
            &[("Zone_Id", id(zone)), ("Country_Id", id(country))],
        )?;
        let tax = sower.row(
            "Tax",
            &[
                ("Name", text(format!("{name} {tax_name}"))),
                ("Display_Name", text(tax_name)),
                ("Rate_Percentage", number(rate)),
                ("Zone_Id", id(zone)),
                ("Effective_From", since.clone()),
                ("Based_On_Ship_Address", yes()),
            ],
        )?;
        places.insert(
            code,
            Place {
                country,
                zone,
                tax,
                tax_inclusive,
            },
        );
    }
    states(sower, &places)?;
    Ok(places)
}

fn states(sower: &mut Sower<'_>, places: &Places) -> Result<()> {
    for (country, code, name, postcode) in STATES {
        let Some(place) = places.get(country) else {
            continue;
        };
        let country = place.country;
        let state = sower.row(
            "State",
            &[
                ("Name", text(name)),
                ("Code", text(code)),
                ("Country_Id", id(country)),
            ],
        )?;
        let postcode = sower.row(
            "Postcode",
            &[
                ("Name", text(postcode)),
                ("Code", text(postcode)),
                ("Country_Id", id(country)),
                ("State_Id", id(state)),
            ],
        )?;
        // Two states have zones of their own, one by state and one by postcode.
        match code {
            "TAS" => {
                let zone = sower.row("Zone", &[("Name", text("Tasmania")), ("Match", text("strict"))])?;
                sower.row("Zone_State", &[("Zone_Id", id(zone)), ("State_Id", id(state))])?;
            }
            "CA" => {
                let zone = sower.row(
                    "Zone",
                    &[("Name", text("San Francisco")), ("Match", text("strict"))],
                )?;
                sower.row(
                    "Zone_Postcode",
                    &[("Zone_Id", id(zone)), ("Postcode_Id", id(postcode))],
                )?;
            }
            _ => {}
        }
    }
    Ok(())
}
