"""Rebuild: the next version of a read model is folded beside the one that is read, and takes its place in one step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from refold import faults
from refold.errors import ProjectionStopped
from refold.folds.read_model import ReadModelDefinition
from refold.messages.event_types import EventTypes
from refold.projections.feed import decoded
from refold.projections.folding import Folding
from refold.projections.projection import LEASE_SECONDS
from refold.projections.sink import Sink, building
from refold.store.event_store import EventStore

__all__ = ["RebuildProgress", "rebuild"]

_PAGE = 5_000


class RebuildProgress(msgspec.Struct, frozen=True):
    """How far a rebuild is: positions folded out of those in the log, the rate (a second), and the seconds left."""

    name: str
    done: int
    total: int
    rate: float
    seconds_left: float


async def rebuild(
    store: EventStore,
    sink: Sink,
    definition: ReadModelDefinition,
    types: EventTypes,
    owner: str,
    progress: Callable[[RebuildProgress], None] | None = None,
    lease: float = LEASE_SECONDS,
) -> int:
    """Folds the whole log into a new table and puts it in the place of the old one; gives the position that it stands
    at.

    The old rows are read all the time. When it is killed, nothing has changed, and the next rebuild starts clean.
    Raises `ProjectionStopped` when another process rebuilds the same read model, and what the fold raises.
    """
    table = building(definition.name)
    await sink.register(definition, definition.name)
    await _wait_for_the_dead(sink, definition.name, owner, lease)
    await sink.drop(table)
    await sink.register(definition, table)
    claimed = await sink.claim(table, owner, lease)
    if claimed is None:
        raise ProjectionStopped(f"read model {definition.name!r} is being rebuilt by another process; wait for it")
    faults.at("rebuild.begun")
    folding = Folding(sink, definition, table, claimed)
    wanted = frozenset(event.__message_name__ for event in definition.evolves)
    reader = await store.open_reader()
    began = renewed = time.monotonic()
    try:
        reading = asyncio.ensure_future(reader.read(0, _PAGE))
        try:
            while True:
                page = await reading
                caught_up = page.scanned_to >= page.head
                if not caught_up:
                    # The next page is fetched while this one is folded.
                    reading = asyncio.ensure_future(reader.read(page.scanned_to, _PAGE))
                batch = decoded(folding.position, page.head, page.events, types, wanted)
                await folding.take(batch)
                if batch.unreadable is not None:
                    raise batch.unreadable
                now = time.monotonic()
                if progress is not None:
                    rate = folding.position / max(now - began, 1e-6)
                    left = (page.head - folding.position) / max(rate, 1e-6)
                    progress(RebuildProgress(definition.name, folding.position, page.head, rate, left))
                if now - renewed > lease / 4:
                    renewed = now
                    await sink.renew(table, claimed.epoch, lease)
                if caught_up:
                    break
        finally:
            if not reading.done():
                reading.cancel()
    finally:
        await reader.close()
    if folding.position > folding.written:
        await folding.write()
    faults.at("rebuild.caught_up")
    if not await sink.switch(definition, claimed.epoch):
        raise ProjectionStopped(f"read model {definition.name!r} was taken over by another rebuild")
    faults.at("rebuild.switched")
    return folding.written


async def _wait_for_the_dead(sink: Sink, name: str, owner: str, lease: float) -> None:
    """Returns when nobody works on a half-built table: there is none, or its owner's lease has run out.

    Raises `ProjectionStopped` as soon as its owner is seen to live.
    """
    table = building(name)
    found = await sink.checkpoint(table)
    while found is not None and await sink.claim(table, owner, lease) is None:
        await asyncio.sleep(lease / 8)
        now = await sink.checkpoint(table)
        if now is not None and (now.epoch, now.position, now.lease_until) != (
            found.epoch,
            found.position,
            found.lease_until,
        ):
            raise ProjectionStopped(f"read model {name!r} is being rebuilt by another process; wait for it")
        found = now
