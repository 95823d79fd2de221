"""Rebuild: the next version of a read model is folded beside the one that is read, and takes its place in one step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec

from refold import faults
from refold.errors import LogRegression, ProjectionStopped, RefoldError
from refold.folds.read_model import ReadModelDefinition
from refold.messages.event_types import EventTypes
from refold.projections.checkpoint import Checkpoint, Move
from refold.projections.feed import decoded
from refold.projections.folding import Folding
from refold.projections.parking.gate import open_gate
from refold.projections.projection import LEASE_SECONDS, check_history
from refold.projections.sink import Sink, building
from refold.store.event_store import EventStore
from refold.tracing import NO_TRACING, Tracing

__all__ = ["RebuildProgress", "Split", "rebuild"]

_PAGE = 5_000


Split = Callable[[ReadModelDefinition, int, "Callable[[RebuildProgress], None] | None"], Awaitable[int]]
"""Folds most of the log into the table that is built, under an epoch, in several processes; gives the position that all
of them have reached.
"""


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
    *,
    resume: bool = True,
    keep: bool = False,
    split: Split | None = None,
    tracing: Tracing = NO_TRACING,
) -> int:
    """Folds the whole log into a new table and puts it in the place of the old one; gives the position that it stands
    at.

    The old rows are read all the time. When it is killed, nothing has changed; the next rebuild goes on where it was
    (or, without `resume`, starts clean). One that is cancelled is cleared away, or (`keep`) kept as if killed. `split`
    folds most of the log in several processes first. Raises
    `ProjectionStopped` when another process rebuilds the same read model, and what the fold raises.
    """
    await sink.register(definition, definition.name)
    claimed = await _begun(store, sink, definition, owner, lease, resume)
    try:
        faults.at("rebuild.begun")
        if split is not None and claimed.position == 0:
            claimed = await _split(store, sink, definition, claimed, split, progress, lease)
            faults.at("split.folded")
        # What was left out of a row stays so, as long as its definition is the same.
        gate = await open_gate(sink.records, definition, building(definition.name))
        folding = Folding(sink, definition, building(definition.name), claimed, gate=gate)
        building_up = _Building(store, sink, definition, types, folding, claimed.epoch, lease, tracing)
        await building_up.catch_up(progress)
        faults.at("rebuild.caught_up")
        await building_up.switch()
        faults.at("rebuild.switched")
        await sink.choose(definition.name, definition.fingerprint, definition.parts)
    except (Exception, asyncio.CancelledError) as problem:  # Ctrl-C too leaves nothing behind
        if keep and isinstance(problem, asyncio.CancelledError):
            await sink.release(building(definition.name), claimed.epoch)
        else:
            await _clear_away(sink, definition, claimed.epoch)
        raise
    return folding.written


class _Building:
    """One run over the log into a table of its own."""

    def __init__(
        self,
        store: EventStore,
        sink: Sink,
        definition: ReadModelDefinition,
        types: EventTypes,
        folding: Folding,
        epoch: int,
        lease: float,
        tracing: Tracing,
    ) -> None:
        self._tracing = tracing
        self._store = store
        self._sink = sink
        self._definition = definition
        self._types = types
        self._folding = folding
        self._epoch = epoch
        self._lease = lease
        self._wanted = frozenset(event.__message_name__ for event in definition.evolves)
        self._renewed = time.monotonic()

    async def catch_up(self, progress: Callable[[RebuildProgress], None] | None = None) -> None:
        """Folds up to the head, and writes."""
        folding = self._folding
        reader = await self._store.open_reader()
        began = time.monotonic()
        reading = asyncio.ensure_future(reader.read(folding.position, _PAGE))
        try:
            while True:
                page = await reading
                if page.scanned_to < page.head:
                    # The next page is fetched while this one is folded.
                    reading = asyncio.ensure_future(reader.read(page.scanned_to, _PAGE))
                batch = decoded(folding.position, page.head, page.events, self._types, self._wanted)
                with self._tracing.fold(self._definition.name, batch.events, self._definition.evolves):
                    await folding.take(batch)
                if batch.unreadable is not None:
                    raise batch.unreadable
                if progress is not None:
                    rate = folding.position / max(time.monotonic() - began, 1e-6)
                    left = (page.head - folding.position) / max(rate, 1e-6)
                    progress(RebuildProgress(self._definition.name, folding.position, page.head, rate, left))
                await self._renew()
                if page.scanned_to >= page.head:
                    break
        finally:
            await reader.close()
            # A read that is under way ends with its reader.
            await asyncio.gather(reading, return_exceptions=True)
        if folding.position > folding.written:
            await folding.write()

    async def switch(self) -> None:
        """Puts it in the place of the old one. What that has seen meanwhile is folded in the same step."""
        name, back = self._definition.name, False
        try:
            for each in await self._sink.shards(name):
                await check_history(self._store, each)
        except LogRegression:
            back = True  # what the old one has seen is not in this log
        if not await self._sink.switch(self._definition, self._epoch, decode=self._types.decode, back=back):
            raise ProjectionStopped(f"read model {name!r} was taken over by another rebuild")

    async def _renew(self) -> None:
        now = time.monotonic()
        if now - self._renewed > self._lease / 4:
            self._renewed = now
            if not await self._sink.renew(building(self._definition.name), self._epoch, self._lease):
                raise ProjectionStopped(f"read model {self._definition.name!r} was taken over by another rebuild")


async def _split(
    store: EventStore,
    sink: Sink,
    definition: ReadModelDefinition,
    claimed: Checkpoint,
    split: Split,
    progress: Callable[[RebuildProgress], None] | None,
    lease: float,
) -> Checkpoint:
    """Lets several processes fold, each its share of the keys; then the table's own checkpoint moves there at once."""
    keeping = _Kept(sink, building(definition.name), claimed.epoch, lease)
    async with keeping:
        position = await split(definition, claimed.epoch, progress)
    page = await store.read_log(after=position - 1, limit=1) if position else None
    append_id = page.events[0].append_id.hex() if page is not None and page.events else ""
    move = Move(0, position, append_id, claimed.epoch)
    if not await sink.write(definition, building(definition.name), [], [], move):
        raise ProjectionStopped(f"read model {definition.name!r} was taken over by another rebuild")
    return msgspec.structs.replace(claimed, position=position, append_id=append_id)


class _Kept:
    """Keeps a lease while others work."""

    def __init__(self, sink: Sink, table: str, epoch: int, lease: float) -> None:
        self._sink, self._table, self._epoch, self._lease = sink, table, epoch, lease
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        while await self._sink.renew(self._table, self._epoch, self._lease):  # noqa: ASYNC110  # a lease is time
            await asyncio.sleep(self._lease / 4)

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


async def _resumed(
    store: EventStore, sink: Sink, definition: ReadModelDefinition, owner: str, lease: float
) -> Checkpoint | None:
    """What a killed builder has folded, when it is of this definition and of this log."""
    left = await sink.checkpoint(building(definition.name))
    if left is None or left.position == 0 or left.fingerprint != definition.fingerprint:
        return None
    claimed = await sink.claim(left.name, owner, lease)
    if claimed is None or claimed.position == 0:
        return None
    try:
        await check_history(store, claimed)
    except LogRegression:
        return None
    return claimed


async def _begun(
    store: EventStore, sink: Sink, definition: ReadModelDefinition, owner: str, lease: float, resume: bool
) -> Checkpoint:
    """The table to build in. When a builder died, its lease runs out first.

    Raises `ProjectionStopped` as soon as another builder is seen to live.
    """
    table = building(definition.name)
    found = await sink.checkpoint(table)
    while True:
        if resume and (resumed := await _resumed(store, sink, definition, owner, lease)) is not None:
            return resumed
        if (begun := await sink.begin(definition, owner, lease)) is not None:
            return begun
        await asyncio.sleep(lease / 8)
        now = await sink.checkpoint(table)
        if found is not None and now is not None and _moved(found, now):
            raise ProjectionStopped(f"read model {definition.name!r} is being rebuilt by another process; wait for it")
        found = now


def _moved(before: Checkpoint, now: Checkpoint) -> bool:
    return (before.epoch, before.position, before.lease_until) != (now.epoch, now.position, now.lease_until)


async def _clear_away(sink: Sink, definition: ReadModelDefinition, epoch: int) -> None:
    """Drops what was built half, so that the next rebuild need not wait for a lease."""
    table = building(definition.name)
    try:
        left = await sink.checkpoint(table)
        if left is not None and left.epoch == epoch:
            await sink.drop(table)
    except RefoldError:
        return  # the store is away: the lease runs out
