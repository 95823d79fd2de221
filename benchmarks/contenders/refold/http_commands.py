"""Commands of many clients, in this process or over HTTP on one server process; its latency at half of its rate."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from itertools import cycle
from time import perf_counter
from typing import Any

import msgspec

from benchmarks import workload
from benchmarks.contenders import closed_loop
from benchmarks.contenders.refold.bank import app
from benchmarks.contenders.refold.commands import WARM_ACCOUNTS, withdrawing
from benchmarks.contenders.refold.http_calls import Connection, connections, server_process
from benchmarks.contenders.runner import serve

HALF_LOAD_CLIENTS = 64


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """The rate of `clients`, each of which waits for its answer; over HTTP also the p99 at half of that rate."""
    accounts = workload.shuffled(arguments["accounts"])[:WARM_ACCOUNTS]
    shares = workload.shares(accounts, arguments["clients"])
    if not arguments["http"]:
        async with app.connect(arguments["url"], projections=False) as bank:
            done = await closed_loop.tasks([withdrawing(bank, cycle(share)) for share in shares], arguments["seconds"])
        return {"rate": done.rate, "stored": arguments["events"] + done.acknowledged}
    with server_process(arguments["url"], projections=False) as url:
        async with connections(url, len(shares)) as opened:
            calls = [posting(each, cycle(share)) for each, share in zip(opened, shares, strict=True)]
            done = await closed_loop.tasks(calls, arguments["seconds"])
        async with connections(url, HALF_LOAD_CLIENTS) as opened:
            latencies = await open_loop(
                [
                    posting(each, cycle(share))
                    for each, share in zip(opened, workload.shares(accounts, len(opened)), strict=True)
                ],
                done.rate / 2,
                arguments["seconds"],
            )
    latencies.sort()
    return {
        "rate": done.rate,
        "p99": latencies[int(len(latencies) * 0.99)] * 1000,
        "stored": arguments["events"] + done.acknowledged + len(latencies),
    }


def posting(connection: Connection, accounts: Any) -> Callable[[], Awaitable[None]]:
    """Withdraws from the next account at each call, over HTTP."""

    async def post() -> None:
        number = next(accounts)
        body = msgspec.json.encode(
            {"account_id": str(number), "amount": str(workload.PENNY), "reference": workload.reference(number)}
        )
        await connection.call("POST", "/commands/WithdrawMoney", body, f"Idempotency-Key: {uuid.uuid4()}\r\n")

    return post


async def open_loop(calls: list[Callable[[], Awaitable[None]]], rate: float, seconds: float) -> list[float]:
    """The latencies of calls that begin at a rate, whatever those before them do; from when each should have begun."""
    free: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
    for call in calls:
        free.put_nowait(call)
    latencies: list[float] = []

    async def one(due: float) -> None:
        call = await free.get()
        await call()
        free.put_nowait(call)
        latencies.append(perf_counter() - due)

    begun = perf_counter()
    under_way = set()
    for number in range(int(rate * seconds)):
        due = begun + number / rate
        if (wait := due - perf_counter()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(one(due))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)
    return latencies


if __name__ == "__main__":
    serve(measure)
