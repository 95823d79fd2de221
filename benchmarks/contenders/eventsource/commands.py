"""Commands: load the aggregate, execute, save; again when somebody else was faster.

The library has no cache: it is never warm.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from eventsource import OptimisticLockError

from benchmarks import workload
from benchmarks.contenders import closed_loop
from benchmarks.contenders.eventsource.bank import Withdraw, open_engine, open_store, repository
from benchmarks.contenders.runner import serve


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """The rate of `callers` tasks over `seconds`, each account once."""
    callers = arguments["callers"]
    engine = open_engine(arguments["url"], callers)
    accounts = repository(await open_store(engine, create=False))
    shares = workload.shares(workload.shuffled(arguments["accounts"]), callers)
    withdrawals = [withdrawing(accounts, iter(share)) for share in shares]
    driven = await closed_loop.tasks(withdrawals, arguments["seconds"], closed_loop.COLD_WARM_UP)
    await engine.dispose()
    return {"cold": driven.rate, "warm": driven.rate, "stored": arguments["events"] + driven.acknowledged}


def withdrawing(accounts: Any, numbers: Iterator[int]) -> Callable[[], Awaitable[None]]:
    """Withdraws from the next account at each call, as often as it takes."""

    async def withdraw() -> None:
        number = next(numbers, None)
        if number is None:
            raise closed_loop.Exhausted
        command = Withdraw(account_id=workload.account_uuid(number), amount=workload.PENNY, number=number)
        while True:
            account = await accounts.load(command.account_id)
            account.execute(command)
            try:
                await accounts.save(account)
            except OptimisticLockError:
                continue
            return

    return withdraw


if __name__ == "__main__":
    serve(measure)
