"""Rebuilds the read model from the log's beginning."""

from time import perf_counter
from typing import Any

from benchmarks.contenders.refold.bank import AccountBalance, app
from benchmarks.contenders.runner import peak_megabytes, serve


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Events a second, from the call to the table that is ready to be read."""
    async with app.connect(arguments["url"], projections=False) as bank:
        begin = perf_counter()
        await bank.rebuild(AccountBalance, jobs=arguments.get("jobs", 1))
        seconds = perf_counter() - begin
        events = (await bank.store.head()).position
    return {"rate": events / seconds, "events": events, "peak": peak_megabytes()}


if __name__ == "__main__":
    serve(measure)
