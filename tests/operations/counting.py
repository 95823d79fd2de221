"""A store that counts what is read of it."""

from __future__ import annotations

from typing import Any

from refold.store.event_store import EventStore

__all__ = ["Counting"]


class Counting:
    """A store that is as the other, and counts the events that are read."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self.events = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def read_stream(self, stream: str, **asked: Any) -> Any:
        found = await self._store.read_stream(stream, **asked)
        self.events += len(found)
        return found

    async def read_log(self, **asked: Any) -> Any:
        page = await self._store.read_log(**asked)
        self.events += len(page.events)
        return page
