"""Everything but hearing others works through a pooler, which changes the server's session with each transaction."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest
from psycopg import pq

from refold.errors import Conflict, StoreUnavailable
from refold.store.append import AppendResult, Matching
from refold.store.event_store import EventFilter, Snapshot
from refold.store.postgres import examine_postgres, open_postgres
from refold.store.postgres.connection import Session
from refold.store.postgres.wire import Parameter
from tests.servers import PgBouncer
from tests.store.postgres.events import append, assert_sound, event, run_sql, whole_log


async def test_a_store_works_through_a_pooler(pgbouncer: PgBouncer, fresh_database: str):
    url = pgbouncer.url(fresh_database.rpartition("/")[2])
    stores = [await open_postgres(url) for _ in range(3)]
    outcomes = await asyncio.gather(
        *(
            store.append(append(f"a-{number % 4}", number // 4, event(number, tags=["x"])))
            for store in stores
            for number in range(60)
        ),
        return_exceptions=True,
    )
    assert {type(outcome) for outcome in outcomes} == {AppendResult, Conflict}
    first = stores[0]
    log = await whole_log(first)
    assert_sound(log)
    assert len(log) == sum(isinstance(outcome, AppendResult) for outcome in outcomes)

    async with first.transaction() as transaction:
        await transaction.execute("create table mine (a int)")
        await transaction.execute("insert into mine values (%s)", (1,))
        transaction.append(append("b", 0))
    assert run_sql(fresh_database, "select * from mine") == [(1,)]
    reader = await first.open_reader()
    assert (await reader.read(0, 1000)).scanned_to == len(log) + 1
    page = await reader.read(0, 1000, EventFilter(matching=(Matching(("Counted",), ("x",)),)))
    assert len(page.events) == len(log)
    await reader.close()
    snapshot = Snapshot("b", 1, len(log) + 1, b"\0" * 16, "f", b"{}")
    await first.save_snapshot(snapshot)
    assert await first.load_snapshot("b") == snapshot
    await asyncio.gather(*(store.close() for store in stores))


async def test_a_pooler_that_is_restarted_loses_nothing(pgbouncer: PgBouncer, fresh_database: str):
    store = await open_postgres(pgbouncer.url(fresh_database.rpartition("/")[2]))
    results: list[AppendResult] = []

    async def caller(number: int) -> None:
        for version in range(40):
            results.append(await store.append(append(f"a-{number}", version)))
            if number == 0 and version == 20:
                await asyncio.to_thread(pgbouncer.restart)

    await asyncio.gather(*(caller(number) for number in range(10)))
    log = await whole_log(store)
    assert_sound(log)
    assert len(log) == len(results) == 400
    await store.close()


async def test_behind_a_pooler_others_are_heard_on_a_direct_address_only(
    pgbouncer: PgBouncer, fresh_database: str, caplog: pytest.LogCaptureFixture
):
    pooled = pgbouncer.url(fresh_database.rpartition("/")[2])
    writer = await open_postgres(pooled)
    deaf, hearing = await open_postgres(pooled), await open_postgres(pooled, listen_url=fresh_database)
    with caplog.at_level(logging.INFO, "refold.store.postgres"):
        await hearing.wait_beyond(0, 10)  # it begins to listen, and says so by ringing
        assert not await deaf.wait_beyond(0, 0.3)
        assert "set a direct listen_url" in caplog.text
    appended = await writer.append(append("a"))
    assert await hearing.wait_beyond(appended.last - 1, 10)
    assert not await deaf.wait_beyond(appended.last - 1, 0.1)
    checks = {check.name: check for check in await examine_postgres(pooled)}
    assert checks["doorbell"].health == "warning"
    checks = {check.name: check for check in await examine_postgres(pooled, listen_url=fresh_database)}
    assert checks["doorbell"].health == "ok"
    await asyncio.gather(*(store.close() for store in (writer, deaf, hearing)))


async def test_a_pooler_that_cannot_be_told_from_the_server_does_no_harm(fresh_database: str):
    """Statements are prepared on what looks direct. Should a pooler look so, their names will be unknown one day."""
    store = await open_postgres(fresh_database)
    writer = store._writer._session
    assert writer is not None
    looked_direct = writer.direct
    assert looked_direct
    for number in range(5):
        await store.append(append("a", number))
        assert len(await store.read_stream("a")) == number + 1
    await writer.query(b"deallocate all")
    for session in store._pool._idle:
        await session.query(b"deallocate all")
    results = await asyncio.gather(*(store.append(append(f"b-{number}")) for number in range(40)))
    assert len(await store.read_stream("a")) == 5
    await store.append(append("a", 5))
    assert not writer.direct
    assert_sound(await whole_log(store))
    assert len(results) == 40
    await store.close()


async def test_a_session_that_is_refused_after_its_login_is_let_go(
    pgbouncer: PgBouncer, fresh_database: str, monkeypatch: pytest.MonkeyPatch
):
    """As by a server that is shutting down, or whose disk is full: else it would be open until it is collected."""
    opened: list[Session] = []
    query = Session.query

    async def refused(session: Session, sql: bytes, parameters: Sequence[Parameter] = ()) -> pq.abc.PGresult:
        opened.append(session)
        return await query(session, b"select 1 from nowhere" if b"pg_backend_pid" in sql else sql, parameters)

    monkeypatch.setattr(Session, "query", refused)
    with pytest.raises(StoreUnavailable, match=r"cannot be reached.*nowhere"):
        await open_postgres(pgbouncer.url(fresh_database.rpartition("/")[2]))
    assert [session.lost for session in opened] == [True]
