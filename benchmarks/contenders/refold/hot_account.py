"""Tasks that withdraw from one account, or from many, through the connected app."""

from itertools import cycle
from typing import Any

from benchmarks import workload
from benchmarks.contenders import closed_loop
from benchmarks.contenders.refold.bank import app
from benchmarks.contenders.refold.commands import withdrawing
from benchmarks.contenders.refold.seed import write_history
from benchmarks.contenders.runner import serve


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """The rate of `callers` tasks on `accounts` accounts over `seconds`."""
    callers, accounts = arguments["callers"], arguments["accounts"]
    entries = workload.opened_with_money(accounts)
    async with app.connect(arguments["url"], projections=False) as bank:
        await write_history(bank.store, iter(entries))
        numbers = list(range(accounts))
        shares = [numbers] * callers if accounts == 1 else workload.shares(numbers, callers)
        driven = await closed_loop.tasks([withdrawing(bank, cycle(share)) for share in shares], arguments["seconds"])
    return {"rate": driven.rate, "stored": len(entries) + driven.acknowledged}


if __name__ == "__main__":
    serve(measure)
