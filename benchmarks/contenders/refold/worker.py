"""A worker process that keeps the read model current until its standard input is closed."""

import asyncio
import sys

from benchmarks.contenders.latency_protocol import serve_worker
from benchmarks.contenders.refold.bank import app


async def work(url: str) -> None:
    """Connect, which runs the projections."""
    async with app.connect(url):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    serve_worker(work)
