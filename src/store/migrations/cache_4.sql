-- Which products each store's taxonomy leads to: three joins away in the org's tables, so kept here, and brought up to
-- date in the transaction of the change that moves a product. Whether a product is active is not part of it.
create table _store_product (
    store_id text not null,
    product_id text not null,
    category_id text,
    position real,
    -- The product that leads to it, for a variant without a category of its own.
    master_id text,
    primary key (store_id, product_id)
) without rowid;
create index _store_product_by_product on _store_product (product_id);

-- Products whose place has to be found again before the transaction commits; '*' is all of them.
create table _store_dirty (product_id text primary key) without rowid;

-- Where a record stood that has gone or moved, so that the change feed can name the stores that it left.
create table _departed (
    rev integer not null,
    object text not null,
    record_id text not null,
    first text,
    second text,
    primary key (object, record_id, rev)
) without rowid;
create index _departed_by_rev on _departed (rev);

-- Stores that the configuration makes of price books.
create table _book_store (
    id text primary key,
    name text not null,
    code text not null,
    domain text,
    path text,
    currency text,
    locale text,
    timezone text
) without rowid;

-- What views would read and the org does not have. A null field is the whole object.
create table _gap (object text not null, field text);
