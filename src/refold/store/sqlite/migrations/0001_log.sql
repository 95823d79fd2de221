-- The log: events, their tags, snapshots, and the view in which a person reads the events.

create table events (
    position       integer primary key,     -- 1, 2, 3 …, without gaps, in the order of the commits
    stream         text not null,
    version        integer not null,        -- 1, 2, 3 … inside the stream
    type           text not null,
    schema_version integer not null,
    payload        text not null,           -- JSON, byte for byte as written
    metadata       text not null,           -- JSON
    recorded_at    integer not null,        -- microseconds since 1970, UTC; never goes back along positions
    occurred_at    integer,                 -- microseconds, where an import says when it happened
    append_id      blob not null,           -- the 16 bytes of a UUID
    append_index   integer not null,        -- 0, 1, 2 … inside the append
    tags           text                     -- JSON array; NULL: none
) strict;

create unique index events_stream_version on events (stream, version);
create unique index events_append_id on events (append_id) where append_index = 0;

create table event_tags (
    tag      text not null,
    position integer not null,
    primary key (tag, position)
) strict, without rowid;

create table snapshots (
    stream      text primary key,
    version     integer not null,
    position    integer not null,
    append_id   blob not null,
    fingerprint text not null,
    data        blob not null
) strict;

create trigger events_are_not_updated before update on events
begin
    select raise(abort, 'events are never changed: append one that says what is different now');
end;
create trigger events_are_not_deleted before delete on events
begin
    select raise(abort, 'events are never deleted: append one that says what is different now');
end;
-- Whoever inserts. So nothing leaves a gap, and REPLACE, which deletes without asking the trigger above unless its connection
-- wants recursive triggers, finds nothing to replace.
create trigger events_are_only_appended before insert on events
when new.position <> coalesce((select max(position) from events), 0) + 1
    or new.version <> coalesce((select max(version) from events where stream = new.stream), 0) + 1
    or (new.append_index = 0 and exists (select 1 from events where append_id = new.append_id and append_index = 0))
begin
    select raise(abort, 'events are only appended: at the end of the log and of their stream, under a new append id');
end;
create trigger event_tags_are_not_updated before update on event_tags
begin
    select raise(abort, 'tags of events are never changed');
end;
create trigger event_tags_are_not_deleted before delete on event_tags
begin
    select raise(abort, 'tags of events are never deleted');
end;

create view log as
select
    position,
    stream,
    version,
    type,
    payload,
    strftime('%Y-%m-%dT%H:%M:%S', recorded_at / 1000000, 'unixepoch') || printf('.%06dZ', recorded_at % 1000000) as recorded_at,
    -- What occurred before 1970 has negative microseconds, which division would round towards 1970.
    strftime('%Y-%m-%dT%H:%M:%S', (occurred_at - (occurred_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch')
        || printf('.%06dZ', (occurred_at % 1000000 + 1000000) % 1000000) as occurred_at,
    metadata,
    tags,
    schema_version,
    lower(hex(append_id)) as append_id,
    append_index
from events;
