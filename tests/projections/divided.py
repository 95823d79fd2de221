"""A read model in shards, and a worker process of it: `python -m tests.projections.divided URL LEASE SHARDS [POINT]`.

It says `ready`, and dies at POINT. With CLOCK_OFF in its environment, its clock is so many seconds off.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import Any

from refold import faults
from refold.app import App
from refold.folds.dispatch import evolve
from refold.folds.read_model import Deleted, ReadModel
from tests.projections.stores import Added, Gone, Moved, Noise, Poison


def _both(event: Moved, recorded: Any) -> list[str]:
    return [recorded.stored.stream.partition("-")[2], event.other]


def stock_in(of: int, on_error: Any = "stop") -> type[ReadModel]:
    """The same rows, in so many shards. A row's events are in several streams, and one event may change two rows."""

    class Stock(ReadModel, key="item", shards=of, on_error=on_error):
        item: str
        count: int = 0
        last: int = 0

        @evolve
        def added(self, event: Added, recorded: Any) -> None:
            self.count += event.count
            self.last = recorded.position

        @evolve(key=_both)
        def moved(self, event: Moved) -> None:
            self.count += event.count if self.item == event.other else -event.count

        @evolve
        def poisoned(self, event: Poison) -> None:
            raise ZeroDivisionError("it is poison")

        @evolve
        def gone(self, event: Gone) -> object:
            return Deleted

    return Stock


def shop_in(of: int, on_error: Any = "stop") -> App:
    """An app with that read model alone."""
    return App("shop", read_models=[stock_in(of, on_error)], events=[Added, Moved, Gone, Noise, Poison])


async def _work(url: str, lease: float, of: int, point: str) -> None:
    def die(passed: str) -> None:
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    if point:
        faults.install(die)
    async with shop_in(of).connect(url, lease=lease):
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def _shift_clock(seconds: float) -> None:
    """The clock of this process is off; how long something takes is not."""
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)


if __name__ == "__main__":
    _shift_clock(float(os.environ.get("CLOCK_OFF", "0")))
    asyncio.run(_work(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else ""))
