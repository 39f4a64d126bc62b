//! Which products each store's taxonomy leads to, kept in `_store_product`.
//!
//! Triggers mark the products that a change may move; [`settle`] finds their places again within the same
//! transaction, so that a reader never sees a link without its effect. A batch that marks nothing costs one look
//! into an empty table.

use rusqlite::Connection;

/// One place per store and product: the primary category, else the one placed first.
const OWN: &str = "insert into _store_product (store_id, product_id, category_id, position)
    select store_id, product_id, category_id, position from (
        select store_id, product_id, category_id, position, row_number() over (
            partition by store_id, product_id order by is_primary desc, position is null, position, link_id) as place
        from _linked where {which})
    where place = 1";

/// A variant without a category of its own stands where its master does.
const BY_MASTER: &str =
    "insert or ignore into _store_product (store_id, product_id, category_id, position, master_id)
    select m.store_id, v.variant_product_id, m.category_id, m.position, v.master_product_id
    from _of_product_variant v
    join _store_product m on m.product_id = v.master_product_id and m.master_id is null
    where v.variant_product_id is not null and {which} order by v.id";

/// Memory for sorting the links of all products; what is more is merged from a file.
const SORT_KIBIBYTES: i64 = 2_048;

/// Finds the places of all products that were marked.
pub fn settle(connection: &Connection) -> rusqlite::Result<()> {
    if !connection
        .prepare_cached("select 1 from _store_dirty limit 1")?
        .exists([])?
    {
        return Ok(());
    }
    let all = connection
        .prepare_cached("select 1 from _store_dirty where product_id = '*'")?
        .exists([])?;
    let steps = if all {
        vec![
            "delete from _store_product".to_owned(),
            OWN.replace("{which}", "true"),
            BY_MASTER.replace("{which}", "true"),
        ]
    } else {
        let marked = "(select product_id from _store_dirty)";
        vec![
            format!(
                "insert or ignore into _store_dirty select variant_product_id from _of_product_variant \
                 where master_product_id in {marked} and variant_product_id is not null"
            ),
            format!("delete from _store_product where product_id in {marked}"),
            OWN.replace("{which}", &format!("product_id in {marked}")),
            BY_MASTER.replace("{which}", &format!("v.variant_product_id in {marked}")),
        ]
    };
    let settle = || {
        let mut steps = steps
            .iter()
            .map(String::as_str)
            .chain(["delete from _store_dirty"]);
        steps.try_for_each(|sql| connection.prepare_cached(sql)?.execute([]).map(drop))
    };
    if !all {
        return settle();
    }
    // A sort takes as much memory as the cache may have, beside it.
    let cache_size: i64 = connection.pragma_query_value(None, "cache_size", |row| row.get(0))?;
    connection.pragma_update(None, "cache_size", -SORT_KIBIBYTES)?;
    let settled = settle();
    connection.pragma_update(None, "cache_size", cache_size)?;
    settled
}
