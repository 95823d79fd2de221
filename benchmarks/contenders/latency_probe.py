"""Measures the time from an acknowledged append to the moment at which a reader sees it in the read model.

The writer and the worker are the contender's, in processes of their own. This process asks the read model, over a
connection of its own and
as fast as it answers, whether the oldest outstanding append is in it: that is when a user would see it.
"""

import json
import queue
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import psycopg
from psycopg import sql

from benchmarks.contenders.runner import serve

SETTLE = 200
"""The first appends do not count: caches, prepared statements."""
PATIENCE = 60.0


def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Percentiles in milliseconds, and what the idle worker takes of a core."""
    with _process(arguments["python"], arguments["writer"], arguments) as writer:
        _expect(writer, "opened")
        if arguments["worker"] is None:
            return {**_percentiles(_latencies(writer, arguments)), "idle": None, "seen": arguments["appends"]}
        with _process(arguments["python"], arguments["worker"], arguments) as worker:
            _expect(worker, "ready")
            figures = _percentiles(_latencies(writer, arguments))
            writer.wait(PATIENCE)
            idle = _idle(worker.pid, arguments["idle_seconds"])
    return {**figures, "idle": idle, "seen": arguments["appends"]}


@contextmanager
def _process(python: str, module: str, arguments: dict[str, Any]) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen([python, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        _tell(process, json.dumps(arguments))
        yield process
        if process.stdin is not None:
            process.stdin.close()
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()


def _tell(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _expect(process: "subprocess.Popen[str]", word: str) -> None:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if line != word:
        raise RuntimeError(f"{process.args!r} said {line!r} instead of {word!r}")


def _latencies(writer: "subprocess.Popen[str]", arguments: dict[str, Any]) -> list[float]:
    acknowledged: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()

    def listen() -> None:
        assert writer.stdout is not None
        for line in writer.stdout:
            number, moment = line.split()
            acknowledged.put((int(number), int(moment)))
        acknowledged.put(None)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    with psycopg.connect(arguments["url"], autocommit=True) as connection:
        question = sql.SQL(arguments["balance_sql"])
        _wait_until_opened(connection, arguments)
        _tell(writer, "go")
        latencies = []
        for number, moment in iter(acknowledged.get, None):
            account, deposits = number % arguments["accounts"], number // arguments["accounts"] + 1
            _poll(connection, question, arguments["keys"][account], deposits)
            latencies.append((time.monotonic_ns() - moment) / 1_000_000)
    if len(latencies) != arguments["appends"]:
        raise RuntimeError(f"the writer acknowledged {len(latencies)} of {arguments['appends']} appends")
    return latencies


def _wait_until_opened(connection: psycopg.Connection[Any], arguments: dict[str, Any]) -> None:
    """The accounts' opening is not measured, but must be through the projection before the deposits begin."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            row = connection.execute(sql.SQL(arguments["count_sql"])).fetchone()
        except psycopg.errors.UndefinedTable:
            row = (0,)
        if row is not None and row[0] == arguments["accounts"]:
            return
        if time.monotonic() > deadline:
            raise TimeoutError("the worker did not project the accounts' opening")
        time.sleep(0.05)


def _poll(connection: psycopg.Connection[Any], question: sql.SQL, key: str, deposits: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        row = connection.execute(question, (key,), prepare=True).fetchone()
        if row is not None and row[0] >= deposits:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"account {key} was not seen with {deposits} deposits within {PATIENCE:g} s of its commit"
            )


def _percentiles(latencies: list[float]) -> dict[str, float]:
    hundredths = statistics.quantiles(latencies[SETTLE:], n=100, method="inclusive")
    return {"p50": hundredths[49], "p99": hundredths[98], "worst": max(latencies[SETTLE:])}


def _idle(pid: int, seconds: float) -> float:
    """Percent of one core that the process takes when nothing happens."""
    time.sleep(2)
    process = psutil.Process(pid)
    before = process.cpu_times()
    time.sleep(seconds)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / seconds * 100


if __name__ == "__main__":
    serve(measure)
