"""What a scenario is given: events, on their streams, at their times, recorded as a store would record them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from refold.errors import InvalidAppend
from refold.messages.event import Event
from refold.messages.event_types import EventTypes
from refold.messages.metadata import Metadata, encode_metadata
from refold.messages.recorded import Recorded, StoredEvent, to_microseconds
from refold.store.append import validate_stream_id

__all__ = ["GivenEvent", "GivenEvents", "as_given", "on", "record"]

_FIRST_RECORDED = datetime(2026, 1, 1, tzinfo=UTC)
_BETWEEN_EVENTS = timedelta(seconds=1)


class GivenEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a scenario's past. `stream` is None where the scenario has to say which one it is."""

    event: Event
    stream: str | None = None
    occurred_at: datetime | None = None
    recorded_at: datetime | None = None
    metadata: Metadata = Metadata()


class GivenEvents(msgspec.Struct, frozen=True):
    """Events with what `on` said about them."""

    events: tuple[GivenEvent, ...]


def on(
    stream: str,
    *events: Event,
    occurred_at: datetime | None = None,
    recorded_at: datetime | None = None,
    metadata: Metadata | None = None,
) -> GivenEvents:
    """Events of a stream: `given(on("account-42", AccountOpened(owner="alice"), occurred_at=monday))`.

    All of them get the metadata and `occurred_at`, where they happened at another time than they were recorded.
    `recorded_at` is the first one's time of recording, later events follow a second apart (from 2026-01-01 by default).
    Raises `InvalidAppend` for a stream id or a time that no store would take.
    """
    validate_stream_id(stream)
    for moment in (occurred_at, recorded_at):
        if moment is not None and moment.tzinfo is None:
            raise InvalidAppend(f"{moment!r} has no time zone; give one, as in datetime(…, tzinfo=UTC)")
    return GivenEvents(
        tuple(
            GivenEvent(
                event=event,
                stream=stream,
                occurred_at=occurred_at,
                recorded_at=recorded_at if at == 0 else None,
                metadata=metadata or Metadata(),
            )
            for at, event in enumerate(events)
        )
    )


def as_given(events: Iterable[Event | GivenEvents]) -> tuple[GivenEvent, ...]:
    """The events of a `given(…)`, one by one."""
    found: list[GivenEvent] = []
    for each in events:
        if isinstance(each, GivenEvents):
            found.extend(each.events)
        elif isinstance(each, Event):
            found.append(GivenEvent(event=each))
        else:
            raise TypeError(f"given() takes events, or on(stream, events …), not {each!r}")
    return tuple(found)


def record(
    past: Iterable[GivenEvent], types: EventTypes, stream_of: Callable[[GivenEvent], str]
) -> list[Recorded[Any]]:
    """The events as a store would have recorded them: positions and versions 1, 2, 3 …, times that never go back.

    Fails (AssertionError) for an event that is not the same after having been stored and read.
    """
    recorded: list[Recorded[Any]] = []
    versions: dict[str, int] = {}
    now = _FIRST_RECORDED
    for position, given in enumerate(past, start=1):
        stream = given.stream or stream_of(given)
        versions[stream] = versions.get(stream, 0) + 1
        now = max(now, given.recorded_at) if given.recorded_at is not None else now
        new, as_read = types.prepare(
            given.event, metadata=encode_metadata(given.metadata), occurred_at=given.occurred_at
        )
        if as_read != given.event:
            raise AssertionError(
                f"{type(given.event).__name__} is not the same after having been stored as JSON and read again:\n"
                f"    before: {given.event!r}\n    after:  {as_read!r}"
            )
        stored = StoredEvent(
            position,
            stream,
            versions[stream],
            new.type,
            new.schema_version,
            new.payload,
            new.metadata,
            to_microseconds(now),
            new.occurred_at,
            UUID(int=position).bytes,
            0,
            new.tags,
        )
        recorded.append(Recorded(as_read, stored))
        now += _BETWEEN_EVENTS
    return recorded
