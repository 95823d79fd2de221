"""Writes a history through the event store, 2,000 events in an append."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from benchmarks import workload
from benchmarks.contenders.refold.bank import app, entry_event
from benchmarks.contenders.runner import serve
from refold.messages.recorded import NewEvent
from refold.store.append import Append, StreamAppend
from refold.store.event_store import EventStore

PAGE = 2000


async def write(arguments: dict[str, Any]) -> dict[str, Any]:
    """`events` events over `accounts` accounts, or of one account when `accounts` is 1."""
    async with app.connect(arguments["url"], projections=False) as bank:
        await write_history(bank.store, _history(arguments))
    return {}


def _history(arguments: dict[str, Any]) -> Iterator[workload.Entry]:
    if arguments["accounts"] == 1:
        return workload.long_history(arguments["events"])
    return workload.history(arguments["accounts"], arguments["events"])


async def write_history(store: EventStore, entries: Iterator[workload.Entry]) -> None:
    """Append the events of a history; within an append they are grouped by account."""
    while page := list(islice(entries, PAGE)):
        await store.append(Append(tuple(_parts(page))))


def _parts(page: Iterable[workload.Entry]) -> Iterator[StreamAppend]:
    streams: dict[int, list[NewEvent]] = {}
    before: dict[int, int] = {}
    for entry in page:
        streams.setdefault(entry.account, []).append(entry_event(entry))
        before.setdefault(entry.account, entry.version - 1)
    for account, events in streams.items():
        yield StreamAppend(f"account-{account}", before[account], tuple(events))


if __name__ == "__main__":
    serve(write)
