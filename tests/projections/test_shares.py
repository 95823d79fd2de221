"""A rebuild in several processes gives the rows that one gives."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import psycopg
import pytest

from refold import faults
from refold.app import App
from refold.errors import ConfigurationError, FoldFailed, ProjectionStopped
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel
from refold.projections.sink import building
from refold.store.event_store import EventStore
from tests.projections.stores import (
    Added,
    Gone,
    Moved,
    Noise,
    Poison,
    Stock,
    Total,
    assert_equals_fold,
    bulk,
    shop,
)
from tests.servers import PostgresServer

pytestmark = pytest.mark.postgres


class Counted(ReadModel, key="item"):
    """Its rows have their streams' ids: processes skip what is not theirs undecoded."""

    item: str
    count: int = 0

    @evolve
    def added(self, event: Added) -> None:
        self.count += event.count

    @evolve
    def gone(self, event: Gone) -> None:
        self.count = 0


counting = App("shop", read_models=[Counted, Stock, Total], events=[Added, Moved, Gone, Noise, Poison])


@pytest.fixture
def url(postgres18: PostgresServer) -> str:
    return postgres18.create_database(f"shares_{uuid4().hex}")


async def fill(context: Any) -> int:
    last = 0
    for number in range(40):
        await context.append(
            f"stock-{number % 7}", [Added(count=number), Moved(other=f"{number % 5}", count=1), Noise()]
        )
        # Of another category, and the same rows.
        await context.append(f"shelf-{number % 7}", [Added(count=3)])
        last = (await context.append(f"stock-{number % 3}", [Gone() if number % 4 == 3 else Noise()])).last
    return last


@pytest.mark.parametrize("jobs", [2, 3])
async def test_the_same_rows(url: str, jobs: int) -> None:
    """Where a row has its stream's id, where an event changes two rows, where all change one."""
    async with counting.connect(url, projections=False) as context:
        await bulk(context, 12_000, name="Added", payload=b'{"count":1}')
        last = await fill(context)
        told: list[Any] = []
        for model in (Counted, Stock, Total):
            assert await context.rebuild(model, jobs=jobs, progress=told.append) == last
        await assert_equals_fold(context)
        assert told[-1].done == told[-1].total == last


async def test_while_appends_go_on(url: str) -> None:
    """What comes meanwhile is in the rows; reads with a receipt never see older ones."""
    async with counting.connect(url, lease=1.0) as context:
        await bulk(context, 10_000, name="Added", payload=b'{"count":1}')
        done = False

        async def append() -> None:
            count = 0
            while not done:
                count += 1
                receipt = await context.append("stock-a", [Added(count=1)])
                row = await context.get(Counted, "a", after=receipt, timeout=30)
                assert row is not None
                assert row.count == count

        appending = asyncio.create_task(append())
        try:
            for _ in range(2):
                await context.rebuild(Counted, jobs=2)
        finally:
            done = True
            await appending
        await assert_equals_fold(context, Counted)


@contextlib.contextmanager
def held_back(url: str) -> Iterator[Callable[[], None]]:
    """The processes of a rebuild work, and none of them comes to its end, until they are let go: none can write."""
    with psycopg.connect(url) as session:

        def lock(point: str) -> None:
            if point == "rebuild.begun":
                session.execute(f"lock table {building('counted')} in exclusive mode")

        faults.install(lock)
        try:
            yield session.rollback
        finally:
            faults.install(None)


def _children() -> list[psutil.Process]:
    """The living processes of a rebuild."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie counts as such
            if "refold.app.share" in child.cmdline():
                found.append(child)
    return found


async def test_one_process_is_killed(url: str) -> None:
    """The rebuild fails in words, and leaves nothing behind; the next one is right."""
    async with counting.connect(url, projections=False) as context:
        await bulk(context, 60_000, name="Added", payload=b'{"count":1}')
        killed = False

        def kill_one(_: Any) -> None:
            nonlocal killed
            if not killed:
                killed = True
                os.kill(_children()[0].pid, signal.SIGKILL)
                let_go()

        with (
            held_back(url) as let_go,
            pytest.raises(ProjectionStopped, match=r"a process of the rebuild ended early \(exit code -9\)"),
        ):
            await context.rebuild(Counted, jobs=2, progress=kill_one)
        assert await context.projections.sink.checkpoint(building("counted")) is None
        assert not _children()
        await context.rebuild(Counted, jobs=2)
        await assert_equals_fold(context, Counted)


async def test_another_builder_takes_over(url: str) -> None:
    """The processes of the first write nothing into the table of the second."""
    async with counting.connect(url, projections=False) as context:
        await bulk(context, 60_000, name="Added", payload=b'{"count":1}')
        sink, definition = context.projections.sink, context.app.read_models[Counted]
        taken = asyncio.Event()
        loop = asyncio.get_running_loop()

        async def take() -> None:
            table = building("counted")
            assert await sink.claim(table, "thief", 30, force=True) is not None
            let_go()
            assert await sink.begin(definition, "thief", 0) is not None
            taken.set()

        def told(_: Any) -> None:
            if not tasks:
                tasks.append(loop.create_task(take()))

        tasks: list[asyncio.Task[None]] = []
        with held_back(url) as let_go, pytest.raises(ProjectionStopped):
            await context.rebuild(Counted, jobs=2, progress=told)
        await asyncio.wait_for(taken.wait(), 20)
        await tasks[0]
        await context.rebuild(Counted)
        await assert_equals_fold(context, Counted)


async def test_an_event_that_cannot_be_folded(url: str) -> None:
    async with counting.connect(url, projections=False) as context:
        await bulk(context, 100, name="Added", payload=b'{"count":1}')
        await context.append("stock-a", [Poison()])
        with pytest.raises((ProjectionStopped, FoldFailed), match="it is poison"):
            await context.rebuild(Total, jobs=2)
        await bulk(context, 10, name="Unheard", payload=b"{}")
        with pytest.raises(ProjectionStopped, match="no event class is named 'Unheard'"):
            await context.rebuild(Counted, jobs=2)


async def test_where_it_cannot_be(url: str, tmp_path: Path) -> None:
    """Each with its reason."""
    async with shop.connect(f"sqlite:///{tmp_path}/log.db", projections=False) as context:
        with pytest.raises(ConfigurationError, match="one process writes a SQLite store"):
            await context.rebuild(Stock, jobs=2)

    class Local(ReadModel, key="item"):
        item: str

        @evolve
        def added(self, event: Added) -> None:
            """Nothing."""

    local = App("local", read_models=[Local])
    async with local.connect(url, projections=False) as context:
        with pytest.raises(ConfigurationError, match="is in no module for that"):
            await context.rebuild(Local, jobs=2)
        for jobs in (0, 65, True, "2"):
            with pytest.raises(ConfigurationError, match="must be a number of processes"):
                await context.rebuild(Local, jobs=jobs)  # type: ignore[arg-type]


async def test_a_store_that_was_given_open(url: str) -> None:
    """Other processes do not know where it is."""
    from refold.store.postgres import open_postgres

    store: EventStore = await open_postgres(url)
    async with shop.connect(store, projections=False) as context:
        with pytest.raises(ConfigurationError, match="needs Postgres"):
            await context.rebuild(Stock, jobs=2)
    await store.close()
