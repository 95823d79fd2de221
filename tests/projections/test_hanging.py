"""What hangs in a living process is given up by it: another takes it over, or it begins anew."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from refold.app import App, Context
from refold.projections.checkpoint import RUNNING
from refold.projections.counts import FoldCounts
from refold.projections.handwritten import ProjectionPage
from refold.projections.watchdog import Watchdog
from refold.store.doorbell import Doorbell
from refold.store.event_store import EventStore
from refold.testing.memory import MemoryStore
from tests.projections.stores import Added, place, until
from tests.projections.test_roster import LEASE, MODELS, app

PATIENCE = 0.6


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> str | EventStore:
    return place(request.param, request, tmp_path)


def _hang(context: Context, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the projection of this context writes in this term never comes back, though its event loop turns."""
    projection = context.projections.local(name)
    assert projection is not None
    term, sink = projection.epoch, context.projections.sink
    write = sink.write

    async def hang(definition: Any, table: str, rows: Any, deleted: Any, move: Any) -> bool:
        if (table, move.epoch) == (name, term):
            await asyncio.Event().wait()
        return await write(definition, table, rows, deleted, move)

    monkeypatch.setattr(sink, "write", hang)


async def _owners(context: Context) -> dict[str, str]:
    return {each.name: each.owner for each in await context.projections.checkpoints()}


async def _owned(context: Context, name: str) -> bool:
    return bool((await _owners(context))[name])


async def test_another_process_takes_it_over(
    shared: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with (
        app.connect(shared, lease=LEASE, patience=PATIENCE) as first,
        app.connect(shared, lease=LEASE, patience=PATIENCE) as second,
    ):

        async def three_each() -> Any:
            owners = list((await _owners(first)).values())
            return [owners.count(each.projections.owner) for each in (first, second)] == [3, 3]

        await until(three_each, "three read models each")
        mine = sorted(name for name, owner in (await _owners(first)).items() if owner == first.projections.owner)
        victim = next(model for model in MODELS if model.__read_model__.name == mine[0])
        _hang(first, mine[0], monkeypatch)
        last = (await first.append("stock-a", [Added(count=1)])).last
        row: Any = await second.get(victim, "a", after=last, timeout=20)
        assert row.count == 1

        async def only_that() -> bool:
            owners = await _owners(first)
            wanted = dict.fromkeys(mine, first.projections.owner) | {mine[0]: second.projections.owner}
            return {name: owners[name] for name in mine} == wanted

        # Where this process gets no turn for as long as a lease, others are lent for a moment, and come back.
        await until(only_that, "what does not hang to be where it was")
        said = [record.getMessage() for record in caplog.records]
        assert [each.split(":")[0] for each in said if "is given up" in each] == [
            f"read model {mine[0]} is given up by this process"
        ]


async def test_alone_it_begins_anew(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with app.connect(shared, lease=LEASE, patience=PATIENCE) as alone:
        await until(lambda: _owned(alone, "model_0"), "it to be owned")
        _hang(alone, "model_0", monkeypatch)
        last = (await alone.append("stock-a", [Added(count=1)])).last
        row: Any = await alone.get(MODELS[0], "a", after=last, timeout=20)
        assert row.count == 1


async def test_a_hand_written_one(shared: Any) -> None:
    other = App("other", events=[Added])
    pages: list[int] = []

    @other.projection("pages")
    async def _(page: ProjectionPage) -> None:
        pages.append(page.position)
        if len(pages) == 1:
            await asyncio.Event().wait()

    async with other.connect(shared, lease=LEASE, patience=PATIENCE) as alone:
        last = (await alone.append("stock-a", [Added(count=1)])).last
        await alone.projections.reached("pages", last, 20)
        assert pages == [last, last]


class Turns:
    """The clock of a watchdog, whose looks come so many seconds late each."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.late: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        if not self.late:
            return True
        self.now += seconds + self.late.pop(0)
        return False


class Standing:
    """A projection that does nothing any more, busy or not."""

    def __init__(self, busy_since: float) -> None:
        self.applied = Doorbell()
        self.status, self.error, self.owns = RUNNING, "", True
        self.counts = FoldCounts()
        self.counts.busy_since = busy_since


@pytest.fixture
async def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    turns = Turns()
    monkeypatch.setattr("refold.projections.watchdog.time.monotonic", turns.monotonic)
    return turns


async def looking(turns: Turns, projection: Standing, *late: float) -> Watchdog:
    """A watchdog with a patience of six looks, after so many of them, of a log that has grown."""
    turns.late = list(late)
    async with app.connect(MemoryStore(), projections=False) as context:
        watchdog = Watchdog(context.store, context.projections.sink, lambda: {"model": projection}, 6.0)
    watchdog._head, watchdog._answered = 1, True
    vars(watchdog)["_over"] = turns
    watchdog._look_on()
    return watchdog


@pytest.mark.parametrize("busy", [False, True])
async def test_while_a_process_gets_no_turn_its_projections_are_not_blamed(turns: Turns, busy: bool) -> None:
    """All of them were given up, and left to other processes for long, when a machine had stood still for a moment."""
    projection = Standing(busy_since=turns.now if busy else 0.0)
    assert not (await looking(turns, projection, 0, 0, 0, 0, 9)).stalled()
    projection = Standing(busy_since=turns.now if busy else 0.0)
    assert [each.name for each in (await looking(turns, projection, 0, 0, 0, 0, 9, 0, 0, 0)).stalled()] == ["model"]


async def test_what_came_back_just_now_is_not_given_up(turns: Turns) -> None:
    """The loop that stood still with it turns again before the watchdog's next look."""
    projection = Standing(busy_since=turns.now)
    watchdog = await looking(turns, projection, *[0.0] * 8)
    assert [each.name for each in watchdog.hanging()] == ["model"]
    projection.counts.done(1)
    assert watchdog.hanging() == []
    assert [each.name for each in watchdog.stalled()] == ["model"]


async def test_who_has_just_taken_one_over_does_not_give_it_up(turns: Turns) -> None:
    """It hung elsewhere for so long. Nobody would ever have had it for longer than a moment."""
    projection = Standing(busy_since=0.0)
    projection.owns = False
    watchdog = await looking(turns, projection, *[0.0] * 8)
    assert [each.name for each in watchdog.stalled()] == ["model"]
    projection.owns = True
    assert watchdog.hanging() == []
    turns.late = [0.0] * 8
    watchdog._look_on()
    assert [each.name for each in watchdog.hanging()] == ["model"]
