"""The same on the library's SQLite store: WAL, and SQLite's default synchronous=FULL."""

from typing import Any

from benchmarks.contenders import closed_loop
from benchmarks.contenders.eventsourcing.append import caller
from benchmarks.contenders.eventsourcing.bank import Bank
from benchmarks.contenders.runner import serve


def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """The rate of `callers` threads over `seconds`."""
    environment = {
        "PERSISTENCE_MODULE": "eventsourcing.sqlite",
        "SQLITE_DBNAME": arguments["url"],
        "SQLITE_LOCK_TIMEOUT": "60",
    }
    with Bank(env=environment) as bank:
        return closed_loop.threads([caller(bank) for _ in range(arguments["callers"])], arguments["seconds"])._asdict()


if __name__ == "__main__":
    serve(measure)
