"""The events that change one row: read again from the log, where they are. Those that wait behind a parked key, too."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from refold.errors import DecodeError, InvalidQuery
from refold.folds.read_model import ReadModelDefinition, RowKey
from refold.messages.event_types import EventTypes
from refold.messages.recorded import Recorded, StoredEvent, category_of
from refold.store.append import Matching
from refold.store.event_store import EventFilter, EventStore

__all__ = ["EventsOfKey", "Undecodable", "events_of_key"]

_PAGE = 2_000
_CATEGORIES = 64
"""Where a log has more categories, looking for a stream in each of them is not sure to be quicker than reading on."""
_BEHIND_ALL = "\U0010ffff"


class Undecodable:
    """An event of a key that its class cannot hold."""

    def __init__(self, stored: StoredEvent, problem: DecodeError) -> None:
        self.stored = stored
        self.problem = problem


async def _streams_of(store: EventStore, definition: ReadModelDefinition, key: RowKey) -> list[str] | None:
    """The streams that alone can change the row of a key, where every event goes to the row of its stream's id: those
    with this id, one a category at most. None: any stream can.

    It depends on nothing but the streams' ids, which never change: neither on what the app was when an event was
    stored, nor on what its events hold.
    """
    (value, *others) = key
    if others or definition.key_types != (str,) or not value:
        return None
    if any(handler.key is not None for handler in definition.evolves.values()):
        return None
    found: list[str] = []
    after = ""
    for _ in range(_CATEGORIES):
        # From one category straight to the next: ids are sorted, and a category's stand together.
        there = await store.streams(after=after, limit=1)
        if not there:
            return found
        category = category_of(there[0].stream)
        if there[0].stream == category:  # without a dash, so without an id
            after = category
            continue
        after = f"{category}-{_BEHIND_ALL}"
        if await _exists(store, f"{category}-{value}"):
            found.append(f"{category}-{value}")
    return None


async def _exists(store: EventStore, stream: str) -> bool:
    try:
        return bool(await store.stream_version(stream))
    except InvalidQuery:  # a category may be so long that with this id it would be no stream's
        return False


class EventsOfKey(msgspec.Struct, frozen=True):
    """Some events of a key. There are no others of it before these, nor up to the position `upto`."""

    events: list[Recorded[Any] | Undecodable]
    upto: int


async def events_of_key(
    store: EventStore, types: EventTypes, definition: ReadModelDefinition, key: RowKey, after: int, upto: int
) -> AsyncGenerator[EventsOfKey, None]:
    """The events after a position, up to another, that change the row of a key: page by page, also empty ones, so that
    whoever reads can show that it lives. They are read from the streams that they are in, where these are known, and
    else from the whole log.
    """
    streams = await _streams_of(store, definition, key)
    pages = _of_log(store, definition, after, upto) if streams is None else _of_streams(store, streams, after, upto)
    routes = {event.__message_name__: route for event, route in definition.routes.items()}
    own_stream = {event.__message_name__ for event, each in definition.evolves.items() if each.key is None}
    async with aclosing(pages) as each_page:
        async for page, reached in each_page:
            found: list[Recorded[Any] | Undecodable] = []
            for stored in page:
                if stored.type not in routes:
                    continue
                try:
                    recorded = types.decode(stored)
                except DecodeError as problem:
                    # Where the stream names the row, it is known whose it is. Elsewhere it cannot be this row's: an
                    # event that nobody can read stopped the projection.
                    if stored.type in own_stream and key in routes[stored.type](Recorded(None, stored)):
                        found.append(Undecodable(stored, problem))
                    continue
                if key in routes[stored.type](recorded):
                    found.append(recorded)
            yield EventsOfKey(found, reached)


async def _of_log(
    store: EventStore, definition: ReadModelDefinition, after: int, upto: int
) -> AsyncGenerator[tuple[list[StoredEvent], int], None]:
    where = EventFilter(matching=(Matching(tuple(event.__message_name__ for event in definition.routes)),))
    while after < upto:
        page = await store.read_log(after=after, limit=_PAGE, where=where)
        yield [stored for stored in page.events if stored.position <= upto], min(page.scanned_to, upto)
        if page.scanned_to >= page.head or page.scanned_to <= after:
            return
        after = page.scanned_to


async def _of_streams(
    store: EventStore, streams: Sequence[str], after: int, upto: int
) -> AsyncGenerator[tuple[list[StoredEvent], int], None]:
    versions = {stream: await _version_at(store, stream, after) for stream in streams}
    reached = dict.fromkeys(streams, after)
    waiting: list[StoredEvent] = []
    while reached and min(reached.values()) < upto:
        behind = min(reached, key=reached.__getitem__)
        page = await store.read_stream(behind, after=versions[behind], limit=_PAGE)
        more = len(page) == _PAGE and page[-1].position < upto
        reached[behind] = page[-1].position if more else upto
        versions[behind] += len(page)
        # Others may have some in between: those up to where all are read are in order.
        lowest = min(reached.values())
        waiting = sorted((*waiting, *page), key=lambda each: each.position)
        yield [each for each in waiting if each.position <= lowest], lowest
        waiting = [each for each in waiting if each.position > lowest]


async def _version_at(store: EventStore, stream: str, position: int) -> int:
    """The version that a stream had at a position: by halves, since positions grow with versions."""
    low, high = 0, await store.stream_version(stream) if position else 0
    while low < high:
        middle = (low + high + 1) // 2
        (event,) = await store.read_stream(stream, after=middle - 1, limit=1)
        low, high = (middle, high) if event.position <= position else (low, middle - 1)
    return low
