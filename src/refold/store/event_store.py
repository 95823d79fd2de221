"""The event store's interface. Every store is one class that does this, and passes the contract suite of
`refold.testing.contract`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec

from refold.errors import InvalidQuery
from refold.messages.recorded import StoredEvent, category_of
from refold.store.append import Append, AppendResult, Matching
from refold.store.integrity import Flaws

__all__ = [
    "EventFilter",
    "EventStore",
    "Head",
    "LogPage",
    "LogReader",
    "SharedLog",
    "Snapshot",
    "StoreTransaction",
    "StreamInfo",
    "validate_page",
]


class EventFilter(msgspec.Struct, frozen=True):
    """Which events of the log are wanted; what is empty or None filters nothing. All parts must hold.

    `matching`: at least one of them matches (types and tags). `categories`: the stream's category is one of these.
    `recorded_from` (included) and `recorded_until` (excluded) are microseconds since 1970, UTC.
    """

    matching: tuple[Matching, ...] = ()
    categories: tuple[str, ...] = ()
    recorded_from: int | None = None
    recorded_until: int | None = None

    @property
    def everything(self) -> bool:
        """Whether it filters nothing."""
        return self == _EVERYTHING

    def fits(self, event: StoredEvent) -> bool:
        """Whether an event that was read already is one of them."""
        return (
            (not self.matching or any(each.fits(event.type, event.tags) for each in self.matching))
            and (not self.categories or category_of(event.stream) in self.categories)
            and (self.recorded_from is None or event.recorded_at >= self.recorded_from)
            and (self.recorded_until is None or event.recorded_at < self.recorded_until)
        )


_EVERYTHING = EventFilter()
_LAST = 2**63 - 1


class Head(msgspec.Struct, frozen=True):
    """The end of the log: its last position (0: empty) and when that was recorded (microseconds; 0: never)."""

    position: int
    recorded_at: int


class LogPage(msgspec.Struct, frozen=True):
    """A page of the log, in order of position (descending when read backward).

    `scanned_to`: no event of the filter between the asked-for position and this one is missing from the page; go on
    from here. It moves even when nothing matched. `head` is the log's last position as the same statement saw it:
    `scanned_to == head` means caught up.
    """

    events: list[StoredEvent]
    scanned_to: int
    head: int


class StreamInfo(msgspec.Struct, frozen=True):
    """A stream at a glance. `recorded_at` (microseconds) and `position` are its last event's."""

    stream: str
    version: int
    position: int
    recorded_at: int


class Snapshot(msgspec.Struct, frozen=True):
    """A saved fold of a stream up to `version`. `append_id` and `position` are those of the event at that version: they
    tell whether the log still holds the history that this was folded from. `fingerprint` is the aggregate definition's.
    """

    stream: str
    version: int
    position: int
    append_id: bytes
    fingerprint: str
    data: bytes


class LogReader(Protocol):
    """A reader of the log with a connection of its own, for projections and long reads. One read at a time."""

    async def read(self, after: int, limit: int, where: EventFilter = ...) -> LogPage:
        """The next events after a position, at most `limit`. Scans a bounded part of the log, so it returns soon
        whatever matches.
        """
        ...

    async def close(self) -> None:
        """Gives the connection back."""
        ...


class SharedLog(Protocol):
    """A log that several processes read together."""

    async def open_share(self, number: int, of: int) -> LogReader:
        """A reader of the share `number` of `of`, from its first event to its last. Each stream is in one share, with
        all others of its id. A page goes over so many positions as it is asked for, and holds those of the share.
        """
        ...


def validate_page(after: int, limit: int) -> None:
    """Raises `InvalidQuery` for a page that no log can have: it must not be taken for a damaged log."""
    if type(after) is not int or not 0 <= after <= _LAST:
        raise InvalidQuery(f"after={after!r} is not a version or position, nor 0")
    if type(limit) is not int or not 1 <= limit <= _LAST:
        raise InvalidQuery(f"limit={limit!r} is not a number of events, 1 or more")


class StoreTransaction(Protocol):
    """A database transaction of the user's: own tables and appends, all or nothing. Appends are done last, right before
    the commit.
    """

    @property
    def connection(self) -> Any:
        """The driver's connection (`sqlite3.Connection`, `psycopg.AsyncConnection`), in a transaction."""
        ...

    async def execute(
        self, statement: Any, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Runs one SQL statement (text with the driver's placeholders, or SQLAlchemy Core); gives its rows."""
        ...

    def append(self, append: Append) -> None:
        """Stages an append; it is validated now, and done at the commit."""
        ...

    @property
    def results(self) -> Sequence[AppendResult]:
        """What became of its appends, in order, once it is committed; nothing before."""
        ...


class EventStore(Protocol):
    """One log of events in one database. All methods may be called by many tasks at once. Open it once, close it at the
    end.

    Every method raises `StoreUnavailable` when the database cannot be reached.
    """

    @property
    def name(self) -> str:
        """The store as it may be shown: its URL without secrets."""
        ...

    async def append(self, append: Append) -> AppendResult:
        """Appends all or nothing, durably: when this returns, the events survive a crash.

        Raises `Conflict`, `ConditionFailed`, `InvalidAppend`, `PayloadTooLarge`, `Overloaded` (nothing stored), or
        `OutcomeUnknown`.
        """
        ...

    async def find_append(self, append_id: bytes) -> AppendResult | None:
        """The result of an earlier append with this id (16 bytes), if the log has it."""
        ...

    async def restore(self, events: Sequence[StoredEvent]) -> None:
        """Puts events of another log at the end of this one as they are, whole appends, all or nothing, durably.

        They keep positions, versions, times and append ids, so they must go on exactly where this log ends. Raises
        `Refused` when they do not: nothing is stored then.
        """
        ...

    async def read_stream(
        self, stream: str, *, after: int = 0, limit: int = 1000, backward: bool = False
    ) -> list[StoredEvent]:
        """Events of a stream: forward those with a version above `after`; backward, descending, those with a version
        below `after` (0: from the end). At most `limit`. Raises `InvalidQuery` for a negative `after`, or no `limit`.
        """
        ...

    async def read_log(
        self, *, after: int = 0, limit: int = 1000, where: EventFilter = ..., backward: bool = False
    ) -> LogPage:
        """Events of the log: forward those after position `after`; backward, descending, those before it (0: from the
        end). Raises `InvalidQuery` for a negative `after`, or no `limit`.
        """
        ...

    async def read_append(self, append_id: bytes) -> list[StoredEvent]:
        """The events of one append, in order; none when the log does not have it."""
        ...

    async def head(self) -> Head:
        """The end of the log."""
        ...

    async def position_at(self, recorded_at: int) -> int:
        """The last position recorded at or before a moment (microseconds); 0 when there is none. O(log n)."""
        ...

    async def stream_version(self, stream: str) -> int:
        """The stream's version; 0: it has no events."""
        ...

    async def streams(self, *, category: str | None = None, after: str = "", limit: int = 100) -> list[StreamInfo]:
        """Streams in order of their ids, those after `after`."""
        ...

    async def wait_beyond(self, position: int, timeout: float) -> bool:
        """Waits until the log may have grown beyond a position: rung by this process's own appends and by the store's
        doorbell.

        True when it was rung, False at the time-out (seconds). Only a hint: it may ring early and it may miss; read to
        know.
        """
        ...

    async def open_reader(self) -> LogReader:
        """A reader with a connection of its own. Raises `StoreUnavailable` when the store is closed."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[StoreTransaction]:
        """A transaction of the user's. Leaving the block commits; an exception rolls everything back.

        On leaving, raises `Conflict` or `ConditionFailed` when a staged append does not fit: nothing is stored then.
        """
        ...

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keeps a snapshot, unless a newer one of the same fingerprint is there."""
        ...

    async def load_snapshot(self, stream: str) -> Snapshot | None:
        """The stream's snapshot, whatever its fingerprint; the caller decides whether to believe it."""
        ...

    async def snapshots(self, *, after: str = "", limit: int = 100) -> list[Snapshot]:
        """Snapshots in order of their streams' ids, those after `after`."""
        ...

    async def drop_snapshot(self, stream: str) -> None:
        """Forgets a stream's snapshot."""
        ...

    async def flaws(self) -> Flaws:
        """What is wrong inside the store: missing guards against changes, a wrong index of tags, damage."""
        ...

    async def close(self) -> None:
        """Finishes what is queued, then lets go of all connections. Appends after it raise `StoreUnavailable`."""
        ...
