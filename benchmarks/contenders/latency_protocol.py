"""How the latency benchmark talks to the writers and workers of the contenders.

A writer prints `<number> <monotonic nanoseconds>` when an append is acknowledged. A worker prints `ready` when it
follows the log, and
ends when its standard input is closed. The monotonic clock is one for all processes of a machine.
"""

import asyncio
import inspect
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from typing import Any

DEPOSIT = Decimal(1)
"""So that a balance says how many deposits it has seen."""


def serve_worker(work: Callable[[str], Any]) -> None:
    """Run a worker (a function or a coroutine function of the database's URL)."""
    outcome = work(json.loads(sys.stdin.readline())["url"])
    if inspect.iscoroutine(outcome):
        asyncio.run(outcome)


def serve_writer(write: Callable[[dict[str, Any]], Any]) -> None:
    """Run a writer (a function or a coroutine function of the arguments)."""
    outcome = write(json.loads(sys.stdin.readline()))
    if inspect.iscoroutine(outcome):
        asyncio.run(outcome)


def paced(arguments: dict[str, Any]) -> Iterator[int]:
    """Numbers at `rate` a second."""
    print("opened", flush=True)
    sys.stdin.readline()
    begin = time.monotonic()
    for number in range(arguments["appends"]):
        time.sleep(max(0.0, begin + number / arguments["rate"] - time.monotonic()))
        yield number


async def paced_async(arguments: dict[str, Any]) -> AsyncIterator[int]:
    """The same in an event loop."""
    print("opened", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    begin = time.monotonic()
    for number in range(arguments["appends"]):
        await asyncio.sleep(max(0.0, begin + number / arguments["rate"] - time.monotonic()))
        yield number


def acknowledge(number: int) -> None:
    """To be called as soon as the append has returned: from here runs the clock."""
    print(number, time.monotonic_ns(), flush=True)
