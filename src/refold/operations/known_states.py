"""States that were folded already, so that whoever steps through a long stream does not fold it anew at each step."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import msgspec

from refold.commands.loading import Until
from refold.folds.aggregate import AggregateDefinition
from refold.messages.event_types import encode_json
from refold.messages.recorded import StoredEvent
from refold.store.event_store import EventStore

__all__ = ["KnownStates"]

_EVERY = 2_000
"""Versions from one state that is kept to the next: that many events are folded in some milliseconds."""
_BYTES = 16 * 2**20


class _Known(msgspec.Struct, frozen=True):
    """A state as JSON, and the event that it has seen last."""

    event: StoredEvent
    data: bytes


class KnownStates:
    """States of the streams that were looked at last, folded by this process from their first events: never a snapshot,
    and of no use beyond the process, whose code has made them. They take `limit` bytes at most.
    """

    def __init__(self, limit: int = _BYTES) -> None:
        self._limit = limit
        self._bytes = 0
        self._streams: OrderedDict[str, list[_Known]] = OrderedDict()

    async def before(
        self, store: EventStore, definition: AggregateDefinition, stream: str, until: Until
    ) -> tuple[Any, StoredEvent] | None:
        """The latest state within bounds, and the last event that it has seen; None: there is none.

        It is checked that the stream still has this event: a log may have been restored from an older backup.
        """
        if until.moment is not None and until.time == "occurred":
            return None
        fitting = [each for each in self._streams.get(stream, ()) if not until.past(each.event)]
        if not fitting:
            return None
        found = fitting[-1]
        if await store.read_stream(stream, after=found.event.version - 1, limit=1) != [found.event]:
            self._forget(stream)
            return None
        if stream in self._streams:
            self._streams.move_to_end(stream)
        return msgspec.json.decode(found.data, type=definition.cls), found.event

    def keep(self, definition: AggregateDefinition, stream: str, event: StoredEvent, state: Any) -> None:
        """Keeps a state that has seen all events of a stream up to this one, where that is worth it, and where JSON
        gives it back as it is.
        """
        known = self._streams.get(stream, [])
        if event.version % _EVERY or any(each.event.version == event.version for each in known):
            return
        try:
            data = encode_json(state)
            if msgspec.json.decode(data, type=definition.cls) != state:
                return
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
            return
        self._streams[stream] = sorted([*known, _Known(event, data)], key=lambda each: each.event.version)
        self._streams.move_to_end(stream)
        self._bytes += _size(data, event)
        while self._bytes > self._limit:
            self._forget(next(iter(self._streams)))

    def _forget(self, stream: str) -> None:
        self._bytes -= sum(_size(each.data, each.event) for each in self._streams.pop(stream, ()))


def _size(data: bytes, event: StoredEvent) -> int:
    return len(data) + len(event.payload) + len(event.metadata)
