"""Two releases of an application side by side: each reads its own version of the rows, and both are kept current."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from refold import faults
from refold.app import App, Context
from refold.errors import ProjectionStopped
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, read_model_of
from refold.messages.event import Event
from refold.projections.checkpoint import CHANGED, PAUSED, STOPPED
from refold.projections.definitions import changes_between
from refold.projections.sink import building
from refold.store.event_store import EventStore
from tests.projections.stores import (
    Added,
    Gone,
    Moved,
    Noise,
    Poison,
    Total,
    assert_equals_fold,
    bulk,
    folded,
    place,
    shop,
    until,
)


class Renamed(ReadModel, key="name", name="total"):
    name: str
    pieces: int = 0

    @evolve(key=lambda event: "all")
    def added(self, event: Added) -> None:
        self.pieces += event.count


class Third(ReadModel, key="name", name="total"):
    name: str
    pieces: int = 0
    times: int = 0

    @evolve(key=lambda event: "all")
    def added(self, event: Added) -> None:
        self.pieces += event.count
        self.times += 1


EVENTS: list[type[Event]] = [Added, Moved, Gone, Noise, Poison]
second = App("shop", read_models=[Renamed], events=EVENTS)
third = App("shop", read_models=[Third], events=EVENTS)
LEASE = 0.5


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> str | EventStore:
    """A store that two releases may use at once."""
    return place(request.param, request, tmp_path)


async def test_a_changed_class_is_built_beside(where: str | EventStore, caplog: pytest.LogCaptureFixture) -> None:
    """It says what changed; reads that wait get the new rows; nobody has to do anything."""
    async with shop.connect(where, lease=LEASE) as context:
        await context.get(Total, "all", after=await context.append("stock-a", [Added(count=1)]))
    with caplog.at_level(logging.ERROR, logger="refold"):
        async with second.connect(where, lease=LEASE) as context:
            last = await context.append("stock-a", [Added(count=1)])
            row = await context.get(Renamed, "all", after=last, timeout=30)
            assert row == Renamed(name="all", pieces=2)
            row = await context.get(Renamed, "all", after=await context.append("stock-a", [Added(count=1)]))
            assert row == Renamed(name="all", pieces=3)
    assert "field count is gone; field pieces is new" in caplog.text
    assert "evolve Added changed" in caplog.text


@pytest.mark.slow
async def test_a_new_version_that_cannot_be_built_stops(shared: str | EventStore) -> None:
    """It is tried five times, then stands still, while the old rows go on; a pause and its end make it try again."""
    attempts = 0

    class Broken(ReadModel, key="name", name="total"):
        name: str
        pieces: int = 0

        @evolve(key=lambda event: "all")
        def added(self, event: Added) -> None:
            nonlocal attempts
            attempts += 1
            raise ZeroDivisionError("broken")

    broken = App("shop", read_models=[Broken], events=EVENTS)
    async with shop.connect(shared, lease=LEASE) as old:
        await old.get(Total, "all", after=await old.append("stock-a", [Added(count=1)]))
        async with broken.connect(shared, lease=LEASE) as new:
            (projection,) = new.projections.running().values()

            async def stopped() -> bool:
                return projection.status == STOPPED

            async def paused() -> bool:
                return projection.status == PAUSED

            async def tried_again() -> bool:
                return attempts == 2 * tried

            await until(stopped, "its stop")
            assert projection.error == (
                "its new version cannot be built: read model 'total' cannot fold event 'Added' at position 1 (stream "
                "'stock-a'): ZeroDivisionError('broken')"
            )
            tried = attempts
            for count in range(2, 52):
                row = await old.get(Total, "all", after=await old.append("stock-a", [Added(count=1)]))
                assert row == Total(name="all", count=count)
            assert (attempts, projection.status) == (tried, STOPPED)
            await new.projections.pause(Broken, actor="carol", reason="mended")
            await until(paused, "its pause")
            await new.projections.resume(Broken, actor="carol")
            await until(tried_again, "five more attempts")


async def test_two_releases_side_by_side(shared: str | EventStore) -> None:
    """The old one's reads see its own rows, which it keeps current, before, during and after the switch."""
    async with shop.connect(shared, lease=LEASE) as old:
        await bulk(old, 3_000, name="Added", payload=b'{"count":1}')
        assert (await old.get(Total, "all", after=3_000, timeout=20)) == Total(name="all", count=3_000)
        count, done = 3_000, False

        async def read_old() -> None:
            nonlocal count
            while not done:
                last = await old.append("stock-a", [Added(count=1)])
                count += 1
                row = await old.get(Total, "all", after=last, timeout=20)
                assert row == Total(name="all", count=count)

        reading = asyncio.create_task(read_old())
        async with second.connect(shared, lease=LEASE) as new:
            for _ in range(20):
                head = (await new.store.head()).position
                row = await new.get(Renamed, "all", after=head, timeout=30)
                assert row is not None
                assert row.pieces >= head
            done = True
            await reading
            states = {each.name: each.fingerprint for each in await new.projections.checkpoints()}
            assert states["total"] == read_model_of(Renamed).fingerprint
            assert states["total__previous"] == read_model_of(Total).fingerprint
        # The new one is gone; what is left of the old one is still kept current.
        left = await old.get(Total, "all", after=await old.append("stock-a", [Added(count=1)]), timeout=20)
        assert left == Total(name="all", count=count + 1)
        assert await old.find(Total, fresh=True) == [Total(name="all", count=count + 1)]
        assert await old.count(Total) == 1


async def test_an_old_release_that_comes_back_changes_nothing(shared: str | EventStore) -> None:
    """Two that each build their own would never end. It reads the previous rows, or, when they are gone, says so."""
    async with shop.connect(shared, lease=LEASE) as context:
        await context.get(Total, "all", after=await context.append("stock-a", [Added(count=1)]))
    for app, model in ((second, Renamed), (third, Third)):
        async with app.connect(shared, lease=LEASE) as context:
            last = await context.append("stock-a", [Added(count=1)])
            assert await context.get(model, "all", after=last, timeout=30) is not None
    async with second.connect(shared, lease=LEASE) as kept, shop.connect(shared, lease=LEASE) as gone:
        last = await kept.append("stock-a", [Added(count=1)])
        assert await kept.get(Renamed, "all", after=last, timeout=30) == Renamed(name="all", pieces=4)
        local = gone.projections.local("total")
        assert local is not None
        await until(lambda: asyncio.sleep(0, local.status == CHANGED), "it to stand still")
        assert "another definition took the place of this one" in local.error
        with pytest.raises(ProjectionStopped, match="another definition"):
            await gone.get(Total, "all")
        # Unless somebody says that it is to come back.
        await gone.rebuild(Total)
        assert await gone.get(Total, "all", after=last, timeout=30) == Total(name="all", count=4)


async def test_rolled_back_to_the_old_release(shared: str | EventStore) -> None:
    """Its rows were kept current meanwhile or catch up; the new release does not take the place again by itself."""
    async with shop.connect(shared, lease=LEASE) as old:
        await old.get(Total, "all", after=await old.append("stock-a", [Added(count=1)]))
    async with second.connect(shared, lease=LEASE) as new:
        last = await new.append("stock-a", [Added(count=1)])
        assert await new.get(Renamed, "all", after=last, timeout=30) is not None
        await new.rollback(Renamed)
        async with shop.connect(shared, lease=LEASE) as old:
            last = await new.append("stock-a", [Added(count=1)])
            assert await old.get(Total, "all", after=last, timeout=30) == Total(name="all", count=3)
            # What the new release reads is the previous version now, and is followed all the same.
            assert await new.get(Renamed, "all", after=last, timeout=30) == Renamed(name="all", pieces=3)
            read = await new.projections.sink.checkpoint("total")
            assert read is not None
            assert read.fingerprint == read_model_of(Total).fingerprint


async def test_stopped_while_it_builds(where: str | EventStore) -> None:
    """It stops at once; the next process goes on where it was."""
    async with shop.connect(where, lease=LEASE) as context:
        last = await bulk(context, 12_000, name="Added", payload=b'{"count":1}')
        await context.get(Total, "all", after=last, timeout=30)
    reached = asyncio.Event()

    def pause(point: str) -> None:
        if point == "projection.committed":
            reached.set()

    async with second.connect(where, lease=LEASE) as context:
        faults.install(pause)
        await asyncio.wait_for(reached.wait(), 30)
        faults.install(None)
    async with second.connect(where, lease=LEASE) as context:
        assert await context.get(Renamed, "all", after=last, timeout=30) == Renamed(name="all", pieces=12_000)
        assert await context.projections.sink.checkpoint(building("total")) is None


async def test_one_that_cannot_be_folded_leaves_the_old_one(shared: str | EventStore) -> None:
    """The new definition fails on an event: it stops loudly, and the old rows are read and kept current."""

    class Failing(ReadModel, key="name", name="total"):
        name: str

        @evolve(key=lambda event: "all")
        def added(self, event: Added) -> None:
            raise ZeroDivisionError("the new code is wrong")

    failing = App("shop", read_models=[Failing], events=EVENTS)
    async with shop.connect(shared, lease=LEASE) as old:
        await old.get(Total, "all", after=await old.append("stock-a", [Added(count=1)]))
        async with failing.connect(shared, lease=LEASE) as new:
            local = new.projections.local("total")
            assert local is not None
            await until(lambda: asyncio.sleep(0, "the new code is wrong" in local.error), "it to fail")
            row = await old.get(Total, "all", after=await old.append("stock-a", [Added(count=1)]), timeout=20)
            assert row == Total(name="all", count=2)
            assert await new.projections.sink.checkpoint(building("total")) is None


def test_what_changed_is_said_in_words() -> None:
    before, now = read_model_of(Renamed).parts, read_model_of(Third).parts
    assert changes_between(before, now) == "evolve Added changed; field times is new"
    assert changes_between(now, before) == "evolve Added changed; field times is gone"
    assert changes_between({}, now) == "what changed is not known"


async def test_the_rows_are_the_fold_after_all_of_it(shared: str | EventStore) -> None:
    async with shop.connect(shared, lease=LEASE) as context:
        await bulk(context, 500, name="Added", payload=b'{"count":2}')
        await assert_equals_fold(context)
    contexts: list[Context] = []
    async with second.connect(shared, lease=LEASE) as one, third.connect(shared, lease=LEASE) as two:
        contexts += [one, two]
        last = (await one.append("stock-a", [Added(count=1)])).last
        wanted: dict[Any, Any] = await folded(two, Third, last)
        await until(lambda: _read(two, last), "the newest to be built", 40)
        assert await two.get(Third, "all") == wanted[("all",)]


async def _read(context: Context, last: int) -> bool:
    try:
        return await context.get(Third, "all", after=last, timeout=1) is not None
    except ProjectionStopped:
        return False


class FirstInline(ReadModel, key="item", name="inline", inline=True):
    item: str
    count: int = 0

    @evolve
    def added(self, event: Added) -> None:
        self.count += event.count


class SecondInline(ReadModel, key="item", name="inline", inline=True):
    item: str
    times: int = 0

    @evolve
    def added(self, event: Added) -> None:
        self.times += 1


@pytest.mark.postgres
async def test_a_changed_inline_one_is_switched_between_two_appends(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The old release appends until the switch, and is refused from then on; no event falls between."""
    first = App("shop", read_models=[FirstInline], events=EVENTS)
    later = App("shop", read_models=[SecondInline], events=EVENTS)
    shared = place("postgres", request, tmp_path)
    appended = 0
    async with first.connect(shared, lease=LEASE) as old:
        await bulk(old, 6_000, name="Added", payload=b'{"count":1}')

        async def append() -> None:
            nonlocal appended
            while True:
                await old.append("stock-a", [Added(count=1)])
                appended += 1
                await asyncio.sleep(0)

        appending = asyncio.create_task(append())
        async with later.connect(shared, lease=LEASE, projections=False) as new:
            sink, switch = new.projections.sink, new.projections.sink.switch
            stands: list[int] = []

            async def after_one_more(*arguments: Any, **options: Any) -> bool:
                nonlocal appended
                await old.append("stock-a", [Added(count=1)])
                appended += 1
                done = await switch(*arguments, **options)
                checkpoint = await sink.checkpoint("inline")
                assert checkpoint is not None
                stands.append(checkpoint.position)
                return done

            sink.switch = after_one_more  # type: ignore[method-assign]
            await new.rebuild(SecondInline)
            assert stands == [(await new.store.head()).position]
            with pytest.raises(ProjectionStopped, match="another definition"):
                await asyncio.wait_for(appending, 20)
            row = await new.get(SecondInline, "a")
            assert row is not None
            assert row.times == appended > 0
            await new.append("stock-a", [Added(count=1)])
            await assert_equals_fold(new, SecondInline)
