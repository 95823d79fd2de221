"""The events table of somebody who writes it by hand with asyncpg.

The unique constraint is the version check. Positions come from a sequence: readers of this log can miss events.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from benchmarks import workload
from benchmarks.contenders.handwritten import payloads

TABLE = """
CREATE TABLE events (
    position bigserial PRIMARY KEY, stream text NOT NULL, version int NOT NULL, type text NOT NULL,
    payload text NOT NULL, metadata text NOT NULL, recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (stream, version)
)
"""
APPEND = "INSERT INTO events (stream, version, type, payload, metadata) VALUES ($1, $2, $3, $4, $5)"
STREAM = "SELECT version, type, payload FROM events WHERE stream = $1 ORDER BY version"

OPENED = "AccountOpened"
DEPOSITED = "MoneyDeposited"
WITHDRAWN = "MoneyWithdrawn"


@asynccontextmanager
async def connections(url: str, number: int) -> AsyncIterator[asyncio.LifoQueue[Any]]:
    """Open connections to take and put back.

    asyncpg's own pool asks the server to reset each one that comes back, which costs a round trip.
    """
    opened = [await asyncpg.connect(url) for _ in range(number)]
    free: asyncio.LifoQueue[Any] = asyncio.LifoQueue()
    for connection in opened:
        free.put_nowait(connection)
    yield free
    for connection in opened:
        await connection.close()


async def create(free: asyncio.LifoQueue[Any]) -> None:
    """Make the table."""
    connection = await free.get()
    await connection.execute(TABLE)
    free.put_nowait(connection)


async def write(url: str, entries: Iterator[workload.Entry]) -> None:
    """Write a history, fast."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(TABLE)
        columns = ("stream", "version", "type", "payload", "metadata")
        await connection.copy_records_to_table("events", records=map(_row, entries), columns=columns)
    finally:
        await connection.close()


def _row(entry: workload.Entry) -> tuple[str, int, str, str, str]:
    stream = f"account-{entry.account}"
    if entry.amount is None:
        return stream, entry.version, OPENED, payloads.opened(), payloads.metadata()
    return stream, entry.version, DEPOSITED, payloads.deposited(entry.amount, entry.number), payloads.metadata()


def new_stream() -> str:
    """The id of a stream that nobody has."""
    return f"account-{uuid.uuid4().hex}"
