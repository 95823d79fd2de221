"""Inline read models change in the appending transaction: both are stored, or neither."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from refold.app import App
from refold.errors import Conflict, DefinitionError, ProjectionStopped, RefoldError
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel
from refold.store.append import NO_STREAM
from refold.store.event_store import EventStore
from tests.projections.stores import (
    Added,
    Gone,
    Inline,
    Moved,
    Noise,
    Poison,
    Stock,
    assert_equals_fold,
    inline_shop,
    shop,
)


async def test_seen_right_at_the_receipt(where: str | EventStore) -> None:
    async with inline_shop.connect(where, projections=False) as context:
        for number in range(1, 6):
            receipt = await context.append("stock-a", [Added(count=1), Noise()])
            row = await context.get(Inline, "a")
            assert row is not None
            assert row.count == number
            assert await context.get(Inline, "a", after=receipt, timeout=0) == row
            assert await context.get(Inline, "a", fresh=True) == row
        await asyncio.gather(*(context.append(f"stock-{number % 3}", [Added(count=1)]) for number in range(60)))
        await assert_equals_fold(context, Inline)


async def test_a_conflict_changes_neither(where: str | EventStore) -> None:
    async with inline_shop.connect(where, projections=False) as context:
        await context.append("stock-a", [Added(count=1)])
        with pytest.raises(Conflict):
            await context.append("stock-a", [Added(count=1)], expected=NO_STREAM)
        await assert_equals_fold(context, Inline)


async def test_a_fold_that_fails_fails_its_append_only(where: str | EventStore) -> None:
    async with inline_shop.connect(where, projections=False) as context:
        await context.append("stock-a", [Added(count=1)])
        outcomes = await asyncio.gather(
            *(context.append(f"stock-{number}", [Added(count=1)]) for number in range(5)),
            context.append("stock-p", [Added(count=1), Poison()]),
            *(context.append(f"stock-{number}", [Added(count=1)]) for number in range(5)),
            return_exceptions=True,
        )
        failed = [each for each in outcomes if isinstance(each, BaseException)]
        assert len(failed) == 1
        assert isinstance(failed[0], RefoldError)
        assert "it is poison" in str(failed[0])
        assert "nothing" in str(failed[0])
        assert (await context.store.head()).position == 11
        assert await context.store.stream_version("stock-p") == 0
        await assert_equals_fold(context, Inline)


@pytest.mark.parametrize("fail", [False, True])
async def test_in_a_unit_of_work(where: Any, fail: bool) -> None:
    if not isinstance(where, str):
        pytest.skip("there are no tables in memory")
    async with inline_shop.connect(where, projections=False) as context:
        async with context.transaction() as unit:
            await unit.execute("create table notes (text varchar(9))")
        try:
            async with context.transaction() as unit:
                unit.append("stock-a", [Added(count=1)])
                unit.append("stock-b", [Added(count=2)])
                await unit.execute("insert into notes values ('x')")
                if fail:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            assert fail
        async with context.transaction() as unit:
            notes = await unit.execute("select text from notes")
        assert len(notes) == (0 if fail else 1)
        assert await context.count(Inline) == (0 if fail else 2)
        await context.append("stock-a", [Added(count=5)])
        await assert_equals_fold(context, Inline)


async def test_begun_behind_the_log(where: str | EventStore) -> None:
    """An app that did not have it has appended: it catches up when it starts."""
    async with shop.connect(where, projections=False) as context:
        for number in range(30):
            await context.append(f"stock-{number % 4}", [Added(count=1), Noise()])
    for items in (4, 5):
        async with inline_shop.connect(where, projections=False) as context:
            assert await context.count(Inline) == items
            await context.append("stock-a", [Added(count=1)])
            await assert_equals_fold(context, Inline)
        async with shop.connect(where, projections=False) as context:
            await context.append("stock-0", [Added(count=1)])


@pytest.mark.postgres
async def test_another_process_does_not_have_it(where: Any) -> None:
    """What it appended is folded by the next append of one that does."""
    if not isinstance(where, str) or where.startswith("sqlite"):
        pytest.skip("one process at a time")
    async with (
        inline_shop.connect(where, projections=False) as having,
        shop.connect(where, projections=False) as lacking,
    ):
        for _ in range(3):
            await having.append("stock-a", [Added(count=1)])
            await lacking.append("stock-a", [Added(count=10), Noise()])
            await lacking.append("stock-b", [Added(count=10)])
            fresh = await having.get(Inline, "b", fresh=True)
            assert fresh is not None
            await having.append("stock-c", [Added(count=1)])
            await assert_equals_fold(having, Inline)
        # Both at once.
        await asyncio.gather(
            *(having.append("stock-a", [Added(count=1)]) for _ in range(20)),
            *(lacking.append("stock-a", [Added(count=1)]) for _ in range(20)),
        )
        await having.append("stock-c", [Added(count=1)])
        await assert_equals_fold(having, Inline)


@pytest.mark.postgres
async def test_two_processes_have_it(where: Any) -> None:
    if not isinstance(where, str) or where.startswith("sqlite"):
        pytest.skip("one process at a time")
    async with (
        inline_shop.connect(where, projections=False) as one,
        inline_shop.connect(where, projections=False) as two,
    ):
        appends = [context.append(f"stock-{n % 3}", [Added(count=1)]) for n in range(40) for context in (one, two)]
        await asyncio.gather(*appends, one.rebuild(Inline))
        await assert_equals_fold(two, Inline)


async def test_its_definition_changed(where: str | EventStore) -> None:
    """Appends are refused, in words, until it is rebuilt; the context can be opened to do that."""

    class Other(ReadModel, key="item", name="inline", inline=True):
        item: str
        pieces: int = 0

        @evolve
        def added(self, event: Added) -> None:
            self.pieces += event.count

    other = App("shop", read_models=[Stock, Other], events=[Added, Moved, Gone, Noise, Poison])
    async with inline_shop.connect(where, projections=False) as context:
        await context.append("stock-a", [Added(count=1)])
    async with other.connect(where, projections=False) as context:
        with pytest.raises(ProjectionStopped, match="refold rebuild inline"):
            await context.append("stock-a", [Added(count=1)])
        assert (await context.store.head()).position == 1
        await context.rebuild(Other)
        await context.append("stock-a", [Added(count=1)])
        row = await context.get(Other, "a")
        assert row is not None
        assert row.pieces == 2


@pytest.mark.usefixtures("short_pauses")
async def test_an_event_in_the_log_that_it_cannot_fold(where: str | EventStore) -> None:
    """The context opens, says why nothing can be appended, and goes on when the code is mended."""
    async with shop.connect(where, projections=False) as context:
        await context.append("stock-a", [Added(count=1), Poison()])
    async with inline_shop.connect(where, projections=False, lease=1.0) as context:
        with pytest.raises(ProjectionStopped, match="it is poison"):
            await context.append("stock-a", [Added(count=1)])
        assert (await context.store.head()).position == 2
        row = await context.get(Inline, "a")
        assert row is not None
        assert row.count == 1

    class Mended(ReadModel, key="item", name="inline", inline=True):
        item: str
        count: int = 0

        @evolve
        def added(self, event: Added) -> None:
            self.count += event.count

    mended = App("shop", read_models=[Stock, Mended], events=[Added, Moved, Gone, Noise, Poison])
    async with mended.connect(where, projections=False) as context:
        await context.rebuild(Mended)
        await context.append("stock-a", [Added(count=1)])
        await assert_equals_fold(context, Mended)


class Wandering(ReadModel, key="item", inline=True):
    item: str

    @evolve
    def added(self, event: Added) -> None:
        self.item = self.item.lower()


async def test_an_append_that_would_change_a_key_is_refused(where: str | EventStore) -> None:
    async with App("shop", read_models=[Wandering]).connect(where) as context:
        await context.append("stock-a", [Added(count=1)])
        with pytest.raises(DefinitionError, match="Wandering: an evolve method made"):
            await context.append("stock-A", [Added(count=1)])
        assert (await context.store.head()).position == 1
        assert await context.find(Wandering) == [Wandering(item="a")]
