"""Single-event appends through the event store, each with its expected version."""

from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks import workload
from benchmarks.contenders import closed_loop
from benchmarks.contenders.refold.bank import app, deposited, new_event, new_stream
from benchmarks.contenders.runner import serve
from refold.store.append import Append, StreamAppend
from refold.store.event_store import EventStore


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """The rate of `callers` tasks over `seconds`."""
    async with app.connect(arguments["url"], projections=False) as bank:
        callers = [caller(bank.store) for _ in range(arguments["callers"])]
        driven = await closed_loop.tasks(callers, arguments["seconds"])
    return driven._asdict()


def caller(store: EventStore) -> Callable[[], Awaitable[None]]:
    """Appends one event at each call."""
    stream, version = new_stream(), 0

    async def append() -> None:
        nonlocal stream, version
        if version == workload.EVENTS_PER_STREAM:
            stream, version = new_stream(), 0
        event = new_event(deposited(workload.amount(version), version))
        await store.append(Append((StreamAppend(stream, version, (event,)),)))
        version += 1

    return append


if __name__ == "__main__":
    serve(measure)
