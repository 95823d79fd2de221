"""Reads the whole log into the app's typed events."""

from decimal import Decimal
from time import perf_counter
from typing import Any

from benchmarks.contenders.refold.bank import MoneyDeposited, app
from benchmarks.contenders.runner import peak_megabytes, serve


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Events a second from the first to the last."""
    async with app.connect(arguments["url"], projections=False) as bank:
        begin = perf_counter()
        events, total = 0, Decimal(0)
        async for recorded in bank.events():
            if type(recorded.event) is MoneyDeposited:
                total += recorded.event.amount
            events += 1
        seconds = perf_counter() - begin
    return {"rate": events / seconds, "events": events, "total": total, "peak": peak_megabytes()}


if __name__ == "__main__":
    serve(measure)
