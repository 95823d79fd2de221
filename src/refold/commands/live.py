"""Live aggregates: the states that this process decided on lately. A cache is a baseline only: newer events are read,
or proven absent by the append.

One live aggregate serves all commands of its stream that wait together: they are decided one after the other, each on
the state that the ones before it will leave, and go into the same commit.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from refold.commands.loading import Loaded, Loader
from refold.errors import FoldFailed
from refold.folds.aggregate import Aggregate
from refold.messages.recorded import NewEvent, StoredEvent
from refold.store.append import Append, AppendResult

__all__ = ["LiveAggregate", "LiveAggregates", "Staged"]

A = TypeVar("A", bound=Aggregate)
_log = logging.getLogger("refold.commands")


class Staged(msgspec.Struct, eq=False):
    """Decided events that are on their way into the log. `epoch` tells whether what they were decided on still
    holds.
    """

    append: Append
    epoch: int
    settled: asyncio.Future[bool]
    result: AppendResult | None = None


class LiveAggregate(Generic[A]):
    """The confirmed state of one stream, and what is staged on top of it."""

    def __init__(self, stream: str, loader: Loader[A]) -> None:
        self.stream = stream
        self.loader = loader
        self.confirmed: Loaded[A] = loader.new()
        self.snapshot_version = 0
        self.stale = True
        self.lock = asyncio.Lock()
        self._staged: deque[Staged] = deque()
        self._ahead = 0
        self._tip: A | None = None
        self._not_on_tip: list[NewEvent] = []
        self._epoch = 0
        # A handler that wants position or time cannot fold an event that has none yet.
        self.can_run_ahead = not any(handler.wants_recorded for handler in loader.definition.evolves.values())

    @property
    def busy(self) -> bool:
        """Whether something is staged or being read."""
        return bool(self._staged) or self.lock.locked()

    @property
    def last_staged(self) -> Staged | None:
        """What was staged last and is not settled."""
        return self._staged[-1] if self._staged else None

    def tip(self) -> tuple[A, int]:
        """The state and version that the next command is decided on: confirmed, and all that is staged."""
        if not self._staged:
            return self.confirmed.state, self.confirmed.version
        if self._tip is None:
            self._tip = copy.deepcopy(self.confirmed.state)
            self._not_on_tip = [event for staged in self._staged for event in staged.append.streams[0].events]
        try:
            # Each fold decodes events of its own: an evolve method may keep a list of its event, and change it later.
            self._tip = self.loader.fold.fold_ahead(self._tip, self._not_on_tip)
        except FoldFailed:
            self._tip = None  # half-folded; it is made anew when it is asked for again
            raise
        self._not_on_tip.clear()
        return self._tip, self.confirmed.version + self._ahead

    def stage(self, append: Append) -> Staged:
        """Puts decided events on top. The caller appends them next, without waiting for anything in between."""
        staged = Staged(append, self._epoch, asyncio.get_running_loop().create_future())
        self._staged.append(staged)
        self._ahead += append.size
        self._not_on_tip += append.streams[0].events
        return staged

    def confirm(self, staged: Staged, result: AppendResult) -> None:
        """The append of these events is in the log."""
        staged.result = result
        if not staged.settled.done():
            staged.settled.set_result(True)
        if staged.epoch != self._epoch:
            return  # something before it failed, so the confirmed state misses events: it is stale and will be read
        # One batch may be settled while the next one is answered; whatever the order, events are folded in theirs.
        while self._staged and (first := self._staged[0].result) is not None:
            self._fold(self._staged.popleft(), first)
        if not self._staged:
            self._drop_tip()

    def _fold(self, staged: Staged, result: AppendResult) -> None:
        confirmed = self.confirmed
        new = staged.append.streams[0].events
        self._ahead -= len(new)
        if self.can_run_ahead:
            confirmed.state = self.loader.fold.fold_ahead(confirmed.state, new)
        else:
            version = confirmed.version + 1
            stored = [
                _stored(event, self.stream, version + index, index, staged.append, result)
                for index, event in enumerate(new)
            ]
            confirmed.state = self.loader.fold.fold(confirmed.state, stored)
        confirmed.version += len(new)
        confirmed.position = result.last
        confirmed.append_id = staged.append.id.bytes

    def fail(self, staged: Staged) -> None:
        """The append of these events did not succeed, or its outcome is not known: what was decided on top of it is
        void.
        """
        if not staged.settled.done():
            staged.settled.set_result(False)
        if staged.epoch != self._epoch:
            return
        self._epoch += 1
        for voided in self._staged:
            if not voided.settled.done():
                voided.settled.set_result(False)
        self._staged.clear()
        self._drop_tip()
        self.stale = True

    def start_over(self) -> None:
        """Forgets the confirmed state too: the log does not hold what it was folded from."""
        self.confirmed = self.loader.new()
        self.stale = True

    def spoil(self) -> None:
        """Somebody changed the state that `tip` gave."""
        if self._staged:
            self._tip = None
        else:
            self.start_over()

    def _drop_tip(self) -> None:
        self._ahead = 0
        self._tip = None
        self._not_on_tip.clear()

    async def refresh(self) -> None:
        """Reads what the confirmed state has not seen. Holds the lock; nothing may be staged meanwhile."""
        if self.confirmed.version == 0:
            self.confirmed = await self.loader.load(self.stream)
            # Without a usable snapshot this is 0, and the next one is taken as soon as it is due.
            self.snapshot_version = self.confirmed.snapshot_version
        else:
            await self._read_newer()
        self.stale = False

    async def _read_newer(self) -> None:
        confirmed = self.confirmed
        # Folding may fail half-way; then this state is neither here nor there and is folded anew next time.
        self.confirmed = self.loader.new()
        if await self.loader.catch_up_proven(self.stream, confirmed):
            self.confirmed = confirmed
            return
        _log.warning(
            "forgot the state of %s at version %d: the log does not hold its last event", self.stream, confirmed.version
        )
        self.confirmed = await self.loader.load(self.stream)
        self.snapshot_version = self.confirmed.snapshot_version


def _stored(new: NewEvent, stream: str, version: int, index: int, append: Append, result: AppendResult) -> StoredEvent:
    return StoredEvent(
        result.first + index,
        stream,
        version,
        new.type,
        new.schema_version,
        new.payload,
        new.metadata,
        result.recorded_at,
        new.occurred_at,
        append.id.bytes,
        index,
        new.tags,
    )


class LiveAggregates:
    """The live aggregates of one process, the least recently used of which are forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_stream: OrderedDict[str, LiveAggregate[Any]] = OrderedDict()

    def of(self, stream: str, new: Callable[[], LiveAggregate[Any]]) -> LiveAggregate[Any]:
        """The live aggregate of a stream, made by `new` when there is none."""
        live = self._by_stream.get(stream)
        if live is None:
            live = self._by_stream[stream] = new()
            self._shrink()
        else:
            self._by_stream.move_to_end(stream)
        return live

    def forget(self, live: LiveAggregate[Any]) -> None:
        """Lets go of one, unless another has taken its place."""
        if self._by_stream.get(live.stream) is live:
            del self._by_stream[live.stream]

    def _shrink(self) -> None:
        for _ in range(len(self._by_stream) - self._most):
            oldest = next(iter(self._by_stream))
            if self._by_stream[oldest].busy:
                self._by_stream.move_to_end(oldest)
            else:
                del self._by_stream[oldest]
