"""Read models in Neo4j while processes and servers die, come back, and lose what they had."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from refold import faults
from refold.app import App, Context
from refold.errors import RefoldError, StaleRead, StoreUnavailable
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel
from refold.projections.checkpoint import Move
from refold.projections.sink import building
from tests.projections.stores import Added, Gone, Moved, Noise, Stock, assert_equals_fold, until
from tests.servers import Neo4jServer
from tests.sinks.common import (
    LEASE,
    STOCK,
    assert_survives,
    connected,
    error_of,
    fill,
    made,
    opened,
    points,
    reads,
)

pytestmark = pytest.mark.neo4j


@pytest.mark.parametrize("point", points("neo4j.", but={"external.rows_before_checkpoint", "neo4j.part_cleared"}))
async def test_killed(point: str, tmp_path: Path, url: str) -> None:
    await assert_survives(point, tmp_path, url)


class Stopped(Exception):
    """Stands for the death of a process."""


@pytest.fixture
def stopping() -> Iterator[None]:
    def stop(point: str) -> None:
        if point == "neo4j.part_cleared":
            raise Stopped

    faults.install(stop)
    yield
    faults.install(None)


@pytest.mark.usefixtures("stopping")
async def test_what_was_not_cleared_away_is_cleared_by_the_next(
    url: str, neo4j_server: Neo4jServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refold.projections.sinks.neo4j_tables._CLEARED_AT_ONCE", 3)
    async with opened(url) as rows:
        await made(rows)
        page = [Stock(item=f"{number}") for number in range(10)]
        assert await rows.write(STOCK, "stock", page, [], Move(0, 1, "x", 1))
        with pytest.raises(Stopped):
            await rows.drop("stock")
        assert await rows.standing("stock") is None
        assert len(neo4j_server.ask("MATCH (n:ShopStock_1) RETURN n")) == 7
        faults.install(None)
        await made(rows, building("stock"))
        assert neo4j_server.ask("MATCH (n:ShopStock_1) RETURN n") == []
        assert await rows.standing("stock") is None


async def test_followed_and_rebuilt_while_events_come(tmp_path: Path, url: str) -> None:
    async with connected(tmp_path, url) as context:
        filling = asyncio.create_task(fill(context, 60))
        for _ in range(2):
            await context.rebuild(Stock)
        await filling
        await assert_equals_fold(context)


async def test_emptied_behind_our_back(tmp_path: Path, url: str, neo4j_server: Neo4jServer) -> None:
    """Found at the next page, and filled again from the log's beginning."""
    async with connected(tmp_path, url) as context:
        await fill(context, 10)
        await assert_equals_fold(context)
        neo4j_server.ask("MATCH (n) DETACH DELETE n")
        await fill(context, 3)
        await until(lambda: reads(context), "the table to be made anew")
        await assert_equals_fold(context)


class Other(ReadModel, key="item", name="stock"):
    """The stock of another release."""

    item: str
    added_in_all: int = 0

    @evolve
    def added(self, event: Added) -> None:
        self.added_in_all += event.count


async def test_two_releases_at_once(tmp_path: Path, url: str) -> None:
    """The later one builds rows of its own beside those that serve, and puts them in their place; the earlier one does
    not write into them.
    """
    log = f"sqlite:///{tmp_path}/log.db"
    other = App("shop", read_models=[Other], events=[Added, Moved, Gone, Noise])
    async with connected(tmp_path, url) as context:
        await fill(context, 10)
        await until(lambda: reads(context), "the table to be made")
        await assert_equals_fold(context)
    async with other.connect(log, sinks={"stock": url}, lease=LEASE) as later:
        await until(lambda: _is_current(later), "the new rows to be there", 30)
    async with connected(tmp_path, url) as context:
        await fill(context, 3)
    async with other.connect(log, sinks={"stock": url}, lease=LEASE) as later:
        await until(lambda: _is_current(later), "the later events to be there", 30)


async def _is_current(context: Context) -> bool:
    try:
        await assert_equals_fold(context, timeout=1)
    except (RefoldError, AssertionError):
        return False
    return True


@pytest.mark.slow
async def test_the_server_goes_and_comes_back(tmp_path: Path, url: str, neo4j_server: Neo4jServer) -> None:
    """Commands go on; the projection says that it waits, and goes on by itself."""
    async with connected(tmp_path, url) as context:
        await fill(context, 10)
        await assert_equals_fold(context)
        filling = asyncio.create_task(fill(context, 20))
        await asyncio.to_thread(neo4j_server.kill)
        last = await filling
        with pytest.raises((StaleRead, StoreUnavailable)):
            await context.get(Stock, "1", after=last, timeout=0.3)
        error = await until(lambda: error_of(context), "the reason to be shown")
        assert f"neo4j at 127.0.0.1:{neo4j_server.port}/neo4j cannot be reached" in error
        assert neo4j_server.password not in error
        assert "\n" not in error
        await asyncio.to_thread(neo4j_server.start)
        await until(lambda: reads(context), "reads to be answered again")
        await assert_equals_fold(context)


def _state(task: Path) -> str:
    """The letter that Linux has for what a thread does."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


async def test_a_server_that_stands_still(url: str, neo4j_server: Neo4jServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for without end, neither before a statement nor after it."""
    async with opened(url) as rows:
        await made(rows)
        pid = neo4j_server.pid
        assert pid is not None

        def stop(point: str) -> None:
            if point == "neo4j.before_commit":
                os.kill(pid, signal.SIGSTOP)
                # The signal is given at once, and each of the server's threads obeys when it is looked at.
                while any(_state(task) not in "Tt" for task in Path(f"/proc/{pid}/task").iterdir()):
                    os.sched_yield()
                # Not before: on a busy machine a living server may take as long for a statement.
                monkeypatch.setattr("refold.projections.sinks.neo4j_server._SECONDS_TO_ANSWER", 0.3)

        faults.install(stop)
        try:
            with pytest.raises(StoreUnavailable, match=r"cannot be reached: no answer within 0\.3 s"):
                await rows.write(STOCK, "stock", [Stock(item="a")], [], Move(0, 1, "x", 1))
            with pytest.raises(StoreUnavailable, match="cannot be reached: "):
                await rows.standing("stock")
        finally:
            faults.install(None)
            os.kill(pid, signal.SIGCONT)
        monkeypatch.undo()
        stands = await rows.standing("stock")
        assert stands is not None
        assert await rows.count(STOCK, "stock", None) == stands.position


def _copy(source: Path, target: Path) -> None:
    """With its owner, who may be another user."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", source, target], check=True)


@pytest.mark.slow
async def test_it_lost_its_last_writes(tmp_path: Path, url: str, neo4j_server: Neo4jServer) -> None:
    """It came back as of an older copy: the projection goes back with it, and fills up what is missing. It was away
    when the process began, too.
    """
    backup = tmp_path / "backup"
    async with connected(tmp_path, url) as context:
        await fill(context, 10)
        await assert_equals_fold(context)
    await asyncio.to_thread(neo4j_server.stop)
    await asyncio.to_thread(_copy, neo4j_server.data, backup)
    async with connected(tmp_path, url) as context:
        await fill(context, 10)
        await asyncio.to_thread(neo4j_server.start)
        await until(lambda: reads(context), "reads to be answered")
        await assert_equals_fold(context)
        await asyncio.to_thread(neo4j_server.kill)
        await asyncio.to_thread(_copy, backup, neo4j_server.data)
        await asyncio.to_thread(neo4j_server.start)
        await fill(context, 2)
        await until(lambda: reads(context), "reads to be answered again")
        await assert_equals_fold(context)
