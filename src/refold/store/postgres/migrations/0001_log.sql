-- The log: events, their tags, snapshots, and the view in which a person reads the events.
-- @schema@ is the log's schema, quoted. Fixed-width columns come first, so that no row is padded.

create table @schema@.events (
    position       bigint not null,                 -- 1, 2, 3 …, without gaps, in the order of the commits
    recorded_at    bigint not null,                 -- microseconds since 1970, UTC; never goes back along positions
    occurred_at    bigint,                          -- microseconds, where an import says when it happened
    append_id      uuid not null,
    version        integer not null,                -- 1, 2, 3 … inside the stream
    append_index   integer not null,                -- 0, 1, 2 … inside the append
    schema_version smallint not null,
    stream         text collate "C" not null,
    type           text collate "C" not null,
    payload        varchar collate "C" not null,    -- JSON, byte for byte as written (json would be checked again, jsonb rewritten);
    metadata       varchar collate "C" not null,    -- varchar and not text: the client reads it as bytes by its type
    tags           text[] collate "C",              -- NULL: none
    constraint events_pkey primary key (position),
    constraint events_stream_version_key unique (stream, version)
) with (
    fillfactor = 100,
    -- Rows are only inserted. Freezing them early, a little at a time, keeps index-only scans cheap and spares the day of the big freeze.
    autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_vacuum_insert_threshold = 100000,
    autovacuum_analyze_scale_factor = 0.02
);

create unique index events_append_id_key on @schema@.events (append_id) where append_index = 0;

create table @schema@.event_tags (
    position bigint not null,
    tag      text collate "C" not null,
    type     text collate "C" not null,
    constraint event_tags_pkey primary key (tag, position) include (type)
) with (
    fillfactor = 100,
    autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_vacuum_insert_threshold = 100000,
    autovacuum_analyze_scale_factor = 0.02
);

create table @schema@.snapshots (
    stream      text collate "C" not null,
    version     integer not null,
    position    bigint not null,
    append_id   uuid not null,
    fingerprint text not null,
    saved_at    timestamptz not null default now(),
    data        bytea not null,
    constraint snapshots_pkey primary key (stream)
);

do $$
begin
    if exists (select from pg_settings where name = 'default_toast_compression' and 'lz4' = any (enumvals)) then
        alter table @schema@.events alter column payload set compression lz4;
        alter table @schema@.events alter column metadata set compression lz4;
        alter table @schema@.snapshots alter column data set compression lz4;
    end if;
end
$$;

create function @schema@.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'events are never changed: % on %.% is refused', tg_op, tg_table_schema, tg_table_name
        using errcode = 'restrict_violation', hint = 'Append an event that says what is different now.';
end
$$;

create trigger events_are_immutable before update or delete or truncate on @schema@.events
    for each statement execute function @schema@.refuse_change();
create trigger event_tags_are_immutable before update or delete or truncate on @schema@.event_tags
    for each statement execute function @schema@.refuse_change();
-- ALWAYS: also in sessions that replay a replication stream, or say that they do.
alter table @schema@.events enable always trigger events_are_immutable;
alter table @schema@.event_tags enable always trigger event_tags_are_immutable;

revoke all on @schema@.events, @schema@.event_tags, @schema@.snapshots from public;
revoke update, delete, truncate on @schema@.events, @schema@.event_tags from current_user;

create view @schema@.log as
select
    position,
    stream,
    version,
    type,
    payload,
    timestamptz 'epoch' + recorded_at * interval '1 microsecond' as recorded_at,
    timestamptz 'epoch' + occurred_at * interval '1 microsecond' as occurred_at,
    metadata,
    tags,
    schema_version,
    append_id,
    append_index
from @schema@.events;

comment on table @schema@.events is 'The log. Only the function append writes it. Read it in the view log.';
comment on table @schema@.event_tags is 'Which events carry a tag; filled for tagged events only.';
comment on table @schema@.snapshots is 'Saved folds of streams; may be emptied at any time.';
comment on view @schema@.log is 'The events for people: with timestamps.';

-- The last position recorded at or before a moment (microseconds). A binary search: recorded_at never goes back along positions.
create function @schema@.position_at(moment bigint) returns bigint language plpgsql stable as $$
declare
    low bigint := 0;
    high bigint;
    middle bigint;
    at_middle bigint;
begin
    select e.position, e.recorded_at into high, at_middle from @schema@.events e order by e.position desc limit 1;
    if high is null then
        return 0;
    end if;
    if at_middle <= moment then
        return high;
    end if;
    high := high - 1;
    while low < high loop
        middle := high - (high - low) / 2;
        select e.recorded_at into at_middle from @schema@.events e where e.position = middle;
        if at_middle <= moment then
            low := middle;
        else
            high := middle - 1;
        end if;
    end loop;
    return low;
end
$$;
revoke all on function @schema@.position_at(bigint), @schema@.refuse_change() from public;
