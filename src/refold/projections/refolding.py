"""Refold: one row folded anew from the log, in its place, while all others stay as they are."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator

from refold import faults
from refold.errors import ProjectionStopped
from refold.folds.engine import RowFold
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.event_types import EventTypes
from refold.messages.recorded import StoredEvent
from refold.projections.checkpoint import Checkpoint, Move
from refold.projections.parking.gate import Gate, open_gate
from refold.projections.parking.records import Unpark, as_text
from refold.projections.projection import check_history
from refold.projections.shards import shard_of
from refold.projections.sink import Sink, refuse_other
from refold.store.append import Matching
from refold.store.event_store import EventFilter, EventStore

__all__ = ["refold_row"]

_PAGE = 2_000


async def refold_row(
    store: EventStore, sink: Sink, definition: ReadModelDefinition, types: EventTypes, key: RowKey, lease: float
) -> ReadModel | None:
    """Folds the row of a key from all of its events up to the checkpoint, and puts it in the place of the one that is
    there. Gives the row, None when there is none.

    Whoever owns the projection loses it for that time, and takes it again then: nobody moves the checkpoint meanwhile.
    A parked row goes on with it; events that an operator skipped stay left out.
    Raises `ProjectionStopped` when the rows are not of this definition, or others take it over again and again;
    `LogRegression`, and what the fold raises: then nothing has changed.
    """
    name = definition.name
    known = await _part(sink, name, key)
    # Most of it before the projection is held up.
    gate = await open_gate(sink.records, definition, name)
    state, at = await _folded(store, definition, types, key, gate, 0, 0 if known is None else known.position)
    owner = f"refold:{secrets.token_hex(4)}"
    for _ in range(10):
        now = await _part(sink, name, key)  # it may be divided anew meanwhile
        claimed = None if now is None else await sink.claim(now.name, owner, lease, force=True)
        if now is not None and claimed is None:
            continue
        if claimed is None:
            raise ProjectionStopped(f"read model {name!r} has no rows yet; start a worker (`refold worker`)")
        try:
            refuse_other(definition, claimed)
            await check_history(store, claimed)
            if claimed.position < at:
                state, at = None, 0
            state, at = await _folded(store, definition, types, key, gate, at, claimed.position, state)
            faults.at("refolding.folded")
            rows = [] if state is None else [state]
            deleted = [key] if state is None else []
            parked = [each for each in await sink.records.parked(name) if each.key == as_text(key)]
            changes = tuple(Unpark(each.name, each.key, each.request_id) for each in parked)
            move = Move(
                claimed.position, claimed.position, claimed.append_id, claimed.epoch, claimed.name, changes=changes
            )
            if await sink.write(definition, name, rows, deleted, move):
                faults.at("refolding.written")
                return state
        finally:
            await sink.release(claimed.name, claimed.epoch)
        await asyncio.sleep(0)
    raise ProjectionStopped(f"read model {name!r} was taken over again and again; pause its projection first")


async def _part(sink: Sink, name: str, key: RowKey) -> Checkpoint | None:
    """The checkpoint that moves the row of a key."""
    return next((each for each in await sink.shards(name) if shard_of(each.name).has(key)), None)


async def _folded(
    store: EventStore,
    definition: ReadModelDefinition,
    types: EventTypes,
    key: RowKey,
    gate: Gate,
    after: int,
    until: int,
    state: ReadModel | None = None,
) -> tuple[ReadModel | None, int]:
    """The row after the events up to `until`, and that position."""
    fold = RowFold(definition)
    rows: dict[RowKey, ReadModel | None] = {key: state}
    given_way = time.monotonic()

    def passes(each: RowKey, position: int) -> bool:
        return not gate.left_out(each, position)

    async for events in _pages(store, definition, after, until):
        fold.fold(rows, [types.decode(event) for event in events], only=lambda each: each == key, passes=passes)
        if time.monotonic() - given_way > 0.05:
            await asyncio.sleep(0)
            given_way = time.monotonic()
    return rows[key], until


async def _pages(
    store: EventStore, definition: ReadModelDefinition, after: int, until: int
) -> AsyncIterator[list[StoredEvent]]:
    where = EventFilter(matching=(Matching(tuple(event.__message_name__ for event in definition.evolves)),))
    while after < until:
        page = await store.read_log(after=after, limit=_PAGE, where=where)
        yield [event for event in page.events if event.position <= until]
        if page.scanned_to >= page.head:
            return
        after = page.scanned_to
