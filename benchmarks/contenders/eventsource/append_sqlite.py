"""The same on the library's SQLite store: WAL, and SQLite's default synchronous=FULL."""

from typing import Any

from eventsource.adapters.sqlite import SQLiteEventStore

from benchmarks.contenders import closed_loop
from benchmarks.contenders.eventsource.append import caller
from benchmarks.contenders.runner import serve


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """The rate of `callers` tasks over `seconds`."""
    store = SQLiteEventStore(arguments["url"])
    driven = await closed_loop.tasks([caller(store) for _ in range(arguments["callers"])], arguments["seconds"])
    await store.close()
    return driven._asdict()


if __name__ == "__main__":
    serve(measure)
