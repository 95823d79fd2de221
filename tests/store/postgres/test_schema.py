"""The schema: made once however many begin at once, of one version, wherever it is put."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from refold.errors import ConfigurationError, SchemaMismatch, StoreReadOnly
from refold.store.postgres import migrate_postgres, open_postgres
from refold.store.postgres.schema import SCHEMA_VERSION
from tests.servers import PostgresServer
from tests.store.postgres.events import append, assert_sound, run_sql, whole_log

_ROOT = Path(__file__).parents[3]
_OPEN_AND_APPEND = """
import asyncio, sys
from refold.store.postgres import open_postgres
from tests.store.postgres.events import append
async def main():
    sys.stdin.readline()
    store = await open_postgres(sys.argv[1])
    await store.append(append("started"))
    await store.close()
asyncio.run(main())
"""


@pytest.mark.parametrize("isolation", ["read committed", "serializable"])
async def test_eight_processes_start_together_on_an_empty_database(fresh_database: str, isolation: str):
    name = fresh_database.rpartition("/")[2]
    run_sql(fresh_database, f"alter database {name} set default_transaction_isolation to '{isolation}'")
    processes = [
        subprocess.Popen(  # noqa: ASYNC220  # nothing else runs in this loop
            [sys.executable, "-c", _OPEN_AND_APPEND, fresh_database],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
        )
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, "")
    store = await open_postgres(fresh_database)
    log = await whole_log(store)
    await store.close()
    assert len(log) == 8
    assert_sound(log)


async def test_an_older_schema_is_named_and_migrated(fresh_database: str):
    store = await open_postgres(fresh_database)
    await store.close()
    assert await migrate_postgres(fresh_database) == (SCHEMA_VERSION, SCHEMA_VERSION)
    # As if the last migration had not been applied.
    run_sql(
        fresh_database,
        "drop table refold.parked, refold.skipped, refold.attempts, refold.pauses, refold.operations",
        "drop function refold.refuse_operations_change",
        f"delete from refold.schema_version where version = {SCHEMA_VERSION}",
    )
    with pytest.raises(SchemaMismatch, match=f"has schema version {SCHEMA_VERSION - 1}.*refold migrate"):
        await open_postgres(fresh_database)
    assert await migrate_postgres(fresh_database) == (SCHEMA_VERSION - 1, SCHEMA_VERSION)
    store = await open_postgres(fresh_database)
    assert (await store.append(append("a"))).first == 1
    await store.close()


async def test_a_schema_of_the_future_is_refused(fresh_database: str):
    store = await open_postgres(fresh_database)
    await store.close()
    run_sql(fresh_database, "insert into refold.schema_version values (999)")
    with pytest.raises(SchemaMismatch, match="schema version 999"):
        await open_postgres(fresh_database)
    with pytest.raises(SchemaMismatch, match="schema version 999"):
        await migrate_postgres(fresh_database)


@pytest.mark.parametrize("name", ["bank", 'We "quote", it\'s fine', "select"])
async def test_logs_in_other_schemas_of_one_database_are_independent(fresh_database: str, name: str):
    first, second = await open_postgres(fresh_database), await open_postgres(fresh_database, schema=name)
    await first.append(append("a"))
    assert (await first.append(append("a"))).first == 2
    assert (await second.append(append("a", 0))).first == 1
    assert first.schema != second.schema
    await first.close()
    await second.close()


async def test_the_url_may_name_the_schema(fresh_database: str):
    store = await open_postgres(f"{fresh_database}?schema=my%20log")
    assert store.schema == '"my log"'
    await store.close()
    with pytest.raises(ConfigurationError, match="twice"):
        await open_postgres(f"{fresh_database}?schema=one", schema="another")


async def test_a_database_without_utf8_is_refused(postgres_server: PostgresServer):
    with postgres_server.connect() as connection:
        connection.execute("create database latin encoding 'LATIN1' template template0")
    try:
        with pytest.raises(ConfigurationError, match="encoding is LATIN1"):
            await open_postgres(postgres_server.url("latin"))
    finally:
        postgres_server.drop_database("latin")


async def test_a_role_that_may_not_create_the_schema_is_told_who_can(
    postgres_server: PostgresServer, fresh_database: str
):
    run_sql(fresh_database, "drop role if exists reader", "create role reader login password 'reader'")
    url = fresh_database.replace(f"postgres:{postgres_server.password}", "reader:reader")
    with pytest.raises(StoreReadOnly, match="owner run `refold migrate`"):
        await open_postgres(url)


async def test_a_role_with_the_grants_of_the_manual_may_append_but_change_nothing(
    postgres_server: PostgresServer, fresh_database: str
):
    await migrate_postgres(fresh_database)
    run_sql(
        fresh_database,
        "drop role if exists writer",
        "create role writer login password 'writer'",
        "grant usage on schema refold to writer",
        "grant select, insert on all tables in schema refold to writer",
        "grant update, delete on refold.snapshots to writer",
        "grant execute on all functions in schema refold to writer",
    )
    url = fresh_database.replace(f"postgres:{postgres_server.password}", "writer:writer")
    store = await open_postgres(url)
    assert (await store.append(append("a"))).first == 1
    await store.close()
    with pytest.raises(Exception, match="permission denied"):
        run_sql(url, "update refold.events set type = 'x'")
