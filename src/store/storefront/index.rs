//! Indexes that the storefront's queries need to stay quick.

use rusqlite::Connection;

use crate::store::storefront::absent;

/// Table and columns.
const INDEXES: &[(&str, &str)] = &[
    ("pricebookentry", "product2id, pricebook2id"),
    ("s_c__products_product_categories__c", "s_c__product_id__c"),
    ("s_c__products_product_categories__c", "s_c__category_id__c"),
    ("s_c__product_category__c", "s_c__taxonomy_id__c"),
    ("s_c__product_category_hierarchy__c", "s_c__child_id__c"),
    ("s_c__product_category_hierarchy__c", "s_c__parent_id__c"),
    ("s_c__taxonomy__c", "s_c__store_id__c"),
    ("s_c__product_variant__c", "s_c__variant_product_id__c"),
    ("s_c__product_variant__c", "s_c__master_product_id__c"),
    ("s_c__product_media__c", "s_c__product_id__c"),
    ("s_c__product_media__c", "s_c__media_id__c"),
    ("s_c__stock_level__c", "s_c__product_id__c"),
    ("s_c__trait__c", "s_c__product_id__c"),
    ("s_c__product_tax__c", "s_c__product_id__c"),
    ("s_c__permitted_restricted_product__c", "s_c__account_id__c"),
    ("product2", "productcode"),
    ("product2", "s_c__slug__c"),
    ("product2", "s_c__placeholder_for_id__c"),
    ("product2", "s_c__brand_id__c"),
    ("s_c__store__c", "s_c__code__c"),
    ("s_c__store__c", "s_c__domain__c"),
    ("s_c__zone_country__c", "s_c__country_id__c"),
    ("s_c__zone_state__c", "s_c__state_id__c"),
    ("s_c__zone_postcode__c", "s_c__postcode_id__c"),
    ("s_c__country__c", "s_c__code__c"),
    ("s_c__state__c", "s_c__code__c"),
    ("s_c__postcode__c", "s_c__code__c"),
    ("contact", "email collate nocase"),
    ("contact", "accountid"),
    ("contact", "external_id__c collate nocase"),
    ("contact", "s_c__sc_id__c collate nocase"),
    ("account", "s_c__pricebook_id__c"),
    ("account", "external_id__c collate nocase"),
    ("account", "s_c__sc_id__c collate nocase"),
    ("order", "accountid"),
    ("order", "billtocontactid"),
    ("order", "external_id__c collate nocase"),
    ("order", "s_c__sc_id__c collate nocase"),
    ("orderitem", "orderid"),
    ("asset", "accountid"),
    ("case", "accountid"),
    ("s_c__account_points_ledger__c", "s_c__account_id__c"),
    ("s_c__subscription__c", "s_c__contact_id__c"),
    ("s_c__booking__c", "s_c__bookable_event_id__c"),
];

/// Indexes of earlier versions that others have taken the place of.
const FORMER: [&str; 4] = [
    "storefront_contact_external_id__c",
    "storefront_contact_s_c__sc_id__c",
    "storefront_account_external_id__c",
    "storefront_account_s_c__sc_id__c",
];

/// Makes the indexes, as far as the cache has their tables and columns; repeating it costs nothing.
pub fn make(connection: &Connection) -> rusqlite::Result<()> {
    for (table, columns) in INDEXES {
        let name = columns.replace(", ", "_").replace(' ', "_");
        let made = connection.execute_batch(&format!(
            "create index if not exists storefront_{table}_{name} on \"{table}\" ({columns})"
        ));
        absent(made)?;
    }
    for name in FORMER {
        connection.execute_batch(&format!("drop index if exists {name}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_what_is_there() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("create table product2 (id text primary key, productcode text)")
            .unwrap();
        make(&connection).unwrap();
        make(&connection).unwrap();
        let sql = "select count(*) from sqlite_schema where type = 'index' and name like 'storefront%'";
        let made: i64 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(made, 1);
    }
}
