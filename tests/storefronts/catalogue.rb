# A storefront in Ruby that reads the cache file itself, read-only: the store's products with their prices.
#
#   ruby catalogue.rb CACHE_DB STORE_CODE
#
# Needs the gem sqlite3, on Debian the package ruby-sqlite3.
require "sqlite3"

file, code = ARGV
cache = SQLite3::Database.new(file, readonly: true)
# The views whose names end in _v1 are the contract; the tables beside them follow the org.
query = <<~SQL
  select p.product_code, p.name, e.price_amount, e.currency
  from store_v1 s
  join store_product_v1 p on p.store_id = s.store_id
  left join store_price_v1 e
    on e.store_id = s.store_id and e.product_id = p.product_id and e.book_kind = 'store'
  where s.code = ? order by p.product_code
SQL
cache.execute(query, [code]) do |product_code, name, amount, currency|
  puts [product_code, name, amount ? format("%g", amount) : "-", currency || "-"].join("\t")
end
