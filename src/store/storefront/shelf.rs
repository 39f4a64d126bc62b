//! What one visitor sees of a product: the one look that reads and orders share.
//!
//! Reads turn it into JSON ([`super::products`]), orders into items ([`super::items`]). So what was shown as purchasable
//! is taken, and what is refused was shown as what it is.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::model::clock::format_datetime;
use crate::store::outbox::Held;
use crate::store::storefront::offer::{self, Entry, Facts, Offer, Stock};
use crate::store::storefront::prices::Book;
use crate::store::storefront::stores::Store;
use crate::store::storefront::visitor::{self, Approval, Visitor};
use crate::store::storefront::{absent, first};

/// Looks at products with the eyes of one visitor.
pub struct Shelf<'a> {
    pub(super) connection: &'a Connection,
    pub(super) store: &'a Store,
    pub(super) visitor: &'a Visitor,
    pub(super) book: Book<'a>,
    held: &'a Held,
    now: String,
}

/// A product as the visitor sees it.
pub struct Seen {
    pub product_id: String,
    /// Of the book in effect.
    pub entry: Option<Entry>,
    pub tracked: Tracked,
    /// What the visitor's account may buy of it, where it is restricted.
    pub approval: Option<Approval>,
    pub offer: Offer,
}

impl Seen {
    /// Where its stock counts and is known.
    pub fn stock(&self) -> Option<Stock> {
        self.tracked.stock()
    }
}

/// Whether the stock of a product counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tracked {
    No,
    Known(Stock),
    /// It counts, and the cache mirrors no stock: nothing is known of it.
    Unknown,
}

impl Tracked {
    pub fn stock(self) -> Option<Stock> {
        match self {
            Self::Known(stock) => Some(stock),
            Self::No | Self::Unknown => None,
        }
    }
}

/// An order has no more of a product than its account is approved for.
fn cap(entry: &mut Entry, approval: Option<&Approval>) {
    if let Some(left) = approval.and_then(Approval::left) {
        entry.quantity_max = Some(entry.quantity_max.map_or(left, |most| most.min(left)));
    }
}

/// What decides of a product that the store shows, and of one that it does not.
const LISTED: &str =
    "select product_id, is_stock_tracked, available_on, discontinue_on, placeholder_for_id, is_master
    from store_product_v1 where store_id = ?1 and product_id = ?2";
const ELSEWHERE: &str =
    "select id as product_id, 0 as is_stock_tracked, available_on, discontinue_on, placeholder_for_id,
        coalesce(is_master, 0) as is_master
    from _of_product2 where id = ?1";

impl<'a> Shelf<'a> {
    /// `held` is what orders hold of the stock.
    pub fn new(connection: &'a Connection, store: &'a Store, visitor: &'a Visitor, held: &'a Held) -> Self {
        Self {
            now: format_datetime(visitor.now),
            book: Book::in_effect(store, visitor),
            connection,
            store,
            visitor,
            held,
        }
    }

    /// A product, whether or not the store shows it; `None` where the cache has none.
    pub fn see(&self, product_id: &str) -> rusqlite::Result<Option<Seen>> {
        let mut listed = self.connection.prepare_cached(LISTED)?;
        let mut rows = listed.query(params![self.store.id, product_id])?;
        if let Some(row) = rows.next()? {
            return self.look(row, false).map(Some);
        }
        let mut elsewhere = self.connection.prepare_cached(ELSEWHERE)?;
        let mut rows = elsewhere.query([product_id])?;
        rows.next()?.map(|row| self.look(row, true)).transpose()
    }

    /// A row of `store_product_v1`.
    pub(super) fn look(&self, row: &Row<'_>, is_elsewhere: bool) -> rusqlite::Result<Seen> {
        let product_id: String = row.get("product_id")?;
        let mut entry = self.book.entry(self.connection, &product_id)?;
        let is_restricted = entry.as_ref().is_some_and(|entry| entry.restricted);
        let approval = match is_restricted {
            true => self.approval(&product_id)?,
            false => None,
        };
        if let Some(entry) = &mut entry {
            cap(entry, approval.as_ref());
        }
        let tracked = match row.get("is_stock_tracked")? {
            true => self.tracked(&product_id)?,
            false => Tracked::No,
        };
        let stock = tracked.stock();
        let facts = Facts {
            is_elsewhere,
            is_approved: approval.is_some(),
            ..self.facts(row, &product_id, entry.as_ref(), stock)?
        };
        let unavailable_text = match entry {
            Some(_) => None,
            None => self.book.unavailable_text(self.connection)?,
        };
        let offer = offer::offer(entry.as_ref(), &facts, unavailable_text.as_deref());
        Ok(Seen {
            product_id,
            entry,
            tracked,
            approval,
            offer,
        })
    }

    fn approval(&self, product_id: &str) -> rusqlite::Result<Option<Approval>> {
        visitor::approval(self.connection, (self.store, self.visitor), self.held, product_id)
    }

    fn tracked(&self, product_id: &str) -> rusqlite::Result<Tracked> {
        let sql =
            "select available, is_backorderable from store_stock_v1 where store_id = ?1 and product_id = ?2";
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let found = first(self.connection, sql, params![self.store.id, product_id], read)?;
        let (in_org, backorderable) = match found {
            Some(found) => found,
            // A product that no location has is out of stock, as far as locations are known.
            None if self.is_stock_mirrored()? => (0.0, false),
            None => return Ok(Tracked::Unknown),
        };
        Ok(Tracked::Known(Stock {
            in_org,
            held: self.held.of(product_id)?,
            backorderable,
        }))
    }

    fn is_stock_mirrored(&self) -> rusqlite::Result<bool> {
        let sql = "select 1 from store_gap_v1 where object = 's_c__Stock_Level__c' and field is null";
        Ok(!self.connection.prepare_cached(sql)?.exists([])?)
    }

    fn facts(
        &self,
        row: &Row<'_>,
        id: &str,
        entry: Option<&Entry>,
        stock: Option<Stock>,
    ) -> rusqlite::Result<Facts> {
        let moment = |name: &str| row.get::<_, Option<String>>(name);
        let mut facts = Facts {
            is_store_disabled: self.store.disabled,
            is_master: row.get("is_master")?,
            is_early: moment("available_on")?.is_some_and(|from| from > self.now),
            is_over: moment("discontinue_on")?.is_some_and(|until| until <= self.now),
            stock,
            ..Facts::default()
        };
        if entry.is_some_and(|entry| entry.restricted) {
            facts.has_placeholder = self
                .connection
                .prepare_cached(
                    "select 1 from store_product_v1 where store_id = ?1 and placeholder_for_id = ?2",
                )?
                .exists(params![self.store.id, id])?;
        }
        if let Some(real) = moment("placeholder_for_id")? {
            facts.is_placeholder = true;
            let real_entry = self.book.entry(self.connection, &real)?;
            facts.is_needed_as_placeholder =
                real_entry.is_some_and(|entry| entry.restricted) && self.approval(&real)?.is_none();
        }
        Ok(facts)
    }

    /// Active products that have the code; codes need not be unique in an org.
    pub fn by_code(&self, code: &str) -> rusqlite::Result<Vec<Seen>> {
        let ids = self.ids_by_code(code)?;
        let seen = ids.iter().map(|id| self.see(id));
        let seen = seen.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(seen.into_iter().flatten().collect())
    }

    pub(super) fn ids_by_code(&self, code: &str) -> rusqlite::Result<Vec<String>> {
        let sql = "select id from product2 where productcode = ?1 and isactive = 1 order by id";
        let Some(mut statement) = absent(self.connection.prepare_cached(sql))? else {
            return Ok(Vec::new());
        };
        statement.query_map([code], |row| row.get(0))?.collect()
    }

    /// What the book in effect has for a product.
    pub(super) fn entry(&self, product_id: &str) -> rusqlite::Result<Option<Entry>> {
        self.book.entry(self.connection, product_id)
    }

    pub(super) fn entry_by_id(&self, id: &str) -> rusqlite::Result<Option<Entry>> {
        self.book.entry_by_id(self.connection, id)
    }

    /// The product of an entry of the book in effect.
    pub fn by_entry(&self, entry_id: &str) -> rusqlite::Result<Option<Seen>> {
        let Some(mut entry) = self.entry_by_id(entry_id)? else {
            return Ok(None);
        };
        let Some(product_id) = entry.product_id.clone() else {
            return Ok(None);
        };
        let seen = self.see(&product_id)?;
        Ok(seen.map(|seen| {
            cap(&mut entry, seen.approval.as_ref());
            Seen {
                entry: Some(entry),
                ..seen
            }
        }))
    }

    /// The picture that stands for a product.
    pub(super) fn image_url(&self, id: &str) -> rusqlite::Result<Option<String>> {
        let sql = "select url from store_media_v1 where store_id = ?1 and product_id = ?2 and coalesce(file_type, 'image') = 'image' \
             order by position is null, position, id limit 1";
        self.connection
            .prepare_cached(sql)?
            .query_row(params![self.store.id, id], |row| row.get(0))
            .optional()
    }
}
