"""Putting the events of another log at the end of this one."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from refold import faults
from refold.errors import InvalidAppend, Refused
from refold.messages.recorded import StoredEvent
from refold.store.restore import check_restored
from refold.store.sqlite.committing import INSERT, INSERT_TAG, Inline
from refold.store.sqlite.reading import head, stream_version
from refold.store.sqlite.rows import tags_text

__all__ = ["restore_events"]


def restore_events(connection: sqlite3.Connection, events: Sequence[StoredEvent], inline: Inline | None) -> None:
    """Does it in the transaction that is open. Raises `Refused`, `InvalidAppend`."""
    versions = {stream: stream_version(connection, stream) for stream in {event.stream for event in events}}
    check_restored(events, head(connection), versions)
    try:
        connection.executemany(INSERT, [_row(event) for event in events])
    except sqlite3.IntegrityError as problem:
        raise Refused(
            f"an append of positions {events[0].position} to {events[-1].position} cannot be restored: "
            "the log has one with its id already"
        ) from problem
    connection.executemany(INSERT_TAG, [(tag, event.position) for event in events for tag in event.tags])
    faults.at("sqlite.restore.inserted")
    if inline is not None:
        inline(connection, list(events))


def _row(event: StoredEvent) -> tuple[Any, ...]:
    try:
        payload, metadata = event.payload.decode(), event.metadata.decode()
    except UnicodeDecodeError as problem:
        raise InvalidAppend(f"position {event.position} is not UTF-8, which SQLite cannot keep: {problem}") from None
    return (
        event.position,
        event.stream,
        event.version,
        event.type,
        event.schema_version,
        payload,
        metadata,
        event.recorded_at,
        event.occurred_at,
        event.append_id,
        event.append_index,
        tags_text(event.tags),
    )
