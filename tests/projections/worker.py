"""A worker process: `python -m tests.projections.worker URL LEASE [POINT]`. It says `ready`, and dies at POINT."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from refold import faults
from tests.projections.stores import Stock, shop


async def _work(url: str, lease: float, point: str) -> None:
    def die(passed: str) -> None:
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    if not point.startswith("rebuild") and point:
        faults.install(die)
    async with shop.connect(url, lease=lease, projections=not point.startswith("rebuild")) as context:
        print("ready", flush=True)
        if point.startswith("rebuild"):
            faults.install(die)
            await context.rebuild(Stock)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(_work(sys.argv[1], float(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else ""))
