"""Reading the whole log in pages, each fetched while the one before is used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from refold.errors import StoreCorrupt
from refold.messages.recorded import StoredEvent
from refold.store.event_store import EventFilter, EventStore, LogPage, LogReader

__all__ = ["log_pages"]

_PAGE = 2_000
_EVERYTHING = EventFilter()


async def log_pages(
    store: EventStore, *, after: int = 0, until: int, where: EventFilter = _EVERYTHING
) -> AsyncGenerator[list[StoredEvent], None]:
    """The events after one position up to another, in order. Raises `StoreCorrupt` when the log ends before it."""
    reader = await store.open_reader()
    coming: asyncio.Task[LogPage] | None = None
    try:
        if after < until:
            coming = asyncio.create_task(_read(reader, after, until, where))
        while coming is not None:
            page = await coming
            if page.scanned_to <= after:
                raise StoreCorrupt(
                    f"{store.name}: nothing follows position {after} in the log, though its head is {until}"
                )
            after = page.scanned_to
            coming = asyncio.create_task(_read(reader, after, until, where)) if after < until else None
            yield page.events
    finally:
        if coming is not None:
            # A read is never cancelled half-way: its connection would be left in the middle of an answer.
            await asyncio.wait([coming])
            if not coming.cancelled():
                coming.exception()
        await reader.close()


async def _read(reader: LogReader, after: int, until: int, where: EventFilter) -> LogPage:
    page = await reader.read(after, min(_PAGE, until - after), where)
    if page.events and page.events[-1].position > until:
        return LogPage([event for event in page.events if event.position <= until], until, page.head)
    return page
