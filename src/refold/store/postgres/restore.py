"""Putting the events of another log at the end of this one, by COPY, under the lock that every append takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg

from refold import faults
from refold.errors import InvalidAppend, Refused
from refold.messages.recorded import StoredEvent
from refold.store.event_store import Head
from refold.store.postgres.address import Address
from refold.store.postgres.inline import Inline
from refold.store.postgres.problems import explain, from_psycopg
from refold.store.restore import check_restored

__all__ = ["restore_events"]

_DURABLY = "select set_config('synchronous_commit', 'local', true) where current_setting('synchronous_commit') = 'off'"
_LOCK = "select pg_advisory_xact_lock(@lock@)"
_HEAD = "select e.position, e.recorded_at from @schema@.events e order by e.position desc limit 1"
_VERSIONS = """
select s.stream, (select e.version from @schema@.events e where e.stream = s.stream order by e.version desc limit 1)
from unnest(%s::text[]) as s (stream)"""
_EVENTS = """
copy @schema@.events (
    position, stream, version, type, schema_version, payload, metadata, recorded_at, occurred_at, append_id,
    append_index, tags
) from stdin (format binary)"""
_EVENT_TYPES = (
    "int8", "text", "int4", "text", "int2", "varchar", "varchar", "int8", "int8", "uuid", "int4", "text[]",
)  # fmt: skip
_TAGS = "copy @schema@.event_tags (position, tag, type) from stdin (format binary)"
_TAG_TYPES = ("int8", "text", "text")


async def restore_events(
    connection: psycopg.AsyncConnection[tuple[Any, ...]],
    address: Address,
    events: Sequence[StoredEvent],
    inline: Inline | None,
) -> None:
    """Does it in the open transaction of a connection, which commits afterwards. Raises `Refused`, `InvalidAppend`."""
    try:
        await connection.execute(_DURABLY)
        # In a statement of its own: the next one must see all that was committed before the lock was had.
        await connection.execute(address.of(_LOCK))
        row = await (await connection.execute(address.of(_HEAD))).fetchone()
        streams = list({event.stream for event in events})
        versions = await (await connection.execute(address.of(_VERSIONS), (streams,))).fetchall()
        check_restored(events, Head(*row) if row else Head(0, 0), {stream: found or 0 for stream, found in versions})
        await _copy(connection, address.of(_EVENTS), _EVENT_TYPES, [_row(event) for event in events])
        tags = [(event.position, tag, event.type) for event in events for tag in dict.fromkeys(event.tags)]
        if tags:
            await _copy(connection, address.of(_TAGS), _TAG_TYPES, tags)
        faults.at("postgres.restore.inserted")
    except psycopg.errors.UniqueViolation as problem:
        raise Refused(
            f"{address.name}: an append of positions {events[0].position} to {events[-1].position} cannot be restored: "
            "the log has one with its id already"
        ) from problem
    except psycopg.Error as problem:
        server = from_psycopg(problem)
        if server is None:
            raise
        raise explain(server, address.name) from problem
    if inline is not None:
        await inline(connection, list(events))


def _row(event: StoredEvent) -> tuple[Any, ...]:
    try:
        payload, metadata = event.payload.decode(), event.metadata.decode()
    except UnicodeDecodeError as problem:
        raise InvalidAppend(f"position {event.position} is not UTF-8, which Postgres cannot keep: {problem}") from None
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
        UUID(bytes=event.append_id),
        event.append_index,
        list(event.tags) or None,
    )


async def _copy(
    connection: psycopg.AsyncConnection[tuple[Any, ...]],
    statement: str,
    types: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
) -> None:
    async with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(types)
        for row in rows:
            await copy.write_row(row)
