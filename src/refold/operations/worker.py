"""A worker: a process that keeps an app's read models current, and says how they are doing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from refold.app import Context
from refold.projections.checkpoint import RUNNING

__all__ = ["Stopped", "catch_up", "stopped_in", "work"]

_LOOK = 0.25


class Stopped(msgspec.Struct, frozen=True):
    """A projection that stands still, and why."""

    name: str
    error: str


def stopped_in(context: Context) -> list[Stopped]:
    """The projections of this process that stand still until somebody does something about it."""
    found = []
    for definition in context.projections.definitions:
        local = context.projections.local(definition.name)
        if local is not None and local.status != RUNNING:
            found.append(Stopped(definition.name, local.error))
    return found


async def catch_up(context: Context) -> list[Stopped]:
    """Waits until every read model has seen what is in the log now, by whatever process; gives those that stopped."""
    head = (await context.store.head()).position
    waiting = {definition.name for definition in context.projections.definitions}
    while True:
        stopped = stopped_in(context)
        waiting -= {each.name for each in stopped}
        positions = {checkpoint.name: checkpoint.position for checkpoint in await context.projections.checkpoints()}
        waiting = {name for name in waiting if positions.get(name, 0) < head}
        if not waiting:
            return stopped
        local = context.projections.local(next(iter(waiting)))
        if local is None:
            await asyncio.sleep(_LOOK)
        else:
            await local.applied.wait_beyond(local.applied.position, _LOOK)


async def work(stopping: asyncio.Event, *, report: Callable[[], Awaitable[None]], every: float) -> None:
    """Calls `report` at first and then every so many seconds, until `stopping` is set. The context does the work."""
    while not stopping.is_set():
        await report()
        try:
            async with asyncio.timeout(every):
                await stopping.wait()
        except TimeoutError:
            pass
