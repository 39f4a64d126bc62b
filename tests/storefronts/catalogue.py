"""A storefront in Python that reads the cache file itself, read-only: the store's products with their prices.

    python3 catalogue.py CACHE_DB STORE_CODE
"""

import sqlite3
import sys
from pathlib import Path

QUERY = """
    select p.product_code, p.name, e.price_amount, e.currency
    from store_v1 s
    join store_product_v1 p on p.store_id = s.store_id
    left join store_price_v1 e
        on e.store_id = s.store_id and e.product_id = p.product_id and e.book_kind = 'store'
    where s.code = ? order by p.product_code
"""

file, code = sys.argv[1:]
# The views whose names end in _v1 are the contract; the tables beside them follow the org.
cache = sqlite3.connect(f"{Path(file).resolve().as_uri()}?mode=ro", uri=True)
for product_code, name, amount, currency in cache.execute(QUERY, (code,)):
    print(product_code, name, "-" if amount is None else f"{amount:g}", currency or "-", sep="\t")
