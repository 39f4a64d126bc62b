-- Most writes of a customer are in the lane that has the customer's key: one index finds both, and another those in
-- other lanes, so that a write that is accepted dirties a page less.
alter table writes add column is_open integer not null
    generated always as (state in ('queued', 'waiting') or state = 'sending') virtual;
drop index writes_open;
drop index writes_customer;
create index writes_lane on writes (lane, is_open);
create index writes_customer on writes (customer) where customer <> lane;
