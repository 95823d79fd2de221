"""Events and the like as JSON documents."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from refold.messages.metadata import Metadata, decode_metadata
from refold.messages.recorded import StoredEvent, from_microseconds

__all__ = ["EventDocument", "documents_of"]


class EventDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded event: what happened, and what the log knows about it. `payload` is as it was stored."""

    position: int
    stream: str
    version: int
    type: str
    schema_version: int
    event_id: UUID
    recorded_at: datetime
    occurred_at: datetime
    payload: Any
    metadata: Metadata
    tags: tuple[str, ...] = ()


def documents_of(events: Iterable[StoredEvent]) -> list[EventDocument]:
    """Events as documents."""
    return [document_of(event) for event in events]


def document_of(stored: StoredEvent) -> EventDocument:
    """An event as a document. The payload's bytes are not touched."""
    occurred = stored.recorded_at if stored.occurred_at is None else stored.occurred_at
    return EventDocument(
        position=stored.position,
        stream=stored.stream,
        version=stored.version,
        type=stored.type,
        schema_version=stored.schema_version,
        event_id=stored.event_id,
        recorded_at=from_microseconds(stored.recorded_at),
        occurred_at=from_microseconds(occurred),
        payload=msgspec.Raw(stored.payload),
        metadata=decode_metadata(stored.metadata),
        tags=stored.tags,
    )
