"""Deposits at a steady pace, with the projection in the same process: without a message broker nothing tells another
process.
"""

import asyncio
from typing import Any

from eventsource import ExpectedVersion, InMemoryEventBus, StreamId

from benchmarks import workload
from benchmarks.contenders.eventsource import balances
from benchmarks.contenders.eventsource.bank import CATEGORY, event, open_engine, open_store
from benchmarks.contenders.eventsource.seed import write_history
from benchmarks.contenders.latency_protocol import DEPOSIT, acknowledge, paced_async, serve_writer


async def write(arguments: dict[str, Any]) -> None:
    """Deposit one crown on each account in turn; publish after the append, as the library's repository does."""
    engine = open_engine(arguments["url"], connections=4)
    store = await open_store(engine)
    await write_history(arguments["url"], iter(workload.opened(arguments["accounts"])))
    bus = InMemoryEventBus()
    manager = await balances.manage(engine, store, bus, balances.BalancesByEvent(engine))
    await manager.start()
    async for number in paced_async(arguments):
        account, earlier = workload.account_uuid(number % arguments["accounts"]), number // arguments["accounts"]
        deposited = event(account, earlier + 2, DEPOSIT, number)
        stream = StreamId(aggregate_id=account, category=CATEGORY)
        await store.append(stream, [deposited], ExpectedVersion.exact(earlier + 1))
        acknowledge(number)
        await bus.publish([deposited])
    await asyncio.sleep(1)
    await manager.stop()
    await engine.dispose()


if __name__ == "__main__":
    serve_writer(write)
