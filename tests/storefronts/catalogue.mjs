// A storefront in Node that reads the cache file itself, read-only: the store's products with their prices.
//
//   node catalogue.mjs CACHE_DB STORE_CODE
//
// Needs Node 22.13 or newer for node:sqlite.
import { DatabaseSync } from "node:sqlite";

const [file, code] = process.argv.slice(2);
const cache = new DatabaseSync(file, { readOnly: true });
// The views whose names end in _v1 are the contract; the tables beside them follow the org.
const products = cache.prepare(`
  select p.product_code, p.name, e.price_amount, e.currency
  from store_v1 s
  join store_product_v1 p on p.store_id = s.store_id
  left join store_price_v1 e
    on e.store_id = s.store_id and e.product_id = p.product_id and e.book_kind = 'store'
  where s.code = ? order by p.product_code`);
for (const row of products.all(code)) {
  console.log(`${row.product_code}\t${row.name}\t${row.price_amount ?? "-"}\t${row.currency ?? "-"}`);
}
cache.close();
