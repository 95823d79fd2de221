"""Catching up ends when nothing can go on, whoever it is that stopped."""

from __future__ import annotations

import asyncio

import pytest

from refold.app import App
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel
from refold.operations.worker import catch_up
from refold.projections.checkpoint import STOPPED
from refold.projections.handwritten import ProjectionPage
from refold.store.event_store import EventStore
from tests.projections.stores import Added, Gone, Inline, Moved, Noise, Poison, inline_shop, shop, until


class Redefined(ReadModel, key="item", inline=True, name="inline"):
    """Another definition of the same inline read model."""

    item: str
    many: int = 0

    @evolve
    def added(self, event: Added) -> None:
        self.many += event.count


redefined = App("shop", read_models=[Redefined], events=[Added, Moved, Gone, Noise, Poison])


@pytest.mark.usefixtures("short_pauses")
async def test_a_read_model_that_stopped_in_another_process_is_not_waited_for(store: EventStore) -> None:
    async with shop.connect(store, lease=2.0) as first:
        await first.append("stock-a", [Poison(), Added(count=1)])

        async def stopped() -> bool:
            return any(each.status == STOPPED for each in await first.projections.checkpoints())

        await until(stopped, "total to stop")
        async with shop.connect(store, lease=2.0) as second:
            found = await asyncio.wait_for(catch_up(second), 10)
    assert [each.name for each in found] == ["total"]
    assert "it is poison" in found[0].error


async def test_an_inline_read_model_of_another_definition_is_not_waited_for(store: EventStore) -> None:
    async with inline_shop.connect(store) as context:
        await context.append("stock-a", [Added(count=1)])
    async with shop.connect(store) as context:
        await context.append("stock-a", [Added(count=1)])
    async with redefined.connect(store) as context:
        found = await asyncio.wait_for(catch_up(context), 10)
        assert [(each.name, "refold rebuild inline" in each.error) for each in found] == [("inline", True)]
        await context.rebuild(Redefined)
        assert await asyncio.wait_for(catch_up(context), 10) == []


async def test_an_inline_read_model_is_current(store: EventStore) -> None:
    async with inline_shop.connect(store) as context:
        receipt = await context.append("stock-a", [Added(count=1)])
        assert await asyncio.wait_for(catch_up(context), 10) == []
        assert await context.get(Inline, "a", after=receipt) == Inline(item="a", count=1)


@pytest.mark.usefixtures("short_pauses")
async def test_a_hand_written_projection_is_waited_for(store: EventStore) -> None:
    """It was not: who waited for `refold worker --once` went on without it, and was told that all is well."""
    app = App("shop", events=[Added])
    seen: list[int] = []
    fails = False

    @app.projection("mailer", transaction=False)
    async def mail(page: ProjectionPage) -> None:
        await asyncio.sleep(0.3)
        if fails:
            raise ZeroDivisionError("it is broken")
        seen.extend(recorded.position for recorded in page.events)

    async with app.connect(store, lease=2.0) as context:
        await context.append("stock-a", [Added(count=1), Added(count=2)])
        assert await asyncio.wait_for(catch_up(context), 20) == []
        assert seen == [1, 2]
    fails = True
    async with app.connect(store, lease=2.0) as context:
        await context.append("stock-a", [Added(count=3)])
        found = await asyncio.wait_for(catch_up(context), 20)
        assert [(each.name, each.error) for each in found] == [("mailer", "ZeroDivisionError('it is broken')")]
        fails = False
        # It has stopped: to pause it and to let it go on makes it try again.
        assert await context.projections.pause("mailer", actor="ann", reason="for a while")
        await context.append("stock-a", [Added(count=4)])

        async def paused() -> bool:
            return any("paused by ann" in each.error for each in await asyncio.wait_for(catch_up(context), 20))

        await until(paused, "it to stand still, paused")
        assert await context.projections.resume("mailer", actor="ann")

        async def caught_up() -> bool:
            return await asyncio.wait_for(catch_up(context), 20) == []

        await until(caught_up, "it to go on")
        assert seen == [1, 2, 3, 4]
