-- A list of more than two values is a table that SQLite makes anew for every row it checks: the same checks, in pairs.
-- What they let in stays the same, so that the rows need no look.
pragma writable_schema = on;
update sqlite_schema set sql = replace(replace(replace(sql,
    'kind in (''order'', ''order_update'', ''customer'', ''case'', ''lead'', ''campaign_member'', ''asset'', ''form_submission'')',
    'kind in (''order'', ''order_update'') or kind in (''customer'', ''case'') or kind in (''lead'', ''campaign_member'')
        or kind in (''asset'', ''form_submission'')'),
    'state in (''queued'', ''sending'', ''waiting'', ''sent'', ''confirmed'', ''needs_attention'', ''discarded'')',
    'state in (''queued'', ''waiting'') or state in (''sending'', ''sent'') or state in (''confirmed'', ''needs_attention'')
        or state = ''discarded'''),
    'state not in (''sending'', ''sent'', ''confirmed'')',
    'state not in (''sending'', ''sent'') and state <> ''confirmed''')
where name = 'writes';
pragma writable_schema = reset;

drop index writes_open;
create index writes_open on writes (lane, sequence) where state in ('queued', 'waiting') or state = 'sending';
