-- Every kind of write, not orders alone; the requests and answers of attempts; what people did.
create table writes (
    sequence integer primary key,
    kind text not null check (
        kind in ('order', 'order_update', 'customer', 'case', 'lead', 'campaign_member', 'asset', 'form_submission')
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
    body text not null,
    state text not null check (
        state in ('queued', 'sending', 'waiting', 'sent', 'confirmed', 'needs_attention', 'discarded')
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
    unique (kind, external_id),
    check ((due_at is not null) = (state in ('queued', 'waiting'))),
    check ((salesforce_id is not null) or state not in ('sent', 'confirmed')),
    check ((error_code is not null) = (error_message is not null)),
    check ((error_code is not null) or state not in ('needs_attention', 'discarded')),
    check (error_code is null or state not in ('sent', 'confirmed')),
    check (attempt > 0 or state not in ('sending', 'sent', 'confirmed'))
) strict;

insert into writes (sequence, kind, external_id, idempotency_key, body_hash, store_id, lane, behind, priority, body, state,
    attempt, failures, due_at, read_back, salesforce_id, error_code, error_message, accepted_at, updated_at, customer)
select sequence, 'order', external_id, idempotency_key, body_hash, store_id, lane,
    state in ('queued', 'waiting') and exists (
        select 1 from orders ahead where ahead.lane = orders.lane and ahead.sequence < orders.sequence
            and ahead.state in ('queued', 'waiting', 'sending')
    ),
    0, body, state, attempt, failures, due_at, read_back, salesforce_id, error_code, error_message, accepted_at, updated_at,
    body ->> '$.customer.external_id'
from orders;

create table write_attempts (
    write_sequence integer not null references writes (sequence),
    attempt integer not null check (attempt > 0),
    began_at integer not null,
    -- Null while it runs.
    ended_at integer,
    -- The state the write was left in.
    state text,
    error_code text,
    error_message text,
    -- What was asked of the org and what it answered, each cut to a size.
    request text,
    response text,
    primary key (write_sequence, attempt),
    check ((ended_at is not null) = (state is not null)),
    check ((error_code is not null) = (error_message is not null))
) strict;

insert into write_attempts (write_sequence, attempt, began_at, ended_at, state, error_code, error_message)
select order_sequence, attempt, began_at, ended_at, state, error_code, error_message from attempts;

drop table attempts;
drop table orders;
alter table write_attempts rename to attempts;

create index writes_due on writes (priority, due_at, sequence) where behind = 0 and state in ('queued', 'waiting');
create index writes_open on writes (lane, sequence) where state in ('queued', 'waiting', 'sending');
create index writes_parent on writes (parent) where parent is not null;
create index writes_sent on writes (sequence) where state = 'sent';
create index writes_state on writes (state, kind);
create index writes_customer on writes (customer, sequence) where customer is not null;
create unique index writes_idempotency on writes (kind, idempotency_key) where idempotency_key is not null;

-- What people did to a write: never changed, never removed.
create table audit (
    number integer primary key,
    write_sequence integer not null references writes (sequence),
    at integer not null,
    action text not null check (action in ('retry', 'edit', 'discard', 'reopen')),
    actor text not null,
    reason text,
    -- What an edit changed: [{"path", "from", "to"}].
    diff text
) strict;

create index audit_write on audit (write_sequence, number);
