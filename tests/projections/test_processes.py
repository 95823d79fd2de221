"""Real processes that die, stand still, and come back; servers that are stopped; backups of yesterday."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from refold.app import Context, SyncContext
from refold.errors import LogRegression, ProjectionStopped, RefoldError
from refold.projections.checkpoint import STOPPED
from refold.projections.projection import LEASE_SECONDS
from refold.store.event_store import EventStore
from refold.testing.memory import MemoryStore
from tests.faults.points import points_of
from tests.operations.tampering import PostgresTamperer, SqliteTamperer
from tests.projections.stores import Added, Inline, Moved, Stock, assert_equals_fold, inline_shop, shop, until
from tests.servers import PostgresServer

ROOT = Path(__file__).parents[2]
LEASE = 0.6
SQLITE_ONLY = ("projection.checkpoint_moved", "projection.rows_written")
POSTGRES_ONLY = ("projection.before_write",)


@contextmanager
def worker(url: str, point: str = "", lease: float = LEASE) -> Iterator[subprocess.Popen[str]]:
    """A process that keeps the read models current, until it dies."""
    command = [sys.executable, "-m", "tests.projections.worker", url, str(lease), *([point] if point else [])]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        if not point.startswith("projection"):
            assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()
        process.stdin.close()


@pytest.mark.postgres
async def test_a_read_waits_through_the_death_of_a_worker_by_default(database: str) -> None:
    """The lease of the dead one ends, and another takes over, before the read gives up."""
    # The whole lease leaves a second, which a busy machine may need: that it is short enough is computed below.
    lease = LEASE_SECONDS / 3
    with worker(database, lease=lease) as owner:
        async with shop.connect(database, projections=False) as context:
            await context.get(Stock, "a", after=await context.append("stock-a", [Added(count=1)]))
            async with shop.connect(database, lease=lease):  # it stands by
                owner.kill()
                owner.wait(30)
                row = await context.get(Stock, "a", after=await context.append("stock-a", [Added(count=1)]))
                assert row is not None
                assert row.count == 2


@pytest.mark.parametrize("read", [Context.get, Context.find, Context.count, SyncContext.get, SyncContext.find])
def test_a_lease_ends_before_a_read_gives_up(read: Any) -> None:
    assert inspect.signature(read).parameters["timeout"].default - 1 >= LEASE_SECONDS * 1.25


@pytest.fixture
def database(postgres18: PostgresServer) -> str:
    return postgres18.create_database(f"projections_{uuid4().hex}")


async def _fill(context: Context) -> None:
    for number in range(12):
        await context.append(f"stock-{number % 3}", [Added(count=1), Moved(other="x", count=1)])


async def _dies(url: str, point: str) -> None:
    with worker(url, point) as process:
        assert await asyncio.to_thread(process.wait, 30) == -signal.SIGKILL


def _points(*elsewhere: str) -> list[str]:
    return [point for point in points_of("projection.", "rebuild.") if point not in elsewhere]


@pytest.mark.slow
@pytest.mark.parametrize("point", _points(*POSTGRES_ONLY))
async def test_killed_on_sqlite(point: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    async with shop.connect(url, projections=False) as context:
        await _fill(context)
    await _dies(url, point)
    async with shop.connect(url, lease=LEASE) as context:
        await assert_equals_fold(context)
        await context.rebuild(Stock)
        await assert_equals_fold(context)
        assert [each.name for each in await context.projections.checkpoints()] == ["stock", "stock__previous", "total"]


@pytest.mark.postgres
@pytest.mark.parametrize("point", _points(*SQLITE_ONLY))
async def test_killed_on_postgres(point: str, database: str) -> None:
    async with shop.connect(database, projections=False) as context:
        await _fill(context)
        await _dies(database, point)
        # Whoever comes next takes over as soon as the dead one's lease is over, without a human.
        async with shop.connect(database, lease=LEASE) as next_one:
            await assert_equals_fold(next_one)
            await next_one.rebuild(Stock)
            await assert_equals_fold(next_one)
            assert [each.name for each in await next_one.projections.checkpoints()] == [
                "stock",
                "stock__previous",
                "total",
            ]


async def _owners(context: Context, wanted: set[str]) -> bool:
    return {each.owner for each in await context.projections.checkpoints()} == wanted


@pytest.mark.postgres
async def test_one_stands_by_and_takes_over(database: str) -> None:
    async with shop.connect(database, lease=LEASE) as second:
        async with shop.connect(database, lease=LEASE) as first:
            await _fill(second)
            await assert_equals_fold(first)
            await assert_equals_fold(second)
            both = {first.projections.owner, second.projections.owner}
            await until(lambda: _owners(second, both), "each to have one")
            await _fill(second)
            await assert_equals_fold(first)
            await assert_equals_fold(second)
        await until(lambda: _owners(second, {second.projections.owner}), "the one that is left to have both")
        await _fill(second)
        await assert_equals_fold(second)
    async with shop.connect(database, lease=60) as first:
        await _fill(first)
        await assert_equals_fold(first)
        async with shop.connect(database, lease=60, projections=False) as idle:
            await first.projections.stop()
            assert {each.owner for each in await idle.projections.checkpoints()} == {""}


@pytest.mark.postgres
async def test_an_owner_that_stands_still_is_fenced_out(database: str) -> None:
    async with shop.connect(database, projections=False) as idle:
        with worker(database) as process:
            await _fill(idle)
            await assert_equals_fold(idle)
            old = {each.owner for each in await idle.projections.checkpoints()}
            os.kill(process.pid, signal.SIGSTOP)
            await _fill(idle)
            async with shop.connect(database, lease=LEASE) as next_one:
                await assert_equals_fold(next_one)
                assert not old & {each.owner for each in await idle.projections.checkpoints()}
                await _fill(idle)
                os.kill(process.pid, signal.SIGCONT)
                await _fill(idle)
                await assert_equals_fold(next_one)
            # The one that stood still is the only one left.
            await _fill(idle)
            await assert_equals_fold(idle)
            assert {each.owner for each in await idle.projections.checkpoints()} == old


@pytest.mark.postgres
async def test_eight_that_begin_together(database: str) -> None:
    async with shop.connect(database, projections=False) as idle:
        await _fill(idle)

    async def begin() -> None:
        async with inline_shop.connect(database, lease=LEASE) as context:
            await _fill(context)

    await asyncio.gather(*(begin() for _ in range(8)))
    async with inline_shop.connect(database, lease=LEASE) as context:
        await assert_equals_fold(context)


@pytest.mark.postgres
@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_the_server_is_restarted(own_postgres: PostgresServer, mode: Any) -> None:
    url = own_postgres.create_database("restarted")
    async with shop.connect(url, lease=LEASE) as context:
        await _fill(context)
        await assert_equals_fold(context)
        await asyncio.to_thread(own_postgres.restart, mode)

        async def appended() -> bool:
            try:
                await _fill(context)
            except RefoldError:
                return False
            return True

        await until(appended, "appends to go on", 60)
        await assert_equals_fold(context)
        assert [each.status for each in await context.projections.checkpoints()] == ["running", "running"]


async def _restored(where: str | EventStore, other_history: bool) -> str | EventStore:
    """The store with the log of an older backup, while the read models are of today."""
    place = where
    if isinstance(where, str):
        tamperer = SqliteTamperer(where.removeprefix("sqlite:///")) if "sqlite" in where else PostgresTamperer(where)
        tamperer.remove_guards()
        tamperer.run("delete from {events}")
    else:
        place, sink = MemoryStore(), where.read_models  # type: ignore[attr-defined]
        sink._store = place
        place.read_models = sink  # type: ignore[attr-defined]
    async with shop.connect(place, projections=False) as context:
        for _ in range(6 if other_history else 1):
            await context.append("stock-a", [Added(count=100)])
    return place


@pytest.mark.parametrize("other_history", [False, True])
async def test_a_log_of_an_older_backup(where: Any, other_history: bool) -> None:
    """The checkpoint is ahead of the log, or the log has another event there: refused, and healed by a rebuild."""
    async with shop.connect(where, lease=LEASE) as context:
        for _ in range(3):
            await context.append("stock-a", [Added(count=1)])
        await assert_equals_fold(context)
    place = await _restored(where, other_history)
    async with shop.connect(place, lease=LEASE) as context:

        async def stopped() -> Any:
            return all(each.status == STOPPED for each in await context.projections.checkpoints())

        await until(stopped, "both to stop")
        said = [each.error for each in await context.projections.checkpoints()]
        wanted = "another event at position 3" if other_history else "the log ends at 1"
        assert all(wanted in each and "refold rebuild" in each for each in said)
        with pytest.raises(LogRegression):
            await context.get(Stock, "a", after=1, timeout=5)
        if not other_history:
            with pytest.raises(LogRegression):
                await context.get(Stock, "a", fresh=True)
        for model in context.app.read_models:
            await context.rebuild(model)
        await context.append("stock-b", [Added(count=1)])
        await assert_equals_fold(context)


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_an_inline_one_and_an_older_backup(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Appends are refused, the context opens, and a rebuild heals it."""
    url = f"sqlite:///{tmp_path}/log.db" if kind == "sqlite" else request.getfixturevalue("database")
    async with inline_shop.connect(url, projections=False) as context:
        for _ in range(3):
            await context.append("stock-a", [Added(count=1)])
    await _restored(url, False)
    async with inline_shop.connect(url, projections=False) as context:
        with pytest.raises(ProjectionStopped, match="older backup"):
            await context.append("stock-a", [Added(count=1)])
        await context.rebuild(Inline)
        await context.append("stock-a", [Added(count=1)])
        await assert_equals_fold(context, Inline)
