"""32 tasks that withdraw from one account, or from many."""

from itertools import cycle
from typing import Any

from benchmarks import workload
from benchmarks.contenders import closed_loop
from benchmarks.contenders.eventsource.bank import open_engine, open_store, repository
from benchmarks.contenders.eventsource.commands import withdrawing
from benchmarks.contenders.eventsource.seed import write_history
from benchmarks.contenders.runner import serve


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """The rate of `callers` tasks on `accounts` accounts over `seconds`."""
    callers, accounts = arguments["callers"], arguments["accounts"]
    engine = open_engine(arguments["url"], callers)
    bank = repository(await open_store(engine))
    entries = workload.opened_with_money(accounts)
    await write_history(arguments["url"], iter(entries))
    numbers = list(range(accounts))
    shares = [numbers] * callers if accounts == 1 else workload.shares(numbers, callers)
    driven = await closed_loop.tasks([withdrawing(bank, cycle(share)) for share in shares], arguments["seconds"])
    await engine.dispose()
    return {"rate": driven.rate, "stored": len(entries) + driven.acknowledged}


if __name__ == "__main__":
    serve(measure)
