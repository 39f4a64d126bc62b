-- Which file this is, wherever it lies: the state directory notes it, so that another in its place is noticed.
create table identity (
    id text not null
) strict;
insert into identity (id) values (lower(hex(randomblob(8))));
