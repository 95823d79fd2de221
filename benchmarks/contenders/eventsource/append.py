"""Single-event appends through the event store, each with its expected version."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from eventsource import ExpectedVersion, StreamId

from benchmarks import workload
from benchmarks.contenders import closed_loop
from benchmarks.contenders.eventsource.bank import CATEGORY, event, open_engine, open_store
from benchmarks.contenders.runner import serve


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """The rate of `callers` tasks over `seconds`."""
    engine = open_engine(arguments["url"], arguments["callers"])
    store = await open_store(engine)
    driven = await closed_loop.tasks([caller(store) for _ in range(arguments["callers"])], arguments["seconds"])
    await engine.dispose()
    return driven._asdict()


def caller(store: Any) -> Callable[[], Awaitable[None]]:
    """Appends one event at each call."""
    account, version = uuid.uuid4(), 0

    async def append() -> None:
        nonlocal account, version
        if version == workload.EVENTS_PER_STREAM:
            account, version = uuid.uuid4(), 0
        stream = StreamId(aggregate_id=account, category=CATEGORY)
        recorded = event(account, version + 1, workload.amount(version), version)
        await store.append(stream, [recorded], ExpectedVersion.exact(version))
        version += 1

    return append


if __name__ == "__main__":
    serve(measure)
