"""Rebuilds the read model from the log's beginning."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import psutil
import psycopg

from benchmarks.contenders.refold.bank import AccountBalance, app
from benchmarks.contenders.runner import peak_megabytes, serve


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Events a second, from the call to the table that is ready to be read."""
    with _cores(arguments["url"], arguments.get("cores")):
        async with app.connect(arguments["url"], projections=False) as bank:
            begin = perf_counter()
            await bank.rebuild(AccountBalance, jobs=arguments.get("jobs", 1))
            seconds = perf_counter() - begin
            events = (await bank.store.head()).position
    return {"rate": events / seconds, "events": events, "peak": peak_megabytes()}


@contextmanager
def _cores(url: str, number: int | None) -> Iterator[None]:
    """Holds this process, and the database server with it, on so many processors (Linux)."""
    if number is None:
        yield
        return
    with psycopg.connect(url) as connection:
        server = psutil.Process(connection.info.backend_pid).parent()
        assert server is not None
        held = [psutil.Process(), server, *server.children()]
    before = [(each, each.cpu_affinity()) for each in held if each.is_running()]
    try:
        for each, allowed in before:
            each.cpu_affinity((allowed or [])[:number])
        yield
    finally:
        for each, allowed in before:
            if each.is_running():
                each.cpu_affinity(allowed)


if __name__ == "__main__":
    serve(measure)
