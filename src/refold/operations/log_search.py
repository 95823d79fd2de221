"""Searching the log for what no index knows: actor, conversation, text. Bounded in time, so that it always answers."""

from __future__ import annotations

import time

import msgspec

from refold.errors import InvalidQuery
from refold.messages.metadata import decode_metadata
from refold.messages.recorded import StoredEvent
from refold.store.event_store import EventFilter, EventStore, validate_page

__all__ = ["FoundEvents", "Wanted", "WantedTest", "search_log"]

_PAGE = 2_000
_SECONDS = 0.12
"""How long one search looks, unless it has found enough before."""


class Wanted(msgspec.Struct, frozen=True):
    """What an event must have, beside the store's own filter; None asks for nothing."""

    actor: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    text: str | None = None

    @property
    def everything(self) -> bool:
        """Whether it asks for nothing."""
        return self == _EVERYTHING


_EVERYTHING = Wanted()


class FoundEvents(msgspec.Struct, frozen=True):
    """What was found. `next` is the position from which to go on (None: the log is searched through), `head` the end
    of the log.
    """

    events: list[StoredEvent]
    next: int | None
    head: int


async def search_log(
    store: EventStore,
    where: EventFilter,
    wanted: Wanted,
    *,
    after: int = 0,
    limit: int = 100,
    backward: bool = False,
    first: int = 1,
    last: int | None = None,
    seconds: float | None = None,
) -> FoundEvents:
    """Events of the log after a position (backward: before it, 0 from the end), from the position `first` to `last`
    (both included; None: the end): so many at most, or those that are found in a moment (`seconds`). Raises
    `InvalidQuery`.
    """
    validate_page(after, limit)
    head = (await store.head()).position
    end = head if last is None else min(last, head)
    after = min(after or end + 1, end + 1) if backward else max(after, first - 1)
    if (after <= first if backward else after >= end) or end < first:
        return FoundEvents([], None, head)
    test = WantedTest(wanted)
    deadline = time.monotonic() + (_SECONDS if seconds is None else seconds)
    found: list[StoredEvent] = []
    now = time.monotonic()
    while True:
        began = now
        size = limit - len(found) if wanted.everything else _PAGE
        page = await store.read_log(after=after, limit=size, where=where, backward=backward)
        for event in page.events:
            if first <= event.position <= end and (wanted.everything or test.fits(event)):
                found.append(event)
                if len(found) == limit:
                    more = event.position > first if backward else event.position < end
                    return FoundEvents(found, event.position if more else None, page.head)
        at_end = page.scanned_to <= first if backward else page.scanned_to >= end
        if at_end or page.scanned_to == after:
            return FoundEvents(found, None, page.head)
        after = page.scanned_to
        now = time.monotonic()
        if now + (now - began) > deadline:  # another page, which takes about as long, would come too late
            return FoundEvents(found, after, page.head)


class WantedTest:
    """Whether events have what is wanted: looks for bytes first, and decodes only what has them."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        asked = (wanted.actor, wanted.correlation_id, wanted.causation_id)
        try:
            self._in_metadata = [msgspec.json.encode(each)[1:-1] for each in asked if each is not None]
            self._text = None if wanted.text is None else msgspec.json.encode(wanted.text)[1:-1].lower()
        except UnicodeEncodeError as problem:
            raise InvalidQuery(f"what is looked for is no text: {problem}") from problem

    def fits(self, event: StoredEvent) -> bool:
        """Whether an event has all that is wanted."""
        if self._text is not None and self._text not in event.payload.lower():
            return False
        if not self._in_metadata:
            return True
        if not all(each in event.metadata for each in self._in_metadata):
            return False
        metadata, wanted = decode_metadata(event.metadata), self._wanted
        return (
            wanted.actor in (None, metadata.actor)
            and wanted.correlation_id in (None, metadata.correlation_id)
            and wanted.causation_id in (None, metadata.causation_id)
        )
