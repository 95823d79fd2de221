"""Rebuild: the next version of a read model is folded beside the one that is read, and takes its place in one step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from refold import faults
from refold.errors import FoldFailed, LogRegression, ProjectionStopped, RefoldError, event_noted
from refold.folds.read_model import ReadModelDefinition
from refold.messages.event_types import EventTypes
from refold.projections.checkpoint import RUNNING, Checkpoint, Move
from refold.projections.feed import Batch, decoded
from refold.projections.folding import Folding
from refold.projections.giving_way import GiveWay
from refold.projections.parking.gate import open_gate
from refold.projections.parking.records import Resume
from refold.projections.projection import LEASE_SECONDS, check_history
from refold.projections.rebuild_orders import RebuildCancelled, RebuildOrders, cancelled_in_words, why_taken_over
from refold.projections.review.reviewing import Review
from refold.projections.routed import RoutedSink
from refold.projections.sink import Sink, building
from refold.store.event_store import EventStore, LogPage
from refold.tracing import NO_TRACING, Tracing

__all__ = ["RebuildProgress", "Split", "rebuild"]

_SECONDS_UNWRITTEN = 10.0
_EVENTS_UNWRITTEN = 2_000_000
"""A killed rebuild folds so much again. Each write costs the database all rows that were touched, again and again, and
whoever appends beside waits for the disk behind it.
"""
_LOOK = 0.4
_TOLD_EVERY = 1.0


class Split(Protocol):
    """Folds most of the log into the table that is built, under an epoch, in several processes, up to a position or to
    the head; gives the position that all of them have reached.
    """

    async def __call__(
        self,
        definition: ReadModelDefinition,
        epoch: int,
        progress: Callable[[RebuildProgress], None] | None,
        until: int | None,
    ) -> int:
        """Folds."""
        ...


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
    review: Review | None = None,
    tracing: Tracing = NO_TRACING,
) -> int:
    """Folds the whole log into a new table and puts it in the place of the old one; gives the position that it stands
    at.

    The old rows are read all the time. When it is killed, nothing has changed; the next rebuild goes on where it was
    (or, without `resume`, starts clean). One that is cancelled is cleared away, or (`keep`) kept as if killed. `split`
    folds most of the log in several processes first. With a `review`, which begins clean, the rows are compared before
    the switch; when that is a dry run, they are dropped then. Operators can pause it and end it from elsewhere.
    Raises `ProjectionStopped` when another process rebuilds the same read model, or an operator ended it, and what the
    fold raises.
    """
    # The rows that are read are compared with, so they must not be left behind.
    until = None if review is None else await review.begin(store, sink, definition)
    await sink.register(definition, definition.name)
    claimed = await _begun(store, sink, definition, owner, lease, resume and review is None)
    epoch = claimed.epoch
    try:
        faults.at("rebuild.begun")
        if split is not None and claimed.position == 0:
            claimed = await _split(store, sink, definition, claimed, split, progress, lease, until)
            faults.at("split.folded")
        # What was left out of a row stays so, as long as its definition is the same.
        gate = await open_gate(sink.records, definition, building(definition.name))
        folding = Folding(
            sink,
            definition,
            building(definition.name),
            claimed,
            gate=gate,
            seconds_unwritten=_SECONDS_UNWRITTEN,
            events_unwritten=_EVENTS_UNWRITTEN,
        )
        building_up = _Building(store, sink, definition, types, folding, epoch, lease, tracing)
        if review is not None and until is not None:
            await building_up.reach(until, progress)
            await review.look(store, sink, definition, types, building_up)
            faults.at("review.compared")
            if review.dry_run:
                await _clear_away(sink, definition, epoch)
                return folding.written
        await building_up.catch_up(progress)
        faults.at("rebuild.caught_up")
        await building_up.switch()
        faults.at("rebuild.switched")
        await sink.choose(definition.name, definition.fingerprint, definition.parts)
    except (Exception, asyncio.CancelledError) as problem:  # Ctrl-C too leaves nothing behind
        if keep and isinstance(problem, asyncio.CancelledError):
            await sink.release(building(definition.name), epoch)
        else:
            await _clear_away(sink, definition, epoch)
        if isinstance(problem, RefoldError) and (cancelled := await _cancelled(sink, definition, epoch)):
            raise RebuildCancelled(cancelled) from problem
        raise
    return folding.written


async def _cancelled(sink: Sink, definition: ReadModelDefinition, epoch: int) -> str:
    """By whom, when what failed did so because an operator took the table away."""
    try:
        return await cancelled_in_words(sink, definition, epoch)
    except RefoldError:
        return ""  # the store is away: that is what failed


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
        self._orders = RebuildOrders(sink, definition, epoch, lease)
        self._wanted = frozenset(event.__message_name__ for event in definition.evolves)
        self._renewed = self._told = time.monotonic()

    async def reach(self, position: int, progress: Callable[[RebuildProgress], None] | None = None) -> None:
        """Folds up to a position, and writes."""
        if position > self._folding.position:
            await self.catch_up(progress, position)

    async def keep(self) -> None:
        """Keeps the lease, and obeys operators, while something else than folding is done."""
        await self._renew()
        await self._orders.obey(self._settle)

    async def catch_up(
        self, progress: Callable[[RebuildProgress], None] | None = None, until: int | None = None
    ) -> None:
        """Folds up to the head, or to a position before it, and writes."""
        folding = self._folding
        reader = await self._store.open_reader()
        began, first = time.monotonic(), folding.position
        give_way = GiveWay()

        def read(after: int) -> asyncio.Future[LogPage]:
            limit = give_way.page if until is None else min(give_way.page, max(1, until - after))
            return asyncio.ensure_future(reader.read(after, limit))

        reading = read(folding.position)
        try:
            while True:
                page = await reading
                end = page.head if until is None else min(page.head, until)
                more, ahead = page.scanned_to < end, not give_way.active
                if more and ahead:
                    # The next page is fetched while this one is folded.
                    reading = read(page.scanned_to)
                folded = page.scanned_to - folding.position
                batch = decoded(folding.position, end, page.events, self._types, self._wanted)
                with self._tracing.fold(self._definition.name, batch.events, self._definition.evolves):
                    await self._take(batch)
                if batch.unreadable is not None:
                    raise batch.unreadable
                rate = (folding.position - first) / max(time.monotonic() - began, 1e-6)
                left = (end - folding.position) / max(rate, 1e-6)
                now = RebuildProgress(self._definition.name, folding.position, end, rate, left)
                if progress is not None:
                    progress(now)
                await self._tell(now)
                await self.keep()
                if not more:
                    break
                await give_way.rest(folded, page.head)
                if not ahead:
                    reading = read(page.scanned_to)
        finally:
            await reader.close()
            # A read that is under way ends with its reader.
            await asyncio.gather(reading, return_exceptions=True)
        await self._settle()

    async def _take(self, batch: Batch) -> None:
        try:
            await self._folding.take(batch)
        except RefoldError:
            raise
        except Exception as problem:
            event = event_noted(problem)
            if not event:
                raise
            raise FoldFailed(f"read model {self._definition.name!r} cannot fold {event}: {problem!r}") from problem

    async def _tell(self, now: RebuildProgress) -> None:
        """Says to whoever looks from another process how far it is, for its checkpoint moves only when it writes."""
        moment = time.monotonic()
        if moment - self._told > _TOLD_EVERY:
            self._told = moment
            table = building(self._definition.name)
            await self._sink.mark(table, self._epoch, RUNNING, f"it is {_in_words(now)}")

    async def _settle(self) -> None:
        if self._folding.position > self._folding.written:
            await self._folding.write()

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
        # One who paused it in the last moment came too late.
        await self._sink.records.apply([Resume(building(name))])

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
    until: int | None,
) -> Checkpoint:
    """Lets several processes fold, each its share of the keys; then the table's own checkpoint moves there at once."""
    keeping = _Kept(sink, definition, claimed.epoch, lease)

    def told(now: RebuildProgress) -> None:
        keeping.progress = now
        if progress is not None:
            progress(now)

    before = await _life_of(sink, definition)
    folding = asyncio.ensure_future(split(definition, claimed.epoch, told, until))
    keeper = asyncio.ensure_future(keeping.keep())
    try:
        await asyncio.wait({folding, keeper}, return_when=asyncio.FIRST_COMPLETED)
        if not folding.done():
            keeper.result()  # it ends by an error only
    finally:
        for task in (folding, keeper):
            task.cancel()
        await asyncio.gather(folding, keeper, return_exceptions=True)
    position = folding.result()
    if await _life_of(sink, definition) != before:
        raise ProjectionStopped(
            f"the store of read model {definition.name!r} was restarted while several processes filled it, and may "
            "have lost what it had taken from them; rebuild it again"
        )
    page = await store.read_log(after=position - 1, limit=1) if position else None
    append_id = page.events[0].append_id.hex() if page is not None and page.events else ""
    move = Move(0, position, append_id, claimed.epoch)
    if not await sink.write(definition, building(definition.name), [], [], move):
        raise ProjectionStopped(f"read model {definition.name!r} was taken over by another rebuild")
    return msgspec.structs.replace(claimed, position=position, append_id=append_id)


async def _life_of(sink: Sink, definition: ReadModelDefinition) -> str:
    return await sink.life(definition.name) if isinstance(sink, RoutedSink) else ""


class _Kept:
    """Keeps a lease while others work, and notices when it was taken away."""

    def __init__(self, sink: Sink, definition: ReadModelDefinition, epoch: int, lease: float) -> None:
        self._sink, self._definition, self._epoch, self._lease = sink, definition, epoch, lease
        self.progress: RebuildProgress | None = None

    async def keep(self) -> None:
        """Raises `ProjectionStopped` when the table is another's."""
        table = building(self._definition.name)
        renewed = told = time.monotonic()
        while True:
            await asyncio.sleep(min(_LOOK, self._lease / 4))
            checkpoint = await self._sink.checkpoint(table)
            if checkpoint is None or checkpoint.epoch != self._epoch:
                raise ProjectionStopped(await why_taken_over(self._sink, self._definition, self._epoch))
            now = time.monotonic()
            if now - renewed > self._lease / 4:
                renewed = now
                await self._sink.renew(table, self._epoch, self._lease)
            if now - told > _TOLD_EVERY and self.progress is not None:
                told = now
                # Its checkpoint stands at 0 until all have come as far.
                await self._sink.mark(table, self._epoch, RUNNING, f"its processes are {_in_words(self.progress)}")


def _in_words(now: RebuildProgress) -> str:
    return f"at {now.done:,} of {now.total:,} ({now.rate:,.0f}/s, {now.seconds_left:,.0f} s left)"


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
            # What an operator wanted of it is over with it.
            await sink.records.apply([Resume(table)])
    except RefoldError:
        return  # the store is away: the lease runs out
