-- What is kept of projections that fail or are held up, and what operators did about it.

create table refold_parked (
    name         text not null,             -- the checkpoint
    key          text not null,             -- JSON array of the values of the row's key
    position     integer not null,          -- the event that failed; it and all later ones of that key wait
    stream       text not null,
    type         text not null,
    error        text not null,
    attempts     integer not null,
    since        integer not null,          -- microseconds since 1970
    owner        text not null,
    fingerprint  text not null,
    request      text not null,             -- what an operator wants done with it: retry, release, skip, or nothing
    request_id   text not null,
    requested_by text not null,
    reason       text not null,
    begun        integer not null,          -- how often an owner began with that, and no end is known
    primary key (name, key)
) strict;

create table refold_skipped (
    read_model  text not null,
    key         text not null,
    position    integer not null,
    fingerprint text not null,              -- it holds for this definition only
    actor       text not null,
    reason      text not null,
    at          integer not null,
    primary key (read_model, key, position, fingerprint)
) strict;

create table refold_attempts (
    name       text primary key,
    first      integer not null,            -- the events that are being tried
    last       integer not null,
    begun      integer not null,            -- attempts of which no end is known: it was written before each
    failed     integer not null,
    error      text not null,
    next_at    integer not null             -- microseconds since 1970
) strict;

create table refold_pauses (
    name   text primary key,                -- the read model
    actor  text not null,
    reason text not null,
    since  integer not null
) strict;

create table refold_operations (
    number    integer primary key,
    at        integer not null,             -- microseconds since 1970
    actor     text not null,
    operation text not null,
    target    text not null,
    reason    text not null,
    request   text not null,
    details   text not null                 -- JSON
) strict;

create trigger refold_operations_are_not_updated before update on refold_operations
begin
    select raise(abort, 'the log of operations is never changed');
end;
create trigger refold_operations_are_not_deleted before delete on refold_operations
begin
    select raise(abort, 'the log of operations is never changed');
end;
create trigger refold_operations_are_only_appended before insert on refold_operations
when new.number is not null and new.number <= coalesce((select max(number) from refold_operations), 0) and new.number > 0
begin
    select raise(abort, 'the log of operations is never changed');
end;
