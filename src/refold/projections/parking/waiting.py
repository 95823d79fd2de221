"""The events that wait behind a parked key: read again from the log, where they are."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from refold.errors import DecodeError
from refold.folds.read_model import ReadModelDefinition, RowKey
from refold.messages.event_types import EventTypes
from refold.messages.recorded import Recorded, StoredEvent
from refold.store.append import Matching
from refold.store.event_store import EventFilter, EventStore

__all__ = ["Undecodable", "events_of_key"]

_PAGE = 2_000


class Undecodable:
    """An event of a key that its class cannot hold."""

    def __init__(self, stored: StoredEvent, problem: DecodeError) -> None:
        self.stored = stored
        self.problem = problem


async def events_of_key(
    store: EventStore, types: EventTypes, definition: ReadModelDefinition, key: RowKey, after: int, upto: int
) -> AsyncGenerator[list[Recorded[Any] | Undecodable], None]:
    """The events after a position, up to another, that change the row of a key: page by page, also empty ones, so that
    whoever reads can show that it lives.
    """
    routes = {event.__message_name__: route for event, route in definition.routes.items()}
    where = EventFilter(matching=(Matching(tuple(routes)),))
    own_stream = {event.__message_name__ for event, each in definition.evolves.items() if each.key is None}
    while after < upto:
        page = await store.read_log(after=after, limit=_PAGE, where=where)
        found: list[Recorded[Any] | Undecodable] = []
        for stored in page.events:
            if stored.position > upto:
                break
            try:
                recorded = types.decode(stored)
            except DecodeError as problem:
                # Where the stream names the row, it is known whose it is. Elsewhere it cannot be this row's: an event
                # that nobody can read stopped the projection.
                if stored.type in own_stream and key in routes[stored.type](Recorded(None, stored)):
                    found.append(Undecodable(stored, problem))
                continue
            if key in routes[stored.type](recorded):
                found.append(recorded)
        yield found
        if page.scanned_to >= page.head or page.scanned_to <= after:
            return
        after = page.scanned_to
