-- Appending. One call takes a batch of appends, decides each of them, and answers for each of them.
--
-- The order is what makes positions gapless and in commit order: the lock first, in a statement of its own; only then
-- a new snapshot, which sees everything that was committed by whoever held the lock before. That holds under
-- READ COMMITTED only, so anything else is refused.

-- What comes before the first look at the log, where it is not plainly well: the guards, and waiting for the log's lock,
-- which is held until the end of the transaction.
create function @schema@.lock_log() returns void language plpgsql volatile as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'appending under isolation level % is refused: positions would not be unique',
            current_setting('transaction_isolation')
            using errcode = 'invalid_transaction_state', hint = 'Append under READ COMMITTED.';
    end if;
    -- What is acknowledged must survive a crash, whatever the session's default is.
    if current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'local', true);
    end if;
    -- The lock's holder may be a user's transaction whose process was stopped: an error is better than to wait for ever.
    if current_setting('lock_timeout') = '0' then
        perform set_config('lock_timeout', '30s', true);
    end if;
    perform pg_advisory_xact_lock(@lock@);
end
$$;

-- The first event after a position, and at or before another, that matches an append condition; NULL: none.
create function @schema@.first_match(condition jsonb, after bigint, until bigint) returns bigint language plpgsql stable
set plan_cache_mode = force_generic_plan
as $$
declare
    item jsonb;
    wanted_tags text[];
    wanted_types text[];
    rarest text;
    found bigint;
    earliest bigint;
    last bigint := until;
begin
    for item in select jsonb_array_elements(condition -> 'matching') loop
        wanted_tags := array(select jsonb_array_elements_text(item -> 'tags'));
        wanted_types := array(select jsonb_array_elements_text(item -> 'types'));
        if cardinality(wanted_tags) = 0 then
            if cardinality(wanted_types) = 0 then
                select e.position into found from @schema@.events e
                where e.position > after and e.position <= last order by e.position limit 1;
            else
                select e.position into found from @schema@.events e
                where e.position > after and e.position <= last and e.type = any (wanted_types) order by e.position limit 1;
            end if;
        else
            -- The scan is driven by the tag that is rarest in this part of the log, so that one popular tag does not make it long.
            rarest := wanted_tags[1];
            if cardinality(wanted_tags) > 1 then
                select w.tag into rarest from unnest(wanted_tags) as w (tag)
                order by (
                    select count(*) from (
                        select from @schema@.event_tags t
                        where t.tag = w.tag and t.position > after and t.position <= last limit 1000
                    ) as up_to_a_thousand
                ) limit 1;
            end if;
            select t.position into found from @schema@.event_tags t
            where t.tag = rarest and t.position > after and t.position <= last
                and (cardinality(wanted_types) = 0 or t.type = any (wanted_types))
                and not exists (
                    select from unnest(wanted_tags) as w (tag)
                    where not exists (
                        select from @schema@.event_tags other where other.tag = w.tag and other.position = t.position
                    )
                )
            order by t.position limit 1;
        end if;
        if found is not null then
            earliest := found;
            last := found - 1;
        end if;
    end loop;
    return earliest;
end
$$;

-- What is given, for the batch:
--   streams     its distinct streams
--   floors      a version that each of them has at least when its first expectation holds (0: not known); bounds the search for its version
--   ids         the id of each append
--   conditions  the condition of each append, NULL for those without; NULL altogether when no append has one
--   bases       the id of the append whose events its one stream must end with, NULL for those without; NULL altogether when no append
--               has one. Decided all together, it is the caller who answers for those that do not stand first in their stream.
-- and, for each event:
--   of_append, of_stream   which of the ids and of the streams
--   expected    the expected version of its stream (-1 any, -2 exists), or -3 when it is not the append's first event of this stream
--   ahead       how many events of its stream stand before it in this batch
--   indexes, schema_versions, types, payloads, metadatas, occurred (NULL inside: not given), tagged (array literals; NULL altogether: none)
-- together    false: decide one append after the other from the outset
--
-- The answer, when all were accepted together:  0, the position before the first event, recorded_at, each stream's version before the batch.
-- Otherwise: 1, recorded_at, and for each append, in order:
--   0, its first position, the version of each of its streams after it   accepted
--   1, which of its streams (1, 2, …), that stream's version             the expected version does not hold
--   2, the position of the first match                                   the condition does not hold
--   3                                                                    the log has an append with this id already
create function @schema@.append(
    streams text[],
    floors bigint[],
    ids uuid[],
    conditions jsonb[],
    bases uuid[],
    of_append integer[],
    of_stream integer[],
    expected bigint[],
    ahead integer[],
    indexes integer[],
    schema_versions smallint[],
    types text[],
    payloads varchar[],
    metadatas varchar[],
    occurred bigint[],
    tagged text[],
    together boolean
) returns bigint[] language plpgsql volatile
-- Plans for arrays of unknown length are as good as those made anew each time, which take longer than the insert itself.
set plan_cache_mode = force_generic_plan
as $$
declare
    head bigint;
    recorded bigint;
    checked bigint := 0;
    matches bigint[];
    current_versions integer[];
    current_version integer;
    found bigint;
    fits boolean;
    answer bigint[];
    verdict bigint[];
    append_number integer := 0;
    event_number integer := 1;
    first_event integer;
    stream_number integer;
    events_in_batch constant integer := cardinality(of_append);
begin
    if conditions is not null then
        -- Conditions are checked up to here before the lock is taken: what is in the log now can never change, and
        -- so a long check of an old part of the log keeps nobody waiting.
        select e.position into checked from @schema@.events e order by e.position desc limit 1;
        checked := coalesce(checked, 0);
        matches := array(
            select case when c.condition is not null
                then @schema@.first_match(c.condition, (c.condition ->> 'after')::bigint, checked) end
            from unnest(conditions) as c (condition)
        );
        together := false;
    end if;

    if (
        current_setting('transaction_isolation') = 'read committed' and current_setting('synchronous_commit') <> 'off'
        and pg_try_advisory_xact_lock(@lock@)
    ) is not true then
        perform @schema@.lock_log();
    end if;

    select e.position, e.recorded_at into head, recorded from @schema@.events e order by e.position desc limit 1;
    head := coalesce(head, 0);
    recorded := greatest((extract(epoch from clock_timestamp()) * 1000000)::bigint, recorded);

    if together then
        current_versions := array(
            select coalesce(
                (
                    select e.version from @schema@.events e
                    where e.stream = s.stream and e.version >= s.floor order by e.version desc limit 1
                ), 0
            )
            from unnest(streams, floors) as s (stream, floor)
        );
        select bool_and(
            case x.expected
                when -3 then true
                when -1 then true
                when -2 then current_versions[x.of_stream] + x.ahead > 0
                else current_versions[x.of_stream] + x.ahead = x.expected
            end
        ) into fits from unnest(expected, of_stream, ahead) as x (expected, of_stream, ahead);
        if fits and bases is not null then
            fits := not exists (
                select from unnest(expected, of_append, of_stream, ahead) as x (expected, of_append, of_stream, ahead)
                where x.ahead = 0 and x.expected <> -3 and bases[x.of_append] is not null and not exists (
                    select from @schema@.events e
                    where e.stream = streams[x.of_stream] and e.version = x.expected and e.append_id = bases[x.of_append]
                )
            );
        end if;
        if fits and not exists (select from @schema@.events e where e.append_index = 0 and e.append_id = any (ids)) then
            insert into @schema@.events (
                position, recorded_at, occurred_at, append_id, version, append_index, schema_version,
                stream, type, payload, metadata, tags
            )
            select
                head + n.number, recorded, n.occurred, ids[n.of_append], current_versions[n.of_stream] + n.ahead + 1, n.index,
                n.schema_version, streams[n.of_stream], n.type, n.payload, n.metadata, n.tagged::text[]
            from unnest(
                of_append, of_stream, ahead, indexes, schema_versions, types, payloads, metadatas, occurred, tagged
            ) with ordinality as n (
                of_append, of_stream, ahead, index, schema_version, type, payload, metadata, occurred, tagged, number
            );
            if tagged is not null then
                insert into @schema@.event_tags (position, tag, type)
                select distinct head + n.number, t.tag, n.type
                from unnest(types, tagged) with ordinality as n (type, tagged, number), unnest(n.tagged::text[]) as t (tag);
            end if;
            return array[0, head, recorded] || current_versions;
        end if;
    end if;

    answer := array[1, recorded];
    while event_number <= events_in_batch loop
        append_number := append_number + 1;
        first_event := event_number;
        verdict := null;
        if exists (select from @schema@.events e where e.append_index = 0 and e.append_id = ids[append_number]) then
            verdict := array[3];
        end if;

        -- The append's versions are looked up in the log itself, where the accepted ones before it stand already.
        stream_number := 0;
        current_versions := '{}';
        while event_number <= events_in_batch and of_append[event_number] = append_number loop
            if verdict is null and expected[event_number] <> -3 then
                stream_number := stream_number + 1;
                select e.version into current_version from @schema@.events e
                where e.stream = streams[of_stream[event_number]] and e.version >= expected[event_number]
                order by e.version desc limit 1;
                current_version := coalesce(current_version, 0);
                fits := case expected[event_number]
                    when -1 then true
                    when -2 then current_version > 0
                    else current_version = expected[event_number]
                end;
                if fits and bases[append_number] is not null then
                    fits := exists (
                        select from @schema@.events e
                        where e.stream = streams[of_stream[event_number]] and e.version = current_version
                            and e.append_id = bases[append_number]
                    );
                end if;
                if not fits then
                    select e.version into current_version from @schema@.events e
                    where e.stream = streams[of_stream[event_number]] order by e.version desc limit 1;
                    verdict := array[1, stream_number, coalesce(current_version, 0)];
                end if;
                current_versions := current_versions || current_version;
            end if;
            event_number := event_number + 1;
        end loop;

        if verdict is null and conditions[append_number] is not null then
            found := matches[append_number];
            if found is null then
                found := @schema@.first_match(
                    conditions[append_number],
                    greatest(checked, (conditions[append_number] ->> 'after')::bigint),
                    head
                );
            end if;
            if found is not null then
                verdict := array[2, found];
            end if;
        end if;

        if verdict is null then
            verdict := array[0, head + 1];
            stream_number := 0;
            for number in first_event .. event_number - 1 loop
                head := head + 1;
                if expected[number] <> -3 then
                    if stream_number > 0 then
                        verdict := verdict || current_version::bigint;
                    end if;
                    stream_number := stream_number + 1;
                    current_version := current_versions[stream_number];
                end if;
                current_version := current_version + 1;
                insert into @schema@.events (
                    position, recorded_at, occurred_at, append_id, version, append_index, schema_version,
                    stream, type, payload, metadata, tags
                ) values (
                    head, recorded, occurred[number], ids[append_number], current_version, indexes[number],
                    schema_versions[number], streams[of_stream[number]], types[number], payloads[number],
                    metadatas[number], tagged[number]::text[]
                );
                if tagged[number] is not null then
                    insert into @schema@.event_tags (position, tag, type)
                    select distinct head, t.tag, types[number] from unnest(tagged[number]::text[]) as t (tag);
                end if;
            end loop;
            verdict := verdict || current_version::bigint;
        end if;
        answer := answer || verdict;
    end loop;
    return answer;
end
$$;

-- One append of one event without tags and condition: the same, without the arrays. What is not plainly fine is left to append.
-- The answer as above, when it was accepted together with others (of which there are none here).
create function @schema@.append_one(
    to_stream text,
    expected bigint,
    id uuid,
    event_schema_version smallint,
    event_type text,
    event_payload varchar,
    event_metadata varchar,
    event_occurred bigint
) returns bigint[] language plpgsql volatile as $$
declare
    head bigint;
    recorded bigint;
    current_version integer;
begin
    if (
        current_setting('transaction_isolation') = 'read committed' and current_setting('synchronous_commit') <> 'off'
        and pg_try_advisory_xact_lock(@lock@)
    ) is not true then
        perform @schema@.lock_log();
    end if;

    select e.position, e.recorded_at into head, recorded from @schema@.events e order by e.position desc limit 1;
    select e.version into current_version from @schema@.events e
    where e.stream = to_stream and e.version >= expected order by e.version desc limit 1;
    current_version := coalesce(current_version, 0);

    if (case expected when -1 then true when -2 then current_version > 0 else current_version = expected end)
        and not exists (select from @schema@.events e where e.append_index = 0 and e.append_id = id)
    then
        head := coalesce(head, 0);
        recorded := greatest((extract(epoch from clock_timestamp()) * 1000000)::bigint, recorded);
        insert into @schema@.events (
            position, recorded_at, occurred_at, append_id, version, append_index, schema_version,
            stream, type, payload, metadata
        ) values (
            head + 1, recorded, event_occurred, id, current_version + 1, 0, event_schema_version,
            to_stream, event_type, event_payload, event_metadata
        );
        return array[0, head, recorded, current_version];
    end if;
    return @schema@.append(
        array[to_stream], array[0::bigint], array[id], null, null, array[1], array[1], array[expected], array[0], array[0],
        array[event_schema_version], array[event_type], array[event_payload], array[event_metadata],
        array[event_occurred], null, false
    );
end
$$;

revoke all on function @schema@.lock_log() from public;
revoke all on function @schema@.append_one(text, bigint, uuid, smallint, text, varchar, varchar, bigint) from public;
revoke all on function @schema@.first_match(jsonb, bigint, bigint) from public;
revoke all on function @schema@.append(
    text[], bigint[], uuid[], jsonb[], uuid[], integer[], integer[], bigint[], integer[], integer[], smallint[], text[], varchar[],
    varchar[], bigint[], text[], boolean
) from public;
