//! Customers: who they are, and what they have across all stores.

use rusqlite::{Connection, Row, params};
use serde_json::Value;

use crate::model::clock::{Millis, parse_datetime};
use crate::store::storefront::{absent, first, is_id, json};

/// A customer: a contact with its account, or an account alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Customer {
    pub contact_id: Option<String>,
    pub account_id: Option<String>,
    pub external_id: Option<String>,
    pub email: Option<String>,
    pub account_book: Option<String>,
    pub may_use_account_pricing: bool,
}

impl Customer {
    /// The contact, or the account of who is none.
    pub fn record_id(&self) -> Option<&str> {
        self.contact_id.as_deref().or(self.account_id.as_deref())
    }
}

/// What a customer is looked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By<'a> {
    Id(&'a str),
    /// What storefronts know the customer by, in any case of letters.
    Key(&'a str),
    Email(&'a str),
}

/// The ways in which one text may name a customer; the first that finds anybody decides.
pub fn ways(name: &str) -> [By<'_>; 3] {
    [By::Id(name), By::Key(name), By::Email(name)]
}

/// Where a customer may be. Contacts come before accounts: a person who logs in is a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Contact,
    Account,
}

impl Place {
    pub const ALL: [Self; 2] = [Self::Contact, Self::Account];

    pub fn object(self) -> &'static str {
        match self {
            Self::Contact => "Contact",
            Self::Account => "Account",
        }
    }
}

/// Whom a look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    One(Customer),
    Nobody,
    /// An address that several contacts have names none of them.
    Several,
}

/// Looks in one place in one way.
pub fn find(connection: &Connection, place: Place, by: By<'_>) -> rusqlite::Result<Looked> {
    let (conditions, name): (&[&str], _) = match by {
        By::Id(id) if is_id(id) => (&["id = ?1"], id),
        By::Key(key) => (
            &["external_id = ?1 collate nocase", "sc_id = ?1 collate nocase"],
            key,
        ),
        By::Email(email) if email.contains('@') && place == Place::Contact => {
            (&["email = ?1 collate nocase"], email)
        }
        By::Id(_) | By::Email(_) => (&[], ""),
    };
    for condition in conditions {
        let mut found = match place {
            Place::Contact => {
                let sql = format!(
                    "select id, accountid, coalesce(external_id, sc_id), email, coalesce(can_use_account_pricing, 0) \
                     from _of_contact where {condition} order by id limit 2"
                );
                all(connection, &sql, name, contact)?
            }
            Place::Account => {
                let sql = format!(
                    "select id, coalesce(external_id, sc_id) from _of_account where {condition} order by id limit 2"
                );
                all(connection, &sql, name, account)?
            }
        };
        if found.len() > 1 && matches!(by, By::Email(_)) {
            return Ok(Looked::Several);
        }
        found.truncate(1);
        if let Some(mut customer) = found.pop() {
            if let Some(account) = &customer.account_id {
                let sql = "select pricebook_id from _of_account where id = ?1";
                customer.account_book = first(connection, sql, [account], |row| row.get(0))?.flatten();
            }
            return Ok(Looked::One(customer));
        }
    }
    Ok(Looked::Nobody)
}

/// When a customer's record was made in the org; `None` where the cache does not tell.
pub fn created_at(connection: &Connection, place: Place, id: &str) -> rusqlite::Result<Option<Millis>> {
    let object = place.object().to_ascii_lowercase();
    let sql = format!("select createddate from \"{object}\" where id = ?1");
    let found = absent(first(connection, &sql, [id], |row| {
        row.get::<_, Option<String>>(0)
    }))?;
    Ok(found.flatten().flatten().and_then(|at| parse_datetime(&at)))
}

/// The id of the account that has a key.
pub fn account_of_key(connection: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    match find(connection, Place::Account, By::Key(key))? {
        Looked::One(account) => Ok(account.account_id),
        Looked::Nobody | Looked::Several => Ok(None),
    }
}

/// Whether another store has sold to an account, as far as orders name their store.
pub fn is_sold_to_by_another(
    connection: &Connection,
    account_id: &str,
    store_id: &str,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("select 1 from _of_order where accountid = ?1 and store_id <> ?2 limit 1")?
        .exists(params![account_id, store_id])
}

/// Whether an account has contacts besides one.
pub fn has_others(connection: &Connection, account_id: &str, contact_id: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("select 1 from _of_contact where accountid = ?1 and id <> ?2 limit 1")?
        .exists([account_id, contact_id])
}

/// Whether an account has a contact of a key besides one.
pub fn has_other_of_key(
    connection: &Connection,
    account_id: &str,
    key: &str,
    contact_id: &str,
) -> rusqlite::Result<bool> {
    let sql = "select 1 from _of_contact
        where accountid = ?1 and coalesce(external_id, sc_id) = ?2 collate nocase and id <> ?3 limit 1";
    connection
        .prepare_cached(sql)?
        .exists([account_id, key, contact_id])
}

/// The key of an account.
pub fn account_key(connection: &Connection, id: &str) -> rusqlite::Result<Option<String>> {
    let sql = "select coalesce(external_id, sc_id) from _of_account where id = ?1";
    Ok(first(connection, sql, [id], |row| row.get(0))?.flatten())
}

fn all<T>(
    connection: &Connection,
    sql: &str,
    name: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare_cached(sql)?.query_map([name], read)?.collect()
}

/// The id of 18 characters of a contact's or an account's of 15: three more say which letters are capitals.
pub fn whole_id(id: &str) -> Option<String> {
    let plain = id.len() == 15 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !plain || !(id.starts_with("003") || id.starts_with("001")) {
        return None;
    }
    let capitals = |five: &[u8]| {
        let bits = five.iter().enumerate();
        bits.fold(0, |sum, (place, byte)| {
            sum | usize::from(byte.is_ascii_uppercase()) << place
        })
    };
    let check = id.as_bytes().chunks(5).map(capitals);
    let check = check.map(|sum| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[sum]));
    Some(id.chars().chain(check).collect())
}

fn contact(row: &Row<'_>) -> rusqlite::Result<Customer> {
    Ok(Customer {
        contact_id: row.get(0)?,
        account_id: row.get(1)?,
        external_id: row.get(2)?,
        email: row.get(3)?,
        may_use_account_pricing: row.get(4)?,
        account_book: None,
    })
}

/// Whoever names the account itself speaks for it.
fn account(row: &Row<'_>) -> rusqlite::Result<Customer> {
    Ok(Customer {
        account_id: row.get(0)?,
        external_id: row.get(1)?,
        may_use_account_pricing: true,
        ..Customer::default()
    })
}

/// A customer as JSON: contact, account, memberships, points by store, subscriptions.
pub fn describe(connection: &Connection, customer: &Customer) -> rusqlite::Result<Value> {
    let (contact, account) = (customer.contact_id.as_deref(), customer.account_id.as_deref());
    let all = |sql: &str, key: Option<&str>| rows(connection, sql, params![key]);
    let one = |sql: &str, key: Option<&str>| Ok::<_, rusqlite::Error>(all(sql, key)?.into_iter().next());
    Ok(serde_json::json!({
        "id": contact.or(account),
        "external_id": customer.external_id,
        "contact": one(CONTACT, contact)?,
        "account": one(ACCOUNT, account)?,
        "memberships": all(
            "select membership_id as id, name, pricebook_id from store_membership_v1 where account_id = ?1 order by name, membership_id",
            account,
        )?,
        "points": all(
            "select sum(points) as points, store_id, points_usage as \"usage\" from store_loyalty_v1 where account_id = ?1 \
             group by store_id, points_usage order by points_usage, store_id",
            account,
        )?,
        "subscriptions": all("select * from store_subscription_v1 where contact_id = ?1 order by id", contact)?,
    }))
}

const CONTACT: &str = "select id, name, firstname as first_name, lastname as last_name, email, phone, external_id, sc_id,
        store_id as home_store_id, mailingstreet as street, mailingcity as city, mailingstate as state,
        mailingpostalcode as postal_code, mailingcountry as country,
        coalesce(can_use_account_pricing, 0) as can_use_account_pricing, coalesce(can_use_account_points, 0) as can_use_account_points,
        coalesce(can_use_account_credit, 0) as can_use_account_credit, coalesce(can_purchase_for_account, 0) as can_purchase_for_account
    from _of_contact where id = ?1";

const ACCOUNT: &str = "select id, name, external_id, sc_id, pricebook_id, coalesce(pay_by_account, 0) as can_pay_by_account,
        coalesce(credit_hold, 0) as is_on_credit_hold, account_points_balance as points_balance, currencyisocode as currency,
        account_credit_balance as credit_balance_amount
    from _of_account where id = ?1";

/// What a customer has a list of, across all stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Orders,
    Assets,
    Cases,
    Points,
}

impl Kind {
    /// ?1 is the contact, ?2 the account where all that is the account's is to be seen, ?3 the ids of further ones.
    fn sql(self) -> &'static str {
        match self {
            Self::Orders => {
                "select o.id, o.ordernumber as order_number, coalesce(o.external_id, o.sc_id) as external_id, o.status,
                    o.effectivedate as effective_date, o.submitted_date, o.currencyisocode as currency, o.totalamount as total_amount,
                    o.store_id, 'confirmed' as state
                 from _of_order o where o.id in (select id from _of_order where accountid = ?2
                    union select id from _of_order where billtocontactid = ?1 union select value from json_each(?3))"
            }
            Self::Assets => {
                "select o.id, o.name, o.product_id, o.serial_number, o.status, o.purchased_on, o.quantity, o.currency,
                    o.price_amount
                 from store_asset_v1 o where (o.contact_id = ?1 or o.account_id = ?2 or o.id in (select value from json_each(?3)))"
            }
            Self::Cases => {
                "select o.id, o.casenumber as case_number, o.subject, o.status, o.origin, coalesce(o.isclosed, 0) as is_closed
                 from _of_case o where (o.contactid = ?1 or o.accountid = ?2 or o.id in (select value from json_each(?3)))"
            }
            Self::Points => {
                "select o.id, o.entry_type, o.points_value as points, o.expires_at, o.\"usage\", o.reason_code, o.store_id,
                    coalesce(o.activated, 0) as is_activated
                 from _of_account_points_ledger o
                 where (o.contact_id = ?1 or o.account_id = ?2 or o.id in (select value from json_each(?3)))"
            }
        }
    }
}

const LINES: &str = "select i.id, i.product2id as product_id, i.quantity, o.currencyisocode as currency, i.unitprice as unit_price_amount,
        i.totalprice as total_amount
    from _of_orderitem i join _of_order o on o.id = i.orderid where i.orderid = ?1 order by i.id";

/// What a page is about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub customer: &'a Customer,
    pub kind: Kind,
    /// Whether a contact sees what the others of the account have.
    pub shares_account: bool,
    /// Ids of records that are the customer's whatever the org's rows say.
    pub own: &'a [String],
}

/// A page of what a customer has, by id. Points are the account's, whoever earned them.
pub fn list(
    connection: &Connection,
    asked: Asked<'_>,
    after: &str,
    limit: usize,
) -> rusqlite::Result<(Vec<Value>, Option<String>)> {
    let Asked { customer, kind, .. } = asked;
    let sees_all = asked.shares_account || kind == Kind::Points || is_alone(connection, customer)?;
    let account_id = customer.account_id.as_ref().filter(|_| sees_all);
    let own = Value::from(asked.own).to_string();
    let sql = format!("{} and o.id > ?4 order by o.id limit ?5", kind.sql());
    let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut items = rows(
        connection,
        &sql,
        params![customer.contact_id, account_id, own, after, most],
    )?;
    if kind == Kind::Orders {
        for order in &mut items {
            order["items"] = rows(connection, LINES, params![order["id"].as_str()])?.into();
        }
    }
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items
        .last()
        .and_then(|item| item["id"].as_str())
        .map(str::to_owned);
    Ok((items, last.filter(|_| more)))
}

/// Whether the account is the customer's alone: it is a person account, or the customer was named as the account.
fn is_alone(connection: &Connection, customer: &Customer) -> rusqlite::Result<bool> {
    let Some(contact) = &customer.contact_id else {
        return Ok(true);
    };
    let read = |row: &Row<'_>| Ok(row.get::<_, Option<bool>>("ispersonaccount").unwrap_or_default());
    let is_person = absent(first(
        connection,
        "select * from contact where id = ?1",
        [contact],
        read,
    ))?;
    Ok(is_person.flatten().flatten().unwrap_or(false))
}

/// Whether the org's orders hold one with this id or key, whatever the key's case.
pub fn has_order(connection: &Connection, salesforce_id: Option<&str>, key: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("select 1 from _of_order where id = ?1 or external_id = ?2 collate nocase or sc_id = ?2 collate nocase")?
        .exists(params![salesforce_id, key])
}

fn rows(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> rusqlite::Result<Vec<Value>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        let mut out = Vec::with_capacity(256);
        json::view_row(&mut out, row)?;
        items.push(serde_json::from_slice(&out).unwrap_or(Value::Null));
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contacts() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "create table _of_contact (id, accountid, external_id, sc_id, email, can_use_account_pricing, store_id);
                 create table _of_account (id, external_id, sc_id, pricebook_id);",
            )
            .unwrap();
        connection
    }

    /// Whom the ways find that one name is tried in, without merges.
    fn named(connection: &Connection, name: &str) -> Looked {
        for by in ways(name) {
            for place in Place::ALL {
                match find(connection, place, by).unwrap() {
                    Looked::Nobody => {}
                    found => return found,
                }
            }
        }
        Looked::Nobody
    }

    #[test]
    fn an_address_names_the_one_contact_that_has_it() {
        let connection = contacts();
        connection
            .execute_batch(
                "insert into _of_contact (id, email, store_id) values ('1', 'ana@a.example', 'there'),
                    ('2', 'ana@a.example', 'here'), ('4', 'bob@a.example', 'there');",
            )
            .unwrap();
        assert_eq!(named(&connection, "Ana@a.example"), Looked::Several);
        assert_eq!(named(&connection, "eve@a.example"), Looked::Nobody);
        let Looked::One(found) = named(&connection, "BOB@a.example") else {
            panic!("one contact has the address");
        };
        assert_eq!(found.contact_id.as_deref(), Some("4"));
    }

    #[test]
    fn the_external_id_comes_before_the_other_key_and_contacts_before_accounts() {
        let connection = contacts();
        connection
            .execute_batch(
                "insert into _of_contact (id, external_id, sc_id) values ('1', 'B', 'A'), ('2', 'A', 'C'), ('3', null, 'D');
                 insert into _of_account (id, external_id, sc_id) values ('9', 'A', null), ('8', 'E', 'D');",
            )
            .unwrap();
        for (key, expected) in [
            ("A", ("2", "A")),
            ("b", ("1", "B")),
            ("C", ("2", "A")),
            ("D", ("3", "D")),
            ("e", ("8", "E")),
        ] {
            let Looked::One(found) = named(&connection, key) else {
                panic!("{key} names a customer");
            };
            let id = found.contact_id.or(found.account_id).unwrap();
            assert_eq!(
                (id.as_str(), found.external_id.as_deref().unwrap()),
                expected,
                "{key}"
            );
        }
    }

    #[test]
    fn the_last_page_names_no_next_one_though_it_is_full() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "create table _of_case (id, casenumber, subject, status, origin, isclosed, contactid, accountid);
                 insert into _of_case (id, contactid) values ('1', 'me'), ('2', 'me'), ('3', 'you'), ('4', 'me'), ('5', 'me');",
            )
            .unwrap();
        let me = Customer {
            contact_id: Some("me".to_owned()),
            ..Customer::default()
        };
        let page = |after, limit| {
            let asked = Asked {
                customer: &me,
                kind: Kind::Cases,
                shares_account: true,
                own: &[],
            };
            let (items, next) = list(&connection, asked, after, limit).unwrap();
            let ids = items.iter().map(|item| item["id"].as_str().unwrap());
            (ids.collect::<Vec<_>>().join(" "), next)
        };
        assert_eq!(page("", 2), ("1 2".to_owned(), Some("2".to_owned())));
        assert_eq!(page("2", 2), ("4 5".to_owned(), None));
        assert_eq!(page("", 3), ("1 2 4".to_owned(), Some("4".to_owned())));
        assert_eq!(page("4", 3), ("5".to_owned(), None));
    }

    #[test]
    fn an_id_of_fifteen_characters_is_that_of_eighteen() {
        for (id, whole) in [
            ("0035e00000AbCdE", Some("0035e00000AbCdEAAV")),
            ("001000000000001", Some("001000000000001AAA")),
            ("00300000003T2PG", Some("00300000003T2PGAA0")),
            ("a01000000000001", None),
            ("C-7", None),
        ] {
            assert_eq!(whole_id(id).as_deref(), whole, "{id}");
        }
    }
}
