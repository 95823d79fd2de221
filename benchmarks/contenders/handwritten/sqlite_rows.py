"""Raw sqlite3 from one thread, 100 rows in a transaction, synchronous=FULL: what the file takes when nothing is
asked for each event.
"""

import sqlite3
from time import perf_counter
from typing import Any

from benchmarks import workload
from benchmarks.contenders.closed_loop import WARM_UP
from benchmarks.contenders.handwritten import payloads, store
from benchmarks.contenders.runner import serve

TABLE = """
CREATE TABLE events (
    position INTEGER PRIMARY KEY, stream TEXT NOT NULL, version INTEGER NOT NULL, type TEXT NOT NULL,
    payload TEXT NOT NULL, metadata TEXT NOT NULL, UNIQUE (stream, version)
)
"""
APPEND = "INSERT INTO events (stream, version, type, payload, metadata) VALUES (?, ?, ?, ?, ?)"
ROWS = 100


def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Rows a second over `seconds`."""
    file = sqlite3.connect(arguments["url"], isolation_level=None)
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("PRAGMA synchronous = FULL")
    file.execute(TABLE)
    begin = perf_counter() + WARM_UP
    end = begin + arguments["seconds"]
    counted = stored = 0
    while perf_counter() < end:
        stream = store.new_stream()
        rows = [
            (
                stream,
                version,
                store.DEPOSITED,
                payloads.deposited(workload.amount(version), version),
                payloads.metadata(),
            )
            for version in range(1, ROWS + 1)
        ]
        file.execute("BEGIN IMMEDIATE")
        file.executemany(APPEND, rows)
        file.execute("COMMIT")
        stored += ROWS
        counted += ROWS if begin <= perf_counter() <= end else 0
    file.close()
    return {"rate": counted / arguments["seconds"], "acknowledged": stored}


if __name__ == "__main__":
    serve(measure)
