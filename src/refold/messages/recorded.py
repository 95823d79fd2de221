"""Events on their way into the log (`NewEvent`), as the log keeps them (`StoredEvent`), and as a handler sees them
(`Recorded`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID, uuid5

import msgspec

from refold.errors import InvalidQuery
from refold.messages.event import Event
from refold.messages.metadata import Metadata, decode_metadata

__all__ = ["NewEvent", "Recorded", "StoredEvent", "category_of", "from_microseconds", "to_microseconds"]

E = TypeVar("E", bound=Event)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(moment: datetime) -> int:
    """Microseconds since 1970 in UTC. Raises `InvalidQuery` for a date, and for a naive datetime: they do not say which
    moment they mean.
    """
    if not isinstance(moment, datetime):
        raise InvalidQuery(f"{moment!r} is no moment; give a datetime with a time zone, as in datetime(…, tzinfo=UTC)")
    if moment.tzinfo is None:
        raise InvalidQuery(
            f"{moment!r} has no time zone, so it names no moment; give one, as in datetime(…, tzinfo=UTC)"
        )
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """The UTC datetime of that many microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=microseconds)


def category_of(stream: str) -> str:
    """The category of a stream id: what stands before its first dash (`account-42` → `account`)."""
    return stream.partition("-")[0]


class NewEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event ready to be stored: JSON bytes, stored as they are. `occurred_at` is in microseconds since 1970, UTC."""

    type: str
    payload: bytes
    metadata: bytes = b"{}"
    schema_version: int = 1
    occurred_at: int | None = None
    tags: tuple[str, ...] = ()


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """An event as the log keeps it, undecoded. Times are microseconds since 1970, UTC; `append_id` is the 16 bytes of a
    UUID.
    """

    position: int
    stream: str
    version: int
    type: str
    schema_version: int
    payload: bytes
    metadata: bytes
    recorded_at: int
    occurred_at: int | None
    append_id: bytes
    append_index: int
    tags: tuple[str, ...] = ()

    @property
    def event_id(self) -> UUID:
        """The event's id: its append's id for the append's first event, derived from it (UUID 5) for the others."""
        append = UUID(bytes=self.append_id)
        return uuid5(append, str(self.append_index)) if self.append_index else append


class Recorded(msgspec.Struct, Generic[E], frozen=True):
    """A recorded event as handlers and readers see it: the typed `event`, and what the log knows about it."""

    event: E
    stored: StoredEvent

    @property
    def position(self) -> int:
        """Its place in the log: 1, 2, 3 …, without gaps."""
        return self.stored.position

    @property
    def stream(self) -> str:
        """The id of its stream, such as `account-42`."""
        return self.stored.stream

    @property
    def stream_key(self) -> str:
        """What stands after the stream id's first dash: `42` of `account-42`."""
        return self.stored.stream.partition("-")[2]

    @property
    def version(self) -> int:
        """Its place in its stream: 1, 2, 3 …"""
        return self.stored.version

    @property
    def type(self) -> str:
        """The name under which the log keeps its class."""
        return self.stored.type

    @property
    def schema_version(self) -> int:
        """The version of its class that wrote it; `event` is as today's class has it."""
        return self.stored.schema_version

    @property
    def timestamp(self) -> datetime:
        """When it was recorded: the database's clock, UTC, never going back along positions."""
        return from_microseconds(self.stored.recorded_at)

    @property
    def occurred_at(self) -> datetime:
        """When it happened, where that was given (an import); otherwise when it was recorded."""
        occurred = self.stored.occurred_at
        return self.timestamp if occurred is None else from_microseconds(occurred)

    @property
    def event_id(self) -> UUID:
        """The event's own id."""
        return self.stored.event_id

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that it was stored with."""
        return self.stored.tags

    @property
    def metadata(self) -> Metadata:
        """Actor, correlation and causation ids, command, and the user's own data."""
        return decode_metadata(self.stored.metadata)
