//! Promotions, discounts and legacy codes that are open to a visitor now, as far as data tells.

use rusqlite::{Connection, Row, params};

use crate::model::clock::local;
use crate::store::storefront::json;
use crate::store::storefront::stores::Store;
use crate::store::storefront::visitor::Visitor;

/// The moment, in the store's time zone, and the coupon that the visitor has.
#[derive(Clone, Debug, Default)]
pub struct Moment {
    /// `2026-11-22`
    pub date: String,
    /// `09:30:00`
    pub time: String,
    /// 0 is Sunday.
    pub weekday: u8,
    pub coupon: Option<String>,
}

impl Moment {
    /// The moment of a visit.
    pub fn of(store: &Store, visitor: &Visitor, coupon: Option<String>) -> Self {
        let now = local(visitor.now, store.timezone.as_deref());
        Self {
            date: now.date,
            time: now.time,
            weekday: now.weekday,
            coupon,
        }
    }
}

/// The coupon is not part of the answer: whoever has it has it.
const OPEN: &str = "select id, kind, name, description, starts_on, ends_on, starts_at, ends_at, days_of_week_list, membership_id,
        conditions_json, coupon is not null as needs_coupon, needs_live_check, account_id as _account, contact_id as _contact
    from store_promotion_v1 where store_id = ?1
        and (starts_on is null or starts_on <= ?2) and (ends_on is null or ends_on >= ?2)
        and (starts_at is null or starts_on is not ?2 or substr(starts_at, 1, 8) <= ?3)
        and (ends_at is null or ends_on is not ?2 or substr(ends_at, 1, 8) >= ?3)
        and (coalesce(days_of_week_list, '') = '' or instr(days_of_week_list, ?4) > 0)
        and (coupon is null or lower(coupon) = lower(?5))
    order by kind desc, name, id";

/// What is open: within its days and times, in this store, to this customer, and with a coupon only to who has it.
pub fn list(
    connection: &Connection,
    store: &Store,
    visitor: &Visitor,
    moment: &Moment,
) -> rusqlite::Result<Vec<Vec<u8>>> {
    each(connection, store, visitor, moment, |row| {
        let mut out = Vec::with_capacity(512);
        json::view_row(&mut out, row)?;
        Ok(Some(out))
    })
}

/// An open promotion by its id, or the one of the visitor's coupon.
pub fn promotion(
    connection: &Connection,
    store: &Store,
    visitor: &Visitor,
    moment: &Moment,
    id: Option<&str>,
) -> rusqlite::Result<Option<String>> {
    let found = each(connection, store, visitor, moment, |row| {
        let (kind, own): (String, String) = (row.get("kind")?, row.get("id")?);
        let is_it = match id {
            Some(id) => own == id,
            None => row.get("needs_coupon")?,
        };
        Ok((kind == "promotion" && is_it).then_some(own))
    })?;
    Ok(found.into_iter().next())
}

/// What `read` makes of each that is open to the visitor.
fn each<T>(
    connection: &Connection,
    store: &Store,
    visitor: &Visitor,
    moment: &Moment,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<Option<T>>,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = connection.prepare_cached(OPEN)?;
    let day = moment.weekday.to_string();
    let mut rows = statement.query(params![store.id, moment.date, moment.time, day, moment.coupon])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        let scope = |column: &str| row.get::<_, Option<String>>(column);
        let account = scope("_account")?;
        let contact = scope("_contact")?;
        let membership = scope("membership_id")?;
        let open = account.is_none_or(|id| visitor.account_id.as_deref() == Some(&id))
            && contact.is_none_or(|id| visitor.contact_id.as_deref() == Some(&id))
            && membership.is_none_or(|id| visitor.memberships.contains(&id));
        if open {
            items.extend(read(row)?);
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of what is open at a day, a time and a day of the week, with a coupon.
    fn open(rows: &str, (date, time, weekday): (&str, &str, u8), coupon: Option<&str>) -> String {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(&format!(
                "create table store_promotion_v1 (name, starts_on, ends_on, starts_at, ends_at, days_of_week_list, coupon,
                    id default '', kind default 'promotion', description, membership_id, conditions_json, needs_live_check,
                    account_id, contact_id, store_id default 'here');
                 insert into store_promotion_v1 (name, starts_on, ends_on, starts_at, ends_at, days_of_week_list, coupon)
                    values {rows};"
            ))
            .unwrap();
        let store = Store {
            id: "here".to_owned(),
            ..Store::default()
        };
        let moment = Moment {
            date: date.to_owned(),
            time: time.to_owned(),
            weekday,
            coupon: coupon.map(str::to_owned),
        };
        let items = list(&connection, &store, &Visitor::default(), &moment).unwrap();
        let names = items.iter().map(|item| {
            let item: serde_json::Value = serde_json::from_slice(item).unwrap();
            item["name"].as_str().unwrap().to_owned()
        });
        names.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_promotion_is_open_from_its_first_day_to_the_end_of_its_last() {
        let rows = "('days', '2026-11-20', '2026-11-22', null, null, null, null),
            ('hours', '2026-11-20', '2026-11-22', '09:00:00.000Z', '17:00:00.000Z', null, null)";
        for (date, time, expected) in [
            ("2026-11-19", "23:59:59", ""),
            ("2026-11-20", "00:00:00", "days"),
            ("2026-11-20", "08:59:59", "days"),
            ("2026-11-20", "09:00:00", "days hours"),
            ("2026-11-20", "18:00:00", "days hours"),
            ("2026-11-21", "03:00:00", "days hours"),
            ("2026-11-22", "17:00:00", "days hours"),
            ("2026-11-22", "17:00:01", "days"),
            ("2026-11-22", "23:59:59", "days"),
            ("2026-11-23", "00:00:00", ""),
        ] {
            assert_eq!(open(rows, (date, time, 0), None), expected, "{date} {time}");
        }
    }

    #[test]
    fn a_promotion_is_open_on_its_days_of_the_week_and_to_who_has_its_coupon() {
        let rows =
            "('always', null, null, null, null, '', null), ('coupon', null, null, null, null, null, 'Tea10'),
            ('weekend', null, null, null, null, '6;0', null)";
        for (weekday, coupon, expected) in [
            (0, None, "always weekend"),
            (1, None, "always"),
            (6, None, "always weekend"),
            (1, Some("TEA10"), "always coupon"),
            (1, Some("Tea1"), "always"),
        ] {
            assert_eq!(
                open(rows, ("2026-11-22", "12:00:00", weekday), coupon),
                expected,
                "{weekday} {coupon:?}"
            );
        }
    }
}
