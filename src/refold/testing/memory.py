"""The event store in memory: the same guarantees but durability, deterministic, nothing to install. For tests, and as
the contract's model.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from refold import faults
from refold.errors import (
    AlreadyAppended,
    ConditionFailed,
    ConfigurationError,
    Conflict,
    RefoldError,
    Refused,
    StoreError,
    StoreUnavailable,
)
from refold.messages.recorded import StoredEvent, category_of
from refold.store.append import ANY, EXISTS, Append, AppendResult, expected_in_words, validate_append
from refold.store.counts import CommitCounts
from refold.store.doorbell import Doorbell
from refold.store.event_store import EventFilter, Head, LogPage, Snapshot, StreamInfo, validate_page
from refold.store.group_commit import GroupCommit, Limits, Outcome
from refold.store.integrity import Flaws
from refold.store.restore import check_restored

__all__ = ["MemoryStore"]

_EVERYTHING = EventFilter()


class MemoryStore:
    """An `EventStore` in memory. `clock` gives microseconds since 1970, `window` is the part of the log that one
    filtered read scans.

    May be opened and closed again by several contexts; what was appended stays until the object goes.
    """

    name = "memory"

    def __init__(
        self, *, limits: Limits | None = None, clock: Callable[[], int] | None = None, window: int = 100_000
    ) -> None:
        self._limits = limits or Limits()
        self._clock = clock or (lambda: time.time_ns() // 1000)
        self._window = window
        self._log: list[StoredEvent] = []
        self._recorded_at: list[int] = []
        self._streams: dict[str, list[int]] = {}
        self._appends: dict[bytes, AppendResult] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self.counts = CommitCounts()
        self._doorbell = Doorbell()
        self._group_commit: GroupCommit | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self.inline: Callable[[list[StoredEvent]], None] | None = None

    # --- appending ----------------------------------------------------------------------------------------------------

    async def append(self, append: Append) -> AppendResult:
        """Appends all or nothing; see `EventStore.append`."""
        if self._closed:
            raise StoreUnavailable("the store is closed; nothing was stored")
        if self._group_commit is None or self._loop is not asyncio.get_running_loop():
            self._loop = asyncio.get_running_loop()
            self._group_commit = GroupCommit(self._commit, self._limits, self._doorbell.ring, counts=self.counts)
        return await self._group_commit.append(append)

    async def _commit(self, batch: Sequence[Append]) -> Sequence[Outcome]:
        faults.at("memory.append.begin")
        await asyncio.sleep(0)  # a real commit lets others run; so does this one
        outcomes: list[Outcome] = [self._append_one(append) for append in batch]
        faults.at("memory.append.committed")
        return outcomes

    def _append_one(self, append: Append) -> Outcome:
        try:
            return self._appended(append)
        except RefoldError as problem:
            return problem
        except Exception as problem:  # noqa: BLE001  # whatever an inline read model raises, its append is answered
            return StoreError(f"the append was rolled back, nothing was stored: {problem!r}")

    def _appended(self, append: Append) -> AppendResult:
        first = self._appends.get(append.id.bytes)
        if first is not None:
            return AppendResult(first.id, first.first, first.last, first.versions, first.recorded_at, repeated=True)
        self._check(append)
        recorded_at = max(self._clock(), self._recorded_at[-1] if self._recorded_at else 0)
        stored: list[StoredEvent] = []
        versions: dict[str, int] = {}
        for part in append.streams:
            version = len(self._streams.get(part.stream, ()))
            for event in part.events:
                version += 1
                stored.append(
                    StoredEvent(
                        len(self._log) + len(stored) + 1,
                        part.stream,
                        version,
                        event.type,
                        event.schema_version,
                        event.payload,
                        event.metadata,
                        recorded_at,
                        event.occurred_at,
                        append.id.bytes,
                        len(stored),
                        event.tags,
                    )
                )
            versions[part.stream] = version
        if self.inline is not None:
            self.inline(stored)
        result = AppendResult(append.id, stored[0].position, stored[-1].position, versions, recorded_at)
        self._keep(stored)
        self._appends[append.id.bytes] = result
        return result

    async def restore(self, events: Sequence[StoredEvent]) -> None:
        """Puts events of another log at the end of this one; see `EventStore.restore`."""
        streams = {event.stream: len(self._streams.get(event.stream, ())) for event in events}
        check_restored(events, await self.head(), streams)
        appends = [list(group) for _, group in itertools.groupby(events, key=lambda event: event.append_id)]
        for append in appends:
            if append[0].append_id in self._appends:
                raise Refused(f"append {UUID(bytes=append[0].append_id)} cannot be restored: the log has it already")
        faults.at("memory.restore.begin")
        if self.inline is not None:
            self.inline(list(events))
        self._keep(list(events))
        for append in appends:
            versions = {event.stream: event.version for event in append}
            self._appends[append[0].append_id] = AppendResult(
                UUID(bytes=append[0].append_id),
                append[0].position,
                append[-1].position,
                versions,
                append[-1].recorded_at,
            )
        self._doorbell.ring(len(self._log))

    def _keep(self, stored: list[StoredEvent]) -> None:
        for event in stored:
            self._log.append(event)
            self._recorded_at.append(event.recorded_at)
            self._streams.setdefault(event.stream, []).append(event.position)

    def _check(self, append: Append) -> None:
        for part in append.streams:
            positions = self._streams.get(part.stream, [])
            actual = len(positions)
            fits = part.expected == ANY or (part.expected == EXISTS and actual) or part.expected == actual
            if fits and append.rests_on is not None:
                fits = self._log[positions[-1] - 1].append_id == append.rests_on.bytes
            if not fits:
                raise Conflict(part.stream, expected_in_words(part.expected), actual)
        if append.condition is not None:
            for event in self._log[append.condition.after :]:
                if any(each.fits(event.type, event.tags) for each in append.condition.matching):
                    raise ConditionFailed(append.condition.after, event.position)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[_MemoryTransaction]:
        """A unit of work without SQL: its appends are all done, or none of them."""
        transaction = _MemoryTransaction(self._limits.payload)
        try:
            yield transaction
        finally:
            transaction.over = True
        kept = len(self._log), dict(self._appends)
        results = []
        try:
            for append in transaction.staged:
                result = self._appended(append)
                if result.repeated:
                    raise AlreadyAppended(append.id)
                results.append(result)
        except RefoldError:
            for event in self._log[kept[0] :]:
                self._streams[event.stream].pop()
            del self._log[kept[0] :], self._recorded_at[kept[0] :]
            self._appends = kept[1]
            raise
        transaction.results = results
        self._doorbell.ring(len(self._log))

    # --- reading ------------------------------------------------------------------------------------------------------

    async def find_append(self, append_id: bytes) -> AppendResult | None:
        """The result of an earlier append with this id."""
        return self._appends.get(append_id)

    async def read_append(self, append_id: bytes) -> list[StoredEvent]:
        """The events of one append, in order."""
        result = self._appends.get(append_id)
        return [] if result is None else self._log[result.first - 1 : result.last]

    async def read_stream(
        self, stream: str, *, after: int = 0, limit: int = 1000, backward: bool = False
    ) -> list[StoredEvent]:
        """Events of a stream; see `EventStore.read_stream`."""
        validate_page(after, limit)
        positions = self._streams.get(stream, [])
        if backward:
            end = len(positions) if after == 0 else min(after - 1, len(positions))
            wanted = positions[max(0, end - limit) : end][::-1]
        else:
            wanted = positions[after : after + limit]
        return [self._log[position - 1] for position in wanted]

    async def read_log(
        self, *, after: int = 0, limit: int = 1000, where: EventFilter = _EVERYTHING, backward: bool = False
    ) -> LogPage:
        """Events of the log; see `EventStore.read_log`."""
        validate_page(after, limit)
        head = len(self._log)
        window = limit if where.everything else self._window
        if backward:
            end = head if after == 0 else min(after - 1, head)
            part = self._log[max(0, end - window) : end][::-1]
            edge = max(0, end - window) + 1 if part else 1
        else:
            part = self._log[after : after + window]
            edge = min(after + window, head) if after < head else after
        found = [event for event in part if where.fits(event)]
        if len(found) > limit or (len(found) == limit and found[-1].position != edge):
            found = found[:limit]
            edge = found[-1].position
        return LogPage(found, edge, head)

    async def head(self) -> Head:
        """The end of the log."""
        return Head(len(self._log), self._recorded_at[-1] if self._recorded_at else 0)

    async def position_at(self, recorded_at: int) -> int:
        """The last position recorded at or before a moment."""
        return bisect_right(self._recorded_at, recorded_at)

    async def stream_version(self, stream: str) -> int:
        """The stream's version."""
        return len(self._streams.get(stream, ()))

    async def streams(self, *, category: str | None = None, after: str = "", limit: int = 100) -> list[StreamInfo]:
        """Streams in order of their ids."""
        wanted = sorted(
            stream
            for stream in self._streams
            if self._streams[stream] and stream > after and category in (None, category_of(stream))
        )[:limit]
        lasts = [self._log[self._streams[stream][-1] - 1] for stream in wanted]
        return [StreamInfo(last.stream, last.version, last.position, last.recorded_at) for last in lasts]

    async def wait_beyond(self, position: int, timeout: float) -> bool:
        """Waits until the log may have grown; see `EventStore.wait_beyond`."""
        return await self._doorbell.wait_beyond(position, timeout)

    async def open_reader(self) -> _MemoryReader:
        """A reader. Raises `StoreUnavailable` when the store is closed."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return _MemoryReader(self)

    # --- snapshots ----------------------------------------------------------------------------------------------------

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keeps a snapshot, unless a newer one of the same fingerprint is there."""
        known = self._snapshots.get(snapshot.stream)
        if known is None or known.fingerprint != snapshot.fingerprint or known.version < snapshot.version:
            self._snapshots[snapshot.stream] = snapshot

    async def load_snapshot(self, stream: str) -> Snapshot | None:
        """The stream's snapshot."""
        return self._snapshots.get(stream)

    async def snapshots(self, *, after: str = "", limit: int = 100) -> list[Snapshot]:
        """Snapshots in order of their streams' ids."""
        return [self._snapshots[stream] for stream in sorted(self._snapshots) if stream > after][:limit]

    async def drop_snapshot(self, stream: str) -> None:
        """Forgets a stream's snapshot."""
        self._snapshots.pop(stream, None)

    async def flaws(self) -> Flaws:
        """Nothing: there is no database that could be changed behind its back."""
        return {}

    async def close(self) -> None:
        """Finishes what is queued."""
        self._closed = True
        if self._group_commit is not None:
            await self._group_commit.close()


class _MemoryReader:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def read(self, after: int, limit: int, where: EventFilter = _EVERYTHING) -> LogPage:
        """The next events after a position."""
        return await self._store.read_log(after=after, limit=limit, where=where)

    async def close(self) -> None:
        """Nothing to give back."""


class _MemoryTransaction:
    connection: Any = None

    def __init__(self, payload_limit: int) -> None:
        self._payload_limit = payload_limit
        self.staged: list[Append] = []
        self.results: Sequence[AppendResult] = ()
        self.over = False

    async def execute(
        self, statement: Any, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """There is no SQL in memory."""
        if self.over:
            raise StoreError("this transaction is over; do everything inside its block")
        raise ConfigurationError("the in-memory store has no SQL; use sqlite:///:memory: for a test with tables")

    def append(self, append: Append) -> None:
        """Stages an append."""
        if self.over:
            raise StoreError("this transaction is over; do everything inside its block")
        validate_append(append, payload_limit=self._payload_limit)
        self.staged.append(append)
