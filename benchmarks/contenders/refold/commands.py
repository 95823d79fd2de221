"""Commands through the connected app. Cold: each account is met for the first time. Warm: its state is in the cache."""

import uuid
from collections.abc import Awaitable, Callable, Iterator
from itertools import cycle
from typing import Any

from benchmarks import workload
from benchmarks.contenders import closed_loop
from benchmarks.contenders.refold.bank import WithdrawMoney, app
from benchmarks.contenders.runner import serve
from refold.app import Context

WARM_ACCOUNTS = 2000


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """The rates of `callers` tasks, each over `seconds`: every account once, then some again and again."""
    callers, accounts = arguments["callers"], workload.shuffled(arguments["accounts"])
    async with app.connect(arguments["url"], projections=False) as bank:
        once = [withdrawing(bank, iter(share)) for share in workload.shares(accounts, callers)]
        cold = await closed_loop.tasks(once, arguments["seconds"], closed_loop.COLD_WARM_UP)
        shares = workload.shares(accounts[:WARM_ACCOUNTS], callers)
        warm = await closed_loop.tasks([withdrawing(bank, cycle(share)) for share in shares], arguments["seconds"])
    stored = arguments["events"] + cold.acknowledged + warm.acknowledged
    return {"cold": cold.rate, "warm": warm.rate, "stored": stored}


def withdrawing(bank: Context, accounts: Iterator[int]) -> Callable[[], Awaitable[None]]:
    """Withdraws from the next account at each call."""

    async def withdraw() -> None:
        number = next(accounts, None)
        if number is None:
            raise closed_loop.Exhausted
        command = WithdrawMoney(account_id=str(number), amount=workload.PENNY, reference=workload.reference(number))
        await bank.execute(command, actor=workload.ACTOR, correlation_id=uuid.uuid4())

    return withdraw


if __name__ == "__main__":
    serve(measure)
