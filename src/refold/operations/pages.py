"""Reading the whole log in pages, each fetched while the one before is used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from refold.messages.recorded import StoredEvent
from refold.store.event_store import EventStore, LogPage, LogReader

__all__ = ["log_pages"]

_PAGE = 2_000
_EVERYTHING = EventFilter()


async def log_pages(store: EventStore, *, after: int = 0, until: int) -> AsyncGenerator[list[StoredEvent], None]:
    """The events after one position up to another, in order. A page is empty only where events are missing."""
    reader = await store.open_reader()
    coming: asyncio.Task[LogPage] | None = None
    try:
        if after < until:
            coming = asyncio.create_task(_read(reader, after, until))
        while coming is not None:
            page = await coming
            # A position that is missing could otherwise let a reader stand still, or run past the end.
            after = max(page.scanned_to, after + 1)
            coming = asyncio.create_task(_read(reader, after, until)) if after < until else None
            yield page.events
    finally:
        if coming is not None:
            # A read is never cancelled half-way: its connection would be left in the middle of an answer.
            await asyncio.wait([coming])
            coming.exception()
        await reader.close()


async def _read(reader: LogReader, after: int, until: int) -> LogPage:
    page = await reader.read(after, min(_PAGE, until - after))
    if page.events and page.events[-1].position > until:
        return LogPage([event for event in page.events if event.position <= until], until, page.head)
    return page
