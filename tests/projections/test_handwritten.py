"""Hand-written projections: pages of events, each once and in order, with the checkpoint in the same transaction."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from refold.app import App, Context
from refold.errors import ConfigurationError, DefinitionError, StaleRead
from refold.operations.status import status_of
from refold.projections.checkpoint import PAUSED, STOPPED
from refold.projections.handwritten import HandWrittenProjection, ProjectionPage
from refold.projections.parking.care import ATTEMPTS
from refold.store.event_store import EventStore
from tests.projections.stores import Added, Gone, Noise, Stock, assert_equals_fold, place, until

ROOT = Path(__file__).parents[2]
LEASE = 0.5
CREATE = "create table if not exists seen (position bigint primary key, count int)"


def ledger() -> App:
    """An app with a projection that writes a table of the user's, and a read model beside it."""
    app = App("shop", read_models=[Stock], events=[Added, Gone, Noise])

    @app.projection("ledger", events=[Added])
    async def write(page: ProjectionPage) -> None:
        mark = "?" if "sqlite" in type(page.transaction.connection).__module__ else "%s"
        for recorded in page.events:
            assert page.after < recorded.position <= page.position
            await page.execute(f"insert into seen values ({mark}, {mark})", (recorded.position, recorded.event.count))

    return app


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def sql(request: pytest.FixtureRequest, tmp_path: Path) -> str | EventStore:
    return place(request.param, request, tmp_path)


@pytest.fixture
async def context(sql: str) -> AsyncIterator[Context]:
    async with ledger().connect(sql, lease=LEASE) as connected:
        yield connected


async def rows(context: Context) -> list[tuple[int, int]]:
    async with context.transaction() as unit:
        return [(row[0], row[1]) for row in await unit.execute("select position, count from seen order by 1")]


async def fill(context: Context, number: int = 20) -> int:
    last = 0
    for count in range(number):
        last = (await context.append("stock-a", [Added(count=count), Noise()])).last
    return last


async def test_each_event_once_and_in_order(sql: str) -> None:
    """Over restarts too; with a read model on the same feed."""
    app = ledger()
    async with app.connect(sql, projections=False) as context, context.transaction() as unit:
        await unit.execute(CREATE)
    for _ in range(2):
        async with app.connect(sql, lease=LEASE) as context:
            last = await fill(context)
            await context.reached("ledger", last)
            await assert_equals_fold(context)
    async with app.connect(sql, projections=False) as context:
        assert await rows(context) == [(1 + 2 * number, number % 20) for number in range(40)]


@pytest.mark.usefixtures("short_pauses")
async def test_one_that_stops_while_its_process_ends_is_known_to_have_stopped(
    sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App("shop", read_models=[Stock], events=[Added])
    fails, ends = asyncio.Event(), asyncio.Event()
    attempts = 0

    @app.projection("broken", events=[Added])
    async def write(page: ProjectionPage) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == ATTEMPTS:
            fails.set()
            await ends.wait()
        raise ZeroDivisionError("it is broken")

    stop = HandWrittenProjection.stop

    async def stop_and_go_on(projection: HandWrittenProjection) -> None:
        stopping = asyncio.ensure_future(stop(projection))
        await asyncio.sleep(0)
        ends.set()
        await stopping

    monkeypatch.setattr(HandWrittenProjection, "stop", stop_and_go_on)
    async with app.connect(sql, lease=30) as context:
        await context.append("stock-a", [Added(count=1)])
        await fails.wait()
    async with app.connect(sql, projections=False) as context:
        kept = {each.name: each.status for each in await context.projections.checkpoints()}
    assert kept["broken"] == STOPPED


async def test_what_fails_is_rolled_back_and_tried_again(sql: str) -> None:
    """With its checkpoint; then it stops, loudly, and neighbours go on."""
    app = ledger()
    failing = True

    @app.projection("second", events=[Added])
    async def fail(page: ProjectionPage) -> None:
        await page.execute("insert into seen values (-1, 0)")
        if failing:
            raise ZeroDivisionError("the function is wrong")

    async with app.connect(sql, lease=LEASE) as context:
        async with context.transaction() as unit:
            await unit.execute(CREATE)
        last = await fill(context, 3)
        await context.reached("ledger", last, timeout=20)

        async def stopped() -> bool:
            now = await status_of(context.store, context.projections.sink, app)
            return {each.name: each.state for each in now.projections}["second"] == "stopped"

        await until(stopped, "it to stop", 30)
        with pytest.raises(StaleRead, match="the function is wrong"):
            await context.reached("second", last)
        assert all(position > 0 for position, _ in await rows(context))
    failing = False
    async with app.connect(sql, lease=LEASE) as context:
        await context.reached("second", last)
        assert -1 in [position for position, _ in await rows(context)]


@pytest.mark.usefixtures("short_pauses")
async def test_what_it_waited_for_was_cancelled(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A request or a connection's task may be cancelled by others. That is a failure like any other; it ended the
    projection, and nobody was told.
    """
    app = App("shop", events=[Added])
    seen: list[int] = []
    cancelled = 1

    @app.projection("mailer", transaction=False)
    async def mail(page: ProjectionPage) -> None:
        nonlocal cancelled
        if cancelled:
            cancelled -= 1
            waited_for = asyncio.ensure_future(asyncio.sleep(60))
            waited_for.cancel()
            await waited_for
        seen.extend(recorded.position for recorded in page.events)

    for kind in ("memory", "sqlite"):
        seen.clear()
        cancelled = 1
        store = place(kind, request, tmp_path)
        async with app.connect(store, lease=LEASE) as context:
            last = (await context.append("stock-a", [Added(count=1)])).last
            await context.reached("mailer", last, timeout=10)
            assert seen == [1]
        cancelled = ATTEMPTS
        async with app.connect(store, lease=LEASE) as context:
            last = (await context.append("stock-a", [Added(count=1)])).last
            with pytest.raises(StaleRead, match="let a CancelledError through"):
                await context.reached("mailer", last, timeout=20)
            assert await context.projections.resume("mailer", actor="ann", reason="mended")
            await until(lambda: _is(seen, [1, 2]), "it to go on", 10)


async def _is(found: list[int], wanted: list[int]) -> bool:
    return found == wanted


async def test_it_is_paused_and_resumed_by_its_name(context: Context) -> None:
    projections = context.projections
    async with context.transaction() as unit:
        await unit.execute(CREATE)
    await context.reached("ledger", await fill(context, 3))
    assert await projections.pause("ledger", actor="ann", reason="the table is moved")
    assert not await projections.pause("ledger", actor="ann")

    async def stands() -> bool:
        return projections.running()["ledger"].status == PAUSED

    await until(stands, "it to stand still")
    assert "paused by ann" in projections.running()["ledger"].error
    last = await fill(context, 3)
    with pytest.raises(StaleRead):
        await context.reached("ledger", last, timeout=0.5)
    assert await projections.resume("ledger", actor="ann")
    await context.reached("ledger", last, timeout=20)
    with pytest.raises(ConfigurationError, match=r"no hand-written projection 'leger'; there are: ledger"):
        await projections.pause("leger", actor="ann")


async def test_without_a_transaction(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The checkpoint moves after the function has returned."""
    app = App("shop", events=[Added, Gone, Noise])
    seen: list[int] = []
    fails = 2

    @app.projection("mailer", transaction=False)
    async def mail(page: ProjectionPage) -> None:
        nonlocal fails
        with pytest.raises(ConfigurationError, match="transaction=False"):
            await page.execute("select 1")
        seen.extend(recorded.position for recorded in page.events)
        if fails:
            fails -= 1
            raise OSError("the mail server is away")

    for kind in ("memory", "sqlite"):
        seen.clear()
        async with app.connect(place(kind, request, tmp_path), lease=LEASE) as context:
            last = await fill(context, 5)
            await context.reached("mailer", last, timeout=20)
            assert list(dict.fromkeys(seen)) == list(range(1, last + 1))


@pytest.mark.slow
@pytest.mark.parametrize("point", ["handwritten.done", "handwritten.before_commit", "handwritten.moved"])
async def test_killed(point: str, sql: str) -> None:
    """Between the user's rows and the checkpoint there is nothing."""
    app = ledger()
    async with app.connect(sql, projections=False) as context:
        async with context.transaction() as unit:
            await unit.execute(CREATE)
        last = await fill(context)
    program = (
        "import asyncio, os, signal\n"
        "from refold import faults\n"
        "from tests.projections.test_handwritten import ledger\n"
        f"faults.install(lambda p: os.kill(os.getpid(), signal.SIGKILL) if p == {point!r} else None)\n"
        "async def main():\n"
        f"    async with ledger().connect({sql!r}, lease=0.5):\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    died = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL
    async with app.connect(sql, lease=LEASE) as context:
        await context.reached("ledger", last, timeout=20)
        assert await rows(context) == [(1 + 2 * number, number) for number in range(20)]


@pytest.mark.postgres
async def test_shared_by_several_processes(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """One has it at a time, whoever comes and goes."""
    url: Any = place("postgres", request, tmp_path)
    app = ledger()
    async with app.connect(url, lease=LEASE) as first:
        async with first.transaction() as unit:
            await unit.execute(CREATE)
        last = 0
        for _ in range(3):
            async with app.connect(url, lease=LEASE) as second:
                last = await fill(second)
                await second.reached("ledger", last, timeout=20)
        await first.reached("ledger", last, timeout=20)
        assert len(await rows(first)) == 60


async def test_waiting_for_what_is_not_there(context: Context) -> None:
    with pytest.raises(ConfigurationError, match=r"no hand-written projection 'leger'; there are: ledger"):
        await context.reached("leger", 1)
    with pytest.raises(StaleRead):
        await context.reached("ledger", 99, timeout=0.05)


def test_wrong_declarations() -> None:
    """They are refused where they stand."""
    app = App("shop", read_models=[Stock], events=[Added, Gone, Noise])

    async def good(page: ProjectionPage) -> None:
        """Nothing."""

    def not_async(page: ProjectionPage) -> None:
        """Nothing."""

    async def two(page: ProjectionPage, more: int) -> None:
        """Nothing."""

    app.projection("good")(good)
    for name, function, said in (
        ("good", good, "is taken"),
        ("stock", good, "is taken"),
        ("Bad", good, "a name must be"),
        ("refold_x", good, "a name must be"),
        ("not_async", not_async, "must be an async function"),
        ("two", two, "must be an async function"),
    ):
        with pytest.raises(DefinitionError, match=said):
            app.projection(name)(function)  # type: ignore[type-var]
    other = App("other", events=[Noise])
    with pytest.raises(DefinitionError, match="has no event 'Added'"):
        other.projection("x", events=[Added])(good)
