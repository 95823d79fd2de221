"""Looking at streams: which there are, and what happened in one."""

from __future__ import annotations

from collections.abc import Sequence

from refold.errors import InvalidQuery
from refold.messages.recorded import StoredEvent
from refold.store.event_store import EventStore, StreamInfo

__all__ = ["history", "list_streams"]


async def list_streams(
    store: EventStore, *, category: str | None = None, after: str = "", limit: int = 100
) -> Sequence[StreamInfo]:
    """Streams in order of their ids, those after `after`. Raises `InvalidQuery` for a limit below 1."""
    _check_limit(limit)
    return await store.streams(category=category, after=after, limit=limit)


async def history(
    store: EventStore, stream: str, *, after: int = 0, limit: int = 100, backward: bool = False
) -> Sequence[StoredEvent]:
    """The events of a stream as the log keeps them: forward those with a version above `after`, backward those below it
    (0: from the end). Raises `InvalidQuery` when the log has no such stream.
    """
    _check_limit(limit)
    if after < 0:
        raise InvalidQuery(f"version {after} must be 0 or more")
    events = await store.read_stream(stream, after=after, limit=limit, backward=backward)
    if not events and not await store.stream_version(stream):
        raise InvalidQuery(f"there is no stream {stream!r}; list the streams to see which there are")
    return events


def _check_limit(limit: int) -> None:
    if limit < 1:
        raise InvalidQuery(f"limit {limit} must be 1 or more")
