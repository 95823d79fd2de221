"""Read models in OpenSearch while processes and servers die, come back, and lose what they had."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from refold.app import Context
from refold.errors import RefoldError, StaleRead, StoreUnavailable
from tests.projections.stores import Stock, assert_equals_fold, until
from tests.servers import OpenSearchServer
from tests.sinks.common import assert_survives, connected, fill, points

pytestmark = pytest.mark.opensearch


@pytest.mark.parametrize("point", points())
async def test_killed(point: str, tmp_path: Path, opensearch: OpenSearchServer, prefix: str) -> None:
    await assert_survives(point, tmp_path, opensearch.url(prefix))


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
