//! The day of an order: that of the store's calendar, or one that the storefront sends, within limits. Pure.

use crate::model::clock::{Millis, local, parse_date, parse_datetime};
use crate::model::order::members::Invalid;

/// How far back a storefront may date an order, and how far ahead: the shopper's day may be ahead of the store's.
pub const DAYS_BACK_MAX: i64 = 30;
pub const DAYS_AHEAD_MAX: i64 = 1;

const DAY_MILLIS: i64 = 86_400_000;

/// What is said of a date that no org keeps.
pub const OUT_OF_RANGE: &str = "must be from 1700-01-01 to 4000-12-31: the org keeps no other dates";

/// The first and the last day that an org keeps.
const ORG_DAYS: [&str; 2] = ["1700-01-01", "4000-12-31"];

/// Whether a date, or a date and time, is one that an org keeps. What is neither is judged elsewhere.
pub fn is_of_org(text: &str) -> bool {
    let [first, last] = ORG_DAYS.map(|day| parse_date(day).unwrap_or_default());
    let at = parse_datetime(text).or_else(|| parse_date(text.get(..10).unwrap_or(text)));
    at.is_none_or(|at| (first..last + DAY_MILLIS).contains(&at))
}

/// The day of an order that is placed now in a store of this time zone.
pub fn of_order(now: Millis, zone: Option<&str>, sent: Option<&str>) -> Result<String, Invalid> {
    let today = local(now, zone).date;
    let Some(sent) = sent else { return Ok(today) };
    let wrong = |message: String| Err(Invalid::new("order_date", message));
    let (Some(day), Some(from)) = (parse_date(sent).filter(|_| sent.len() == 10), parse_date(&today)) else {
        return wrong("must be a date such as 2026-11-22".to_owned());
    };
    let ahead = (day - from) / DAY_MILLIS;
    if !(-DAYS_BACK_MAX..=DAYS_AHEAD_MAX).contains(&ahead) {
        return wrong(format!(
            "must be at most {DAYS_BACK_MAX} days before today and {DAYS_AHEAD_MAX} after it; in the store it is {today}"
        ));
    }
    Ok(sent.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_the_store_s() {
        for (now, zone, day) in [
            ("2026-11-29T01:23:00Z", Some("America/Los_Angeles"), "2026-11-28"),
            ("2026-11-28T21:00:00Z", Some("Australia/Sydney"), "2026-11-29"),
            ("2026-11-28T11:30:00Z", Some("Pacific/Auckland"), "2026-11-29"),
            ("2026-11-29T01:23:00Z", Some("Nowhere/At_All"), "2026-11-29"),
            ("2026-11-29T01:23:00Z", None, "2026-11-29"),
        ] {
            let now = parse_datetime(now).unwrap();
            assert_eq!(of_order(now, zone, None).as_deref(), Ok(day), "{zone:?}");
        }
    }

    #[test]
    fn an_org_keeps_so_many_years() {
        for (text, kept) in [
            ("1700-01-01", true),
            ("1699-12-31", false),
            ("0000-01-01", false),
            ("4000-12-31", true),
            ("4000-12-31T23:59:59Z", true),
            ("4001-01-01", false),
            ("1500-11-30T10:00:00Z", false),
            ("soon", true),
        ] {
            assert_eq!(is_of_org(text), kept, "{text}");
        }
    }

    #[test]
    fn a_day_that_is_sent_is_near() {
        // In Los Angeles it is the 28th still.
        let now = parse_datetime("2026-11-29T01:23:00Z").unwrap();
        for (sent, taken) in [
            ("2026-11-28", true),
            ("2026-11-29", true),
            ("2026-11-30", false),
            ("2026-10-29", true),
            ("2026-10-28", false),
            ("2026-02-30", false),
            ("20261128", false),
            ("yesterday", false),
        ] {
            let day = of_order(now, Some("America/Los_Angeles"), Some(sent));
            match day {
                Ok(day) => assert!(taken && day == sent, "{sent}: {day}"),
                Err(invalid) => assert!(!taken && invalid.field == "order_date", "{sent}: {invalid:?}"),
            }
        }
    }
}
