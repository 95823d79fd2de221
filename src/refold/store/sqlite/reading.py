"""Reading the log and its streams. Plain functions on a connection; each reads from one snapshot."""

from __future__ import annotations

import sqlite3
from typing import Any

from refold.errors import StoreCorrupt
from refold.messages.recorded import StoredEvent
from refold.store.event_store import EventFilter, Head, LogPage, Snapshot, StreamInfo
from refold.store.sqlite.committing import find_append
from refold.store.sqlite.rows import COLUMNS, stored_events

__all__ = [
    "head",
    "load_snapshot",
    "position_at",
    "read_append",
    "read_log",
    "read_stream",
    "snapshots",
    "stream_version",
    "streams",
]

_END = 2**62
_SNAPSHOTS = "select stream, version, position, append_id, fingerprint, data from snapshots"


def head(connection: sqlite3.Connection) -> Head:
    """The end of the log."""
    row = connection.execute("select position, recorded_at from events order by position desc limit 1").fetchone()
    return Head(*row) if row else Head(0, 0)


def read_stream(
    connection: sqlite3.Connection, stream: str, after: int, limit: int, backward: bool
) -> list[StoredEvent]:
    """Events of a stream; see `EventStore.read_stream`."""
    if backward:
        where, order = "version < ?", "desc"
        after = after or _END
    else:
        where, order = "version > ?", "asc"
    rows = connection.execute(
        f"select {COLUMNS} from events where stream = ? and {where} order by version {order} limit ?",
        (stream, after, limit),
    ).fetchall()
    return stored_events(rows)


def read_log(
    connection: sqlite3.Connection, after: int, limit: int, where: EventFilter, backward: bool, window: int
) -> LogPage:
    """Events of the log; see `EventStore.read_log`. A filtered read scans at most `window` positions."""
    own = not connection.in_transaction
    if own:
        connection.execute("begin")
    try:
        end = head(connection).position
        if where.everything:
            return _read_all(connection, after, limit, backward, end)
        return _read_filtered(connection, after, limit, where, backward, window, end)
    finally:
        if own:
            connection.execute("rollback")


def _read_all(connection: sqlite3.Connection, after: int, limit: int, backward: bool, end: int) -> LogPage:
    if backward:
        last = min(after or _END, end + 1) - 1
        first = max(1, last - limit + 1)
    else:
        first, last = after + 1, min(after + limit, end)
    order = "desc" if backward else "asc"
    rows = connection.execute(
        f"select {COLUMNS} from events where position between ? and ? order by position {order}", (first, last)
    ).fetchall()
    if last >= first and len(rows) != last - first + 1:
        _report_gap([row[0] for row in rows], first, last)
    scanned_to = (first if backward else last) if last >= first else after
    return LogPage(stored_events(rows), scanned_to, end)


def _report_gap(found: list[int], first: int, last: int) -> None:
    there = set(found)
    missing = next(position for position in range(first, last + 1) if position not in there)
    raise StoreCorrupt(f"position {missing} is missing in the log: somebody has deleted it; restore a backup")


def _read_filtered(
    connection: sqlite3.Connection,
    after: int,
    limit: int,
    where: EventFilter,
    backward: bool,
    window: int,
    end: int,
) -> LogPage:
    if backward:
        high = min(after or _END, end + 1) - 1
        low = max(1, high - window + 1)
    else:
        low, high = after + 1, min(after + window, end)
    if high < low:
        return LogPage([], after, end)
    conditions, parameters = _conditions(where)
    order = "desc" if backward else "asc"
    rows = connection.execute(
        f"select {COLUMNS} from events e where position between ? and ?{conditions} order by position {order} limit ?",
        [low, high, *parameters, limit],
    ).fetchall()
    edge = low if backward else high
    scanned_to = rows[-1][0] if len(rows) == limit else edge
    return LogPage(stored_events(rows), scanned_to, end)


def _conditions(where: EventFilter) -> tuple[str, list[Any]]:
    text = ""
    parameters: list[Any] = []
    if where.matching:
        alternatives = []
        for item in where.matching:
            parts = []
            if item.types:
                parts.append(f"e.type in ({', '.join('?' * len(item.types))})")
                parameters += item.types
            for tag in item.tags:
                parts.append("exists (select 1 from event_tags t where t.tag = ? and t.position = e.position)")
                parameters.append(tag)
            alternatives.append(" and ".join(parts) or "true")
        text += f" and ({' or '.join(f'({part})' for part in alternatives)})"
    if where.categories:
        # The category ends at the first dash; a stream without one is a category by itself.
        text += " and (" + " or ".join("e.stream = ? or e.stream glob ?" for _ in where.categories) + ")"
        for category in where.categories:
            parameters += [category, _glob(category) + "-*"]
    if where.recorded_from is not None:
        text += " and e.recorded_at >= ?"
        parameters.append(where.recorded_from)
    if where.recorded_until is not None:
        text += " and e.recorded_at < ?"
        parameters.append(where.recorded_until)
    return text, parameters


def _glob(text: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in text)


def read_append(connection: sqlite3.Connection, append_id: bytes) -> list[StoredEvent]:
    """The events of one append, in order."""
    result = find_append(connection, append_id)
    if result is None:
        return []
    rows = connection.execute(
        f"select {COLUMNS} from events where position between ? and ? order by position", (result.first, result.last)
    ).fetchall()
    return stored_events(rows)


def position_at(connection: sqlite3.Connection, recorded_at: int) -> int:
    """The last position recorded at or before a moment: a binary search, as recorded_at never goes back."""
    low, high = 0, head(connection).position
    while low < high:
        middle = (low + high + 1) // 2
        (moment,) = connection.execute("select recorded_at from events where position = ?", (middle,)).fetchone()
        if moment <= recorded_at:
            low = middle
        else:
            high = middle - 1
    return low


def stream_version(connection: sqlite3.Connection, stream: str) -> int:
    """The stream's version."""
    row = connection.execute(
        "select version from events where stream = ? order by version desc limit 1", (stream,)
    ).fetchone()
    return int(row[0]) if row else 0


def streams(connection: sqlite3.Connection, category: str | None, after: str, limit: int) -> list[StreamInfo]:
    """Streams in order of their ids: one step in the index for each, however many events it has."""
    found: list[StreamInfo] = []
    while len(found) < limit:
        row = _next_stream(connection, category, after)
        if row is None:
            break
        after = row[0]
        last = connection.execute(
            "select stream, version, position, recorded_at from events where stream = ? order by version desc limit 1",
            (after,),
        ).fetchone()
        found.append(StreamInfo(*last))
    return found


def _next_stream(connection: sqlite3.Connection, category: str | None, after: str) -> tuple[str] | None:
    if category is None:
        row: tuple[str] | None = connection.execute(
            "select stream from events where stream > ? order by stream limit 1", (after,)
        ).fetchone()
        return row
    if after < category:
        itself: tuple[str] | None = connection.execute(
            "select stream from events where stream = ? limit 1", (category,)
        ).fetchone()
        if itself is not None:
            return itself
    # All that begins with "category-", since "." is the character after the dash.
    found: tuple[str] | None = connection.execute(
        "select stream from events where stream > ? and stream < ? order by stream limit 1",
        (max(after, f"{category}-"), f"{category}."),
    ).fetchone()
    return found


def load_snapshot(connection: sqlite3.Connection, stream: str) -> Snapshot | None:
    """The stream's snapshot."""
    row = connection.execute(f"{_SNAPSHOTS} where stream = ?", (stream,)).fetchone()
    return Snapshot(*row) if row else None


def snapshots(connection: sqlite3.Connection, after: str, limit: int) -> list[Snapshot]:
    """Snapshots in order of their streams' ids."""
    rows = connection.execute(f"{_SNAPSHOTS} where stream > ? order by stream limit ?", (after, limit)).fetchall()
    return [Snapshot(*row) for row in rows]
