"""Reads the whole log into the library's typed events, 1,000 at a time: it holds all that one read gives in memory."""

from decimal import Decimal
from time import perf_counter
from typing import Any

from eventsource import FeedReadOptions

from benchmarks.contenders.eventsource.bank import MoneyDeposited, open_engine, open_store
from benchmarks.contenders.runner import peak_megabytes, serve

PAGE = 1000


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Events a second from the first to the last."""
    engine = open_engine(arguments["url"])
    store = await open_store(engine, create=False)
    begin = perf_counter()
    events, total, position, read = 0, Decimal(0), None, PAGE
    while read == PAGE:
        read = 0
        async for envelope in store.read_all(position, FeedReadOptions(limit=PAGE)):
            position = envelope.position
            read += 1
            if type(envelope.event) is MoneyDeposited:
                total += envelope.event.amount
        events += read
    seconds = perf_counter() - begin
    await engine.dispose()
    return {"rate": events / seconds, "events": events, "total": total, "peak": peak_megabytes()}


if __name__ == "__main__":
    serve(measure)
