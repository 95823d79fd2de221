"""Operators pause, resume and end a rebuild that runs in other processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from refold import faults
from refold.app import Context
from refold.errors import ProjectionStopped
from refold.operations.status import ProjectionStatus, status_of
from refold.projections.giving_way import _FIRST_PAGE as FIRST
from refold.projections.sink import building
from tests.projections.stores import Added, Stock, assert_equals_fold, bulk, shop, until
from tests.servers import PostgresServer

pytestmark = pytest.mark.postgres
ROOT = Path(__file__).parents[2]
TABLE = building("stock")


class Builder:
    """A process that rebuilds."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []

    async def says(self, text: str) -> str:
        """The next line that begins so."""
        assert self.process.stdout is not None
        while True:
            line = await asyncio.to_thread(self.process.stdout.readline)
            assert line, self.said
            self.said.append(line.strip())
            if line.startswith(text):
                return line.strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@contextmanager
def builder(
    url: str, *, jobs: int = 1, what: str = "rebuild", point: str = "projection.folded", lease: float = 1.0
) -> Iterator[Builder]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.projections.builder", url, str(jobs), str(lease), what, point],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Builder(process)
    finally:
        process.kill()
        process.wait(30)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def url(postgres18: PostgresServer) -> str:
    return postgres18.create_database(f"orders_{uuid4().hex}")


@pytest.fixture
async def context(url: str) -> AsyncIterator[Context]:
    async with shop.connect(url, projections=False, lease=1.0) as connected:
        await bulk(connected, 12_000, name="Added", payload=b'{"count":1}')
        await connected.append("stock-a", [Added(count=1)])
        yield connected


async def status(context: Context) -> ProjectionStatus:
    now = await status_of(context.store, context.projections.sink, context.app)
    return next(each for each in now.projections if each.name == TABLE)


async def done_by_operators(context: Context) -> list[tuple[str, str, str, str]]:
    done = await context.projections.operations()
    return [(each.actor, each.operation, each.target, each.reason) for each in reversed(done)]


async def test_paused_and_resumed(context: Context, url: str) -> None:
    """What is folded is written before it stands still; status says who wanted it, and why."""
    operator = context.projections
    # It keeps no lease while it waits at its point, and would be called abandoned on a busy machine.
    with builder(url, lease=60) as building_up:
        await building_up.says("at projection.folded")
        assert (await status(context)).state == "rebuilding"
        assert await operator.pause_rebuild(Stock, actor="ann", reason="it is noon")
        assert not await operator.pause_rebuild(Stock, actor="bob")
        building_up.go_on()
        await building_up.says("paused")
        now = await status(context)
        assert (now.state, now.position) == ("paused", FIRST)
        assert "its rebuild was paused by ann at " in now.error
        assert "it is noon; run `refold rebuild stock --resume`" in now.error
        assert await operator.resume_rebuild(Stock, actor="bob")
        assert not await operator.resume_rebuild(Stock, actor="bob")
        await building_up.says("done")
    await assert_equals_fold(context, Stock)
    assert await done_by_operators(context) == [
        ("ann", "rebuild: pause", "stock", "it is noon"),
        ("bob", "rebuild: resume", "stock", ""),
    ]


async def test_a_pause_outlives_its_process(context: Context, url: str) -> None:
    """The next one goes on where the killed one stood, and stands still too, until somebody resumes it."""
    with builder(url) as first:
        await first.says("at projection.folded")
        await context.projections.pause_rebuild(Stock, actor="ann")
        first.go_on()
        await first.says("paused")
        first.process.kill()
    assert (await status(context)).state == "paused"
    with builder(url, point="none") as second:
        await second.says("paused")
        assert second.said == [f"progress {2 * FIRST}", "paused"]
        await context.projections.resume_rebuild(Stock, actor="ann")
        await second.says("done")
    await assert_equals_fold(context, Stock)


async def test_resumed_while_it_was_away(context: Context, url: str) -> None:
    with builder(url) as first:
        await first.says("at projection.folded")
        await context.projections.pause_rebuild(Stock, actor="ann")
    assert await context.projections.resume_rebuild(Stock, actor="ann")
    await context.rebuild(Stock)
    await assert_equals_fold(context, Stock)


@pytest.mark.parametrize("paused", [True, False])
async def test_cancelled(paused: bool, context: Context, url: str) -> None:
    """It ends with the reason, nothing of it is left, and what is read is as it was."""
    with builder(url) as building_up:
        await building_up.says("at projection.folded")
        if paused:
            await context.projections.pause_rebuild(Stock, actor="ann")
            building_up.go_on()
            await building_up.says("paused")
        assert await context.projections.cancel_rebuild(Stock, actor="bob", reason="wrong one")
        if not paused:
            building_up.go_on()
        said = await building_up.says("ended")
        assert said == "ended: the rebuild of 'stock' was cancelled by bob: wrong one"
    await nothing_is_left(context)
    assert not await context.projections.cancel_rebuild(Stock, actor="bob")
    assert (await done_by_operators(context))[-1] == ("bob", "rebuild: cancel", "stock", "wrong one")
    with builder(url, point="none") as next_one:
        await next_one.says("done")
    await assert_equals_fold(context, Stock)


async def nothing_is_left(context: Context) -> None:
    store: Any = context.store
    assert await store.run("select 1 where to_regclass($1) is not null", (f'"{TABLE}"',)) == []
    assert [each.name for each in await context.projections.checkpoints()] == ["stock", "total"]
    assert await context.projections.sink.records.pauses() == []


async def test_cancelled_after_it_was_killed(context: Context, url: str) -> None:
    with builder(url) as building_up:
        await building_up.says("at projection.folded")
    assert await context.projections.cancel_rebuild(Stock, actor="bob")
    await nothing_is_left(context)


async def test_the_canceller_is_killed(context: Context, url: str) -> None:
    """It has said that it cancels, and did not: the rebuild goes on, and can be cancelled again."""

    def die(point: str) -> None:
        if point == "orders.cancelling":
            raise ZeroDivisionError

    with builder(url) as building_up:
        await building_up.says("at projection.folded")
        faults.install(die)
        try:
            with pytest.raises(ZeroDivisionError):
                await context.projections.cancel_rebuild(Stock, actor="bob")
        finally:
            faults.install(None)
        building_up.go_on()
        await building_up.says("done")
    await assert_equals_fold(context, Stock)


async def test_all_processes_of_a_rebuild_obey(context: Context, url: str) -> None:
    """Each stands still after the page that it folds, and goes on; or ends."""
    operator = context.projections
    with builder(url, jobs=2, point="rebuild.begun") as building_up:
        await building_up.says("at rebuild.begun")
        await operator.pause_rebuild(Stock, actor="ann")
        building_up.go_on()
        await building_up.says(f"progress {FIRST}")
        assert (await status(context)).state == "paused"
        await operator.resume_rebuild(Stock, actor="ann")
        await building_up.says("done")
    await assert_equals_fold(context, Stock)
    with builder(url, jobs=2, point="rebuild.begun") as building_up:
        await building_up.says("at rebuild.begun")
        await operator.pause_rebuild(Stock, actor="ann")
        building_up.go_on()
        await building_up.says(f"progress {FIRST}")
        await operator.cancel_rebuild(Stock, actor="bob")
        # The one that has just told its page may not stand still yet, and fold another meanwhile.
        assert await building_up.says("ended") == "ended: the rebuild of 'stock' was cancelled by bob"

    async def gone() -> bool:
        return await context.projections.sink.checkpoint(TABLE) is None

    await until(gone, "it to be cleared away")
    await assert_equals_fold(context, Stock)


async def test_there_is_none(context: Context) -> None:
    with pytest.raises(ProjectionStopped, match="no rebuild of read model 'stock' is there to be paused"):
        await context.projections.pause_rebuild(Stock, actor="ann")
    assert not await context.projections.resume_rebuild(Stock, actor="ann")
    assert not await context.projections.cancel_rebuild(Stock, actor="ann")
    assert await done_by_operators(context) == []


@pytest.mark.parametrize("point", ["rebuild.begun", "projection.folded", "review.compared"])
async def test_a_comparison_that_is_killed(point: str, context: Context, url: str) -> None:
    """The next rebuild, or comparison, clears away what it left; what is read is as it was."""
    await context.rebuild(Stock)
    before = await context.projections.sink.checkpoint("stock")
    with builder(url, what="compare", point=point) as comparing:
        await comparing.says(f"at {point}")
    assert (await status(context)).state in ("rebuilding", "abandoned")
    assert await context.projections.sink.checkpoint("stock") == before
    diff = await context.compare_rebuild(Stock)
    assert diff.differing == 0
    assert await context.projections.sink.checkpoint(TABLE) is None
    assert await context.projections.sink.checkpoint("stock") == before
