"""Rows of events as the server sends them in binary, made into stored events."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import pq
from psycopg.adapt import AdaptersMap, Transformer
from psycopg.types.string import ByteaBinaryLoader

from refold.messages.recorded import StoredEvent

__all__ = ["COLUMNS", "Rows"]

COLUMNS = (
    "e.position, e.stream, e.version, e.type, e.schema_version, e.payload, e.metadata, e.recorded_at, e.occurred_at, "
    "e.append_id, e.append_index, e.tags"
)
"""The columns of an event, in the order of `StoredEvent`'s fields, of a table named e."""


class _Context:
    """What psycopg's transformer asks for: how each type is read."""

    connection = None

    def __init__(self) -> None:
        self.adapters = AdaptersMap(psycopg.adapters)
        # JSON stays the bytes that it is (payload and metadata are varchar), and a UUID its 16 bytes.
        self.adapters.register_loader("varchar", ByteaBinaryLoader)
        self.adapters.register_loader("uuid", ByteaBinaryLoader)


_CONTEXT = _Context()


class Rows:
    """Reads results in binary. Not for several threads at a time."""

    def __init__(self) -> None:
        self._transformer = Transformer(_CONTEXT)

    def of(self, result: pq.abc.PGresult) -> list[tuple[Any, ...]]:
        """All rows of a result."""
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, tuple)

    def events(self, result: pq.abc.PGresult) -> list[StoredEvent]:
        """The events of a result whose columns are `COLUMNS`."""
        event = StoredEvent
        return [
            event(p, s, v, t, sv, payload, m, r, o, a, i, () if tags is None else tuple(tags))
            for p, s, v, t, sv, payload, m, r, o, a, i, tags in self.of(result)
        ]

    def page(self, result: pq.abc.PGresult) -> tuple[list[StoredEvent], int]:
        """The events of a result whose columns are `COLUMNS` and the head, and the head. No position means no event."""
        rows = self.of(result)
        head: int = rows[-1][12]
        if rows[-1][0] is None:
            return [], head
        event = StoredEvent
        events = [
            event(p, s, v, t, sv, payload, m, r, o, a, i, () if tags is None else tuple(tags))
            for p, s, v, t, sv, payload, m, r, o, a, i, tags, _ in rows
        ]
        return events, head

    def filtered_page(self, result: pq.abc.PGresult) -> tuple[list[StoredEvent], tuple[Any, ...]]:
        """The events of a result whose columns are `COLUMNS` and others, and the others."""
        rows = self.of(result)
        others = rows[-1][12:]
        if rows[-1][0] is None:
            return [], others
        event = StoredEvent
        events = [
            event(p, s, v, t, sv, payload, m, r, o, a, i, () if tags is None else tuple(tags))
            for p, s, v, t, sv, payload, m, r, o, a, i, tags, *_ in rows
        ]
        return events, others
