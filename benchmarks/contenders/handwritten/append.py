"""Single-event appends with asyncpg: one insert each, the unique constraint checks the version."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks import workload
from benchmarks.contenders import closed_loop
from benchmarks.contenders.handwritten import payloads, store
from benchmarks.contenders.runner import serve

MOST_CONNECTIONS = 32


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """The rate of `callers` tasks over `seconds`."""
    async with store.connections(arguments["url"], min(arguments["callers"], MOST_CONNECTIONS)) as free:
        await store.create(free)
        callers = [_caller(free) for _ in range(arguments["callers"])]
        driven = await closed_loop.tasks(callers, arguments["seconds"])
    return driven._asdict()


def _caller(free: asyncio.LifoQueue[Any]) -> Callable[[], Awaitable[None]]:
    stream, version = store.new_stream(), 0

    async def append() -> None:
        nonlocal stream, version
        if version == workload.EVENTS_PER_STREAM:
            stream, version = store.new_stream(), 0
        version += 1
        payload = payloads.deposited(workload.amount(version), version)
        connection = await free.get()
        await connection.execute(store.APPEND, stream, version, store.DEPOSITED, payload, payloads.metadata())
        free.put_nowait(connection)

    return append


if __name__ == "__main__":
    serve(measure)
