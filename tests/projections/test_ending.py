"""Who leaves a context, and is cancelled while it ends, leaves nothing running."""

from __future__ import annotations

import asyncio

import pytest

from refold.store.event_store import EventStore
from tests.projections.stores import Added, shop


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
