//! Promotions, discounts and legacy codes that are open to a visitor now, as far as data tells.

use rusqlite::{Connection, params};

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

/// What is open: within its days and times, in this store, to this customer, and with a coupon only to who has it.
pub fn list(
    connection: &Connection,
    store: &Store,
    visitor: &Visitor,
    moment: &Moment,
) -> rusqlite::Result<Vec<Vec<u8>>> {
    // The coupon is not part of the answer: whoever has it has it.
    let sql = "select id, kind, name, description, starts_on, ends_on, starts_at, ends_at, days_of_week_list, membership_id,
            conditions_json, coupon is not null as needs_coupon, needs_live_check, account_id as _account, contact_id as _contact
        from store_promotion_v1 where store_id = ?1
            and (starts_on is null or starts_on <= ?2) and (ends_on is null or ends_on >= ?2)
            and (starts_at is null or starts_on is not ?2 or substr(starts_at, 1, 8) <= ?3)
            and (ends_at is null or ends_on is not ?2 or substr(ends_at, 1, 8) >= ?3)
            and (coalesce(days_of_week_list, '') = '' or instr(days_of_week_list, ?4) > 0)
            and (coupon is null or lower(coupon) = lower(?5))
        order by kind desc, name, id";
    let mut statement = connection.prepare_cached(sql)?;
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
            let mut out = Vec::with_capacity(512);
            json::view_row(&mut out, row)?;
            items.push(out);
        }
    }
    Ok(items)
}
