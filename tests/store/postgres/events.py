"""Appends, in the few words that these tests need, and the look at the whole log."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from uuid import UUID

import psycopg

from refold.messages.ids import new_id
from refold.messages.recorded import NewEvent, StoredEvent
from refold.store.append import ANY, Append, AppendCondition, StreamAppend
from refold.store.event_store import EventStore


def event(number: int = 0, *, type: str = "Counted", tags: Iterable[str] = ()) -> NewEvent:
    return NewEvent(type=type, payload=b'{"number":%d}' % number, tags=tuple(tags))


def append(
    stream: str,
    expected: int = ANY,
    *events: NewEvent,
    id: UUID | None = None,
    condition: AppendCondition | None = None,
) -> Append:
    return Append((StreamAppend(stream, expected, events or (event(),)),), id or new_id(), condition)


async def whole_log(store: EventStore) -> list[StoredEvent]:
    events: list[StoredEvent] = []
    while True:
        page = await store.read_log(after=len(events), limit=5_000)
        events += page.events
        if page.scanned_to == page.head:
            return events


def assert_sound(events: list[StoredEvent]) -> None:
    """Positions are gapless, versions contiguous, times never go back, and no append is there twice."""
    assert [each.position for each in events] == list(range(1, len(events) + 1))
    assert all(earlier.recorded_at <= later.recorded_at for earlier, later in pairwise(events))
    versions: dict[str, int] = {}
    for each in events:
        versions[each.stream] = versions.get(each.stream, 0) + 1
        assert each.version == versions[each.stream]
    ids = [(each.append_id, each.append_index) for each in events]
    assert len(set(ids)) == len(ids)


def run_sql(url: str, *statements: str) -> list[tuple[object, ...]]:
    """Runs statements as somebody else would, on a connection of their own; gives the last one's rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        rows: list[tuple[object, ...]] = []
        for statement in statements:
            cursor = connection.execute(statement.encode())
            rows = cursor.fetchall() if cursor.description else []
        return rows
