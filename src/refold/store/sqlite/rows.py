"""Rows of the log, to and from events."""

from __future__ import annotations

from typing import Any

import msgspec

from refold.messages.recorded import StoredEvent

__all__ = ["COLUMNS", "stored_events", "tags_of", "tags_text"]

COLUMNS = (
    "position, stream, version, type, schema_version, cast(payload as blob), cast(metadata as blob), "
    "recorded_at, occurred_at, append_id, append_index, tags"
)
"""What a read selects, in the order of StoredEvent's fields. As blobs, payload and metadata come as the bytes that they
are.
"""

_decode_tags = msgspec.json.Decoder(tuple[str, ...]).decode


def tags_text(tags: tuple[str, ...]) -> str | None:
    """How tags are kept."""
    return msgspec.json.encode(tags).decode() if tags else None


def tags_of(text: str | None) -> tuple[str, ...]:
    """Tags as they were kept."""
    return () if text is None else _decode_tags(text)


def stored_events(rows: list[tuple[Any, ...]]) -> list[StoredEvent]:
    """The events of rows of `COLUMNS`."""
    return [StoredEvent(*row[:11]) if row[11] is None else StoredEvent(*(*row[:11], tags_of(row[11]))) for row in rows]
