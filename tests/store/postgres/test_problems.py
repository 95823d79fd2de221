"""What goes wrong at the edge is one line that says what, where and what to do; never with the password."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from refold.errors import ConfigurationError, MissingExtra, StoreCorrupt, StoreUnavailable
from refold.store.postgres import examine_postgres, open_postgres
from refold.store.postgres.address import Address, without_secrets
from tests.servers import PostgresServer
from tests.store.postgres.events import append, run_sql

_SECRET = "geheim%21"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://u:{}@127.0.0.1:1/bank", "cannot be reached"),
        ("postgresql://u:{}@127.0.0.1:1/bank?sslmode=nonsense", "sslmode"),
        ("postgresql://u:{}@127.0.0.1:1/bank?flavour=vanilla", 'invalid URI query parameter: "flavour"'),
        ("postgresql://u:{}@127.0.0.1:port/bank", "port"),
        ("postgresql://u:{}@[127.0.0.1/bank", r"not a URL|end of string"),
        ("mysql://u:{}@127.0.0.1/bank", "not a Postgres URL"),
        ("postgresql://u:{}@127.0.0.1:1/bank?schema=", "cannot be a schema's name"),
        ("postgresql://u:{}@127.0.0.1:1/bank?schema=pg_mine", "reserved"),
        ("postgresql://u:{}@127.0.0.1:1/bank?schema=" + "x" * 64, "cannot be a schema's name"),
        ("postgresql://u@127.0.0.1:1/bank?password={}", "cannot be reached"),
    ],
)
async def test_a_url_that_leads_nowhere(url: str, says: str):
    with pytest.raises((ConfigurationError, StoreUnavailable), match=says) as problem:
        await open_postgres(url.format(_SECRET))
    assert "\n" not in str(problem.value)
    assert "geheim" not in str(problem.value)
    assert "geheim" not in repr(problem.value.__cause__)


async def test_a_wrong_password(postgres_server: PostgresServer):
    url = postgres_server.url().replace(postgres_server.password, "geheim")
    with pytest.raises(StoreUnavailable, match=r"refuses the login.*password authentication failed") as problem:
        await open_postgres(url)
    assert "geheim" not in str(problem.value)


async def test_a_missing_database(postgres_server: PostgresServer):
    with pytest.raises(StoreUnavailable, match='database "nowhere" does not exist; create it first'):
        await open_postgres(postgres_server.url("nowhere"))


async def test_a_store_is_named_without_its_password(fresh_database: str, postgres_server: PostgresServer):
    store = await open_postgres(f"{fresh_database}?sslmode=prefer")
    assert store.name == f"{fresh_database}?sslmode=prefer".replace(f":{postgres_server.password}", "")
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.append(append("a"))
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.read_log()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.open_reader()
    with pytest.raises(StoreUnavailable, match="closed"):
        async with store.transaction():
            pass


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://alice:secret@host:1/db", "postgresql://alice@host:1/db"),
        ("postgresql://alice:s@server@host/db?sslmode=require", "postgresql://alice@host/db?sslmode=require"),
        ("postgresql:///db?password=secret&host=/tmp", "postgresql:///db?host=/tmp"),
        ("postgresql:///db?sslpassword=secret", "postgresql:///db"),
        ("secret", "secret:…"),
    ],
)
def test_what_is_shown_of_a_url(url: str, shown: str):
    assert without_secrets(url) == shown


def test_an_address_has_its_own_lock_and_channel_for_each_schema():
    first, second = Address.parse("postgresql:///db"), Address.parse("postgresql:///db?schema=other")
    assert (first.schema, second.schema) == ("refold", "other")
    assert len({first.lock, second.lock, first.migration_lock, second.migration_lock}) == 4
    assert first.channel != second.channel


async def test_without_psycopg_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without_psycopg(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> Any:
        if name == "psycopg":
            raise ModuleNotFoundError("No module named 'psycopg'")
        return real(name, globals, locals, fromlist, level)

    monkeypatch.setattr(builtins, "__import__", without_psycopg)
    with pytest.raises(MissingExtra, match=r'pip install "refold\[postgres\]"'):
        await open_postgres("postgresql:///bank")


async def test_a_schema_of_which_a_part_is_gone(fresh_database: str):
    store = await open_postgres(fresh_database)
    run_sql(fresh_database, "drop table refold.events cascade")
    with pytest.raises(StoreCorrupt, match="part of the log's schema is missing"):
        await store.append(append("a"))
    with pytest.raises(StoreCorrupt, match="part of the log's schema is missing"):
        await store.read_log()
    await store.close()


async def test_a_healthy_log_gets_no_advice(fresh_database: str):
    store = await open_postgres(fresh_database)
    await store.close()
    unwell = {check.name for check in await examine_postgres(fresh_database) if check.health != "ok"}
    assert unwell == {"fsync", "full_page_writes"}  # the tests' servers run without, to be quick


@pytest.mark.parametrize(
    ("name", "break_it", "health"),
    [
        ("triggers", "alter table refold.events disable trigger events_are_immutable", "error"),
        ("triggers", "drop trigger event_tags_are_immutable on refold.event_tags", "error"),
        ("indexes", "drop index refold.events_append_id_key", "error"),
        ("functions", "alter function refold.lock_log rename to lock_nothing", "error"),
        (
            "functions",
            "create or replace function refold.lock_log() returns void language plpgsql as $$ begin end $$",
            "error",
        ),
        ("grants", "grant update on refold.events to public", "warning"),
        (
            "schema",
            "delete from refold.schema_version where version = (select max(version) from refold.schema_version)",
            "error",
        ),
        ("schema", "drop table refold.snapshots", "error"),
        ("schema", "drop schema refold cascade", "error"),
        ("synchronous_commit", "alter database {} set synchronous_commit to 'off'", "warning"),
        (
            "default_transaction_isolation",
            "alter database {} set default_transaction_isolation to 'serializable'",
            "warning",
        ),
        ("default_transaction_read_only", "alter database {} set default_transaction_read_only to on", "error"),
    ],
)
async def test_the_doctor_sees_what_is_wrong(fresh_database: str, name: str, break_it: str, health: str):
    store = await open_postgres(fresh_database)
    await store.close()
    run_sql(fresh_database, break_it.format(fresh_database.rpartition("/")[2]))
    checks = {check.name: check for check in await examine_postgres(fresh_database)}
    assert checks[name].health == health
    assert checks[name].advice


async def test_the_doctor_says_when_there_is_no_server():
    [check] = await examine_postgres("postgresql://u:geheim@127.0.0.1:1/bank")
    assert (check.name, check.health) == ("connection", "error")
    assert "geheim" not in check.detail
