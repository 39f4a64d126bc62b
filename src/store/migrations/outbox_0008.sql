-- What orders hold of the stock until the org has confirmed them: of each order, and in all.
create table holds (
    write_sequence integer not null references writes (sequence),
    product_id text not null,
    -- Quantities have two digits after the point.
    hundredths integer not null check (hundredths > 0),
    primary key (write_sequence, product_id)
) strict, without rowid;

create table held (
    product_id text not null primary key,
    hundredths integer not null check (hundredths > 0)
) strict, without rowid;
