"""Deposits at a steady pace, for the latency benchmark."""

from typing import Any

from benchmarks import workload
from benchmarks.contenders.latency_protocol import DEPOSIT, acknowledge, paced_async, serve_writer
from benchmarks.contenders.refold.bank import app, deposited, new_event
from benchmarks.contenders.refold.seed import write_history
from refold.store.append import Append, StreamAppend


async def write(arguments: dict[str, Any]) -> None:
    """Deposit one crown on each account in turn."""
    accounts = arguments["accounts"]
    async with app.connect(arguments["url"], projections=False) as bank:
        await write_history(bank.store, iter(workload.opened(accounts)))
        async for number in paced_async(arguments):
            account, earlier = number % accounts, number // accounts
            event = new_event(deposited(DEPOSIT, number))
            await bank.store.append(Append((StreamAppend(f"account-{account}", earlier + 1, (event,)),)))
            acknowledge(number)


if __name__ == "__main__":
    serve_writer(write)
