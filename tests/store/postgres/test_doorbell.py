"""Appends of other processes are heard soon; when the bell is broken, nothing but time is lost, and it is mended."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from refold.store.postgres import open_postgres
from refold.store.postgres.store import PostgresStore
from tests.store.postgres.events import append, run_sql

_END_LISTENERS = (
    "select pg_terminate_backend(pid, 10000) from pg_stat_activity "
    "where application_name like 'refold listener%' and datname = current_database()"
)


@pytest.fixture
async def other(fresh_database: str) -> AsyncIterator[PostgresStore]:
    """A store as another process has it: nothing is shared with the first but the database."""
    other = await open_postgres(fresh_database)
    yield other
    await other.close()


async def listening(store: PostgresStore) -> None:
    """Returns once the store listens: it rings when it begins to."""
    assert await store.wait_beyond(store._doorbell.position, 10)


async def test_an_append_of_another_process_wakes_who_waits(store: PostgresStore, other: PostgresStore):
    await listening(other)
    for number in range(20):
        waiting = asyncio.create_task(other.wait_beyond(number, 10))
        result = await store.append(append("a"))
        assert await waiting
        assert result.last == number + 1


async def test_a_unit_of_work_of_another_process_wakes_who_waits(store: PostgresStore, other: PostgresStore):
    await listening(other)
    waiting = asyncio.create_task(other.wait_beyond(0, 10))
    async with store.transaction() as transaction:
        transaction.append(append("a"))
    assert await waiting


async def test_the_last_of_many_appends_is_heard(store: PostgresStore, other: PostgresStore):
    """Notifications are sent at a bounded rate; what came in between is told by the next."""
    await listening(other)
    for _ in range(5):
        await asyncio.gather(*(store.append(append("a")) for _ in range(100)))
    assert await other.wait_beyond(499, 10)


async def test_a_busy_log_rings_far_less_often_than_it_grows(store: PostgresStore, other: PostgresStore):
    """Each notification costs the server a transaction; whoever follows a busy log looks often anyway."""
    await listening(other)
    heard: list[int] = []
    other._doorbell.ring = heard.append  # type: ignore[method-assign, assignment]  # what comes in, before anybody is woken
    began = time.monotonic()
    at_once: Counter[int] = Counter()
    for number in range(1500):
        await store.append(append("a", number))
        at_once[int((time.monotonic() - began) / 0.05)] += 1
    moments = [at_once[moment] for moment in range(max(at_once))]  # but for the last one, which ended early
    while not heard or heard[-1] < 1500:
        assert time.monotonic() - began < 30, "the last position is never told"
        await asyncio.sleep(0)
    # A burst at first, and again whenever the machine was so slow for a moment that the log did not count as busy.
    if min(moments, default=0) > 25:
        assert len(heard) < 300, f"{len(heard)} notifications in {0.05 * len(moments):.1f} s"
    assert heard == sorted(heard)


async def test_who_does_not_wait_does_not_listen(store: PostgresStore, fresh_database: str):
    await store.append(append("a"))
    sessions = "select count(*) from pg_stat_activity where application_name like 'refold listener%'"
    assert run_sql(fresh_database, sessions + " and datname = current_database()") == [(0,)]


async def test_a_listening_connection_that_is_cut_comes_back(
    store: PostgresStore, other: PostgresStore, fresh_database: str
):
    await listening(other)
    for number in range(3):
        waiting = asyncio.create_task(other.wait_beyond(10_000, 10))
        run_sql(fresh_database, _END_LISTENERS)
        assert await waiting  # rung without a position: something may have been missed
        await listening(other)
        result = await store.append(append("a"))
        assert await other.wait_beyond(result.last - 1, 10)
        assert result.last == number + 1


async def test_a_notifying_connection_that_is_cut_comes_back(
    store: PostgresStore, other: PostgresStore, fresh_database: str
):
    await listening(other)
    result = await store.append(append("a"))
    assert await other.wait_beyond(result.last - 1, 10)
    run_sql(fresh_database, _END_LISTENERS.replace("listener", "notifier"))
    async with asyncio.timeout(20):
        while True:
            result = await store.append(append("a"))
            if await other.wait_beyond(result.last - 1, 0.2):
                break


async def test_waiting_ends_with_its_time(store: PostgresStore):
    await listening(store)
    begun = time.monotonic()
    assert not await store.wait_beyond(0, 0.05)
    assert time.monotonic() - begun < 5


async def test_a_store_is_closed_while_it_waits_and_listens(fresh_database: str):
    store = await open_postgres(fresh_database)
    await listening(store)
    waiting = asyncio.create_task(store.wait_beyond(5, 0.2))
    await asyncio.gather(*(store.append(append("a")) for _ in range(3)))
    await store.close()
    await waiting
    await store.close()
