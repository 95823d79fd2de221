"""A rebuild folds everything anew beside what is read, and takes its place in one step."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from refold import faults
from refold.app import App, Context
from refold.errors import FoldFailed, ProjectionStopped
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, read_model_of
from refold.projections.sink import building
from refold.store.event_store import EventStore
from tests.projections.stores import (
    Added,
    Gone,
    Inline,
    Moved,
    Noise,
    Poison,
    Stock,
    Total,
    assert_equals_fold,
    bulk,
    inline_shop,
    shop,
)


@pytest.fixture
def at_point() -> Any:
    """Calls a function at a fault point, once."""

    def install(point: str, action: Any) -> None:
        left = [action]

        def hook(passed: str) -> None:
            if passed == point and left:
                left.pop()()

        faults.install(hook)

    yield install
    faults.install(None)


async def test_rebuilt_while_appends_go_on(context: Context) -> None:
    """Who waits for a receipt never reads rows that are older, before, during and after the switch."""
    await bulk(context, 12_000, name="Added", payload=b'{"count":1}')
    rebuilt = 0

    async def append(item: str) -> None:
        count = 0
        while rebuilt < 4 or count < 5:
            count += 1
            receipt = await context.append(f"stock-{item}", [Added(count=1), Noise()])
            row = await context.get(Stock, item, after=receipt, timeout=20)
            assert row is not None
            assert row.count == count
            await asyncio.sleep(0)

    async def rebuild() -> None:
        nonlocal rebuilt
        for _ in range(4):
            await context.rebuild(Stock)
            rebuilt += 1

    await asyncio.gather(rebuild(), *(append(f"x{number}") for number in range(4)))
    await assert_equals_fold(context)


async def test_its_progress(idle: Context) -> None:
    last = await bulk(idle, 12_000)
    told: list[Any] = []
    assert await idle.rebuild(Total, progress=told.append) == last
    assert [each.done for each in told] == [500, 1_000, 1_500, 6_500, 11_500, 12_000]
    assert all(each.total == last and each.rate > 0 for each in told)
    assert told[-1].seconds_left == 0


async def test_one_that_is_cancelled_leaves_nothing_behind(idle: Context, at_point: Any) -> None:
    await idle.append("stock-a", [Added(count=1)])
    rebuilding = asyncio.ensure_future(idle.rebuild(Stock))
    at_point("projection.folded", rebuilding.cancel)
    with pytest.raises(asyncio.CancelledError):
        await rebuilding
    assert [each.name for each in await idle.projections.checkpoints()] == ["stock", "total"]


@pytest.mark.parametrize("point", ["rebuild.begun", "projection.folded", "rebuild.caught_up"])
async def test_what_fails_leaves_nothing_behind(point: str, idle: Context, at_point: Any) -> None:
    await idle.append("stock-a", [Added(count=1)])
    await idle.rebuild(Stock)
    await idle.append("stock-a", [Added(count=1)])

    def fail() -> None:
        raise ZeroDivisionError

    at_point(point, fail)
    with pytest.raises(ZeroDivisionError):
        await idle.rebuild(Stock)
    assert [each.name for each in await idle.projections.checkpoints()] == ["stock", "stock__previous", "total"]
    row = await idle.get(Stock, "a")
    assert row is not None
    assert row.count == 1
    assert await idle.rebuild(Stock) == 2
    row = await idle.get(Stock, "a", after=2)
    assert row is not None
    assert row.count == 2


async def test_two_at_once(idle: Context) -> None:
    """One is refused, in words; the other is done."""
    await bulk(idle, 20_000, name="Added", payload=b'{"count":1}')
    outcomes = await asyncio.gather(idle.rebuild(Stock), idle.rebuild(Stock), return_exceptions=True)
    failed = [each for each in outcomes if isinstance(each, Exception)]
    assert 20_000 in outcomes
    for problem in failed:
        assert isinstance(problem, ProjectionStopped)
        assert "is being rebuilt by another process" in str(problem)
    await idle.rebuild(Total)
    await assert_equals_fold(idle)


async def test_a_builder_that_stands_still_is_fenced_out(idle: Context) -> None:
    """Its lease ran out and another builds: it writes nothing more."""
    await idle.append("stock-a", [Added(count=1)])
    sink = idle.projections.sink
    definition = idle.app.read_models[Stock]
    dead = await sink.begin(definition, "dead", 0)
    assert dead is not None
    assert await idle.rebuild(Stock) == 1
    assert not await sink.switch(definition, dead.epoch)
    row = await idle.get(Stock, "a")
    assert row is not None


async def test_with_other_columns(where: str | EventStore) -> None:
    class Other(ReadModel, key=("name", "sign"), name="stock"):
        name: str
        sign: int
        times: int = 0
        parts: list[int] = []  # msgspec copies it

        @evolve(key=lambda event, recorded: (recorded.stored.stream, 1 if event.count > 0 else -1))
        def added(self, event: Added) -> None:
            self.times += 1
            self.parts.append(event.count)

    other = App("shop", read_models=[Other, Total], events=[Added, Moved, Gone, Noise, Poison])
    async with shop.connect(where, lease=1.0) as context:
        for count in (1, -2, 3):
            await context.append("stock-a", [Added(count=count)])
        await assert_equals_fold(context)
    async with other.connect(where, lease=1.0) as context:
        await context.rebuild(Other)
        rows = {row.sign: row for row in await context.find(Other)}
        assert rows[1] == Other(name="stock-a", sign=1, times=2, parts=[1, 3])
        assert rows[-1].parts == [-2]
        await context.append("stock-b", [Added(count=3)])
        await assert_equals_fold(context)


async def test_the_old_one_has_seen_more_by_then(context: Context, at_point: Any) -> None:
    """What it has seen is folded in the step of the switch."""
    await context.append("stock-a", [Added(count=1)])
    sink, switch = context.projections.sink, context.projections.sink.switch

    async def later(*arguments: Any, **options: Any) -> bool:
        receipt = await context.append("stock-a", [Added(count=1), Noise(), Moved(other="b", count=1)])
        assert await context.get(Stock, "b", after=receipt) is not None
        return await switch(*arguments, **options)

    sink.switch = later  # type: ignore[method-assign]
    await context.rebuild(Stock)
    row = await context.get(Stock, "b", after=4, timeout=0)
    assert row is not None
    await context.append("stock-a", [Added(count=1)])
    await assert_equals_fold(context)


async def test_an_inline_one_while_appends_go_on(where: str | EventStore) -> None:
    async with inline_shop.connect(where, lease=1.0) as context:
        await bulk(context, 6_000)
        done = False

        async def append(item: str) -> None:
            count = 0
            while not done:
                count += 1
                await context.append(f"stock-{item}", [Added(count=1)])
                row = await context.get(Inline, item)
                assert row is not None
                assert row.count == count
                await asyncio.sleep(0)

        async def rebuild() -> None:
            nonlocal done
            try:
                for _ in range(3):
                    await context.rebuild(Inline)
            finally:
                done = True

        await asyncio.gather(rebuild(), append("a"), append("b"))
        await assert_equals_fold(context)
        checkpoint = await context.projections.sink.checkpoint("inline")
        assert checkpoint is not None
        assert checkpoint.position == (await context.store.head()).position


async def test_an_event_that_cannot_be_folded_is_named(idle: Context) -> None:
    """With its position and stream, whatever the evolve method raises; the rows that are read stay as they are."""

    class Fragile(ReadModel, key="item", name="stock"):
        item: str

        @evolve
        def added(self, event: Added) -> None:
            if event.count == 2:
                raise ZeroDivisionError("broken")

    await idle.append("stock-a", [Added(count=1), Added(count=2)])
    with pytest.raises(FoldFailed, match=r"'stock' cannot fold event 'Added' at position 2 \(stream 'stock-a'\): Zero"):
        await idle.projections.rebuild(read_model_of(Fragile))
    assert await idle.projections.sink.checkpoint(building("stock")) is None
