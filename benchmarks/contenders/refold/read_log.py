"""Reads the whole log into the app's typed events."""

from decimal import Decimal
from time import perf_counter
from typing import Any

from benchmarks.contenders.refold.bank import MoneyDeposited, app
from benchmarks.contenders.runner import peak_megabytes, serve

PAGE = 2000


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Events a second from the first to the last."""
    async with app.connect(arguments["url"], projections=False) as bank:
        reader = await bank.store.open_reader()
        begin = perf_counter()
        events, total, position = 0, Decimal(0), 0
        while True:
            page = await reader.read(position, PAGE)
            for stored in page.events:
                event = bank.types.decode(stored).event
                if type(event) is MoneyDeposited:
                    total += event.amount
            events += len(page.events)
            position = page.scanned_to
            if position == page.head:
                break
        seconds = perf_counter() - begin
        await reader.close()
    return {"rate": events / seconds, "events": events, "total": total, "peak": peak_megabytes()}


if __name__ == "__main__":
    serve(measure)
