"""Read models in OpenSearch while processes and servers die, come back, and lose what they had."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from refold.app import Context
from refold.errors import RefoldError, StaleRead, StoreUnavailable
from tests.faults.points import points_of
from tests.projections.stores import Added, Gone, Moved, Noise, Stock, assert_equals_fold, shop, until
from tests.servers import OpenSearchServer

pytestmark = pytest.mark.opensearch

ROOT = Path(__file__).parents[3]
LEASE = 0.6
ELSEWHERE = ("projection.checkpoint_moved", "projection.rows_written", "projection.before_write", "rebuild.switching")


@asynccontextmanager
async def connected(folder: Path, sink: str, *, projections: bool = True) -> AsyncIterator[Context]:
    async with shop.connect(
        f"sqlite:///{folder}/log.db", sinks={"stock": sink}, lease=LEASE, projections=projections
    ) as context:
        yield context


async def fill(context: Context, number: int = 30) -> int:
    last = 0
    for item in range(number):
        await context.append(f"stock-{item % 7}", [Added(count=item), Moved(other=f"{item % 5}", count=1)])
        last = (await context.append(f"stock-{item % 3}", [Gone() if item % 4 == 3 else Noise()])).last
    return last


def _points() -> list[str]:
    return [point for point in points_of("projection.", "rebuild.", "external.") if point not in ELSEWHERE]


@pytest.mark.parametrize("point", _points())
async def test_killed(point: str, tmp_path: Path, opensearch: OpenSearchServer, prefix: str) -> None:
    """Whoever comes next goes on: nothing is lost, doubled or half written."""
    sink = opensearch.url(prefix)
    async with connected(tmp_path, sink, projections=False) as context:
        await fill(context, 12)
    command = [sys.executable, "-m", "tests.sinks.opensearch.worker", f"sqlite:///{tmp_path}/log.db", sink, str(LEASE)]
    assert await asyncio.to_thread(_ended, [*command, point]) == -signal.SIGKILL
    async with connected(tmp_path, sink) as context:
        await assert_equals_fold(context)
        await fill(context, 12)
        await context.rebuild(Stock)
        await assert_equals_fold(context)


def _ended(command: list[str]) -> int:
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        try:
            return process.wait(60)
        finally:
            process.kill()


async def test_followed_and_rebuilt_while_events_come(
    tmp_path: Path, opensearch: OpenSearchServer, prefix: str
) -> None:
    async with connected(tmp_path, opensearch.url(prefix)) as context:
        filling = asyncio.create_task(fill(context, 200))
        for _ in range(3):
            await context.rebuild(Stock)
        await filling
        await assert_equals_fold(context)


async def test_emptied_behind_our_back(tmp_path: Path, opensearch: OpenSearchServer, prefix: str) -> None:
    """Found at the next page, and filled again from the log's beginning."""
    async with connected(tmp_path, opensearch.url(prefix)) as context:
        await fill(context)
        await assert_equals_fold(context)
        opensearch.ask("DELETE", f"/{prefix}-*")
        await fill(context, 1)
        await until(lambda: _has_rows(context), "the index to be made anew")
        await assert_equals_fold(context)


async def _has_rows(context: Context) -> bool:
    try:
        return bool(await context.find(Stock))
    except RefoldError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
async def test_the_server_goes_and_comes_back(tmp_path: Path, own_opensearch: OpenSearchServer, killed: bool) -> None:
    """Commands and other read models do not notice; then it goes on by itself, from what the server has kept."""
    async with connected(tmp_path, own_opensearch.url()) as context:
        await fill(context)
        await assert_equals_fold(context)
        filling = asyncio.create_task(fill(context, 60))
        await asyncio.to_thread(own_opensearch.kill if killed else own_opensearch.stop)
        last = await filling
        with pytest.raises((StoreUnavailable, StaleRead)) as raised:
            await context.get(Stock, "1", after=last, timeout=0.5)
        assert "\n" not in str(raised.value)
        await asyncio.to_thread(own_opensearch.start)
        await assert_equals_fold(context, timeout=60)


def _copy(source: Path, target: Path) -> None:
    """With its owner, who may be another user."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", source, target], check=True)


@pytest.mark.slow
async def test_the_server_lost_its_last_writes(tmp_path: Path, own_opensearch: OpenSearchServer) -> None:
    """It came back as of an older copy: the projection goes back with it, and fills up what is missing."""
    backup = tmp_path / "backup"
    async with connected(tmp_path, own_opensearch.url()) as context:
        await fill(context)
        await assert_equals_fold(context)
        await asyncio.to_thread(own_opensearch.stop)
        await asyncio.to_thread(_copy, own_opensearch.data, backup)
        await asyncio.to_thread(own_opensearch.start)
        await fill(context)
        await assert_equals_fold(context, timeout=60)
        own_opensearch.kill()
        await asyncio.to_thread(_copy, backup, own_opensearch.data)
        await asyncio.to_thread(own_opensearch.start)
        await fill(context, 2)
        await assert_equals_fold(context, timeout=60)


@pytest.mark.slow
async def test_away_at_the_start(tmp_path: Path, own_opensearch: OpenSearchServer) -> None:
    """The application starts all the same, and appends."""
    own_opensearch.kill()
    async with connected(tmp_path, own_opensearch.url()) as context:
        await fill(context)
        await asyncio.to_thread(own_opensearch.start)
        await until(lambda: _has_rows(context), "the index to be made", timeout=60)
        await assert_equals_fold(context)
