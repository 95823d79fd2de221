"""Replays the log into the table of balances from its beginning, to the end or for so many seconds."""

import asyncio
import contextlib
from time import perf_counter
from typing import Any

from eventsource import InMemoryEventBus

from benchmarks.contenders.eventsource import balances
from benchmarks.contenders.eventsource.bank import open_engine, open_store
from benchmarks.contenders.runner import peak_megabytes, serve


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Events a second."""
    engine = open_engine(arguments["url"], connections=4)
    store = await open_store(engine, create=False)
    kind = balances.BalancesByBatch if arguments["batches"] else balances.BalancesByEvent
    subscriber = kind(engine)
    manager = await balances.manage(engine, store, InMemoryEventBus(), subscriber)
    begin = perf_counter()
    with contextlib.suppress(TimeoutError):
        # Started is caught up: this returns when the log has been replayed.
        await asyncio.wait_for(manager.start(), arguments["seconds"])
    handled, seconds = subscriber.handled, perf_counter() - begin
    await engine.dispose()
    return {"rate": handled / seconds, "handled": handled, "peak": peak_megabytes()}


if __name__ == "__main__":
    serve(measure)
