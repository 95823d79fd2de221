"""Who leaves a context leaves nothing running, and nothing held, also when he is cancelled while it ends."""

from __future__ import annotations

import asyncio

import pytest

from refold.app import App
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel
from refold.projections.handwritten import ProjectionPage
from refold.store.event_store import EventStore
from tests.projections.stores import Added, shop, until


def others() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55])
async def test_cancelled_while_it_ends(where: str | EventStore, steps: int) -> None:
    """Its tasks went on, on a store that was closed, and said so each second."""
    before = others()
    leaves = asyncio.Event()

    async def connected() -> None:
        async with shop.connect(where) as context:
            await context.append("stock-a", [Added(count=1)])
            leaves.set()

    task = asyncio.create_task(connected())
    await leaves.wait()
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert others() <= before
    async with shop.connect(where) as context:
        await context.append("stock-a", [Added(count=1)])


@pytest.mark.parametrize("steps", [1, 3, 8, 21, 55])
async def test_cancelled_while_it_begins(where: str | EventStore, steps: int) -> None:
    before = others()

    async def connected() -> None:
        async with shop.connect(where):
            await asyncio.sleep(0)

    task = asyncio.create_task(connected())
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert others() <= before
    async with shop.connect(where) as context:
        await context.append("stock-a", [Added(count=1)])


class Fails(ReadModel, key="item"):
    item: str

    @evolve
    def added(self, event: Added) -> None:
        raise ZeroDivisionError("it fails")


async def test_what_fails_while_its_process_ends_is_let_go(where: str | EventStore) -> None:
    """Its lease ran out after seconds, in which nobody took it over; the next owner thought that it had been killed."""
    app = App("shop", read_models=[Fails], events=[Added])

    @app.projection("by_hand", events=[Added], transaction=False)
    async def fail(page: ProjectionPage) -> None:
        raise ZeroDivisionError("it fails")

    async with app.connect(where, lease=30) as context:
        await context.append("stock-a", [Added(count=1)])

        async def both_fail() -> bool:
            return all("attempt" in each.error for each in context.projections.running().values())

        await until(both_fail, "both to fail")
    async with app.connect(where, projections=False) as context:
        assert {each.name: each.owner for each in await context.projections.checkpoints()} == {
            "fails": "",
            "by_hand": "",
        }
