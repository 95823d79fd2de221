"""A process that rebuilds: `python -m tests.projections.builder URL JOBS LEASE rebuild|compare POINT`.

At POINT it says so, once, and waits for a line. It says how far it is, and at the end `done`, or why it ended.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from refold import faults
from refold.errors import RefoldError
from tests.projections.stores import Stock, shop


def say(text: str) -> None:
    print(text, flush=True)


async def _work(url: str, jobs: int, lease: float, what: str, point: str) -> None:
    waiting = [point]

    def at(passed: str) -> None:
        if passed == "orders.paused":
            say("paused")
        if passed in waiting:
            waiting.clear()
            say(f"at {passed}")
            sys.stdin.readline()

    def told(now: Any) -> None:
        say(f"progress {now.done}")

    faults.install(at)
    async with shop.connect(url, lease=lease, projections=False) as context:
        try:
            if what == "compare":
                await context.compare_rebuild(Stock, progress=told, jobs=jobs)
            else:
                await context.rebuild(Stock, progress=told, jobs=jobs)
        except RefoldError as problem:
            say(f"ended: {problem}")
        else:
            say("done")


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:]))
