"""Appends for the contract's tests, in a line each."""

from __future__ import annotations

from uuid import UUID

from refold.messages.ids import new_id
from refold.messages.recorded import NewEvent
from refold.store.append import ANY, Append, AppendCondition, Matching, StreamAppend

__all__ = ["append_of", "event", "matching", "part"]


def event(number: int = 0, *, type: str = "Counted", tags: tuple[str, ...] = ()) -> NewEvent:
    """An event that can be told from others by its number."""
    return NewEvent(type=type, payload=b'{"number":%d}' % number, tags=tags)


def part(stream: str, *events: NewEvent, expected: int = ANY) -> StreamAppend:
    """Events for one stream."""
    return StreamAppend(stream, expected, events or (event(),))


def append_of(
    *parts: StreamAppend,
    id: UUID | None = None,
    condition: AppendCondition | None = None,
    rests_on: Append | None = None,
) -> Append:
    """An append of these parts."""
    return Append(parts, id or new_id(), condition, None if rests_on is None else rests_on.id)


def matching(*tags: str, types: tuple[str, ...] = (), after: int = 0) -> AppendCondition:
    """The condition that nothing with all these tags and one of these types is in the log after a position."""
    return AppendCondition((Matching(types, tags),), after)
