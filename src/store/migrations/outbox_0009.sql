-- Keys are a store's own: two stores may use one key for two writes. A constraint of a table can only be left out of a
-- new one; its unique index has a name of its own, so that the next change of it needs no new table. References to the
-- table are by its name and are looked at when all is done.
create table writes_anew (
    sequence integer primary key,
    kind text not null check (
        kind in ('order', 'order_update') or kind in ('customer', 'case') or kind in ('lead', 'campaign_member')
        or kind in ('asset', 'form_submission')
    ),
    -- The org compares keys without regard to case.
    external_id text not null collate nocase,
    idempotency_key text,
    body_hash blob not null check (length(body_hash) = 32),
    store_id text not null,
    -- Writes of one lane are sent one at a time, in the order of their sequence.
    lane text not null,
    -- 1 behind another write of the lane, or of an order that is not in the org yet.
    behind integer not null default 0 check (behind in (0, 1)),
    priority integer not null,
    -- The order that has to be in the org first.
    parent integer references writes (sequence),
    customer text collate nocase,
    state text not null check (
        state in ('queued', 'waiting') or state in ('sending', 'sent') or state in ('confirmed', 'needs_attention')
        or state = 'discarded'
    ),
    -- Claims so far, and those of them that ended in trouble of the write's own.
    attempt integer not null default 0 check (attempt >= 0),
    failures integer not null default 0 check (failures >= 0),
    due_at integer,
    read_back integer not null default 0 check (read_back in (0, 1)),
    salesforce_id text,
    error_code text,
    error_message text,
    accepted_at integer not null,
    updated_at integer not null,
    email text collate nocase,
    -- 1: the person was deleted in the org before the write was finished; it is erased as soon as it is.
    forget integer not null default 0 check (forget in (0, 1)),
    -- When what it held was dropped; the key, the fingerprint and the outcome stay.
    emptied_at integer,
    is_open integer not null generated always as (state in ('queued', 'waiting') or state = 'sending') virtual,
    -- When a request left, by the org's clock, whose answer never came and that may have arrived; null otherwise.
    unanswered_at integer,
    -- The key under which the org has it, where that is not the store's own: another store used that first. Null: it is.
    org_key text collate nocase,
    check ((due_at is not null) = (state in ('queued', 'waiting'))),
    check ((salesforce_id is not null) or state not in ('sent', 'confirmed')),
    check ((error_code is not null) = (error_message is not null)),
    check ((error_code is not null) or state not in ('needs_attention', 'discarded')),
    check (error_code is null or state not in ('sent', 'confirmed')),
    check (attempt > 0 or state not in ('sending', 'sent') and state <> 'confirmed')
) strict;

insert into writes_anew (sequence, kind, external_id, idempotency_key, body_hash, store_id, lane, behind, priority, parent,
    customer, state, attempt, failures, due_at, read_back, salesforce_id, error_code, error_message, accepted_at,
    updated_at, email, forget, emptied_at, unanswered_at)
select sequence, kind, external_id, idempotency_key, body_hash, store_id, lane, behind, priority, parent,
    customer, state, attempt, failures, due_at, read_back, salesforce_id, error_code, error_message, accepted_at,
    updated_at, email, forget, emptied_at, unanswered_at
from writes order by sequence;

drop table writes;
alter table writes_anew rename to writes;

create unique index writes_key on writes (kind, external_id, store_id);
create unique index writes_idempotency on writes (kind, idempotency_key, store_id) where idempotency_key is not null;
create index writes_due on writes (priority, due_at, sequence) where behind = 0 and state in ('queued', 'waiting');
create index writes_parent on writes (parent) where parent is not null;
create index writes_sent on writes (sequence) where state = 'sent';
create index writes_state on writes (state, kind);
create index writes_kept on writes (updated_at)
    where emptied_at is null and state in ('confirmed', 'discarded');
create index writes_forget on writes (sequence) where forget = 1;
create index writes_email on writes (email, sequence) where email is not null;
create index writes_lane on writes (lane, is_open);
create index writes_customer on writes (customer) where customer <> lane;
create index writes_org_key on writes (org_key) where org_key is not null;
-- Of all but orders and what belongs to them, the record that the org made.
create index writes_record on writes (salesforce_id) where priority = 2 and salesforce_id is not null;

-- Where the key of a customer leads whose record went into another's: the org keeps that only for some days.
create table survivors (
    object text not null,
    key text not null collate nocase,
    record_id text not null,
    primary key (object, key)
) strict, without rowid;
create index survivors_record on survivors (record_id);
