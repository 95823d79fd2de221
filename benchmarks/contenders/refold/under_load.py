"""Appends at a steady rate, with and without a rebuild beside them."""

import asyncio
import itertools
import subprocess
import sys
from time import perf_counter
from typing import Any

from benchmarks.contenders.refold.bank import deposited, new_event, new_stream
from benchmarks.contenders.runner import serve
from refold.app import App
from refold.store.append import ANY, Append, StreamAppend
from refold.store.event_store import EventStore

REBUILD = """
import asyncio, os, sys
from benchmarks.contenders.refold.bank import AccountBalance, app
os.nice(10)  # as the command does
async def main():
    async with app.connect(sys.argv[1], projections=False) as bank:
        print("ready", flush=True)
        sys.stdin.readline()
        await bank.rebuild(AccountBalance)
        print("done", flush=True)
asyncio.run(main())
"""
WRITERS = App("bank", events=[])


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """The 99th percentile and the longest of the appends' latencies, in milliseconds."""
    rebuilding: subprocess.Popen[str] | None = None
    async with WRITERS.connect(arguments["url"], projections=False) as bank:
        if arguments["rebuild"]:
            rebuilding = subprocess.Popen(  # noqa: ASYNC220  # before anything is measured
                [sys.executable, "-c", REBUILD, arguments["url"]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert rebuilding.stdin is not None
            assert rebuilding.stdout is not None
            await asyncio.to_thread(rebuilding.stdout.readline)
            rebuilding.stdin.write("go\n")
            rebuilding.stdin.flush()
        latencies, rebuilds = await _append(bank.store, arguments, rebuilding)
        head = (await bank.store.head()).position
    latencies.sort()
    return {
        "p99": latencies[int(len(latencies) * 0.99)],
        "longest": latencies[-1],
        "appends": len(latencies),
        "events": head,
        "rebuilt": rebuilds,
    }


async def _append(
    store: EventStore, arguments: dict[str, Any], rebuilding: "subprocess.Popen[str] | None"
) -> tuple[list[float], int]:
    """Appends until the time is over, or, with a rebuild, until that is done."""
    latencies: list[float] = []
    event = new_event(deposited(1, 1))  # type: ignore[arg-type]
    rate, begin = arguments["rate"], perf_counter()
    tasks: set[asyncio.Task[None]] = set()
    done = None
    if rebuilding is not None and rebuilding.stdout is not None:
        done = asyncio.ensure_future(asyncio.to_thread(rebuilding.stdout.readline))

    async def one() -> None:
        sent = perf_counter()
        await store.append(Append((StreamAppend(new_stream(), ANY, (event,)),)))
        latencies.append((perf_counter() - sent) * 1000)

    for number in itertools.count():
        pause = begin + number / rate - perf_counter()
        if pause > 0:
            await asyncio.sleep(pause)
        task = asyncio.create_task(one())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        over = perf_counter() - begin > arguments["seconds"]
        if (done.done() if done is not None else over) or perf_counter() - begin > 300:
            break
    await asyncio.gather(*tasks)
    rebuilt = 0
    if done is not None and rebuilding is not None:
        rebuilt = int((await done).strip() == "done")
        await asyncio.to_thread(rebuilding.wait, 30)
    return latencies, rebuilt


if __name__ == "__main__":
    serve(measure)
