"""Writes a history into the library's table: its own events and its own JSON, by COPY, because its append takes a
round trip for each.
"""

from collections.abc import Iterator
from typing import Any

import asyncpg
from eventsource.adapters.serialization import json_dumps

from benchmarks import workload
from benchmarks.contenders.eventsource.bank import CATEGORY, entry_event, open_engine, open_store
from benchmarks.contenders.runner import serve

COLUMNS = ("event_id", "event_type", "aggregate_type", "aggregate_id", "actor_id", "version", "timestamp", "payload")


async def write(arguments: dict[str, Any]) -> dict[str, Any]:
    """`events` events over `accounts` accounts, or of one account when `accounts` is 1."""
    engine = open_engine(arguments["url"])
    await open_store(engine)
    await engine.dispose()
    await write_history(arguments["url"], history(arguments))
    return {}


def history(arguments: dict[str, Any]) -> Iterator[workload.Entry]:
    """The history that the arguments ask for."""
    if arguments["accounts"] == 1:
        return workload.long_history(arguments["events"])
    return workload.history(arguments["accounts"], arguments["events"])


async def write_history(url: str, entries: Iterator[workload.Entry]) -> None:
    """Copy the events of a history into the table."""
    connection = await asyncpg.connect(url)
    await connection.copy_records_to_table("events", records=map(_row, entries), columns=COLUMNS)
    await connection.close()


def _row(entry: workload.Entry) -> tuple[object, ...]:
    event = entry_event(entry)
    payload = json_dumps(event.model_dump(mode="json"))
    kind = (event.event_id, event.event_type, CATEGORY, event.aggregate_id)
    return (*kind, event.actor_id, entry.version, event.occurred_at, payload)


if __name__ == "__main__":
    serve(write)
