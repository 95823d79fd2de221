"""Who goes away in the middle, a caller or the whole process, leaves nothing half done."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from refold import faults
from refold.errors import StoreUnavailable
from refold.store.append import AppendResult
from refold.store.sqlite import SqliteStore, open_sqlite, schema
from tests.store.postgres.events import append, assert_sound, event, whole_log
from tests.store.sqlite.files import run_sql

_ROOT = Path(__file__).parents[3]


# --- a caller ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_or_memory", ["file", "memory"])
async def test_a_caller_cancelled_inside_a_transaction_leaves_nothing(url: str, file_or_memory: str):
    store = await open_sqlite(url if file_or_memory == "file" else "sqlite:///:memory:")
    async with store.transaction() as transaction:
        await transaction.execute("create table mine (a integer)")
    written = asyncio.Event()

    async def caller() -> None:
        async with store.transaction() as transaction:
            await transaction.execute("insert into mine values (1)")
            transaction.append(append("a"))
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(caller())
    await written.wait()
    behind = asyncio.ensure_future(store.append(append("b")))  # it waits for the transaction
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (await behind).first == 1
    async with store.transaction() as transaction:
        assert await transaction.execute("select * from mine") == []
        transaction.append(append("b", 1))
    assert [each.stream for each in await whole_log(store)] == ["b", "b"]
    await store.close()


@pytest.mark.parametrize("after_steps", range(12))
async def test_a_caller_cancelled_at_any_step_does_all_or_nothing(store: SqliteStore, after_steps: int):
    """The steps of the event loop stand for the moments at which a caller can be cancelled: begin, SQL, commit."""
    async with store.transaction() as transaction:
        await transaction.execute("create table mine (a integer)")

    async def caller() -> None:
        async with store.transaction() as transaction:
            await transaction.execute("insert into mine values (1)")
            transaction.append(append("a"))

    task = asyncio.create_task(caller())
    for _ in range(after_steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    async with store.transaction() as transaction:
        rows = await transaction.execute("select * from mine")
        transaction.append(append("b"))
    log = await whole_log(store)
    assert_sound(log)
    assert (len(rows), [each.stream for each in log]) in [(0, ["b"]), (1, ["a", "b"])]


async def test_a_caller_cancelled_while_it_commits_has_committed(store: SqliteStore):
    loop = asyncio.get_running_loop()

    async def caller() -> None:
        async with store.transaction() as transaction:
            transaction.append(append("a"))

    task = asyncio.create_task(caller())

    def cancel(point: str) -> None:
        if point == "sqlite.transaction.before_commit":
            # The writer's thread stands before the commit until the caller is cancelled.
            faults.install(None)
            asyncio.run_coroutine_threadsafe(_cancel(task), loop).result()

    rung = asyncio.create_task(store.wait_beyond(0, 30))
    faults.install(cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await rung, "who waits for the log to grow was not told"
    assert (await store.append(append("b"))).first == 2
    assert [each.stream for each in await whole_log(store)] == ["a", "b"]


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


async def test_callers_cancelled_while_they_append_store_each_append_whole_or_not(store: SqliteStore):
    tasks = [
        asyncio.create_task(store.append(append(f"a-{number}", 0, event(1), event(2), event(3))))
        for number in range(100)
    ]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, AppendResult) for result in results[1::2])
    await store.append(append("last"))
    log = await whole_log(store)
    assert_sound(log)
    for number in range(100):
        stored = sum(each.stream == f"a-{number}" for each in log)
        assert stored in ((0, 3) if number % 2 == 0 else (3,))


@pytest.mark.parametrize("after", ["at_once", "while_it_opens", "when_it_is_open"])
async def test_a_caller_cancelled_while_it_opens_leaves_no_lock(url: str, monkeypatch: pytest.MonkeyPatch, after: str):
    """The thread that opens the file goes on. The process could never open it again: it was locked by itself."""
    begun, goes_on = threading.Event(), threading.Event()
    prepare = schema.create_or_check

    def slowly(connection: sqlite3.Connection, where: str) -> None:
        begun.set()
        goes_on.wait(10)
        prepare(connection, where)

    monkeypatch.setattr(schema, "create_or_check", slowly)
    opening = asyncio.create_task(open_sqlite(url))
    if after != "at_once":
        await asyncio.to_thread(begun.wait, 10)
    if after == "when_it_is_open":
        goes_on.set()
        time.sleep(0.3)  # noqa: ASYNC251  # the loop must not hear of it before it is cancelled
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    goes_on.set()
    monkeypatch.setattr(schema, "create_or_check", prepare)
    store = await open_sqlite(url)
    assert (await store.append(append("a"))).first == 1
    await store.close()


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["moved", "deleted", "replaced"])
async def test_nothing_is_acknowledged_when_the_file_is_gone(store: SqliteStore, file: Path, how: str):
    """SQLite would go on with the file that it has open, and nobody would ever see again what it took."""
    await store.append(append("a"))
    aside = file.with_name("aside.db")
    file.rename(aside)
    if how == "deleted":
        aside.unlink()
    elif how == "replaced":
        file.write_bytes(aside.read_bytes())

    with pytest.raises(StoreUnavailable, match="moved, replaced or deleted while it is open; nothing was stored"):
        await store.append(append("b"))
    with pytest.raises(StoreUnavailable, match="moved, replaced or deleted"):
        async with store.transaction() as transaction:
            await transaction.execute("create table mine (a integer)")
    with pytest.raises(StoreUnavailable, match="moved, replaced or deleted"):
        await store.transact(lambda connection: connection.execute("create table mine (a integer)"))

    if how == "moved":
        aside.rename(file)
        assert (await store.append(append("b"))).first == 2
        assert_sound(await whole_log(store))


# --- the process ------------------------------------------------------------------------------------------------------

_DYING = """
import asyncio, os, signal, sys
from refold import faults
from refold.store.sqlite import open_sqlite
from tests.store.postgres.events import append, event

def die(point):
    if point == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    store = await open_sqlite(sys.argv[1])
    async with store.transaction() as transaction:
        await transaction.execute("create table mine (a integer)")
    await store.append(append("a", 0, event(0, tags=["x"])))
    faults.install(die)
    large = [event(number, tags=["x"]) for number in range(1, 4)]
    if sys.argv[2].startswith("sqlite.append"):
        await store.append(append("a", 1, *large))
    else:
        async with store.transaction() as transaction:
            await transaction.execute("insert into mine values (1)")
            # More than the cache holds: half of the transaction is in the write-ahead log when the process dies.
            await transaction.execute("pragma cache_size = 10")
            await transaction.execute(
                "insert into mine with recursive n(a) as (select 1 union all select a + 1 from n where a < 3000) "
                "select randomblob(300) from n")
            transaction.append(append("a", 1, *large))
            die("in the block")

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "stored"),
    [
        ("sqlite.append.begin", False),
        ("sqlite.append.inserted", False),
        ("sqlite.append.before_commit", False),
        ("sqlite.append.committed", True),
        ("in the block", False),
        ("sqlite.transaction.append", False),
        ("sqlite.transaction.before_commit", False),
        ("sqlite.transaction.committed", True),
    ],
)
async def test_a_process_killed_in_the_middle_leaves_nothing_half(url: str, file: Path, point: str, stored: bool):
    died = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _DYING, url, point],
        check=False,
        cwd=_ROOT,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
    )
    assert died.returncode == -signal.SIGKILL

    beside = await open_sqlite(url, read_only=True)  # who looks first, before any writer has opened it again
    assert len(await whole_log(beside)) == (4 if stored else 1)
    await beside.close()
    store = await open_sqlite(url)
    log = await whole_log(store)
    assert_sound(log)
    assert len(log) == (4 if stored else 1)
    rows = 3_001 if point == "sqlite.transaction.committed" else 0
    assert run_sql(file, "select count(*) from mine") == [(rows,)]
    assert await store.flaws() == {"file": [], "guards": [], "tags": []}
    assert (await store.append(append("a", len(log)))).first == len(log) + 1
    await store.close()
