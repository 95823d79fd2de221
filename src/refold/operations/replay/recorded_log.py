"""What a replay reads: an export, or a store, as far as it was recorded when the replay began."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Protocol

from refold.errors import TransferError
from refold.messages.recorded import StoredEvent
from refold.operations.pages import log_pages
from refold.operations.progress import Progress, unheard
from refold.operations.transfer.check import check_export
from refold.operations.transfer.reading import ExportReader
from refold.store.event_store import EventStore

__all__ = ["ExportLog", "RecordedLog", "StoreLog"]


class RecordedLog(Protocol):
    """A log that can be read several times, from its beginning, and says the same each time."""

    name: str
    """What people call it, without secrets."""

    async def head(self, progress: Progress = unheard) -> int:
        """Its last position; 0: it is empty."""
        ...

    def pages(self, until: int) -> AsyncGenerator[list[StoredEvent], None]:
        """Its events in order, up to a position."""
        ...


class StoreLog:
    """The log of an open store. It is only read."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self.name = store.name

    async def head(self, progress: Progress = unheard) -> int:
        """See `RecordedLog.head`."""
        return (await self._store.head()).position

    def pages(self, until: int) -> AsyncGenerator[list[StoredEvent], None]:
        """See `RecordedLog.pages`. Raises `StoreCorrupt` where the log has a gap."""
        return log_pages(self._store, until=until)


class ExportLog:
    """A file that `refold export` wrote. Every method raises `TransferError` when it is not whole and unchanged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = str(path)

    async def head(self, progress: Progress = unheard) -> int:
        """See `RecordedLog.head`. Reads the whole file: nothing is to be made of a broken one."""
        try:
            checked = await asyncio.to_thread(check_export, self._path, progress=progress)
        except OSError as problem:
            raise TransferError(f"{self._path} cannot be read: {problem.strerror or problem}") from problem
        except TransferError as problem:
            raise TransferError(f"{self._path}, {problem}") from problem
        return checked.summary.last_position

    async def pages(self, until: int) -> AsyncGenerator[list[StoredEvent], None]:
        """See `RecordedLog.pages`."""
        with await asyncio.to_thread(self._path.open, "rb") as stream:
            reader = await asyncio.to_thread(ExportReader, stream)
            batches = reader.batches()
            coming = asyncio.create_task(asyncio.to_thread(_next, batches))
            try:
                while (batch := await coming) is not None:
                    last = batch[-1].position >= until
                    if not last:
                        coming = asyncio.create_task(asyncio.to_thread(_next, batches))
                    yield [event for event in batch if event.position <= until] if last else batch
                    if last:
                        return
            finally:
                await asyncio.wait([coming])  # the file must stay open as long as it is read


def _next(batches: Iterator[list[StoredEvent]]) -> list[StoredEvent] | None:
    return next(batches, None)
