"""The database itself keeps the promises: events never change, and positions cannot be given twice."""

from __future__ import annotations

import psycopg
import pytest

from refold.store.postgres import open_postgres
from refold.store.postgres.store import PostgresStore
from tests.store.postgres.events import append, assert_sound, event, run_sql, whole_log

_APPEND_ONE = "select refold.append_one('s', -1, gen_random_uuid(), 1::smallint, 'T', '{}', '{}', null)"
_APPEND = """select refold.append(array['s'], array[0], array[gen_random_uuid()], null, null, array[1], array[1],
    array[-1], array[0], array[0], array[1]::smallint[], array['T'], array['{}'], array['{}'],
    array[null]::bigint[], null, false)"""


@pytest.mark.parametrize("table", ["events", "event_tags"])
@pytest.mark.parametrize("change", ["update refold.{} set type = 'x'", "delete from refold.{}", "truncate refold.{}"])
@pytest.mark.parametrize("session", ["set search_path to public", "set session_replication_role to replica"])
async def test_nothing_changes_an_event(
    store: PostgresStore, fresh_database: str, table: str, change: str, session: str
):
    await store.append(append("a", 0, event(tags=["x"])))
    with pytest.raises(psycopg.errors.RestrictViolation, match="events are never changed"):
        run_sql(fresh_database, session, change.format(table))
    assert len(await whole_log(store)) == 1


@pytest.mark.parametrize("function", [_APPEND_ONE, _APPEND])
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_appending_is_refused_where_positions_would_not_be_unique(
    store: PostgresStore, fresh_database: str, function: str, level: str
):
    with pytest.raises(psycopg.errors.InvalidTransactionState, match=f"isolation level {level} is refused"):
        run_sql(fresh_database, f"begin isolation level {level}", function)
    assert await whole_log(store) == []
    run_sql(fresh_database, function)
    assert_sound(await whole_log(store))


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_appending_works_where_another_level_is_the_default(postgres_server, fresh_database: str, level: str):
    name = fresh_database.rpartition("/")[2]
    run_sql(fresh_database, f"alter database {name} set default_transaction_isolation to '{level}'")
    store = await open_postgres(fresh_database)
    await store.append(append("a"))
    async with store.transaction() as transaction:
        transaction.append(append("a", 1))
    assert_sound(await whole_log(store))
    await store.close()


async def test_an_append_is_durable_whatever_the_default_is(fresh_database: str):
    name = fresh_database.rpartition("/")[2]
    run_sql(fresh_database, f"alter database {name} set synchronous_commit to 'off'")
    store = await open_postgres(fresh_database)
    seen: list[object] = []
    run_sql(
        fresh_database,
        "create function public.note() returns trigger language plpgsql as $$ begin "
        "perform set_config('test.seen', current_setting('synchronous_commit'), false); return null; end $$",
        "create trigger note after insert on refold.events for each statement execute function public.note()",
    )
    async with store.transaction() as transaction:
        assert await transaction.execute("show synchronous_commit") == [("off",)]
        transaction.append(append("a"))
    await store.append(append("a"))
    rows = run_sql(fresh_database, _APPEND_ONE, "select current_setting('test.seen')")
    seen += rows
    await store.close()
    assert seen == [("local",)]


async def test_nothing_on_the_way_of_an_append_is_updated(store: PostgresStore, fresh_database: str):
    """A row that is updated by every append gets slower with each version that an old snapshot keeps alive."""
    for number in range(50):
        await store.append(append("a", number, event(number, tags=["x"])))
    run_sql(fresh_database, "select pg_sleep(0)")  # statistics are sent when a session is idle
    await store.close()
    changes = run_sql(
        fresh_database,
        "select coalesce(sum(n_tup_upd + n_tup_del + n_dead_tup), 0) from pg_stat_user_tables "
        "where schemaname = 'refold'",
    )
    assert changes == [(0,)]


async def test_a_person_reads_the_events_in_psql(store: PostgresStore, fresh_database: str):
    await store.append(append("a-1", 0, event(7, tags=["x:1"])))
    [row] = run_sql(
        fresh_database,
        "select position, stream, version, type, payload, tags, "
        "recorded_at between now() - interval '1 minute' and now() from refold.log",
    )
    assert row == (1, "a-1", 1, "Counted", '{"number":7}', ["x:1"], True)
