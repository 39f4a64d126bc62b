//! Who is looking: which price book is in effect for them, and what they may see that others may not.
//!
//! An account's own book comes before that of a membership, and that before the store's. Which comes first when a
//! customer holds several memberships is not published: the one whose name sorts first is taken.

use rusqlite::{Connection, params};

use crate::model::clock::{Millis, format_datetime};
use crate::store::outbox::Held;
use crate::store::storefront::customers::Customer;
use crate::store::storefront::first;
use crate::store::storefront::stores::Store;

/// A visitor of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visitor {
    pub account_id: Option<String>,
    pub contact_id: Option<String>,
    pub memberships: Vec<String>,
    /// The book in effect; `None` where the store has none that is in use.
    pub book: Option<Book>,
    pub now: Millis,
}

impl Visitor {
    /// The record of the customer for whom alone it is shown; none of anyone.
    pub fn record_id(&self) -> Option<&str> {
        self.contact_id.as_deref().or(self.account_id.as_deref())
    }
}

/// A price book in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Book {
    pub id: String,
    /// Only what it holds can be bought, and nothing falls back to the store's book.
    pub kind: BookKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookKind {
    Store,
    Membership,
    Account,
}

/// The visitor: a customer, or anyone, with a membership that is named beside. `None` where there is no such membership.
pub fn find(
    connection: &Connection,
    store: &Store,
    customer: Option<Customer>,
    membership: Option<&str>,
    now: Millis,
) -> rusqlite::Result<Option<Visitor>> {
    let mut visitor = Visitor {
        now,
        ..Visitor::default()
    };
    let mut account_book = None;
    if let Some(customer) = customer {
        if customer.may_use_account_pricing {
            account_book.clone_from(&customer.account_book);
        }
        visitor.account_id = customer.account_id;
        visitor.contact_id = customer.contact_id;
        if let Some(account) = &visitor.account_id {
            let sql = "select membership_id from store_membership_v1 where account_id = ?1 order by name, membership_id";
            let mut held = connection.prepare_cached(sql)?;
            let held = held.query_map([account], |row| row.get(0))?;
            visitor.memberships = held.collect::<rusqlite::Result<_>>()?;
        }
    }
    if let Some(membership) = membership {
        if !connection
            .prepare_cached("select 1 from _of_membership where id = ?1")?
            .exists([membership])?
        {
            return Ok(None);
        }
        visitor.memberships.insert(0, membership.to_owned());
    }
    visitor.book = book(connection, store, account_book, &visitor.memberships)?;
    Ok(Some(visitor))
}

fn book(
    connection: &Connection,
    store: &Store,
    account_book: Option<String>,
    memberships: &[String],
) -> rusqlite::Result<Option<Book>> {
    let mut candidates: Vec<(BookKind, String)> = Vec::new();
    candidates.extend(account_book.map(|id| (BookKind::Account, id)));
    for membership in memberships {
        let sql = "select pricebook_id from _of_membership where id = ?1 and pricebook_id is not null";
        let found = first(connection, sql, [membership], |row| row.get::<_, String>(0))?;
        candidates.extend(found.map(|id| (BookKind::Membership, id)));
    }
    candidates.extend(store.pricebook_id.clone().map(|id| (BookKind::Store, id)));
    let mut inactive =
        connection.prepare_cached("select 1 from _of_pricebook2 where id = ?1 and isactive = 0")?;
    for (kind, id) in candidates {
        if !inactive.exists([&id])? {
            return Ok(Some(Book { id, kind }));
        }
    }
    Ok(None)
}

/// How much of a restricted product an account may buy.
#[derive(Clone, Debug, PartialEq)]
pub enum Approval {
    Unlimited,
    Limited {
        /// The record that says so.
        id: String,
        /// What the org has left of it.
        in_org: f64,
        /// What orders hold of that which the org does not know yet.
        held: f64,
    },
}

impl Approval {
    /// Whole pieces that are left to order; `None` where that is unlimited.
    #[expect(clippy::cast_possible_truncation, reason = "a count of pieces")]
    pub fn left(&self) -> Option<i64> {
        match self {
            Self::Unlimited => None,
            Self::Limited { in_org, held, .. } => Some((in_org - held).floor().max(0.0) as i64),
        }
    }
}

/// What an account is approved to buy of a restricted product now, by the product or a category it stands under: of
/// several approvals the one with the most left, and `None` where nothing is.
pub fn approval(
    connection: &Connection,
    (store, visitor): (&Store, &Visitor),
    held: &Held,
    product_id: &str,
) -> rusqlite::Result<Option<Approval>> {
    let Some(account) = &visitor.account_id else {
        return Ok(None);
    };
    let sql = "with recursive above (category_id) as (
            select category_id from _of_products_product_categories where product_id = ?2 and active = 1
            union select h.parent_id from above a join _of_product_category_hierarchy h on h.child_id = a.category_id)
        select p.id, coalesce(p.unlimited, 0), coalesce(p.approved_quantity, 0) - coalesce(p.purchased_quantity, 0)
        from _of_permitted_restricted_product p
        where p.account_id = ?1 and (p.store_id is null or p.store_id = ?3)
            and (p.product_id = ?2 or p.product_category_id in (select category_id from above))
            and (p.approved_from is null or p.approved_from <= ?4) and (p.approved_until is null or p.approved_until > ?4)
        order by p.id";
    let mut found = connection.prepare_cached(sql)?;
    let now = format_datetime(visitor.now);
    let mut rows = found.query(params![account, product_id, store.id, now])?;
    let mut most: Option<Approval> = None;
    while let Some(row) = rows.next()? {
        if row.get(1)? {
            return Ok(Some(Approval::Unlimited));
        }
        let id: String = row.get(0)?;
        let held = held.of(&id)?;
        let one = Approval::Limited {
            id,
            in_org: row.get(2)?,
            held,
        };
        if one.left() > most.as_ref().and_then(Approval::left) {
            most = Some(one);
        }
    }
    Ok(most.filter(|most| most.left() > Some(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-22T09:30:00.000Z";

    /// Rows: product, category, store, from, until, unlimited, approved quantity, purchased quantity.
    fn approval_of(row: &str) -> Option<Approval> {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(&format!(
                "create table _of_products_product_categories (product_id, category_id, active);
                 insert into _of_products_product_categories values ('tea', 'leaf', 1), ('tea', 'off', 0);
                 create table _of_product_category_hierarchy (parent_id, child_id);
                 insert into _of_product_category_hierarchy values ('root', 'leaf');
                 create table _of_permitted_restricted_product (id, account_id, product_id, product_category_id, store_id,
                    approved_from, approved_until, unlimited, approved_quantity, purchased_quantity);
                 insert into _of_permitted_restricted_product values ('a0b', 'acme', {row});"
            ))
            .unwrap();
        let store = Store {
            id: "here".to_owned(),
            ..Store::default()
        };
        let visitor = Visitor {
            account_id: Some("acme".to_owned()),
            now: crate::model::clock::parse_datetime(NOW).unwrap(),
            ..Visitor::default()
        };
        let held = Held::none();
        let found = |visitor: &Visitor| approval(&connection, (&store, visitor), &held, "tea").unwrap();
        assert_eq!(found(&Visitor::default()), None);
        found(&visitor)
    }

    fn approved(row: &str) -> bool {
        approval_of(row).is_some()
    }

    #[test]
    fn an_approval_is_for_so_many() {
        let left = |row: &str| approval_of(row).and_then(|found| found.left());
        assert_eq!(left("'tea', null, null, null, null, 0, 5, 3"), Some(2));
        assert_eq!(left("'tea', null, null, null, null, 1, 5, 3"), None);
        let held = Approval::Limited {
            id: String::new(),
            in_org: 5.0,
            held: 4.5,
        };
        assert_eq!(held.left(), Some(0));
    }

    #[test]
    fn an_account_s_book_comes_before_a_membership_s_and_that_before_the_store_s() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "create table _of_pricebook2 (id, isactive);
                 insert into _of_pricebook2 values ('own', 1), ('gold', 1), ('shop', 1), ('off', 0);
                 create table _of_membership (id, pricebook_id);
                 insert into _of_membership values ('golden', 'gold'), ('bookless', null), ('ended', 'off');",
            )
            .unwrap();
        let store = Store {
            pricebook_id: Some("shop".to_owned()),
            ..Store::default()
        };
        for (account, memberships, expected) in [
            (Some("own"), &["golden"][..], ("own", BookKind::Account)),
            (None, &["bookless", "golden"], ("gold", BookKind::Membership)),
            (Some("off"), &["ended", "golden"], ("gold", BookKind::Membership)),
            (Some("off"), &["ended"], ("shop", BookKind::Store)),
            (None, &[], ("shop", BookKind::Store)),
        ] {
            let held: Vec<String> = memberships.iter().map(|id| (*id).to_owned()).collect();
            let found = book(&connection, &store, account.map(str::to_owned), &held);
            let found = found.unwrap().unwrap();
            assert_eq!(
                (found.id.as_str(), found.kind),
                expected,
                "{account:?} {memberships:?}"
            );
        }
        let found = book(&connection, &Store::default(), None, &[]).unwrap();
        assert_eq!(found, None);
    }

    #[test]
    fn an_approval_ends_with_its_time_and_its_quantity() {
        let (before, later) = ("2026-11-22T09:29:59.999Z", "2026-11-22T09:30:00.001Z");
        for (row, expected) in [
            ("'tea', null, null, null, null, 0, 5, 4".to_owned(), true),
            ("'tea', null, null, null, null, 0, 5, 5".to_owned(), false),
            ("'tea', null, null, null, null, 0, 5, null".to_owned(), true),
            ("'tea', null, null, null, null, 0, null, null".to_owned(), false),
            ("'tea', null, null, null, null, 1, 5, 9".to_owned(), true),
            (format!("'tea', null, null, '{NOW}', null, 1, 0, 0"), true),
            (format!("'tea', null, null, '{later}', null, 1, 0, 0"), false),
            (format!("'tea', null, null, null, '{NOW}', 1, 0, 0"), false),
            (format!("'tea', null, null, null, '{later}', 1, 0, 0"), true),
            (format!("'tea', null, null, null, '{before}', 1, 0, 0"), false),
        ] {
            assert_eq!(approved(&row), expected, "{row}");
        }
    }

    #[test]
    fn an_approval_is_for_a_product_or_what_it_stands_under_in_a_store_or_all() {
        for (product, category, store, expected) in [
            ("'tea'", "null", "null", true),
            ("'tea'", "null", "'here'", true),
            ("'tea'", "null", "'there'", false),
            ("'cup'", "null", "null", false),
            ("null", "'leaf'", "null", true),
            ("null", "'root'", "null", true),
            ("null", "'off'", "null", false),
        ] {
            let row = format!("{product}, {category}, {store}, null, null, 1, null, null");
            assert_eq!(approved(&row), expected, "{row}");
        }
    }
}
