"""Events that kill the process, and processes that die while a parked row is dealt with."""

from __future__ import annotations

import asyncio
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

from refold.app import App, Context
from refold.folds.read_model import read_model_of
from refold.projections.checkpoint import STOPPED
from refold.projections.parking.care import DEATHS
from tests.faults.points import points_of
from tests.projections.killer import MENDED, Bystander, Parks, Put, Stops, parking, stopping
from tests.projections.stores import until
from tests.servers import PostgresServer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LEASE = 0.6
KINDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log.db"
    server: PostgresServer = request.getfixturevalue("postgres18")
    return server.create_database(f"deadly_{uuid4().hex}")


@contextmanager
def worker(url: str, deadly: str, which: str, point: str = "", ask: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that keeps the read models current, until it dies."""
    command = [sys.executable, "-m", "tests.projections.killer", url, str(LEASE), deadly, which, point, ask]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()
        process.stdin.close()


async def _dies(url: str, deadly: str, which: str, point: str = "", ask: str = "") -> None:
    with worker(url, deadly, which, point, ask) as process:
        code = await asyncio.to_thread(process.wait, 30)
        assert code == (-signal.SIGKILL if point else 9)


async def _fill(app: App, url: str) -> int:
    async with app.connect(url, projections=False) as context:
        for number in range(150):
            await context.append(f"box-{'ab'[number % 2]}", [Put(what=str(number))])
        await context.append("box-a", [Put(what="deadly"), Put(what="after")])
        return (await context.append("box-b", [Put(what="last")])).last


async def _stopped(context: Context, name: str) -> Any:
    checkpoint = await context.projections.sink.checkpoint(name)
    return checkpoint if checkpoint is not None and checkpoint.status == STOPPED else None


async def test_an_event_that_kills_stops_its_read_model(url: str) -> None:
    last = await _fill(stopping, url)
    deaths = 0
    while deaths < 10:
        with worker(url, "deadly", "stops") as process:
            if await asyncio.to_thread(_is_quiet, process):
                break
            assert await asyncio.to_thread(process.wait, 30) == 9
            deaths += 1
    # Once in bulk, once in a small piece, and then alone.
    assert deaths == 2 + DEATHS
    async with stopping.connect(url, lease=LEASE) as context:
        stopped = await until(lambda: _stopped(context, "stops"), "it to stop")
        assert stopped.position == 150
        assert f"at position 151 (stream 'box-a') killed the worker {DEATHS} times" in stopped.error
        assert "refold resume stops" in stopped.error
        # Others are not blamed for it.
        row = await context.get(Bystander, "b", after=last, timeout=20)
        assert row is not None
        assert row.count == 76
        # It is not tried again by a restart, but when an operator says so.
        assert await context.projections.operator.resume(read_model_of(Stops), actor="ann", reason="mended")
        mended = await context.get(Stops, "a", after=last, timeout=20)
        assert mended is not None
        assert mended.things[-2:] == ["deadly", "after"]
        assert len(mended.things) == 77


def _is_quiet(process: subprocess.Popen[str]) -> bool:
    """Whether it lives, and says that what kills is left alone. Comes back when it says so, or has died."""
    assert process.stdout is not None
    return any(line == "quiet\n" for line in process.stdout)


async def test_an_event_that_kills_parks_its_row(url: str) -> None:
    last = await _fill(parking, url)
    for _ in range(2 + DEATHS):
        await _dies(url, "deadly", "parks")
    with worker(url, "deadly", "parks") as process:
        assert await asyncio.to_thread(_is_quiet, process)
        # One process has the file of SQLite: what it did is seen when it is gone.
        if not url.startswith("sqlite"):
            async with parking.connect(url, projections=False) as context:
                row = await context.get(Parks, "b", after=last, timeout=20)
                assert row is not None
                assert row.things[-1] == "last"
    async with parking.connect(url, lease=LEASE) as context:
        row = await context.get(Parks, "b", after=last, timeout=20)
        assert row is not None
        assert len(row.things) == 76
        (parked,) = await context.projections.operator.parked()
        assert (parked.key, parked.position, parked.attempts) == ('["a"]', 151, DEATHS)
        assert f"killed the worker {DEATHS} times" in parked.error
        # Mended here.
        done = await context.projections.operator.ask(
            read_model_of(Parks), "a", "retry", actor="ann", reason="", timeout=20
        )
        assert done.details["done"]
        mended = await context.get(Parks, "a", after=last, timeout=20)
        assert mended is not None
        assert mended.things[-2:] == ["deadly", "after"]
        assert len(mended.things) == 77


async def test_a_process_that_is_only_killed_is_not_held_against_an_event(url: str) -> None:
    last = await _fill(stopping, url)
    for _ in range(4):
        with worker(url, "none", "stops") as process:
            assert process.stdout is not None
            await asyncio.to_thread(process.stdout.readline)
            os.kill(process.pid, signal.SIGKILL)
            await asyncio.to_thread(process.wait, 30)
    async with stopping.connect(url, lease=LEASE) as context:
        row = await context.get(Stops, "b", after=last, timeout=20)
        assert row is not None
        assert len(row.things) == 76
        await until(lambda: _forgotten(context), "what was tried to be forgotten")


async def _forgotten(context: Context) -> bool:
    return not await context.projections.sink.records.attempts()


async def _bad(url: str) -> int:
    async with parking.connect(url, projections=False) as context:
        await context.append("box-a", [Put(what="1"), Put(what="bad"), Put(what="2")])
        return (await context.append("box-b", [Put(what="3")])).last


async def _parked(context: Context) -> bool:
    return bool(await context.projections.operator.parked())


def _points(*but: str) -> list[str]:
    return [point for point in points_of("parking.") if point not in but]


@pytest.mark.parametrize("point", _points("parking.request_found", "parking.request_folded"))
async def test_killed_while_it_parks(url: str, point: str) -> None:
    """Whatever the moment, the row waits in the end, once, and nothing of the others is lost or doubled."""
    if point == "parking.before_commit" and url.startswith("sqlite"):
        pytest.skip("only Postgres writes rows and changes by several statements")
    last = await _bad(url)
    await _dies(url, "none", "parks", point)
    async with parking.connect(url, lease=LEASE) as context:
        row = await context.get(Parks, "b", after=last, timeout=30)
        assert row is not None
        assert row.things == ["3"]
        await until(lambda: _parked(context), "it to be parked")
        (parked,) = await context.projections.operator.parked()
        assert parked.position == 2
        waiting = await context.get(Parks, "a")
        assert waiting is not None
        assert waiting.things == ["1"]


@pytest.mark.parametrize("kind", ["retry", "release", "skip"])
@pytest.mark.parametrize("point", _points("parking.attempt_noted"))
async def test_killed_while_a_row_is_dealt_with(url: str, point: str, kind: Any) -> None:
    """Who asked died with it: what was asked is done by the next owner, once."""
    if point == "parking.before_commit" and url.startswith("sqlite"):
        pytest.skip("only Postgres writes rows and changes by several statements")
    await _bad(url)
    async with parking.connect(url, lease=LEASE) as context:
        await until(lambda: _parked(context), "it to be parked")
    await _dies(url, "none", "parks", point, kind)
    MENDED.add("bad")
    try:
        async with parking.connect(url, lease=LEASE) as context:
            if point == "parking.changed" and await _parked(context) and not await _asked(context):
                # It died before its wish was kept.
                done = await context.projections.operator.ask(
                    read_model_of(Parks),
                    "a",
                    kind,
                    actor="ann",
                    reason="mended",
                    timeout=20,
                )
                assert done.details["done"]
            await until(lambda: _none_parked(context), "it to go on")
            last = await context.append("box-a", [Put(what="4")])
            row = await context.get(Parks, "a", after=last, timeout=20)
            assert row is not None
            assert row.things == [each for each in ["1", "bad", "2", "4"] if (kind, each) != ("skip", "bad")]
            done_ones = [
                each for each in await context.projections.operator.operations() if each.operation.endswith(": done")
            ]
            assert len(done_ones) == 1
    finally:
        MENDED.clear()


async def _asked(context: Context) -> bool:
    return any(each.request for each in await context.projections.operator.parked())


async def _none_parked(context: Context) -> bool:
    return not await context.projections.operator.parked()


async def test_a_retry_that_kills_is_given_up(url: str) -> None:
    """The row waits on, and its worker lives."""
    await _bad(url)
    async with parking.connect(url, lease=LEASE) as context:
        await until(lambda: _parked(context), "it to be parked")
    # What only failed before kills now.
    await _dies(url, "bad", "parks", "", "retry")
    for _ in range(DEATHS - 1):
        await _dies(url, "bad", "parks")
    async with parking.connect(url, lease=LEASE) as context:
        last = await context.append("box-b", [Put(what="4")])
        row = await context.get(Parks, "b", after=last, timeout=20)
        assert row is not None
        (parked,) = await context.projections.parked()
        assert (parked.position, parked.request, parked.error) == (2, "", f"retry killed the worker {DEATHS} times")
        newest = (await context.projections.operations())[0]
        assert (newest.operation, newest.details["done"]) == ("parked retry: failed", False)
