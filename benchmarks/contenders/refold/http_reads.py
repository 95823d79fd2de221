"""Rows over HTTP: by key as fast as one server gives them, and after a command with the worker in another process."""

import uuid
from itertools import cycle
from statistics import median
from time import perf_counter
from typing import Any

import msgspec

from benchmarks import workload
from benchmarks.contenders import closed_loop
from benchmarks.contenders.refold.bank import app
from benchmarks.contenders.refold.http_calls import Connection, connections, server_process
from benchmarks.contenders.runner import serve
from refold.operations.worker import catch_up


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """The rate of `clients` that each read one row after the other, and the median wait for one's own write."""
    accounts = workload.shuffled(arguments["accounts"])
    async with app.connect(arguments["url"]) as worker:
        await catch_up(worker)
        with server_process(arguments["url"], projections=False) as url:
            async with connections(url, arguments["clients"]) as opened:
                reads = [
                    _reading(each, share)
                    for each, share in zip(opened, workload.shares(accounts, len(opened)), strict=True)
                ]
                done = await closed_loop.tasks(reads, arguments["seconds"])
                waits = [await _own_write(opened[0], str(number)) for number in accounts[: arguments["writes"]]]
    return {"rate": done.rate, "wait": median(waits) * 1000}


def _reading(connection: Connection, accounts: list[int]) -> Any:
    numbers = cycle(accounts)

    async def read() -> None:
        await connection.call("GET", f"/read-models/account_balance/rows/{next(numbers)}")

    return read


async def _own_write(connection: Connection, account: str) -> float:
    """Seconds from the receipt of a command to the row that has seen it."""
    body = msgspec.json.encode({"account_id": account, "amount": "1", "reference": "r"})
    receipt = await connection.call("POST", "/commands/DepositMoney", body, f"Idempotency-Key: {uuid.uuid4()}\r\n")
    token = msgspec.json.decode(receipt)["token"]
    begun = perf_counter()
    await connection.call("GET", f"/read-models/account_balance/rows/{account}", headers=f"Refold-After: {token}\r\n")
    return perf_counter() - begun


if __name__ == "__main__":
    serve(measure)
