"""A worker process whose `stock` lives elsewhere: `python -m tests.sinks.worker LOG SINK LEASE [POINT]`.

It says `ready`, and dies at POINT.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from refold import faults
from tests.projections.stores import Stock, shop


async def _work(log: str, sink: str, lease: float, point: str) -> None:
    def die(passed: str) -> None:
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    whole = ("rebuild", "external.switch", "parquet.generation", "parquet.tables", "neo4j.switch", "neo4j.generation")
    rebuilding = point.startswith(whole)
    if not rebuilding:
        faults.install(die)
    async with shop.connect(log, lease=lease, projections=not rebuilding, sinks={"stock": sink}) as context:
        print("ready", flush=True)
        if rebuilding:
            faults.install(die)
            await context.rebuild(Stock)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(_work(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else ""))
