"""States that were folded already, so that whoever steps through a long stream does not fold it anew at each step."""

from __future__ import annotations

from typing import Any

import msgspec

from refold.commands.loading import Until
from refold.folds.aggregate import AggregateDefinition
from refold.messages.recorded import StoredEvent
from refold.operations.shelf import Shelf
from refold.store.event_store import EventStore

__all__ = ["KnownStates"]

_EVERY = 2_000
"""Versions from one state that is kept to the next: that many events are folded in some milliseconds."""


class KnownStates:
    """States of the streams that were looked at last, folded by this process from their first events: never a snapshot,
    and of no use beyond the process, whose code has made them.
    """

    def __init__(self, shelf: Shelf[str] | None = None) -> None:
        self._shelf: Shelf[str] = shelf or Shelf()

    async def before(
        self, store: EventStore, definition: AggregateDefinition, stream: str, until: Until
    ) -> tuple[Any, StoredEvent] | None:
        """The latest state within bounds, and the last event that it has seen; None: there is none.

        It is checked that the stream still has this event: a log may have been restored from an older backup.
        """
        if until.moment is not None and until.time == "occurred":
            return None
        fitting = [each for each in self._shelf.of(stream) if not until.past(each.event)]
        if not fitting:
            return None
        found = fitting[-1]
        if await store.read_stream(stream, after=found.event.version - 1, limit=1) != [found.event]:
            self._shelf.forget(stream)
            return None
        return msgspec.json.decode(found.data, type=definition.cls), found.event

    def keep(self, definition: AggregateDefinition, stream: str, event: StoredEvent, state: Any) -> None:
        """Keeps a state that has seen all events of a stream up to this one, where that is worth it, and where JSON
        gives it back as it is.
        """
        if event.version % _EVERY or any(each.event.version == event.version for each in self._shelf.of(stream)):
            return
        self._shelf.put(stream, event, state, definition.cls)
