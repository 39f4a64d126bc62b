-- Records that were asked for from beside the daemon. The door opens their entries in the ledger and takes them off
-- here, so that nothing but the door writes the ledger.
create table _asked (
    object text not null,
    record_id text not null,
    reason text not null,
    primary key (object, record_id)
) without rowid;
