-- What is kept of projections that fail or are held up, and what operators did about it.

create table @schema@.parked (
    name         text collate "C" not null,     -- the checkpoint
    key          text collate "C" not null,     -- JSON array of the values of the row's key
    position     bigint not null,               -- the event that failed; it and all later ones of that key wait
    stream       text not null,
    type         text not null,
    error        text not null,
    attempts     bigint not null,
    since        bigint not null,               -- microseconds since 1970
    owner        text not null,
    fingerprint  text not null,
    request      text not null,                 -- what an operator wants done with it: retry, release, skip, or nothing
    request_id   text not null,
    requested_by text not null,
    reason       text not null,
    begun        bigint not null,               -- how often an owner began with that, and no end is known
    primary key (name, key)
);

create table @schema@.skipped (
    read_model  text collate "C" not null,
    key         text collate "C" not null,
    position    bigint not null,
    fingerprint text collate "C" not null,      -- it holds for this definition only
    actor       text not null,
    reason      text not null,
    at          bigint not null,
    primary key (read_model, key, position, fingerprint)
);

create table @schema@.attempts (
    name    text collate "C" primary key,
    first   bigint not null,                    -- the events that are being tried
    last    bigint not null,
    begun   bigint not null,                    -- attempts of which no end is known: it was written before each
    failed  bigint not null,
    error   text not null,
    next_at bigint not null                     -- microseconds since 1970
) with (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);

create table @schema@.pauses (
    name   text collate "C" primary key,        -- the read model
    actor  text not null,
    reason text not null,
    since  bigint not null
);

create table @schema@.operations (
    number    bigint generated always as identity primary key,
    at        bigint not null,                  -- microseconds since 1970
    actor     text not null,
    operation text not null,
    target    text not null,
    reason    text not null,
    request   text not null,
    details   text not null                     -- JSON
);

create function @schema@.refuse_operations_change() returns trigger language plpgsql as $$
begin
    raise exception 'the log of operations is never changed: % on %.% is refused', tg_op, tg_table_schema, tg_table_name
        using errcode = 'restrict_violation';
end
$$;
create trigger operations_are_immutable before update or delete or truncate on @schema@.operations
    for each statement execute function @schema@.refuse_operations_change();
alter table @schema@.operations enable always trigger operations_are_immutable;

revoke all on @schema@.parked, @schema@.skipped, @schema@.attempts, @schema@.pauses, @schema@.operations from public;
revoke update, delete, truncate on @schema@.operations from current_user;
revoke all on function @schema@.refuse_operations_change() from public;

comment on table @schema@.parked is 'Keys of read models whose events wait, since one of them failed.';
comment on table @schema@.skipped is 'Events that an operator left out of a row.';
comment on table @schema@.attempts is 'What projections try, written before they try it.';
comment on table @schema@.pauses is 'Read models that are paused.';
comment on table @schema@.operations is 'What operators did. Only grows.';
