"""pgbench: the rate at which this server commits single-row inserts of the same bytes, from a program written in C,
with nothing around it.

The table has one index, the primary key: what an insert costs at the least. It checks no version and gives no order.
"""

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from benchmarks import workload
from benchmarks.contenders.closed_loop import WARM_UP
from benchmarks.contenders.handwritten import payloads
from benchmarks.contenders.runner import serve

TABLE = """
CREATE TABLE bench_events (
    position bigserial PRIMARY KEY, stream text NOT NULL, version int NOT NULL, type text NOT NULL,
    payload text NOT NULL, metadata text NOT NULL, recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""
THREADS = 2


def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """The rate of `callers` clients over `seconds`."""
    with psycopg.connect(arguments["url"], autocommit=True) as connection:
        connection.execute(TABLE)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "insert.sql"
        script.write_text(_script(), encoding="utf-8")
        warmed = _run(arguments, script, int(WARM_UP))
        measured = _run(arguments, script, int(arguments["seconds"]))
    processed = int(_find(r"number of transactions actually processed: (\d+)", measured))
    before = int(_find(r"number of transactions actually processed: (\d+)", warmed))
    return {"rate": float(_find(r"tps = ([\d.]+)", measured)), "acknowledged": processed + before}


def _script() -> str:
    payload = payloads.deposited(workload.amount(1), 1).replace("'", "''")
    return (
        "\\set stream random(1, 1000000)\n"
        "INSERT INTO bench_events (stream, version, type, payload, metadata) VALUES ("
        f"'account-' || :stream, 1, 'MoneyDeposited', '{payload}', '{payloads.metadata()}');\n"
    )


def _run(arguments: dict[str, Any], script: Path, seconds: int) -> str:
    address = urlsplit(arguments["url"])
    clients = arguments["callers"]
    command = [
        arguments["program"],
        "-n",
        "-M",
        "prepared",
        "-f",
        script,
        "-T",
        seconds,
        "-c",
        clients,
        "-j",
        min(THREADS, clients),
    ]
    where = ["-h", address.hostname, "-p", address.port, "-U", address.username, address.path.removeprefix("/")]
    done = subprocess.run(
        [str(part) for part in [*command, *where]],
        check=True,
        capture_output=True,
        text=True,
        env={"PGPASSWORD": address.password or "", "LC_ALL": "C"},
    )
    return done.stdout


def _find(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise ValueError(f"pgbench's output has no {pattern!r}:\n{text}")
    return match.group(1)


if __name__ == "__main__":
    serve(measure)
