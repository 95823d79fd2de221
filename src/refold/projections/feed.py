"""The feed: one reader of the log for all projections of a process. A page is read and decoded once, whoever asks."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from refold.errors import DecodeError, LogRegression, UnknownEvent
from refold.messages.event import Event
from refold.messages.event_types import EventTypes
from refold.messages.recorded import Recorded, StoredEvent
from refold.store.event_store import EventStore, LogReader
from refold.subscriptions.pace import Pace

__all__ = ["Batch", "Feed", "decoded"]

_PAGE = 2_000
_KEPT = 2
_RAREST = 1.0


class Batch(msgspec.Struct, frozen=True):
    """The decoded events after `after`, up to `scanned_to`. `last` is the event at `scanned_to`, None when nothing was
    read.

    `unreadable` is why it ends before an event that no class of this app can read.
    """

    after: int
    scanned_to: int
    head: int
    last: StoredEvent | None
    events: list[Recorded[Any]]
    unreadable: UnknownEvent | DecodeError | None = None
    page: Sequence[StoredEvent] = ()

    def stored_at(self, position: int) -> StoredEvent:
        """The event at a position of this batch, wanted or not. Positions have no gaps."""
        return self.page[position - self.after - 1]


def decoded(after: int, head: int, events: list[StoredEvent], types: EventTypes, wanted: frozenset[str]) -> Batch:
    """A batch of these events: those of wanted types decoded, the others only known to be of this app."""
    found: list[Recorded[Any]] = []
    last: StoredEvent | None = None
    try:
        for stored in events:
            if stored.type in wanted:
                found.append(types.decode(stored))
            elif stored.type not in types:
                raise UnknownEvent(stored.type, stored.position, stored.stream)
            last = stored
    except (UnknownEvent, DecodeError) as problem:
        return Batch(after, last.position if last else after, head, last, found, problem, events)
    return Batch(after, last.position if last else after, head, last, found, None, events)


class Feed:
    """Serves batches to the projections of one process. The newest batches are kept, since projections at the head ask
    alike.
    """

    def __init__(self, store: EventStore, types: EventTypes, wanted: Iterable[type[Event]], page: int = _PAGE) -> None:
        self._store = store
        self.types = types
        self._wanted = frozenset(event.__message_name__ for event in wanted)
        self._page = page
        self._kept: deque[Batch] = deque(maxlen=_KEPT)
        self._lock = asyncio.Lock()
        self.one_at_a_time = asyncio.Lock()
        """Held by the projection of this process that tries what may kill the process."""
        self._reader: LogReader | None = None
        self._nothing: Batch | None = None
        self._nothing_at = 0.0
        self._look_at = 0.0
        self._pace = Pace(_RAREST)

    async def read(self, after: int) -> Batch:
        """The batch after a position; without events when there are none yet. At the log's end, one look is for all
        that ask there, and those that nothing rings for become rare: down to one a second. Raises `LogRegression`,
        `StoreUnavailable`.
        """
        batch = self._find(after)
        if batch is not None:
            return batch
        asked = time.monotonic()
        quiet = self._nothing is not None and self._nothing.after == after and asked < self._look_at
        if quiet and self._nothing is not None and not await self._store.wait_beyond(after, 0):
            return self._nothing
        async with self._lock:
            # Whoever held the lock before may have read just this, or found just now that nothing is there.
            return self._find(after, nothing_since=asked) or await self._read(after)

    def _find(self, after: int, nothing_since: float = math.inf) -> Batch | None:
        if self._nothing is not None and self._nothing.after == after and self._nothing_at >= nothing_since:
            return self._nothing
        for batch in self._kept:
            if batch.after == after and batch.last is not None and batch.unreadable is None:
                return batch
        return None

    async def _read(self, after: int) -> Batch:
        if self._reader is None:
            self._reader = await self._store.open_reader()
        began = time.monotonic()
        page = await self._reader.read(after, self._page)
        if page.head < after:
            raise LogRegression(
                f"the log ends at position {page.head}, the read models are at {after}: the log was restored "
                "from an older backup; rebuild them (`refold rebuild NAME`)"
            )
        batch = decoded(after, page.head, page.events, self.types, self._wanted)
        if batch.last is not None:
            self._kept.append(batch)
            self._pace = Pace(_RAREST)
        else:
            self._nothing, self._nothing_at = batch, began
            self._look_at = time.monotonic() + self._pace.pause()
        return batch

    async def read_alone(self, after: int, wanted: frozenset[str]) -> Batch:
        """The batch for one projection, when the shared one has an event in it that others want and cannot read."""
        async with self._lock:
            if self._reader is None:
                self._reader = await self._store.open_reader()
            page = await self._reader.read(after, self._page)
        return decoded(after, page.head, page.events, self.types, wanted)

    async def close(self) -> None:
        """Gives the reader back."""
        if self._reader is not None:
            await self._reader.close()
