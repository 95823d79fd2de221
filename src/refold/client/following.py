"""Events as a server sends them, in pages and live, turned back into recorded events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from refold.app import App
from refold.messages.recorded import Recorded, StoredEvent, to_microseconds

__all__ = ["followed", "recorded_of"]


class _Document(msgspec.Struct):
    position: int
    stream: str
    version: int
    type: str
    schema_version: int
    event_id: UUID
    recorded_at: datetime
    occurred_at: datetime
    payload: msgspec.Raw
    metadata: msgspec.Raw
    tags: tuple[str, ...] = ()


class _Page(msgspec.Struct):
    events: list[_Document]
    next: int | None


_pages = msgspec.json.Decoder(_Page)
_documents = msgspec.json.Decoder(_Document)


def recorded_of(content: bytes, app: App) -> tuple[list[Recorded[Any]], int | None]:
    """The events of a page, and where to go on (None: nowhere). Raises `UnknownEvent`, `DecodeError`."""
    page = _pages.decode(content)
    return [_recorded(document, app) for document in page.events], page.next


async def followed(lines: AsyncIterator[str], app: App) -> AsyncIterator[tuple[int, Recorded[Any] | None]]:
    """The positions of a stream of server-sent events, each with its event; without one where nothing was meant for us
    up to there.
    """
    position, data = 0, ""
    async for line in lines:
        name, _, value = line.partition(":")
        if name == "id":
            position = int(value)
        elif name == "data":
            data += value.removeprefix(" ")
        elif not line:
            if position:
                yield position, _recorded(_documents.decode(data), app) if data else None
            position, data = 0, ""


def _recorded(document: _Document, app: App) -> Recorded[Any]:
    recorded = to_microseconds(document.recorded_at)
    occurred = to_microseconds(document.occurred_at)
    return app.types.decode(
        StoredEvent(
            position=document.position,
            stream=document.stream,
            version=document.version,
            type=document.type,
            schema_version=document.schema_version,
            payload=bytes(document.payload),
            metadata=bytes(document.metadata),
            recorded_at=recorded,
            occurred_at=None if occurred == recorded else occurred,
            append_id=document.event_id.bytes,
            append_index=0,
            tags=document.tags,
        )
    )
