"""Commands by hand: select the stream, fold it, check the rule, insert with the version."""

import json
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any

import asyncpg

from benchmarks import workload
from benchmarks.contenders import closed_loop
from benchmarks.contenders.handwritten import payloads, store
from benchmarks.contenders.runner import serve


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """The rate of `callers` tasks, each account once. It keeps no state, so it is never warm."""
    shares = workload.shares(workload.shuffled(arguments["accounts"]), arguments["callers"])
    async with store.connections(arguments["url"], arguments["callers"]) as free:
        callers = [_caller(free.get_nowait(), iter(share)) for share in shares]
        driven = await closed_loop.tasks(callers, arguments["seconds"], closed_loop.COLD_WARM_UP)
    return {"cold": driven.rate, "warm": driven.rate, "stored": arguments["events"] + driven.acknowledged}


def _caller(connection: Any, accounts: Iterator[int]) -> Callable[[], Awaitable[None]]:
    async def withdraw() -> None:
        account = next(accounts, None)
        if account is None:
            raise closed_loop.Exhausted
        while True:
            try:
                await _withdraw(connection, f"account-{account}", workload.PENNY, account)
                return
            except asyncpg.UniqueViolationError:
                continue  # somebody was faster: decide again on the fresh state

    return withdraw


async def _withdraw(connection: Any, stream: str, amount: Decimal, number: int) -> None:
    balance, version = Decimal(0), 0
    for version, kind, payload in await connection.fetch(store.STREAM, stream):  # noqa: B007  (the last version is used)
        if kind == store.DEPOSITED:
            balance += Decimal(json.loads(payload)["amount"])
        elif kind == store.WITHDRAWN:
            balance -= Decimal(json.loads(payload)["amount"])
    if balance < amount:
        raise ValueError(f"{stream} has only {balance}")
    payload = payloads.deposited(amount, number)
    await connection.execute(store.APPEND, stream, version + 1, store.WITHDRAWN, payload, payloads.metadata())


if __name__ == "__main__":
    serve(measure)
