//! The products that a store shows to a visitor, with what they are offered for.
//!
//! A product is shown when it is active, not archived, and has an active link into a category of the store's
//! taxonomy, or is a variant of a shown master. What its entry in the book in effect says of it is decided by
//! `offer`; a product without an entry is shown without a price.

use rusqlite::{Row, params, params_from_iter};

use crate::store::storefront::objects::Page;
use crate::store::storefront::offer::{Entry, Offer};
pub use crate::store::storefront::shelf::Shelf;
use crate::store::storefront::shelf::Tracked;
use crate::store::storefront::{Found, categories, is_id, json};

/// Which products.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The key after which the page begins: an id, or in a category its place, name and id.
    pub after: String,
    pub limit: usize,
    /// A category by id or path, with those below it.
    pub category: Option<String>,
    /// Columns of `store_product_v1` and the value that they must have.
    pub equal: Vec<(&'static str, String)>,
}

/// What list a product's JSON is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Item,
    /// With variants, media, traits and categories.
    Detail,
    /// Only what is offered.
    Price,
}

impl Shelf<'_> {
    /// One product by id, slug or code, where the visitor is shown it.
    pub fn find(&self, key: &str) -> rusqlite::Result<Found<Vec<u8>>> {
        for condition in [
            is_id(key).then_some("product_id = ?2"),
            Some("slug = ?2"),
            Some("product_code = ?2 order by product_id"),
        ] {
            let Some(condition) = condition else { continue };
            let sql = format!("select * from store_product_v1 where store_id = ?1 and {condition}");
            let mut statement = self.connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params![self.store.id, key])?;
            while let Some(row) = rows.next()? {
                if let Some(json) = self.json(row, Form::Detail)? {
                    return Ok(Found::Row(json));
                }
            }
        }
        Ok(Found::NoRow)
    }

    /// A page of products, by id.
    pub fn list(&self, query: &Query) -> rusqlite::Result<Found<Page>> {
        self.page(query, Form::Item)
    }

    /// A page of what products are offered for.
    pub fn prices(&self, query: &Query) -> rusqlite::Result<Found<Page>> {
        self.page(query, Form::Price)
    }

    fn page(&self, query: &Query, form: Form) -> rusqlite::Result<Found<Page>> {
        let mut values = vec![self.store.id.clone(), query.after.clone()];
        let mut sql = match &query.category {
            None => "select p.*, p.product_id as _key from store_product_v1 p where p.store_id = ?1 and p.product_id > ?2".to_owned(),
            Some(category) => {
                let Some(id) = categories::find(self.connection, &self.store.id, category)? else {
                    return Ok(Found::NoRow);
                };
                values.push(id);
                IN_CATEGORY.to_owned()
            }
        };
        for (column, value) in &query.equal {
            values.push(value.clone());
            sql.push_str(&format!(" and p.{column} = ?{}", values.len()));
        }
        sql.push_str(" order by _key");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let (mut items, mut last) = (Vec::new(), String::new());
        while let Some(row) = rows.next()? {
            let Some(json) = self.json(row, form)? else {
                continue;
            };
            if items.len() == query.limit {
                return Ok(Found::Row(Page {
                    items,
                    next: Some(last),
                }));
            }
            items.push(json);
            last = row.get("_key")?;
        }
        Ok(Found::Row(Page { items, next: None }))
    }

    /// A product as JSON; `None` where this visitor is not shown it.
    fn json(&self, row: &Row<'_>, form: Form) -> rusqlite::Result<Option<Vec<u8>>> {
        let seen = self.look(row, false)?;
        if !seen.offer.is_shown() {
            return Ok(None);
        }
        let id = &seen.product_id;
        let mut out = Vec::with_capacity(768);
        json::member(
            &mut out,
            b'{',
            if form == Form::Price { "product_id" } else { "id" },
            Some(id),
        );
        if form != Form::Price {
            self.describe(&mut out, row)?;
        }
        self.offered(&mut out, seen.entry.as_ref(), &seen.offer);
        if form != Form::Price {
            stocked(&mut out, seen.tracked);
            json::member(&mut out, b',', "image_url", self.image_url(id)?.as_deref());
        }
        if form == Form::Detail {
            self.details(&mut out, id, row)?;
        }
        out.push(b'}');
        Ok(Some(out))
    }

    fn describe(&self, out: &mut Vec<u8>, row: &Row<'_>) -> rusqlite::Result<()> {
        for name in [
            "name",
            "product_code",
            "sku",
            "slug",
            "family",
            "description",
            "summary_markdown",
            "brand_id",
            "brand_name",
            "master_id",
            "category_id",
            "available_on",
            "discontinue_on",
            "subscription_type",
        ] {
            json::member(out, b',', name, row.get::<_, Option<String>>(name)?.as_deref());
        }
        for (name, column) in [
            ("virtual", "is_virtual"),
            ("voucher", "is_voucher"),
            ("promotionable", "is_promotionable"),
        ] {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            json::flag(out, row.get(column)?);
        }
        Ok(())
    }

    fn offered(&self, out: &mut Vec<u8>, entry: Option<&Entry>, offer: &Offer) {
        let currency = entry
            .and_then(|entry| entry.currency.as_deref())
            .or(self.store.currency.as_deref());
        for (name, amount) in [("price", offer.price), ("list_price", offer.list_price)] {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            json::money(out, amount, currency);
        }
        json::member(out, b',', "price_text", offer.price_text.as_deref());
        for (name, flag) in [
            ("restricted", offer.restricted),
            ("purchasable", offer.broken.is_empty()),
        ] {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            json::flag(out, flag);
        }
        json::member(out, b',', "unavailable_reason", offer.reason());
        json::member(out, b',', "pricebook_id", self.book.id());
        json::member(
            out,
            b',',
            "pricebook_entry_id",
            entry.map(|entry| entry.id.as_str()),
        );
        json::member(
            out,
            b',',
            "tax_method",
            entry.and_then(|entry| entry.tax_method.as_deref()),
        );
        let most = entry
            .and_then(|entry| entry.quantity_max)
            .map_or("null".to_owned(), |most| most.to_string());
        out.extend_from_slice(format!(",\"order_quantity_max\":{most}").as_bytes());
    }

    fn details(&self, out: &mut Vec<u8>, id: &str, row: &Row<'_>) -> rusqlite::Result<()> {
        for (name, column) in [
            ("shipping_weight", "shipping_weight"),
            ("booking_minutes", "booking_minutes"),
        ] {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            json::value(out, row.get_ref(column)?);
        }
        json::member(
            out,
            b',',
            "shipping_weight_unit",
            row.get::<_, Option<String>>("shipping_weight_unit")?.as_deref(),
        );
        let methods: Option<String> = row.get("shipping_methods_list")?;
        let methods: Vec<&str> = methods
            .iter()
            .flat_map(|list| list.split(';'))
            .filter(|way| !way.is_empty())
            .collect();
        out.extend_from_slice(format!(",\"shipping_methods\":{}", serde_json::json!(methods)).as_bytes());
        for (name, sql) in DETAILS {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query(params![self.store.id, id])?;
            let mut open = b'[';
            while let Some(row) = rows.next()? {
                out.push(open);
                open = b',';
                json::view_row(out, row)?;
            }
            if open == b'[' {
                out.push(open);
            }
            out.push(b']');
        }
        Ok(())
    }
}

/// `null` where stock does not count; of stock that counts and is not known the members are `null`.
fn stocked(out: &mut Vec<u8>, tracked: Tracked) {
    out.extend_from_slice(b",\"stock\":");
    let stock = match tracked {
        Tracked::No => return out.extend_from_slice(b"null"),
        Tracked::Unknown => {
            return out.extend_from_slice(b"{\"available\":null,\"backorderable\":null}");
        }
        Tracked::Known(stock) => stock,
    };
    let (available, backorderable) = (stock.available(), stock.backorderable);
    out.extend_from_slice(
        format!("{{\"available\":{available},\"backorderable\":{backorderable}}}").as_bytes(),
    );
}

/// ?3 is the category; ordered by place, then name.
const IN_CATEGORY: &str = "with recursive below (category_id) as (
        select ?3 union select h.child_id from below b join _of_product_category_hierarchy h on h.parent_id = b.category_id),
    placed (product_id, place) as (
        select l.product_id, min(coalesce(l.position, 99999999)) from _linked l
        where l.store_id = ?1 and l.category_id in (select category_id from below) group by l.product_id)
    select p.*, printf('%012.3f', c.place) || ' ' || coalesce(p.name, '') || ' ' || p.product_id as _key
    from placed c join store_product_v1 p on p.product_id = c.product_id and p.store_id = ?1
    where printf('%012.3f', c.place) || ' ' || coalesce(p.name, '') || ' ' || p.product_id > ?2";

const DETAILS: [(&str, &str); 5] = [
    (
        "variants",
        "select v.product_id, v.type, v.value, v.label, p.name, p.product_code, p.slug from store_variant_v1 v \
         join store_product_v1 p on p.store_id = v.store_id and p.product_id = v.product_id \
         where v.store_id = ?1 and v.master_product_id = ?2 order by v.position is null, v.position, v.value, v.id",
    ),
    (
        "media",
        "select url, alt_text, file_type, category from store_media_v1 where store_id = ?1 and product_id = ?2 \
         order by position is null, position, id",
    ),
    (
        "traits",
        "select type, value, unit, is_filter from store_trait_v1 where store_id = ?1 and product_id = ?2 \
         order by position is null, position, id",
    ),
    (
        "categories",
        "select c.id, c.name, c.path from store_category_v1 c where c.store_id = ?1 and c.id in \
         (select l.category_id from _linked l where l.store_id = ?1 and l.product_id = ?2) order by c.id",
    ),
    (
        "components",
        "select x.component_product_id as product_id, x.min_quantity, x.max_quantity, x.default_quantity, \
         coalesce(x.required, 0) as is_required from _of_product_component x \
         where x.anchor_product_id = ?2 and ?1 is not null order by x.position is null, x.position, x.id",
    ),
];
