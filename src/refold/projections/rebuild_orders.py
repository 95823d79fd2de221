"""What operators want of a rebuild that runs, in whatever process: that it pauses, goes on, or ends.

A pause is kept in the log's database under the name of the table that is built. An end needs no word: whoever takes the
table away fences its builder out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from refold import faults
from refold.errors import ProjectionStopped
from refold.folds.read_model import ReadModelDefinition
from refold.messages.recorded import from_microseconds
from refold.projections.parking.records import Begin, Logged, Operation, Pause, Resume
from refold.projections.sink import Sink, building, read_model_of_table

__all__ = [
    "RebuildCancelled",
    "RebuildOrders",
    "actor_who_cancels",
    "cancel_rebuild",
    "cancelled_in_words",
    "pause_rebuild",
    "paused_rebuild_in_words",
    "resume_rebuild",
    "why_taken_over",
]

CANCEL, PAUSE, RESUME = "rebuild: cancel", "rebuild: pause", "rebuild: resume"
_CANCELLER = "cancel:"
_LOOK_EVERY = 0.4
"""Seconds: an order is obeyed within one."""
_SECONDS_TO_DROP = 5.0
_OPERATIONS = 50


class RebuildCancelled(ProjectionStopped):
    """An operator has ended it; the text says who, and why."""


class RebuildOrders:
    """Looks, for one builder (or one of its processes), what operators want."""

    def __init__(self, sink: Sink, definition: ReadModelDefinition, epoch: int, lease: float = 0.0) -> None:
        """With a `lease`, that is kept while the rebuild stands still."""
        self._sink = sink
        self._definition = definition
        self._table = building(definition.name)
        self._epoch = epoch
        self._lease = lease
        self._looked = 0.0

    async def obey(self, settle: Callable[[], Awaitable[object]]) -> None:
        """To be called often. Looks now and then; while the rebuild is paused, this does not return. Before it stands
        still, `settle` writes what is folded.

        Raises `ProjectionStopped` when the table was taken away.
        """
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        if not await self._paused():
            return
        await settle()
        faults.at("orders.paused")
        while True:
            await self._still_ours()
            await asyncio.sleep(_LOOK_EVERY)
            if not await self._paused():
                self._looked = time.monotonic()
                return

    async def _paused(self) -> bool:
        return self._table in (await self._sink.records.orders()).paused

    async def _still_ours(self) -> None:
        if self._lease:
            ours = await self._sink.renew(self._table, self._epoch, self._lease)
        else:
            now = await self._sink.checkpoint(self._table)
            ours = now is not None and now.epoch == self._epoch
        if not ours:
            raise ProjectionStopped(await why_taken_over(self._sink, self._definition, self._epoch))


async def why_taken_over(sink: Sink, definition: ReadModelDefinition, epoch: int) -> str:
    """What to say of a builder of that epoch that finds its table taken away."""
    cancelled = await cancelled_in_words(sink, definition, epoch)
    return cancelled or f"read model {definition.name!r} was taken over by another rebuild"


async def cancelled_in_words(sink: Sink, definition: ReadModelDefinition, epoch: int) -> str:
    """Who ended the rebuild of that epoch, and why; "" when nobody did."""
    for done in await sink.records.operations(limit=_OPERATIONS):
        if (done.operation, done.target, done.details.get("epoch")) == (CANCEL, definition.name, epoch):
            why = f": {done.reason}" if done.reason else ""
            return f"the rebuild of {definition.name!r} was cancelled by {done.actor}{why}"
    return ""


def actor_who_cancels(owner: str) -> str:
    """The operator who has taken a table to drop it; "" when its owner is a builder."""
    return owner.removeprefix(_CANCELLER) if owner.startswith(_CANCELLER) else ""


def paused_rebuild_in_words(pause: Pause) -> str:
    """Who paused a rebuild, since when and why."""
    why = f": {pause.reason}" if pause.reason else ""
    since = from_microseconds(pause.since).isoformat(timespec="seconds")
    name = read_model_of_table(pause.name)
    return f"its rebuild was paused by {pause.actor} at {since}{why}; run `refold rebuild {name} --resume`"


async def pause_rebuild(sink: Sink, definition: ReadModelDefinition, *, actor: str, reason: str) -> bool:
    """Lets a rebuild stand still, in all its processes, until it is resumed, also when it dies and is started again.
    False: it is paused already. Raises `ProjectionStopped` when none is there.
    """
    table = building(definition.name)
    if await sink.checkpoint(table) is None:
        raise ProjectionStopped(f"no rebuild of read model {definition.name!r} is there to be paused")
    done = Operation(actor=actor, operation=PAUSE, target=definition.name, reason=reason)
    return await sink.records.apply([Begin(Pause(name=table, actor=actor, reason=reason)), Logged(done)])


async def resume_rebuild(sink: Sink, definition: ReadModelDefinition, *, actor: str, reason: str) -> bool:
    """Lets a paused rebuild go on. False: it is not paused."""
    done = Operation(actor=actor, operation=RESUME, target=definition.name, reason=reason)
    return await sink.records.apply([Resume(building(definition.name)), Logged(done)])


async def cancel_rebuild(sink: Sink, definition: ReadModelDefinition, *, actor: str, reason: str) -> bool:
    """Ends a rebuild, one that was killed too, and clears away what it has built. False: there is none."""
    table = building(definition.name)
    left = await sink.checkpoint(table)
    if left is None:
        return False
    details = {"epoch": left.epoch, "position": left.position}
    done = Operation(actor=actor, operation=CANCEL, target=definition.name, reason=reason, details=details)
    # Said before it is done: the builder tells its caller why it ended.
    await sink.records.apply([Logged(done)])
    faults.at("orders.cancelling")
    # From here on its builder writes nothing.
    await sink.claim(table, f"{_CANCELLER}{actor}", _SECONDS_TO_DROP, force=True)
    await sink.drop(table)
    await sink.records.apply([Resume(table)])
    return True
